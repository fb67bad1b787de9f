"""The public state machine: good programs and runners pass, and each fault is found, in a story that shows it."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.errors import FlakyFailure, FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test

from shim.adapter import Shim
from shim.testing import FakeExecutable, WarmModel, echoes, exits, sleeps, writes
from shim.testing.acting import WRITES_LATE
from shim.testing.kept_child import ACTS, Choice
from shim.testing.processes import Marked
from tests.real import components
from tests.real.programs import PROGRAMS, compile_crystal_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shim.testing import Behaviour

FEW: dict[str, Any] = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}


def holds(machine: type[WarmModel], *, examples: int = 4, steps: int = 12) -> None:
    """It finds nothing."""
    how = settings(max_examples=examples, stateful_step_count=steps, phases=[Phase.generate], **FEW)
    run_state_machine_as_test(machine, settings=how)


class Told(WarmModel):
    """A machine that is bound to find something, in a short time."""

    short = 0.3


def story(machine: type[WarmModel], *, examples: int = 50, steps: int = 8) -> str:
    """What it says of a fault, which it must find, and the shortest story that leads to it."""
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        **FEW,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", 4)  # there is no setting for it
        with pytest.raises((AssertionError, FlakyFailure)) as found:
            _searched(machine, how)
    failures = found.value.exceptions if isinstance(found.value, FlakyFailure) else [found.value]
    return "\n".join(line for error in failures for line in (str(error), *getattr(error, "__notes__", [])))


def _searched(machine: type[WarmModel], how: settings) -> None:
    """Hypothesis takes a race of processes for a strategy that is none, now and then: then it searches again."""
    for _ in range(2):
        with suppress(FlakyStrategyDefinition):
            return run_state_machine_as_test(machine, settings=how)
    return run_state_machine_as_test(machine, settings=how)


def steps_of(story: str) -> list[str]:
    """The names of its rules, without those at the beginning and the end."""
    return [name for name in re.findall(r"state\.(\w+)\(", story) if name not in ("begins", "teardown")]


class Naive:
    """What keeps a child as many do: it writes a line, and takes the next line that comes for the answer.

    Args:
        executable: the program.
        settings: what it takes no heed of.
    """

    def __init__(self, executable: str, **settings: Any) -> None:  # noqa: ARG002 - which is one of its faults
        self._executable = executable
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._child = subprocess.Popen([self._executable], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._rest = b""

    def __call__(self, event: Any, context: Any) -> Any:
        if self._closed:
            raise ValueError("it is closed")
        if self._child.poll() is not None:
            self._end()
            self._start()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"event": event}, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        while b"\n" not in self._rest:
            left = None if context is None else context.get_remaining_time_in_millis() / 1000
            if not select.select([self._child.stdout], [], [], left)[0]:
                raise TimeoutError("no answer in time")
            more = os.read(self._child.stdout.fileno(), 65_536)
            if not more:
                raise EOFError("it has ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()

    def close(self) -> None:
        self._closed = True
        self._end()


class Draining(Naive):
    """The same, and what came before it asks it throws away."""

    def __call__(self, event: Any, context: Any) -> Any:
        stdout = self._child.stdout
        while stdout is not None and not stdout.closed and select.select([stdout], [], [], 0)[0]:
            if not os.read(stdout.fileno(), 65_536):
                self._child.wait()
                break
        self._rest = b""
        return super().__call__(event, context)


class Keeps(WarmModel):
    """Something that keeps children by lines, has no limit of what it reads, and needs a moment more than there is."""

    choices = st.just(Choice("line"))
    without: tuple[str, ...] = ("writes too much",)
    overtime = 0.3
    short = 0.2
    far = 2.0


class KeepsNaively(Keeps):
    start = Naive


class Drains(Keeps):
    start = Draining
    without = (
        WRITES_LATE,
        *(name for name in ACTS if name not in ("echoes", "exits", "replies and exits", "replies too late")),
    )


def test_a_naive_runner_gives_the_next_caller_what_was_left_over() -> None:
    found = story(KeepsNaively)

    assert re.search(r"was answered with (what belongs to another|.*foreign)", found), found
    assert len(steps_of(found)) <= 3, found


def test_one_that_drains_is_found_where_an_answer_comes_after_its_time() -> None:
    found = story(Drains)

    assert "was answered with what belongs to another: t" in found, found
    assert "does='replies too late'" in found, found
    assert len(steps_of(found)) <= 3, found


class Fakes(WarmModel):
    """A Shim that keeps fakes."""

    settings: ClassVar[Mapping[str, Any]] = {"grace_ms": 20}


def test_a_shim_keeps_children_well() -> None:
    holds(Fakes)


def program(tmp_path: Path, fake: FakeExecutable) -> str:
    return str(fake.write_to(tmp_path / "program"))


def script(path: Path, source: str) -> str:
    path.write_text(f"#!{sys.executable} -IS\nimport json, sys\n{source}")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("framing", ["line", "envelope"])
def test_an_executable_that_echoes_passes(tmp_path: Path, framing: str) -> None:
    class Echoes(WarmModel):
        executable = program(tmp_path, FakeExecutable.warm(echoes(), framing=framing, reply_fd=3))
        settings: ClassVar[Mapping[str, Any]] = {"framing": framing, "reply_fd": 3, "max_uses": 3}
        pure = True

        def answer(self, event: Any) -> Any:
            return event

    holds(Echoes, examples=8, steps=20)


WRAPPED = """#!/bin/sh
n=${1:-0}
[ "$n" -ge 30 ] || exec env sh "$0" $((n + 1))
exec "$0.py"
"""


def test_one_that_becomes_itself_by_many_execs_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, frozen and killed in between. Each second look at it finds nothing, as one may in the middle of an exec."""
    script(tmp_path / "program.py", "for line in sys.stdin: print(json.dumps(json.loads(line)['event']), flush=True)")
    wrapper = Path(script(tmp_path / "program", ""))
    wrapper.write_text(WRAPPED)
    leaders, looks = Marked.leaders, count()
    monkeypatch.setattr(Marked, "leaders", lambda marked: leaders(marked) if next(looks) % 2 else [])

    class Wrapped(WarmModel):
        executable = str(wrapper)
        pure = True

        def answer(self, event: Any) -> Any:
            return event

    holds(Wrapped)


class Held(Shim):
    """It is held up a little, as on a busy machine."""

    def __call__(self, event: Any, context: Any = None) -> Any:
        try:
            return super().__call__(event, context)
        finally:
            time.sleep(0.1)


class Busy(WarmModel):
    start = Held


class Strict(Busy):
    overtime = 0.0


def asks_too_late(machine: WarmModel) -> None:
    try:
        machine.opens(Choice())
        machine.comes_too_late(context="dropped")
    finally:
        machine.teardown()


def test_a_runner_that_is_held_up_needs_overtime() -> None:
    asks_too_late(Busy())
    with pytest.raises(AssertionError, match=r"and had 0\.09 s, and 0\.0 s of overtime"):
        asks_too_late(Strict())


def test_one_that_dies_on_its_fifth_request_is_found(tmp_path: Path) -> None:
    class Dies(Told):
        executable = program(tmp_path, FakeExecutable.warm(echoes(), on={5: [exits(3)]}))

    found = story(Dies, steps=20)

    assert "failed with ExitError" in found, found
    assert len(steps_of(found)) >= 5, found


def test_one_that_ends_after_its_second_answer_is_found(tmp_path: Path) -> None:
    class Ends(Told):
        executable = program(tmp_path, FakeExecutable.warm(echoes(), on={2: [echoes(), exits(0)]}))

    found = story(Ends, steps=20)

    assert re.search("has ended by itself|another process is there|is no longer", found), found


@pytest.mark.parametrize(
    "twice", [[echoes(then=b"{}\n")], [echoes(), sleeps(0.02), writes("{}\n")]], ids=["at once", "later"]
)
def test_one_that_answers_twice_is_found(tmp_path: Path, twice: list[Behaviour]) -> None:
    class Answers(Told):
        executable = program(tmp_path, FakeExecutable.warm(*twice))

    found = story(Answers)

    assert re.search("ReplyUnexpected|another process is there", found), found


REMEMBERS = """
last = None
for line in sys.stdin:
    event = json.loads(line)["event"]
    last = event if last is None or event.get("number", 0) < 3 else last
    print(json.dumps(last), flush=True)
"""
NUMBERS = st.fixed_dictionaries({"number": st.integers(0, 9)})


class Remembers(Told):
    """It answers from the fourth number on as it has answered the last time."""

    events = NUMBERS


def test_one_that_remembers_is_found_by_its_answers(tmp_path: Path) -> None:
    class Answers(Remembers):
        executable = script(tmp_path / "program", REMEMBERS)

        def answer(self, event: Any) -> Any:
            return event

    found = story(Answers)

    assert re.search(r"which is the answer to an earlier one: \{\"number\": \d\}, and not with", found), found


def test_one_that_remembers_is_found_by_what_it_echoes(tmp_path: Path) -> None:
    class Echoes(Remembers):
        executable = script(tmp_path / "program", REMEMBERS)
        echoes = "number"

    found = story(Echoes)

    assert "which has not its 'number'" in found, found


def test_one_that_remembers_is_found_where_the_same_event_must_have_the_same_answer(tmp_path: Path) -> None:
    class Pure(Remembers):
        executable = script(tmp_path / "program", REMEMBERS)
        pure = True

    found = story(Pure)

    assert ", and before that with " in found, found


PICKY = """
for line in sys.stdin:
    event = json.loads(line)["event"]
    if event.get("number", 0) < 0:
        sys.exit("too small")
    print(json.dumps(event), flush=True)
"""


def test_what_it_must_refuse_it_refuses(tmp_path: Path) -> None:
    class Picky(WarmModel):
        executable = script(tmp_path / "program", PICKY)
        events = NUMBERS
        failing_events = st.fixed_dictionaries({"number": st.integers(-9, -1)})
        echoes = "number"

    class Lenient(Picky):
        executable = str(FakeExecutable.warm(echoes()).write_to(tmp_path / "lenient"))

    holds(Picky)
    found = story(Lenient)

    assert '{"number": -1} was answered with {"number": -1}, and must be refused' in found, found
    assert steps_of(found)[-1] == "refuses", found


def test_node_apex_passes(tmp_path: Path) -> None:
    assert components.node()
    main = PROGRAMS / "node-apex" / "main.js"

    class Counts(WarmModel):
        executable = str(main)
        settings: ClassVar[Mapping[str, Any]] = {"framing": "envelope", "context_keys": "camel"}
        events = st.builds(
            lambda words: {"text": " ".join(words)},
            st.lists(st.sampled_from(["tea", "für", "😀"]), min_size=1, max_size=20),
        )
        failing_events = st.sampled_from([{"text": ""}, {"text": "x" * 1001}, {"text": 5}])

        def check(self, event: Any, answer: Any) -> None:
            words = event["text"].split()

            assert (answer["words"], answer["longest"]) == (
                len(words),
                max(words, key=lambda word: len(word.encode("utf-16-le"))),
            )

    holds(Counts, examples=3, steps=10)


def test_crystal_lines_passes() -> None:
    class Orders(WarmModel):
        executable = str(compile_crystal_lines())
        settings: ClassVar[Mapping[str, Any]] = {"ready": True}
        events = st.builds(
            lambda number, quantity: {
                "id": f"o-{number}",
                "lines": [{"item": "tea", "quantity": quantity, "cents": 350}],
            },
            st.integers(0, 99),
            st.integers(-1, 9),
        )
        failing_events = st.just({"id": "o-1"})

        def check(self, event: Any, answer: Any) -> None:
            assert answer["order"] == event["id"]
            assert ("error" in answer) == (event["lines"][0]["quantity"] < 1)

    holds(Orders, examples=3, steps=10)
