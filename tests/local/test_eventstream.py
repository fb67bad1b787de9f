"""The event stream, as botocore's own parser reads it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from hypothesis import given, strategies as st

from shim.local.eventstream import LARGEST_PAYLOAD, LONGEST_VALUE, frame, invoke_complete, payload_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATION = "InvokeWithResponseStream"
NAMES = st.text(min_size=1, max_size=60)
FRAMES = st.tuples(st.dictionaries(NAMES, st.text(max_size=40), max_size=5), st.binary(max_size=200))


class Stream:
    """A response's body, in pieces of that size."""

    def __init__(self, data: bytes, size: int = 7) -> None:
        self.pieces = [data[at : at + size] for at in range(0, len(data), size)]

    def stream(self) -> Iterator[bytes]:
        return iter(self.pieces)


def read(data: bytes, size: int) -> list[tuple[dict[str, str], bytes]]:
    """The messages, the bytes having come in pieces of that size."""
    buffer = EventStreamBuffer()
    messages = []
    for piece in Stream(data, size).stream():
        buffer.add_data(piece)
        messages += [(message.headers, message.payload) for message in buffer]
    return messages


@pytest.fixture(scope="module")
def lambda_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("lambda", "service-2"))


def events(model: ServiceModel, data: bytes) -> list[dict[str, Any]]:
    """What a caller of boto3 gets."""
    response = {"status_code": 200, "headers": {}, "body": Stream(data), "context": {"operation_name": OPERATION}}
    parsed = create_parser("rest-json").parse(response, model.operation_model(OPERATION).output_shape)
    return list(parsed["EventStream"])


@given(st.lists(FRAMES, max_size=4), st.integers(1, 64))
def test_every_message_is_read_back_however_the_bytes_come(
    frames: list[tuple[dict[str, str], bytes]], size: int
) -> None:
    assert read(b"".join(frame(headers, payload) for headers, payload in frames), size) == frames


@given(FRAMES, st.data())
def test_no_bit_is_outside_a_checksum(message: tuple[dict[str, str], bytes], data: st.DataObject) -> None:
    sent = bytearray(frame(*message))
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(ChecksumMismatch):
        read(bytes(sent), len(sent))


def test_a_message_is_the_one_of_the_specification() -> None:
    """The empty message, whose bytes the tests of AWS's own implementations have (awslabs/aws-c-event-stream)."""
    assert frame({}, b"") == bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")


def test_a_caller_gets_the_chunks_and_the_end(lambda_model: ServiceModel) -> None:
    log = base64.b64encode(b"END RequestId: 1\n").decode()
    sent = (
        payload_chunk(b"one") + payload_chunk(bytes(range(256))) + payload_chunk(b"") + invoke_complete(None, None, log)
    )

    assert events(lambda_model, sent) == [
        {"PayloadChunk": {"Payload": b"one"}},
        {"PayloadChunk": {"Payload": bytes(range(256))}},
        {"PayloadChunk": {"Payload": b""}},
        {"InvokeComplete": {"LogResult": log}},
    ]


@given(st.binary(max_size=300), *[st.none() | st.text(max_size=30)] * 3)
def test_whatever_an_end_tells_a_caller_gets(
    lambda_model: ServiceModel, data: bytes, code: str | None, details: str | None, log: str | None
) -> None:
    told = {"ErrorCode": code, "ErrorDetails": details, "LogResult": log}

    assert events(lambda_model, payload_chunk(data) + invoke_complete(code, details, log)) == [
        {"PayloadChunk": {"Payload": data}},
        {"InvokeComplete": {name: value for name, value in told.items() if value is not None}},
    ]


def test_an_end_is_told_even_with_half_a_character() -> None:
    ((headers, payload),) = read(invoke_complete("Function.Unknown", "\ud800!"), 1000)

    assert headers == {
        ":message-type": "event",
        ":event-type": "InvokeComplete",
        ":content-type": "application/json",
    }
    assert json.loads(payload) == {"ErrorCode": "Function.Unknown", "ErrorDetails": "?!"}


def test_the_bounds_are_kept() -> None:
    longest = {"é" * 127 + "n": "v" * LONGEST_VALUE}

    assert read(frame(longest, b""), 10**6) == [(longest, b"")]
    for headers, payload, why in (
        ({"": "v"}, b"", "name has 0 bytes"),
        ({"é" * 128: "v"}, b"", "name has 256 bytes"),
        ({"n": "é" * 2**14}, b"", "the header n has 32768 bytes, more than 32767"),
        ({str(number): "v" * LONGEST_VALUE for number in range(4)} | {"n": "v"}, b"", "headers of 131094 bytes"),
        ({}, bytes(LARGEST_PAYLOAD + 1), "a payload of 25165825 bytes is more than"),
    ):
        with pytest.raises(ValueError, match=why):
            frame(headers, payload)
