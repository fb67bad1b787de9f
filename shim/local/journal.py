"""The log of one execution environment: its lines as they come, and of each invocation the last of them, as a caller may ask for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TAIL = 4096
"""Bytes of the log that a caller gets (X-Amz-Log-Result)."""
LONGEST = 256 * 1024
"""Bytes of a line that are waited for its end (the longest event of CloudWatch Logs)."""


class Journal:
    """Takes what a runtime writes, in any pieces.

    Args:
        write: takes each line, without its line feed.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._line = bytearray()
        self._tail = bytearray()

    def begin(self) -> None:
        """An invocation begins: the tail is that of its lines."""
        self._tail.clear()

    @property
    def tail(self) -> bytes:
        """The last of the invocation's log."""
        return bytes(self._tail)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        first, *others = data.split(b"\n")
        self._line += first
        for other in others:
            line, self._line = bytes(self._line), bytearray(other)
            self.say(line)
        if len(self._line) > LONGEST:
            self.settle()

    def settle(self) -> None:
        """What has no line feed yet is a line as well."""
        if self._line:
            line, self._line = bytes(self._line), bytearray()
            self.say(line)

    def say(self, line: bytes) -> None:
        """Adds a line."""
        self._tail += line + b"\n"
        del self._tail[:-TAIL]
        self._write(line)
