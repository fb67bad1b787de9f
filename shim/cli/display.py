"""What a command shows: the result on standard output, everything else on standard error; styled on a terminal, plain anywhere else.

Rich is imported only where there is a terminal: it would double our own peak of memory, under which a child's can't be told (`function.py`).
"""

from __future__ import annotations

import os
import re
import select
import sys

from shim.cli.jsontext import compact, indented
from shim.errors import ExecutableError, sendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from rich.console import Console, RenderableType

STDOUT = 1
STDERR = 2
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would break a line in two, or be obeyed by a terminal."""
WIDTH = 80
"""The columns of a terminal that does not say."""


class Unwritable(Exception):
    """Standard output does not take what it is to get, and why."""

    def __str__(self) -> str:
        return f"the result could not be written to standard output: {super().__str__()}"


def show_result(result: bytes) -> None:
    """The JSON of a value: coloured and indented on a terminal, else compact and with one line feed.

    Raises:
        Unwritable: standard output does not take it.
    """
    text = result.decode()
    deliver(_pretty(text) if os.isatty(STDOUT) else f"{compact(text)}\n".encode())


def show_object(encoded: bytes) -> None:
    """The JSON of `--json`: coloured and indented on a terminal, else byte for byte and with one line feed.

    Raises:
        Unwritable: standard output does not take it.
    """
    deliver(_pretty(encoded.decode()) if os.isatty(STDOUT) else encoded + b"\n")


def show_error(kind: str, message: str, tail: str = "") -> None:
    """What went wrong: a panel on a terminal, with the end of standard error; else one line, without it."""
    if os.isatty(STDERR):
        from shim.cli.panel import error_panel  # noqa: PLC0415 - only for a terminal

        _tell(rendered(STDERR, [error_panel(kind, message, tail, columns=columns(STDERR))]))
    else:
        say(f"{kind}: {visible(message)}")


def say(lines: str) -> None:
    """Lines for the log."""
    _tell(f"{lines}\n".encode("utf-8", "backslashreplace"))


def message_of(error: Exception) -> str:
    """What an error says, without the end of the executable's standard error: that has a place of its own, or was shown live just before."""
    message = str(error)
    if isinstance(error, ExecutableError) and error.stderr_tail:
        return message.removesuffix(sendable(f". Its standard error ends with:\n{error.stderr_tail}"))
    return message


def visible(text: str, *, keep: str = "") -> str:
    """The text with control characters as escape sequences that one can read, save for those that are kept."""
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(), text)


def plain() -> bool:
    """Whether no escape sequence is wanted, on a terminal either. With NO_COLOR Rich leaves the colours out but not bold; here it means all."""
    return bool(os.environ.get("NO_COLOR"))


def styled(terminal: int) -> bool:
    """Whether it is a terminal, on which escape sequences are wanted, and obeyed."""
    return os.isatty(terminal) and not plain() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def columns(terminal: int) -> int:
    """The width of a terminal. Rich would ask standard input first, which may be another one."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) else os.get_terminal_size(terminal).columns or WIDTH


def console(terminal: int, file: TextIO | None) -> Console:
    """Rich's console for a terminal, as text that is written there through a file."""
    from rich.console import Console  # noqa: PLC0415 - only for a terminal

    return Console(file=file, width=columns(terminal), color_system=None if plain() else "auto")


def write(descriptor: int, data: bytes) -> None:
    """Writes all of it, past Python's own streams: those try again at exit what has failed, and change the exit code when it fails again.

    Raises:
        OSError: the descriptor does not take it.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # who started us made it so
            select.select([], [descriptor], [])


def deliver(data: bytes) -> None:
    """Writes what was asked for to standard output.

    Raises:
        Unwritable: standard output does not take it.
    """
    if sys.stdout is None:  # it was closed by whoever started us; what stands in its place by now is not it
        raise Unwritable("it is closed")
    try:
        write(STDOUT, data)
    except OSError as error:
        raise Unwritable(error.strerror) from None


def rendered(terminal: int, parts: Iterable[RenderableType], *, soft_wrap: bool = False) -> bytes:
    """The parts as a terminal takes them, with a line feed at the end of each."""
    at = console(terminal, sys.stdout if terminal == STDOUT else sys.stderr)
    with at.capture() as capture:
        for part in parts:
            at.print(part, soft_wrap=soft_wrap)
    return capture.get().encode(at.encoding, "backslashreplace")


def _pretty(text: str) -> bytes:
    from rich.text import Text  # noqa: PLC0415 - only for a terminal

    return rendered(STDOUT, [Text.assemble(*indented(text))], soft_wrap=True)


def _tell(data: bytes) -> None:
    """Writes to the log, and goes on if nobody reads it any more: the result may still be wanted."""
    try:
        write(STDERR, data)
    except OSError:
        return
