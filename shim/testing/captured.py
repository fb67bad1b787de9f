"""The function's log while a test's block lasts: what the executables wrote there, and what shim said.

Descriptor 2 stays where it is: what this process itself writes to standard error is no part of it, and whoever has redirected that (pytest does)
is not disturbed.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from shim.invocation import timestamp
from shim.logs import Log, function_log
from shim.records import LEVELS, Records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

NOTE = "shim: "
"""With this a sentence of shim's own begins, where the log is text."""
METRICS = "_aws"
"""The member by which CloudWatch knows an object with metrics."""

_turn = Lock()
_captures: list[Log] = []
"""Each holds what the one that was begun after it took the place of; the process's own log is what was begun last."""


class Captured:
    """What stood in the log: until now as long as the block lasts, and all of it afterwards."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._data = b""
        self._turn = Lock()

    @property
    def data(self) -> bytes:
        """All of it, as it is: an executable may write what is no text."""
        with self._turn:
            return self._data if self._descriptor is None else _read(self._descriptor)

    @property
    def text(self) -> str:
        """All of it; what is not UTF-8 becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """Its lines, without their line feeds."""
        lines = self.text.split("\n")  # and at nothing else, as str.splitlines would
        return lines if lines[-1] else lines[:-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its lines that are JSON objects, parsed, but those of metrics: where the log has Lambda's JSON format, each line is one."""
        return [found for found in self._objects() if METRICS not in found]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Its lines of metrics in the Embedded Metric Format, parsed: those of `metrics="emf"`, and those that an executable writes."""
        return [found for found in self._objects() if METRICS in found]

    @property
    def notes(self) -> list[str]:
        """What shim itself said, as sentences, in either format. An executable may write what looks the same."""
        return [note for note in map(_note, self.lines) if note is not None]

    def _objects(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            found = _parsed(line)
            if isinstance(found, dict):
                yield found

    def _end(self) -> None:
        with self._turn:
            if self._descriptor is not None:
                self._data = _read(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None

    def __repr__(self) -> str:
        return f"<Captured {len(self.data):,} bytes, {'over' if self._descriptor is None else 'going on'}>"


@contextmanager
def capture(*, log_format: Literal["Text", "JSON"] | None = None, log_level: str | None = None) -> Iterator[Captured]:
    """The function's log goes to the test as long as the block lasts, and to standard error again afterwards.

    It is the log of this process, so it holds what comes of all its Shims, in all threads, those made before the block too. Of several blocks
    the one that was begun last has what comes while it lasts. What an executable has written by the time its Shim answers is there; what a kept
    one writes later comes with its next invocation, or when its Shim is closed.

    Args:
        log_format: "Text" or "JSON", the two that Lambda has; what AWS_LAMBDA_LOG_FORMAT says at the moment, where none is given. It counts for
            Shims that are made in the block.
        log_level: the lowest that is kept, where the format is JSON; what AWS_LAMBDA_LOG_LEVEL says, where none is given.

    Raises:
        ValueError: there is no such format or level, or a level is given for text, which has none.
    """
    log, captured = _opened(_records(log_format, log_level))
    try:
        _begin(log)
        try:
            yield captured
        finally:
            _restore(log)
    finally:
        captured._end()  # noqa: SLF001 - our own class


def _opened(records: Records | None) -> tuple[Log, Captured]:
    """A log that takes everything, at once and without a reader, and what was written to it."""
    descriptor = os.memfd_create("log")
    return Log(descriptor, records), Captured(descriptor)


def _begin(log: Log) -> None:
    with _turn:
        function_log().exchange(log)
        _captures.append(log)


def _restore(log: Log) -> None:
    """Takes it out, wherever it is: blocks of several threads end in any order."""
    with _turn:
        index = _captures.index(log)
        above = _captures[index + 1] if index + 1 < len(_captures) else function_log()
        above.exchange(log)
        del _captures[index]


def _records(log_format: str | None, log_level: str | None) -> Records | None:
    """What makes records, where the format is JSON."""
    if log_format not in (None, "Text", "JSON"):
        raise ValueError(f"log_format must be Text or JSON, not {log_format!r}")
    if log_level is not None and log_level not in LEVELS:
        raise ValueError(f"log_level must be one of {', '.join(LEVELS)}, not {log_level!r}")
    if (log_format or os.environ.get("AWS_LAMBDA_LOG_FORMAT", "")).upper() != "JSON":
        if log_level is not None:
            raise ValueError(f"log_level={log_level!r} needs log_format='JSON': a log that is text has no levels")
        return None
    return Records(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "") if log_level is None else log_level, clock=timestamp)


def _read(descriptor: int) -> bytes:
    """The whole file, wherever its position is."""
    data = bytearray()
    while chunk := os.pread(descriptor, 16 * 1024 * 1024, len(data)):
        data += chunk
    return bytes(data)


def _parsed(line: str) -> Any:
    """The line as JSON; None where it is none."""
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def _note(line: str) -> str | None:
    """The sentence of shim's own that the line is, or None."""
    if line.startswith(NOTE):
        return line.removeprefix(NOTE)
    found = _parsed(line)
    if isinstance(found, dict) and found.get("logger") == "shim" and isinstance(found.get("message"), str):
        return str(found["message"])
    return None
