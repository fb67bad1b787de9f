"""The processes of one execution environment: the runtime, and all that it started, wherever that went.

psutil tells what they use. To find them it is too slow: it looks at all processes once for each that has lost its parent, and a tree that
grows while it is killed must be looked at faster than it grows.
"""

from __future__ import annotations

import os
import signal
import time
from threading import Lock

import psutil

from shim.children.sweep import Look, last_pid, look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "AWS_LAMBDA_LOG_STREAM_NAME"
"""The variable by whose value a process that left its session and its parents is known: every execution environment has a stream of its own."""
PATIENCE = 5.0
"""Seconds after which is looked no more for what was started meanwhile. A tree that grows faster than it is killed outlives it."""
QUIET = 20
"""So often in turn nothing must be found where that is not certain: others start processes too, and become other programs."""
STOPPED = frozenset({b"T", b"t", b"Z", b"X"})
STOPPING = STOPPED | {b"D"}
"""What waits in the kernel stops before it goes on; after vfork it may wait for one that is stopped."""
DEAD = frozenset({b"Z", b"X"})
EXITING = 0x4
"""The flag of a process that ends; it has it before its descriptors are closed (the kernel's sched.h, PF_EXITING)."""


class Tree:
    """What began with one process, which leads a session. It may be used from several threads.

    What left its parents is found by its session or by its mark, or since it was seen below them before; `look` is to be called now and then
    for that.

    Args:
        root: the process with which it began, just started by us.
        mark: the value of `MARK` in its environment.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = f"{MARK}={mark}".encode()
        self._seen: dict[int, int] = {}
        """Those that were there at the last look, and when they were born."""
        self._lock = Lock()
        self.peak = 0
        """The most memory that all of them had together when they were looked at, in bytes."""
        if look := _look(root):
            self._seen[root] = look.born

    def is_ending(self) -> bool:
        """Whether the process with which it began is ending, or has ended: what it closed it may not have closed by itself."""
        look = _look(self._root)
        return look is None or bool(look.flags & EXITING)

    def look(self) -> None:
        """Takes note of what there is now, and of its memory."""
        with self._lock:  # what two threads have seen is not to be forgotten by either
            found: dict[int, int] = {}
            waiting = [pid for pid, born in self._seen.items() if (look := _look(pid)) and look.born == born]
            while waiting:
                pid = waiting.pop()
                if pid not in found and (look := _look(pid)):
                    found[pid] = look.born
                    waiting += _children(pid)
            self._seen |= found
            memory = sum(map(_memory, found))
        self.peak = max(self.peak, memory)

    def stop(self) -> None:
        """Stops all of them, as Lambda freezes an execution environment."""
        self._send(signal.SIGSTOP, done=STOPPED, enough=STOPPING)

    def go_on(self) -> None:
        """Lets all of them go on."""
        self._find(lambda look: _signal(look, signal.SIGCONT))

    def kill(self) -> None:
        """Kills all of them, and returns when none is left but zombies of other parents."""
        self._send(signal.SIGKILL, done=DEAD, enough=DEAD)
        for pid in self._seen:
            if pid != self._root:  # who has started that one waits for it
                _reap(pid)

    def _send(self, number: int, *, done: frozenset[bytes], enough: frozenset[bytes]) -> None:
        """Sends a signal until all of them are what it makes of them: what is not there yet can't be started by what is.

        Args:
            number: the signal.
            done: the states in which it is sent no more.
            enough: the states in which it is waited for no more.
        """
        until = time.monotonic() + PATIENCE

        def send(look: Look) -> None:
            if not _is_in(look, done):
                _signal(look, number)

        quiet = 0
        while quiet < QUIET and time.monotonic() < until:
            last = last_pid()
            _signal_group(self._root, number)
            found, sure = self._find(send)
            if not all(_is_in(look, enough) for look in found):
                quiet = 0
                time.sleep(0.001)
            else:  # one that ended before it was looked at may have started another
                quiet = quiet + 1 if last_pid() != last or not sure else QUIET

    def _find(self, act: Callable[[Look], None]) -> tuple[list[Look], bool]:
        """All of them, those as well that are nobody's descendants any more. Something is done with each as soon as it is found.

        Returns:
            Them, and whether all the others are strangers for certain.
        """
        with self._lock:
            found: dict[int, Look] = {}
            others: list[Look] = []
            unsure: set[int] = set()
            for look in _looks():
                known = self._is_known(look)
                if known:
                    found[look.pid] = look
                    act(look)
                else:
                    others.append(look)
                    if known is None:
                        unsure.add(look.pid)
            sessions = {self._root, *(look.session for look in found.values())}
            sessions -= {os.getsid(0)}  # one that is not in a session of its own yet
            grows = True
            while grows:
                below = [look for look in others if look.parent in found or look.session in sessions]
                for look in below:
                    found[look.pid] = look
                    act(look)
                others = [look for look in others if look.pid not in found]
                grows = bool(below)
            self._seen = {look.pid: look.born for look in found.values()}
        return list(found.values()), unsure <= found.keys()

    def _is_known(self, look: Look) -> bool | None:
        """Whether it is one of them by itself, whoever its parent is; None where that can't be told yet."""
        if look.pid == os.getpid():
            return False
        if self._seen.get(look.pid) == look.born or look.session == self._root:
            return True
        try:
            with open(f"/proc/{look.pid}/environ", "rb", buffering=0) as file:
                variables = file.readall() or b""
        except OSError:  # another user's, or gone
            return False
        if not variables and (now := _look(look.pid)) and now.may_have_variables:  # it was read in the midst of execve
            return None
        return self._mark in variables


def _looks() -> Iterator[Look]:
    """A look at each process, the newest first: those that start others are among them.

    What is started meanwhile is looked at before the rest: where each process starts the next and ends, they would always be ahead of a look at
    all. The kernel numbers them in turn, and begins again after the greatest number; then those above the last number are the oldest.
    """
    until = time.monotonic() + PATIENCE
    last = last_pid()
    pids = sorted(map(int, filter(str.isdecimal, os.listdir("/proc"))), key=lambda pid: (pid <= last, pid))
    while pids:
        if (now := last_pid()) != last and time.monotonic() < until:
            pids += range(last + 1 if last < now else 1, now + 1)
            last = now
        if look := _look(pids.pop()):
            yield look


def _look(pid: int) -> Look | None:
    """A look at a process; None where the number is nobody's, or a thread's. /proc lists no threads, but numbers are tried here."""
    look = look_at(pid)
    return None if look is None or look.exit_signal == -1 else look


def _is_in(look: Look, states: frozenset[bytes]) -> bool:
    """Whether it is in one of these states: all of it, since the first of its threads may end before the others."""
    return look.state in states and not (look.state in DEAD and look.threads > 1)


def _children(pid: int) -> list[int]:
    """The processes whose parent it is."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, (file.readall() or b"").split())
    except OSError:  # it has gone, or the kernel does not tell (CONFIG_PROC_CHILDREN)
        pass
    return found


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _signal(look: Look, number: int) -> None:
    """Sends it a signal, if its number has not become another's since."""
    try:
        descriptor = os.pidfd_open(look.pid)
    except OSError:
        return
    try:
        now = _look(look.pid)
        if now is not None and now.born == look.born:
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        pass  # it has gone, or is another user's
    finally:
        os.close(descriptor)


def _signal_group(leader: int, number: int) -> None:
    """Sends it to all of the root's own group at once: none of them can start another meanwhile, however fast it is.

    As long as one of them is there the number is no stranger's; and when the root has just ended, it is not yet.
    """
    try:
        os.killpg(leader, number)
    except OSError:
        pass  # they have gone, or are another user's


def _reap(pid: int) -> None:
    """Takes a zombie that fell to this process when its parent ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # another parent's
