"""Whatever a bootstrap does, and whatever is done to it: a response is its own invocation's, an event is delivered once, and nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import shim
from shim.local.context import LambdaContext
from shim.logs import Log
from tests.conftest import descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = int(os.environ.get("BRIDGE_STEPS", "240"))
STEPS_EACH = 20
"""So many steps are one example."""
LIMIT = 50_000
SHORT = 0.4
FAR = 10.0
FOREIGN = b'{"event":{"token":"foreign"}}'.hex()
REPORT = b'{"errorType":"Orders::Bad","errorMessage":"m"}'.hex()


class Act(NamedTuple):
    """What a bootstrap does with one invocation, the error that comes of it, and whether it serves on."""

    words: str
    error: str | None = None
    survives: bool = True


ACTS = {
    "answers": Act("answer"),
    "answers over a new connection each time": Act("hang-up answer hang-up"),
    "answers over another connection": Act("at:2 answer at:0"),
    "does not wait for its answers": Act("head:583a79 answer ask"),
    "answers twice": Act(f"answer post:response:{FOREIGN} post:error:{REPORT}"),
    "answers the one before, and nobody": Act(f"to:last post:response:{FOREIGN} to:no post:response:{FOREIGN} to:this answer"),
    "answers, then the one before": Act(f"answer to:last at:3 post:response:{FOREIGN} hang-up at:0"),
    "asks over two connections": Act("answer ask at:1 ask"),
    "asks, hangs up and asks again": Act("at:6 ask hang-up at:0 answer"),
    "asks for other things": Act("get:/2018-06-01/ping get:/nowhere answer get:/nowhere"),
    "opens many connections": Act("flood:20 answer flood:20"),
    "says what is no HTTP": Act("at:4 send:470d0a0d0a hear hang-up at:0 answer"),
    "reports an error": Act(f"post:error:{REPORT}", "Orders::Bad"),
    "reports an error twice": Act(f"post:error:{REPORT} post:response:{FOREIGN}", "Orders::Bad"),
    "says too much": Act(f"begin:response:{LIMIT + 1} fill:{LIMIT + 1} hear", "OutputTooLarge"),
    "breaks off what it says": Act("at:5 begin:response:9 body:5b hang-up at:0", "ReplyMissing"),
    "answers and ends": Act("answer exit:3", survives=False),
    "answers and is killed": Act("answer raise:9", survives=False),
    "answers, leaves a process and ends": Act("answer fork:60000 exit:0", survives=False),
    "ends": Act("exit:3", "ExitError", survives=False),
    "is killed": Act("raise:11", "SignalError", survives=False),
    "leaves a process and ends": Act("fork:60000 exit:3", "ExitError", survives=False),
    "hangs": Act("sleep:0", "DeadlineExceeded", survives=False),
    "hangs and ignores SIGTERM": Act("ignore:15 sleep:0", "DeadlineExceeded", survives=False),
    "hangs in the middle": Act("begin:response:9 body:5b sleep:0", "DeadlineExceeded", survives=False),
    "answers and asks no more": Act("answer silent", survives=False),
}  # fmt: skip
"""Every act by its name."""

_serial = count(1)


class Stage:
    """Where the bootstrap acts, and what it notes."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = folder / "program"
        self.notes = folder / "notes"
        self.met: Counter[str] = Counter()
        os.link(program, self.program)

    def deliveries(self, token: str) -> int:
        """How often the event with that token was taken."""
        return self.notes.read_text().count(f'"token":"{token}"')


@pytest.fixture
def stage(bootstrap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with open(os.devnull, "wb") as nowhere:
        log = Log(nowhere.fileno())
        monkeypatch.setattr("shim.adapter.function_log", lambda: log)
        made = Stage(bootstrap, tmp_path)
        shim.Shim(str(made.program), mode="bootstrap", args=["serve"]).close()  # what is opened once in a process
        yield made


class Bridge(RuleBasedStateMachine):
    """One Shim, its bootstrap, and what is known of it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.opened = len(descriptors())
        self.before = set(processes_of(str(stage.program)))
        self.pid: int | None = None
        """The bootstrap that is known to serve on; None where another one will."""
        self.is_silent = False
        """Whether the one that is there never asks again."""

    @initialize(max_uses=st.sampled_from([None, None, 1]))
    def opens(self, max_uses: int | None) -> None:
        self.max_uses = max_uses
        self.program = shim.Shim(
            str(self.stage.program),
            mode="bootstrap",
            args=[f"note:{self.stage.notes}", "serve"],
            max_output_bytes=LIMIT,
            max_uses=max_uses,
        )

    @rule(name=st.sampled_from(sorted(ACTS)))
    def invokes(self, name: str) -> None:
        act = ACTS[name]
        self.stage.met[name] += 1
        token = f"t{next(_serial)}"
        error = "DeadlineExceeded" if self.is_silent else act.error
        timeout = SHORT if error == "DeadlineExceeded" else FAR
        told, failed = self.ask({"do": act.words, "token": token}, timeout)

        assert failed == error, name
        if self.is_silent:
            assert self.stage.deliveries(token) == 0
        else:
            assert self.stage.deliveries(token) == 1
        if told is not None:
            assert told["event"]["token"] == token
            assert self.pid in (None, told["pid"])
        was_silent, self.is_silent = self.is_silent, name == "answers and asks no more" and self.max_uses != 1
        if was_silent:
            self.is_silent = False
        survives = act.survives and not was_silent and self.max_uses is None
        self.pid = (told["pid"] if told is not None else self.pid) if survives else None

    @rule()
    def takes_a_large_event(self) -> None:
        if self.is_silent:
            return
        token = f"t{next(_serial)}"
        told, failed = self.ask({"token": token, "do": f"post:response:{b'1'.hex()}", "x": "x" * 3_000_000}, FAR)

        assert (told, failed) == (1, None)
        assert self.stage.deliveries(token) == 1
        self.pid = self.pid if self.max_uses is None else None

    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]), waits=st.booleans())
    def is_killed_meanwhile(self, number: signal.Signals, waits: bool) -> None:
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, number)
        if waits:
            eventually(lambda: has_ended(pid))
            self.pid = None
            return
        token = f"t{next(_serial)}"
        told, failed = self.ask({"token": token}, FAR)
        self.pid = None
        if failed is None:
            assert (told["event"]["token"], told["pid"] != pid) == (token, True)
            assert self.stage.deliveries(token) == 1
        else:
            assert failed in ("SignalError", "ExitError", "ReplyMissing")
            assert self.stage.deliveries(token) <= 1

    @rule()
    def is_frozen_and_thawed(self) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGSTOP)
            os.kill(self.pid, signal.SIGCONT)

    @rule()
    def is_dismissed(self) -> None:
        """As before a snapshot."""
        self.program._runner.dismiss()  # noqa: SLF001 - what a snapshot's hook calls
        self.pid, self.is_silent = None, False

        assert set(processes_of(str(self.stage.program))) == self.before

    @invariant()
    def there_is_one_at_the_most(self) -> None:
        if self.pid is not None:
            assert not has_ended(self.pid)

    def ask(self, event: object, timeout: float) -> tuple[Any, str | None]:
        """The answer, and the name of the error."""
        context = LambdaContext(timeout=timeout)
        try:
            told = self.program(event, context)
        except shim.ShimError as error:
            assert context.get_remaining_time_in_millis() > 0
            return None, type(error).__name__
        return told, None

    def teardown(self) -> None:
        if hasattr(self, "program"):
            self.program.close()
            assert set(processes_of(str(self.stage.program))) == self.before
            assert len(descriptors()) <= self.opened + 1  # /proc/loadavg, opened once


def has_ended(pid: int) -> bool:
    """Whether it is a zombie, or is no more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_after_every_act_the_next_invocation_is_answered(stage: Stage) -> None:
    for max_uses in (None, 1):
        machine = Bridge(stage)
        machine.opens(max_uses)
        for name in ACTS:
            machine.invokes(name)
            machine.takes_a_large_event()
            machine.invokes("answers" if name != "answers and asks no more" else "hangs")
        machine.teardown()


def test_whatever_happens_a_response_is_its_own_invocations(stage: Stage) -> None:
    run_state_machine_as_test(
        lambda: Bridge(stage),  # type: ignore[arg-type] # it takes what makes one, too
        settings=settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            derandomize=True,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    sys.stdout.write("".join(f"{number:7}  {name}\n" for name, number in sorted(stage.met.items())))
