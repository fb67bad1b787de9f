"""Errors: their messages can always be sent, and their data is what the message says."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

import shim
from shim.errors import MESSAGE_LIMIT, is_error_name, named, reported, seconds, sendable

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.errors import Facts

FACTS: Facts = {"executable": "p", "duration": 0.5, "stderr_tail": "last words"}
ERRORS = [
    shim.ShimError("m"),
    shim.SettingsError(["one", "two"]),
    shim.EventInvalid("m"),
    shim.ShimClosed("m"),
    shim.RuntimeApiError("m", is_silent=True),
    shim.PackageError("m"),
    shim.ExecutableError("did", cure="c", **FACTS),
    shim.ExecutableNotFound("was not found", executable="p", cure="c"),
    shim.ExecutableNotRunnable("is a folder", executable="p"),
    shim.ExitError(exit_code=3, cure="c", **FACTS),
    named(shim.ExitError, "BadInput")(exit_code=65, reported="so", **FACTS),
    shim.SignalError(signal="SIGSEGV", core_dumped=True, why="w", **FACTS),
    shim.DeadlineExceeded(signal="SIGTERM", begun=3, **FACTS),
    shim.NotReady("was late", **FACTS),
    shim.OutputTooLarge(size=7, limit=6, encoded=True, **FACTS),
    shim.OutputInvalid(reason="r", reply=b"\xff", offset=0, cure="c", **FACTS),
    shim.ReplyMissing(**FACTS),
    shim.ReplyUnexpected(how="h", cure="c", **FACTS),
    reported(None, "m", exit_code=None, stack_trace=(), **FACTS),
    reported("Mine", "m\ud800", exit_code=1, stack_trace=["a", {"b": 1}], **FACTS),
    reported("ExitError", "m", exit_code=1, stack_trace=(), **FACTS),
]


@given(st.text(st.characters()))
def test_every_message_can_be_sent_by_every_host(text: str) -> None:
    for error in (shim.ShimError(text), shim.EventInvalid(text), shim.SettingsError([text])):
        message = str(error)

        assert json.dumps(message, ensure_ascii=False).encode()
        assert "\x7f" not in message
        assert len(message.encode()) <= MESSAGE_LIMIT


@given(st.text(max_size=100), st.integers(0, 3))
def test_a_message_is_cut_at_a_whole_character_and_says_so(text: str, offset: int) -> None:
    short = sendable(text.replace("\x7f", ""))
    long = sendable("é" * (MESSAGE_LIMIT // 2 - 10) + "x" * offset + "😀" * 50_000)

    assert short == text.replace("\x7f", "")
    assert long.endswith(f" … (cut: the message has {MESSAGE_LIMIT - 20 + offset + 200_000} bytes)")
    assert MESSAGE_LIMIT - 4 < len(long.encode()) <= MESSAGE_LIMIT


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("A", True),
        ("Csv.Error_2", True),
        ("_x" * 64, True),
        ("A" * 129, False),
        ("", False),
        ("States.Timeout", False),
        ("Statesman", True),
        ("2A", False),
        ("A-B", False),
        ("A\n", False),
        ("é", False),
    ],
)
def test_an_error_name_is_what_step_functions_take(name: str, good: bool) -> None:
    assert is_error_name(name) is good


def test_named_errors_are_subclasses_and_do_not_pile_up() -> None:
    before = len(shim.ReportedError.__subclasses__())
    first = named(shim.ReportedError, "First")
    for number in range(1000):
        assert issubclass(named(shim.ReportedError, f"Name{number}"), shim.ReportedError)

    gc.collect()

    assert first.__name__ == "First"
    assert len(shim.ReportedError.__subclasses__()) <= before + 64 + 1


def test_every_error_is_among_those_that_are_copied() -> None:
    public = {value for name in shim.__all__ if isinstance(value := vars(shim).get(name), type)}

    assert {kind for kind in public if issubclass(kind, Exception)} <= set(map(type, ERRORS)) | {shim.ReportedError}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301 - our own
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_whole_from_another_process(
    error: shim.ShimError, copied: Callable[[shim.ShimError], shim.ShimError]
) -> None:
    """As from a pool of processes, whose tasks' errors are pickled: it is the same in all that a caller can see."""
    error.add_note("seen there")
    again = copied(error)

    assert again is not error
    assert (type(again).__name__, type(again).__mro__[1:]) == (type(error).__name__, type(error).__mro__[1:])
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_a_duration_reads_as_people_say_it() -> None:
    assert [seconds(value) for value in (0.0004, 0.012, 0.9994, 3.25)] == ["0 ms", "12 ms", "999 ms", "3.25 s"]
