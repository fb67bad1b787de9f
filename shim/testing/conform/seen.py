"""What a bootstrap did with one invocation, and what may be said against that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from shim.runtime_api import messages

if TYPE_CHECKING:
    from shim.testing.conform.candidate import End
    from shim.testing.conform.witness import Posted

SHOWN = 100
"""Bytes of what was posted that a sentence shows."""
TYPE, MESSAGE, TRACE = "errorType", "errorMessage", "stackTrace"
"""The members of an error, as Lambda wants it (AWS's developer guide, "Using the Lambda runtime API for custom runtimes")."""


class Seen(NamedTuple):
    """What a program did with one invocation."""

    request_id: str
    posts: tuple[Posted, ...]
    """What it posted and has come whole, wherever it posted it, before it got the next invocation."""
    asked: bool
    """Whether it asked for the next one."""
    end: End | None
    """How it ended, if it did."""
    spoke: bool
    """Whether it logged something meanwhile."""
    said: str
    """The end of its log, for the end of a sentence, where it ended or gave no answer; else ""."""
    within: float
    """Seconds that it had."""

    @property
    def answer(self) -> Posted | None:
        """What it posted first."""
        return self.posts[0] if self.posts else None

    @property
    def succeeded(self) -> bool:
        """Whether its answer is a response."""
        return self.answer is not None and not self.answer.failed

    @property
    def is_late(self) -> bool:
        """Whether nothing came of it in the time that it had."""
        return not (self.posts or self.asked or self.end)

    @property
    def is_right(self) -> bool:
        """Whether it was answered by its own id."""
        return self.answer is not None and self.answer.request_id == self.request_id

    @property
    def meaning(self) -> str | None:
        """The predicate of a sentence, the same where two answers mean the same: with the value of a response, with the errorType of an error."""
        if self.answer is None:
            return None
        body = bytes(self.answer.body)
        value = _parsed(body)
        if self.answer.failed:
            error_type = value.get(TYPE) if isinstance(value, dict) else self.answer.error_type
            return f"with an error {error_type!r}"
        return f"with {body!r}" if value is _NO_JSON else f"with {json.dumps(value, sort_keys=True)}"

    def __str__(self) -> str:
        """The predicate of a sentence, to which `said` may be added."""
        if self.answer is not None:
            return f"posted {shown(self.answer)}"
        if self.end is not None:
            return f"{self.end.told} without an answer"
        if self.asked:
            return "asked for the next invocation without an answer to this one"
        return f"neither answered nor ended within {self.within:g} s"


def worse(seen: Seen, usual: Seen) -> str | None:
    """What a program did worse with an invocation than with the usual one, which says as much; None where it did not."""
    if seen.answer is None:
        return str(seen) if usual.answer is not None else None
    if _was_killed(seen) and not _was_killed(usual):
        return f"{seen.end and seen.end.told} after it had answered"
    return str(seen) if usual.succeeded and not seen.succeeded else None


def untrue(seen: Seen, usual: Seen) -> str | None:
    """Why what a program did is neither an answer nor a truthful failure; None where it is one of them.

    That it asks again without an answer is against it only where it has answered the usual event.
    """
    if _was_killed(seen) and not _was_killed(usual):
        return f"{seen.end and seen.end.told}{'' if seen.answer is None else ' after it had answered'}"
    if seen.answer is not None or (usual.answer is None and not seen.is_late):
        return None
    if seen.end is None or seen.end.code == 0:
        return str(seen)
    return None if seen.spoke else f"{seen.end.told} without an answer, and without a word on its log"


def misshapen(seen: Seen) -> str | None:
    """Why the error that was posted is none as Lambda wants it; None where it is one, or none was posted."""
    post = seen.answer
    if post is None or post.kind != messages.ERROR:
        return None
    error = _parsed(post.body.decode("utf-8", "replace").encode())  # a word of the event, quoted, may be no UTF-8
    if error is _NO_JSON and post.body:
        return f"{seen}, which is no JSON"
    if not isinstance(error, dict):
        cure = "neither an object nor described by the header Lambda-Runtime-Function-Error-Type"
        return None if post.error_type else f"{seen}, which is {cure}"
    missing = [name for name in (TYPE, MESSAGE) if not isinstance(error.get(name), str)]
    if missing and not post.error_type:
        return f"{seen}, in which {' and '.join(missing)} {'is no text' if len(missing) == 1 else 'are no texts'}"
    trace = error.get(TRACE) or []
    if not isinstance(trace, list) or not all(isinstance(frame, (str, dict)) for frame in trace):
        return f"{seen}, in which {TRACE} is no list of texts or objects"
    return None


def is_error(post: Posted) -> bool:
    """Whether a response says that it is an error."""
    value = _parsed(bytes(post.body))
    return isinstance(value, dict) and {TYPE, MESSAGE} <= value.keys()


def shown(post: Posted) -> str:
    """What was posted, for a sentence."""
    kind = {messages.RESPONSE: "a response", messages.ERROR: "an error"}.get(post.kind, "an init error")
    body = bytes(post.body[:SHOWN]).decode("utf-8", "replace")
    return f"{kind} {body!r}{f' … of {len(post.body)} bytes' if len(post.body) > SHOWN else ''}"


def _was_killed(seen: Seen) -> bool:
    return seen.end is not None and seen.end.signal is not None


_NO_JSON = object()


def _parsed(body: bytes) -> object:
    """The value of that JSON, or what tells that it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NO_JSON
