"""What a command shows: the result on standard output, everything else on standard error; styled on a terminal, plain anywhere else.

Rich is imported only where there is a terminal: it would double our own peak of memory, under which a child's can't be told (`invoke.py`).
"""

from __future__ import annotations

import os
import re
import select

from shim.cli.jsontext import compact, indented
from shim.errors import ExecutableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STDOUT = 1
STDERR = 2
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would break a line in two, or be obeyed by a terminal."""


def show_result(result: bytes) -> None:
    """The JSON of a value: coloured and indented on a terminal, else compact and with one line feed.

    Raises:
        OSError: standard output does not take it.
    """
    text = result.decode()
    if os.isatty(STDOUT):
        write(STDOUT, _styled(STDOUT, indented(text)))
    else:
        write(STDOUT, f"{compact(text)}\n".encode())


def show_error(kind: str, message: str) -> None:
    """One line: what went wrong."""
    message = CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), message)
    if os.isatty(STDERR):
        _tell(_styled(STDERR, [(kind, "bold red"), (f": {message}", "")]))
    else:
        say(f"{kind}: {message}")


def say(lines: str) -> None:
    """Lines for the log."""
    _tell(f"{lines}\n".encode("utf-8", "backslashreplace"))


def message_of(error: Exception) -> str:
    """What an error says, without the end of the executable's standard error: that was shown live just before."""
    message = str(error)
    if isinstance(error, ExecutableError) and error.stderr_tail:
        return message.removesuffix(f". Its standard error ends with:\n{error.stderr_tail}")
    return message


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


def _tell(data: bytes) -> None:
    """Writes to the log, and goes on if nobody reads it any more: the result may still be wanted."""
    try:
        write(STDERR, data)
    except OSError:
        return


def _styled(descriptor: int, pieces: Iterable[tuple[str, str]]) -> bytes:
    """The pieces as a terminal takes them, with a line feed at the end."""
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.text import Text  # noqa: PLC0415 - likewise

    # With NO_COLOR Rich leaves the colours out but not bold; here it means no escape at all.
    console = Console(stderr=descriptor == STDERR, color_system=None if os.environ.get("NO_COLOR") else "auto")
    with console.capture() as capture:
        console.print(Text.assemble(*pieces), soft_wrap=True)
    return capture.get().encode(console.encoding, "backslashreplace")
