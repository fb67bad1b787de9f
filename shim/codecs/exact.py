"""JSON read and written exactly, with the standard library: slower than orjson, and asked only where orjson would alter a value or gives up.

Loaded when first needed, since most functions never do.
"""

from __future__ import annotations

import json
import math
import re
from enum import Enum
from uuid import UUID

from shim.codecs.ending import BYTES, Unfit
from shim.errors import EventInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Place = tuple["_Place | None", str]

DEEPEST = 10_000
"""Levels of an event at which it is taken to hold itself; no encoder of the host's goes so deep."""


ONE_VALUE = "make it write one JSON value to standard output, and log lines to standard error; or set SHIM_OUTPUT=text"
NUMBER = "make it write such a number as a text"


def dumps_exactly(place: str, value: object) -> bytes:
    """As `dumps`, with the standard library, which has lone surrogates (escaped), integers of any size and about 900 levels or more."""
    refuse_what_json_lacks(place, value)
    try:
        return json.dumps(value, separators=(",", ":"), default=_as_orjson_does).encode()
    except RecursionError:
        raise EventInvalid(f"the {place} is nested too deep to be written as JSON") from None
    except ValueError as error:  # it holds itself, or an integer of more than 4,300 digits (sys.set_int_max_str_digits)
        raise EventInvalid(f"the {place} can't be written as JSON: {error}") from None


def _as_orjson_does(value: Any) -> object:
    return str(value) if isinstance(value, UUID) else value.value


def refuse_what_json_lacks(place: str, value: Any) -> None:
    """Looks at every value inside, since orjson is faster but not strict.

    Raises:
        EventInvalid: a number is NaN or infinite, a key is no text, or a value is of a type that JSON does not have. Says where.
    """
    waiting: list[tuple[_Place, Any, int]] = [((None, place), value, 0)]
    while waiting:
        at, value, level = waiting.pop()
        kind: type = type(value)
        if kind is float:
            if not math.isfinite(value):
                raise EventInvalid(f"{_spelled(at)} is {value}, which JSON does not have")
        elif kind is dict or kind is list or kind is tuple:
            if level > DEEPEST:
                raise EventInvalid(f"the {place} is nested too deep to be written as JSON, or holds itself")
            for key, item in value.items() if kind is dict else enumerate(value):
                if kind is dict and type(key) is not str:
                    raise EventInvalid(f"{_spelled(at)} has the key {key!r}, and JSON has only texts for keys")
                waiting.append(((at, f".{key}" if kind is dict else f"[{key}]"), item, level + 1))
        elif isinstance(value, Enum):
            waiting.append(((at, ".value"), value.value, level + 1))
        elif kind not in (str, int, bool, type(None)) and not isinstance(value, UUID):
            raise EventInvalid(f"{_spelled(at)} is a {kind.__name__}, which JSON does not have")


def _spelled(place: _Place | None) -> str:
    """A place inside an event, as `event.Records[0].price`."""
    parts: list[str] = []
    while place is not None:
        place, part = place
        parts.append(part)
    return "".join(reversed(parts))


def loads_exactly(reply: bytes | bytearray) -> Any:
    """As `loads`, with the standard library, which has integers of any size and says what it does not take."""
    value = read(reply, parse_int=int, parse_float=_finite)
    surrogate = _lone_surrogate(value, reply)
    if surrogate is not None:
        raise Unfit(
            "a lone surrogate, which is half a character",
            "make it write whole characters",
            offset=surrogate,
            parses=True,
        )
    return value


def read(data: bytes | bytearray, *, parse_int: Callable[[str], Any], parse_float: Callable[[str], Any]) -> Any:
    """The one JSON value that the bytes are, with those readers of its numbers; raises Unfit."""
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise Unfit(f"not UTF-8 ({error.reason})", BYTES, offset=error.start) from None
    try:
        return json.loads(text, parse_int=parse_int, parse_float=parse_float, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Unfit(f"not one JSON value ({error.msg})", ONE_VALUE, offset=len(text[: error.pos].encode())) from None
    except RecursionError:
        raise Unfit("nested too deep", "make it nest its values less deep") from None
    except Unfit:
        raise
    except ValueError:  # int() takes 4,300 digits at most (sys.set_int_max_str_digits)
        raise Unfit("an integer with more digits than Python takes", NUMBER) from None


_LONE = rb"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}"
"""Not compiled before it is needed: at every cold start it would cost 0.6 ms."""


def _lone_surrogate(value: object, reply: bytes | bytearray) -> int | None:
    r"""Where in the reply an escape like \ud800 gave half a character, or None. Only an escape can: the reply itself is UTF-8."""
    escape = re.search(_LONE, reply)
    if escape is None:
        return None
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return escape.start()
    except RecursionError:
        raise Unfit("nested too deep", "make it nest its values less deep") from None
    return None  # a backslash that is escaped itself


def _refuse_constant(name: str) -> object:
    raise Unfit(f"not JSON ({name} is no JSON value)", "make it write null or a text instead")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Unfit(f"a number too large for a float ({digits[:30]})", NUMBER)
    return number
