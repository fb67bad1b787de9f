"""What a program by lines is sent: the line of a request, the same for the same event, or a line that is none."""

from __future__ import annotations

import json
import re
from typing import Any

from shim.codecs.line import validated
from shim.errors import EventInvalid
from shim.invocation import Invocation
from shim.local.context import LambdaContext

REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
"""That of every request: what comes before it must not change a request."""
ID = re.compile(REQUEST_ID.encode() + rb"-\d{6,}")
"""The id of an envelope: that, and the number of the request."""
LONGEST_TIMEOUT = 900.0
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # whatever numbers mean
_BLANKS = " \t\r\n"


class Lines:
    """The lines of one run. The same request is the same line, but for the id of an envelope, which has a fixed length.

    Args:
        camel: whether the context's names are as in Node.js.
        has_ids: whether a line bears an id.
    """

    def __init__(self, *, camel: bool, has_ids: bool) -> None:
        context = LambdaContext(timeout=LONGEST_TIMEOUT, request_id=REQUEST_ID, log_stream_name=_STREAM)
        self._camel = camel
        self._context = Invocation(b"", context).describe(camel=camel, count=1)
        self._has_ids = has_ids
        self._count = 0

    def of(self, request: bytes) -> tuple[bytes, str | None]:
        """The line with its line feed, and its id.

        Args:
            request: the JSON of an event; or an object with "event" and "shim", whose other members go into the line, and those of its "context"
                into the context; or no JSON, which is sent as it is.
        """
        try:
            validated(request)
        except EventInvalid:
            return request + b"\n", None
        try:
            given = members(request)
        except RecursionError:
            given = {}
        if not {"event", "shim"} <= given.keys():
            given = {"event": request, "shim": b"1"}
        context = {name: _encoded(value) for name, value in self._context.items()}
        context |= members(given.get("context", b"{}"))
        whose = None
        front = {}
        if self._has_ids:
            self._count += 1
            whose = f"{REQUEST_ID}-{self._count:06}"
            front = {"id": json.dumps(whose).encode()}
        whole = {**front, "event": b"", "context": b""} | given
        whole["context"] = object_of(context)
        return object_of(whole).replace(b"\n", b" ") + b"\n", whose


_STREAM = "2026/01/01/[$LATEST]" + "0" * 32


def members(text: bytes) -> dict[str, bytes]:
    """The members of an object, each the bytes of its JSON; of anything else, none."""
    read = text.decode().strip(_BLANKS)
    if not read.startswith("{"):
        return {}
    found: dict[str, bytes] = {}
    at = _skip(read, 1)
    while read[at] == '"':
        name, at = _DECODER.raw_decode(read, at)
        begin = _skip(read, _skip(read, at) + 1)
        _, end = _DECODER.raw_decode(read, begin)
        found[name] = read[begin:end].encode()
        at = _skip(read, end)
        if read[at] == ",":
            at = _skip(read, at + 1)
    return found


def object_of(given: dict[str, bytes]) -> bytes:
    """The JSON of an object with these members."""
    return b"{%s}" % b",".join(b"%s:%s" % (json.dumps(name).encode(), value) for name, value in given.items())


def with_members(sample: bytes, *, top: dict[str, Any] | None = None, context: dict[str, Any] | None = None) -> bytes:
    """A request with the sample event, and these members in its line and in its context."""
    given = {"event": sample, "shim": b"1"}
    if context is not None:
        given["context"] = _encoded(context)
    return object_of(given | {name: _encoded(value) for name, value in (top or {}).items()})


def with_event_member(sample: bytes, name: str, value: bytes) -> bytes:
    """The sample event, which is an object, with one member more."""
    return object_of(members(sample) | {name: value})


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
