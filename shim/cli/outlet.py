"""Where a server's lines go: a thread writes them, so that who does not read them stops no invocation; on a terminal it keeps the live line."""

from __future__ import annotations

from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING

from shim.cli.display import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.cli.board import Board

PAUSE = 0.1
"""Seconds between two drawings of the live line."""
AHEAD = 8 * 1024 * 1024
"""Bytes that wait to be written; what comes on top is dropped, and counted."""
PATIENCE = 2.0
"""Seconds that what waits has at the end, where nobody reads it."""
RESTORED = b"\r\x1b[2K\x1b[?25h"
"""Erases the live line, and shows the cursor."""


class Outlet:
    """Writes lines to a descriptor, one after the other.

    Args:
        descriptor: standard output or standard error.
        board: the live line under them; only on a terminal.
        on_failure: is called in the thread, with why, where the descriptor takes nothing any more.
    """

    def __init__(
        self, descriptor: int, *, board: Board | None = None, on_failure: Callable[[OSError], None] | None = None
    ) -> None:
        self._descriptor = descriptor
        self._board = board
        self._on_failure = on_failure
        self._waiting = bytearray()
        self._dropped = 0
        self._closed = False
        self._turn = Condition()
        self._thread = Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def put(self, lines: bytes) -> None:
        """Takes lines, each with its line feed."""
        with self._turn:
            if len(self._waiting) + len(lines) > AHEAD:
                self._dropped += len(lines)
                return
            self._waiting += lines
            self._turn.notify()

    def close(self) -> None:
        """What waits is written, the live line goes."""
        with self._turn:
            self._closed = True
            self._turn.notify()
        self._thread.join(PATIENCE)

    def abandon(self) -> None:
        """Leaves a terminal as it was, without waiting for anything."""
        if self._board is not None:
            try:
                write(self._descriptor, RESTORED)
            except OSError:
                return

    def _run(self) -> None:
        drawn_at = 0.0
        if self._board is not None:
            self._board.start()
        while True:
            lines, closed = self._next()
            if lines:
                self._write(lines)
            if self._board is not None and (monotonic() - drawn_at >= PAUSE):
                self._board.draw()
                drawn_at = monotonic()
            if closed and not lines:
                break
        if self._board is not None:
            self._board.stop()

    def _next(self) -> tuple[bytes, bool]:
        """What is to be written; with a live line not later than it is to be drawn."""
        with self._turn:
            if not self._waiting and not self._closed:
                self._turn.wait(PAUSE if self._board else None)
            lines = bytes(self._waiting)
            self._waiting.clear()
            if self._dropped:
                lines += b"shim: %d bytes of the log were dropped, since it was not read\n" % self._dropped
                self._dropped = 0
            return lines, self._closed

    def _write(self, lines: bytes) -> None:
        if self._board is not None:
            lines = self._board.erased() + lines
        try:
            write(self._descriptor, lines)
        except OSError as error:
            if self._on_failure is not None:
                self._on_failure(error)
                self._on_failure = None
