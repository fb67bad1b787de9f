"""The end of a child: whether it can be seen, and the zombie's status and what it used. One that can't be taken in time is taken later."""

from __future__ import annotations

import os
import select

from shim.invocation import now
from shim.outcome import Usage

TICK = 0.001
LONGEST_TICK = 0.02

late: set[int] = set()
"""Zombies that could not be taken when their time was over."""


def has_pidfd() -> bool:
    """Whether a child's end can be polled for. Some sandboxes refuse it, and Pythons that were built on old headers lack it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether a child of ours has ended; it stays a zombie.

    Raises:
        ChildProcessError: somebody else has taken it.
    """
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def reap(pid: int, until: float) -> tuple[int | None, Usage]:
    """Takes the zombie; its status as `waitpid` gives it, and what it used.

    One that can't be taken in time (a debugger holds it) has no status, and is left to `reap_late`.

    Raises:
        ChildProcessError: somebody else has taken it.
    """
    tick = TICK
    while True:
        taken, status, used = os.wait4(pid, os.WNOHANG)
        if taken:
            break
        if now() > until:
            late.add(pid)
            return None, Usage(user=0, system=0, peak=0, ours=own_peak)
        select.poll().poll(tick * 1000)
        tick = min(tick * 2, LONGEST_TICK)
    return status, Usage(user=used.ru_utime, system=used.ru_stime, peak=used.ru_maxrss * 1024, ours=own_peak)


def own_peak() -> int:
    """The most memory that this process had, in bytes."""
    import resource  # noqa: PLC0415 - only where somebody asks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reap_late() -> None:
    """Takes the zombies that could not be taken when their time was over."""
    for pid in tuple(late):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                late.discard(pid)
        except ChildProcessError:
            late.discard(pid)
