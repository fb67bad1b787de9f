"""How every command ends: an error becomes one line and an exit code, a signal an exit code, and neither a stack trace."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.display import message_of, say, show_error
from shim.cli.exits import INTERRUPTED, SIGNALED, exit_code
from shim.errors import ShimError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_DEBUG = "shim.debug"


def _remember(context: typer.Context, value: bool) -> bool:
    if value:
        context.meta[_DEBUG] = True  # Click shares it between `shim` and its commands
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_remember, help="Show the stack trace of an error.")]
"""The option that every command takes, and `shim` itself."""


@contextmanager
def ending(context: typer.Context) -> Iterator[None]:
    """What a command does stands inside.

    Raises:
        typer.Exit: with the code of `shim.cli.exits`, where it did not end well.
    """
    _end_on_signals()
    try:
        yield
    except ShimError as error:
        if context.meta.get(_DEBUG):
            say("".join(traceback.format_exception(error)).rstrip("\n"))
        show_error(type(error).__name__, message_of(error))
        raise typer.Exit(exit_code(error)) from None
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
