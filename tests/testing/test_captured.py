"""The captured log: every line, and only those of the function; where it was before is where it is afterwards."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import pytest

from shim import ExitError, Shim
from shim.logs import CAPACITY, Log, function_log
from shim.records import Records
from shim.testing.captured import capture
from shim.testing.invoking import LambdaContext
from tests.conftest import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LEAVES = "sleep 60 </dev/null >/dev/null 2>&1 & exit 0"
"""The end of a program of which shim says something."""


def says(text: str, **settings: Any) -> Shim:
    """A Shim for a program that writes that to its standard error."""
    return Shim("sh", args=["-c", f"printf '{text}' >&2"], output="text", **settings)


def standing(log: Log) -> tuple[object, ...]:
    """All that it is."""
    return tuple(getattr(log, name) for name in Log.__slots__)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Whatever a test does here, the log is what it was and no descriptor is left."""
    says("")({})
    before, opened = standing(function_log()), descriptors()
    yield
    assert standing(function_log()) == before
    assert descriptors() == opened


def test_it_has_what_an_executable_writes_as_lines_as_text_and_as_it_is() -> None:
    with capture() as captured:
        says(r"one\n\ntwo \r\n\377three")({})

    assert captured.lines == ["one", "", "two \r", "\ufffdthree"]
    assert captured.text == "one\n\ntwo \r\n\ufffdthree\n"
    assert captured.data == b"one\n\ntwo \r\n\xffthree\n"
    assert (captured.records, captured.metrics, captured.notes) == ([], [], [])


def test_a_line_ends_at_its_line_feed_and_nowhere_else() -> None:
    with capture() as captured:
        says(r"a\013b\302\205c\342\200\250d\n")({})

    assert captured.lines == ["a\vb\x85c\u2028d"]


def test_nothing_is_no_line() -> None:
    with capture() as captured:
        pass

    assert (captured.lines, captured.text) == ([], "")


def test_it_can_be_looked_at_while_it_goes_on() -> None:
    program = says("line\n")
    with capture() as captured:
        program({})
        one = captured.lines
        program({})

        assert (one, captured.lines) == (["line"], ["line", "line"])
    program({})
    assert captured.lines == ["line", "line"]


def test_shims_of_before_and_of_the_block_are_in_it_and_log_as_before_when_it_is_over(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = says("before\n")
    before({})
    with capture() as captured:
        before({})
        inside = says("inside\n")
        inside({})
    inside({})
    before({})

    assert captured.lines == ["before", "inside"]
    assert capfd.readouterr().err == "before\ninside\nbefore\n"


def test_what_this_process_writes_to_standard_error_is_no_part_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    with capture() as captured:
        sys.stderr.write("ours\n")
        os.write(2, b"ours, too\n")
        says("theirs\n")({})

    assert captured.lines == ["theirs"]
    assert capfd.readouterr().err == "ours\nours, too\n"


def test_it_has_what_shim_itself_says() -> None:
    with capture() as captured:
        Shim("sh", args=["-c", f"echo shimmering >&2; {LEAVES}"])({})

    (note,) = captured.notes
    assert note.startswith("sh left 1 process behind")
    assert captured.lines == ["shimmering", f"shim: {note}"]


def test_in_json_each_line_is_a_record_of_its_invocation() -> None:
    context = LambdaContext(timeout=20)
    with capture(log_format="JSON") as captured:
        script = """echo raw >&2; echo '{"level": "warn", "n": 1}' >&2; """
        Shim("sh", args=["-c", script + LEAVES])({}, context)

    raw, spliced, note = captured.records
    assert (raw["message"], spliced["n"], note["logger"]) == ("raw", 1, "shim")
    assert {record["requestId"] for record in captured.records} == {context.aws_request_id}
    assert captured.notes == [note["message"]]
    assert len(captured.lines) == 3


def test_the_level_filters_the_records() -> None:
    with capture(log_format="JSON", log_level="ERROR") as captured:
        Shim("sh", args=["-c", f"""echo raw >&2; echo '{{"level": "error"}}' >&2; {LEAVES}"""])({})

    assert [record["level"] for record in captured.records] == ["error"]
    assert captured.notes == []


def test_the_format_that_is_not_given_is_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "JSON")
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "WARN")
    program = Shim("sh", args=["-c", """echo raw >&2; echo '{"level": "error"}' >&2"""])
    with capture() as filtered:
        program({})
    with capture(log_level="INFO") as whole:
        program({})
    with capture(log_format="Text") as text:
        program({})

    assert [record["level"] for record in filtered.records] == ["error"]
    assert [record["level"] for record in whole.records] == ["INFO", "error"]
    assert text.lines == ["raw", '{"level": "error"}']


def test_metrics_are_told_from_records() -> None:
    script = """echo '{"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "mine": 1}' >&2; echo '{"a": 1}' >&2"""
    with capture() as captured:
        Shim("sh", args=["-c", script], metrics="emf")({})

    mine, ours = captured.metrics
    assert (mine["mine"], ours["exit_code"], ours["executable"]) == (1, 0, "sh")
    assert captured.records == [{"a": 1}]


@pytest.mark.parametrize("line", ["{", "{]}", '{"a": 1', "[1]", '"text"', "{} {}"])
def test_a_line_that_is_no_object_is_a_line_and_nothing_else(line: str) -> None:
    with capture() as captured:
        says(line)({})

    assert captured.lines == [line]
    assert (captured.records, captured.metrics) == ([], [])


def test_more_than_any_pipe_holds_is_in_it_and_nothing_is_dropped() -> None:
    count = 40 * CAPACITY // 18
    with capture() as captured:
        Shim("sh", args=["-c", f"yes a line of a flood | head -n {count} >&2"])({}, LambdaContext(timeout=60))

    assert captured.data == b"a line of a flood\n" * count


@pytest.mark.parametrize("settings", [{}, {"mode": "warm"}])
def test_what_was_written_just_before_the_end_is_not_lost(settings: dict[str, str]) -> None:
    script = "read -r line; seq 10000 >&2; kill -9 $$"
    with Shim("sh", args=["-c", script], linger_ms=0, **settings) as program, capture() as captured:
        with pytest.raises(Exception, match="SIGKILL"):
            program({})

        assert captured.lines == [str(number) for number in range(1, 10_001)]


def test_what_a_kept_child_writes_after_its_reply_is_in_it_when_its_shim_is_closed() -> None:
    script = "while read -r line; do echo 1; done; echo the last word >&2"
    with capture() as captured, Shim("sh", args=["-c", script], mode="warm") as program:
        program({})

    assert captured.lines == ["the last word"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_is_raised_the_log_is_restored_and_what_came_is_there(error: type[BaseException]) -> None:
    def fail() -> None:
        says("line\n")({})
        raise error

    with pytest.raises(error), capture() as captured:
        fail()

    assert captured.lines == ["line"]


def test_the_error_of_an_invocation_goes_through() -> None:
    with capture() as captured, pytest.raises(ExitError, match="too bad"):
        Shim("sh", args=["-c", "echo too bad >&2; exit 3"])({})

    assert captured.lines == ["too bad"]


def test_the_innermost_has_what_comes_and_the_outer_one_what_comes_before_and_after() -> None:
    program = says("line\n")
    with capture() as outer:
        program({})
        with capture(log_format="JSON") as inner:
            program({})
        program({})

    assert outer.lines == ["line", "line"]
    assert [record["message"] for record in inner.records] == ["line"]


def test_blocks_of_several_threads_may_end_in_any_order() -> None:
    """What was begun last and goes on has what comes; nothing of it is lost, doubled or left."""
    first, second = capture(), capture()
    program = says("line\n")
    one = first.__enter__()
    program({})
    two = second.__enter__()
    program({})
    first.__exit__(None, None, None)
    program({})
    second.__exit__(None, None, None)

    assert (one.lines, two.lines) == (["line"], ["line", "line"])


def test_it_has_what_comes_of_all_threads() -> None:
    program = Shim("sh", args=["-c", "seq 100 >&2"])
    ready = Barrier(4)

    def invoke() -> None:
        ready.wait()
        for _ in range(5):
            program({})

    with capture() as captured, ThreadPoolExecutor(4) as threads:
        for invoked in [threads.submit(invoke) for _ in range(4)]:
            invoked.result()

    assert sorted(captured.lines) == sorted([str(number) for number in range(1, 101)] * 20)


def test_blocks_that_begin_and_end_while_others_log_lose_and_double_nothing() -> None:
    """In either format; what was no block's is in the outer one."""
    program = Shim("sh", args=["-c", "seq 100 >&2"])
    over = Event()
    found: list[str] = []

    def invoke() -> None:
        for _ in range(15):
            program({})

    def messages(lines: list[str]) -> Iterator[str]:
        for line in lines:
            yield json.loads(line)["message"] if line.startswith("{") else line

    def look() -> None:
        while not over.is_set():
            with capture(log_format="JSON") as captured:
                pass
            found.extend(messages(captured.lines))
            with capture() as captured:
                pass
            found.extend(messages(captured.lines))

    with capture() as outer, ThreadPoolExecutor(3) as threads:
        looking = threads.submit(look)
        for invoked in [threads.submit(invoke) for _ in range(2)]:
            invoked.result()
        over.set()
        looking.result()

    assert sorted([*found, *messages(outer.lines)]) == sorted([str(number) for number in range(1, 101)] * 30)


def test_what_waits_for_a_log_that_is_stalled_waits_until_the_block_is_over() -> None:
    """It is not the test's, and not lost."""
    read, write = os.pipe()
    stalled = Log(write)
    log = function_log()
    log.exchange(stalled)
    try:
        log.add(b"y" * 99_999 + b"\n")
        with capture() as captured:
            says("line\n")({})
        log.note("the end")
        received = bytearray()
        while log.descriptor is not None:
            received += os.read(read, 4096)
            log.push()
        received += os.read(read, 65_536)
    finally:
        log.exchange(stalled)
        os.close(read)
        os.close(write)

    assert captured.lines == ["line"]
    assert received == b"y" * 99_999 + b"\nshim: the end\n"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"log_format": "json"}, "log_format must be Text or JSON, not 'json'"),
        ({"log_format": ""}, "log_format"),
        ({"log_format": "JSON", "log_level": "LOUD"}, "log_level must be one of TRACE"),
        ({"log_format": "JSON", "log_level": ""}, "log_level"),
        ({"log_level": "WARN"}, "needs log_format='JSON'"),
        ({"log_format": "Text", "log_level": "WARN"}, "needs log_format='JSON'"),
    ],
)
def test_a_format_or_level_that_there_is_not_is_refused(arguments: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause), capture(**arguments):
        pytest.fail("the block began")


def test_logs_that_are_exchanged_are_all_that_the_other_was() -> None:
    """What waits, what was dropped, and a line that has no end yet go with it."""
    read, write = os.pipe()
    ours, theirs = Log(write), Log(write, Records("INFO", clock=lambda: "now"))
    for _ in range(3):
        ours.add(b"y" * (CAPACITY // 2 + 1))
    before = standing(ours), standing(theirs)
    ours.exchange(theirs)

    assert (standing(theirs), standing(ours)) == before
    ours.exchange(theirs)
    assert (standing(ours), standing(theirs)) == before
    os.close(read)
    os.close(write)


def test_what_another_thread_is_about_to_write_is_in_it() -> None:
    """It has put its line there, and another one is at work before it can write it."""
    with capture() as captured:
        log = function_log()
        log._pending += b"line\n"  # noqa: SLF001 - as Log.add does, up to that moment

    assert captured.lines == ["line"]


UNDER_PYTEST = """
import os, sys
from shim import Shim
from shim.testing.captured import capture

program = Shim("sh", args=["-c", "echo a line of the function >&2"], output="text")

def test_captured():
    program({})
    with capture() as captured:
        program({})
        Shim("sh", args=["-c", "echo another >&2"], output="text")({})
    program({})
    assert captured.lines == ["a line of the function", "another"]
    print("is a terminal:", os.isatty(2), file=sys.stderr)
"""


@pytest.mark.parametrize("options", [["-s"], ["--capture=fd"], ["--capture=sys"]])
def test_it_works_under_a_terminal_however_pytest_captures(options: list[str], tmp_path: Path) -> None:
    """A log that is a terminal is opened anew by the log itself."""
    (tmp_path / "test_it.py").write_text(UNDER_PYTEST)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", *options, str(tmp_path)]
    with ThreadPoolExecutor(1) as threads:
        shown = threads.submit(_shown, ours)
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=tmp_path, check=False, timeout=60
        )
        os.close(theirs)
        text = shown.result()
    os.close(ours)

    assert process.returncode == 0, text
    assert text.count("a line of the function") == 2
    assert ("is a terminal: True" in text) == (options != ["--capture=fd"])


def _shown(descriptor: int) -> str:
    """All that is written to the terminal."""
    data = bytearray()
    try:
        while chunk := os.read(descriptor, 65_536):
            data += chunk
    except OSError:  # all who had it have closed it
        pass
    return data.decode()
