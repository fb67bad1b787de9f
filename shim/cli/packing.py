"""The progress bar of a package that is packed: one line of a terminal on standard error, which is gone at the end."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from time import monotonic

from shim.cli.display import STDERR, columns, console, styled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAUSE = 0.1
"""Seconds between two drawings."""


@contextmanager
def packing() -> Iterator[Callable[[int, int], None]]:
    """A bar, if standard error is a terminal. What is given is to be told how many bytes of how many are packed."""
    if not styled(STDERR):
        yield lambda _done, _whole: None
        return
    from rich import progress as parts  # noqa: PLC0415 - only for a terminal

    drawn_at = 0.0
    with open(STDERR, "w", closefd=False) as file:
        bar = parts.Progress(
            parts.BarColumn(min(40, max(4, columns(STDERR) - 40))),
            parts.DownloadColumn(binary_units=True),  # as Lambda's limits are
            parts.TimeRemainingColumn(),
            console=console(STDERR, file),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = bar.add_task("", total=None)

        def step(done: int, whole: int) -> None:
            nonlocal drawn_at
            if monotonic() - drawn_at >= PAUSE:
                bar.update(task, completed=done, total=whole)
                with suppress(OSError):  # a terminal that is gone
                    bar.refresh()
                drawn_at = monotonic()

        with suppress(OSError):
            bar.start()
        try:
            yield step
        finally:
            with suppress(OSError):
                bar.stop()
