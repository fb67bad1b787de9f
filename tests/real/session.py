"""A program that leads a session of its own, and the end of all that is in it. Every process is ended by its own number, after a look at it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set as AbstractSet


class Session:
    """A program that was started as the leader of its own session, its two outputs in one file.

    Args:
        command: the program and its arguments.
        environment: all of it.
        folder: where it runs.
        log: the file that takes its outputs.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        with log.open("ab") as output:
            self._leader = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._leader.pid

    @property
    def ended(self) -> bool:
        """Whether its leader has ended by itself."""
        return self._leader.poll() is not None

    def members(self) -> set[int]:
        """The processes in it that live."""
        return {pid for pid in _processes() if _session(pid) == self.pid}

    def end(self) -> None:
        """Kills all that is in it, the leader first, and returns when nothing of it lives.

        The leader stays a zombie until the end: as long as it is there, its number can't become another session's.
        """
        if not self.ended:
            self._leader.kill()
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        while members := self.members():
            for pid in members:
                kill(pid)
        self._leader.wait()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _session(pid: int) -> int | None:
    """The session of a process that lives, else None."""
    try:
        state, _parent, _group, session = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return None if state in (b"Z", b"X") else int(session)


def processes_in(folder: Path) -> set[int]:
    """The processes that live and whose current folder is this one."""
    found = set()
    for pid in _processes():
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                found.add(pid)
        except OSError:  # gone, a zombie, or another user's
            continue
    return found


def left_in(folder: Path, *, besides: AbstractSet[int] = frozenset()) -> set[int]:
    """The processes in that folder, but those, that do not end in a moment: one that has been killed takes a while to die."""
    return {pid for pid in processes_in(folder) - besides if not ends(pid, within=2)}


def ends(pid: int, *, within: float) -> bool:
    """Whether that process ends in so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(within * 1000))
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    """Kills that process and returns when it has ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if not ends(pid, within=10):
        raise TimeoutError(f"process {pid} does not end")
