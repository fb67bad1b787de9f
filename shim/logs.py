"""Standard error of the children → the function's log (our own descriptor 2), and its tail. Nothing here waits for the log's reader.

Descriptor 2 is shared with everybody who inherited it, so it can't be made non-blocking. A pipe that polls as writable takes 4,096 bytes
(PIPE_BUF) at once, so no write is longer, and none happens before the poll says so. A terminal that polls as writable may take less, and
would block: it is opened anew, for us alone and non-blocking.
"""

from __future__ import annotations

import os
import select
from _thread import RLock
from functools import cache

from shim.invocation import now, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shim.records import Records

PIPE_BUF = 4096
LINE_FEED = 0x0A
CAPACITY = 512 * 1024
"""Bytes that may wait for a log that does not take them; what comes on top is dropped and counted. The record of the longest line fits."""
RESERVE = 16 * 1024
"""Room beyond it for lines of our own, which say what happened."""
LONGEST_LINE = 64 * 1024
"""A longer line goes to the log in pieces, so that no child can make us keep it."""
CHUNK = 64 * 1024
RECORDS_CHUNK = 4 * 1024
"""How much of a living child's is read at a time: a record takes up to 2 µs, and the deadline is looked at in between."""

_turn = RLock()
"""Between the poll and the write no other thread of ours may fill the pipe. A signal's handler in the same thread may."""


class Log:
    """The function's log, as one descriptor: a bounded buffer in front of it, and what was dropped is counted.

    Args:
        descriptor: what is written to.
        records: makes records, where the log has Lambda's JSON format; else lines stay as they are.
    """

    __slots__ = ("_descriptor", "_dropped", "_midline", "_pending", "_poll", "_records", "chunk", "descriptor")

    def __init__(self, descriptor: int = 2, records: Records | None = None) -> None:
        self._descriptor = _own(descriptor) if os.isatty(descriptor) else descriptor
        self._records = records
        self.chunk = RECORDS_CHUNK if records else CHUNK
        self.descriptor: int | None = None
        """What to poll for POLLOUT before `push`; None where nothing waits to be written."""
        self._pending = bytearray()
        self._midline = False
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    @property
    def tags_lines(self) -> bool:
        """Whether a line bears its invocation's id."""
        return self._records is not None

    def of_child(self, *, request_id: str | None, stream: str) -> Callable[[bytes | bytearray], None]:
        """What takes the lines that a child writes there in that invocation."""
        records = self._records
        if records is None:
            return self.add
        from shim.records import Lines  # noqa: PLC0415 - only in the JSON format

        return Lines(records, self.add, request_id=request_id, stream=stream).take

    def add(self, lines: bytes | bytearray, size: int | None = None) -> None:
        """Takes whole lines, or pieces of one, and writes what can be written now. They stand for so many bytes of a child's."""
        with _turn:
            room = CAPACITY - len(self._pending)
            if len(lines) <= room and not self._dropped:
                self._pending += lines
                self._midline = lines[-1] != LINE_FEED
            else:
                self._dropped += len(lines) if size is None else size
        self.push()

    def lose(self, size: int) -> None:
        """Counts bytes of a child's that there was no time to take."""
        with _turn:
            self._dropped += size
        self.push()

    def say(self, line: bytes) -> None:
        """Takes a line of our own, for which there is room where there is none for a child's."""
        with _turn:
            if len(self._pending) < CAPACITY + RESERVE:
                self._begin_a_line()
                self._pending += line
            else:
                self._dropped += len(line)
        self.push()

    def note(self, sentence: str, *, level: str = "WARN", request_id: str | None = None) -> None:
        """Takes a sentence of our own. The level and the invocation's id show in the JSON format only."""
        records = self._records
        if records is None or records.keeps(level):
            self.say(self._noted(sentence, level, request_id))

    def tell_failure(self, error_type: str, message: str, trace: Sequence[object], request_id: str | None) -> None:
        """Takes the error of an invocation or an init, as Lambda's runtime for Python logs it (awslambdaric, bootstrap.py, log_error)."""
        records = self._records
        if records is not None:
            self.say(records.failure(error_type, message, trace, request_id=request_id))
            return
        entries = [f"[ERROR] {error_type}: {message}", *map(str, trace)]
        # A carriage return keeps them together: CloudWatch makes a record of each line.
        self.say(
            "\r".join([line for entry in entries for line in entry.splitlines()]).encode("utf-8", "replace") + b"\n"
        )

    def push(self) -> None:
        """Writes as much as the log takes without blocking."""
        with _turn:
            self.descriptor = self._descriptor
            self._write()
            if not (self._pending or self._dropped):
                self.descriptor = None

    def _write(self) -> None:
        while (self._pending or self._dropped) and self._poll.poll(0):
            if not self._pending:
                self._begin_a_line()
            length = len(self._pending)
            if length > PIPE_BUF:  # whole lines where possible, so that those of several children do not mix
                length = self._pending.rfind(b"\n", 0, PIPE_BUF) + 1 or PIPE_BUF
            try:
                # Written and taken out within one call, C all through: an interrupt between the two would have lines stand there twice.
                written = map(os.write, (self._descriptor,), (self._pending[:length],))
                list(map(self._pending.__delitem__, map(slice, written)))
            except BlockingIOError:
                return
            except OSError:  # nobody reads it any more, or its disk is full: there is no one to tell
                self._dropped = 0
                self._midline = False
                self._pending.clear()

    def forget(self) -> None:
        """Drops what waits: it is another process's to write."""
        self._pending.clear()
        self._dropped = 0
        self.descriptor = None

    def exchange(self, other: Log) -> None:
        """Each becomes what the other is: who holds this log writes where that one did, in its format. What waits for either goes with it.

        All Shims of a process hold one log; so it can be captured for a while, wherever they have it.
        """
        with _turn:
            for log in (self, other):
                log.push()
            for name in self.__slots__:
                mine, theirs = getattr(self, name), getattr(other, name)
                setattr(self, name, theirs)
                setattr(other, name, mine)

    def _begin_a_line(self) -> None:
        """Ends a line whose own end was dropped, and says how much was. No level keeps that back."""
        if self._midline:
            self._pending += b"\n"
            self._midline = False
        if self._dropped:
            sentence = f"the log took no more: {self._dropped} bytes were dropped"
            self._pending += self._noted(sentence, "WARN", None)
            self._dropped = 0

    def _noted(self, sentence: str, level: str, request_id: str | None) -> bytes:
        records = self._records
        if records is None:
            return f"shim: {_one_line(sentence)}\n".encode("utf-8", "replace")
        return records.note(sentence, level=level, request_id=request_id)

    def settle(self, patience: float, until: float) -> None:
        """Writes what waits, as long as the log takes something every `patience` seconds, until that instant at most.

        What is left goes out with the next invocation.
        """
        waiting = self.descriptor
        if waiting is None:
            return
        poll = select.poll()  # one of its own: a poll object serves one thread at a time
        poll.register(waiting, select.POLLOUT)
        while self.descriptor is not None and now() < until and poll.poll(patience * 1000):
            self.push()


def _one_line(sentence: str) -> str:
    """The sentence with what would break a line in two, or be obeyed by a terminal, escaped: a name of a file may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in sentence)


def _own(terminal: int) -> int:
    """Another way to the same terminal, which does not block; the descriptor itself where there is none."""
    try:
        return os.open(f"/proc/self/fd/{terminal}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return terminal


@cache
def function_log() -> Log:
    """The one log of this process, which all its Shims share: two would mix their lines.

    Its format is the function's: what is neither "JSON" nor "Text" is text, as it is for Lambda's own runtimes.
    """
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() != "JSON":
        return Log(2)
    from shim.records import Records  # noqa: PLC0415 - only in this format

    return Log(2, Records(os.environ.get("AWS_LAMBDA_LOG_LEVEL", ""), clock=timestamp))


def _begin_anew() -> None:
    """In a forked process: the other one writes what waits, and the thread that held the lock is not here."""
    global _turn  # noqa: PLW0603 - one lock for all logs
    _turn = RLock()
    if function_log.cache_info().currsize:
        function_log().forget()


os.register_at_fork(after_in_child=_begin_anew)


class StandardError:
    """One child's standard error: whole lines go to `add` as they come, the last partial one at the end, and the tail is kept."""

    __slots__ = ("_add", "_midline", "_rest", "_tail", "_tail_bytes", "silent")

    def __init__(self, add: Callable[[bytes | bytearray], None], tail_bytes: int) -> None:
        self.silent = True
        """Whether nothing came since the tail began."""
        self._add = add
        self._rest = bytearray()
        self._midline = False
        self._tail = bytearray()
        self._tail_bytes = tail_bytes

    def begin(self, add: Callable[[bytes | bytearray], None], *, anew: bool) -> None:
        """A kept child is asked: its lines go to `add` from now on. Anew, the tail begins as well: the caller of before is another one's."""
        self._add = add
        if anew:
            self.silent = True
            self._tail.clear()

    def insert(self, lines: bytes) -> None:
        """Takes whole lines that the child wrote to another descriptor, if there are any."""
        if lines:
            self._keep(lines)
            self._add(lines)

    def _keep(self, data: bytes) -> None:
        self.silent = False
        if self._tail_bytes:
            self._tail += data[-self._tail_bytes :]
            del self._tail[: -self._tail_bytes]

    def feed(self, data: bytes) -> None:
        """Takes the next bytes that the child wrote."""
        self._keep(data)
        end = data.rfind(b"\n") + 1
        if end:
            if len(self._rest) + data.find(b"\n") > LONGEST_LINE:
                self._break_off()
            self._add(self._rest + data[:end] if self._rest else data[:end])
            self._rest.clear()
            self._midline = False
        self._rest += data[end:]
        if len(self._rest) > LONGEST_LINE:
            self._break_off()

    def _break_off(self) -> None:
        """Gives on what has come of a line that is too long, up to a whole character."""
        end = len(self._rest) - _begun(self._rest[-3:])
        if end:
            self._add(self._rest[:end])
            del self._rest[:end]
            self._midline = True

    def close(self) -> None:
        """The child writes no more: its last line goes to the log, with the line feed that it lacks."""
        if self._rest or self._midline:
            self._add(self._rest + b"\n")
            self._rest.clear()
            self._midline = False

    @property
    def tail(self) -> str:
        """The last `tail_bytes` bytes, from a whole character on; what is not UTF-8 becomes U+FFFD."""
        if self.silent:
            return ""
        start = 0
        if len(self._tail) == self._tail_bytes:  # it may begin inside a character, whose other bytes are 10xxxxxx
            while start < 3 and self._tail[start : start + 1] and self._tail[start] & 0xC0 == 0x80:
                start += 1
        return self._tail[start:].decode("utf-8", "replace").rstrip("\n")


def _begun(end: bytes | bytearray) -> int:
    """How many of the last three bytes begin a character of UTF-8 that is not complete."""
    for count, byte in enumerate(reversed(end), start=1):
        if byte & 0xC0 != 0x80:  # no byte inside a character
            length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if length > count else 0
    return 0
