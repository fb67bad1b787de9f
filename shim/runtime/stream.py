"""A response that goes to the caller while the child writes it: chunks of one POST, on the runtime's own connection, never waited for.

Lambda's limit is 200 MB; an error in the middle goes into trailers (AWS's developer guide, "Building a custom runtime", response streaming).
"""

from __future__ import annotations

import select
from base64 import b64encode

from shim.children.process import LONGEST_WAIT
from shim.errors import RuntimeApiError
from shim.invocation import now
from shim.runtime_api import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.runtime.connection import Answer, Connection
    from shim.runtime.failure import Failure

LAST = b"0\r\n\r\n"
"""The chunk that ends a response, and no trailers."""
MOST_OF_AN_ERROR = 2800
"""Bytes of an error in the trailers, which become a third more in base64: a server in Go takes 4,096 of trailers, and panics at more
(net/http, transfer.go; so does AWS's emulator)."""
MOMENT = 0.05
"""Seconds that are left for the answer to the end in any case: all may be sent, and the clock have passed."""


class Stream:
    """Takes the pieces of a response. Nothing is sent before the first of them, or the end.

    Args:
        connection: where to.
        head: the request line and headers of the POST.
    """

    def __init__(self, connection: Connection, head: bytes) -> None:
        self._connection = connection
        self._head = head
        self._unsent = memoryview(b"")
        self.has_begun = False
        """Whether anything was sent: then an error can only follow in the trailers."""

    @property
    def descriptor(self) -> int:
        """What to poll, from the first piece on: for writing while it is full, for reading always."""
        return self._connection.descriptor

    @property
    def is_full(self) -> bool:
        """Whether it waits for its reader, and takes nothing more."""
        return len(self._unsent) > 0

    def write(self, data: bytes) -> None:
        """Takes the next piece, when it is not full.

        Raises:
            RuntimeApiError: the connection is broken, or can't be made.
        """
        self._unsent = memoryview(self._beginning() + _chunk(data))
        self.push()

    def _beginning(self) -> bytes:
        """The head, which goes before all else."""
        if self.has_begun:
            return b""
        self.has_begun = True
        self._connection.prepare()
        return self._head

    def push(self) -> None:
        """Sends as much of what waits as is taken now.

        Raises:
            RuntimeApiError: the connection is broken.
        """
        self._unsent = self._unsent[self._connection.offer(self._unsent) :]

    def hear(self) -> None:
        """The server has something to say, in the middle of the response: it refuses it, or is gone.

        Raises:
            RuntimeApiError: always.
        """
        raise RuntimeApiError("Lambda's Runtime API did not take all of a streamed response")

    def end(self, rest: bytes, failure: Failure | None, until: float) -> Answer | None:
        """Sends what waits and the end, and returns what the server says; None where it did not take all of it in time: then it is broken off.

        Args:
            rest: the last piece, or nothing.
            failure: what went wrong in the middle.
            until: the instant after which nobody waits for it.

        Raises:
            RuntimeApiError: the connection is broken.
        """
        last = _chunk(rest) + LAST if rest else LAST
        if failure is not None:
            body = b64encode(failure.short_body(MOST_OF_AN_ERROR)).decode()
            last = (
                f"0\r\n{messages.FUNCTION_ERROR_TYPE}: {failure.category}\r\n{messages.FUNCTION_ERROR_BODY}: {body}\r\n\r\n"
            ).encode()
        self._unsent = memoryview(bytes(self._unsent) + self._beginning() + last)
        self.push()
        until = max(until, now() + MOMENT)
        poll = select.poll()
        has_answer = False
        while not has_answer:  # it may come before the end, where that is refused
            left = until - now()
            if left <= 0:
                self._connection.reset()
                return None
            poll.register(self.descriptor, select.POLLIN | (select.POLLOUT if self.is_full else 0))
            for _, event in poll.poll(min(left, LONGEST_WAIT) * 1000):
                has_answer = bool(event & ~select.POLLOUT)
                if not has_answer:
                    self.push()
        return self._connection.receive()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
