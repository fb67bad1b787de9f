"""The record of a line: what stands in the log for a line of a child, or for a sentence of our own, in Lambda's JSON log format.

A line that is no JSON object becomes the `message` of a record. One that is an object keeps every byte of what it says, and gets what it lacks
of `timestamp`, `level`, `requestId` and `stream` in front: it is parsed only to know its names and its level, and never encoded again. What
orjson refuses as JSON (a lone surrogate, a number beyond every double) many readers refuse as well, so it is a message too.
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html

Pure: lines in, records out; the clock is handed in.
"""

from __future__ import annotations

import orjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    class Add(Protocol):
        """What takes records: whole lines, and how many bytes of the child's they stand for."""

        def __call__(self, lines: bytes | bytearray, size: int) -> None:
            """Takes them."""


INFO = 30
LEVELS = {
    "TRACE": 10,
    "DEBUG": 20,
    "INFO": INFO,
    "NOTICE": 35,
    "WARN": 40,
    "WARNING": 40,
    "ERROR": 50,
    "FATAL": 60,
    "CRITICAL": 60,
}
"""Lambda's levels and other names of them, as the numbers that pino and bunyan write."""

BATCH = 64 * 1024
"""Bytes of records that are handed on at a time."""

BLANKS = b" \t\r"


def rank(level: object) -> float:
    """The level as a number; what is none counts as INFO, as it does for Lambda."""
    if type(level) is str:
        return LEVELS.get(level.upper(), INFO)
    if (type(level) is int or type(level) is float) and 10 <= level <= 60:
        return level
    return INFO


class Records:
    """Makes records, of a level and above.

    Args:
        level: the lowest that is kept, as AWS_LAMBDA_LOG_LEVEL has it.
        clock: gives this instant as a record's timestamp.
    """

    __slots__ = ("_least", "clock")

    def __init__(self, level: str, *, clock: Callable[[], str]) -> None:
        self._least = rank(level)
        self.clock = clock

    def keeps(self, level: object) -> bool:
        """Whether a record of that level is kept."""
        return rank(level) >= self._least

    def note(self, sentence: str, *, level: str, request_id: str | None) -> bytes:
        """The record of a sentence of our own, in the order that Lambda's Python runtime has."""
        fields = [
            b'{"timestamp":"%s","level":"%s","message":%s,"logger":"shim"'
            % (self.clock().encode(), level.encode(), _quoted(sentence))
        ]
        if request_id is not None:
            fields.append(b',"requestId":' + _quoted(request_id))
        return b"".join([*fields, b"}\n"])

    def failure(self, error_type: str, message: str, trace: Sequence[object], *, request_id: str | None) -> bytes:
        """The record of an error, as Lambda's Python runtime has it."""
        fields = {"timestamp": self.clock(), "level": "ERROR", "errorType": error_type, "errorMessage": message}
        if request_id is not None:
            fields["requestId"] = request_id
        return orjson.dumps({**fields, "stackTrace": list(trace)}, option=orjson.OPT_APPEND_NEWLINE)


class Lines:
    """The lines of one child on their way to the log.

    Args:
        records: which are made, and when.
        add: takes them.
        request_id: of the invocation; None where nobody knows it.
        stream: where the child wrote them.
    """

    __slots__ = ("_add", "_midline", "_records", "_request_id", "_stream")

    def __init__(self, records: Records, add: Add, *, request_id: str | None, stream: str) -> None:
        self._records = records
        self._add = add
        self._request_id = b'"requestId":' + (b"null" if request_id is None else _quoted(request_id))
        self._stream = b'"stream":' + _quoted(stream)
        self._midline = False

    def take(self, data: bytes | bytearray) -> None:
        """Takes whole lines, or a piece of a line that is too long to wait for its end."""
        batch = bytearray()
        size = 0
        for record, stands_for in self._made(bytes(data)):
            if record:
                batch += record
                size += stands_for
                if len(batch) > BATCH:
                    self._add(batch, size)
                    batch = bytearray()
                    size = 0
        if batch:
            self._add(batch, size)

    def _made(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """The record of each line, which is empty where none is kept, and how many bytes of the child's it stands for."""
        timestamp = b'"timestamp":"%s"' % self._records.clock().encode()
        before = b'{%s,"level":"INFO","message":' % timestamp
        after = b",%s,%s}\n" % (self._request_id, self._stream)
        keeps_messages = self._records.keeps(INFO)
        blank = before + b'""' + after if keeps_messages else b""
        *lines, piece = data.split(b"\n")
        for line in lines:
            record = None
            if self._midline:  # the end of a line whose beginning is a record already
                self._midline = False
                record = None if line else b""
            elif not line:
                record = blank
            else:
                stripped = line.strip(BLANKS)
                if stripped[:1] == b"{" and stripped[-1:] == b"}":
                    record = self._object(stripped, timestamp)
            if record is None:
                record = before + _quoted(line.decode("utf-8", "replace")) + after if keeps_messages else b""
            yield record, len(line) + 1
        if piece:
            self._midline = True
            if keeps_messages:
                yield before + _quoted(piece.decode("utf-8", "replace")) + after, len(piece)

    def _object(self, line: bytes, timestamp: bytes) -> bytes | None:
        """The record of a line that is a JSON object: what it lacks, then its own bytes. None where it is no JSON, empty where it is not kept."""
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not self._records.keeps(fields.get("level")):
            return b""
        ours = (
            ("timestamp", timestamp),
            ("level", b'"level":"INFO"'),
            ("requestId", self._request_id),
            ("stream", self._stream),
        )
        lacking = b",".join([text for name, text in ours if name not in fields])
        return b"{%s%s%s\n" % (lacking, b"," if lacking and fields else b"", line[1:])


def _quoted(text: str) -> bytes:
    """The text in JSON; what no UTF-8 can hold becomes a question mark."""
    try:
        return orjson.dumps(text)
    except TypeError:  # half of a character: a name that is no UTF-8, with surrogates in place of its bytes
        return orjson.dumps(text.encode("utf-8", "replace").decode())
