"""One child: spawned, attended to in one poll, stopped, and ended so that nothing of it is left. No threads, and no wait without an end.

`os.posix_spawn` reports a failure at once, puts any descriptor anywhere, and leaves the child no signal ignored or blocked. It can't change
the folder: `elsewhere.py` does that where it must.
"""

from __future__ import annotations

import os
import select
from functools import partial
from itertools import count, starmap

from shim.children import sweep
from shim.children.descriptors import CLOSES_THE_REST, lift, seal_descriptors
from shim.children.reaper import LONGEST_TICK, TICK, has_ended, late, own_peak, reap
from shim.invocation import FOREVER, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    from shim.children.memory import Memory
    from shim.logs import Log, StandardError
    from shim.outcome import Usage
    from shim.request import EndOfFile, Framing, Sink
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

SIGNALS = [*range(1, 32), *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)]  # valid_signals() costs a cold start 0.1 ms
SIGNALS.remove(signal.SIGKILL)
SIGNALS.remove(signal.SIGSTOP)
"""What is set to its default. Not 32 and 33, which are the C library's own: glibc's posix_spawn leaves them ignored."""
PIPE_SIZE = 65_536  # what a pipe holds at first (pipe(7)); a request or reply of more gets a larger one
LARGE_PIPE_SIZE = 1024 * 1024  # the most that a user may ask for (/proc/sys/fs/pipe-max-size)
LONGEST_WAIT = 2_000_000  # seconds from which on there is no end to wait for: poll(2) takes 2**31 milliseconds
EMPTYING = 32  # in so many turns a pipe is empty into which nobody writes any more: 64 KiB of standard error, at 4 KiB a turn, twice
THREE_PIPES = [(os.O_CLOEXEC,)] * 3
STDIN, REPLY, STDERR = range(3)
LAYOUTS = {1: (STDIN, REPLY, STDERR), 3: (STDIN, STDERR, STDERR, REPLY), None: (STDIN, STDERR, STDERR)}
"""Where the reply goes → which pipe is the child's descriptor 0, 1, 2, 3."""

_serial = count(1)
_BORN = b"%d" % (now() * 1e6)
"""So that a process which gets our number after us makes other marks."""


class Child:
    """A process that runs the executable, and our ends of its pipes.

    `attend` is one turn of the poll; `gone` says that the process has ended, and it stays a zombie until `end`.
    """

    gone = False
    over = False  # whether nothing of it is left, our ends of its pipes included
    tmp: str | None = None  # the folder for its temporary files, where it has one of its own
    kept = False  # whether its standard input stays open after a request
    sink: Sink | None = None  # where its reply goes while it comes: see streaming.py
    deliver_until: float | None = None  # until when a slow sink is waited for
    is_delivered = True  # whether the sink took all of it
    read_something = True
    _tick, _chunk, _stdin = TICK, PIPE_SIZE, -1
    _size = 0
    _unsent = memoryview(b"")
    _watched: int | None = None

    def __init__(
        self, *, framing: EndOfFile | Framing, stderr: StandardError, log: Log, memory: Memory | None = None
    ) -> None:
        """Nothing is started yet: see `spawn`. After a failure `read_something` says whether it took anything of its request.

        Args:
            framing: takes its reply.
            stderr: takes its standard error.
            log: pushed whenever it can take something.
            memory: looks at its memory while it lives, where somebody wants to know.
        """
        self.framing = framing
        self.stderr = stderr
        self.log = log
        self.started = self.asked = now()
        self._memory = memory
        self.mark = b"%d-%d-%s" % (os.getpid(), next(_serial), _BORN)
        self._born: list[int] = []
        self._pipes: list[tuple[int, int]] = []
        self._pidfds: list[int] = []
        self._open: dict[int, int] = {}
        self._poll = select.poll()

    def spawn(
        self,
        arguments: list[str],
        environment: Mapping[bytes, bytes],
        *,
        folder: str | None,
        reply_fd: int | None,
        pidfds: bool,
    ) -> None:
        """Starts the process, leader of a session of its own, with the standard descriptors (and 3) and no other.

        Args:
            arguments: the file to run, which is its argument 0 as well, and the others.
            environment: all of it but the mark.
            folder: where it runs, or None for our own current folder.
            reply_fd: 1, or 3 for a reply beside standard output, which then goes where standard error goes; None where that is all it does.
            pidfds: what `has_pidfd` found.

        Raises:
            OSError: the kernel does not start it, or there are no descriptors left.
        """
        if CLOSES_THE_REST is None or folder is not None:
            seal_descriptors()  # before there are pipes, which Python opens sealed: each more to look at takes 1 µs
        # A signal's handler may raise between any two steps. What is made within one call, C all through, is not lost then.
        self._pipes.extend(starmap(os.pipe2, THREE_PIPES))
        layout = LAYOUTS[reply_fd]
        if min(map(min, self._pipes)) < len(layout):
            lift(self._pipes, above=len(layout) - 1)
        (stdin, self._stdin), (self._reply, reply), (self._stderr, error) = self._pipes
        self._open.update((end, end) for ends in self._pipes for end in ends)
        self._pipes.clear()
        ends = (stdin, reply, error)
        descriptors = [(ends[pipe], number) for number, pipe in enumerate(layout)]
        sweep.driven[self.mark] = self._born  # before there is a number: who ends this process now must find it
        environment = {**environment, sweep.MARK: self.mark}  # last: the end of the environment survives longest
        if folder is not None:
            from shim.children.elsewhere import spawn_in  # noqa: PLC0415 - it needs ctypes, and is seldom needed

            self._born.append(spawn_in(folder, arguments, environment, descriptors, SIGNALS))
        else:
            actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in descriptors]
            if CLOSES_THE_REST is not None:
                actions.append((CLOSES_THE_REST, len(descriptors)))
            start = partial(os.posix_spawn, file_actions=actions, setsid=True, setsigdef=SIGNALS, setsigmask=())
            self._born.extend(map(start, arguments[:1], [arguments], [environment]))
        self.spawn_seconds = now() - self.started
        if self._memory is not None:
            self._memory.ours = own_peak()
        # Kept: it tells what of the request was read, and lets no write fail where the child reads nothing.
        self._unread = stdin
        self._shut([reply, error])
        self._poll.register(self._reply, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        if reply_fd is None:
            self._close(self._reply)
        if pidfds:
            try:
                self._pidfds.extend(map(os.pidfd_open, self._born))
                self._poll.register(self._pidfds[0], select.POLLIN)
            except OSError:
                pass  # no descriptor is left, or somebody else has reaped it: the ticks tell

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._born[0]

    @property
    def hears(self) -> bool:
        """Whether it may still reply: nobody has closed the other end."""
        return self._reply in self._open

    @property
    def pipes_open(self) -> bool:
        """Whether somebody still holds the other end of the reply or of standard error."""
        return self._reply in self._open or self._stderr in self._open

    def serve(self, framing: EndOfFile | Framing, add: Callable[[bytes | bytearray], None]) -> None:
        """A child that was started ahead gets its invocation: what it wrote and writes is that one's."""
        self.framing = framing
        self.stderr.begin(add, anew=False)
        self.asked = now()
        self.spawn_seconds = 0.0

    def send(self, request: bytes) -> None:
        """Begins to write the request; `attend` goes on with what the pipe does not take at once."""
        # An empty pipe takes PIPE_BUF at once without blocking, however few pages it was given.
        if len(request) > select.PIPE_BUF:
            self._make_room(len(request))
        self._size = len(request)
        try:
            written = os.write(self._stdin, request)
        except BlockingIOError:  # only a kept child's pipe may hold something already
            written = 0
        if written == len(request):
            if not self.kept:
                self._shut([self._stdin])  # the end of its input follows
        else:
            self._unsent = memoryview(request)[written:]
            self._poll.register(self._stdin, select.POLLOUT)

    def _make_room(self, size: int) -> None:
        """Makes the pipe fit for a request that it may not take at once."""
        os.set_blocking(self._stdin, False)
        if size > PIPE_SIZE:
            from shim.children.pipes import enlarge  # noqa: PLC0415 - only where much is passed

            enlarge(self._stdin, LARGE_PIPE_SIZE)
            self._expect_much()

    def attend(self, until: float | None) -> bool:
        """One turn of the poll: whatever can be read or written is, once. Waits until that instant at most; False when it has passed."""
        remaining = FOREVER if until is None else until - now()
        if self.log.descriptor != self._watched:
            self._watch_log()
        wait = remaining if self._pidfds or self.gone else self._until_tick(remaining)
        for descriptor, event in self._poll.poll(None if wait > LONGEST_WAIT else wait * 1000 if wait > 0 else 0):
            if descriptor == self._reply:
                self._read_reply(event)
            elif descriptor == self._stderr:
                self._read_stderr(event)
            elif descriptor == self._stdin:
                if self._stdin in self._open:  # it is closed when the child has gone, which the same poll may have told
                    self._write()
            elif descriptor in self._pidfds:
                self._has_gone()
            elif descriptor == self._watched:
                self.log.push()
            else:
                self._attend_to(descriptor, event)
        if not (self._pidfds or self.gone) and has_ended(self.pid):
            self._has_gone()
        return remaining > 0

    def stop(self, grace: float, give_up_at: float) -> str:
        """The ladder: SIGTERM to the group, `grace` seconds, SIGKILL. Returns the last signal sent."""
        if self._memory is not None:
            self._memory.look(self.pid)
        for name, number, until in (
            ("SIGTERM", signal.SIGTERM, now() + grace),
            ("SIGKILL", signal.SIGKILL, give_up_at),
        ):
            self._tick = TICK
            sweep.kill_group(self.pid, number)
            sweep.kill_group(self.pid, signal.SIGCONT)  # a stopped process takes no signal but SIGKILL
            while not self.gone and self.attend(until):
                pass
            if self.gone:
                return name
        return "SIGKILL"

    def end(self, *, alone: bool, give_up_at: float) -> tuple[int | None, Usage, int]:
        """The end of a child that has gone: its group and other descendants killed, its pipes emptied, itself reaped.

        Returns:
            The status as `waitpid` gives it, or None where somebody holds the zombie; what it used; how many processes were swept.
        """
        swept = 0
        if sweep.last_pid() != self.pid:  # something was started since, perhaps by it
            swept = self._sweep(alone=alone, until=give_up_at)
        self._empty(give_up_at)
        if self._stderr in self._open:
            self.log.lose(self._left(self._stderr))
        status, usage = reap(self.pid, give_up_at)
        if self._memory is not None:
            usage.saw(self._memory.seen, ours=self._memory.ours)
        if status or self.kept:  # only a failure asks, and who may send the request again
            self.read_something = self._has_read()
        self.close()
        return status, usage, swept

    def destroy(self, *, alone: bool) -> None:
        """Whatever happened: kills the child and what it left behind, reaps it, closes everything."""
        try:
            if self._born:
                has_ended(self.pid)  # or it is no longer ours to kill
                sweep.kill_group(self.pid)
                if self._pidfds:
                    poll = select.poll()
                    poll.register(self._pidfds[0], select.POLLIN)
                    poll.poll(1000)
                until = now() + 1
                self._sweep(alone=alone, until=until)
                reap(self.pid, until)
        except ChildProcessError:
            pass  # it was reaped already, and its number may be a stranger's
        finally:
            self.close()

    def kill_quietly(self) -> None:
        """Kills its group and says nothing in the log, whose lock may be held. It is reaped later."""
        sweep.kill_group(self.pid)
        late.add(self.pid)
        self.abandon()

    def close(self) -> None:
        """Closes our ends, and gives the child's last line to the log."""
        self.stderr.close()
        self.abandon()

    def abandon(self) -> None:
        """Closes our ends: the child is no longer ours, or never was, in a process that was forked."""
        for ends in (*self._pipes, self._pidfds):
            self._open.update(zip(ends, ends, strict=True))
        self._pipes.clear()
        self._pidfds.clear()
        self._shut(list(self._open))
        sweep.forget(self.mark)
        self.over = True

    def _empty(self, until: float) -> None:
        """What came before the kill is read, and no more: somebody may go on writing."""
        turns = EMPTYING
        while turns and self.pipes_open and now() < until:
            self.attend(now())
            turns -= 1

    def _sweep(self, *, alone: bool, until: float) -> int:
        """Kills what it left behind; returns how many there were."""
        mark = b"%s=%s" % (sweep.MARK, self.mark)
        return sweep.sweep(self.pid, mark, alone=alone, lived=now() - self.started, until=until)

    def _until_tick(self, remaining: float) -> float:
        """Seconds to wait where the child's end can't be polled for: it is asked for at ticks, which grow longer."""
        tick = self._tick
        self._tick = min(tick * 2, LONGEST_TICK)
        return min(remaining, tick)

    def _watch_log(self) -> None:
        """The log is in the poll while something waits for it."""
        waiting = self.log.descriptor
        if waiting is not None:
            self._poll.register(waiting, select.POLLOUT)
        elif self._watched is not None:
            self._poll.unregister(self._watched)
        self._watched = waiting

    def _attend_to(self, descriptor: int, event: int) -> None:
        """What else a child of this kind has in the poll."""

    def _has_gone(self) -> None:
        self.gone = True
        for pidfd in self._pidfds:
            self._poll.unregister(pidfd)
        self._close(self._stdin)

    def _read_reply(self, event: int) -> int:
        if self._memory is not None and not self._memory.seen:
            self._memory.look(self.pid)
        framing = self.framing
        room = framing.room
        data = os.read(self._reply, min(room, self._chunk)) if event & select.POLLIN else b""
        if data:
            log = framing.feed(data)
            if log:
                self.stderr.insert(log)
        if not data or framing.room <= 0:
            self._close(self._reply)
        elif len(data) == PIPE_SIZE == self._chunk:
            self._expect_much()
        return len(data)

    def _expect_much(self) -> None:
        """A large pipe for the reply, since the first of it was large, or the request was: fewer turns for the same bytes."""
        from shim.children.pipes import enlarge, keep_large_blocks  # noqa: PLC0415 - only where much is passed

        enlarge(self._reply, LARGE_PIPE_SIZE)
        self._chunk = LARGE_PIPE_SIZE
        keep_large_blocks()

    def _read_stderr(self, event: int) -> int:
        data = os.read(self._stderr, self.log.chunk) if event & select.POLLIN else b""
        if data:
            self.stderr.feed(data)
        else:
            self._close(self._stderr)
        return len(data)

    def _write(self) -> None:
        """Writes what the pipe takes. A child that does not read its request is no failure: its exit code speaks."""
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
        except BlockingIOError:
            return
        if not self._unsent:
            self._poll.unregister(self._stdin)
            if not self.kept:
                self._shut([self._stdin])

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            try:
                self._poll.unregister(descriptor)
            except KeyError:
                pass  # standard input, when it took the request at once
            self._shut([descriptor])

    def _shut(self, descriptors: list[int]) -> None:
        """Closes them. Each is taken out and closed within one call: an interrupt between the two would lose it, or close a stranger's."""
        list(map(os.close, map(self._open.pop, descriptors)))

    def _has_read(self) -> bool:
        """Whether it took anything of its request: what is left in the pipe is less than what was written into it."""
        return self._left(self._unread) < self._size - len(self._unsent)

    def _left(self, pipe: int) -> int:
        """Bytes that are in the pipe."""
        from shim.children.pipes import left  # noqa: PLC0415 - only after a failure, or where a child is kept

        return left(pipe)
