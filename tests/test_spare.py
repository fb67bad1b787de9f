"""Spares, as their caller sees them: a child that was started before its invocation serves it as one that is started for it, and only it."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.invocation import timestamp
from shim.local.context import LambdaContext
from shim.logs import Log
from shim.records import Records
from tests.conftest import descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TELL = ("read-all", "describe")
"""What a child does that is well: it tells what it was born with."""
ENDED = "had ended before it was asked"


class Stage:
    """Shims of the actor with spares, the function's log, and a look at the spares that wait."""

    def __init__(self, actor: str, folder: Path) -> None:
        self.actor = actor
        self.folder = folder
        self._log = os.memfd_create("log")
        self._before = set(processes_of(actor))
        self._opened = descriptors()
        self._shims: list[Shim] = []

    def log_to(self, monkeypatch: pytest.MonkeyPatch, *, level: str | None = None) -> None:
        log = Log(self._log, Records(level, clock=timestamp) if level else None)
        monkeypatch.setattr("shim.adapter.function_log", lambda: log)

    def shim(self, *words: str, spare: int = 1, **settings: Any) -> Shim:
        """A Shim for the actor, which notes its start in `started` and then does what the words say. It is closed after the test."""
        settings = {"output": "json", **settings}
        made = Shim(self.actor, args=[f"note:{self.folder / 'started'}", *(words or TELL)], spare=spare, **settings)
        self._shims.append(made)
        return made

    def drop(self) -> None:
        """The test alone has the Shims from now on."""
        self._shims.clear()

    def started(self) -> list[int]:
        """The children that have begun, in the order in which they did."""
        path = self.folder / "started"
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []

    def children(self) -> list[int]:
        """Every process of the actor, zombies too."""
        return [pid for pid in processes_of(self.actor) if pid not in self._before]

    def await_starts(self, count: int) -> None:
        """Returns when so many more children have begun."""
        goal = len(self.started()) + count
        eventually(lambda: len(self.started()) >= goal)

    def spares(self, count: int = 1) -> list[int]:
        """The spares: so many children, all of which live and have begun. Nothing else of the actor is there.

        One that was started just now shows another program for a moment: the kernel lets its parent go on before it changes it.
        """
        eventually(lambda: len(self.children()) >= count and set(self.children()) <= set(self.started()))
        found = self.children()

        assert "Z" not in map(state, found)
        assert len(found) == count
        return found

    @property
    def log(self) -> list[str]:
        return os.pread(self._log, 10_000_000, 0).decode().splitlines()

    def clear(self) -> None:
        """Closes every Shim. Then nothing is left: no process, no zombie, no descriptor."""
        for made in self._shims:
            made.close()
        self._shims.clear()
        assert self.children() == []
        assert len(descriptors() - self._opened) <= 1  # /proc/loadavg, opened once

    def close(self) -> None:
        os.close(self._log)
        for pid in self.children():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stage(actor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(actor, tmp_path)
    made.log_to(monkeypatch)
    try:
        yield made
        made.clear()
    finally:
        made.close()


class Slotted:
    """A context that can't be watched."""

    __slots__ = ()
    aws_request_id = "an-id"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


CONTEXTS: dict[str, Callable[[], Any]] = {
    "Lambda's": lambda: LambdaContext(timeout=10),
    "none": lambda: None,
    "one that can't be watched": Slotted,
}


def ask(program: Shim, event: object = None, *, timeout: float = 10) -> Any:
    """The answer. The context is dropped with it, as the host does when it has sent the answer."""
    return program(event, LambdaContext(timeout=timeout))


def failure(program: Shim, event: object = None, *, timeout: float = 10) -> Any:
    """The error, without the frames that would keep the context. `pytest.raises` keeps them, in a cycle."""
    try:
        ask(program, event, timeout=timeout)
    except shim.ShimError as error:
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    pytest.fail("there was no error")


def hexed(text: str) -> str:
    return text.encode().hex()


def state(pid: int) -> str:
    """One letter, as in proc_pid_stat(5); X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends the signal, and returns when it shows: the child is dead, stopped, or goes on."""
    os.kill(pid, number)
    shows = {signal.SIGKILL: "Z", signal.SIGSTOP: "T", signal.SIGCONT: "SR"}[signal.Signals(number)]
    eventually(lambda: state(pid) in shows)


def run_python(program: str, *arguments: str) -> list[str]:
    """What a program writes, in an interpreter of its own."""
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


# Each serves one


def test_each_child_serves_one_invocation(stage: Stage) -> None:
    program = stage.shim()
    pids = [ask(program)["pid"] for _ in range(20)]

    assert len(set(pids)) == 20
    eventually(lambda: len(stage.started()) == 21)
    assert set(pids) == set(stage.started()[:20])
    assert stage.log == []


def test_a_spare_is_started_before_its_invocation_and_serves_it(stage: Stage) -> None:
    program = stage.shim()
    for _ in range(5):
        (spare,) = stage.spares()

        assert ask(program)["pid"] == spare


def test_the_oldest_spare_serves_first(stage: Stage) -> None:
    program = stage.shim(spare=3)
    started = sorted(
        stage.spares(3), key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().split()[21]) << 32 | pid
    )

    assert [ask(program)["pid"] for _ in started] == started


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("spare", [1, 3])
@pytest.mark.parametrize("words", [TELL, ("read-all", "exit:3")])
def test_after_every_invocation_so_many_spares_wait(
    spare: int, context: str, words: tuple[str, ...], stage: Stage
) -> None:
    """After one that failed too: as soon as the host has dropped the context, or at once where that can't be known."""
    program = stage.shim(*words, spare=spare)
    before = set(stage.spares(spare))
    for _ in range(5):
        try:
            program({}, CONTEXTS[context]())
        except shim.ExitError:
            pass
        after = set(stage.spares(spare))

        assert len(before - after) == 1
        before = after


def test_a_spare_is_not_started_before_the_host_has_dropped_the_context(stage: Stage) -> None:
    """Nobody's answer waits for it."""
    program = stage.shim()
    context = LambdaContext(timeout=10)
    program({}, context)

    assert stage.children() == []
    del context
    stage.spares(1)


def test_after_an_invocation_that_failed_a_spare_waits_although_the_host_keeps_the_frames(stage: Stage) -> None:
    """As awslambdaric does it (bootstrap.py, handle_event_request): the traceback is in a local of a frame that the traceback is of.

    That is a cycle with the context in it. It goes when the garbage collector runs, many invocations later.
    """
    program = stage.shim("read-all", "exit:3")

    def handle_event_request() -> str:
        context = LambdaContext(timeout=10)
        try:
            program({}, context)
        except Exception:
            kind, _value, _traceback = sys.exc_info()
            assert kind is not None
            return kind.__name__
        return ""

    gc.disable()
    try:
        assert handle_event_request() == "ExitError"
        stage.spares(1)
        assert handle_event_request() == "ExitError"
        stage.spares(1)
    finally:
        gc.enable()
        gc.collect()


def test_output_before_the_request_is_part_of_the_reply(stage: Stage) -> None:
    """Of any size: what the pipe does not hold is written when somebody reads."""
    short = stage.shim("write:1:" + hexed("a header\n"), "read-all", "write:1:" + hexed("a body"), output="text")
    long = stage.shim("fill:1:1000000", "read-all", "fill:1:7", output="text")

    assert [ask(short) for _ in range(3)] == ["a header\na body"] * 3
    assert [len(ask(long)) for _ in range(3)] == [1_000_007] * 3


@pytest.mark.parametrize("size", [0, 4096, 65_537, 5_000_000])
def test_events_and_replies_of_any_size_come_back(size: int, stage: Stage) -> None:
    program = stage.shim("copy")
    for count in (1, 2, 3):
        answer = ask(program, "x" * size)

        assert (answer["event"], answer["context"]["invocation_count"]) == ("x" * size, count)


def test_the_reply_may_come_on_descriptor_3(stage: Stage) -> None:
    program = stage.shim("write:1:" + hexed("a line of the log\n"), "read-all", "write:3:37", reply_fd=3)

    assert [ask(program), ask(program)] == [7, 7]
    assert stage.log == ["a line of the log"] * 2


# It fails as any child does


@pytest.mark.parametrize(
    "words",
    [
        ["exit:3"],
        ["write:2:" + hexed("why\n"), "exit:1"],
        ["write:1:" + hexed('{"errorType":"Csv.Error","errorMessage":"line 3"}'), "exit:4"],
        ["raise:11"],
        ["write:1:" + hexed("no JSON")],
        [],
        ["fill:1:2000"],
        ["sleep:0"],
    ],
)
def test_a_failure_is_the_same_with_a_spare_as_without(words: list[str], stage: Stage) -> None:
    """Its type, its message and what it carries, but for how long it took."""
    facts = []
    for spare in (0, 1):
        program = stage.shim("read-all", *words, spare=spare, max_output_bytes=1000)
        for _ in range(2):
            if spare:
                stage.spares()
            error = failure(program, timeout=0.5)
            carried = {name: value for name, value in vars(error).items() if name != "duration"}
            facts.append((type(error).__name__, re.sub(r"after [\d.]+ m?s", "after …", str(error)), carried))
        program.close()

    assert facts[1:] == facts[:1] * 3


def test_the_time_that_a_spare_waited_is_no_part_of_its_invocation(stage: Stage) -> None:
    program = stage.shim("read-all", "exit:3")
    since = time.monotonic()
    eventually(lambda: time.monotonic() > since + 0.5)

    assert failure(program).duration < 0.4


def test_a_spare_whose_program_was_removed_serves_and_the_next_invocation_says_what_is_missing(
    stage: Stage, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path(stage.actor).read_bytes())
    program.chmod(0o755)
    with Shim(str(program), args=["read-all", "describe"], output="json", spare=1) as made:
        aside = program.rename(tmp_path / "aside")

        assert "pid" in ask(made)
        assert type(failure(made)) is shim.ExecutableNotFound
        aside.rename(program)
        assert "pid" in ask(made)


# A spare that can't serve costs no invocation


def test_a_spare_that_was_killed_while_it_waited_is_replaced_with_a_line_in_the_log(stage: Stage) -> None:
    program = stage.shim()
    for count in (1, 2, 3):
        (spare,) = stage.spares()
        kill(spare)

        assert ask(program)["pid"] != spare
        assert len(stage.log) == count
        assert ENDED in stage.log[-1]
    stage.spares()


def test_all_spares_may_have_been_killed(stage: Stage) -> None:
    program = stage.shim(spare=3)
    dead = stage.spares(3)
    for spare in dead:
        kill(spare)

    assert ask(program)["pid"] not in dead
    assert [ENDED in line for line in stage.log] == [True] * 3
    stage.spares(3)


def test_a_spare_that_somebody_else_has_reaped_costs_no_invocation(stage: Stage) -> None:
    """A host that waits for any child takes what has ended."""
    program = stage.shim()
    (spare,) = stage.spares()
    kill(spare)
    os.waitpid(spare, 0)

    assert ask(program)["pid"] != spare


@pytest.mark.parametrize("code", [0, 1, 3, 127])
def test_a_program_that_does_not_wait_for_its_request_is_run_for_each_invocation(code: int, stage: Stage) -> None:
    """One line of the log tells, and the invocation gets what the program does when it is asked."""
    program = stage.shim("write:1:" + hexed("[7]"), f"exit:{code}", exit_codes={str(code): "ok"} if code else {})
    for count in (1, 2, 3):
        eventually(lambda: [state(pid) for pid in stage.children()] == ["Z"])

        assert ask(program) == [7]
        assert [ENDED in line for line in stage.log] == [True] * count


def test_a_program_that_fails_before_its_request_fails_in_each_invocation_with_its_own_words(stage: Stage) -> None:
    program = stage.shim("write:2:" + hexed("no config\n"), "exit:3")
    for count in (1, 2, 3):
        eventually(lambda: [state(pid) for pid in stage.children()] == ["Z"])
        error = failure(program)

        assert (type(error), error.exit_code, error.stderr_tail) == (shim.ExitError, 3, "no config")
        assert sum(ENDED in line for line in stage.log) == count


@pytest.mark.parametrize("spare", [1, 2])
def test_a_spare_that_is_too_old_is_replaced_and_not_used(spare: int, stage: Stage) -> None:
    program = stage.shim(spare=spare, max_age_ms=200)
    old = stage.spares(spare)
    since = time.monotonic()
    eventually(lambda: time.monotonic() > since + 0.25)

    assert ask(program)["pid"] not in old
    assert {state(pid) for pid in old} == {"X"}
    stage.spares(spare)
    assert stage.log == []


def test_a_spare_that_is_young_enough_is_used(stage: Stage) -> None:
    program = stage.shim(max_age_ms=60_000)
    (spare,) = stage.spares()

    assert ask(program)["pid"] == spare


def test_old_spares_that_are_deaf_to_sigterm_cost_the_invocation_nothing(stage: Stage) -> None:
    """They were asked nothing: no grace of theirs is taken from the time of the invocation, which goes to a fresh child."""
    program = stage.shim("ignore:15", "read-all", "describe", spare=4, max_age_ms=200, grace_ms=400)
    old = stage.spares(4)
    since = time.monotonic()
    eventually(lambda: time.monotonic() > since + 0.25)
    asked = time.monotonic()

    assert ask(program, timeout=1)["pid"] not in old
    assert time.monotonic() - asked < 1


@pytest.mark.parametrize("ending", ["too old", "closed"])
def test_a_spare_that_is_not_wanted_any_more_gets_no_empty_request(ending: str, stage: Stage) -> None:
    """Its standard input stays open until it is dead: the end of it would be a request to a program that is deaf to SIGTERM."""
    asked = stage.folder / "asked"
    program = stage.shim("ignore:15", "read-all", f"note:{asked}", "describe", max_age_ms=200, grace_ms=50)
    (spare,) = stage.spares()
    since = time.monotonic()
    eventually(lambda: time.monotonic() > since + 0.25)
    if ending == "closed":
        program.close()
    else:
        assert ask(program)["pid"] != spare

    assert state(spare) == "X"
    assert not asked.exists() or f"{spare} start" not in asked.read_text().splitlines()


# Between two invocations everything may be frozen


def test_a_spare_that_was_frozen_and_thawed_serves(stage: Stage) -> None:
    program = stage.shim()
    for _ in range(3):
        (spare,) = stage.spares()
        kill(spare, signal.SIGSTOP)
        kill(spare, signal.SIGCONT)

        assert ask(program)["pid"] == spare


def test_a_spare_that_stays_frozen_exceeds_the_deadline_and_the_next_invocation_works(stage: Stage) -> None:
    program = stage.shim()
    (spare,) = stage.spares()
    kill(spare, signal.SIGSTOP)
    started = time.monotonic()
    error = failure(program, timeout=1)

    assert time.monotonic() - started < 1
    assert (type(error), error.signal) == (shim.DeadlineExceeded, "SIGTERM")
    assert state(spare) == "X"
    (next_spare,) = stage.spares()
    assert ask(program)["pid"] == next_spare


def test_a_spare_that_is_frozen_when_it_is_not_wanted_any_more_goes(stage: Stage) -> None:
    program = stage.shim()
    (spare,) = stage.spares()
    kill(spare, signal.SIGSTOP)
    program.close()

    assert state(spare) == "X"


# What it says and where it lives


def test_standard_error_of_a_spares_start_is_in_the_log_of_its_invocation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.log_to(monkeypatch, level="INFO")
    program = stage.shim("write:2:" + hexed("begins\n"), "read-all", "write:2:" + hexed("asked\n"), "describe")
    for count in (1, 2, 3):
        stage.spares()

        assert len(stage.log) == 2 * (count - 1)
        program({}, LambdaContext(request_id=f"id-{count}"))
    records = [json.loads(line) for line in stage.log]

    assert [(record["message"], record["requestId"]) for record in records] == [
        (message, f"id-{count}") for count in (1, 2, 3) for message in ("begins", "asked")
    ]


def test_standard_error_of_a_spares_start_is_in_the_error_of_its_invocation(stage: Stage) -> None:
    program = stage.shim("write:2:" + hexed("begins\n"), "read-all", "write:2:" + hexed("fails\n"), "exit:3")
    stage.spares()

    assert [failure(program).stderr_tail, failure(program).stderr_tail] == ["begins\nfails"] * 2


@pytest.mark.parametrize("spare", [1, 2])
def test_each_child_has_temporary_files_of_its_own(
    spare: int, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are removed after its invocation, and those of the spares when there are no spares any more."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    program = stage.shim(spare=spare, tmp="fresh")
    used = []
    for _ in range(4):
        waiting = set(place.iterdir())
        environment = dict(text.split("=", 1) for text in ask(program)["environment"])
        own = Path(environment["TMPDIR"])
        used.append(own)

        assert own in waiting
        assert len(waiting) == len(set(place.iterdir())) == spare
        assert not own.exists()
    assert len(set(used)) == 4
    for pid in stage.spares(spare):
        kill(pid)
    environment = dict(text.split("=", 1) for text in ask(program)["environment"])
    assert not Path(environment["TMPDIR"]).exists()
    assert len(list(place.iterdir())) == spare
    program.close()
    assert list(place.iterdir()) == []


def test_the_environment_of_a_spare_has_no_invocations_trace_and_its_line_has(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was born with is older than its invocation."""
    both = stage.shim("write:1:" + hexed("["), "describe", "write:1:" + hexed(","), "copy", "write:1:" + hexed("]"))
    for trace in ("Root=1-a-b", "Root=1-c-d", "Root=1-e-f"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
        (spare,) = stage.spares()
        born, line = ask(both)

        assert born["pid"] == spare
        assert [text for text in born["environment"] if text.startswith("_X_AMZN_TRACE_ID=")] == []
        assert line["context"]["trace_id"] == trace


# Nothing of an invocation is left but the next spare


@pytest.mark.parametrize("spare", [1, 2])
@pytest.mark.parametrize("word", ["fork:0", "leave:0"])
def test_what_a_spare_left_behind_is_gone_after_its_invocation_and_the_others_live(
    word: str, spare: int, stage: Stage
) -> None:
    program = stage.shim("read-all", word, "describe", spare=spare, linger_ms=1)
    waiting = stage.spares(spare)
    served = []
    for _ in range(4):
        served.append(ask(program)["pid"])
        now_waiting = stage.spares(spare)

        assert set(waiting) - set(served) <= set(now_waiting)
        waiting = now_waiting
    # Two processes, where it is caught on its way out of the session.
    assert (
        len(re.findall("left [12] process(?: behind, which was|es behind, which were) killed", "\n".join(stage.log)))
        == 4
    )


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("spare", [1, 2])
def test_what_hid_from_us_is_gone_too_where_every_orphan_is_ours(spare: int, stage: Stage) -> None:
    """It has left the session and wiped its environment. A spare that waits is in no invocation, and no orphan is of it."""
    program = stage.shim("read-all", "vanish:0", "describe", spare=spare)
    for _ in range(3):
        ask(program)

        stage.spares(spare)


@pytest.mark.parametrize("word", ["fork:0", "leave:0"])
def test_what_a_spare_has_started_before_its_request_lives_until_its_own_invocation_is_over(
    word: str, stage: Stage
) -> None:
    """Another invocation's end is not its end."""
    program = stage.shim(word, "read-all", "describe", spare=2, linger_ms=1)

    def are_four() -> bool:
        """A process that is being started may come and go under several numbers."""
        found = stage.children()
        return len(found) == 4 and all(stage.children() == found for _ in range(20))

    eventually(are_four)
    before = set(stage.children())
    first = ask(program)["pid"]
    eventually(are_four)
    after = set(stage.children())

    assert first not in after
    assert len(before & after) == 2
    second = ask(program)["pid"]
    assert second in before
    eventually(are_four)
    assert before & set(stage.children()) == set()


def test_several_threads_get_their_own_answers_and_never_a_child_twice(stage: Stage) -> None:
    program = stage.shim("read:1", "describe", "write:1:" + hexed("\n"), "copy", spare=2, output="text")

    def call(number: int) -> tuple[int, int]:
        born, _, line = ask(program, number, timeout=30).partition("\n")
        return json.loads(born)["pid"], json.loads("{" + line)["event"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(call, range(80)))

    assert [event for _, event in answers] == list(range(80))
    assert len({pid for pid, _ in answers}) == 80
    stage.spares(2)
    assert stage.log == []


# They go with the Shim


def test_closing_takes_the_spares_down(stage: Stage) -> None:
    program = stage.shim(spare=3)
    ask(program)
    stage.spares(3)
    program.close()

    assert stage.children() == []
    program.close()
    assert type(failure(program)) is shim.ShimClosed
    assert stage.children() == []


def test_closing_before_the_host_has_dropped_the_context_leaves_nothing(stage: Stage) -> None:
    program = stage.shim()
    context = LambdaContext(timeout=10)
    program({}, context)
    program.close()
    del context

    assert stage.children() == []


def test_closing_while_others_call_leaves_nothing(stage: Stage) -> None:
    for _ in range(20):
        program = stage.shim(spare=2)

        def call_until_closed(program: Shim = program) -> None:
            try:
                while True:
                    ask(program)
            except shim.ShimClosed:
                pass

        threads = [threading.Thread(target=call_until_closed) for _ in range(2)]
        for thread in threads:
            thread.start()
        stage.await_starts(4)
        program.close()
        for thread in threads:
            thread.join()

        assert stage.children() == []


def test_a_shim_that_nobody_has_any_more_leaves_nothing(stage: Stage) -> None:
    program = stage.shim(spare=2)
    ask(program)
    stage.drop()
    del program
    gc.collect()

    assert stage.children() == []


def test_a_shim_that_was_dropped_before_its_last_context_leaves_nothing(stage: Stage) -> None:
    program = stage.shim()
    context = LambdaContext(timeout=10)
    program({}, context)
    stage.drop()
    del program
    del context
    gc.collect()

    assert stage.children() == []


BEGIN = """
import os, sys
from shim import Shim
from shim.local.context import LambdaContext
actor, note = sys.argv[1:]
program = Shim(actor, args=[f"note:{note}", "read-all", "describe"], output="json", spare=2)
context = LambdaContext(timeout=10)
print(program({}, LambdaContext(timeout=10))["pid"], flush=True)
"""


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "program({}, context)",
        "sys.exit(0)",
        "import threading; threading.Thread(target=program, args=[{}]).start()",
    ],
)
def test_the_end_of_the_interpreter_takes_the_spares_down(ending: str, stage: Stage) -> None:
    run_python(BEGIN + ending, stage.actor, str(stage.folder / "started"))

    assert stage.children() == []


def test_the_spares_of_a_process_are_not_those_of_one_that_is_forked(stage: Stage) -> None:
    """It neither uses nor kills them, and starts its own, which go with it."""
    program = """
import json
spares = {child.pid for child in program._runner._spares._waiting}
pid = os.fork()
if pid == 0:
    theirs = [program({}, LambdaContext(timeout=10))["pid"] for _ in range(3)]
    print("forked", *theirs, flush=True)
    sys.exit(len(spares & set(theirs)))
print("used", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print("mine", *spares, flush=True)
print("served", *(program({}, LambdaContext(timeout=10))["pid"] for _ in range(2)))
"""
    words = run_python(BEGIN + program, stage.actor, str(stage.folder / "started"))
    forked = words[words.index("forked") + 1 : words.index("used")]
    mine, served = words[words.index("mine") + 1 : words.index("served")], words[words.index("served") + 1 :]

    assert words[words.index("used") + 1] == "0"
    assert len(set(forked)) == 3
    assert set(mine) == set(served)
    assert set(mine) & set(forked) == set()
    assert stage.children() == []
