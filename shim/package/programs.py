"""One executable of a package: whether Lambda could start it. ELF files are judged in binaries.py."""

from __future__ import annotations

import posixpath
import re
import stat
from typing import TYPE_CHECKING

from shim.children.diagnosis import (
    FIRST_LINE,
    NESTED,
    WINDOWS,
    look_at_script,
    not_a_program,
    program_of_env,
    script_words,
)
from shim.elf import MAGIC
from shim.errors import PackageError
from shim.package.binaries import judge_binary
from shim.package.ground import error, warning
from shim.package.targets import INTERPRETERS, interpreters
from shim.package.taskroot import TASK_ROOT, first_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.package.ground import Ground
    from shim.package.problem import Problem
    from shim.package.tree import File

WINDOWS_ZIP = "a zip made on Windows loses the bit: make it in WSL or a container, or with shim pack"
MACHO = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbf")
UNIVERSAL = b"\xca\xfe\xba\xbe"
"""Programs of macOS for several architectures, and classes of Java, which have a number above 44 where those have how many they are for."""
FIRST_JAVA = 45
PYTHON = "python"


def judge_executable(name: str, ground: Ground) -> Iterator[Problem]:
    """What would keep Lambda from starting a file of a package, or its interpreter."""
    yield from _judge(name, ground, ())


def _judge(name: str, ground: Ground, scripts: tuple[str, ...]) -> Iterator[Problem]:
    """`scripts`: those that lead to it by their first lines."""
    file = ground.root.at(name)
    if file is None:
        yield error(name, "it is a link that leads to no file of the package", "package what it leads to")
        return
    if name in ground.needed:
        return
    ground.needed.update((name, file.name))
    if not stat.S_ISREG(file.mode):
        yield error(name, f"it is no file but something else ({stat.filemode(file.mode)})", "package a file")
        return
    yield from _of_mode(name, file)
    try:
        first = first_bytes(file, FIRST_LINE)
    except PackageError as unreadable:
        yield error(name, str(unreadable), "package it again")
        return
    if not first:
        yield error(name, "it is empty (0 bytes)", "check that the build wrote it, and package it again")
    elif first.startswith(b"#!"):
        yield from _judge_script(name, first, ground, scripts)
    elif first.startswith(MAGIC):
        yield from judge_binary(name, ground)
    else:
        yield _foreign(name, first, ground)


def _of_mode(name: str, file: File) -> Iterator[Problem]:
    """Lambda runs a function as a user who neither owns its files nor is in their group."""
    mode = stat.filemode(file.mode)
    if not file.mode & 0o777:
        yield error(
            name, "it is not executable: the zip has no Unix modes", f"chmod +x it and zip it again ({WINDOWS_ZIP})"
        )
    elif not file.mode & 0o111:
        cure = f"chmod +x it and package it again ({WINDOWS_ZIP})"
        yield error(name, f"it is not executable (its mode is {mode})", cure)
    elif not file.mode & 0o001:
        sentence = f"it is executable for its owner alone (its mode is {mode}), and Lambda runs it as another user"
        yield error(name, sentence, "chmod 755 it and package it again")


def _foreign(name: str, first: bytes, ground: Ground) -> Problem:
    """A file that is neither ELF nor a script."""
    cure = f"build it for Linux on {ground.built_for}"
    if first.startswith(MACHO):
        return error(name, "it is a program for macOS", cure)
    if first.startswith(UNIVERSAL):
        is_java = int.from_bytes(first[4:8], "big") >= FIRST_JAVA
        return error(name, f"it is {'a class of Java' if is_java else 'a program for macOS'}", cure)
    _, happened, cure = not_a_program(first, ground.built_for)
    return error(name, f"it {happened}", cure)


def _judge_script(name: str, first: bytes, ground: Ground, scripts: tuple[str, ...]) -> Iterator[Problem]:
    words = script_words(first)
    if not words:
        _, happened, cure = look_at_script(first, "", "", refused=False, depth=0)  # type: ignore[misc] # it has one
        yield error(name, f"it {happened}", cure)
        return
    if words[-1].endswith("\r"):
        sentence = f"it is a script with CR LF line ends, so that its first line ends with {words[-1]!r}"
        yield error(name, sentence, WINDOWS)
        return
    program = program_of_env(words) or _split_by_env(words)
    if program is None:
        found, missing = _at(words[0], ground), f"{words[0]!r}"
        own = posixpath.basename(words[0])
        cure = f"name one that exists in its first line, or package one in bin/ and begin with #!/usr/bin/env {own}"
        if _on_path(own, ground) is not None:
            cure = f"begin with #!/usr/bin/env {own}, which finds that of the runtime or the package"
    else:
        found, missing = _on_path(program, ground), f"{program!r} on the PATH"
        cure = "package it in bin/ (with its libraries in lib/), or name another in its first line"
        if " " in program:
            cure = "begin with #!/usr/bin/env -S, which splits its argument as a shell does"
    if found is None:
        where = f"neither the package nor {ground.target.name} has {missing}"
        yield error(name, f"it is a script whose interpreter is missing: {where}{_only_python(missing, ground)}", cure)
    elif found.startswith("/opt/"):
        sentence = f"it is a script for {found}, which only a layer can have"
        yield warning(name, sentence, "see that the function has that layer, or package it in bin/")
    elif not found.startswith("/"):
        yield from _of_interpreter(found, ground, (*scripts, name))


def _split_by_env(words: list[str]) -> str | None:
    """What `#!/usr/bin/env -S PROGRAM ARGS` looks for; None where that has more to it."""
    if posixpath.basename(words[0]) != "env" or len(words) < 2 or not words[1].startswith("-S"):
        return None
    program = (words[1][2:].split() or [""])[0]
    return program if re.fullmatch(r"[\w./+][\w./+-]*", program) else None


def _of_interpreter(interpreter: str, ground: Ground, scripts: tuple[str, ...]) -> Iterator[Problem]:
    """The package's own interpreter of a script, which may be a script itself."""
    if interpreter in scripts or len(scripts) > NESTED:
        sentence = f"its interpreter is {interpreter}, a script in turn, and so on, further than the kernel follows"
        yield error(scripts[0], sentence, "name a program in its first line")
        return
    for problem in _judge(interpreter, ground, scripts):
        is_new = problem.severity == "error" and problem.place == interpreter
        yield problem._replace(sentence=f"{problem.sentence} ({scripts[-1]} is a script for it)") if is_new else problem


def _only_python(missing: str, ground: Ground) -> str:
    return " (only Python's runtimes have a python)" if PYTHON in missing and ground.function.is_custom else ""


def _at(path: str, ground: Ground) -> str | None:
    """An interpreter by its path: a name of the package, a path of the system or of a layer; None where there is none."""
    whole = posixpath.normpath(posixpath.join(TASK_ROOT, path))
    inside = ground.root.name_of(whole)
    if inside is not None:
        return inside if inside and ground.root.at(inside) is not None else None
    return whole if whole.startswith("/opt/") or whole in _of_system(ground) else None


def _on_path(program: str, ground: Ground) -> str | None:
    if "/" in program:
        return _at(program, ground)
    for folder in ground.function.search:
        inside = ground.root.name_of(posixpath.join(folder, program))
        file = None if not inside else ground.root.at(inside)
        if inside and file is not None:
            return inside
    return next((path for path in sorted(_of_system(ground)) if posixpath.basename(path) == program), None)


def _of_system(ground: Ground) -> frozenset[str]:
    """What the runtime has, whichever of the target's it is."""
    if ground.function.is_custom:
        return INTERPRETERS
    if ground.function.python is not None:
        return interpreters(f"{PYTHON}{ground.function.python}")
    return (
        interpreters("python3.11")
        | interpreters("python3.12")
        | interpreters("python3.13")
        | interpreters("python3.14")
    )
