"""An error on a terminal is a panel, whatever the words in it."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import example, given, strategies as st
from rich.cells import cell_len
from rich.console import Console

from shim.cli.display import CONTROL, visible
from shim.cli.panel import error_panel
from tests.cli.command import Ended, screen, shim, shim_on_terminal

PLAIN = {"NO_COLOR": "1"}


def reporting(kind: str, message: str) -> list[str]:
    """A program that fails with an error of its own."""
    return ["sh", "-c", 'printf %s "$1"; exit 1', "sh", json.dumps({"errorType": kind, "errorMessage": message})]


def panel(ended: Ended) -> list[str]:
    """Its lines, frame included: all from the first corner on."""
    lines = screen(ended.err)
    return lines[next(index for index, line in enumerate(lines) if line.startswith("╭")) :]


def inside(lines: list[str]) -> list[str]:
    return [line.strip("│ ") for line in lines[1:-1]]


def test_its_title_is_the_type_and_its_text_the_message() -> None:
    ended = shim_on_terminal("invoke", "sh", "-c", "exit 3", columns=60)
    lines = panel(ended)

    assert b"\x1b[1;31m ExitError \x1b[0m" in ended.err
    assert lines[0].startswith("╭─ ExitError ─")
    assert inside(lines)[0].startswith("sh ended with exit code 3 after ")
    assert {len(line) for line in lines} == {60}
    assert (ended.out, ended.code) == (b"", 1)


def test_the_end_of_standard_error_stands_under_a_rule_line_by_line() -> None:
    ended = shim_on_terminal("invoke", "sh", "-c", "printf 'one\\n\\ttwo [bold]\\n' >&2; exit 3", columns=60)
    lines = inside(panel(ended))
    rule = next(index for index, line in enumerate(lines) if "─" in line)

    assert lines[rule].startswith("the end of its standard error ──")
    assert lines[rule + 1 :] == ["one", "two [bold]"]
    assert not any("one" in line for line in lines[:rule])


def test_without_standard_error_there_is_no_rule() -> None:
    lines = panel(shim_on_terminal("invoke", "sh", "-c", "exit 3"))

    assert "─" not in "".join(lines[1:-1])


def test_a_mistake_is_one_too() -> None:
    ended = shim_on_terminal("invoke", "--output", "xml", "true", columns=70)
    lines = panel(ended)

    assert lines[0].startswith("╭─ SettingsError ─")
    assert " ".join(inside(lines)).startswith("the settings have 1 mistake: --output must be")
    assert ended.code == 2


def test_in_a_pipe_the_same_error_is_one_plain_line() -> None:
    ended = shim("invoke", *reporting("Orders.Bad", "[bold]two\nlines[/] \x1b[2J"))

    assert ended.error == "Orders.Bad: [bold]two\\nlines[/] \\x1b[2J"


@pytest.mark.parametrize("variables", [{}, PLAIN, {"TERM": "dumb"}], ids=str)
def test_an_executables_words_are_no_markup_and_drive_no_terminal(variables: dict[str, str]) -> None:
    words = "[bold red]x[/bold red] [/] [link=x]y :smile: \\[z]"
    ended = shim_on_terminal("invoke", *reporting("Bad", f"{words}\n\x1b[2Jgone\x9b\r\x07"), variables=variables)

    assert inside(panel(ended)) == [words, "\\x1b[2Jgone\\x9b\\r\\x07"]
    assert (b"\x1b" in ended.err) == (not variables)
    assert b"\x07" not in ended.err
    assert "\x9b" not in ended.err.decode()


def test_a_type_that_is_too_long_for_a_title_is_whole_all_the_same() -> None:
    kind = "Orders." + "VeryLong" * 10
    lines = panel(shim_on_terminal("invoke", *reporting(kind, "why"), columns=30))

    assert lines[0] == "╭" + "─" * 28 + "╮"
    assert "".join(inside(lines)) == f"{kind}why"


def test_the_width_is_standard_errors_own_or_what_columns_says() -> None:
    assert len(panel(shim_on_terminal("invoke", "false", columns=50))[0]) == 50
    assert len(panel(shim_on_terminal("invoke", "false"))[0]) == 80
    assert len(panel(shim_on_terminal("invoke", "false", columns=50, variables={"COLUMNS": "40"}))[0]) == 40


@given(st.text(max_size=200), st.text(max_size=200), st.integers(6, 100))
@example("x" * 200, "\t\t[/]\n\n", 6)
@example("漢字" * 50, "\u202e\u200d🏳️‍🌈", 7)
def test_no_line_is_wider_than_the_terminal_and_no_character_is_lost(message: str, tail: str, columns: int) -> None:
    """From 6 columns on, which leave 2 inside: some characters need as many."""
    console = Console(file=io.StringIO(), width=columns, color_system=None)
    with console.capture() as capture:
        console.print(error_panel("ExitError", message, tail, columns=columns))
    shown = capture.get()
    text = "".join(shown.translate(dict.fromkeys(map(ord, "╭╮╰╯│─"), " ")).split())

    assert all(cell_len(line) <= columns for line in shown.split("\n"))
    assert not CONTROL.search(shown.replace("\n", ""))
    for words in (message, tail):
        for word in visible(words, keep="\n\t").translate(dict.fromkeys(map(ord, "╭╮╰╯│─"), " ")).split():
            assert word in text
