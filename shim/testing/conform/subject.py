"""A program under test: started as shim starts it, and driven over its pipes by one poll with a deadline.

Nothing of how shim treats its children is in between: what a program does is to be seen as it is.
"""

from __future__ import annotations

import os
import select
import signal
from itertools import count
from typing import TYPE_CHECKING

from shim.children import sweep
from shim.children.descriptors import lift, open_standard_descriptors, seal_descriptors
from shim.children.diagnosis import explain
from shim.children.elsewhere import spawn_in
from shim.children.parent import signal_name
from shim.children.pipes import left
from shim.children.process import LAYOUTS, SIGNALS
from shim.children.reaper import has_ended, has_pidfd, reap
from shim.invocation import now
from shim.request import EndOfFile, Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from shim.testing.conform.protocol import Command

CHUNK = 1024 * 1024
TICK = 0.001
"""Seconds between two looks at what can't be polled for."""
LONG_TICK = 0.02
"""The same where everything can be polled for."""
TAIL = 4096
"""Bytes of what it says that are kept."""
SETTLING = 0.05
"""Seconds that it has to become idle, where it never does."""
PATIENCE = 5.0
"""Seconds for the kernel to take away what was killed."""

_serial = count(1)


class Subject:
    """A program, started once: what it is sent, what it writes, how it ends. Nothing of it is left after the block.

    Raises:
        ExecutableError: it can't be started.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._mark = b"conform-%d-%d" % (os.getpid(), next(_serial))
        self._room = command.settings.max_output_bytes + CHUNK
        self.written = bytearray()
        """What came of its reply and was not taken."""
        self.words = b""
        """The last of its standard error."""
        self.has_spoken = False
        """Whether anything but white space came there."""
        self.has_flooded = False
        """Whether it wrote more than is read."""
        self.is_full = False
        """Whether that was more than max_output_bytes."""
        self.status: int | None = None
        """Its exit code, or the negative number of the signal that killed it; None while it lives."""
        self._unsent = memoryview(b"")
        self._ends_input = False
        self._open: set[int] = set()
        self._poll = select.poll()

    def __enter__(self) -> Self:
        open_standard_descriptors()
        settings = self._command.settings
        layout = LAYOUTS[settings.reply_fd]
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        lift(pipes, above=3)
        seal_descriptors()
        (stdin, self._stdin), (self._reply, reply), (self._stderr, error) = pipes
        ends = (stdin, reply, error)
        environment = {**self._command.environment, sweep.MARK: self._mark}
        self._open = {end for pair in pipes for end in pair}
        self._unread = stdin  # kept: it tells what was read, and lets no write fail
        self.started = now()
        try:
            self.pid = spawn_in(
                self._command.folder,
                self._command.arguments,
                environment,
                [(ends[pipe], number) for number, pipe in enumerate(layout)],
                SIGNALS,
            )
        except OSError as refusal:
            self._shut()
            request = Request(
                b"", arguments=self._command.arguments, environment=environment, framing=EndOfFile(self._room)
            )
            raise explain(refusal, request, executable=settings.executable, folder=self._command.folder) from None
        sweep.driven[self._mark] = [self.pid]
        self._close(reply)
        self._close(error)
        os.set_blocking(self._stdin, False)
        self._poll.register(self._reply, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._pidfd = -1
        if has_pidfd():
            self._pidfd = os.pidfd_open(self.pid)
            self._open.add(self._pidfd)
            self._poll.register(self._pidfd, select.POLLIN)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def has_gone(self) -> bool:
        """Whether it has ended; it is a zombie until the end of the block."""
        return self.status is not None

    @property
    def hears(self) -> bool:
        """Whether more of a reply may come: nobody has closed the other end."""
        return self._reply in self._open

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and nobody else holds its output."""
        return self.has_gone and not self._open & {self._reply, self._stderr}

    @property
    def has_read(self) -> bool:
        """Whether it has taken all that it was sent."""
        return not self._unsent and left(self._unread) == 0

    @property
    def is_idle(self) -> bool:
        """Whether it has read all that it was sent, and none of its threads runs."""
        if not self.has_read:
            return False
        try:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/stat", "rb") as file:
                    if file.read().rpartition(b")")[2].split()[0] != b"S":
                        return False
        except OSError:
            return self.has_gone
        return True

    @property
    def ending(self) -> str:
        """How it ended, as the predicate of a sentence."""
        status = self.status
        if status is None:
            return "was still running"
        return f"ended with exit code {status}" if status >= 0 else f"was killed by {signal_name(-status)}"

    def send(self, data: bytes) -> None:
        """Begins to write; `wait` goes on with it."""
        self._unsent = memoryview(bytes(self._unsent) + data)
        self._write()

    def end_input(self) -> None:
        """The end of its input, after what it was sent."""
        self._ends_input = True
        self._write()

    def wait(self, condition: Callable[[], object], seconds: float, *, tick: float = LONG_TICK) -> bool:
        """Attends to its pipes until the condition holds, for so many seconds at most; whether it does. It is looked at each tick, too."""
        until = now() + seconds
        while not condition():
            if now() >= until:
                return False
            self._attend(until, tick)
        return True

    def settle(self, seconds: float = SETTLING) -> None:
        """Returns when it has done all that it does by itself: it is idle at two looks, and wrote nothing in between."""
        looks = 0

        def is_settled() -> bool:
            nonlocal looks
            before = len(self.written)
            self._attend(0, 0)
            looks = looks + 1 if self.is_idle and len(self.written) == before else 0
            return looks > 1 or self.has_gone

        self.wait(is_settled, seconds, tick=TICK)

    def take(self) -> bytes:
        """What came of its reply since the last call."""
        taken = bytes(self.written)
        self.written.clear()
        return taken

    def take_lines(self) -> list[bytes]:
        """The lines that came since the last call, without their line feeds; the beginning of another stays."""
        end = self.written.rfind(b"\n") + 1
        if not end:
            return []
        lines = bytes(self.written[: end - 1]).split(b"\n")
        del self.written[:end]
        return lines

    def signal(self, number: int) -> None:
        """Signals its group, as shim does."""
        sweep.kill_group(self.pid, number)

    def left_behind(self) -> list[str]:
        """What lives of its session, its group, with its mark, or fell to us as the subreaper, besides it: a description of each process."""
        import psutil  # noqa: PLC0415 - it takes long to load

        mark = b"%s=%s" % (sweep.MARK, self._mark)
        began = psutil.Process(self.pid).create_time()
        found = []
        ours = sweep.numbers()
        for pid in psutil.pids():
            if pid not in ours:
                try:
                    process = psutil.Process(pid)
                    is_orphan = process.ppid() == os.getpid() and process.create_time() >= began
                    if (is_orphan or self._started(pid, mark)) and process.status() != psutil.STATUS_ZOMBIE:
                        where = "its group" if os.getpgid(pid) == self.pid else "a group of its own"
                        found.append(f"{process.name()} in {where}")
                except (psutil.Error, OSError):
                    continue  # it has ended since
        return found

    def end(self) -> None:
        """Kills it with all that it left behind, and reaps it."""
        if not self._open:
            return
        try:
            has_ended(self.pid)  # or it is no longer ours to kill
            sweep.kill_group(self.pid, signal.SIGKILL)
            self.wait(lambda: self.has_gone, PATIENCE)
            mark = b"%s=%s" % (sweep.MARK, self._mark)
            sweep.sweep(self.pid, mark, alone=False, lived=now() - self.started, until=now() + PATIENCE)
            reap(self.pid, now() + PATIENCE)
        except ChildProcessError:
            pass  # somebody else has reaped it
        finally:
            sweep.driven.pop(self._mark, None)
            self._shut()

    def _started(self, pid: int, mark: bytes) -> bool:
        """Whether that process descends from it, as far as session, group and environment tell."""
        try:
            if self.pid in (os.getsid(pid), os.getpgid(pid)):
                return True
            with open(f"/proc/{pid}/environ", "rb") as file:
                return mark in file.read()
        except OSError:
            return False  # it has ended, or is another user's

    def _attend(self, until: float, tick: float) -> None:
        """One turn of the poll."""
        wait = max(0.0, min(until - now(), tick if self._pidfd >= 0 else TICK))
        for descriptor, _ in self._poll.poll(wait * 1000):
            if descriptor not in self._open:
                continue  # an earlier one of the same turn closed it
            if descriptor == self._reply:
                self._read_reply()
            elif descriptor == self._stderr:
                data = os.read(self._stderr, CHUNK)
                self.words = (self.words + data)[-TAIL:]
                self.has_spoken = self.has_spoken or bool(data.strip())
                if not data:
                    self._close(self._stderr)
            elif descriptor == self._stdin:
                self._write()
        if self.status is None:
            self._look()

    def _look(self) -> None:
        result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is not None:
            self.status = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
            if self._pidfd >= 0:
                self._poll.unregister(self._pidfd)
            self._close(self._stdin)
            self._unsent = memoryview(b"")

    def _read_reply(self) -> None:
        data = os.read(self._reply, CHUNK)
        self.written += data
        if len(self.written) > self._room:
            self.has_flooded = self.is_full = True
        if not data or self.has_flooded:
            self._close(self._reply)

    def _write(self) -> None:
        if self._stdin not in self._open:
            return
        if self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
            except BlockingIOError:
                pass
        if self._unsent:
            self._poll.register(self._stdin, select.POLLOUT)
        elif self._ends_input:
            self._close(self._stdin)
        else:
            self._unregister(self._stdin)

    def _unregister(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except KeyError:
            pass  # it was not in the poll

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._unregister(descriptor)
            self._open.discard(descriptor)
            os.close(descriptor)

    def _shut(self) -> None:
        for descriptor in tuple(self._open):
            self._close(descriptor)
