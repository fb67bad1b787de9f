"""Callers of a stream that are slow, stall, leave or fail, several at once, and children that were started ahead: always the truth, and nothing is left."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import shim
from shim import Shim
from shim.codecs.line import LAMBDA_LIMIT
from shim.invocation import Invocation
from shim.local.context import LambdaContext
from tests.conftest import descriptors, eventually, processes_of
from tests.real.session import ends
from tests.test_streaming import WIDE, Broken, Caller, Ran, script, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = 4
CALLS = 8
ENDED = 'until grep -q "^State:.Z" /proc/$$/status; do :; done'
"""What waits, in a process that a script of the shell leaves behind, for the script's end."""


@pytest.fixture(autouse=True)
def nothing_is_left(left_behind: Callable[[], list[int]]) -> Iterator[None]:
    """After every test here: no process, no zombie, no descriptor."""
    before = descriptors()
    yield
    assert left_behind() == []
    assert len(descriptors() - before) <= 1  # /proc/loadavg, opened once


def streaming(actor: str, *words: str, **settings: Any) -> Shim:
    """A Shim of the actor, whose reply streams."""
    return Shim(actor, args=list(words), **{"output": "stream", **settings})


def zombies(actor: str) -> list[int]:
    """Children of ours that have ended."""
    return [pid for pid in processes_of(actor) if not Path(f"/proc/{pid}/cmdline").read_bytes()]


# Callers that take nothing


def stalled(program: Shim, timeout: float = 1) -> tuple[shim.DeadlineExceeded, Caller, float]:
    """The error where nobody takes anything, and how long it took."""
    caller = Caller()
    began = time.monotonic()
    with caller.theirs, pytest.raises(shim.DeadlineExceeded) as raised:
        serve(program, caller, timeout=timeout)
    return raised.value, caller, time.monotonic() - began


@pytest.mark.parametrize(("words", "signal"), [([], "SIGTERM"), (["ignore:15"], "SIGKILL")])
def test_at_the_deadline_a_child_whose_caller_takes_nothing_is_stopped(
    words: list[str], signal: str, actor: str
) -> None:
    error, caller, took = stalled(streaming(actor, *words, "fill:1:5000000"))

    assert took < 1
    assert (error.signal, caller.has_begun) == (signal, True)
    assert f"was stopped with {signal} before its caller had taken all that it streamed" in str(error)


@pytest.mark.parametrize("last", ["exit:0", "exit:3", "raise:9"])
def test_a_child_that_has_ended_is_no_success_before_its_caller_has_taken_all(last: str, actor: str) -> None:
    error, caller, took = stalled(streaming(actor, "fill:1:60000", last))

    assert took < 1
    assert (error.signal, caller.has_begun) == (None, True)
    assert "had ended before its caller had taken all that it streamed" in str(error)


def test_a_child_that_hangs_is_not_blamed_on_its_caller(actor: str) -> None:
    ran = Ran(streaming(actor, "fill:1:100000", "sleep:0"), Caller(), timeout=1)

    assert type(ran.error) is shim.DeadlineExceeded
    assert "was still running after" in str(ran.error)
    assert (ran.error.signal, len(ran.received)) == ("SIGTERM", 100_000)


def test_a_caller_that_takes_it_after_all_gets_all_of_it(actor: str, pool: ThreadPoolExecutor) -> None:
    """Some waits in the sink, and the rest in the pipe of a child that has ended."""
    caller = Caller()
    with caller.theirs:
        running = pool.submit(serve, streaming(actor, "fill:1:70000"), caller)
        caller.read(1)
        eventually(lambda: zombies(actor))
        time.sleep(0.2)  # what is tested is a caller that takes nothing for longer than the linger

        assert not running.done()
        assert len(caller.read_all()) == 70_000 - 1
        assert running.result() == b""


# Callers that fail


@pytest.mark.parametrize(
    ("words", "caller"),
    [
        (["write:1:78", "sleep:0"], lambda: Caller(write=1)),
        (["flood:1"], lambda: Caller(WIDE, write=2)),
        (["ignore:15", "flood:1"], lambda: Caller(push=1)),
        (["fork:0", "leave:0", "flood:1"], lambda: Caller(push=3)),
        (["write:1:78", "await:15", "write:1:78", "sleep:0"], lambda: Caller(write=2)),  # while it is stopped
    ],
)
def test_a_child_is_killed_whose_sink_fails(words: list[str], caller: Callable[[], Caller], actor: str) -> None:
    """And all that it started: the fixture looks for that."""
    ran = Ran(streaming(actor, *words), caller(), timeout=2)

    assert type(ran.error) is Broken


@pytest.mark.parametrize("words", [["sleep:0"], ["flood:1"], ["fork:0", "leave:0", "ignore:15", "sleep:0"]])
def test_a_child_is_killed_whose_caller_leaves(words: list[str], actor: str, pool: ThreadPoolExecutor) -> None:
    """At once, though it writes nothing more that could fail."""
    caller = Caller()
    running = pool.submit(serve, streaming(actor, "write:1:78", *words), caller, None, 60)
    caller.read(1)
    caller.theirs.close()
    error = running.exception(timeout=20)

    assert isinstance(error, (Broken, BrokenPipeError, ConnectionResetError))


def test_a_child_is_killed_whose_caller_has_something_to_say(actor: str, pool: ThreadPoolExecutor) -> None:
    """It refuses the rest, and goes on reading."""
    caller = Caller()
    with caller.theirs:
        running = pool.submit(serve, streaming(actor, "write:1:78", "sleep:0"), caller)
        caller.read(1)
        caller.theirs.sendall(b"413")

        assert str(running.exception()) == "hear"


def test_a_sink_may_fail_when_the_child_has_ended(actor: str, pool: ThreadPoolExecutor) -> None:
    caller = Caller(push=1)
    with caller.theirs:
        running = pool.submit(serve, streaming(actor, "fill:1:60000"), caller)
        eventually(lambda: zombies(actor))
        caller.read_all()

    assert type(running.exception()) is Broken


def test_a_sink_may_fail_while_a_process_that_was_left_behind_writes(
    actor: str, gate: Path, pool: ThreadPoolExecutor
) -> None:
    text = f'({ENDED}; cat "$2"; printf late; exec "$1" sleep:0) & printf early'
    caller = Caller(write=2)
    with caller.theirs:
        running = pool.submit(serve, script(text, actor, gate, linger_ms=5000), caller)
        assert caller.read(5) == b"early"
        gate.write_text("")

        assert caller.read_all() == b""
        assert type(running.exception()) is Broken


# What is left behind


def test_what_comes_soon_after_the_childs_end_belongs_to_its_reply() -> None:
    ran = Ran(script(f"({ENDED}; printf late) & printf early", linger_ms=5000), Caller())

    assert (ran.error, ran.received) == (None, b"earlylate")


def test_a_process_that_only_holds_the_output_is_waited_for_a_moment(actor: str) -> None:
    began = time.monotonic()
    ran = Ran(streaming(actor, "write:1:78", "fork:0", "leave:0"), Caller())

    assert (ran.error, ran.received) == (None, b"x")
    assert time.monotonic() - began < 5


def test_what_came_in_time_is_not_lost_on_a_caller_that_takes_it_late(
    gate: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """All of it is in the pipe, and nobody holds that any more, when the linger is over."""
    done = tmp_path / "done"
    text = f'({ENDED}; head -c 20000 /dev/zero; cat "$1"; head -c 30000 /dev/zero; : > "$2") & exit 0'
    caller = Caller()
    with caller.theirs:
        running = pool.submit(serve, script(text, gate, done, linger_ms=400), caller)
        eventually(lambda: caller.is_full)
        gate.write_text("")
        eventually(done.exists)
        time.sleep(0.5)  # what is tested is a caller that takes nothing for longer than the linger

        assert len(caller.read_all()) == 50_000
        assert running.result() == b""


def test_a_process_that_goes_on_writing_is_killed_however_slow_the_caller_is(
    pool: ThreadPoolExecutor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The linger is over when it is over, where the caller takes all as it comes. While it does not, the process is not to blame for what it
    has still to write: then the end is the deadline.
    """
    note = tmp_path / "pid"
    began = time.monotonic()
    kept_up = Ran(script('(while :; do echo y; sleep 0.01; done) & echo $! >"$1"', note), Caller(WIDE), timeout=60)
    took = time.monotonic() - began

    assert kept_up.error is None
    assert set(kept_up.received) <= set(b"y\n")
    assert took < 20
    assert ends(int(note.read_text()), within=2)
    assert "linger_ms" in capfd.readouterr().err

    caller = Caller()
    with caller.theirs:
        running = pool.submit(serve, script('yes & echo $! >"$1"', note), caller, None, 2)
        while caller.theirs.recv(4096):
            time.sleep(0.0005)  # what is tested is a caller that is slower than the program
        error = running.exception()

    assert isinstance(error, shim.DeadlineExceeded)
    assert "had ended before its caller had taken all that it streamed" in str(error)
    assert ends(int(note.read_text()), within=2)


# Children that were started ahead


def test_a_spare_streams_as_every_child(actor: str, tmp_path: Path) -> None:
    note = tmp_path / "started"
    with streaming(actor, f"note:{note}", "serve", spare=1) as program:
        for number in (1, 2, 3):
            eventually(lambda: len(processes_of(actor)) == 1)
            caller = Caller()
            with ThreadPoolExecutor(1) as pool, caller.theirs:
                running = pool.submit(serve, program, caller, {"do": f"fill:1:{number * 100_000}"})

                assert len(caller.read_all()) == number * 100_000
                assert running.result() == b""
            program.prepare()
        eventually(lambda: note.read_text().count(" start\n") == 4)

        assert len(processes_of(actor)) == 1  # no other was started than the spares


def test_who_calls_run_says_when_the_next_spare_is_started(actor: str) -> None:
    with streaming(actor, "serve", spare=1) as program:
        for words in ("fill:1:10", "exit:3"):
            eventually(lambda: len(processes_of(actor)) == 1)
            try:
                program.run(Invocation({"do": words}))
            except shim.ExitError:
                pass

            assert processes_of(actor) == []
            program.prepare()
            eventually(lambda: len(processes_of(actor)) == 1)


def test_a_call_starts_the_next_spare_itself(actor: str) -> None:
    with streaming(actor, "serve", spare=1) as program:
        for words, timeout in (("fill:1:10", None), ("exit:3", None), ("fill:1:10", 10), ("exit:3", 10)):
            eventually(lambda: len(processes_of(actor)) == 1)
            before = processes_of(actor)
            try:
                program({"do": words}, LambdaContext(timeout=timeout) if timeout else None)
            except shim.ExitError:
                pass
            eventually(lambda: processes_of(actor) and processes_of(actor) != before)  # noqa: B023 - it is called here


# Where there is no sink


def test_without_a_sink_the_reply_is_collected(actor: str) -> None:
    program = streaming(actor, "write:1:ff00", "fill:1:100000")

    assert program({}) == program.run(Invocation({})) == b"\xff\0" + b"x" * 100_000


def test_without_a_sink_lambdas_limit_holds(actor: str) -> None:
    fits = streaming(actor, f"fill:1:{LAMBDA_LIMIT}")({})
    with pytest.raises(shim.OutputTooLarge) as raised:
        streaming(actor, f"fill:1:{LAMBDA_LIMIT + 1}")({})

    assert len(fits) == LAMBDA_LIMIT
    assert (raised.value.size, raised.value.limit) == (LAMBDA_LIMIT + 1, LAMBDA_LIMIT)


def test_where_lambdas_limit_is_passed_a_setting_is_no_cure(actor: str) -> None:
    """It is 200 MiB already."""
    with pytest.raises(shim.OutputTooLarge) as raised:
        streaming(actor, "flood:1")({})

    assert "SHIM_MAX_OUTPUT_BYTES" not in str(raised.value)


@pytest.mark.parametrize("is_valid", [True, False])
def test_an_event_of_bytes_reaches_the_child_as_it_is(is_valid: bool, actor: str) -> None:
    event = b'{"a" :1.0,\n"b":"\xc3\xa9"}'
    said = streaming(actor, "copy").run(Invocation(event, is_valid=is_valid))

    assert b'"event":' + event.replace(b"\n", b" ") + b"," in said
    assert json.loads(said)["event"] == {"a": 1, "b": "\xe9"}


def test_an_event_of_bytes_is_looked_at_where_nobody_has_done_so(actor: str) -> None:
    caller = Caller()
    with caller.theirs, pytest.raises(shim.EventInvalid):
        serve(streaming(actor, "copy"), caller, b'1,"context":{}')

    assert not caller.has_begun


# Several, one after the other and at once


def test_several_at_once_get_their_own(actor: str) -> None:
    def call(thread: int) -> list[bool]:
        right = []
        for number in range(CALLS):
            caller, event = Caller(), {"do": "reply:1", "token": f"{thread} {number}" * 3000 * number}
            with ThreadPoolExecutor(1) as pool, caller.theirs:
                running = pool.submit(serve, program, caller, event)
                right.append(json.loads(caller.read_all())["event"] == event and running.result() == b"")
            program.prepare()
        return right

    with streaming(actor, "serve", spare=2) as program, ThreadPoolExecutor(THREADS) as threads:
        assert list(threads.map(call, range(THREADS))) == [[True] * CALLS] * THREADS


def test_whatever_callers_and_children_do_the_next_ones_are_served(actor: str) -> None:
    opened = descriptors()

    class Invocations(RuleBasedStateMachine):
        """One Shim, with and without a spare, and its invocations."""

        def __init__(self) -> None:
            super().__init__()
            self.program = streaming(actor, "serve", spare=1, max_output_bytes=300_000)

        def ran(self, words: str, caller: Caller) -> tuple[bytes, BaseException | None]:
            with ThreadPoolExecutor(1) as pool, caller.theirs:
                running = pool.submit(serve, self.program, caller, {"do": words})
                return caller.read_all(), running.exception()

        @rule(size=st.sampled_from([0, 1, 65_536, 200_000, 300_000]), room=st.sampled_from([4096, WIDE]))
        def all_of_it(self, size: int, room: int) -> None:
            assert self.ran(f"fill:1:{size}", Caller(room)) == (b"x" * size, None)

        @rule(size=st.sampled_from([0, 1, 200_000]), code=st.integers(1, 255))
        def an_error_at_its_end(self, size: int, code: int) -> None:
            received, error = self.ran(f"fill:1:{size} exit:{code}", Caller())

            assert isinstance(error, shim.ExitError)
            assert (error.exit_code, len(received)) == (code, size)

        @rule(words=st.sampled_from(["flood:1", "fill:1:300001 exit:3"]))
        def too_much(self, words: str) -> None:
            received, error = self.ran(words, Caller())

            assert isinstance(error, shim.OutputTooLarge)
            assert len(received) <= 300_000

        @rule(fails=st.sampled_from([{"write": 1}, {"write": 2}, {"push": 1}]))
        def a_sink_that_fails(self, fails: dict[str, int]) -> None:
            assert isinstance(
                self.ran("fork:0 flood:1", Caller(WIDE if "write" in fails else 4096, **fails))[1], Broken
            )

        @rule()
        def prepare(self) -> None:
            self.program.prepare()

        @invariant()
        def nothing_but_a_spare_is_left(self) -> None:
            assert len(processes_of(actor)) <= 1

        def teardown(self) -> None:
            self.program.close()

            assert processes_of(actor) == []
            assert len(descriptors() - opened) <= 1

    run_state_machine_as_test(Invocations, settings=settings(max_examples=15, stateful_step_count=12, deadline=None))
