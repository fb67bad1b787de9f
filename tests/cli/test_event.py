"""Where `shim invoke` takes the event from, and what it says where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import Ended, shim

if TYPE_CHECKING:
    from pathlib import Path


def event_of(ended: Ended) -> object:
    """The event that `cat` was told."""
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["event"]


def test_without_one_the_event_is_an_empty_object() -> None:
    assert event_of(shim("invoke", "cat", stdin=b"[1]")) == {}


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{\n  "a": ["ä", 1]\n}\n')

    assert event_of(shim("invoke", "--event", "event.json", "cat", cwd=tmp_path)) == {"a": ["ä", 1]}


def test_from_a_pipe_that_has_a_path() -> None:
    """As `<(…)` of a shell is one."""
    assert event_of(shim("invoke", "--event", "/dev/stdin", "cat", stdin=b"[5]")) == [5]


def test_from_standard_input() -> None:
    assert event_of(shim("invoke", "--event", "-", "cat", stdin=b' {"b": null}\n')) == {"b": None}


@pytest.mark.parametrize("event", ['{"c": 1}', "[]", '"text"', "7", "-7", "null", "true", ' {"d": "e"} '])
def test_from_the_command_line(event: str) -> None:
    assert event_of(shim("invoke", "--event", event, "cat")) == json.loads(event)


def test_a_file_goes_before_json_of_the_same_spelling(tmp_path: Path) -> None:
    (tmp_path / "7").write_text('"from the file"')

    assert event_of(shim("invoke", "--event", "7", "cat", cwd=tmp_path)) == "from the file"


@pytest.mark.parametrize(
    ("event", "stdin", "error"),
    [
        ("events/nowhere.json", b"", "there is no file 'events/nowhere.json'"),
        (
            "nowhere",
            b"",
            (
                "'nowhere' is no file that exists; taken for inline JSON, the event is bytes that are not valid JSON:"
                " not one JSON value (Expecting value) at byte 0"
            ),
        ),
        (
            '{"a":',
            b"",
            (
                "'{\"a\":' is no file that exists; taken for inline JSON, the event is bytes that are not valid JSON:"
                " not one JSON value (Expecting value) at byte 5"
            ),
        ),
        (
            "-",
            b"",
            "from standard input: the event is bytes that are not valid JSON: not one JSON value (Expecting value) at byte 0",
        ),
        (
            "-",
            b'{} "and more"',
            "from standard input: the event is bytes that are not valid JSON: not one JSON value (Extra data) at byte 3",
        ),
        (
            "-",
            b'["\xff"]',
            "from standard input: the event is bytes that are not valid JSON: not UTF-8 (invalid start byte) at byte 2",
        ),
        (
            "broken.json",
            b"",
            "from the file broken.json: the event is bytes that are not valid JSON: not JSON (NaN is no JSON value)",
        ),
        ("folder", b"", "the event file folder can't be read: Is a directory"),
    ],
)
def test_what_was_tried_is_said_and_nothing_is_started(event: str, stdin: bytes, error: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[NaN]")
    (tmp_path / "folder").mkdir()
    ended = shim("invoke", "--event", event, "touch", "started", stdin=stdin, cwd=tmp_path)

    assert ended.lines == [f"EventInvalid: {error}"]
    assert (ended.out, ended.code) == (b"", 2)
    assert not (tmp_path / "started").exists()
