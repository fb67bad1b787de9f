"""What `--json` prints: one JSON object, which begins with "ok": true where the command ends with 0.

Names that Lambda has are spelled as Lambda spells them (requestId, errorType, errorMessage, stackTrace); ours carry their unit.
"""

from __future__ import annotations

import orjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from shim.cli.function import Measured
    from shim.cli.repeat import Tally
    from shim.errors import ShimError


def success_object(result: bytes, measured: Measured) -> bytes:
    """The object of an invocation that gave a result, whose own bytes stand in it."""
    return orjson.dumps({"ok": True, "result": orjson.Fragment(result), **_figures(measured)})


def failure_object(error: ShimError, measured: Measured) -> bytes:
    """The object of a command that failed: the error as Lambda's caller gets it, the figures as far as it came, and the error's data."""
    data = {
        key: _plain(getattr(error, attribute), convert)
        for attribute, (key, convert) in DATA.items()
        if hasattr(error, attribute)
    }
    wire = {"errorType": type(error).__name__, "errorMessage": str(error)}
    return orjson.dumps({"ok": False, **wire, **_figures(measured), **data})


def error_object(error: ShimError) -> bytes:
    """The object of a command that could not do what was asked, and has no figures."""
    return orjson.dumps({"ok": False, "errorType": type(error).__name__, "errorMessage": whole(str(error))})


def whole(text: str) -> str:
    """The text as JSON can hold it, with nothing lost: a lone surrogate, a byte of a name that is not UTF-8, is an escape sequence. (The data of an
    error that Lambda would get has a question mark there, as its message has.)
    """
    return text.encode("utf-8", "backslashreplace").decode()


def summary_object(tally: Tally, measured: Measured) -> bytes:
    """The object of many invocations."""
    return orjson.dumps(
        {
            "ok": tally.exit_code == 0,
            "invocations": len(tally.durations),
            "duration_ms": {name: milliseconds(seconds) for name, seconds in tally.spread.items()},
            "init_ms": milliseconds(measured.init),
            "outcomes": tally.outcomes,
            "examples": tally.examples,
        }
    )


def milliseconds(seconds: float | None) -> float | None:
    """To the microsecond, which is about what a clock around a process can tell."""
    return None if seconds is None else round(seconds * 1000, 3)


def _figures(measured: Measured) -> dict[str, object]:
    return {
        "requestId": measured.request_id,
        "duration_ms": milliseconds(measured.duration),
        "init_ms": milliseconds(measured.init),
        "max_memory_bytes": measured.peak,
    }


def _plain(value: Any, convert: Callable[[Any], object] | None) -> object:
    return value if value is None or convert is None else convert(value)


def _text(text: str) -> str:
    """JSON has no lone surrogate, which stands for a byte of a command line that is not UTF-8. Error messages show it the same way."""
    return text.encode("utf-8", "replace").decode()


def _texts(texts: tuple[str, ...]) -> list[str]:
    return [_text(text) for text in texts]


DATA: dict[str, tuple[str, Callable[[Any], object] | None]] = {
    "executable": ("executable", _text),
    "exit_code": ("exit_code", None),
    "signal": ("signal", None),
    "core_dumped": ("core_dumped", None),
    "size": ("size_bytes", None),
    "limit": ("limit_bytes", None),
    "reason": ("reason", _text),
    "offset": ("offset_bytes", None),
    "excerpt": ("excerpt", lambda excerpt: excerpt.decode("utf-8", "backslashreplace")),
    "mistakes": ("mistakes", _texts),
    "stack_trace": ("stackTrace", _texts),
    "cure": ("cure", lambda cure: _text(cure) or None),
    "stderr_tail": ("stderr_tail", _text),
}
"""Attributes of errors → the keys that they have here. Not `duration`, the executable's own: duration_ms is the invocation's, as in REPORT."""
