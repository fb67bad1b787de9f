"""Standard error of the children → the function's log (our own descriptor 2), and its tail. Nothing here waits for the log's reader.

Descriptor 2 is shared with everybody who inherited it, so it can't be made non-blocking. A pipe that polls as writable takes 4,096 bytes
(PIPE_BUF) at once, so no write is longer, and none happens before the poll says so. A terminal that polls as writable may take less, and
would block: it is opened anew, for us alone and non-blocking.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from functools import cache

from shim.invocation import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIPE_BUF = 4096
CAPACITY = 256 * 1024
"""Bytes that may wait for a log that does not take them; what comes on top is dropped and counted."""
LONGEST_LINE = 16 * 1024
"""A longer line goes to the log in pieces, so that no child can make us keep it."""

_turn = allocate_lock()
"""Between the poll and the write no other thread of ours may fill the pipe."""


class Log:
    """The function's log, as one descriptor: a bounded buffer in front of it, and what was dropped is counted."""

    __slots__ = ("_descriptor", "_dropped", "_pending", "_poll")

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = _own(descriptor) if os.isatty(descriptor) else descriptor
        self._pending = bytearray()
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    @property
    def descriptor(self) -> int | None:
        """What to poll for POLLOUT before `push`; None where nothing waits to be written."""
        return self._descriptor if self._pending else None

    def add(self, lines: bytes | bytearray) -> None:
        """Takes whole lines, and writes what can be written now."""
        with _turn:
            room = CAPACITY - len(self._pending)
            if len(lines) <= room and not self._dropped:
                self._pending += lines
            else:
                self._dropped += len(lines)
        self.push()

    def note(self, sentence: str) -> None:
        """Takes a line of our own."""
        self.add(f"shim: {sentence}\n".encode("utf-8", "replace"))

    def push(self) -> None:
        """Writes as much as the log takes without blocking."""
        with _turn:
            while (self._pending or self._dropped) and self._poll.poll(0):
                if not self._pending:
                    self._pending += (
                        b"shim: the log took no more: %d bytes of standard error were dropped\n" % self._dropped
                    )
                    self._dropped = 0
                length = len(self._pending)
                if length > PIPE_BUF:  # whole lines where possible, so that those of several children do not mix
                    length = self._pending.rfind(b"\n", 0, PIPE_BUF) + 1 or PIPE_BUF
                try:
                    del self._pending[: os.write(self._descriptor, self._pending[:length])]
                except BlockingIOError:
                    return
                except OSError:  # nobody reads it any more, or its disk is full: there is no one to tell
                    self._dropped = 0
                    self._pending.clear()

    def settle(self, patience: float, until: float) -> None:
        """Writes what waits, as long as the log takes something every `patience` seconds, until that instant at most.

        What is left goes out with the next invocation.
        """
        if not self._pending:
            return
        poll = select.poll()  # one of its own: a poll object serves one thread at a time
        poll.register(self._descriptor, select.POLLOUT)
        while self._pending and now() < until and poll.poll(patience * 1000):
            self.push()


def _own(terminal: int) -> int:
    """Another way to the same terminal, which does not block; the descriptor itself where there is none."""
    try:
        return os.open(f"/proc/self/fd/{terminal}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return terminal


@cache
def function_log() -> Log:
    """The one log of this process, which all its Shims share: two would mix their lines."""
    return Log(2)


class StandardError:
    """One child's standard error: whole lines go to `add` as they come, the last partial one at the end, and the tail is kept."""

    __slots__ = ("_add", "_midline", "_rest", "_tail", "_tail_bytes")

    def __init__(self, add: Callable[[bytes | bytearray], None], tail_bytes: int) -> None:
        self._add = add
        self._rest = b""
        self._midline = False
        self._tail = bytearray()
        self._tail_bytes = tail_bytes

    def feed(self, data: bytes) -> None:
        """Takes the next bytes that the child wrote."""
        if self._tail_bytes:
            self._tail += data[-self._tail_bytes :]
            del self._tail[: -self._tail_bytes]
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST_LINE:
            end = len(data)
        self._rest = data[end:]
        if end:
            self._add(data[:end])
            self._midline = data[end - 1] != 0x0A

    def close(self) -> None:
        """The child writes no more: its last line goes to the log, with the line feed that it lacks."""
        if self._rest or self._midline:
            self._add(self._rest + b"\n")
            self._rest = b""
            self._midline = False

    @property
    def tail(self) -> str:
        """The last `tail_bytes` bytes, from a whole character on; what is not UTF-8 becomes U+FFFD."""
        start = 0
        if len(self._tail) == self._tail_bytes:  # it may begin inside a character, whose other bytes are 10xxxxxx
            while start < 3 and self._tail[start : start + 1] and self._tail[start] & 0xC0 == 0x80:
                start += 1
        return self._tail[start:].decode("utf-8", "replace").rstrip("\n")
