"""Records: whatever a child writes, a line of the log is one JSON object, and a line that is an object keeps what it says."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, strategies as st

from shim.invocation import timestamp
from shim.logs import LONGEST_LINE, StandardError
from shim.records import Lines, Records
from shim.testing import strategies

NOW = "2026-11-22T03:13:50.123Z"
FIELDS = {"timestamp", "level", "requestId", "stream"}
CHUNKS = st.lists(
    st.binary(max_size=60)
    | st.sampled_from([b"\n", b"{", b"}", b'{"a":1}\n', b'{"level":"ERROR"}\n', b"\xc3", b"\xa9", b"\0", b"\r\n", b'"'])
)


def is_read(value: object) -> bool:
    """Whether orjson reads it, with which records are made: an integer beyond what a float holds makes a line a text."""
    try:
        orjson.loads(json.dumps(value))
    except ValueError:
        return False
    return True


VALUES = strategies.json_values(max_leaves=8, sendable=True).filter(is_read)
NAMES = st.sampled_from([*sorted(FIELDS), "message", "msg", "time", "Level"]) | st.text()


def written(*chunks: bytes, level: str = "TRACE", request_id: str | None = "an-id", stream: str = "stderr") -> bytes:
    """What stands in the log of a child that writes these."""
    log = bytearray()
    lines = Lines(
        Records(level, clock=lambda: NOW), lambda data, _: log.extend(data), request_id=request_id, stream=stream
    )
    stderr = StandardError(lines.take, 0)
    for chunk in chunks:
        stderr.feed(chunk)
    stderr.close()
    return bytes(log)


def records(*chunks: bytes, **options: Any) -> list[dict[str, Any]]:
    """The same, read as a reader of the log does: a line is a record."""
    log = written(*chunks, **options)
    assert log.endswith(b"\n") or not log
    return [json.loads(line, parse_constant=pytest.fail) for line in log.split(b"\n")[:-1]]


@given(CHUNKS)
@example([b"\xff\xfe{}"])
@example([b'{"a":"\xff"}\n'])
@example([b"\n\n", b"\n"])
@example([b"\xe2\x80\xa8\x7f\x1b[0m\0"])
def test_whatever_a_child_writes_each_line_is_one_object_with_the_four_fields(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    made = records(*chunks)

    assert len(made) == len(data.split(b"\n")) - (data.endswith(b"\n") or not data)
    assert all(record.keys() >= FIELDS for record in made)


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line and not line.strip().startswith(b"{"))))
def test_a_line_that_is_no_object_is_the_message_of_a_record(lines: list[bytes]) -> None:
    made = records(b"".join(line + b"\n" for line in lines))

    assert made == [
        {
            "timestamp": NOW,
            "level": "INFO",
            "message": line.decode("utf-8", "replace"),
            "requestId": "an-id",
            "stream": "stderr",
        }
        for line in lines
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{} {}",
        b"{",
        b"}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": 1',
        b'{"a": "\\ud800"}',
        b'{"a": 1e999}',
        b'\xef\xbb\xbf{"a": 1}',
        b"1",
        b'"text"',
        b"",
    ],
)
def test_what_only_looks_like_an_object_is_a_message(line: bytes) -> None:
    (record,) = records(line + b"\n")

    assert record.keys() == FIELDS | {"message"}
    assert record["message"] == line.decode()


@given(st.dictionaries(NAMES, VALUES), st.sampled_from([None, 1]), st.booleans())
def test_an_object_keeps_every_byte_of_its_fields_and_gets_what_it_lacks(
    fields: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    line = json.dumps(fields, ensure_ascii=ascii_only, indent=indent).replace("\n", " ")
    log = written(line.encode() + b"\n")
    record = json.loads(log)

    assert log.endswith(line.encode()[1:] + b"\n")
    assert record == {
        "timestamp": NOW,
        "level": "INFO",
        "requestId": "an-id",
        "stream": "stderr",
        **json.loads(line),
    }
    assert record.keys() == fields.keys() | FIELDS


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (
            b'{"n": 123456789012345678901234567890, "x": 1.0000000000000000000000001, "z": -0.0, "e": 1E+2}',
            (
                b'{"timestamp":"%s","level":"INFO","requestId":"an-id","stream":"stderr",'
                b'"n": 123456789012345678901234567890, "x": 1.0000000000000000000000001, "z": -0.0, "e": 1E+2}'
            ),
        ),
        (b"{}", b'{"timestamp":"%s","level":"INFO","requestId":"an-id","stream":"stderr"}'),
        (b" \t{ } \r", b'{"timestamp":"%s","level":"INFO","requestId":"an-id","stream":"stderr" }'),
        (
            b'{"z":1,"a":2,"z":3}',
            b'{"timestamp":"%s","level":"INFO","requestId":"an-id","stream":"stderr","z":1,"a":2,"z":3}',
        ),
        (b'{"level":"debug","a":1}', b'{"timestamp":"%s","requestId":"an-id","stream":"stderr","level":"debug","a":1}'),
        (
            b'{"\\u006cevel":"warn","requestId":null}',
            b'{"timestamp":"%s","stream":"stderr","\\u006cevel":"warn","requestId":null}',
        ),
        (
            b'{"timestamp":"x","level":30,"requestId":"y","stream":"z"}',
            b'{"timestamp":"x","level":30,"requestId":"y","stream":"z"}',
        ),
    ],
)
def test_nothing_of_an_object_is_encoded_again(line: bytes, record: bytes) -> None:
    assert written(line + b"\n") == record.replace(b"%s", NOW.encode()) + b"\n"


RANKED = [
    (["TRACE", "trace", 10], 10),
    (["DEBUG", "debug", "Debug", 20], 20),
    (["INFO", "info", 30, 30.0, "verbose", "", None, True, 0, 70, {}, ["ERROR"]], 30),  # what is no level is INFO
    (["NOTICE", 35], 35),
    (["WARN", "warn", "Warning", "WARNING", 40], 40),
    (["ERROR", "error", 50], 50),
    (["FATAL", "Critical", "CRITICAL", 60], 60),
]
THRESHOLDS = {"TRACE": 10, "DEBUG": 20, "INFO": 30, "WARN": 40, "ERROR": 50, "FATAL": 60, "": 30, "no level": 30}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_level_filters_records(threshold: str) -> None:
    for levels, rank in RANKED:
        for level in levels:
            kept = records(json.dumps({"level": level}).encode() + b"\n", level=threshold)
            assert [record["level"] for record in kept] == [level] * (rank >= THRESHOLDS[threshold]), level
    for line in (b"{}\n", b"raw\n", b"x" * 3 * LONGEST_LINE):
        assert bool(records(line, level=threshold)) == (THRESHOLDS[threshold] <= 30)


@pytest.mark.parametrize("character", ["x", "é", "€", "😀", "\0"])
@pytest.mark.parametrize("size", [1, 1000, 8191, 65_536])
def test_a_line_that_is_too_long_is_messages_that_end_with_whole_characters(character: str, size: int) -> None:
    text = '{"a":"' + character * (3 * LONGEST_LINE // len(character.encode()))
    if size == 1:
        text = text[: LONGEST_LINE + 100]
    data = text.encode() + b'"}\n{"b":2}\n'
    made = records(*(data[at : at + size] for at in range(0, len(data), size)))
    messages = [record["message"] for record in made[:-1]]

    assert "".join(messages) == text + '"}'
    assert len(messages) > 1
    assert max(len(message.encode()) for message in messages) <= LONGEST_LINE + size
    assert made[-1]["b"] == 2


def test_the_rest_of_a_line_that_was_too_long_is_a_message_whatever_it_looks_like() -> None:
    made = records(b"x" * (LONGEST_LINE + 1), b'{"level":"ERROR"}\n', b'{"level":"ERROR"}\n')

    assert [record["level"] for record in made] == ["INFO", "INFO", "ERROR"]
    assert made[1]["message"] == '{"level":"ERROR"}'


def test_the_line_feed_after_a_piece_is_no_record_of_its_own() -> None:
    made = records(b"x" * (LONGEST_LINE + 1), b"\n", b"\n")

    assert [len(record["message"]) for record in made] == [LONGEST_LINE + 1, 0]


@pytest.mark.parametrize("size", [1000, 8192, 65_536])
def test_the_longest_line_that_is_whole_is_an_object_and_a_longer_one_is_not(size: int) -> None:
    whole = b'{"a":"%s"}' % (b"x" * (LONGEST_LINE - 8))
    data = whole + b"\n" + whole.replace(b"x", b"xx", 1) + b"\n"
    made = records(*(data[at : at + size] for at in range(0, len(data), size)))

    assert ["message" in record for record in made] == [False] + [True] * (len(made) - 1)
    assert len(made) > 2


@pytest.mark.parametrize("request_id", [None, "é", 'a"b', "\udc80"])
def test_the_id_of_the_invocation_is_what_lambda_says(request_id: str | None) -> None:
    (record,) = records(b"x\n", request_id=request_id)

    assert record["requestId"] == ("?" if request_id == "\udc80" else request_id)


def test_a_note_is_a_record_of_ours() -> None:
    maker = Records("WARN", clock=lambda: NOW)

    assert json.loads(maker.note('it "is" so\n', level="WARN", request_id="an-id")) == {
        "timestamp": NOW,
        "level": "WARN",
        "message": 'it "is" so\n',
        "logger": "shim",
        "requestId": "an-id",
    }
    assert "requestId" not in json.loads(maker.note("", level="WARN", request_id=None))
    assert (maker.keeps("WARN"), maker.keeps("INFO")) == (True, False)


def test_the_clock_is_rfc_3339_with_milliseconds() -> None:
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d\.\d{3}Z", timestamp())
