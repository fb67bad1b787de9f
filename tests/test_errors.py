"""Errors: their messages can always be sent, and their data is what the message says."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given, strategies as st

import shim
from shim.errors import MESSAGE_LIMIT, is_error_name, named, seconds, sendable


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
    first = named(shim.ReportedError, "Mine")
    for number in range(1000):
        assert issubclass(named(shim.ReportedError, f"Name{number}"), shim.ReportedError)

    gc.collect()

    assert first.__name__ == "Mine"
    assert len(shim.ReportedError.__subclasses__()) <= 64 + 1


def test_a_duration_reads_as_people_say_it() -> None:
    assert [seconds(value) for value in (0.0004, 0.012, 0.9994, 3.25)] == ["0 ms", "12 ms", "999 ms", "3.25 s"]
