"""Why an executable can't be started, in a sentence: asked at init, before the first invocation, and when the kernel has refused."""

from __future__ import annotations

import errno
import os
import stat

from shim.errors import ExecutableError, ExecutableNotFound, ExecutableNotRunnable

HEADERS = 1024 * 1024
"""How much of a file is read for its headers."""

MACHINES = {"aarch64": "arm64"}
"""The kernel's names of architectures → Lambda's, where they differ."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.request import Request


def resolve(executable: str, *, task_root: str, path: str) -> str:
    """The absolute path of the file to run: in the task root, or, for a bare name that is not there, on the child's PATH.

    Raises:
        ExecutableNotFound: it is nowhere; says where it was looked for.
    """
    at_root = os.path.join(task_root, executable)
    if os.path.isfile(at_root) or ("/" in executable and os.path.exists(at_root)):
        return os.path.abspath(at_root)
    if "/" in executable:
        raise ExecutableNotFound(
            f"was not found: there is no {at_root}",
            executable=executable,
            cure="package the file, or set executable to its path below LAMBDA_TASK_ROOT",
        )
    folders = [folder for folder in path.split(":") if folder]
    for folder in folders:
        candidate = os.path.join(folder, executable)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise ExecutableNotFound(
        f"was not found in {task_root}, nor on the child's PATH ({', '.join(folders)})",
        executable=executable,
        cure="package the file, or set executable to its path",
    )


def examine(path: str, *, executable: str) -> ExecutableError | None:
    """What will keep that file from being run, as far as a look at it tells; None where nothing is seen."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ExecutableNotFound(f"was not found: there is no {path}", executable=executable, cure="package the file")
    except OSError as error:
        return ExecutableNotRunnable(f"can't be looked at: {error.strerror} ({path})", executable=executable)
    if stat.S_ISDIR(mode):
        return ExecutableNotRunnable(
            "is a folder, not a file", executable=executable, cure="set executable to a file in it"
        )
    if not stat.S_ISREG(mode):
        return ExecutableNotRunnable(
            f"is no file but something else ({stat.filemode(mode)})",
            executable=executable,
            cure="set executable to a file",
        )
    if not os.access(path, os.X_OK):
        return ExecutableNotRunnable(
            f"has no execute bit for us (its mode is {stat.filemode(mode)})",
            executable=executable,
            cure="chmod +x it before it is packaged (a zip made on Windows loses the bit)",
        )
    return _examine_interpreter(path, executable)


def explain(refusal: OSError, request: Request, *, executable: str, folder: str | None) -> ExecutableError:
    """The error for the kernel's refusal to start a child with that request in that folder (None: our own)."""
    seen = examine(request.arguments[0], executable=executable)
    if seen is not None:
        return seen
    if not os.path.isdir(folder or "."):
        return ExecutableNotRunnable(
            f"could not be started, since the folder to run it in is gone ({folder or 'our current folder'})",
            executable=executable,
            cure="let it be there as long as the function is",
        )
    reason = f"{refusal.strerror} ({errno.errorcode.get(refusal.errno or 0, refusal.errno)})"
    if refusal.errno == errno.ENOEXEC:
        return _explain_format(request.arguments[0], executable, reason)
    if refusal.errno == errno.ENOENT:  # the file is there: what it names is not
        return _explain_loader(request.arguments[0], executable, reason)
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
    else:
        cure = ""
    return ExecutableNotRunnable(f"could not be started: {reason}", executable=executable, cure=cure)


def _explain_format(path: str, executable: str, reason: str) -> ExecutableError:
    """Why the kernel takes that file for no program."""
    from shim.elf import MAGIC, Elf, ElfInvalid  # noqa: PLC0415 - only where the kernel has refused

    here = MACHINES.get(os.uname().machine, os.uname().machine)
    with open(path, "rb", buffering=0) as file:
        content = file.read(HEADERS) or b""
    cure = f"build it for {here}; a script's first line must be #! and its interpreter"
    if not content:
        happened, cure = "is an empty file", "package the file itself"
    elif not content.startswith(MAGIC):
        happened = f"is neither an ELF program nor a script with a first line of #!, but begins with {content[:8]!r}"
    else:
        try:
            elf = Elf(content)
        except ElfInvalid as error:
            happened, cure = f"is a broken ELF program: {error}", "copy it again, as a binary"
        else:
            happened = f"is a program for {elf.machine} ({elf.bits} bits), and this machine is {here}"
    return ExecutableNotRunnable(f"{happened} ({reason})", executable=executable, cure=cure)


def _explain_loader(path: str, executable: str, reason: str) -> ExecutableError:
    """Which loader the file asks for, that is not here."""
    from shim.elf import Elf, ElfInvalid  # noqa: PLC0415 - only where the kernel has refused

    try:
        with open(path, "rb", buffering=0) as file:
            loader = Elf(file.read(HEADERS) or b"").interpreter
    except (OSError, ElfInvalid):
        loader = None
    if loader is None:
        return ExecutableNotRunnable(f"could not be started: {reason}", executable=executable)
    library = (
        "musl, another C library than this system's"
        if "musl" in loader
        else "a C library that is not where it looks for it"
    )
    return ExecutableNotRunnable(
        f"needs the loader {loader} of {library}: {reason}",
        executable=executable,
        cure="link it statically, or for the C library of this system",
    )


def no_tmp(refusal: OSError, *, executable: str) -> ExecutableError:
    """The error for a folder of its own (`tmp="fresh"`) that could not be made."""
    return ExecutableNotRunnable(
        f"was not started, since no folder for its temporary files could be made: {refusal.strerror} ({refusal.filename})",
        executable=executable,
        cure="let TMPDIR name a folder that can be written to, and has room",
    )


def _examine_interpreter(path: str, executable: str) -> ExecutableError | None:
    """Whether the interpreter in a script's first line is there."""
    try:
        with open(path, "rb", buffering=0) as file:
            line = (file.read(256) or b"").partition(b"\n")[0]
    except OSError:
        return None  # it may be run without being read
    if not line.startswith(b"#!"):
        return None
    interpreter = os.fsdecode(line[2:].strip(b" \t").split(b" ")[0].split(b"\t")[0])
    if interpreter and not os.path.exists(interpreter):
        return ExecutableNotFound(
            f"is a script whose interpreter is missing: there is no {interpreter!r}",
            executable=executable,
            cure="write its lines with LF ends, not CR LF"
            if interpreter.endswith("\r")
            else "package the interpreter, or name another in its first line",
        )
    return None
