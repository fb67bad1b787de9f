"""Which command to try next after an error: a line on standard error under it, for a person. No part of the error itself, and not in `--json`."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from shim.cli.ending import Refused
from shim.cli.help import Misuse
from shim.cli.options import POSITIONAL
from shim.errors import (
    EventInvalid,
    ExecutableError,
    ExecutableNotFound,
    ExecutableNotRunnable,
    OutputInvalid,
    PackageError,
    ReplyMissing,
    ReplyUnexpected,
)
from shim.local.target import is_zip
from shim.settings import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    import typer

CONFORMED = {*NAMES, "event", "arguments"}
"""The parameters of `shim invoke` that `shim conform` has, too."""
BUILDS = {
    "Makefile": "make",
    "Cargo.toml": "cargo build --release",
    "go.mod": "go build -o build/ ./...",
    "shard.yml": "shards build --release",
    "stack.yaml": "stack build",
    "cabal.project": "cabal build",
    "CMakeLists.txt": "cmake -B build && cmake --build build",
}
"""What is built by what, in a folder that has it."""
EXECUTABLES = "executables"
PROGRAMS = (POSITIONAL, "target", "path", EXECUTABLES)
"""The parameters that say what is to be run, judged or packed."""
WITH_LIBC = "--with-libc"
LARGEST = 1024 * 1024
"""Bytes of a README.md that is looked at."""


def advice(error: Exception, context: typer.Context) -> str | None:
    """The next command, as it can be pasted; None where none is known to help.

    Args:
        error: which was shown.
        context: of the command that failed.
    """
    command, given = context.info_name, context.params
    program = _program(context)
    is_there = bool(program) and os.path.exists(program)
    match error:
        case ExecutableError() if _are_ours(context):
            return _put_first(context)
        case Refused():
            return _again(context, **error.instead) if error.instead else None
        case EventInvalid():
            return _with_an_event(context)
        case PackageError() if command == "pack" and WITH_LIBC in str(error) and not given.get("with_libc"):
            return _again(context, with_libc=True)
        case ExecutableNotFound() | PackageError() if program and not os.path.lexists(program):
            return _build(context, program)
        case PackageError() | ExecutableNotFound() | ExecutableNotRunnable() if is_there and command != "pack":
            return shlex.join(["shim", "check", program])
        case OutputInvalid() | ReplyMissing() | ReplyUnexpected() if command == "invoke" and not is_zip(program):
            return _again(context, "conform", only=CONFORMED)
        case _:
            return None


def words(error: Exception, context: Any) -> str:
    """The next command after words that make no sense.

    Args:
        error: Typer's.
        context: of the command.
    """
    if isinstance(error, Misuse) and error.instead is not None:
        return error.instead
    param = getattr(error, "param", None)
    if param is not None and param.param_type_name == "argument" and param.name in PROGRAMS:
        built = next(iter(_built()), None)
        if built is not None and type(error).__name__ == "MissingParameter":
            return shlex.join([*context.command_path.split(), built])
        recipe = _recipe() if built is None else None
        if recipe is not None:
            return recipe
    return f"{context.command_path} --help"


def _program(context: typer.Context) -> str:
    """What is to be run, judged or packed; "" where it was not said."""
    value = context.params.get(_named(context)) or ""
    return value if isinstance(value, str) else str(value[0])


def _named(context: typer.Context) -> str:
    """The name of the parameter that says it; "" where there is none."""
    arguments = (str(param.name) for param in context.command.params if param.param_type_name == "argument")
    return next((name for name in arguments if name in PROGRAMS), "")


def _are_ours(context: typer.Context) -> bool:
    """Whether an option of ours stands behind the program, which got it as its own."""
    options = {option for param in context.command.params for option in param.opts if option.startswith("--")}
    return any(word.partition("=")[0] in options for word in context.params.get("arguments") or ())


def _put_first(context: typer.Context) -> str:
    """The same with what stands behind the program before it."""
    options = _again(
        context, only={param.name for param in context.command.params if param.param_type_name == "option"}
    )
    return f"{options} {shlex.join([*context.params['arguments'], _program(context)])}"


def _built() -> list[str]:
    """The programs that a build has left in the current folder."""
    found = []
    for folder in ("build", "bin", "target/release"):
        try:
            paths = [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
        except OSError:
            continue
        found += [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)]
    return found


def _build(context: typer.Context, program: str) -> str | None:
    """In place of a program that is not there: the one of the same name that was built, or what builds it."""
    for path in _built():
        if os.path.basename(path) == os.path.basename(program):
            name = _named(context)
            others = context.params[name][1:] if name == EXECUTABLES else []
            instead: dict[str, Any] = {name: [path, *others]}
            return _again(context, **instead)
    if not os.path.dirname(program):
        return None  # it is one of the PATH, which is installed and not built
    return _recipe() or next((build for file, build in BUILDS.items() if os.path.isfile(file)), None)


def _recipe() -> str | None:
    """What a README.md in the manner of `shim new` says: its first commands build the program, the next are ours."""
    if not os.path.isfile("README.md"):  # to open a FIFO would wait for its writer
        return None
    try:
        with open("README.md", encoding="utf-8") as readme:
            block = re.search(r"^```sh\n(.*?)^shim ", readme.read(LARGEST), re.MULTILINE | re.DOTALL)
    except (OSError, UnicodeError):
        return None
    return " && ".join(filter(None, block[1].splitlines())) if block and "```" not in block[1] else None


def _with_an_event(context: typer.Context) -> str | None:
    """The same with an event that is there."""
    try:
        names = sorted(name for name in os.listdir("events") if name.endswith(".json"))
    except OSError:
        return None
    events = [path for path in (os.path.join("events", name) for name in names) if path != context.params.get("event")]
    return _again(context, event=events[0]) if events else None


def _again(
    context: typer.Context, command: str | None = None, *, only: Collection[str] | None = None, **instead: object
) -> str:
    """What was typed, with something else in it.

    Args:
        context: of the command.
        command: another one.
        only: the names of the parameters that it has; None: all.
        instead: values in place of those that were given.
    """
    words = ["shim", command or str(context.info_name)]
    arguments: list[str] = []
    for param in context.command.params:
        value = instead.get(param.name, context.params.get(param.name))
        if (param.name in instead or _was_typed(context, param)) and (only is None or param.name in only):
            if param.param_type_name == "argument":
                arguments += _words(value)
            elif value is True:
                words.append(param.opts[-1])
            else:
                words += [word for text in _words(value) for word in (param.opts[-1], text)]
    return shlex.join([*words, *arguments])


def _was_typed(context: typer.Context, param: Any) -> bool:
    source = context.get_parameter_source(param.name)
    return source is not None and source.name == "COMMANDLINE"


def _words(value: object) -> Sequence[str]:
    return list(map(str, value)) if isinstance(value, (list, tuple)) else [str(value)]
