"""HTTP/1.1 as the client of the Runtime API speaks it: one connection, kept from one request to the next, and no time limit (RFC 9112).

Lambda's own server is the only one that it is for, and is believed in nothing: what is no answer, or more than one, ends the connection.
"""

from __future__ import annotations

import select
import sys
from functools import lru_cache

from shim.errors import RuntimeApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import NoReturn
else:
    import _socket as socket  # what `socket` puts around it costs a cold start 3 ms

LONGEST_HEAD = 1024 * 1024
"""Bytes of an answer's head: Lambda's client context alone may have 3,583."""
LONGEST_BODY = 64 * 1024 * 1024
"""Bytes of an answer's body: ten times the longest event."""
LONGEST_LINE = 4096
"""Bytes of the line before a chunk."""
PIECE = 64 * 1024
SHOWN = 200
"""Bytes of an answer that are shown."""
DIGITS = frozenset("0123456789abcdefABCDEF")
VERSIONS = ("HTTP/1.1 ", "HTTP/1.0 ")
FRAMINGS = ("content-length", "transfer-encoding")
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
"""What the name of a header is made of, in lower case (RFC 9110, 5.6.2)."""
CONTROLS = frozenset(map(chr, [*range(9), *range(10, 32), 127]))
"""What a header can't have: it would become part of a request, where it is sent back."""
NO_LINGERING = (1).to_bytes(4, sys.byteorder) + bytes(4)
"""struct linger (socket(7)): on, for 0 seconds."""
BODILESS = (204, 304)
"""The statuses whose answers have no body (RFC 9110, 6.4.1)."""


class Answer:
    """What the server answered: header names are in lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __str__(self) -> str:
        """As a sentence shows it: the status, and the beginning of the body."""
        return f"{self.status} {self.body[:SHOWN].decode('utf-8', 'replace').strip()}".rstrip()


class Connection:
    """A connection to that `host:port`. It is made when it is needed, and again when the server has closed it in between.

    Raises:
        RuntimeApiError: that is no address.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not (
            host
            and address.isascii()
            and address.isprintable()
            and " " not in address
            and port.isascii()
            and port.isdecimal()
            and int(port) < 65_536
        ):
            raise RuntimeApiError(f"AWS_LAMBDA_RUNTIME_API must be host:port, not {address!r}")
        self.address = address
        self._where = (host, int(port))
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._buffer = b""
        """What has come."""
        self._at = 0
        """How much of it was taken."""
        self._has_heard = False
        self.last_words: Answer | None = None
        """What the server answered before it closed the connection in the middle of a request."""

    @property
    def descriptor(self) -> int:
        """What to poll: it is readable when the server has something to say. -1 where it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def ask(self, head: bytes, body: bytes = b"") -> Answer:
        """The answer to a request, which may come before all of it was taken.

        Raises:
            RuntimeApiError: the server can't be reached, or what it sends is no answer.
        """
        try:
            self.send(head, body)
        except RuntimeApiError:
            if self.last_words is None:
                raise
            return self.last_words
        return self.receive()

    def send(self, head: bytes, body: bytes = b"") -> None:
        """Sends a request, or what it begins with, whole.

        Raises:
            RuntimeApiError: the server can't be reached, or closes the connection.
        """
        connection = self.prepare()
        try:
            if len(body) < PIECE:
                connection.sendall(head + body)
            elif (sent := connection.sendmsg((head, body))) < len(head) + len(body):  # a signal came in between
                connection.sendall(memoryview(head + body)[sent:])
        except OSError as error:
            self._hear_last_words()
            self._fail(error)

    def offer(self, data: bytes | memoryview) -> int:
        """Sends as much of it as is taken without waiting; returns how many bytes that is.

        Raises:
            RuntimeApiError: the connection is broken.
        """
        if self._socket is None:
            raise RuntimeApiError("the connection to Lambda's Runtime API was closed in the middle of a request")
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._hear_last_words()
            self._fail(error)

    def _hear_last_words(self) -> None:
        """Who takes no more of a request may have said why: what it has sent can still be read."""
        try:
            self.last_words = self.receive()
        except RuntimeApiError:
            pass

    def receive(self) -> Answer:
        """The answer to what was sent.

        Raises:
            RuntimeApiError: what comes is none. `is_silent` says whether nothing came.
        """
        self._has_heard = False
        try:
            status, headers = self._head()
            while status < 200:  # what comes before an answer, as "100 Continue"
                status, headers = self._head()
            body = self._body(status, headers)
        except OSError as error:
            self._fail(error)
        if "connection" in headers and "close" in headers["connection"].lower():
            self.close()
        return Answer(status, headers, body)

    def reset(self) -> None:
        """Ends the connection at once: what the other side has not taken is thrown away, and it is told, which it else would only be after that."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        self.close()

    def close(self) -> None:
        """Ends the connection. The next request makes a new one."""
        connection, self._socket = self._socket, None
        self._buffer, self._at = b"", 0
        if connection is not None:
            connection.close()

    def prepare(self) -> socket.socket:
        """The connection, if it may be used again, or a new one. What came since the last answer belongs to no request: it is not read as the next.

        Raises:
            RuntimeApiError: the server can't be reached.
        """
        self.last_words = None
        self._has_heard = False
        if self._socket is not None and (self._at < len(self._buffer) or self._poll.poll(0)):
            self.close()
        if self._socket is None:
            connection = None
            try:
                connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                connection.connect(self._where)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                if connection is not None:
                    connection.close()
                raise RuntimeApiError(
                    f"Lambda's Runtime API at {self.address} can't be reached: {error.strerror or error}"
                ) from None
            self._poll = select.poll()
            self._poll.register(connection.fileno(), select.POLLIN)
            self._socket = connection
        return self._socket

    def _head(self) -> tuple[int, Mapping[str, str]]:
        """The status and the headers of the next answer."""
        head = self._up_to(b"\r\n\r\n", LONGEST_HEAD, "a head")
        try:
            return _read(head)
        except ValueError as what:
            self._malform(str(what))

    def _body(self, status: int, headers: Mapping[str, str]) -> bytes:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if status in BODILESS:
            return b""
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                self._malform(f"a body of transfer-encoding {coding} and content-length {length}")
            return self._chunks()
        if length is not None:
            if not (length.isascii() and length.isdecimal()) or len(length) > 15:
                self._malform(f"the content-length {length[:80]!r}")
            return self._exactly(int(length))
        body = bytearray(self._buffer[self._at :])  # up to the end of the connection
        while piece := self._connected().recv(PIECE):
            body += piece
            self._bound(len(body))
        self.close()
        return bytes(body)

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            digits = (
                self._up_to(b"\r\n", LONGEST_LINE, "the size of a chunk").decode("latin-1").partition(";")[0].strip()
            )
            if not digits or len(digits) > 15 or not DIGITS.issuperset(digits):
                self._malform(f"the size of a chunk {digits[:80]!r}")
            size = int(digits, 16)
            if not size:
                break
            self._bound(len(body) + size)
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                self._malform("a chunk that is longer than it says")
        room = LONGEST_HEAD
        while trailer := self._up_to(b"\r\n", room, "trailers"):
            room -= len(trailer)
        return bytes(body)

    def _exactly(self, size: int) -> bytes:
        """The next bytes, so many."""
        self._bound(size)
        start = self._at
        self._at += size
        taken = self._buffer[start : self._at]
        if len(taken) == size:
            return taken
        self._buffer, self._at = b"", 0
        pieces = [taken]
        missing = size - len(taken)
        while missing:
            piece = self._connected().recv(missing, socket.MSG_WAITALL)
            if not piece:
                self._break_off()
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _up_to(self, end: bytes, limit: int, what: str) -> bytes:
        """The next bytes before that end."""
        looked = self._at
        while (at := self._buffer.find(end, looked)) < 0:
            rest = self._buffer[self._at :]
            if len(rest) > limit:
                self._malform(f"{what} of more than {limit} bytes")
            piece = self._connected().recv(PIECE)
            if not piece:
                self._break_off()
            self._has_heard = True
            self._buffer, self._at = rest + piece, 0
            looked = max(0, len(rest) - len(end) + 1)
        taken = self._buffer[self._at : at]
        self._at = at + len(end)
        return taken

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeApiError("the connection to Lambda's Runtime API is closed")
        return self._socket

    def _bound(self, size: int) -> None:
        if size > LONGEST_BODY:
            self._malform(f"a body of {size} bytes, more than {LONGEST_BODY}")

    def _break_off(self) -> NoReturn:
        """The server has closed the connection where an answer, or more of it, was to come."""
        self.close()
        how = "in the middle of an answer" if self._has_heard else "without an answer"
        raise RuntimeApiError(f"Lambda's Runtime API closed the connection {how}", is_silent=not self._has_heard)

    def _malform(self, what: str) -> NoReturn:
        self.close()
        raise RuntimeApiError(f"Lambda's Runtime API sent what is no answer: {what}")

    def _fail(self, error: OSError) -> NoReturn:
        self.close()
        raise RuntimeApiError(
            f"the connection to Lambda's Runtime API is broken: {error.strerror or error}",
            is_silent=not self._has_heard,
        ) from None


def _read(head: bytes) -> tuple[int, Mapping[str, str]]:
    """The status and the headers that a head says; raises ValueError where it is none."""
    # Names are ASCII; values may be more, as a client context is.
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    code = first[9:12]
    if first[:9] not in VERSIONS or not (code.isascii() and code.isdecimal()) or first[12:13].strip():
        raise ValueError(f"the status line {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        field = _field(name)
        if field is None or not colon:
            raise ValueError(f"the header {line[:80]!r}")
        headers[field] = value.strip(" \t")
    if len(headers) < len(lines):
        # Of two that are different and say where a body ends, neither can be believed.
        ends = {line.lower().replace(" ", "") for line in lines if line.lower().startswith(FRAMINGS)}
        if len(ends) > 1:
            raise ValueError(f"different answers to where its body ends: {', '.join(sorted(ends))[:80]}")
    said = "".join(lines)
    if not said.isprintable() and not CONTROLS.isdisjoint(said):
        raise ValueError("a control character in its head")
    if first[:9] == VERSIONS[1]:
        headers["connection"] = "close"
    return int(code), headers


@lru_cache(maxsize=64)
def _field(name: str) -> str | None:
    """The name of a header in lower case; None where it is none."""
    field = name.lower()
    return field if field and TOKEN.issuperset(field) else None
