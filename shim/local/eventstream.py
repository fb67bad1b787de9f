"""The binary event stream in which InvokeWithResponseStream answers: values in, bytes out. Pure.

A message is a prelude (its length, the length of its headers, a CRC-32 of both), the headers, the payload, and a CRC-32 of all that, every
number in network byte order: https://smithy.io/2.0/aws/amazon-eventstream.html. The names of the events and of their members are those of
botocore's model (lambda/2015-03-31/service-2.json, InvokeWithResponseStreamResponseEvent).
"""

from __future__ import annotations

from struct import pack
from zlib import crc32

import orjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE = "application/vnd.amazon.eventstream"
"""Of the HTTP response that the messages are the body of."""

STRING = 7
"""The type of a header's value: a text. Of the ten that there are, events need no other."""
LONGEST_NAME = 255
"""Bytes of a header's name, whose length is one byte."""
LONGEST_VALUE = 2**15 - 1
"""Bytes of a header's text: readers take its length for a signed number (awslabs/aws-c-event-stream)."""
LARGEST_HEADERS = 128 * 1024
LARGEST_PAYLOAD = 24 * 1024 * 1024
"""Bytes, as botocore/eventstream.py has both bounds."""

_LENGTHS = 8
_CRC = 4


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message.

    Raises:
        ValueError: readers would refuse it.
    """
    fields = b"".join(_header(name, value) for name, value in headers.items())
    if len(fields) > LARGEST_HEADERS:
        raise ValueError(f"headers of {len(fields)} bytes are more than {LARGEST_HEADERS}")
    if len(payload) > LARGEST_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes is more than {LARGEST_PAYLOAD}")
    lengths = pack("!II", _LENGTHS + _CRC + len(fields) + len(payload) + _CRC, len(fields))
    message = b"".join([lengths, pack("!I", crc32(lengths)), fields, payload])
    return message + pack("!I", crc32(message))


def payload_chunk(data: bytes) -> bytes:
    """A piece of the function's response, as it came."""
    return _event("PayloadChunk", "application/octet-stream", data)


def invoke_complete(
    error_code: str | None = None, error_details: str | None = None, log_result: str | None = None
) -> bytes:
    """The last message. What is None is left out.

    Args:
        error_code: what went wrong, where something did: the response is not whole then.
        error_details: more about that.
        log_result: the last 4 KB of the log in base64, where the caller asked for it.
    """
    members = {"ErrorCode": error_code, "ErrorDetails": error_details, "LogResult": log_result}
    told = {name: text.encode(errors="replace").decode() for name, text in members.items() if text is not None}
    return _event("InvokeComplete", "application/json", orjson.dumps(told))


def _event(name: str, content_type: str, payload: bytes) -> bytes:
    return frame({":message-type": "event", ":event-type": name, ":content-type": content_type}, payload)


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    if not 0 < len(key) <= LONGEST_NAME:
        raise ValueError(f"a header's name has {len(key)} bytes, not 1 to {LONGEST_NAME}")
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"the header {name} has {len(text)} bytes, more than {LONGEST_VALUE}")
    return pack("!B", len(key)) + key + pack("!BH", STRING, len(text)) + text
