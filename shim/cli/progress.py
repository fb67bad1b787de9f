"""The progress bar of many invocations: the last line of a terminal, under what the executable logs.

The log of a Shim is descriptor 2, into which it writes whenever a line comes. So that these lines do not tear the bar apart, descriptor 2 is
a pipe while the bar is there, and a thread of ours takes the bar away, writes them as they are, and lets the bar come back.
"""

from __future__ import annotations

import fcntl
import os
import select
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock, Thread
from time import monotonic

from shim.cli.display import STDERR, columns, console, styled, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shim.cli.repeat import Tally

PAUSE = 0.1
"""Seconds between two drawings, and the silence of the log after which the bar comes back. Drawing takes about 2 ms, in which no other thread of
Python runs: drawn more often, and while an invocation lasts, it would show in the durations."""
CHUNK = 64 * 1024
LONGEST_LINE = 1024 * 1024
"""A longer line is shown in pieces, so that no executable can make us keep it."""
AHEAD = 1024 * 1024
"""Bytes by which the log may be ahead of the terminal, before it drops what comes and says so."""
ERASE = b"\r\x1b[2K"


@contextmanager
def progress(total: int) -> Iterator[Callable[[Tally], None]]:
    """A bar on standard error, if that is a terminal, which is gone at the end. What is given is to be called after each invocation.

    The Shim must be built and closed inside.
    """
    if not styled(STDERR):
        yield lambda _tally: None
        return
    with ExitStack() as stack:
        terminal = os.dup(STDERR)
        stack.callback(os.close, terminal)
        bar = _Bar(terminal, total)
        stack.callback(bar.stop)
        log, writing = os.pipe()
        stack.callback(os.close, log)
        with suppress(OSError):  # a user may have only so much of it
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, AHEAD)
        reader = Thread(target=bar.follow, args=(log,), daemon=True)
        reader.start()
        stack.callback(reader.join)
        stack.callback(os.dup2, terminal, STDERR)  # the pipe's last writing end is closed by it, and the reader ends
        os.dup2(writing, STDERR)
        os.close(writing)
        yield bar.step


class _Bar:
    def __init__(self, terminal: int, total: int) -> None:
        from rich import progress as parts  # noqa: PLC0415 - only for a terminal
        from rich.table import Column  # noqa: PLC0415 - likewise

        self._terminal = terminal
        self._turn = Lock()
        self._drawn_at = monotonic()
        file = open(terminal, "w", closefd=False)  # noqa: SIM115 - it lives as long as the bar
        self._progress = parts.Progress(
            parts.BarColumn(min(40, max(4, columns(terminal) - 40)), table_column=Column(no_wrap=True)),
            parts.TextColumn("{task.completed}/{task.total}{task.fields[failures]}", markup=False),
            parts.TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=console(terminal, file),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, failures="")
        with suppress(OSError):
            self._progress.start()

    def step(self, tally: Tally) -> None:
        """One more invocation is done."""
        failures = f", {tally.failures} failed" if tally.failures else ""
        self._progress.update(self._task, completed=len(tally.durations), failures=failures)
        if monotonic() - self._drawn_at >= PAUSE:
            self._draw()

    def follow(self, log: int) -> None:
        """Shows what comes out of the pipe, whole lines each time, until its end."""
        rest = b""
        erased = False
        while True:
            if erased and not select.select([log], [], [], PAUSE)[0]:
                self._draw()
                erased = False
            data = os.read(log, CHUNK)
            rest += data
            end = rest.rfind(b"\n") + 1
            if rest and (not data or len(rest) - end > LONGEST_LINE):
                end = len(rest)
            if end:
                self._show(rest[:end])
                rest = rest[end:]
                erased = True
            if not data:
                return

    def stop(self) -> None:
        """The bar goes."""
        with suppress(OSError):
            self._progress.stop()

    def _show(self, lines: bytes) -> None:
        with (
            self._turn,
            suppress(OSError),
        ):  # a terminal that is gone takes nothing, and the pipe must be read all the same
            write(self._terminal, ERASE + lines + (b"" if lines.endswith(b"\n") else b"\n"))

    def _draw(self) -> None:
        with self._turn, suppress(OSError):
            self._progress.refresh()
        self._drawn_at = monotonic()
