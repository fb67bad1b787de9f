"""How every command ends: an error is shown and becomes an exit code, a signal an exit code, and neither a stack trace."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.display import Unwritable, message_of, say, show_error
from shim.cli.exits import FAILED, INTERRUPTED, SIGNALED, exit_code
from shim.errors import ShimError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_DEBUG = "shim.debug"


def _remember(context: typer.Context, value: bool) -> bool:
    if value:
        context.meta[_DEBUG] = True  # Click shares it between `shim` and its commands
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_remember, help="Show the stack trace of an error.")]
"""The option that every command takes, and `shim` itself."""


def tell_error(error: ShimError) -> None:
    """Shows an error as every command does that is not asked for anything else."""
    show_error(type(error).__name__, message_of(error), getattr(error, "stderr_tail", ""))


@contextmanager
def ending(context: typer.Context, tell: Callable[[ShimError], None] = tell_error) -> Iterator[None]:
    """What a command does stands inside.

    Args:
        context: of the command.
        tell: shows an error.

    Raises:
        typer.Exit: with the code of `shim.cli.exits`, where it did not end well.
    """
    _end_on_signals()
    try:
        try:
            yield
        except ShimError as error:
            if context.meta.get(_DEBUG):
                say("".join(traceback.format_exception(error)).rstrip("\n"))
            tell(error)
            raise typer.Exit(exit_code(error)) from None
    except Unwritable as error:
        show_error("OSError", f"the result could not be written to standard output: {error}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _end_on_signals() -> None:
    """A signal that asks us to end becomes an exception, so that the child, which has a session of its own, is killed before we go.

    Python does so for SIGINT. What is ignored (`nohup`) stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(SIGNALED + number)
