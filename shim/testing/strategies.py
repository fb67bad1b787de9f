"""Hypothesis strategies for everything that goes into a program or comes out of one: `from shim.testing import strategies`.

What they draw shrinks to what reads well: null, `{}`, an event of one record with plain names, a context with the defaults.
"""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

from shim.testing.events.place import UUIDS
from shim.testing.events.sources import SOURCES, events
from shim.testing.invoking import CLIENT_MEMBERS, LambdaContext
from shim.testing.scripts import behaviours
from shim.testing.valid_settings import settings

__all__ = ["SOURCES", "behaviours", "contexts", "events", "json_values", "settings"]

KEYS = (
    "",
    "id",
    "event",
    "context",
    "shim",
    "value",
    "error",
    "errorType",
    "errorMessage",
    "stackTrace",
    "statusCode",
    "headers",
    "body",
    "ok",
    "__proto__",
)
"""Names of members that mean something to somebody on the way."""
NUMBERS = (-0.0, 5e-324, 1e308, 2**53 + 1, -(2**63), -(2**63) - 1, 10**300, -(10**4000), 10**4299)
"""At the ends of what readers take. Python reads and writes integers of up to 4,300 digits."""
TEXTS = (
    "\0",
    "\x7f",
    "\x1b[0m",
    "\r\n",
    "\u2028\u2029",
    "\ufeff",
    "\uffff",
    '"\\',
    "\\ud800",
    "é",
    "😀",
    "NaN",
    "1e999",
)
HALVES = ("\ud800", "\udfff", "\udc00\ud800", "a\udfffb")
"""Lone surrogates: JSON can spell them, and UTF-8 can't."""
LENGTHS = (4095, 4096, 4097, 65_535, 65_536, 65_537)
"""Beside the sizes of a page, of a chunk and of a pipe."""
DEEPEST = 300
"""Levels. Twice as many frames still fit below Python's limit, for a test that walks through a value."""


def json_values(*, max_leaves: int = 20, sendable: bool = False) -> st.SearchStrategy[Any]:
    """Any JSON value, as Python has it: None, bool, int, float, str, list and dict. It shrinks to None, False, 0, 0.0, "", [] and {}.

    About one of ten holds a corner: up to 300 levels of nesting, a text about as long as a page or a pipe, one value many times. All hold
    others: integers of thousands of digits, -0.0, texts with NUL or U+2028, and keys that mean something to shim.

    Args:
        max_leaves: how many scalars there are at most, not counting those corners.
        sendable: only what a result of Lambda may hold: no half characters (lone surrogates).
    """
    texts = _texts(sendable=sendable)
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts
        | st.sampled_from(NUMBERS)
        | st.integers(2**63 - 2, 2**64 + 2)
    )
    keys = texts | st.sampled_from(KEYS)
    values: st.SearchStrategy[Any] = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=max_leaves,
    )
    corners = _corners(scalars, values)
    return st.integers(0, 9).flatmap(lambda kind: scalars if kind < 2 else values if kind < 9 else corners)


def contexts(*, timeout: float | None = None) -> st.SearchStrategy[LambdaContext]:
    """Contexts of all kinds that Lambda may hand over: with a client context, a Cognito identity, a tenant, from 128 to 10,240 MB.

    Args:
        timeout: seconds from when it is drawn to its deadline; None: from 60 to 900, enough for any test.
    """
    facts = st.fixed_dictionaries(
        {"request_id": UUIDS},
        optional={
            "name": st.text(_NAME, min_size=1, max_size=64),
            "memory": st.integers(128, 10_240),
            "region": st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2"]),
            "tenant_id": st.text(_NAME + "._:/=+@ ", min_size=1, max_size=256),
            "client_context": _client_contexts(),
            "identity_id": UUIDS.map("us-east-1:{}".format),
            "identity_pool_id": UUIDS.map("us-east-1:{}".format),
        },
    )
    seconds = st.integers(60, 900).map(float) if timeout is None else st.just(timeout)
    return st.builds(lambda timeout, facts: LambdaContext(timeout=timeout, **facts), seconds, facts)


_NAME = string.ascii_letters + string.digits + "-_"


def _texts(*, sendable: bool) -> st.SearchStrategy[str]:
    if sendable:
        return st.text(max_size=20) | st.sampled_from(TEXTS)
    return st.text(st.characters(), max_size=20).map(_joined) | st.sampled_from(TEXTS + HALVES)


def _joined(text: str) -> str:
    """The text, in which two halves that make up a character are that character: JSON can't tell them apart."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _corners(scalars: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values that are large or deep, and may be the only member of an object or a list."""
    long = st.builds(
        lambda first, character, length: (first + character * length)[:length],
        st.sampled_from(["", "x"]),
        st.sampled_from(["x", "é", "😀", "\0", '"']),
        st.sampled_from(LENGTHS),
    )
    deep = st.builds(_nested, scalars, st.integers(1, DEEPEST), st.sampled_from(["[", "{", "[{"]))
    many = st.builds(lambda value, count: [value] * count, values, st.integers(2, 100))
    corners = many | deep | long
    corners |= corners.map(lambda value: [value]) | corners.map(lambda value: {"value": value})
    # What takes the fewest choices is the simplest to Hypothesis: these must not be simpler than [None].
    return st.tuples(*[st.booleans()] * 6, corners).map(lambda choices: choices[-1])


def _nested(value: Any, depth: int, kinds: str) -> Any:
    for level in range(depth):
        value = [value] if kinds[level % len(kinds)] == "[" else {"": value}
    return value


def _client_contexts() -> st.SearchStrategy[dict[str, Any]]:
    """What a mobile client sends of itself (AWS Mobile SDK), of which anything may lack."""
    texts = st.text(max_size=20)
    members = st.dictionaries(texts, texts, max_size=3)
    client = st.fixed_dictionaries({}, optional=dict.fromkeys(CLIENT_MEMBERS, texts))
    return st.fixed_dictionaries({}, optional={"client": client, "custom": members, "env": members})
