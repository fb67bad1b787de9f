"""One HTTP request and its answer, as an ASGI server hands them over."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from typing import Any, TypeAlias

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODILESS = (204, 304)
"""The statuses whose answers have no body, nor a length of one (RFC 9110, 8.6)."""


class Gone(Exception):
    """The client went away before it had sent its request."""


class TooLong(Exception):
    """A body is longer than is taken. `size` is as far as it is known."""

    def __init__(self, size: int | None) -> None:
        super().__init__(f"a body of {size if size is not None else 'too many'} bytes")
        self.size = size


class Exchange:
    """A request, and what answers it.

    Args:
        scope: ASGI's.
        receive: ASGI's.
        send: ASGI's.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path = _path(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape"))
        """As it is spelled, without its query."""
        self.query: str = scope["query_string"].decode("latin-1")
        self.header_list: list[tuple[str, str]] = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        self.headers = dict(reversed(self.header_list))
        """The first of each name, which is in lower case."""
        self.client: str = (scope.get("client") or ("127.0.0.1", 0))[0]
        self.port: int = (scope.get("server") or ("127.0.0.1", 0))[1] or 0
        self.has_begun = False
        """Whether the head of the answer is out."""

    async def read(self, limit: int) -> bytes:
        """The body.

        Raises:
            TooLong: it has more bytes than that. Nothing is asked for of one that says so itself.
            Gone: it does not come whole.
        """
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > limit:
            raise TooLong(int(length))
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            body += message.get("body", b"")
            if len(body) > limit:
                raise TooLong(None)
            if not message.get("more_body", False):
                return bytes(body)

    async def answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Answers at once."""
        length = [] if status in BODILESS else [("content-length", str(len(body)))]
        await self.begin(status, [*headers, *length])
        await self.finish(body if length else b"")

    async def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Sends the head of an answer."""
        self.has_begun = True
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if not any(name == b"date" for name, _ in fields):
            fields.append((b"date", formatdate(usegmt=True).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    async def write(self, data: bytes) -> None:
        """Sends a piece of its body; returns when the client has taken most of what was sent before."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Sends the last of its body. An answer without that is cut: its client learns that it is not whole."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})


def _path(target: bytes) -> str:
    """The path of a target without a query."""
    path = target.decode("latin-1")
    if path.startswith("http://"):  # the absolute form, which a client of a proxy sends (RFC 9112)
        path = "/" + path.removeprefix("http://").partition("/")[2]
    return path
