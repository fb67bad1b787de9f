"""The client of the Runtime API: the next invocation, and what becomes of it. One connection, kept for ever.

Source of the rules: AWS's developer guide, "Using the Lambda runtime API for custom runtimes".
"""

from __future__ import annotations

import sys

from shim.errors import RuntimeApiError
from shim.runtime.connection import Answer, Connection
from shim.runtime.stream import Stream
from shim.runtime_api import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shim.runtime.failure import Failure

BROKEN = 500
"""From this status on the server is out of order, and a runtime is to end."""


class Call:
    """An invocation as it came: its request id, the bytes of its event, and the headers, with names in lower case."""

    __slots__ = ("echo", "event", "headers", "request_id")

    def __init__(self, request_id: str, headers: Mapping[str, str], event: bytes) -> None:
        self.request_id = request_id
        self.headers = headers
        self.event = event
        attempt = headers.get(_INVOCATION_ID)
        self.echo = "" if attempt is None else f"{messages.INVOCATION_ID}: {attempt}\r\n"
        """The line by which an answer says which attempt it belongs to: one that comes too late is not taken for the next one's."""


class Client:
    """Speaks to that `host:port`.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
        version: our own.

    Raises:
        RuntimeApiError: that is no address.
    """

    def __init__(self, address: str, *, version: str) -> None:
        self._connection = Connection(address)
        python = ".".join(map(str, sys.version_info[:3]))
        self._common = f" HTTP/1.1\r\nHost: {address}\r\nUser-Agent: shim/{version} Python/{python}\r\n"
        self._next = self._head("GET", messages.NEXT)

    def next(self) -> Call:
        """Waits for the next invocation, as long as it takes.

        A connection that ends without a word of an answer, as one may that was kept over a freeze, is made anew once.

        Raises:
            RuntimeApiError: there is none: the server can't be reached, or answers something else.
        """
        try:
            answer = self._connection.ask(self._next)
        except RuntimeApiError as error:
            if not error.is_silent:
                raise
            answer = self._connection.ask(self._next)
        if answer.status != 200:
            raise RuntimeApiError(f"Lambda's Runtime API gave no invocation but {answer}")
        request_id, deadline = answer.headers.get(_REQUEST_ID, ""), answer.headers.get(_DEADLINE_MS, "")
        if not (request_id.isascii() and request_id.replace("-", "").isalnum()):
            raise RuntimeApiError(
                f"Lambda's Runtime API gave an invocation with {request_id!r} for {messages.REQUEST_ID}"
            )
        if not (deadline.isascii() and deadline.isdecimal() and len(deadline) < 16):
            raise RuntimeApiError(
                f"Lambda's Runtime API gave an invocation with {deadline!r} for {messages.DEADLINE_MS}"
            )
        return Call(request_id, answer.headers, answer.body)

    def respond(self, call: Call, body: bytes) -> str | None:
        """Posts the answer of an invocation. Returns why it was refused, where it was.

        Raises:
            RuntimeApiError: the server is out of order.
        """
        return self._post(f"{messages.INVOCATION}{call.request_id}{messages.RESPONSE}", call.echo, body)

    def fail(self, call: Call, failure: Failure) -> str | None:
        """Posts that an invocation failed; else as `respond`."""
        target = f"{messages.INVOCATION}{call.request_id}{messages.ERROR}"
        return self._post(target, f"{_lines(failure.headers())}{call.echo}", failure.body())

    def fail_init(self, failure: Failure) -> str | None:
        """Posts that there will be no invocations; else as `respond`."""
        return self._post(messages.INIT_ERROR, _lines(failure.headers()), failure.body())

    def await_restore(self) -> None:
        """Says that a snapshot can be taken, and returns when this process was restored from it. Connections do not outlive that.

        Raises:
            RuntimeApiError: there is none.
        """
        answer = self._connection.ask(self._head("GET", messages.RESTORE_NEXT))
        self._connection.close()
        if answer.status != 200:
            raise RuntimeApiError(f"Lambda's Runtime API gave no restore but {answer}")

    def fail_restore(self, failure: Failure) -> str | None:
        """Posts that a restored process can't go on; else as `respond`."""
        return self._post(messages.RESTORE_ERROR, _lines(failure.headers()), failure.body())

    def stream(self, call: Call, content_type: str) -> Stream:
        """What takes an answer while it comes."""
        target = f"{messages.INVOCATION}{call.request_id}{messages.RESPONSE}"
        kind = _lines([(messages.CONTENT_TYPE, content_type)])
        return Stream(self._connection, self._head("POST", target, f"{kind}{STREAMED}{call.echo}"))

    def end(self, stream: Stream, rest: bytes, failure: Failure | None, until: float) -> str | None:
        """Ends a streamed answer with what it lacks, by that instant; else as `respond`."""
        answer = stream.end(rest, failure, until)
        if answer is None:
            return "a streamed response was broken off, since its caller did not take the rest in time"
        return refusal(answer)

    def verdict(self) -> str | None:
        """Why a streamed answer was refused that the server did not take whole. The connection is of no use any more.

        Raises:
            RuntimeApiError: it does not say.
        """
        try:
            return refusal(self._connection.last_words or self._connection.receive())
        finally:
            self._connection.close()

    def _post(self, target: str, lines: str, body: bytes) -> str | None:
        head = self._head("POST", target, f"{JSON}{lines}Content-Length: {len(body)}\r\n")
        return refusal(self._connection.ask(head, body))

    def _head(self, method: str, target: str, lines: str = "") -> bytes:
        return f"{method} {target}{self._common}{lines}\r\n".encode("utf-8", "surrogateescape")


def _lines(headers: Iterable[tuple[str, str]]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


JSON = _lines([(messages.CONTENT_TYPE, messages.JSON)])
STREAMED = _lines(
    [
        (messages.RESPONSE_MODE, messages.STREAMING),
        ("Transfer-Encoding", "chunked"),
        ("Trailer", f"{messages.FUNCTION_ERROR_TYPE}, {messages.FUNCTION_ERROR_BODY}"),
    ]
)
_REQUEST_ID = messages.REQUEST_ID.lower()
_DEADLINE_MS = messages.DEADLINE_MS.lower()
_INVOCATION_ID = messages.INVOCATION_ID.lower()


def refusal(answer: Answer) -> str | None:
    """Why a post was refused, or None where it was taken.

    Raises:
        RuntimeApiError: the server is out of order, and a runtime is to end promptly.
    """
    if 200 <= answer.status < 300:
        return None
    if 400 <= answer.status < BROKEN:
        return f"Lambda's Runtime API refused what was posted: {answer}"
    raise RuntimeApiError(f"Lambda's Runtime API is out of order: {answer}")
