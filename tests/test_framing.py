"""How the end of a kept child's reply is known: however its bytes come, nothing of them is lost, and nothing is taken for another's."""

from __future__ import annotations

import json
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from shim.codecs.line import loads
from shim.request import Envelope, Line

if TYPE_CHECKING:
    from shim.request import Framing

OURS = "79104ef7-1"
THEIRS = "79104ef7-2"
PLENTY = 1_000_000

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=8)
"""Of the pieces in which bytes come, again and again."""
no_line_feed = st.binary(max_size=30).filter(lambda data: b"\n" not in data)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
somethings = values.filter(lambda value: value is not None)


def fed(framing: Framing, data: bytes, pieces: list[int]) -> tuple[bytes, bytes]:
    """Feeds it as a child's reply is fed: never more than there is room for, and nothing after too much. Gives the log, and what was not fed."""
    log = b""
    for size in cycle(pieces):
        if not data or framing.overflowed:
            break
        assert framing.room > 0
        piece, data = data[: min(size, framing.room)], data[min(size, framing.room) :]
        log += framing.feed(piece)
    return log, data


def envelope(id: str | None = OURS, limit: int = PLENTY) -> Envelope:  # noqa: A002 - the member's name
    return Envelope(limit, id=id, parse=loads)


def spelled(message: object, indent: int = 0) -> bytes:
    """A line of JSON, with blanks where JSON allows them."""
    blanks = " " * indent
    return (blanks + json.dumps(message, ensure_ascii=False, separators=(f"{blanks},", f":{blanks}")) + blanks).encode()


# A line


@given(st.binary(max_size=200), sizes)
def test_a_line_is_the_same_however_it_is_cut(data: bytes, pieces: list[int]) -> None:
    framing = Line(PLENTY)
    log, unfed = fed(framing, data, pieces)
    line, end, after = data.partition(b"\n")

    assert (bytes(framing.reply), framing.complete, bytes(framing.excess)) == (line, bool(end), after)
    assert (log, unfed, framing.rest(), framing.message, framing.overflowed) == (b"", b"", b"", None, False)


@given(st.binary(max_size=200), sizes)
def test_a_line_loses_no_byte(data: bytes, pieces: list[int]) -> None:
    framing = Line(PLENTY)
    fed(framing, data, pieces)

    assert bytes(framing.reply) + (b"\n" if framing.complete else b"") + bytes(framing.excess) == data


@given(st.integers(1, 100), sizes, st.sampled_from([b"", b"x", b"\n", b"x\n"]))
def test_a_line_may_have_as_many_bytes_as_the_limit_and_no_more(limit: int, pieces: list[int], after: bytes) -> None:
    fits, is_too_long = Line(limit), Line(limit)
    fed(fits, b"x" * limit + b"\n" + after, pieces)
    fed(is_too_long, b"x" * (limit + 1) + b"\n" + after, pieces)

    assert (fits.complete, fits.overflowed, fits.reply, fits.excess) == (True, False, b"x" * limit, after)
    assert (is_too_long.complete, is_too_long.overflowed, len(is_too_long.reply)) == (False, True, limit + 1)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_whatever_comes_before_it_is_asked_is_excess(pieces: list[bytes]) -> None:
    framing = Line(10, asked=False)
    for piece in pieces:
        assert framing.feed(piece) == b""

    assert (framing.complete, framing.overflowed) == (True, False)
    assert (bytes(framing.reply), bytes(framing.excess)) == (b"", b"".join(pieces))


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=40))
def test_a_line_takes_nothing_over_from_the_request_before(left: bytes, data: bytes) -> None:
    last, framing = Line(PLENTY), Line(PLENTY)
    last.feed(left)
    framing.follow(last)
    framing.feed(data)

    assert bytes(framing.reply) == data.partition(b"\n")[0]


# An envelope

REPLIES: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"id": OURS, "value": 1}, {"value": 1}),
    ({"id": OURS, "value": None}, {"value": None}),
    ({"id": OURS, "value": {"error": "x", "id": THEIRS}}, {"value": {"error": "x", "id": THEIRS}}),
    ({"id": OURS, "value": 1, "error": None}, {"value": 1}),
    ({"id": OURS, "value": None, "error": None}, {"value": None}),
    ({"id": OURS, "error": None}, {"value": None}),
    ({"id": OURS}, {"value": None}),
    ({"id": OURS, "error": "why"}, {"error": "why"}),
    (
        {"id": OURS, "error": {"errorType": "A", "errorMessage": "b"}},
        {"error": {"errorType": "A", "errorMessage": "b"}},
    ),
    ({"id": OURS, "error": False}, {"error": False}),
    ({"id": OURS, "error": ""}, {"value": None}),
    ({"id": OURS, "value": 1, "error": ""}, {"value": 1}),
    ({"id": OURS, "value": 1, "error": "x"}, {"error": "x"}),
    ({"id": OURS, "value": None, "error": "x"}, {"error": "x"}),
    ({"more": 1, "value": 2, "id": OURS}, {"value": 2}),
]
LOG = [
    b"",
    b" ",
    b"\0\xff",
    b"a line of log",
    b'"id"',
    b"null",
    b"[]",
    b"{}",
    b'{"id"',
    b'{"id": "' + THEIRS.encode() + b'", "val',
    OURS.encode(),
    spelled(OURS),
    spelled([{"id": OURS, "value": 1}]),
    b"INFO " + spelled({"id": OURS, "value": 1}),
    spelled({"id": OURS, "more": 1}),
    spelled({"id": THEIRS}),
    spelled({"id": THEIRS, "more": 1}),
    spelled({"id": 1, "value": 1}),
    spelled({"id": None, "value": 1}),
    spelled({"id": [OURS], "value": 1}),
    spelled({"ID": OURS, "value": 1}),
    spelled({"value": 1}),
    spelled({"error": "x"}),
    spelled({"level": "info", "id": "x", "message": "of the log"}),
    spelled({"inner": {"id": OURS, "value": 1}}),
]
FOREIGN = [
    {"id": THEIRS, "value": 1},
    {"id": THEIRS, "value": None},
    {"id": THEIRS, "error": "x"},
    {"id": THEIRS, "value": None, "error": "x"},
    {"id": THEIRS, "value": 1, "error": ""},
    {"id": "", "value": 1},
    {"id": OURS + " ", "value": 1},
    {"id": OURS.upper(), "value": 1},
]


@pytest.mark.parametrize(("message", "meant"), REPLIES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t\n"])
def test_a_reply_has_our_id_and_one_of_value_and_error(
    message: dict[str, object], meant: dict[str, object], end: bytes
) -> None:
    for indent in (0, 2):
        framing = envelope()
        log = framing.feed(spelled(message, indent) + end)

        assert framing.message is not None
        assert {name: framing.message[name] for name in ("value", "error") if name in framing.message} == meant
        assert (framing.complete, framing.excess, log) == (True, b"", b"")
        assert framing.reply == spelled(message, indent) + end[:-1]


@pytest.mark.parametrize("line", LOG)
@pytest.mark.parametrize("id", [OURS, None])
def test_what_does_not_say_whose_it_is_is_log(line: bytes, id: str | None) -> None:  # noqa: A002 - the member's name
    framing = envelope(id)

    assert framing.feed(line + b"\n") == line + b"\n"
    assert (framing.complete, framing.reply, framing.excess, framing.message) == (False, b"", b"", None)


@pytest.mark.parametrize("message", FOREIGN)
def test_a_reply_to_another_is_excess_and_none_of_ours(message: dict[str, object]) -> None:
    framing = envelope()

    assert framing.feed(spelled(message) + b"\n") == b""
    assert (framing.complete, framing.excess) == (False, spelled(message))


@pytest.mark.parametrize(
    "message",
    [{"id": OURS, "value": 1}, {"id": OURS, "value": None, "error": None}, {"id": OURS, "error": {"why": 1}}, *FOREIGN],
)
def test_a_reply_where_nothing_was_asked_is_excess(message: dict[str, object]) -> None:
    framing = envelope(None)

    assert framing.feed(spelled(message) + b"\n") == b""
    assert (framing.complete, framing.excess) == (False, spelled(message))


def test_a_second_reply_to_the_same_request_is_excess_and_the_first_counts() -> None:
    first, second = spelled({"id": OURS, "value": 1}), spelled({"id": OURS, "value": 2})
    framing = envelope()

    assert framing.feed(first + b"\nlog\n" + second + b"\n") == b"log\n"
    assert (framing.complete, framing.reply, framing.message) == (True, first, {"id": OURS, "value": 1})
    assert framing.excess == second


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":"%s","value":}',
        b'{"id":"%s","value":1',
        b'{"id":"%s","value":NaN}',
        b'{"id":"%s","value":1}{"id":"%s","value":2}',
        b'  {"id":"%s","value":"\xff"}',
        b'{"id": %s}',
    ],
)
def test_a_line_with_our_id_that_is_no_json_is_taken_for_the_reply(line: bytes) -> None:
    """Its caller is told now, not at the deadline."""
    broken = line.replace(b"%s", OURS.encode())
    framing = envelope()

    assert framing.feed(broken + b"\n") == b""
    assert (framing.complete, framing.reply, framing.message, framing.excess) == (True, broken, None, b"")


def test_a_line_that_is_no_json_after_the_reply_is_excess_if_it_has_our_id() -> None:
    framing = envelope()
    framing.feed(spelled({"id": OURS, "value": 1}) + b"\n")
    broken = b'{"id":"%s","value":' % OURS.encode()

    assert framing.feed(broken + b"\n") == b""
    assert (framing.reply, framing.excess) == (spelled({"id": OURS, "value": 1}), broken)


indents = st.integers(0, 2)
lines = st.one_of(
    st.tuples(st.just("log"), no_line_feed.filter(lambda line: b'"id"' not in line)),
    st.tuples(st.just("log"), st.sampled_from(LOG)),
    st.tuples(st.just("ours"), st.builds(lambda v, i: spelled({"id": OURS, "value": v}, i), values, indents)),
    st.tuples(st.just("ours"), st.builds(lambda v, i: spelled({"error": v, "id": OURS}, i), somethings, indents)),
    st.tuples(st.just("theirs"), st.builds(lambda v, i: spelled({"id": THEIRS, "value": v}, i), values, indents)),
)


@given(st.lists(lines, max_size=8), no_line_feed, sizes)
@example([("ours", spelled({"id": OURS, "value": 1}))], b"", [1])
@example([("theirs", spelled({"id": THEIRS, "value": 1})), ("ours", spelled({"id": OURS}))], b"rest", [7])
def test_each_line_of_an_envelope_goes_where_it_belongs_however_it_is_cut(
    written: list[tuple[str, bytes]], rest: bytes, pieces: list[int]
) -> None:
    """No byte is lost: the log, the reply, what is nobody's, and the beginning of a line are all that was written, in its order."""
    replies = [line for kind, line in written if kind == "ours"]
    nobodys = [
        line
        for index, (kind, line) in enumerate(written)
        if kind == "theirs" or (kind == "ours" and "ours" in dict(written[:index]))
    ]
    framing = envelope()
    log, unfed = fed(framing, b"".join(line + b"\n" for _, line in written) + rest, pieces)

    assert log == b"".join(line + b"\n" for kind, line in written if kind == "log")
    assert (framing.complete, bytes(framing.reply)) == (bool(replies), replies[0] if replies else b"")
    assert bytes(framing.excess) == (nobodys[0] if nobodys else b"")
    assert (framing.rest(), unfed, framing.overflowed) == (rest, b"", False)
    assert framing.rest() == b""


@given(st.integers(0, 60), sizes, st.sampled_from([b"", b"log\n"]))
def test_a_line_of_an_envelope_may_have_as_many_bytes_as_the_limit_and_no_more(
    length: int, pieces: list[int], before: bytes
) -> None:
    reply = spelled({"id": OURS, "value": "x" * length})
    for line in (reply, b"x" * len(reply)):
        fits, is_too_long = envelope(limit=len(line)), envelope(limit=len(line) - 1)
        fed(fits, before + line + b"\n", pieces)
        log, unfed = fed(is_too_long, before + line + b"\n", pieces)

        assert (fits.overflowed, fits.complete) == (False, line is reply)
        assert (is_too_long.overflowed, is_too_long.complete) == (True, False)
        assert (log, unfed) == (before, b"\n")


@given(lines, st.data(), sizes)
def test_the_beginning_of_a_line_belongs_to_the_request_after_which_it_ends(
    written: tuple[str, bytes], data: st.DataObject, pieces: list[int]
) -> None:
    """And so whoever was asked when it began."""
    kind, line = written
    cut = data.draw(st.integers(0, len(line)))
    last, framing = envelope(THEIRS), envelope()
    log, _ = fed(last, b"before\n" + line[:cut], pieces)
    framing.follow(last)
    after, _ = fed(framing, line[cut:] + b"\nafter\n", pieces)

    assert (log, last.complete, last.excess, last.rest()) == (b"before\n", False, b"", b"")
    assert after == (line + b"\n" if kind == "log" else b"") + b"after\n"
    assert bytes(framing.reply) == (line if kind == "ours" else b"")
    assert bytes(framing.excess) == (line if kind == "theirs" else b"")


def test_what_is_taken_over_counts_against_the_limit() -> None:
    last, framing = envelope(limit=10), envelope(limit=10)
    last.feed(b"x" * 8)
    framing.follow(last)

    assert (framing.room, framing.overflowed) == (3, False)
    assert framing.feed(b"xx\n") == b"x" * 10 + b"\n"
    assert framing.room == 11
