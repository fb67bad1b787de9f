"""A reply that streams: however its bytes are cut, nothing of them is lost, too much or too early; and what is a head of a response."""

from __future__ import annotations

import base64
import json
from itertools import cycle
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

import shim
from shim import request
from shim.codecs.line import LAMBDA_LIMIT
from shim.codecs.stream import StreamCodec, response_head
from shim.local.function_url import head_of as answered
from shim.request import DELIMITER, LONG, REPORT, Streamed, head_of
from shim.settings import MEBIBYTE, Settings
from shim.testing import strategies
from tests.property.test_line import exited

PLENTY = 1_000_000
NAMES = ("statusCode", "headers", "multiValueHeaders", "cookies")
FIRST_BYTES = len(REPORT)
"""So many bytes tell whether it may be a report."""

cuts = st.lists(st.integers(1, 40), min_size=1, max_size=8)
"""Of the pieces in which bytes come, again and again."""
limits = st.integers(1, 120) | st.just(PLENTY)
blobs = st.binary(max_size=200)
bodies = st.builds(bytes.__add__, blobs, st.sampled_from([b"", DELIMITER, bytes(3)]))
heads = st.sampled_from(
    [
        b"{}",
        b'{"statusCode":404}',
        b' {"cookies":["a=b"]}\n',
        b'{"headers":{"a":"b"},"statusCode":200}',
    ]
)
wrong_heads = st.sampled_from(
    [b"", b"[]", b"{", b"\xff", b'{"statusCode":99}', b'{"status":200}', b'{"headers":{"a":"\\n"}}']
)
responses = st.builds(lambda head, body: head + DELIMITER + body, heads, bodies)
reports = st.builds(lambda rest: REPORT + rest, blobs)


class Caller:
    """What was handed on, and when."""

    def __init__(self, data: bytes, pieces: list[int], *, limit: int = PLENTY, http: bool = False) -> None:
        """Feeds it as a child's reply is fed: never more than there is room for, and nothing after too much."""
        self.framing = Streamed(limit, response_head if http else None)
        self.fed = b""
        self.taken: list[tuple[int, bytes]] = []
        """How many bytes had been fed, and what could be taken then."""
        for size in cycle(pieces):
            if not data or self.framing.overflowed:
                break
            assert self.framing.room > 0
            piece, data = data[: min(size, self.framing.room)], data[min(size, self.framing.room) :]
            assert self.framing.feed(piece) == b""
            self.fed += piece
            self.taken.append((len(self.fed), self.framing.take()))

    @property
    def handed(self) -> bytes:
        return b"".join(piece for _, piece in self.taken)

    @property
    def held(self) -> bytes:
        return bytes(self.framing.reply)


# A stream


@given(blobs | reports, cuts, limits)
def test_what_is_handed_on_and_what_is_held_back_is_what_was_fed(data: bytes, pieces: list[int], limit: int) -> None:
    caller = Caller(data, pieces, limit=limit)

    assert caller.fed == data[: limit + 1]
    assert caller.framing.overflowed == (len(data) > limit)
    assert len(caller.handed) <= limit
    assert caller.handed + caller.held == caller.fed[: limit if caller.handed else None]


@given(blobs, cuts)
def test_nothing_waits_that_can_be_no_report(data: bytes, pieces: list[int]) -> None:
    caller = Caller(b"." + data, pieces)

    assert all(piece for _, piece in caller.taken)
    assert caller.held == b""


@given(blobs, cuts)
@example(b':"Bad","errorMessage":""}', [1])
@example(b"", [FIRST_BYTES - 1, 1])
@example(b"", [FIRST_BYTES])
def test_what_may_be_a_report_is_held_back_however_it_comes(data: bytes, pieces: list[int]) -> None:
    """A child that writes it a byte at a time, without a buffer, reports an error as well."""
    caller = Caller(REPORT + data, pieces)

    assert caller.handed == b""
    assert caller.held == REPORT + data


@given(st.integers(1, FIRST_BYTES - 1), st.binary(min_size=1, max_size=20), cuts)
def test_what_only_begins_like_a_report_is_handed_on_when_that_is_known(
    common: int, data: bytes, pieces: list[int]
) -> None:
    reply = REPORT[:common] + bytes([REPORT[common] ^ 1]) + data
    caller = Caller(reply, pieces)

    assert caller.handed + caller.held == reply
    assert caller.held == b""


@given(st.lists(st.integers(FIRST_BYTES, 30_000), min_size=1, max_size=4), st.integers(LONG - 2, LONG + 3))
@example([LONG], LONG)
@example([LONG], LONG + 1)
def test_what_is_too_long_for_a_report_is_handed_on(pieces: list[int], size: int) -> None:
    reply = REPORT.ljust(size, b"x")
    caller = Caller(reply, pieces)
    first = next((fed for fed, piece in caller.taken if piece), None)

    assert caller.handed == (reply if size > LONG else b"")
    assert caller.handed + caller.held == reply
    assert first is None or first > LONG


# An HTTP response


@given(heads, bodies, cuts)
def test_a_response_begins_when_its_head_is_there_and_then_nothing_waits(
    head: bytes, body: bytes, pieces: list[int]
) -> None:
    reply = head + DELIMITER + body
    caller = Caller(reply, pieces, http=True)

    assert caller.handed == reply
    assert all(bool(piece) == (fed >= len(head) + len(DELIMITER)) for fed, piece in caller.taken)


@given(wrong_heads, bodies, cuts)
def test_a_response_with_a_wrong_head_is_never_handed_on(head: bytes, body: bytes, pieces: list[int]) -> None:
    reply = head + DELIMITER + body
    caller = Caller(reply, pieces, http=True)

    assert caller.handed == b""
    assert caller.held == caller.fed
    assert caller.framing.overflowed  # it is not read to its end


@given(heads, st.integers(1, 7), st.integers(1, 255), blobs, cuts)
def test_fewer_nuls_than_eight_end_no_head(head: bytes, nuls: int, other: int, body: bytes, pieces: list[int]) -> None:
    caller = Caller(head + bytes(nuls) + bytes([other]) + body, pieces, http=True)

    assert caller.handed == b""
    assert caller.framing.overflowed


@given(heads, st.integers(0, 7), cuts)
def test_a_head_that_is_not_complete_is_held_back(head: bytes, nuls: int, pieces: list[int]) -> None:
    caller = Caller(head + bytes(nuls), pieces, http=True)

    assert caller.handed == b""
    assert caller.held == head + bytes(nuls)
    assert not caller.framing.overflowed


@given(responses, cuts, limits)
def test_of_a_response_no_more_than_the_limit_is_handed_on(reply: bytes, pieces: list[int], limit: int) -> None:
    caller = Caller(reply, pieces, limit=limit, http=True)
    begins = len(reply.partition(DELIMITER)[0]) + len(DELIMITER) <= limit + 1

    assert caller.fed == reply[: limit + 1]
    assert caller.handed == (reply[:limit] if begins else b"")
    assert caller.framing.overflowed == (len(reply) > limit)


@given(st.integers(40, 60), st.integers(0, 20), cuts | st.just([1000]))
@example(51, 0, [1000])
@example(50, 0, [1])
@example(48, 0, [1])
def test_how_long_a_head_may_be_does_not_depend_on_how_it_is_cut(size: int, body: int, pieces: list[int]) -> None:
    """The limit is the same for a child that writes all of it at once, and for one that does not."""
    head = b'{"cookies":["' + b"x" * (size - 16) + b'"]}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "LONGEST_HEAD", 50)
        caller = Caller(head + DELIMITER + b"x" * body, pieces, http=True)

    assert len(head) == size
    assert caller.handed == (head + DELIMITER + b"x" * body if size <= 50 else b"")


@given(blobs, st.integers(0, 8), blobs)
def test_a_head_is_what_stands_before_the_first_nul(before: bytes, nuls: int, after: bytes) -> None:
    reply = before + bytes(nuls) + after
    end = reply.find(0)
    if end >= 0 and any(reply[end : end + 8]):
        with pytest.raises(ValueError, match=f"a NUL at byte {end} "):
            head_of(reply)
        return

    assert head_of(reply) == (reply[:end] if end >= 0 and reply[end : end + 8] == DELIMITER else None)


# What a head says

json_values = strategies.json_values(max_leaves=5) | st.lists(
    st.floats(), max_size=3
)  # NaN, which JSON does not have, too
tokens = st.text("abcXYZ-_019", min_size=1, max_size=5)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"), max_size=5)
good = {
    "statusCode": st.integers(200, 599),
    "headers": st.dictionaries(tokens, texts, max_size=3),
    "multiValueHeaders": st.dictionaries(tokens, st.lists(texts, max_size=3), max_size=3),
    "cookies": st.lists(texts, max_size=3),
}
controls = st.sampled_from([chr(code) for code in range(0x20) if code != 9])
uncontrolled = st.builds("{}{}{}".format, texts, controls, texts)
bad: dict[str, st.SearchStrategy[Any]] = {
    "statusCode": st.one_of(
        st.integers(max_value=199),
        st.integers(min_value=600),
        st.sampled_from([200.0, "200", True, None, [200], 10**400, -(2**64)]),
    ),
    "headers": st.one_of(
        st.sampled_from([None, [], "a: b", 1, {"a": 1}, {"a": None}, {"a": ["b"]}]),
        st.dictionaries(tokens, uncontrolled, min_size=1, max_size=2),
        st.dictionaries(uncontrolled, texts, min_size=1, max_size=2),
    ),
    "multiValueHeaders": st.one_of(
        st.sampled_from([None, [], {"a": "b"}, {"a": None}, {"a": [1]}, {"a": [["b"]]}]),
        st.dictionaries(tokens, st.lists(uncontrolled, min_size=1, max_size=2), min_size=1, max_size=2),
        st.dictionaries(uncontrolled, st.lists(texts, max_size=2), min_size=1, max_size=2),
    ),
    "cookies": st.one_of(
        st.sampled_from([None, {}, "a=b", [1], [None], [["a=b"]]]), st.lists(uncontrolled, min_size=1, max_size=2)
    ),
}
wrong_members = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), bad[name]))


def refused(head: bytes) -> bool:
    """Whether it is no head, which is told in a sentence that can be sent."""
    try:
        response_head(head)
    except ValueError as error:
        told = str(error).encode()
    else:
        return False

    assert told.startswith(b"its head ")
    assert b"\n" not in told
    return True


@given(st.fixed_dictionaries({}, optional=good), st.booleans())
def test_what_lambda_makes_a_response_of_is_a_head(said: dict[str, Any], escaped: bool) -> None:
    assert response_head(json.dumps(said, ensure_ascii=escaped).encode()) == said


@given(st.fixed_dictionaries({}, optional=good), wrong_members)
def test_a_head_with_one_wrong_member_is_none(said: dict[str, Any], wrong: tuple[str, Any]) -> None:
    name, value = wrong
    head = json.dumps({**said, name: value}).encode()

    assert refused(head)
    with pytest.raises(ValueError, match=f"its head has a {name} that is not "):
        response_head(head)


@given(st.text(st.characters(codec="utf-8"), max_size=9).filter(lambda name: name not in NAMES), json_values)
@example("body", "what Lambda would have put behind the head")
@example("statuscode", 200)
def test_a_head_with_a_member_of_another_name_is_none(name: str, value: object) -> None:
    assert refused(json.dumps({"statusCode": 200, name: value}).encode())


@given(blobs | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"headers":' * 3000)
@example(b'{"headers":' + b"[" * 2000 + b"]" * 2000 + b"}")
@example(b'{"statusCode":NaN}')
@example(b'{"statusCode":1e999}')
@example(b'{"statusCode":' + b"2" * 5000 + b"}")
@example(b'{"cookies":["\\ud800"]}')
@example(b'{"\\ud800":1}')
@example(b'{"headers":{"\\udfff":""}}')
@example(b'{"statusCode":200}{}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"cookies":["\xed\xa0\x80"]}')
@example(b'{"statusCode":200,}')
def test_whatever_else_it_is_is_told_in_a_sentence_and_never_by_another_exception(head: bytes) -> None:
    if not refused(head):
        assert response_head(head).keys() <= set(NAMES)
        assert isinstance(json.loads(head), dict)


def test_of_a_repeated_member_the_last_counts() -> None:
    assert response_head(b'{"statusCode":99,"statusCode":200}') == {"statusCode": 200}
    assert refused(b'{"statusCode":200,"statusCode":99}')


anything = st.text(st.characters(codec="utf-8", max_codepoint=0x17F), max_size=4)


@given(st.dictionaries(anything, anything, max_size=2), st.lists(anything, max_size=2))
@example({"": "x"}, [])
@example({"two words": "x"}, [])
@example({"name:": "x"}, [])
@example({"a\tb": "x"}, [])
@example({"\xe4": "x"}, [])
@example({"a": "\x7f"}, [])
@example({"a": "\u0142"}, [])
@example({}, ["\x7f"])
def test_what_is_a_head_here_is_one_for_our_own_lambda(headers: dict[str, str], cookies: list[str]) -> None:
    """Else its caller gets an error of which the program is never told."""
    head = {"headers": headers, "cookies": cookies}
    if not refused(json.dumps(head).encode()):
        assert answered(head).status == 200


# Where there is no sink for it


def codec(output: str) -> StreamCodec:
    """What reads a reply where the host can't stream."""
    settings = Settings("program", output=output)
    known: dict[str, Any] = {"executable": "/program", "environment": {}, "tells_trace": True, "memory": None}
    return StreamCodec(settings, escapes=True, **known)


@given(st.binary(max_size=LONG) | reports)
def test_a_stream_is_collected_as_its_bytes(reply: bytes) -> None:
    assert codec("stream").decode(exited(reply)) == codec("stream").judge(exited(reply)) == reply


@given(st.fixed_dictionaries({}, optional=good), st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
@example({"cookies": ["a=b", "c=d"]}, b"")
@example({}, DELIMITER)
def test_a_response_is_collected_as_the_object_that_lambda_makes_one_of(said: dict[str, Any], body: bytes) -> None:
    ended = exited(json.dumps(said).encode() + DELIMITER + body)
    response = codec("http").decode(ended)
    told = response["body"]

    assert json.loads(codec("http").judge(ended)) == response
    assert {name: response[name] for name in said} == said
    assert response.keys() == {"statusCode", "body", "isBase64Encoded", *said}
    assert response["statusCode"] == said.get("statusCode", 200)
    assert (base64.b64decode(told) if response["isBase64Encoded"] else told.encode()) == body


@given(wrong_heads, bodies)
def test_a_response_with_a_wrong_head_is_collected_as_an_error(head: bytes, body: bytes) -> None:
    with pytest.raises(shim.OutputInvalid, match="its head "):
        codec("http").decode(exited(head + DELIMITER + body))


@pytest.mark.parametrize("byte", [b"\xff", b"\0"])  # in base64; escaped, six bytes for one
def test_a_response_that_lambda_does_not_take_once_encoded_is_an_error(byte: bytes) -> None:
    with pytest.raises(shim.OutputTooLarge) as raised:
        codec("http").decode(exited(b"{}" + DELIMITER + byte * 5_000_000))

    assert raised.value.limit == LAMBDA_LIMIT


# The settings


@pytest.mark.parametrize("output", ["stream", "http"])
def test_they_take_200_mebibytes_where_nothing_else_is_said(output: str) -> None:
    assert Settings("program", output=output).max_output_bytes == 200 * MEBIBYTE
    assert Settings("program", output=output, max_output_bytes=5).max_output_bytes == 5
    assert Settings("program").max_output_bytes == 6 * MEBIBYTE


@pytest.mark.parametrize("output", ["stream", "http"])
@pytest.mark.parametrize("mode", ["warm", "bootstrap"])
def test_only_one_shot_children_stream(mode: str, output: str) -> None:
    with pytest.raises(shim.SettingsError, match=f"output must not be {output}, which mode=oneshot alone can do"):
        Settings("program", mode=mode, output=output)
