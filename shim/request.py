"""What one child is told, and how the end of its reply is known. Pure: bytes in, reply out.

This file imports nothing of the machine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class EndOfFile:
    """The framing of a one-shot child: its reply is all that it writes until the end of file.

    At most `limit` bytes are kept, and one more is taken to know that there were too many.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: bytes | bytearray = b""

    @property
    def room(self) -> int:
        """How many bytes may still be fed: one more than may be kept."""
        return self.limit + 1 - len(self._buffer)

    @property
    def overflowed(self) -> bool:
        """Whether the child wrote more than `limit` bytes."""
        return len(self._buffer) > self.limit

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. A reply that came in one piece is kept as it is; others share one growing buffer."""
        if not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytearray):
            self._buffer += data
        else:
            self._buffer = bytearray(self._buffer) + data

    @property
    def reply(self) -> bytes | bytearray:
        """What came."""
        return self._buffer


class Request:
    """What one child is told: the bytes on its standard input, its arguments and environment, and the framing of its reply.

    `request_id` is Lambda's id of the invocation, by which the log says whose a line is.
    """

    __slots__ = ("arguments", "environment", "framing", "request_id", "stdin")

    def __init__(
        self,
        stdin: bytes,
        *,
        arguments: list[str],
        environment: Mapping[bytes, bytes],
        framing: EndOfFile,
        request_id: str | None = None,
    ) -> None:
        self.stdin = stdin
        self.arguments = arguments
        self.environment = environment
        self.framing = framing
        self.request_id = request_id
