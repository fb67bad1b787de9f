"""The live line of a server: how many invocations, how many failed, how many run, how long they took."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from shim.cli.display import columns, console
from shim.cli.repeat import median, percentile
from shim.cli.table import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.live import Live
    from rich.text import Text

LATEST = 1000
"""How many durations the median and the p99 are of."""
ERASE = b"\r\x1b[2K"


class Tally:
    """What became of the invocations of a server."""

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self._latest: deque[float] = deque(maxlen=LATEST)

    def add(self, seconds: float, *, failed: bool) -> None:
        """Counts one more."""
        self.count += 1
        self.errors += failed
        self._latest.append(seconds)

    def parts(self) -> list[tuple[str, str]]:
        """What is to be said of them: each figure, and its style."""
        ordered = sorted(self._latest.copy())
        middle = median(ordered) if ordered else None
        late = percentile(ordered, 99) if ordered else None
        return [
            (_counted(self.count, "invocation"), "bold"),
            (_counted(self.errors, "error"), "bold red" if self.errors else ""),
            (f"p50 {shown(middle)}", ""),
            (f"p99 {shown(late)}", ""),
        ]

    def __str__(self) -> str:
        return ", ".join(text for text, _ in self.parts())


class Board:
    """The line, at the foot of a terminal, drawn by one thread alone.

    Args:
        terminal: its descriptor.
        tally: what is shown.
        running: how many invocations run now.
    """

    def __init__(self, terminal: int, tally: Tally, running: Callable[[], int]) -> None:
        self._terminal = terminal
        self._tally = tally
        self._running = running
        self._drawn = ""
        self._live: Live | None = None

    def start(self) -> None:
        """It is there from now on."""
        from rich.live import Live  # noqa: PLC0415 - only for a terminal

        file = open(self._terminal, "w", closefd=False)  # noqa: SIM115 - it lives as long as the line
        self._live = Live(
            get_renderable=self._line,
            console=console(self._terminal, file),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with suppress(OSError):
            self._live.start()

    def draw(self) -> None:
        """Draws it, if it is not there as it should be."""
        line = self._line().plain
        if self._live is not None and line != self._drawn:
            self._drawn = line
            with suppress(OSError):
                self._live.console.width = columns(self._terminal)
                self._live.refresh()

    def erased(self) -> bytes:
        """What makes room for other lines; it is to be drawn again after them."""
        self._drawn = ""
        return ERASE

    def stop(self) -> None:
        """It goes."""
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()

    def _line(self) -> Text:
        from rich.text import Text  # noqa: PLC0415 - only for a terminal

        parts = self._tally.parts()
        parts.insert(2, (f"{self._running()} running", ""))
        line = Text(no_wrap=True, overflow="ellipsis")
        for number, (text, style) in enumerate(parts):
            line.append(" · " if number else "", "dim").append(text, style)
        return line


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
