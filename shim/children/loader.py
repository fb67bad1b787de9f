"""Whether it was the loader (ld.so) that failed, before the program's own code began: a library or a version of one is missing.

The loader says so on standard error and ends with 127 or 1, and any program can do the same. So what the child wrote is not believed: the
loader itself is asked, which looks at the same file in the same environment and runs nothing of it. (Who packages a false loader can have it
say what he likes, of his own program.)
"""

from __future__ import annotations

import os
import re

from shim.children.diagnosis import loader_of
from shim.errors import ExecutableNotRunnable
from shim.outcome import Exited
from shim.request import EndOfFile, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.outcome import Outcome

CODES = (1, 127)
"""What it ends with: 127, but glibc's with 1 where a version is missing."""
LOADERS = re.compile(r"ld-|ld\d*\.so")
"""The names of loaders, which understand --list: ld-linux-x86-64.so.2, ld-linux-aarch64.so.1, ld-musl-x86_64.so.1, ld.so."""
PATIENCE = 1.0
"""Seconds that its answer may take."""
MUCH = 32 * 1024
"""Bytes of its answer that are read: a line for each library."""

MISSING = re.compile(
    r"shared librar(?:ies|y):? ([^:\s]+): (?:cannot open shared object file: )?No such file or directory"  # glibc; musl
    r"|^\s*(\S+) => not found",
    re.MULTILINE,
)
VERSION = re.compile(r"(\S+): version `([^']+)' not found(?: \(required by ([^)\n]+)\))?")
OTHER = re.compile(r"(?:error while loading shared libraries: |Error loading shared library |Error relocating )(.+)")


def question(request: Request, outcome: Exited, *, folder: str | None) -> Request | None:
    """What to ask: a request whose child is the loader. None where it can't have been the loader that failed."""
    search = os.fsdecode(request.environment.get(b"PATH", b""))
    named = loader_of(request.arguments[0], search=search, folder=folder or ".") if outcome.code in CODES else None
    if named is None or not LOADERS.match(os.path.basename(named[0])):
        return None
    loader, program = named
    return Request(b"", arguments=[loader, "--list", program], environment=request.environment, framing=EndOfFile(MUCH))


def refusal(request: Request, outcome: Exited, answer: Outcome, *, executable: str) -> ExecutableNotRunnable | None:
    """Why the loader did not start the program of that request, by its answer; None where it misses nothing."""
    if not isinstance(answer, Exited):
        return None
    said = f"{answer.stderr_tail}\n{bytes(answer.reply).decode('utf-8', 'replace')}"
    libraries = list(dict.fromkeys(found[1] or found[2] for found in MISSING.finditer(said)))
    versions = list(dict.fromkeys((found[2], found[1]) for found in VERSION.finditer(said)))
    other = OTHER.search(said)
    if libraries:
        places = os.fsdecode(request.environment.get(b"LD_LIBRARY_PATH", b""))
        happened = f"was not started: its loader did not find {_all(libraries)} (in LD_LIBRARY_PATH={places} and the system's library folders)"
        those = "it and what it needs" if len(libraries) == 1 else "them and what they need"
        cure = f"package {those} in lib/, or link the program statically"
    elif versions:
        wanted = _all([version for version, _ in versions])
        if any(version.startswith("GLIBC_") for version, _ in versions):
            happened = f"was not started: it needs {wanted}, and this system has {_libc_here()}"
            cure = "build it on a system whose glibc is no newer (Amazon Linux 2023: 2.34), or link it statically"
        else:
            happened = (
                f"was not started: it needs {wanted}, which {_all([library for _, library in versions])} does not have"
            )
            cure = "package the library that it was built with in lib/, or link it statically"
    elif other:
        happened, cure = f"was not started: its loader says {other[1]!r}", "package the library as it was built, whole"
    else:
        return None
    return ExecutableNotRunnable(
        happened, executable=executable, cure=cure, duration=outcome.duration, stderr_tail=outcome.stderr_tail
    )


def _all(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _libc_here() -> str:
    """This system's C library and its version, "glibc 2.34"; musl does not tell."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "another C library"
    except (OSError, ValueError):
        return "another C library"
