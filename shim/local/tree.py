"""The processes of one execution environment: the runtime, and all that it started, wherever that went."""

from __future__ import annotations

import os
import signal
import time

import psutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "AWS_LAMBDA_LOG_STREAM_NAME"
"""The variable by whose value a process that left its session and its parents is known: every execution environment has a stream of its own."""
PASSES = 100
"""How often is looked again for what was started meanwhile. A tree that doubles itself faster outlives it."""
GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


class Tree:
    """What began with one process.

    What left its parents is found by its mark, or since it was seen below them before; `look` is to be called now and then for that.

    Args:
        root: the process with which it began.
        mark: the value of `MARK` in its environment.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = mark
        self._seen: dict[int, psutil.Process] = {}
        self.peak = 0
        """The most memory that all of them had together when they were looked at, in bytes."""

    def look(self) -> None:
        """Takes note of what there is now, and of its memory."""
        memory = 0
        for process in self._below([self._root, *self._seen]):
            try:
                memory += process.memory_info().rss
            except GONE:
                continue
        self.peak = max(self.peak, memory)

    def stop(self) -> None:
        """Stops all of them, as Lambda freezes an execution environment."""
        self._send(signal.SIGSTOP, done=psutil.STATUS_STOPPED)

    def go_on(self) -> None:
        """Lets all of them go on."""
        for process in self._all():
            _signal(process, signal.SIGCONT)

    def kill(self) -> None:
        """Kills all of them, and returns when none is left but zombies of other parents."""
        self._send(signal.SIGKILL, done=psutil.STATUS_ZOMBIE)
        for pid in self._seen:
            if pid != self._root:  # who has started that one waits for it
                _reap(pid)

    def _send(self, number: int, *, done: str) -> None:
        """Sends a signal until all of them are what it makes of them: what is not there yet can't be started by what is."""
        for _ in range(PASSES):
            waiting = [process for process in self._all() if _status(process) not in (done, psutil.STATUS_ZOMBIE)]
            if not waiting:
                return
            for process in waiting:
                _signal(process, number)
            time.sleep(0.001)

    def _all(self) -> list[psutil.Process]:
        """All of them, those as well that are nobody's descendants any more."""
        marked = [process.pid for process in psutil.process_iter() if self._is_marked(process)]
        return self._below([self._root, *self._seen, *marked])

    def _below(self, pids: Iterable[int]) -> list[psutil.Process]:
        """Those processes, as far as they are there, and their descendants."""
        found: dict[int, psutil.Process] = {}
        for pid in pids:
            if pid in found:
                continue
            process = self._seen.get(pid)
            try:
                process = process or psutil.Process(pid)
                if process.is_running():
                    found[pid] = process
                    found |= {child.pid: child for child in process.children(recursive=True)}
            except GONE:
                continue
        self._seen = found
        return list(found.values())

    def _is_marked(self, process: psutil.Process) -> bool:
        if process.pid == os.getpid():
            return False
        try:
            return process.environ().get(MARK) == self._mark
        except (*GONE, OSError):  # a zombie, a stranger's, or one of the kernel's
            return False


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except GONE:
        return psutil.STATUS_ZOMBIE


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except GONE:
        pass  # it has gone, or is another user's


def _reap(pid: int) -> None:
    """Takes a zombie that fell to this process when its parent ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # another parent's
