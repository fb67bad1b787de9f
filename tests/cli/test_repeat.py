"""`shim invoke --repeat N`: how long invocations take and how they end."""

from __future__ import annotations

import json
import math
import re
import signal
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from shim.cli.function import Measured
from shim.cli.repeat import EXAMPLE_LIMIT, OK, Tally, percentile
from shim.cli.table import aligned
from shim.errors import ShimError
from tests.cli.command import NONE, Ended, screen, shim, shim_on_terminal, start
from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SPREAD = ["minimum", "median", "p99", "maximum"]
COUNT = "echo >> %s/count; n=$(wc -l < %s/count)"


def counting(folder: Path, program: str) -> list[str]:
    """A program that knows, as $n, the how-manieth time it runs."""
    return ["sh", "-c", f"{COUNT.replace('%s', str(folder))}; {program}"]


def rows(text: bytes) -> dict[str, str]:
    """The lines of the plain table: name → the rest."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in text.decode().splitlines())


def summary(*arguments: str, variables: Mapping[str, str] = NONE) -> tuple[Any, Ended]:
    ended = shim("invoke", "--json", "--repeat", *arguments, variables=variables)
    assert ended.out.count(b"\n") == 1
    return json.loads(ended.out), ended


@given(st.lists(st.floats(0, 900), min_size=1))
def test_the_durations_are_ordered_and_the_p99_is_the_nearest_rank(durations: list[float]) -> None:
    tally = Tally()
    for duration in durations:
        tally.add(duration, None)
    spread = tally.spread

    assert list(spread) == SPREAD
    assert spread["minimum"] == min(durations)
    assert spread["maximum"] == max(durations)
    assert spread["median"] == statistics.median(durations)
    p99 = spread["p99"]
    assert p99 in durations
    assert p99 is not None
    assert sum(duration <= p99 for duration in durations) * 100 >= 99 * len(durations)
    assert sum(duration < p99 for duration in durations) * 100 < 99 * len(durations)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (99, 99), (100, 99), (101, 100), (200, 198), (1000, 990)])
def test_the_p99_of_so_many_is_the_one_at_that_rank(count: int, rank: int) -> None:
    assert percentile(range(1, count + 1), 99) == rank
    assert rank == math.ceil(count * 99 / 100)


def test_nothing_done_has_no_durations() -> None:
    assert Tally().spread == dict.fromkeys(SPREAD)
    assert "minimum      -\n" in aligned(Tally(), Measured())


def test_an_error_that_calls_itself_ok_is_no_success() -> None:
    tally = Tally()
    tally.add(1, type("ok", (ShimError,), {})("not at all"))

    assert tally.outcomes == {OK: 0, "errorType ok": 1}
    assert (tally.failures, tally.exit_code) == (1, 1)


def test_an_example_has_an_end() -> None:
    tally = Tally()
    tally.add(1, ShimError("x" * 100_000))

    assert len(tally.examples["ShimError"]) == EXAMPLE_LIMIT


def test_in_a_pipe_it_is_aligned_text() -> None:
    ended = shim("invoke", "--repeat", "3", "sh", "-c", "echo said >&2; echo the result")
    found = rows(ended.out)

    assert list(found) == ["invocations", "init", *SPREAD, "ok"]
    assert (found["invocations"], found["ok"]) == ("3", "3")
    assert all(re.fullmatch(r"\d+\.\d\d ms", found[name]) for name in ["init", *SPREAD])
    assert len({len(line) for line in ended.out.splitlines()}) == 1
    assert b"the result" not in ended.out
    assert ended.lines == ["said"] * 3
    assert ended.code == 0


def test_outcomes_are_counted_by_type_with_the_first_example_of_each(tmp_path: Path) -> None:
    program = counting(tmp_path, "echo because >&2; case $n in 2|5) exit $n;; 3) kill -9 $$;; esac; echo 1")
    found, ended = summary("6", *program)
    text = rows(shim("invoke", "--repeat", "1", "sh", "-c", "printf 'a\\nb' >&2; exit 4").out)

    assert list(found) == ["ok", "invocations", "duration_ms", "init_ms", "outcomes", "examples"]
    assert (found["ok"], found["invocations"]) == (False, 6)
    assert found["outcomes"] == {"ok": 3, "ExitError": 2, "SignalError": 1}
    assert found["examples"].keys() == {"ExitError", "SignalError"}
    assert re.fullmatch(r"sh ended with exit code 2 after \d+ ms", found["examples"]["ExitError"])
    assert list(found["duration_ms"]) == SPREAD
    assert 0 < found["duration_ms"]["minimum"] <= found["duration_ms"]["median"] <= found["duration_ms"]["maximum"]
    assert found["init_ms"] > 0
    assert re.fullmatch(r"1  sh ended with exit code 4 after \d+ ms", text["ExitError"])
    assert (ended.lines, ended.code) == (["because"] * 6, 1)


def test_each_invocation_is_one_of_its_own_in_one_environment(tmp_path: Path) -> None:
    found, _ = summary("4", "sh", "-c", f"cat >> {tmp_path}/told; echo $PPID >> {tmp_path}/parents; sleep 0.01")
    contexts = [json.loads(line)["context"] for line in (tmp_path / "told").read_text().splitlines()]
    deadlines = [context["deadline_ms"] for context in contexts]

    assert found["ok"] is True
    assert len({context["aws_request_id"] for context in contexts}) == 4
    assert [context["invocation_count"] for context in contexts] == [1, 2, 3, 4]
    assert [context["cold_start"] for context in contexts] == [True, False, False, False]
    assert len({context["log_stream_name"] for context in contexts}) == 1
    assert deadlines == sorted(set(deadlines))
    assert len(set((tmp_path / "parents").read_text().split())) == 1


def test_a_hanging_one_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    found, ended = summary("2", "--timeout", "1", *counting(tmp_path, "[ $n = 1 ] && sleep 600; echo 1"))

    assert found["outcomes"] == {"ok": 1, "DeadlineExceeded": 1}
    assert found["duration_ms"]["maximum"] > 500
    assert ended.code == 1


@pytest.mark.parametrize("times", ["0", "-1", "many", "1.5", ""])
def test_a_number_that_is_none_is_a_mistake(times: str, tmp_path: Path) -> None:
    ended = shim("invoke", "--repeat", times, "touch", str(tmp_path / "started"))

    assert b"--repeat" in ended.err
    assert (ended.out, ended.code) == (b"", 2)
    assert not (tmp_path / "started").exists()


def test_a_program_that_is_not_there_is_told_as_without() -> None:
    ended = shim("invoke", "--repeat", "3", "no-such-program")

    assert ended.error.startswith("ExecutableNotFound: no-such-program was not found")
    assert (ended.out, ended.code) == (b"", 1)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
def test_ctrl_c_shows_what_was_done_and_leaves_nothing_behind(
    options: list[str], actor: str, left_behind: Callable[[], list[int]], tmp_path: Path
) -> None:
    program = counting(tmp_path, f"[ $n = 3 ] || exit 0; {actor} sleep:600000 & echo here >&2; wait")
    with start("invoke", "--timeout", "600", "--repeat", "5", *options, *program) as command:
        assert command.stderr is not None
        assert command.stderr.readline() == b"here\n"
        eventually(left_behind)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)

    assert command.returncode == 130
    assert b"Traceback" not in err
    eventually(lambda: not left_behind())
    if options:
        found = json.loads(out)
        assert (found["ok"], found["invocations"], found["outcomes"]) == (False, 2, {"ok": 2})
    else:
        assert (rows(out)["invocations"], rows(out)["ok"]) == ("2", "2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str)
def test_another_signal_ends_it_at_once(
    number: signal.Signals, code: int, actor: str, left_behind: Callable[[], list[int]]
) -> None:
    program = ["sh", "-c", f"{actor} sleep:600000 & echo here >&2; wait"]
    with start("invoke", "--timeout", "600", "--repeat", "5", *program) as command:
        assert command.stderr is not None
        assert command.stderr.readline() == b"here\n"
        eventually(left_behind)
        command.send_signal(number)
        out, err = command.communicate(timeout=30)

    assert (out, command.returncode) == (b"", code)
    assert b"Traceback" not in err
    eventually(lambda: not left_behind())


def test_on_a_terminal_there_are_tables_and_a_bar_that_goes(tmp_path: Path) -> None:
    program = counting(tmp_path, 'sleep 0.12; [ $n != 2 ] || { echo "[b]why[/] $n" >&2; exit 1; }')
    ended = shim_on_terminal("invoke", "--repeat", "5", *program, columns=80)
    table = screen(ended.out)

    assert b" 0/5 " in ended.err
    assert b" 4/5, 1 failed " in ended.err
    assert "━" in ended.err.decode()
    assert screen(ended.err) == ["[b]why[/] 2"]
    assert ended.err.rfind(b"\x1b[?25h") > ended.err.rfind(b"\x1b[?25l")
    assert table[1] == "│ duration │ 5 invocations │"
    assert [line.split()[1] for line in table[3:8]] == ["init", *SPREAD]
    assert [[cell.strip() for cell in line.split("│")[1:3]] for line in table[12:14]] == [
        ["ok", "4"],
        ["ExitError", "1"],
    ]
    assert "sh ended with exit code 1 after " in table[13]
    assert ended.code == 1


def test_the_bar_tears_no_line_of_the_log_apart(tmp_path: Path) -> None:
    """Some lines come while the bar is there, some in pieces, some many at once, some at the end of an invocation."""
    program = counting(
        tmp_path,
        "echo first $n >&2; sleep 0.12; printf 'in ' >&2; sleep 0.12; echo pieces $n >&2; seq -f 'many %g' 200 >&2;"
        " printf 'last %s' $n >&2",
    )
    ended = shim_on_terminal("invoke", "--repeat", "3", *program)
    many = [f"many {number}" for number in range(1, 201)]

    assert screen(ended.err) == [
        line for n in (1, 2, 3) for line in [f"first {n}", f"in pieces {n}", *many, f"last {n}"]
    ]
    assert ended.err.count(b" 0/3 ") > 1  # it came back after a line
    assert ended.code == 0


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_where_no_escape_is_wanted_there_is_no_bar(variables: dict[str, str]) -> None:
    ended = shim_on_terminal("invoke", "--repeat", "2", "sh", "-c", "echo said >&2; exit 1", variables=variables)

    assert b"\x1b" not in ended.out + ended.err
    assert ended.err == b"said\nsaid\n"
    assert "│ ExitError │" in ended.out.decode()


def test_an_executables_words_in_a_table_are_no_markup_and_drive_no_terminal() -> None:
    report = json.dumps({"errorType": "Bad", "errorMessage": "[red]x[/] [/]\x1b[2J\x9b\n:smile:"})
    ended = shim_on_terminal("invoke", "--repeat", "2", "sh", "-c", 'printf %s "$1"; exit 1', "sh", report)

    assert screen(ended.out)[13] == "│ Bad     │     2 │ [red]x[/] [/]\\x1b[2J\\x9b\\n:smile: │"


@pytest.mark.parametrize("columns", [1, 10, 25])
def test_a_narrow_terminal_is_narrow_all_along(columns: int) -> None:
    ended = shim_on_terminal("invoke", "--repeat", "3", "sh", "-c", "sleep 0.06; exit 1", columns=columns)

    assert screen(ended.err) == [""]
    assert all(len(line) <= max(columns, 16) for line in screen(ended.out))
    assert ended.code == 1


def test_ctrl_c_on_a_terminal_gives_it_back_as_it_was(left_behind: Callable[[], list[int]], tmp_path: Path) -> None:
    """The bar with the one that was done comes back once the second has logged its line and is silent."""
    program = counting(tmp_path, "[ $n = 1 ] || { echo here >&2; exec sleep 600; }")
    ended = shim_on_terminal("invoke", "--timeout", "600", "--repeat", "9", *program, interrupt_at=b" 1/9 ")

    assert screen(ended.err) == ["here"]
    assert ended.err.rfind(b"\x1b[?25h") > ended.err.rfind(b"\x1b[?25l")
    assert "│ 1 invocation (interrupted) │" in screen(ended.out)[1]
    assert ended.code == 130
    assert left_behind() == []


def test_a_mistake_on_a_terminal_takes_the_bar_away_before_its_panel() -> None:
    ended = shim_on_terminal("invoke", "--repeat", "3", "no-such-program")

    assert screen(ended.err)[0].startswith("╭─ ExecutableNotFound ─")
    assert (ended.out, ended.code) == (b"", 1)


def test_rich_is_not_loaded_in_a_pipe_beyond_what_typer_loads() -> None:
    """It would double our own peak of memory, under which a child's can't be told."""
    for options in ([], ["--repeat", "2"], ["--json"]):
        ended = shim("invoke", *options, "true", variables={"PYTHONPROFILEIMPORTTIME": "1"})

        assert b"| shim.cli.repeat\n" in ended.err.replace(b"   ", b"").replace(b"  ", b" ")
        assert b"rich.progress" not in ended.err
        assert b"rich.console" not in ended.err
