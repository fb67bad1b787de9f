"""The codec `line`: no value is altered silently, in or out."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import json
import math
import re
import uuid
from enum import Enum
from typing import Any

import orjson
import pytest
from hypothesis import example, given, strategies as st

import shim
from shim.codecs.line import LAMBDA_LIMIT, LineCodec, encoded_size, line, loads
from shim.outcome import Exited, Usage
from shim.settings import Settings
from shim.testing import strategies

VALUES = strategies.json_values()
SENDABLE = strategies.json_values(sendable=True)


def same(one: object, other: object) -> bool:
    """Equal in type and value, -0.0 and 0.0 told apart, the order of keys too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


def codec(**settings: Any) -> LineCodec:
    return LineCodec(
        Settings("program", **settings),
        executable="/program",
        environment={},
        tells_trace=True,
        escapes=True,
        memory=None,
    )


def exited(reply: bytes) -> Exited:
    usage = Usage(user=0, system=0, peak=0, ours=lambda: 0)
    return Exited(0, reply=reply, duration=0.001, stderr_tail="", usage=usage, swept=0, spawn=0.0005)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(VALUES)
@example("\u2028\u2029\0\x7f")
@example({"a": [None, {"b": "\ud800"}], "c": 2**64})
def test_every_event_arrives_as_it_is_on_one_line(event: object) -> None:
    sent = line(event, {"aws_request_id": None})
    received = json.loads(sent)

    assert sent.count(b"\n") == 1
    assert sent.endswith(b"\n")
    assert same(received["event"], event)
    assert received["context"] == {"aws_request_id": None}
    assert received["shim"] == 1


@given(VALUES, st.sampled_from([None, 0, 4]))
def test_an_event_of_bytes_goes_through_byte_by_byte_but_for_line_feeds(event: object, indent: int | None) -> None:
    given_bytes = json.dumps(event, indent=indent).encode()
    sent = line(given_bytes, {})

    assert sent.count(b"\n") == 1
    assert given_bytes.replace(b"\n", b" ") in sent
    assert same(json.loads(sent)["event"], event)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@example(b'1,"context":{"forged":true}')
@example(b'1e999,"context":{"forged":1},"event":{"evil":1e999}')
@example(b"[1e999")
@example(b"1" * 5000 + b',"x":2')
@example(b"1" * 5000)
@example(b"NaN")
@example(b"")
@example(b'"\xed\xa0\x80"')
@example(b"\xef\xbb\xbf{}")
@example(b"1e400")
@example(b"[" * 3000 + b"]" * 3000)
def test_bytes_that_are_no_json_are_refused_and_forge_nothing(event: bytes) -> None:
    try:
        json.loads(event.decode(), parse_constant=lambda _: [].pop(), parse_int=str)
        valid = True
    except (ValueError, IndexError, RecursionError):
        valid = False
    try:
        sent = line(event, {"real": True})
    except shim.EventInvalid:
        assert not valid
        return

    assert valid
    assert sent == b'{"event":' + event.replace(b"\n", b" ") + b',"context":{"real":true},"shim":1}\n'


class Numbers(Enum):
    """What orjson writes as its value."""

    NONE = math.nan


@given(VALUES, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_json_does_not_have_is_refused_with_its_place(value: object, number: float) -> None:
    for event in (number, [value, number], {"a": {"b": [value, number]}}, [value, {"x": number}]):
        with pytest.raises(shim.EventInvalid, match="which JSON does not have"):
            line(event, {})
    with pytest.raises(shim.EventInvalid, match=re.escape("event.a[1].b is nan, which JSON does not have")):
        line({"a": [None, {"b": math.nan}]}, {})
    with pytest.raises(shim.EventInvalid, match=re.escape("context.client_context.custom is nan")):
        line({}, {"client_context": {"custom": math.nan}})
    with pytest.raises(shim.EventInvalid, match=re.escape("event[0].value is nan, which JSON does not have")):
        line([Numbers.NONE], {})


def test_an_event_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    both: dict[str, object] = {"big": 2**70}
    both["a"] = [both, both]
    for event in (loop, both, [2**70, loop]):
        with pytest.raises(shim.EventInvalid, match=r"nested too deep|Circular"):
            line(event, {})


def test_what_orjson_writes_by_itself_is_the_same_whatever_stands_beside_it() -> None:
    identity = uuid.UUID(int=5)
    for beside in (None, 2**70, "\ud800", 1):
        sent = json.loads(line({"id": identity, "beside": beside, "kind": Kind.GOOD}, {}))["event"]

        assert sent == {"id": str(identity), "beside": beside, "kind": "good"}


class Kind(enum.Enum):
    GOOD = "good"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "foreign",
    [b"bytes", bytearray(b"x"), {1, 2}, object(), 1j, Text("a"), {1: "a"}, {None: 1}, {("a",): 1}, range(3), Ellipsis],
)
def test_a_foreign_type_is_refused(foreign: object) -> None:
    for event in ([foreign], {"a": foreign}, [2**70, foreign]):
        with pytest.raises(shim.EventInvalid, match=r"which JSON does not have|has only texts for keys"):
            line(event, {})


def test_dates_and_dataclasses_are_foreign_too() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    for foreign in (dt.datetime.now(tz=dt.UTC), dt.date(2020, 1, 1), Point(1)):
        with pytest.raises(shim.EventInvalid, match="which JSON does not have"):
            line({"a": foreign}, {})


@pytest.mark.parametrize("depth", [1, 253, 254, 255, 500, 900])
def test_deep_nesting_goes_both_ways(depth: int) -> None:
    assert json.loads(line(nested(depth), {}))["event"] == nested(depth)
    assert codec().decode(exited(json.dumps(nested(depth)).encode())) == nested(depth)


@pytest.mark.parametrize("depth", [20_000, 100_000])
def test_nesting_beyond_all_readers_is_an_error_and_no_crash(depth: int) -> None:
    with pytest.raises(shim.EventInvalid, match="nested too deep"):
        line(nested(depth), {})
    for reply in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        with pytest.raises(shim.OutputInvalid, match="nested too deep"):
            codec().decode(exited(reply))


@given(
    SENDABLE, st.sampled_from(["json", "auto"]), st.booleans(), st.binary(max_size=3).map(lambda b: b" \n\t"[: len(b)])
)
def test_every_json_reply_is_the_value_that_the_child_meant(
    value: object, output: str, ascii_only: bool, space: bytes
) -> None:
    reply = space + json.dumps(value, ensure_ascii=ascii_only).encode() + space
    answered = codec(output=output).decode(exited(reply))

    assert same(answered, value)
    assert codec(output=output).judge(exited(reply)) == reply.strip()


@given(st.integers(0, 10**40), st.integers(15, 25))
def test_every_digit_of_an_integer_is_kept(number: int, digits: int) -> None:
    for value in (number, -number, 10**digits, 10**digits - 1, 2**63, 2**64, -(2**63) - 1):
        assert same(loads(b"%d" % value), value)
        assert same(loads(b'{"a":[%d, 1.5]}' % value), {"a": [value, 1.5]})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"NaN", "NaN is no JSON value"),
        (b'{"a": Infinity}', "Infinity is no JSON value"),
        (b"[-Infinity]", "-Infinity is no JSON value"),
        (b"[1e400]", "a number too large for a float"),
        (b"[-1e999]", "a number too large for a float"),
        (b"[" + b"9" * 5000 + b"]", "an integer with more digits than Python takes"),
        (b'["\\ud800"]', "a lone surrogate, which is half a character at byte 2"),
        (b'["\\ud83d\\ude00 \\udc00"]', "a lone surrogate, which is half a character at byte 15"),
        (b'{"\\uDfff": 1}', "a lone surrogate"),
        (b"{} {}", "not one JSON value (Extra data) at byte 3 of 5"),
        (b'{"a": 1}\nlog line', "not one JSON value (Extra data) at byte 9"),
        (b'{"a": \xff}', "not UTF-8 (invalid start byte) at byte 6"),
        (b'["\xed\xa0\x80"]', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "Unexpected UTF-8 BOM"),
        (b'{"a": 1', "not one JSON value"),
        (b"{'a': 1}", "not one JSON value"),
        (b"[1,]", "not one JSON value"),
        (b"\x00", "not one JSON value"),
        (b'["a\nb"]', "not one JSON value"),
    ],
)
def test_what_is_no_valid_result_is_told_with_the_place_and_the_bytes(reply: bytes, reason: str) -> None:
    with pytest.raises(shim.OutputInvalid, match=re.escape(reason)) as raised:
        codec(output="json").decode(exited(reply))
    with pytest.raises(shim.OutputInvalid):
        codec(output="json").judge(exited(reply))

    assert raised.value.excerpt in reply
    assert repr(raised.value.excerpt) in str(raised.value)


def test_an_escaped_backslash_before_u_is_no_surrogate() -> None:
    assert codec().decode(exited(b'["\\\\ud800", 123456789012345678901234567890]')) == [
        "\\ud800",
        123456789012345678901234567890,
    ]


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (b"", None),
        (b"\n", "\n"),
        (b"  ", "  "),
        (b"hello\n", "hello\n"),
        (b"hello {}", "hello {}"),
        (b"null", None),
        (b"123", 123),
        (b'"text"\n', "text"),
        (b"12:30", "12:30"),
        (b"NaN", "NaN"),
        (b"1e400", "1e400"),
        (b"9" * 5000, "9" * 5000),
        (b"true story", "true story"),
        ("é\0\u2028".encode(), "é\0\u2028"),
        (b' {"a":1}\n', {"a": 1}),
    ],
)
def test_auto_takes_json_for_json_and_text_for_text(reply: bytes, value: object) -> None:
    assert codec(output="auto").decode(exited(reply)) == value
    assert orjson.loads(codec(output="auto").judge(exited(reply))) == value


@pytest.mark.parametrize(
    "reply", [b"{log line}", b"[info] text", b' {"a": 1} trailing', b"[", b"\xff\xfe", b"[1e400]", b'"\\ud800"']
)
def test_auto_makes_no_text_of_broken_json_and_no_value_of_bytes(reply: bytes) -> None:
    with pytest.raises(shim.OutputInvalid):
        codec(output="auto").decode(exited(reply))


@given(st.binary())
def test_text_and_base64_are_the_bytes_themselves(reply: bytes) -> None:
    assert base64.b64decode(codec(output="base64").decode(exited(reply))) == reply
    text = reply.decode(errors="replace")
    if text.encode() == reply:
        assert codec(output="text").decode(exited(reply)) == text
        assert orjson.loads(codec(output="text").judge(exited(reply))) == text
    else:
        with pytest.raises(shim.OutputInvalid, match="not UTF-8") as raised:
            codec(output="text").decode(exited(reply))
        assert raised.value.offset is not None
        assert reply[: raised.value.offset].decode() == text[: len(reply[: raised.value.offset].decode())]


@pytest.mark.parametrize("reply", [b"", b"\n", b" \t\r\n"])
def test_no_reply_where_json_is_asked_for_is_missing(reply: bytes) -> None:
    with pytest.raises(shim.ReplyMissing, match="wrote no reply"):
        codec(output="json").decode(exited(reply))


@given(st.binary(max_size=60), st.sampled_from(["json", "text", "auto", "base64"]))
def test_every_reply_gives_a_value_that_can_be_sent_or_a_shim_error(reply: bytes, output: str) -> None:
    """Total: and both faces agree."""
    try:
        value = codec(output=output).decode(exited(reply))
    except shim.ShimError as error:
        with pytest.raises(type(error)):
            codec(output=output).judge(exited(reply))
        return

    assert json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert same(json.loads(codec(output=output).judge(exited(reply))), value)


@given(SENDABLE, st.booleans())
def test_the_measured_size_is_that_of_the_hosts_encoding(value: object, escapes: bool) -> None:
    """As simplejson, which awslambdaric uses, writes it; the real one is asked in tests/real."""
    assert encoded_size(value, escapes=escapes) == len(json.dumps(value, ensure_ascii=escapes).encode())


@pytest.mark.parametrize("spare", [0, 1])
def test_the_limit_is_that_of_the_encoded_result_to_the_byte(spare: int) -> None:
    exact = b'"' + b"x" * (LAMBDA_LIMIT - 2 + spare) + b'"'
    many = b"[" + b"1," * ((LAMBDA_LIMIT - 3) // 3) + (b"1]" if (LAMBDA_LIMIT - 3) % 3 == 0 else b"11]")
    size = encoded_size(orjson.loads(many), escapes=True)
    many = many[:-1] + b"1" * (LAMBDA_LIMIT - size + spare) + b"]"
    for reply in (exact, many):
        if spare:
            with pytest.raises(shim.OutputTooLarge) as raised:
                codec(max_output_bytes=10**7).decode(exited(reply))
            assert (raised.value.size, raised.value.limit) == (LAMBDA_LIMIT + 1, LAMBDA_LIMIT)
            assert "6291557 bytes once encoded as JSON, more than the 6291556 bytes" in str(raised.value)
        else:
            assert codec(max_output_bytes=10**7).decode(exited(reply)) == orjson.loads(reply)


def test_what_is_small_as_bytes_may_be_too_large_once_encoded() -> None:
    for reply, output in (
        ("é".encode() * 2_000_000, "text"),  # six bytes each where the host escapes
        (b"\x01" * 1_100_000, "text"),
        (b"\0" * 5_000_000, "base64"),
        (b"[" + b"1," * 2_500_000 + b"1]", "json"),
    ):
        with pytest.raises(shim.OutputTooLarge):
            codec(output=output, max_output_bytes=10**7).decode(exited(reply))
