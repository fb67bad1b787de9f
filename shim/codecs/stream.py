"""The codec of `output=stream` and `output=http`: the reply is bytes, which go to the caller while they come, where there is a sink for them.

Where there is none they are collected: a stream as bytes, an HTTP response as the object that Lambda makes one of
(https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html).
"""

from __future__ import annotations

import re

from shim.codecs.ending import Unfit, facts
from shim.codecs.line import LAMBDA_LIMIT, LineCodec, loads
from shim.errors import OutputTooLarge, ReplyMissing
from shim.outcome import Overflowed
from shim.request import DELIMITER, EndOfFile, Streamed, head_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from shim.errors import OutputInvalid
    from shim.outcome import Outcome, Told
    from shim.request import Sink

HEAD = 'make it write a JSON object like {"statusCode":200,"headers":{"content-type":"text/html"}}, eight NUL bytes, and then the body'
"""The cure for a response without a head, or with a wrong one."""


class StreamCodec(LineCodec):
    """Requests as of every codec by line; a reply is a stream of bytes, or an HTTP response with a head."""

    streams = True

    def decode(self, outcome: Outcome) -> Any:
        """The reply, collected: its bytes, or the object of an HTTP response.

        Raises:
            ShimError: the child failed, its response has no head, or it is too large for Lambda as the host encodes it.
        """
        ended = self._success(outcome)
        if self._output == "stream":
            return bytes(ended.reply)
        response = self._response(ended)
        self._hold_against_limit(response, ended)
        return response

    def judge(self, outcome: Outcome) -> bytes:
        """The same as bytes: those of a stream, and the JSON of a response."""
        value = self.decode(outcome)
        return value if isinstance(value, bytes) else self._encoded(value, outcome)  # type: ignore[arg-type] # it was told

    def conclude(self, outcome: Outcome, *, has_begun: bool) -> bytes:
        """What is still to be handed on of a reply that went to a sink: what was held back of it.

        Raises:
            ShimError: the child failed, or its response has no head.
        """
        waits_for_head = self._output == "http" and not has_begun
        if waits_for_head and isinstance(outcome, Overflowed):
            self._head(outcome)
        ended = self._success(outcome)
        if waits_for_head:
            self._response(ended)
        return bytes(ended.reply)

    def _whole(self, sink: Sink | None) -> EndOfFile:
        if sink is None:
            return EndOfFile(min(self._limit, LAMBDA_LIMIT))  # more can't be handed on
        return Streamed(self._limit, response_head if self._output == "http" else None)

    def _success(self, outcome: Outcome) -> Told:
        if isinstance(outcome, Overflowed) and outcome.limit == LAMBDA_LIMIT < self._limit:
            size, limit = outcome.size, outcome.limit
            raise OutputTooLarge(size=size, limit=limit, encoded=False, collected=True, **facts(outcome, self._name))
        return super()._success(outcome)

    def _response(self, ended: Told) -> dict[str, Any]:
        """The whole response as an object; raises where it is none."""
        if not ended.reply:
            raise ReplyMissing(how="ended with success", cure=HEAD, **facts(ended, self._name))
        head = self._head(ended)
        if head is None:
            raise self._headless(f"it ends before the {len(DELIMITER)} NUL bytes after its head", ended)
        body = bytes(ended.reply[len(head) + len(DELIMITER) :])
        try:
            text, is_text = body.decode(), True
        except UnicodeDecodeError:
            from base64 import b64encode  # noqa: PLC0415 - only where it is needed

            text, is_text = b64encode(body).decode(), False
        return {"statusCode": 200, **response_head(head), "body": text, "isBase64Encoded": not is_text}

    def _head(self, ended: Told) -> bytes | None:
        """The head, if it has come; raises where what came is none."""
        try:
            head = head_of(ended.reply)
            if head is not None:
                response_head(head)
        except ValueError as error:
            raise self._headless(str(error), ended) from None
        return head

    def _headless(self, why: str, ended: Told) -> OutputInvalid:
        return self._invalid(Unfit(why, HEAD), ended)


def response_head(head: bytes) -> dict[str, Any]:
    """What the head of an HTTP response says, under Lambda's names.

    Raises:
        ValueError: it is no JSON object, or has what Lambda makes no response of.
    """
    try:
        said = loads(head)
    except Unfit as unfit:
        raise ValueError(f"its head is {unfit.reason}") from None
    if not isinstance(said, dict):
        raise ValueError("its head is no JSON object")  # noqa: TRY004 - of what was written, not of an argument
    for name, value in said.items():
        if name not in _WANTED:
            raise ValueError(f"its head has {name[:60]!r}, and may have {', '.join(_WANTED)}")
        wanted, fits = _WANTED[name]
        if not fits(value):
            raise ValueError(f"its head has a {name} that is not {wanted}")
    return said


def is_header_name(name: str) -> bool:
    """Whether it is one (RFC 9110, 5.6.2)."""
    return re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) is not None


def is_header_value(value: str) -> bool:
    """Whether a header can hold it (RFC 9110, 5.5), in latin-1 as HTTP/1.1 has it."""
    return re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value) is not None


def _are_values(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and is_header_value(value) for value in values)


def _is_map(headers: object) -> bool:
    return isinstance(headers, dict) and all(map(is_header_name, headers))


_WANTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "statusCode": ("a whole number from 200 to 599", lambda code: type(code) is int and 200 <= code <= 599),
    "headers": (
        "an object of headers: names (RFC 9110) and texts in latin-1 without control characters",
        lambda headers: _is_map(headers) and _are_values([*headers.values()]),
    ),
    "multiValueHeaders": (
        "an object of headers: names (RFC 9110) and lists of texts in latin-1 without control characters",
        lambda headers: _is_map(headers) and all(map(_are_values, headers.values())),
    ),
    "cookies": ("a list of texts in latin-1 without control characters", _are_values),
}
"""What a head may have → what that must be (aws-lambda-nodejs-runtime-interface-client, HttpResponseStream.js)."""
