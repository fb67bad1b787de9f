"""A terminal on which commands really run, and what stands in its lines, from when until when.

The time is that of a film, and not of the machine: who types is always equally fast, and what takes its time is waited for equally long. So two films
of the same commands differ only where these say something else.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import pyte
from wcwidth import wcwidth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyte.screens import Char

PROMPT = b"\x1b[1;32m$\x1b[0m "
THINKS = 0.4
"""Seconds from the prompt to the first key."""
KEY = 0.025
"""Seconds for each."""
ENTER = 0.3
"""Seconds from the last key to the line's end, and again to the first of what the command writes."""
SOON = 1.0
"""Seconds within which all that a command writes comes at once."""
WAIT = 1.2
"""Seconds that one waits for a slower one, however slow: where it was silent longest."""
LONGEST = 60
"""Seconds after which a command that is silent has failed."""
HISTORY = 10_000
"""Lines above the screen that are kept."""


class Style(NamedTuple):
    """How characters look. The colours have pyte's names, or are six hexadecimal digits."""

    color: str = "default"
    background: str = "default"
    bold: bool = False
    italics: bool = False
    underscore: bool = False
    strikethrough: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether a blank that looks so is not to be seen."""
        return self.background == "default" and not self.underscore and not self.strikethrough


class Run(NamedTuple):
    """Neighbours in a line that look alike; a character that is two columns wide is alone."""

    column: int
    columns: int
    text: str
    style: Style
    is_wide: bool = False


class Line(NamedTuple):
    """What stands in a row, from one moment until another, which for what stays is None. Rows are counted from the first that was ever written."""

    since: float
    until: float | None
    row: int
    runs: tuple[Run, ...]


class Piece(NamedTuple):
    """So much of a command as is in one row, from the moment of its first key until that of the next piece's."""

    row: int
    column: int
    length: int
    first: float
    last: float


class Typing(NamedTuple):
    """A command that is typed, from the moment of its prompt until that of its end; at the last prompt that is None."""

    prompt: float
    pieces: tuple[Piece, ...]
    entered: float | None


class Scroll(NamedTuple):
    """From that moment on so many rows are above the screen."""

    at: float
    rows: int


class Film(NamedTuple):
    """What was to be seen."""

    columns: int
    rows: int
    seconds: float
    lines: list[Line]
    typings: list[Typing]
    scrolls: list[Scroll]


class Terminal:
    """A terminal that is filmed.

    Args:
        columns: its width.
        rows: its height.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._screen = _Screen(columns, rows, history=HISTORY)
        self._stream = pyte.ByteStream(self._screen)
        self._clock = 0.0
        self._standing: dict[int, tuple[float, tuple[Run, ...]]] = {}
        self._lines: list[Line] = []
        self._typings: list[Typing] = []
        self._scrolls: list[Scroll] = []

    def write(self, shown: bytes) -> None:
        """Shows what a program wrote."""
        self._stream.feed(shown)
        self._look()

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self._clock += seconds

    def type(self, command: str) -> None:
        """Shows the prompt, and somebody who types a command of ASCII; goes on where the command begins to write."""
        prompt = self._clock
        self.write(PROMPT)
        row, column = self._cursor
        self.write(command.encode("ascii"))
        self._clock += THINKS
        pieces = []
        rest = len(command)
        while rest:
            length = min(rest, self._screen.columns - column)
            last = self._clock + KEY * length
            pieces.append(Piece(row, column, length, self._clock, last))
            self._clock = last
            rest -= length
            row, column = row + 1, 0
        self._clock += ENTER
        self._typings.append(Typing(prompt, tuple(pieces), self._clock))
        self.write(b"\r\n")
        self._clock += ENTER

    def run(self, command: str, folder: Path, environ: Mapping[str, str]) -> int:
        """Types a command, runs it in a shell on this terminal, and gives its exit code.

        Raises:
            TimeoutError: it is silent, and goes on.
        """
        self.type(command)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", self._screen.lines, self._screen.columns, 0, 0))
        before = time.monotonic()
        written: list[tuple[float, bytes]] = []
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environ,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            try:
                for shown in _shown(ours):
                    now = time.monotonic()
                    written.append((now - before, shown))
                    before = now
                code = process.wait(LONGEST)
            finally:
                process.kill()  # where it hangs
                os.close(ours)
        self.play([*written, (time.monotonic() - before, b"")])
        return code

    def play(self, written: list[tuple[float, bytes]]) -> None:
        """Shows what a command wrote, piece by piece, each after so many seconds of silence."""
        silences = [silence for silence, _ in written]
        awaited = silences.index(max(silences)) if sum(silences) > SOON else None
        for number, (_, shown) in enumerate(written):
            if number == awaited:
                self.wait(WAIT)
            self.write(shown)

    def film(self) -> Film:
        """What was to be seen so far, with a prompt at the end."""
        self.write(PROMPT)
        end = Typing(self._clock, (Piece(*self._cursor, 0, self._clock, self._clock),), None)
        staying = [Line(since, None, row, runs) for row, (since, runs) in self._standing.items()]
        return Film(
            self._screen.columns,
            self._screen.lines,
            self._clock,
            sorted(self._lines + staying, key=lambda line: (line.since, line.row)),
            [*self._typings, end],
            self._scrolls,
        )

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def _cursor(self) -> tuple[int, int]:
        """Its row and column."""
        return len(self._screen.history.top) + self._screen.cursor.y, self._screen.cursor.x

    def _look(self) -> None:
        """Takes down what has changed. What was to be seen for no time was not."""
        screen = self._screen
        lines = [*screen.history.top, *(screen.buffer[row] for row in range(screen.lines))]
        above = len(lines) - screen.lines
        settled = self._scrolls[-1].rows if self._scrolls else 0
        if above > settled:
            if self._scrolls and self._scrolls[-1].at == self._clock:
                self._scrolls.pop()
            self._scrolls.append(Scroll(self._clock, above))
        for row in range(settled, len(lines)):
            runs = _runs(lines[row], screen.columns)
            since, before = self._standing.get(row, (self._clock, ()))
            if runs == before:
                continue
            if before and since < self._clock:
                self._lines.append(Line(since, self._clock, row, before))
            if runs:
                self._standing[row] = self._clock, runs
            else:
                del self._standing[row]


class _Screen(pyte.HistoryScreen):
    """A terminal's screen."""

    def draw(self, data: str) -> None:
        """Without what has no place on a screen: pyte would leave out all that comes after it."""
        super().draw("".join(char for char in data if wcwidth(char) > 0 or unicodedata.combining(char)))


def _shown(terminal: int) -> Iterator[bytes]:
    """What is written on a terminal, until nobody holds it open."""
    while True:
        if not select.select([terminal], [], [], LONGEST)[0]:
            raise TimeoutError("the command hangs")
        try:
            shown = os.read(terminal, 65_536)
        except OSError:  # EIO: nobody holds the other end any more
            return
        if not shown:
            return
        yield shown


def _runs(line: Mapping[int, Char], columns: int) -> tuple[Run, ...]:
    """The runs of a line, without the blanks at its end."""
    cells = [(column, line[column].data, _style(line[column])) for column in range(columns)]
    while cells and cells[-1][1] == " " and cells[-1][2].is_blank:
        cells.pop()
    runs: list[Run] = []
    for column, text, style in cells:
        last = runs[-1] if runs else None
        if last is not None and not text:  # the second half of a wide one
            runs[-1] = last._replace(columns=2, is_wide=True)
        elif last is not None and last.style == style and not last.is_wide and line[column + 1].data:
            runs[-1] = last._replace(columns=last.columns + 1, text=last.text + text)
        else:
            runs.append(Run(column, 1, text, style))
    return tuple(runs)


def _style(cell: Char) -> Style:
    color, background = cell.fg, cell.bg
    if cell.reverse:
        color, background = background.replace("default", "window"), color.replace("default", "text")
    return Style(color, background, cell.bold, cell.italics, cell.underscore, cell.strikethrough)
