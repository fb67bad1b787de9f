"""The Python that a package was packed for: which it is, and where this machine has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from shim.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTENSION = re.compile(r"\.cpython-(\d)(\d+)-(\w+?)-linux-\w+\.so")
"""The end of the name of a library for one version of Python: orjson.cpython-313-x86_64-linux-gnu.so (PEP 3149)."""
LIKELIEST = "orjson"
"""What every package has that runs `shim`, and is built for one version only."""
QUESTION = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys._base_executable, sys.base_prefix, sep='\\0')"
PATIENCE = 10
"""Seconds that a Python has to say what it is."""


class InterpreterMissing(PackageError):
    """The package is for a Python that this machine does not have."""


class Interpreter(NamedTuple):
    """A Python of this machine.

    Attributes:
        version: as (3, 13).
        path: of the program, which is no link.
        prefix: the folder in which it is installed.
    """

    version: tuple[int, int]
    path: str
    prefix: str

    @property
    def name(self) -> str:
        """As "python3.13"."""
        return "python{}.{}".format(*self.version)

    @property
    def home(self) -> str:
        """The folder that has it and all that belongs to it; "" where there is none."""
        prefix = os.path.realpath(self.prefix)
        return prefix if self.path.startswith(f"{prefix}/") else ""


class Built(NamedTuple):
    """What a package's libraries for Python are built for."""

    version: tuple[int, int]
    machine: str
    """As the kernel calls it: "aarch64"."""


def built_for(folder: str) -> list[Built]:
    """What the libraries for Python in an unpacked package are built for: `orjson`'s, or all of them where it has none."""
    likeliest: set[Built] = set()
    others: set[Built] = set()
    for place, _, names in os.walk(folder):
        found = {Built((int(match[1]), int(match[2])), match[3]) for name in names if (match := EXTENSION.search(name))}
        (likeliest if place == os.path.join(folder, LIKELIEST) else others).update(found)
    return sorted(likeliest or others)


def find(package: str, versions: list[tuple[int, int]], environ: Mapping[str, str] = os.environ) -> Interpreter:
    """The Python for a package: this one where that will do, else one that the PATH has.

    Args:
        package: its name, for a sentence.
        versions: those that it was packed for; where there is none any will do.
        environ: where the PATH is.

    Raises:
        InterpreterMissing: this machine has none of them.
    """
    here = sys.version_info[:2]
    if not versions or here in versions:
        base = getattr(sys, "_base_executable", None) or sys.executable
        return Interpreter(here, os.path.realpath(base), sys.base_prefix)
    for version in reversed(versions):
        name = "python{}.{}".format(*version)
        for folder in environ.get("PATH", "").split(os.pathsep):
            if folder and (found := _asked(os.path.join(folder, name), version)):
                return found
    wanted = " or ".join("python{}.{}".format(*version) for version in versions)
    raise InterpreterMissing(
        f"{package} was packed for {wanted}, which is not on the PATH; install it, or pack for this one:"
        f" shim pack --runtime python{here[0]}.{here[1]}"
    )


def _asked(path: str, version: tuple[int, int]) -> Interpreter | None:
    """What the program says that it is; None where it is another, or none: a PATH has programs that only look for one."""
    if not os.access(path, os.X_OK):
        return None
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    name, major, minor, base, prefix = [*os.fsdecode(answer).rstrip("\n").split("\0"), *[""] * 5][:5]
    if (name, major, minor) != ("cpython", *map(str, version)):
        return None
    return Interpreter(version, os.path.realpath(base), prefix)
