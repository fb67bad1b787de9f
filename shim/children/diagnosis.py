"""Why an executable can't be started, in a sentence: asked at init, before the first invocation, and when the kernel has refused."""

from __future__ import annotations

import errno
import os
import stat

from shim.elf import ET_CORE, ET_REL, MAGIC, Elf, ElfInvalid
from shim.errors import ExecutableError, ExecutableNotFound, ExecutableNotRunnable

FIRST_LINE = 255
"""Bytes of a script's first line that the kernel reads (<linux/binfmts.h>, BINPRM_BUF_SIZE)."""
NESTED = 4
"""How deep the kernel follows scripts whose interpreter is a script (fs/exec.c)."""
PAGE = 4096
MACHINES = {"aarch64": "arm64"}
"""The kernel's names of architectures → Lambda's, where they differ."""
RUNS = {"x86_64": ("x86_64", "i386"), "arm64": ("arm64", "arm")}
"""What a kernel for an architecture may run."""
FORMATS = "/proc/sys/fs/binfmt_misc"
"""Where a kernel lists what else it takes for programs, as qemu's. Lambda's takes nothing else."""
WINDOWS = "convert its line ends to LF (dos2unix; in .gitattributes: eol=lf)"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self, TypeAlias

    from shim.request import Request

    Finding: TypeAlias = tuple[type[ExecutableError], str, str]
    """What is wrong: the error's class, what it says, the cure."""


def resolve(executable: str, *, task_root: str, path: str) -> str:
    """The absolute path of the file to run: in the task root, or, for a bare name that is not there, on the child's PATH.

    Raises:
        ExecutableNotFound: it is nowhere; says where it was looked for.
    """
    at_root = os.path.join(task_root, executable)
    if os.path.isfile(at_root) or ("/" in executable and os.path.exists(at_root)):
        return os.path.abspath(at_root)
    if "/" in executable:
        _look_for_locked_folders(at_root, executable)
        link = f", a link to {os.readlink(at_root)}, which is not there" if os.path.islink(at_root) else ""
        raise ExecutableNotFound(
            f"was not found: there is no {at_root}{link}",
            executable=executable,
            cure="package it there, or correct SHIM_EXECUTABLE, a path relative to LAMBDA_TASK_ROOT",
        )
    folders = [folder for folder in path.split(":") if folder]
    for folder in folders:
        candidate = os.path.join(folder, executable)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise ExecutableNotFound(
        f"was not found in {task_root}, nor on its PATH ({':'.join(folders)})",
        executable=executable,
        cure="package it in bin/, or correct SHIM_EXECUTABLE",
    )


def _look_for_locked_folders(path: str, executable: str) -> None:
    """A file may be there, and its folder closed to us: Lambda runs functions as a user that owns none of their files.

    Raises:
        ExecutableNotRunnable: it is so.
    """
    try:
        os.stat(path)
    except PermissionError as error:
        raise ExecutableNotRunnable(
            f"can't be reached: {error.strerror} ({path})",
            executable=executable,
            cure="chmod a+rx the folders that it is in, and package them again",
        ) from None
    except OSError:
        pass  # it is not there


def examine(path: str, *, executable: str, search: str, folder: str) -> ExecutableError | None:
    """What will keep that file from being run, as far as a look at its first bytes tells; None where nothing is seen.

    Args:
        path: the file.
        executable: its name in the error.
        search: the child's PATH, on which `#!/usr/bin/env` looks.
        folder: where the child runs, to which relative names are relative.
    """
    finding = _look_at(path, search, folder)
    return None if finding is None else _error(finding, executable)


def explain(refusal: OSError, request: Request, *, executable: str, folder: str | None) -> ExecutableError:
    """The error for the kernel's refusal to start a child with that request in that folder (None: our own)."""
    search = os.fsdecode(request.environment.get(b"PATH", b""))
    finding = _look_at(request.arguments[0], search, folder or ".", refused=True)
    if finding is not None:
        return _error(finding, executable)
    if not os.path.isdir(folder or "."):
        return ExecutableNotRunnable(
            f"could not be started, since the folder to run it in is gone ({folder or 'our current folder'})",
            executable=executable,
            cure="let it be there as long as the function is",
        )
    reason = f"{refusal.strerror} ({errno.errorcode.get(refusal.errno or 0, refusal.errno)})"
    if refusal.errno == errno.E2BIG:
        texts = [*map(os.fsencode, request.arguments), *(b"=".join(item) for item in request.environment.items())]
        cure = (
            f"its arguments and environment have {sum(map(len, texts))} bytes, the longest {max(map(len, texts))}, and the kernel takes"
            " 131071 in one and a quarter of the stack (ulimit -s) in all: pass less, large things on standard input"
        )
    elif refusal.errno in (errno.EAGAIN, errno.ENOMEM):
        cure = "no process or memory is left: Lambda allows 1,024 processes and threads, and the function's memory"
    elif refusal.errno in (errno.EMFILE, errno.ENFILE):
        cure = "no descriptor is left: Lambda allows 1,024, and this process has them open"
    elif refusal.errno == errno.ETXTBSY:
        cure = "somebody still writes to it: close it first"
    else:
        cure = ""
    return ExecutableNotRunnable(f"could not be started: {reason}", executable=executable, cure=cure)


def _error(finding: Finding, executable: str) -> ExecutableError:
    kind, happened, cure = finding
    return kind(happened, executable=executable, cure=cure)


def no_tmp(refusal: OSError, *, executable: str) -> ExecutableError:
    """The error for a folder of its own (`tmp="fresh"`) that could not be made."""
    return ExecutableNotRunnable(
        f"was not started, since no folder for its temporary files could be made: {refusal.strerror} ({refusal.filename})",
        executable=executable,
        cure="let TMPDIR name a folder that can be written to, and has room",
    )


def describe(path: str) -> str:
    """What the file is, in a few words: "16,184 bytes, x86_64", "312 bytes, a script for /bin/sh"."""
    try:
        with _File(path) as file:
            words = script_words(file[:FIRST_LINE])
            kind = f"a script for {words[0]}" if words else Elf(file).machine
            return f"{len(file):,} bytes, {kind}"
    except (OSError, ElfInvalid):
        return "a file that can't be read"


def loader_of(path: str, *, search: str, folder: str) -> tuple[str, str] | None:
    """The loader of the program that runs for that file, and that program, which for a script is its interpreter; None for a static one."""
    try:
        for _ in range(NESTED):
            with _File(path) as file:
                words = script_words(file[:FIRST_LINE])
                if not words:
                    loader = Elf(file).interpreter
                    return None if loader is None else (os.path.join(folder, loader), path)
            program = program_of_env(words)
            path = os.path.join(folder, words[0]) if program is None else _found(program, search, folder) or ""
    except (OSError, ElfInvalid):
        pass  # it can't be read, or has gone
    return None


class _File:
    """A file's bytes, read where they are asked for. Not a memory map: to touch one of a file that was cut is SIGBUS."""

    def __init__(self, path: str) -> None:
        # What is no file may have come in its place, and to open a FIFO would wait for its writer.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        status = os.fstat(self._descriptor)
        self._size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "it is no file", path)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start = part.start or 0
        return os.pread(self._descriptor, part.stop - start, start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _look_at(path: str, search: str, folder: str, *, refused: bool = False, depth: int = 0) -> Finding | None:
    """What keeps that file from being run. `refused`: the kernel has said that something does."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ExecutableNotFound, f"was not found: there is no {path}", "package the file"
    except OSError as error:
        return ExecutableNotRunnable, f"can't be looked at: {error.strerror} ({path})", ""
    if stat.S_ISDIR(mode):
        return ExecutableNotRunnable, "is a folder, not a file", "let SHIM_EXECUTABLE name a file in it"
    if not stat.S_ISREG(mode):
        happened = f"is no file but something else ({stat.filemode(mode)})"
        return ExecutableNotRunnable, happened, "let SHIM_EXECUTABLE name a file"
    if not os.access(path, os.X_OK):
        if mode & 0o111 and os.statvfs(path).f_flag & os.ST_NOEXEC:
            happened = "is on a file system that is mounted noexec"
            return ExecutableNotRunnable, happened, "put it where programs may be run from"
        happened = f"is not executable (its mode is {stat.filemode(mode)})"
        cure = "chmod +x it and package it again (a zip made on Windows loses the bit: make it in WSL or a container)"
        return ExecutableNotRunnable, happened, cure
    try:
        file = _File(path)
    except OSError:
        return None  # it may be run without being read
    with file:
        first = file[:FIRST_LINE]
        if first.startswith(b"#!"):
            return look_at_script(first, search, folder, refused=refused, depth=depth)
        finding = _look_at_program(file, first, folder, refused=refused)
    if finding is not None and not refused and _takes_other_formats():
        return None
    return finding


def _look_at_program(file: _File, first: bytes, folder: str, *, refused: bool) -> Finding | None:
    """What is wrong with a file that is no script."""
    here = MACHINES.get(os.uname().machine, os.uname().machine)
    if not first:
        return ExecutableNotRunnable, "is empty (0 bytes)", "check that the build wrote it, and package it again"
    if not first.startswith(MAGIC):
        return not_a_program(first, here)
    try:
        elf = Elf(file)
        loader = elf.interpreter
    except ElfInvalid as error:
        if not refused:
            return None  # the kernel looks at less of it
        return (
            ExecutableNotRunnable,
            f"is a broken ELF program: {error}",
            "check the build's output, and copy it again, in binary mode",
        )
    if elf.machine not in RUNS.get(here, (elf.machine,)):
        happened = f"is a program for {elf.machine}, and this machine is {here}"
        return (
            ExecutableNotRunnable,
            happened,
            f"build it for {here}, or choose {elf.machine} as the function's architecture",
        )
    if elf.type in (ET_REL, ET_CORE) or elf.enters_its_header:
        kind = {ET_REL: "an object file", ET_CORE: "a core file"}.get(elf.type, "a library")
        return ExecutableNotRunnable, f"is {kind}, not a program", "let SHIM_EXECUTABLE name the program itself"
    if elf.length > -(-len(file) // PAGE) * PAGE:  # the last page is filled up with zeros
        happened = f"is truncated: it has {len(file)} bytes, and its ELF headers describe {elf.length}"
        return ExecutableNotRunnable, happened, "check the build's output, and copy it again, in binary mode"
    if loader is not None and not os.path.exists(os.path.join(folder, loader)):
        return _without_loader(loader)
    return None


def not_a_program(first: bytes, here: str) -> Finding:
    """What a file is that the kernel does not take for a program, by its first bytes."""
    if first.startswith(b"\xef\xbb\xbf#!"):
        happened = "begins with a byte order mark before its #!, so that the kernel does not take it for a script"
        return ExecutableNotRunnable, happened, "save it as UTF-8 without a byte order mark"
    macos = dict.fromkeys((b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"), "a program for macOS")
    kinds = {b"MZ": "a program for Windows", **macos, b"PK\3\4": "a zip"}
    kind = next((kinds[magic] for magic in kinds if first.startswith(magic)), None)
    if kind is not None:
        return ExecutableNotRunnable, f"is {kind}", f"build it for Linux on {here}"
    happened = f"is neither an ELF program nor a script with a first line of #!, but begins with {first[:8]!r}"
    return (
        ExecutableNotRunnable,
        happened,
        f"build it for Linux on {here}, or begin the script with #! and its interpreter",
    )


def _without_loader(loader: str) -> Finding:
    if "musl" in loader:
        happened = f"is linked against musl (perhaps built on Alpine), whose loader {loader} is not on this system"
        return (
            ExecutableNotRunnable,
            happened,
            "link it statically (-static), or build it on a glibc system such as Amazon Linux",
        )
    happened = f"is linked against a C library whose loader {loader} is not on this system"
    return ExecutableNotRunnable, happened, "link it statically, or build it on a system like this one"


def look_at_script(first: bytes, search: str, folder: str, *, refused: bool, depth: int) -> Finding | None:
    """What is wrong with a script's first line, or with the interpreter that it names."""
    words = script_words(first)
    if not words:
        return (
            ExecutableNotRunnable,
            "is a script that names no interpreter after #!",
            "name one in its first line, as #!/bin/sh does",
        )
    sought, place, cure = _missing_interpreter(words, search, folder)
    if sought.endswith("\r"):
        happened = f"is a script with CR LF line ends, so that its interpreter is sought as {sought!r}"
        return ExecutableNotFound, happened, WINDOWS
    if sought:
        happened = f"is a script whose interpreter is missing: there is no {sought!r}{place}"
        return ExecutableNotFound, happened, cure
    if depth == NESTED:
        return None
    interpreter = os.path.join(folder, words[0])
    finding = _look_at(interpreter, search, folder, refused=refused, depth=depth + 1)
    if finding is None:
        return None
    kind, happened, cure = finding
    return kind, f"is a script for {words[0]}, which {happened}", cure


def _missing_interpreter(words: list[str], search: str, folder: str) -> tuple[str, str, str]:
    """The interpreter that is not there, where it was sought, and the cure; nothing where it is there."""
    interpreter, program = words[0], program_of_env(words)
    if not os.path.exists(os.path.join(folder, interpreter)):
        name = os.path.basename(interpreter)
        cure = f"name one that exists in its first line, or package one in bin/ and begin with #!/usr/bin/env {name}"
        return interpreter, "", cure
    if program is not None and _found(program, search, folder) is None:
        cure = "package it in bin/ (with its libraries in lib/), or name another in its first line"
        if " " in program:
            cure = "begin with #!/usr/bin/env -S, which splits its argument as a shell does"
        return program, f" on its PATH ({search})", cure
    return "", "", ""


def script_words(first: bytes) -> list[str]:
    """The interpreter and its one argument, as the kernel reads them from a script's first line (execve(2)); [] where it is no script."""
    if not first.startswith(b"#!"):
        return []
    line = os.fsdecode(first[2:].partition(b"\n")[0].partition(b"\0")[0]).replace("\t", " ").strip(" ")
    interpreter, _, argument = line.partition(" ")
    return [word for word in (interpreter, argument.lstrip(" ")) if word]


def program_of_env(words: list[str]) -> str | None:
    """What `#!/usr/bin/env PROGRAM` looks for; None where env is given options or variables, which only env understands."""
    if words[0] not in ("/usr/bin/env", "/bin/env") or len(words) < 2:
        return None
    return None if words[1].startswith("-") or "=" in words[1] else words[1]


def _found(program: str, search: str, folder: str) -> str | None:
    """The program's path, on the child's PATH unless its name has a slash; an empty entry there is the child's folder."""
    entries = [""] if "/" in program else search.split(":")
    candidates = (os.path.join(folder, entry, program) for entry in entries)
    return next((candidate for candidate in candidates if os.access(candidate, os.X_OK)), None)


def _takes_other_formats() -> bool:
    """Whether this kernel was told to run more than ELF programs and scripts: then only it knows."""
    try:
        return bool({*os.listdir(FORMATS)} - {"register", "status"})
    except OSError:
        return False
