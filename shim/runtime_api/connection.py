"""One connection of a client of the Runtime API: HTTP/1.1 as h11 reads and writes it, without I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import h11

from shim.runtime_api import messages
from shim.runtime_api.post import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from shim.runtime_api.messages import Answer

    class Call(Protocol):
        """One request, from its headers to its answer."""

        answer: Answer | None
        """What it gets, whatever its body, where that is known already."""

        def feed(self, data: bytes) -> None:
            """Takes the next bytes of its body."""

        def finish(self, trailers: Mapping[str, str]) -> Answer | None:
            """It has come whole: the answer, or None where it waits for one."""

        def cut(self) -> None:
            """The client went away, or fell out of HTTP, before it was answered."""


LONGEST_HEAD = 1024 * 1024 + 4096
"""Bytes of a request's line and headers, and of its trailers. Runtimes send an X-Ray cause as a header, of up to 1 MiB (awslambdaric
lambda_runtime_client.py); Go's net/http, on which Lambda's own server is built, takes so many (DefaultMaxHeaderBytes)."""
MOST_AHEAD = 64 * 1024
"""Bytes that a client may send after a request which waits for its answer; it is read no further then."""
PIECE = 65_536
"""Bytes of a body that are taken at a time. h11 cuts what it was given from the front, piece by piece: larger ones take longer."""
HEADS = 4096
"""Bytes that are taken at a time where a request may begin: a hundred of the shortest, which take some milliseconds."""
CONTINUE = "100-continue"
"""The one value that the header Expect may have (RFC 9110)."""


class Connection:
    """The requests of one connection, one after the other, and the answers to them.

    Args:
        call: what a request asks for, by its method, its path and its headers.
        refused: takes a request that broke the protocol, and its answer.
    """

    def __init__(
        self,
        call: Callable[[Connection, str, str, Mapping[str, str]], Call],
        refused: Callable[[str, Answer], None],
    ) -> None:
        self.closing = False
        """Whether it is to be closed when what `take` gives has gone out."""
        self._call_for = call
        self._refused = refused
        self._request = ""
        self._call: Call | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._out: list[bytes] = []
        self._is_head = False
        self._waits = False

    @property
    def reads(self) -> bool:
        """Whether more is to be received now: not of a client that sends on and on while its request waits."""
        return not self.closing and not (self._waits and len(self._http.trailing_data[0]) >= MOST_AHEAD)

    @property
    def room(self) -> int:
        """How many bytes are to be received at a time: of a body many, of heads few, since so many of them may come in a piece."""
        return PIECE if self._http.their_state is h11.SEND_BODY else HEADS

    def take(self) -> bytes:
        """The bytes that are to go out now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> None:
        """Takes the next bytes of the client; b"" is their end."""
        if self.closing:
            return
        self._http.receive_data(data)
        self._advance()
        if not data:
            self.close()

    def answer(self, answer: Answer) -> None:
        """Answers the request that waits here."""
        self._send(answer)
        self._advance()

    def close(self) -> None:
        """Nothing more comes: whoever waits here has gone."""
        self.closing = True
        call, self._call = self._call, None
        if call is not None:
            call.cut()

    def _advance(self) -> None:
        """Goes through what has come, up to a request that waits: so it means the same however it was cut into pieces."""
        try:
            while not (self.closing or self._waits):
                event = self._http.next_event()
                if not isinstance(event, h11.Event):  # more is needed, or the answer before the next one
                    break
                self._take(event)
        except h11.RemoteProtocolError as broken:
            self._refuse(broken)

    def _take(self, event: h11.Event) -> None:
        if isinstance(event, h11.Data) and self._call is not None:
            self._call.feed(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and self._call is not None:
            answer = self._call.finish(_text_headers(event.headers))
            self._waits = answer is None
            if answer is not None:
                self._send(answer)
        elif isinstance(event, h11.Request):
            self._begin(event)
        else:
            self.close()  # h11.ConnectionClosed

    def _begin(self, request: h11.Request) -> None:
        method, path = request.method.decode(), _path(request.target)
        self._request = f"{method} {path}"
        self._is_head = method == "HEAD"
        headers = _text_headers(request.headers)
        if not request.http_version.startswith(b"1."):
            raise h11.RemoteProtocolError("another version of HTTP", error_status_hint=505)
        if headers.get("expect", CONTINUE).lower() != CONTINUE:
            raise h11.RemoteProtocolError("another expectation", error_status_hint=417)
        self._call = self._call_for(self, method, path, headers)
        if self._http.they_are_waiting_for_100_continue:
            if self._call.answer is None:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self._out.append(self._http.send(go_on))
            else:  # they need not send it at all
                answer = self._call.finish({}) or self._call.answer
                self._send(answer._replace(headers=answer.headers + messages.CLOSE))

    def _send(self, answer: Answer) -> None:
        self._call = None
        self._waits = False
        if answer.error_type:
            self._refused(self._request or "what is no HTTP", answer)
        self._request = ""
        http = self._http
        self._out.append(http.send(_head(answer.status, answer.content_type, len(answer.body), answer.headers)))
        if not self._is_head:
            self._out.append(http.send(h11.Data(data=answer.body)))
        self._out.append(http.send(_END))
        if http.our_state is http.their_state is h11.DONE:
            http.start_next_cycle()
        else:  # they asked for that, or we did not wait for the end of what they send
            self.closing = True

    def _refuse(self, broken: h11.RemoteProtocolError) -> None:
        """What came is no HTTP: it is said so, and no more is read."""
        call = self._call
        self.close()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._is_head = self._is_head and self._http.our_state is h11.SEND_RESPONSE
            self._send(
                messages.TRUNCATED._replace(headers=messages.CLOSE)
                if isinstance(call, Post)
                else messages.malformed(broken.error_status_hint)
            )


_END = h11.EndOfMessage()


@lru_cache(maxsize=16)  # most answers are the same again and again, and h11 checks each head that it makes
def _head(status: int, content_type: str, length: int, headers: tuple[tuple[str, str], ...]) -> h11.Response:
    """The status line and the headers of an answer."""
    all_headers = [*headers, ("Content-Length", str(length))]
    if content_type:
        all_headers.append((messages.CONTENT_TYPE, content_type))
    return h11.Response(status_code=status, headers=all_headers, reason=messages.REASONS[status])


def _text_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by their names in lower case."""
    return {name.decode("ascii"): value.decode("latin-1") for name, value in headers}


def _path(target: bytes) -> str:
    """The path of a request's target, as it is spelled, without what follows a question mark."""
    path = target.partition(b"?")[0].decode("latin-1")
    if path.startswith("http://"):  # the absolute form, which a client of a proxy sends (RFC 9112)
        path = "/" + path[len("http://") :].partition("/")[2]
    return path
