"""The server's side of the Runtime API for a program under test: as Lambda would answer, and with a note of all that was posted, refused or not."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from shim.runtime_api import messages
from shim.runtime_api.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shim.runtime_api.connection import Call, Connection
    from shim.runtime_api.messages import Answer
    from shim.runtime_api.server import NextCall

MOST_POSTS = 100
"""How many posts of one invocation are noted: a program that posts on and on must not fill our memory."""
MOST_BODIES = 2
"""Of how many of them the body is kept."""


class Posted:
    """What a program posted, or began to."""

    __slots__ = ("body", "error_type", "is_whole", "kind", "request_id")

    def __init__(self, kind: str, request_id: str, error_type: str) -> None:
        self.kind = kind
        """`messages.RESPONSE`, `ERROR` or `INIT_ERROR`."""
        self.request_id = request_id
        """As it stands in the path: whose it is, if that is right."""
        self.error_type = error_type
        """The header Lambda-Runtime-Function-Error-Type, or ""."""
        self.body = bytearray()
        """As far as Lambda would take it, and it is kept."""
        self.is_whole = False

    @property
    def failed(self) -> bool:
        """Whether it is an error."""
        return self.kind != messages.RESPONSE or bool(self.error_type)


class Witness(Server):
    """The Runtime API of one program under test.

    Attributes:
        posts: what was posted since `forget_all`, in the order in which it began.
        asks: how often an invocation was asked for since then.
        has_returned: whether that was over the connection over which the last one was handed out.
    """

    def __init__(self, registration: Mapping[str, str]) -> None:
        super().__init__(registration=registration, identify=lambda: str(uuid4()))
        self.posts: list[Posted] = []
        self.asks = 0
        self.has_returned = False
        self._taker: Connection | None = None

    @property
    def answers(self) -> list[Posted]:
        """What was posted and has come whole."""
        return [post for post in self.posts if post.is_whole]

    def forget_all(self) -> None:
        """What comes from now on belongs to another invocation."""
        self.posts = []
        self.asks = 0
        self.has_returned = False

    def hand_out(self, request_id: str, headers: Sequence[tuple[str, str]], body: bytes) -> Connection:
        """Answers a `next` that waits; returns the connection that is to take the answer."""
        connection = self._taker = self._waiting[-1].connection
        self.invoke(request_id, headers, body)
        return connection

    def call(self, connection: Connection, method: str, path: str, headers: Mapping[str, str]) -> Call:
        """As Lambda, with a note of each post, whatever is answered to it."""
        call = super().call(connection, method, path, headers)
        post = _post(path, headers) if method == "POST" else None
        if post is None or len(self.posts) >= MOST_POSTS:
            return call
        self.posts.append(post)
        return Noted(call, post, messages.MAX_PAYLOAD_SIZE if len(self.posts) <= MOST_BODIES else 0)

    def wait(self, call: NextCall) -> Answer | None:
        """As Lambda, and counts."""
        refusal = super().wait(call)
        if refusal is None:
            self.asks += 1
            self.has_returned |= call.connection is self._taker
        return refusal


class Noted:
    """A call that carries a post, of which a note is taken, and so many bytes are kept."""

    __slots__ = ("_call", "_most", "_post", "answer")

    def __init__(self, call: Call, post: Posted, most: int) -> None:
        self.answer = call.answer
        """What it gets, whatever its body, where that is known already."""
        self._call = call
        self._post = post
        self._most = most

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._call.feed(data)
        self.answer = self._call.answer
        self._post.body += data[: self._most - len(self._post.body)]

    def finish(self, trailers: Mapping[str, str]) -> Answer | None:
        """It has come whole."""
        self._post.is_whole = True
        self._post.error_type = trailers.get(messages.FUNCTION_ERROR_TYPE.lower(), self._post.error_type)
        return self._call.finish(trailers)

    def cut(self) -> None:
        """It never will."""
        self._call.cut()


def _post(path: str, headers: Mapping[str, str]) -> Posted | None:
    """What is posted to that path; None where it takes no posts of a runtime."""
    error_type = headers.get(messages.FUNCTION_ERROR_TYPE.lower(), "")
    if path == messages.INIT_ERROR:
        return Posted(path, "", error_type)
    for kind in (messages.RESPONSE, messages.ERROR):
        if path.startswith(messages.INVOCATION) and path.endswith(kind):
            return Posted(kind, path[len(messages.INVOCATION) : -len(kind)], error_type)
    return None
