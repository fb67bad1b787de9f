"""What one child is told, and how the end of its reply is known. Pure: bytes in, reply out.

This file imports nothing of the machine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Protocol, TypeAlias

    class Sink(Protocol):
        """Who takes a reply while it comes. Nothing here waits: where it takes no more for now it is full, and is polled."""

        @property
        def descriptor(self) -> int:
            """What to poll once something was written: for writing while it is full, and for reading always."""

        @property
        def has_begun(self) -> bool:
            """Whether it was written to."""

        @property
        def is_full(self) -> bool:
            """Whether it can't be written to before a `push`."""

        def write(self, data: bytes) -> None:
            """Takes the next piece."""

        def push(self) -> None:
            """Goes on with what it has taken: the descriptor can be written to."""

        def hear(self) -> None:
            """The descriptor can be read, so the other side wants no more; raises what is to be told of that."""


LONG = 65_536
"""Bytes from which on a line is long, and is taken in larger pieces."""
REPORT = b'{"errorType"'
"""A reply that begins so is perhaps the last words of a child that fails."""
DELIMITER = bytes(8)
"""What stands between the head of an HTTP response and its body. There is no NUL in a head."""
LONGEST_HEAD = 256 * 1024
"""Bytes that a head may have: no client takes headers of that size."""
BLANKS = b" \t\r\n"
"""What JSON calls white space."""


class EndOfFile:
    """The framing of a one-shot child: its reply is all that it writes until the end of file.

    At most `limit` bytes are kept, and one more is taken to know that there were too many.
    """

    __slots__ = ("_buffer", "limit", "room")
    complete = False
    """Nothing but the end of the child completes it."""
    excess = b""
    """All of it is the reply."""
    cure = ""
    """Nothing that it writes can be wrong."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.room = limit + 1
        """How many bytes may still be fed: one more than may be kept."""
        self._buffer: bytes | bytearray = b""

    @property
    def overflowed(self) -> bool:
        """Whether the child wrote more than `limit` bytes."""
        return self.room <= 0

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes. A reply that came in one piece is kept as it is; others share one growing buffer.

        Returns:
            The lines among them that belong into the log: none.
        """
        self.room -= len(data)
        if not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytearray):
            self._buffer += data
        else:
            self._buffer = bytearray(self._buffer) + data
        return b""

    @property
    def reply(self) -> bytes | bytearray:
        """What came."""
        return self._buffer

    @property
    def size(self) -> int:
        """How many bytes came."""
        return self.limit + 1 - self.room

    def rest(self) -> bytes:
        """What belongs into the log when the child has ended: nothing."""
        return b""


class Streamed(EndOfFile):
    """The framing of a one-shot child whose reply is handed on while it comes: `take` hands out what may go, `reply` is what is held back.

    Held back is a beginning that must be judged first: a head up to its delimiter, and what may be a child's report of its error.

    Args:
        limit: the bytes that may be handed on.
        check: raises ValueError where the bytes are no head; None where the reply has none. What has a wrong one has overflowed.
    """

    __slots__ = ("_check", "_flows")

    def __init__(self, limit: int, check: Callable[[bytes], object] | None) -> None:
        super().__init__(limit)
        self._check = check
        self._flows = False

    def take(self) -> bytes:
        """What may be handed on now."""
        held = bytes(self._buffer)
        if not (self._flows or self._may_flow(held)):
            return b""
        self._flows = True
        self._buffer = b""
        return held if self.room > 0 else held[:-1]  # the last one is that too many

    def _may_flow(self, held: bytes) -> bool:
        if self._check is None:
            return len(held) > 0 and (len(held) > LONG or not (held.startswith(REPORT) or REPORT.startswith(held)))
        try:
            head = head_of(held)
            if head is not None:
                self._check(head)
        except ValueError:
            self.room = 0
            return False
        return head is not None


def head_of(reply: bytes | bytearray) -> bytes | None:
    """The head of an HTTP response, which ends before the delimiter; None where more of it must come.

    Raises:
        ValueError: it has none.
    """
    end = reply.find(0)
    if (len(reply) if end < 0 else end) > LONGEST_HEAD:
        raise ValueError(f"there is no end of its head in the first {LONGEST_HEAD} bytes")
    if end < 0 or (len(reply) < end + len(DELIMITER) and not any(reply[end:])):
        return None
    if reply[end : end + len(DELIMITER)] != DELIMITER:
        raise ValueError(f"its head has a NUL at byte {end} that is not one of the {len(DELIMITER)} after it")
    return bytes(reply[:end])


class Posted(EndOfFile):
    """The framing of a bootstrap: its reply is the body that it posts to the Runtime API, as its response or as its error.

    Args:
        limit: the bytes that a response may have.
    """

    complete = False
    """Whether the reply is there."""
    failed = False
    """Whether it is an error's."""
    error_type: str | None = None
    """What the header of an error says, besides its body."""
    refused_size = 0
    """How many bytes the response had, where it was refused since they are too many."""
    breach = ""
    """Why there is no reply in what it posted, as the predicate of a sentence."""

    def end(self) -> None:
        """That was all of the response."""
        self.complete = True

    def fail(self, error_type: str | None, body: bytes | None = None) -> None:
        """That was all of an error, with this type in its header; or this is its body, and what came before is nothing."""
        self.complete = self.failed = True
        self.error_type = error_type
        if body is not None:
            self._buffer = body


class Line:
    """The framing of a warm child: its reply is one line. What it writes besides is nobody's answer: `excess`.

    Args:
        limit: the bytes that the line may have; one more is taken to know that there were too many.
        asked: False for a child that was not asked yet, and whose every byte is excess.
    """

    complete = False
    """Whether the reply is there."""
    reply: bytes | bytearray = b""
    """The line without its line feed, or what there is of it."""
    excess: bytes = b""
    """What came after the reply."""
    message: dict[str, Any] | None = None
    """No line has more than its bytes."""
    cure = "make it write one line for each line that it reads, flushed, and everything else to standard error; or use SHIM_FRAMING=envelope"
    """What to do about a child that does not hold to it."""
    _buffer: bytearray | None = None

    def __init__(self, limit: int, *, asked: bool = True) -> None:
        self.limit = limit
        self.room = limit + 1
        """How many bytes may still be fed: the line, and its line feed or one too many."""
        if not asked:
            self.complete = True

    @property
    def overflowed(self) -> bool:
        """Whether the line has more than `limit` bytes."""
        return self.room <= 0

    def follow(self, last: Framing) -> None:
        """Takes over from the framing of the request before: a child that left bytes of it is not asked again."""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes.

        Returns:
            The lines among them that belong into the log: none.
        """
        if self.complete:
            self.excess += data
            return b""
        end = data.find(b"\n")
        line = data if end < 0 else data[:end]
        self.room -= len(line)
        if self._buffer is not None:
            self._buffer += line
        elif end < 0:
            self.reply = self._buffer = bytearray(line)
        else:
            self.reply = line
        if end >= 0:
            self.complete = True
            if end + 1 < len(data):
                self.excess = data[end + 1 :]
        return b""

    def rest(self) -> bytes:
        """What belongs into the log when the child has ended: nothing."""
        return b""


class Envelope:
    """The framing of a warm child that writes its log to the same descriptor: a line is a reply if it says whose it is.

    An object with a text `id` and exactly one of `value` and `error` is a reply. Programs in the manner of Apex go beyond that in three ways: an
    `error` that is null or empty is none, with our id one beside a `value` goes before it (go-apex writes both), and our id alone is a value of null
    (Go's `omitempty`). Every other line is log.

    Args:
        limit: the bytes that a line may have.
        id: the request's, or None where none was asked: then every reply is excess.
        parse: makes a value of JSON, or raises ValueError.
    """

    complete = False
    """Whether the reply is there."""
    reply: bytes | bytearray = b""
    """The line of the reply."""
    message: dict[str, Any] | None = None
    """What the line holds, `value` or `error`; None where it is meant to be the reply and can't be parsed."""
    cure = (
        "make it answer each id that it reads once, and write nothing else that has a text id and a value or an error"
    )
    """What to do about a child that does not hold to it."""
    excess: bytes = b""
    """The first line that is a reply to nobody, or to somebody else, or the second to this request."""

    def __init__(self, limit: int, *, id: str | None, parse: Callable[[bytes], Any]) -> None:  # noqa: A002 - the member's name
        self.limit = limit
        self.id = id
        self._parse = parse
        self._buffer = bytearray()

    @property
    def room(self) -> int:
        """How many bytes may still be fed: what a line lacks, and its line feed or one too many."""
        return self.limit + 1 - len(self._buffer)

    @property
    def overflowed(self) -> bool:
        """Whether a line has more than `limit` bytes."""
        return len(self._buffer) > self.limit

    @property
    def is_long(self) -> bool:
        """Whether the line that comes is a long one."""
        return len(self._buffer) >= LONG

    def follow(self, last: Framing) -> None:
        """Takes over the beginning of a line from the framing of the request before."""
        self._buffer += last.rest()

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes; returns the lines among them that belong into the log."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._buffer += data
            return b""
        lines = bytes(self._buffer + data[:end]) if self._buffer else data[:end]
        self._buffer[:] = data[end:]
        if b'"id"' not in lines:
            return lines
        return b"".join([line + b"\n" for line in lines[:-1].split(b"\n") if not self._takes(line)])

    def rest(self) -> bytes:
        """Hands out the beginning of a line whose end has not come."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _takes(self, line: bytes) -> bool:
        """Whether the line is a reply, which is then kept."""
        if b'"id"' not in line or line.lstrip(BLANKS)[:1] != b"{":
            return False
        try:
            message = self._parse(line)
        except ValueError:
            if self.id is None or self.id.encode() not in line:
                return False
            message = None  # meant to be the reply, which is told better now than at the deadline
        if message is not None and not self._is_reply(message):
            return False
        if self.complete or (message is not None and message["id"] != self.id):
            self.excess = self.excess or line
        else:
            self.complete = True
            self.reply = line
            self.message = message
        return True

    def _is_reply(self, message: Any) -> bool:
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            return False
        if message.get("error") in (None, ""):
            message.pop("error", None)
        elif message.get("value") is None or message["id"] == self.id:
            message.pop("value", None)
        if message == {"id": self.id}:
            message["value"] = None
        return ("value" in message) != ("error" in message)


if TYPE_CHECKING:
    Framing: TypeAlias = Line | Envelope


class Request:
    """What one child is told: the bytes that it reads, its arguments and environment, and the framing of its reply.

    It reads `body` from its standard input; a bootstrap, which speaks HTTP, gets it as a body, with these headers.
    `request_id` is Lambda's id of the invocation, by which the log says whose a line is. With a `sink` the reply goes there while it comes.
    """

    __slots__ = ("arguments", "body", "environment", "framing", "headers", "request_id", "sink")

    def __init__(  # noqa: PLR0913 - all that one child is told
        self,
        body: bytes,
        *,
        arguments: list[str],
        environment: Mapping[bytes, bytes],
        framing: EndOfFile | Framing,
        request_id: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        sink: Sink | None = None,
    ) -> None:
        self.body = body
        self.sink = sink
        self.headers = headers
        self.arguments = arguments
        self.environment = environment
        self.framing = framing
        self.request_id = request_id
