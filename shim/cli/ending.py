"""How every command ends: an error is shown and becomes an exit code, a signal an exit code, and neither a stack trace."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.display import Unwritable, message_of, say, show_error, show_object, visible
from shim.cli.exits import FAILED, INTERRUPTED, MISTAKE, SIGNALED, exit_code
from shim.errors import ShimError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

DEBUG = "shim.debug"
"""Where it is kept that `--debug` was given, in what Click shares between `shim` and its commands."""
TRY = "Try: "
"""Before the next command, on a line of its own under an error."""


def _remember(context: typer.Context, value: bool) -> bool:
    if value:
        context.meta[DEBUG] = True
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember, is_eager=True, help="Show the stack trace of an error.")
]
"""The option that every command takes, and `shim` itself."""


class Refused(Exception):
    """This machine does not give what was asked for; the text says what, and why.

    Args:
        sentence: that text.
        instead: what it may give, by the names of the command's parameters.
    """

    def __init__(self, sentence: str, **instead: str) -> None:
        super().__init__(sentence)
        self.instead = instead


def tell_error(error: ShimError) -> None:
    """Shows an error as every command does that is not asked for anything else."""
    show_error(type(error).__name__, message_of(error), getattr(error, "stderr_tail", ""))


def tell_json(error: ShimError) -> None:
    """Shows an error as `--json` does of a command that has no figures."""
    from shim.cli.jsonobject import error_object  # noqa: PLC0415 - only after an error

    show_object(error_object(error))


@contextmanager
def ending(context: typer.Context, tell: Callable[[ShimError], None] = tell_error) -> Iterator[None]:
    """What a command does stands inside.

    Args:
        context: of the command.
        tell: shows an error. Under what `tell_error` shows stands the next command to try.

    Raises:
        typer.Exit: with the code of `shim.cli.exits`, where it did not end well.
    """
    _end_on_signals()
    try:
        try:
            yield
        except (ShimError, OSError, MemoryError, Refused) as error:
            if context.meta.get(DEBUG):
                show_trace(error)
            if isinstance(error, Refused):
                show_error("OSError", str(error))
            else:
                tell(error if isinstance(error, ShimError) else of_machine(error))
            if tell is tell_error:
                _advise(error, context)
            raise typer.Exit(MISTAKE if isinstance(error, Refused) else exit_code(error)) from None
    except Unwritable as error:
        show_error("OSError", str(error))
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def show_trace(error: BaseException) -> None:
    """Shows where an error was raised, as `--debug` asks for."""
    say("".join(traceback.format_exception(error)).rstrip("\n"))


def of_machine(error: OSError | MemoryError) -> ShimError:
    """What this machine has refused, as an error of ours: which file, and why."""
    if isinstance(error, MemoryError):
        return _named("MemoryError", "this needs more memory than there is")
    if isinstance(error, FileNotFoundError) and not _is_somewhere():
        return _named("OSError", "the current folder is not there any more; change to one that is")
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return _named("OSError", f"{place}{error.strerror or error}")


def _named(name: str, sentence: str) -> ShimError:
    kind: type[ShimError] = type(name, (ShimError,), {})
    return kind(sentence)


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _advise(error: Exception, context: typer.Context) -> None:
    from shim.cli.advice import advice  # noqa: PLC0415 - only after an error

    command = advice(error, context)
    if command is not None:
        say(f"{TRY}{visible(command)}")


def _end_on_signals() -> None:
    """A signal that asks us to end becomes an exception, so that the child, which has a session of its own, is killed before we go.

    Python does so for SIGINT. What is ignored (`nohup`) stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(SIGNALED + number)
