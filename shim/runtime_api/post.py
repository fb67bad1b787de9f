"""What a runtime posts: the body of a response or of an error, which comes in pieces."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from shim.runtime_api import messages
from shim.runtime_api.events import Cut, Ended, Piece, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shim.runtime_api.events import PostEvent
    from shim.runtime_api.messages import Answer


FAILURE = frozenset((messages.FUNCTION_ERROR_TYPE.lower(), messages.FUNCTION_ERROR_BODY.lower()))
"""The trailers of a stream that failed in the middle."""


class Post:
    """A call that carries a response, an error or an init error.

    Args:
        kind: `messages.RESPONSE`, `ERROR` or `INIT_ERROR`.
        request_id: whose it is; "" of an init error.
        headers: the request's, their names in lower case.
        limit: the most bytes that its body may have.
        tell: takes what happens to it.

    Attributes:
        failed: whether it is an error's, or a stream's that failed in the middle.
        error_type: the Lambda-Runtime-Function-Error-Type of its headers or trailers, or None.
        error_body: the Lambda-Runtime-Function-Error-Body of its trailers as it came, or None; `trailing_error` is what it says.
        content_type: of its body, or None.
        size: bytes of its body, as far as they have come.
    """

    __slots__ = (
        "_announced",
        "_limit",
        "_tell",
        "answer",
        "content_type",
        "error_body",
        "error_type",
        "failed",
        "kind",
        "request_id",
        "size",
    )

    def __init__(
        self,
        kind: str,
        request_id: str,
        headers: Mapping[str, str],
        *,
        limit: int,
        tell: Callable[[Post, PostEvent], None],
    ) -> None:
        self.kind = kind
        self.failed = kind != messages.RESPONSE
        self.request_id = request_id
        self.error_type = headers.get(messages.FUNCTION_ERROR_TYPE.lower())
        self.error_body: str | None = None
        self.content_type = headers.get(messages.CONTENT_TYPE.lower())
        self.size = 0
        self.answer: Answer | None = None
        """What it gets, whatever its body, where that is known already."""
        self._limit = limit
        self._tell = tell
        self._announced = 0
        if "transfer-encoding" not in headers:  # which goes before a length (RFC 9112, 6.3)
            self._announced = int(headers.get("content-length", 0))  # a number: the connection has looked
        if self._announced > limit:
            self.answer = messages.too_large(limit)

    @property
    def trailing_error(self) -> bytes:
        """The JSON of the error in its trailers: they have it in base64, as Node.js's runtime client sends it, or as it is, as Rust's does
        (aws-lambda-rust-runtime, lambda-runtime/src/requests.rs).
        """
        body = self.error_body or ""
        try:
            return binascii.a2b_base64(body, strict_mode=True)
        except ValueError:
            return body.encode("latin-1")

    def feed(self, data: bytes) -> None:
        """Hands the next bytes on, up to the limit."""
        self.size += len(data)
        if self.size > self._limit:
            self.answer = messages.too_large(self._limit)
        if self.answer is None:
            self._tell(self, Piece(self, data))

    def finish(self, trailers: Mapping[str, str]) -> Answer:
        """It is accepted, if it is not too long. A stream that failed in the middle says why in its trailers."""
        if self.answer is not None:
            self._tell(self, TooLarge(self, max(self.size, self._announced)))
            return self.answer
        self.error_type = trailers.get(messages.FUNCTION_ERROR_TYPE.lower(), self.error_type)
        self.error_body = trailers.get(messages.FUNCTION_ERROR_BODY.lower())
        self.failed |= not FAILURE.isdisjoint(trailers)
        self._tell(self, Ended(self))
        return messages.ACCEPTED

    def expire(self) -> None:
        """Its invocation is over: whatever comes of it from now on is refused."""
        if self.answer is None:
            self._tell(self, Cut(self, "was still posting its answer when its time was over"))
        else:
            self.finish({})
        self.answer = messages.INVOKE_TIMEOUT

    def cut(self) -> None:
        """It has no end."""
        if self.answer is not None:
            self.finish({})
        else:
            self._tell(self, Cut(self, f"broke off what it posted to …{self.kind} after {self.size} bytes"))
