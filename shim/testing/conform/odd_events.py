"""Events that a program must expect, and hardly ever gets: odd values, sizes, and what is no JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st

from shim.testing import strategies
from shim.testing.conform.request_lines import with_event_member

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 6 * 1024 * 1024
"""Bytes of an event: Lambda takes no larger ones."""
MOST = 32_000
"""Bytes of an event that is odd: sizes are a matter of their own."""
SIZES = (*sorted(2**power + more for power in range(10, 18) for more in (-1, 0, 1)), 2**20, LARGEST)
"""Bytes, around the sizes of buffers."""
NO_JSON = (b"no JSON", b"nul", b"{", b'"', b"[1,", b"\x00", b"\xff\xfe")
"""What no reader of JSON takes, the simplest first. (There are some that take whatever follows a value, a text that is no UTF-8, or nothing at
all, which nobody sends.)"""
VALUES = (
    rb'"\u0000"',
    rb'"\ud800"',
    b"18446744073709551616",
    b"null",
    b"false",
    b"true",
    b"0",
    b'""',
    b"[]",
    b"{}",
    b"[[[]]]",
    b"-0.0",
    b"1E400",
    b"0.1e-7",
    rb'"\udc00\ud800"',
    rb'"\ud83d\ude00 \/ \b\f\n\r\t\"\\"',
    '"é € 😀 \u2028 \ufeff"'.encode(),
    b'{"":{"":""}}',
    b'{"a":1,"a":2}',
    b'{"event":{"event":null},"context":[],"id":"x","value":1}',
    b'{"errorType":"X","errorMessage":"y"}',
    b' [ 1 ,\t{ "a" : [ ] } ] ',
)
"""JSON that readers stumble over, as its bytes."""


def lists(levels: int) -> bytes:
    """A list in a list in a list."""
    return b"[" * levels + b"]" * levels


def objects(levels: int) -> bytes:
    """An object in an object in an object."""
    return b'{"":' * levels + b"0" + b"}" * levels


def digits(number: int) -> bytes:
    """A number of so many digits."""
    return b"1" + b"0" * (number - 1)


GROWING = ((lists, 900), (objects, 900), (digits, 1000))
"""What becomes harder to read the larger it is, and the largest that readers of all languages take: those in Python go no deeper."""


def odd_events(sample: bytes, most: int = MOST) -> st.SearchStrategy[bytes]:
    """The JSON of any value of at most so many bytes, and of the sample with such a member, if it is an object."""
    values = st.builds(_encoded, strategies.json_values(), st.booleans()).filter(lambda value: len(value) <= most)
    return values.flatmap(lambda value: st.sampled_from(in_places(sample, (value,))))


def in_places(sample: bytes, values: Sequence[bytes]) -> list[bytes]:
    """Each of these values as an event, and as a member of the sample, if that is an object."""
    members = [with_event_member(sample, "odd", value) for value in values] if sample.lstrip()[:1] == b"{" else []
    return [*values, *members]


def padded(sample: bytes, size: int) -> bytes:
    """The same value with blanks in it, so that it has that many bytes, if it has less: inside of an object or a list, before any other value."""
    text = sample.strip()
    blanks = b" " * (size - len(text))
    return text[:-1] + blanks + text[-1:] if text[-1:] in (b"}", b"]") else blanks + text


def cuts_of(sample: bytes) -> st.SearchStrategy[bytes]:
    """The sample without its end, which is no JSON any more."""
    text = sample.strip()
    text = text if text[:1] in (b"{", b"[", b'"') else b"[" + text + b"]"  # a number without its end is another
    return st.integers(1, len(text) - 1).map(lambda end: text[:end])


def _encoded(value: Any, escapes: bool) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=escapes).encode()
    except UnicodeEncodeError:  # half a character, which JSON can only escape
        return json.dumps(value).encode()
