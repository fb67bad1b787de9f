"""The processes that began with one that this process started: who is left of them, and what they take.

They are found wherever they went, since this process is the subreaper as long as they are looked at: who loses its parent falls to it. One
program at a time: of two it could not be told whose orphan is whose.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from shim.children import sweep
from shim.testing.conform.growth import total_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.testing.conform.growth import Size

PATIENCE = 5.0
"""Seconds after which is looked no more for what is started while others are killed."""


class Descendants:
    """The processes that this one has got since this object was made.

    Those that fell to this process are reaped when all are killed, but for the root, whose end belongs to who has started it.
    """

    def __init__(self) -> None:
        self._before = set(psutil.Process().children(recursive=True))
        self.root: int | None = None
        """The process with which they begin."""

    def living(self) -> list[psutil.Process]:
        """Those that have not ended, the root among them."""
        return [process for process in self._found() if not _has_ended(process)]

    def orphans(self) -> list[psutil.Process]:
        """Those that have not ended, but for the root."""
        return [process for process in self.living() if process.pid != self.root]

    def outlive(self, seconds: float) -> list[psutil.Process]:
        """Those that are still there after that time, but for the root."""
        psutil.wait_procs(self.orphans(), timeout=seconds)
        return self.orphans()

    def size(self) -> Size:
        """What those that have not ended take now."""
        return total_of(self.living())

    def kill(self) -> None:
        """Kills them until none is left, those that are started meanwhile as well."""
        until = time.monotonic() + PATIENCE
        # A zombie may have started another after the kernel was asked which there are.
        while (found := self._found()) and time.monotonic() < until:
            living = [process for process in found if not _has_ended(process)]
            for process in living:
                try:
                    process.kill()
                except psutil.Error:
                    continue  # it has gone, or is another user's
            psutil.wait_procs([process for process in found if process.pid != self.root], timeout=0.05)
            if not living and [process.pid for process in found] == [self.root]:
                break

    def _found(self) -> list[psutil.Process]:
        """All of them, those as well that have ended and were not reaped."""
        return [process for process in psutil.Process().children(recursive=True) if process not in self._before]


def _has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def subreaper() -> Iterator[None]:
    """This process is the parent of all orphans among its descendants, as long as the block lasts."""
    sweep.set_subreaper(on=True)
    try:
        yield
    finally:
        sweep.set_subreaper(on=False)


def name_of(process: psutil.Process) -> str:
    """What it runs, for a sentence."""
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:
        return f"process {process.pid}"
