"""Whatever a kept child does, and whatever is done to it: a reply is its own request's, an error the predicted one, and nothing is left.

The machine is the public one, pointed at a Shim. What is added here knows how `shim` does it: when it starts a child, what it logs, what it keeps
open; and counts what was met.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

import shim
from shim.children.parent import Parent
from shim.logs import Log
from shim.testing.behaviours import Behaviour, fails_where
from shim.testing.kept_child import (
    ACTS,
    BROKEN,
    FAILING,
    LEAVING,
    OVERDUE,
    SUCCEEDING,
    Choice,
    Predicted,
    State,
    names,
)
from shim.testing.model import WarmModel
from shim.testing.processes import status
from tests.conftest import descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shim.testing.asked import Answer, Asked
    from shim.testing.keeping import Runner

STEPS = int(os.environ.get("WARM_STEPS", "240"))
MANY = 5000
"""So many steps, with a tour, must have met everything."""
STEPS_EACH = 20
"""So many steps are one example."""
OPEN = [state for state in State if state is not State.CLOSED]
POSSIBLE = {
    *((before, after) for before in OPEN for after in OPEN if after not in (State.FRESH, State.FROZEN)),
    *((state, state) for state in State),  # an invocation that asks nobody; a second close
    *((before, State.FRESH) for before in OPEN if before not in (State.IDLE, State.FROZEN)),  # the work afterwards
    (State.FROZEN, State.FRESH),  # continued
    (State.FRESH, State.FROZEN),
    (State.IDLE, State.FROZEN),
    *((state, State.CLOSED) for state in OPEN),
    (State.CLOSED, State.FRESH),
    (State.CLOSED, State.DEAD),
}
"""Every transition that there is."""
RULES = [
    "opens", "invokes", "replies_and_writes_while_the_next_one_waits", "comes_too_late", "is_no_event", "drops_a_context",
    "collects_contexts", "works_at_once", "kills_it", "freezes_it", "continues_it", "changes_the_program", "closes",
    "meanwhile nothing", "meanwhile continue", "meanwhile kill", "meanwhile leave",
]  # fmt: skip


class Stage:
    """What all machines of a test share: the number of kept children that were started, and the log, which is a file in memory."""

    def __init__(self, descriptor: int) -> None:
        self.starts = 0
        self._log = descriptor

    def take_log(self) -> bytes:
        """What was logged since it was last taken."""
        logged = os.pread(self._log, os.fstat(self._log).st_size, 0)
        os.ftruncate(self._log, 0)
        os.lseek(self._log, 0, os.SEEK_SET)
        return logged


@pytest.fixture
def stage(actor: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    descriptor = os.memfd_create("log")
    log = Log(descriptor)
    monkeypatch.setattr("shim.adapter.function_log", lambda: log)
    made = Stage(descriptor)
    start = Parent.start

    def counting(self: Parent, child: Any, *arguments: Any) -> None:
        made.starts += child.kept
        start(self, child, *arguments)

    monkeypatch.setattr(Parent, "start", counting)
    shim.Shim(actor, mode="warm", args=["serve"]).close()  # what is opened once in a process
    yield made
    os.close(descriptor)


class Fired:
    """How often each rule, each act and each transition was met."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.acts: Counter[str] = Counter(dict.fromkeys(ACTS, 0))
        self.transitions: Counter[tuple[State, State]] = Counter(dict.fromkeys(POSSIBLE, 0))

    def __str__(self) -> str:
        rules = [f"{number:7}  {name}" for name, number in sorted(self.rules.items())]
        acts = [f"{number:7}  {name}" for name, number in sorted(self.acts.items())]
        head = f"{'':8}" + "".join(f"{after:>8}" for after in State)
        rows = [
            f"{before:8}" + "".join(f"{self.transitions.get((before, after), '·'):>8}" for after in State)
            for before in State
        ]
        return "\n".join(
            ["rules", *rules, "acts in an invocation", *acts, "transitions, from row to column", head, *rows]
        )

    def missing(self) -> list[object]:
        """What was not met, and what should not have been."""
        unmet: list[object] = [
            what
            for counted in (self.rules, self.acts, self.transitions)
            for what, number in counted.items()
            if not number
        ]
        return unmet + sorted(self.transitions.keys() - POSSIBLE) + sorted(self.rules.keys() - set(RULES))


class Warm(WarmModel):
    """A Shim in mode warm, of which is known when it starts a child, what it says in the log and what it keeps open."""

    overtime = 0.0  # a Shim keeps back what it needs

    def __init__(self, stage: Stage, fired: Fired) -> None:
        super().__init__()
        self.stage = stage
        self.fired = fired
        self.switch = Path(self.path("broken"))
        self.before = descriptors()
        self.fake = ""
        self.uses = 0
        """How much the child had been asked that was there when the last invocation began."""

    @rule(broken=st.sampled_from([False, False, False, False, True]))
    def changes_the_program(self, broken: bool) -> None:
        """From now on it ends at its start, or does so no more."""
        with self.step("changes_the_program"):
            self.model.broken = broken
            if broken:
                if self.model.lives:
                    self.living()  # it has seen the switch as it was
                self.switch.touch()
            else:
                self.switch.unlink(missing_ok=True)

    def begins_with(self, choice: Choice) -> list[Behaviour]:
        return [fails_where(str(self.switch), BROKEN), *super().begins_with(choice)]

    def start(self, executable: str, **how: Any) -> Runner:
        self.fake = executable
        self.stage.starts = 0
        try:
            return super().start(executable, **how)
        except shim.ShimError:
            self.stage.starts = 0
            raise

    def moved(self, name: str, before: State, after: State) -> None:
        self.fired.rules[name] += 1
        self.fired.transitions[before, after] += 1

    def invoke(self, what: str, *, context: str = "kept", meanwhile: str = "nothing", **how: Any) -> None:
        self.fired.acts[what] += 1
        super().invoke(what, context=context, meanwhile=meanwhile, **how)

    def asking(self, what: str, context: str, **how: Any) -> Asked:
        self.uses = self.model.child.uses if self.model.child is not None else 0
        return super().asking(what, context, **how)

    def ask(self, asked: Asked) -> Answer:
        self.fired.rules[f"meanwhile {asked.meanwhile}"] += 1
        self.stage.take_log()
        return super().ask(asked)

    def compare(self, predicted: Predicted, asked: Asked, answer: Answer) -> None:
        log = self.stage.take_log()
        super().compare(predicted, asked, answer)

        assert self.told(answer.error) == predicted.error if answer.error is not None else predicted.error is None
        if predicted.error is None and asked.name == "logs":
            assert log.count(f"log of {asked.token}\n".encode()) == (1 if self.model.choice.framing == "line" else 3)
        if predicted.error is None and asked.act.whole_line:
            assert answer.value["context"]["aws_request_id"] in (asked.token, None)
        if predicted.error is None and asked.was in (State.FRESH, State.IDLE) and asked.timeout is not None:
            assert b"shim: " not in log
        if asked.was in (State.DEAD, State.DIRTY, State.UNREAD) and self.uses:
            assert b"shim: " in log

    def is_too_late(self, asked: Asked, answer: Answer) -> None:  # noqa: ARG002 - as it is there
        assert isinstance(answer.error, shim.DeadlineExceeded)
        assert "less than 100 ms" in str(answer.error)

    def look_around(self) -> None:
        """Its processes are those of the model, and so is what is open."""
        super().look_around()
        pids = processes_of(self.fake)

        assert len(pids) == (self.model.child is not None), list(map(status, pids))
        if self.model.child is None:
            assert descriptors() == self.before
        elif self.model.child.dead:
            eventually(lambda: status(pids[0]) == "Z")
        assert self.model.closed or self.stage.starts == self.model.starts

    def teardown(self) -> None:
        super().teardown()

        assert processes_of(self.fake) == []
        assert descriptors() == self.before


REACHING: dict[State, list[str]] = {
    State.CLOSED: ["closes"],
    State.NONE: ["echoes", "kills_it", "exits"],
    State.FRESH: [],
    State.IDLE: ["echoes"],
    State.WORN: ["echoes"],
    State.FROZEN: ["freezes_it"],
    State.DIRTY: ["replies, then writes"],
    State.UNREAD: ["replies early"],
    State.DEAD: ["echoes", "kills_it"],
}
"""How a new Shim comes to be in that state."""
LEADING = {**REACHING, State.NONE: ["exits"], State.FRESH: ["drops_a_context"], State.DEAD: ["replies and exits"]}
"""How it comes to be in that state from most others."""
PATHS: dict[tuple[State, State], tuple[int | None, list[str]]] = {
    **{(before, after): (None, REACHING[before] + LEADING[after]) for before, after in POSSIBLE},
    **{(before, State.FRESH): (1, [*REACHING[before], "drops_a_context"]) for before in State},
    **{(before, State.WORN): (1, [*REACHING[before], "echoes"]) for before in State},
    **{(State.WORN, after): (2, ["echoes", "echoes", *LEADING[after]]) for after in State},
    (State.IDLE, State.WORN): (2, ["echoes", "echoes"]),
    (State.NONE, State.FRESH): (None, ["exits"]),
    (State.WORN, State.FRESH): (1, ["echoes", "drops_a_context"]),
    (State.WORN, State.WORN): (1, ["echoes", "echoes"]),
    (State.FROZEN, State.FRESH): (None, ["freezes_it", "continues_it"]),
    (State.FROZEN, State.FROZEN): (None, ["freezes_it", "comes_too_late"]),
    (State.FRESH, State.FRESH): (None, ["comes_too_late"]),
    (State.CLOSED, State.FRESH): (None, ["closes", "opens"]),
    (State.CLOSED, State.DEAD): (None, ["closes", "breaks", "opens"]),
}
"""How each transition is met: `max_uses`, and the steps, the last of which is it."""


def follow(machine: Warm, choice: Choice, steps: list[str]) -> None:
    """Takes a machine through those steps."""
    doing: dict[str, Callable[[], None]] = {
        "opens": lambda: machine.opens(choice),
        "breaks": lambda: machine.changes_the_program(broken=True),
        "closes": machine.closes,
        "comes_too_late": lambda: machine.comes_too_late(context="kept"),
        "drops_a_context": lambda: machine.drop(0),
        "kills_it": machine.kills_it,
        "freezes_it": machine.freezes_it,
        "continues_it": machine.continues_it,
        "collects_contexts": machine.collects_contexts,
        "is_no_event": machine.is_no_event,
        "writes while the next one waits": lambda: machine.replies_and_writes_while_the_next_one_waits(late=30),
        "is left frozen": lambda: machine.invoke("echoes", meanwhile="leave"),
        "is killed unread": lambda: machine.invoke("echoes", meanwhile="kill"),
    }
    try:
        for step in ["opens", *steps]:
            if step in doing:
                doing[step]()
            else:
                machine.invoke(step, size=10_000)
    finally:
        machine.teardown()


def tour(stage: Stage, fired: Fired) -> None:
    """Every act after each way to make a Shim, and every transition, each by a way of its own."""
    done: set[str] = set()
    for framing, reply_fd in (("line", 1), ("envelope", 3), ("line", 3), ("envelope", 1)):
        choice = Choice(framing, reply_fd, None, ready=reply_fd == 3)
        for kind in (SUCCEEDING, FAILING, LEAVING, OVERDUE):
            for name in names(kind, framing):
                if kind is not OVERDUE or name not in done:  # each takes half a second
                    follow(
                        Warm(stage, fired), choice, [name, "echoes", name] if kind is not OVERDUE else [name, "echoes"]
                    )
                done.add(name)
        follow(
            Warm(stage, fired),
            choice,
            ["is_no_event", "echoes", "freezes_it", "is killed unread", "collects_contexts", "closes"],
        )
    follow(
        Warm(stage, fired), Choice("line", 1, None, ready=False), ["echoes", "freezes_it", "is left frozen", "echoes"]
    )
    for number, transition in enumerate(sorted(POSSIBLE)):
        max_uses, steps = PATHS[transition]
        choice = Choice("envelope" if number % 2 else "line", 3 if number % 3 else 1, max_uses, ready=number % 5 == 0)
        met = fired.transitions[transition]
        follow(Warm(stage, fired), choice, steps)

        assert fired.transitions[transition] > met, transition
    for framing in ("line", "envelope"):
        follow(Warm(stage, fired), Choice(framing, 1, None, ready=False), ["writes while the next one waits"])


def test_every_act_and_every_transition_leads_where_the_model_says(stage: Stage) -> None:
    fired = Fired()
    tour(stage, fired)
    sys.stdout.write(f"{fired}\n")

    assert fired.missing() == []


def test_whatever_happens_it_is_what_the_model_says(stage: Stage) -> None:
    fired = Fired()
    run_state_machine_as_test(
        lambda: Warm(stage, fired),  # type: ignore[arg-type] # it takes what makes one, too
        settings=settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            derandomize=True,
            phases=[Phase.generate],  # what fails after hundreds of starts takes an hour to shrink
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    sys.stdout.write(f"{fired}\n")

    assert sum(fired.rules.values()) >= STEPS
    if STEPS >= MANY:
        assert not [name for counted in (fired.rules, fired.acts) for name, number in counted.items() if not number]
        tour(stage, fired)  # chance may miss a transition that takes three rare steps in a row

        assert fired.missing() == []
