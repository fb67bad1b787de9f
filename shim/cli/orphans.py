"""What is left of what a command has started: every orphan among our descendants falls to us, and is waited for and killed here."""

from __future__ import annotations

import os
import time

from shim.children.sweep import set_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from psutil import Process

PASSES = 200
"""How often is looked again for what was started meanwhile, with a millisecond between."""


def keep_orphans() -> None:
    """Nothing that the executable starts escapes us: this process is our own, so every orphan in it is the executable's."""
    try:
        set_subreaper(on=True)
    except OSError:
        return  # a sandbox that refuses it: what can be found without is killed all the same


class Orphans:
    """Waits for orphans that have ended, beside others who wait for children of their own."""

    def __init__(self) -> None:
        self._ended: set[int] = set()

    def reap(self) -> None:
        """Takes the zombies that were there at the last call already: who has started a child takes it at once."""
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                self._ended.clear()
                return
        except ChildProcessError:  # there is none
            self._ended.clear()
            return
        ended = _zombies()
        for pid in ended & self._ended:
            _wait(pid)
        self._ended = ended - self._ended


def kill_descendants() -> None:
    """Kills all that descends from this process, until nothing is left of it."""
    import psutil  # noqa: PLC0415 - only a command that serves needs it

    ourselves = psutil.Process()
    for _ in range(PASSES):
        living = [process for process in ourselves.children(recursive=True) if not _has_ended(process)]
        for process in living:
            try:
                process.kill()
            except psutil.Error:
                continue  # it has gone, or is another user's
        for pid in _zombies():
            _wait(pid)
        if not living:
            return
        time.sleep(0.001)


def _zombies() -> set[int]:
    """Our children that have ended."""
    import psutil  # noqa: PLC0415 - see above

    return {process.pid for process in psutil.Process().children() if _has_ended(process)}


def _has_ended(process: Process) -> bool:
    import psutil  # noqa: PLC0415 - see above

    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _wait(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # who has started it was faster
