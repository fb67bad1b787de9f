"""The processes that bear a mark, found in /proc: so they are found wherever they have gone, and nothing has to be root's for that."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = ("cmdline", "environ")
"""Where a mark may be: among the arguments of a process, or in the environment that it was started with."""
STARTING = 2.0
"""Seconds that a process may take to become another program, in which its arguments and its environment are not its own, or are none: on a busy machine it
may be held up in between."""
ENDED = ("", "Z", "X")
"""What `status` says of a process that has ended: it is not there, or its end was not asked for yet."""


class Process(NamedTuple):
    """A process, as the kernel tells of it at one moment."""

    status: str
    """The letter for what it does: T is stopped, Z a zombie; nothing where it is not there."""
    parent: int
    """The number of the process that takes note of its end; 0 where it is not there."""
    since: int
    """When it was started, in ticks of the kernel's clock: with that a number that is used again is another's."""


def look_at(pid: int) -> Process:
    """What that process does."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return Process("", 0, 0)
    return Process(facts[0].decode(), int(facts[1]), int(facts[19]))


def status(pid: int) -> str:
    """The letter for what it does, or nothing."""
    return look_at(pid).status


def eventually(condition: Callable[[], object], what: str, *, within: float = 10.0) -> None:
    """Waits for what another process does.

    Args:
        condition: whether it has come.
        what: it is, as a sentence says it: "the program has ended".
        within: so many seconds.

    Raises:
        AssertionError: it does not come.
    """
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {within:g} s in vain: {what}")
        time.sleep(0.002)


class Marked:
    """The processes that bear a mark.

    Args:
        mark: characters that no other process has among its arguments or in its environment.
    """

    def __init__(self, mark: str) -> None:
        self._mark = os.fsencode(mark)
        self._seen: set[int] = set()
        """Each that was found."""
        self._others = {pid: look_at(pid).since for pid in _pids()}
        """Those that were there before, which are none, and when they were started."""

    def living(self) -> list[int]:
        """Those that live and may be looked at. This process is none of them."""
        found = []
        for pid in _pids():
            process = look_at(pid)
            if process.status in ENDED or self._others.get(pid) == process.since:
                continue
            if self._mark in self._words(pid, process):
                found.append(pid)
        self._seen.update(found)
        return sorted(pid for pid in found if status(pid) not in ENDED)

    def _words(self, pid: int, process: Process) -> bytes:
        """Its arguments and its environment. A child of ours that lacks one of them, or has ours, is in the middle of an exec, which is waited for."""
        until = time.monotonic() + STARTING
        while True:
            words = _words_of(pid)
            is_whole = all(words) and words != _words_of(os.getpid())
            if is_whole or process.parent != os.getpid() or time.monotonic() > until or status(pid) in ENDED:
                return b"\0".join(words)
            time.sleep(0.001)

    def leaders(self) -> list[int]:
        """Those that live and were started by this process."""
        return [pid for pid in self.living() if look_at(pid).parent == os.getpid()]

    def leaders_when(self, expected: Callable[[list[int]], object]) -> list[int]:
        """The same, looked at again until they are as expected, or there was time enough for an exec: one of a thread shows the process as a zombie.

        Args:
            expected: whether they need not be looked at again.
        """
        until = time.monotonic() + STARTING
        while not expected(pids := self.leaders()) and time.monotonic() < until:
            time.sleep(0.01)
        return pids

    def zombies(self) -> list[int]:
        """Those that were found to live, have ended since, and were started by this process, which has not taken note of their end."""
        return [pid for pid in self._seen if look_at(pid)[:2] == ("Z", os.getpid())]

    def end(self) -> None:
        """Kills those that live."""
        signal_all(self.living(), signal.SIGKILL)

    @contextmanager
    def beside(self, frozen: list[int], number: int, *, continued: bool, limit: float) -> Iterator[None]:
        """Another thread signals them while the block lasts.

        Args:
            frozen: those that get the signal, once.
            number: of that signal.
            continued: whether all that are stopped are continued, again and again.
            limit: seconds after which all are killed: who waits for one that hangs can go on.
        """
        over = Event()
        until = time.monotonic() + limit

        def interfere() -> None:
            if frozen:
                over.wait(0.01)  # the request is sent
                signal_all(frozen, number)
            while not over.wait(0.002 if continued else max(0.05, until - time.monotonic())):
                if time.monotonic() >= until:
                    self.end()
                elif continued:
                    signal_all([pid for pid in self.living() if status(pid) == "T"], signal.SIGCONT)

        thread = Thread(target=interfere)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def signal_all(pids: list[int], number: int, *until: str) -> None:
    """Signals them, and waits until what each does is one of `until`, where that is given."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    for pid in pids if until else []:
        eventually(lambda pid=pid: status(pid) in until, f"process {pid} has got signal {number}")  # type: ignore[misc] # mypy finds no type for the default


def _pids() -> list[int]:
    """All processes but this one."""
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if pid != os.getpid()]


def _words_of(pid: int) -> list[bytes]:
    return [_content(f"/proc/{pid}/{place}") for place in PLACES]


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it has gone, or is somebody else's
        return b""
