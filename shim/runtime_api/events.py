"""What happens at the server's side of the Runtime API, as its driver is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from shim.runtime_api.messages import Answer
    from shim.runtime_api.post import Post


class NextWaits(NamedTuple):
    """A runtime asks for an invocation: `Server.invoke` answers it."""


class Began(NamedTuple):
    """The body of a post begins to come."""

    post: Post


class Piece(NamedTuple):
    """The next bytes of a body."""

    post: Post
    data: bytes


class Ended(NamedTuple):
    """A post has come whole, and was accepted."""

    post: Post


class Cut(NamedTuple):
    """A post is over without an answer in it, and so is its invocation. `how` says what the runtime did, as the predicate of a sentence."""

    post: Post
    how: str


class TooLarge(NamedTuple):
    """A post has a longer body than is taken, of which nothing above the limit came in pieces: its invocation has no answer."""

    post: Post
    size: int


class Registered(NamedTuple):
    """An extension has registered for these events."""

    name: str
    events: tuple[str, ...]


class ExtensionFailed(NamedTuple):
    """An extension says that it can't go on."""

    name: str
    error_type: str


class Refused(NamedTuple):
    """A request broke the protocol, and gets that answer."""

    request: str
    answer: Answer


PostEvent: TypeAlias = Piece | Ended | Cut | TooLarge
Event: TypeAlias = NextWaits | Began | PostEvent | Registered | ExtensionFailed | Refused
