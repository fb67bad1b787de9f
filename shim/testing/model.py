"""A state machine that anyone can point at a kept executable of their own, or at something of their own that keeps executables as `shim` does.

It needs Hypothesis, /proc, and nothing that only root may.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shim.errors import ExitError, ReportedError
from shim.testing.acting import Acting
from shim.testing.asked import Answer, Asked, hold
from shim.testing.keeping import is_open
from shim.testing.kept_child import Act, Choice, Predicted, State
from shim.testing.processes import status

MARK = "WARM_MODEL"
"""The variable by which the processes of an executable are known."""
LIMITS = ("max_age_ms", "max_rss_bytes")
"""The settings with which a child may be replaced at any time."""
LONGEST_SHOWN = 300
"""Characters of a value in a sentence."""
JSON_OBJECTS: st.SearchStrategy[Any] = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=5,
)


def asks_a_program(machine: Any) -> bool:
    """Whether there is an executable to ask."""
    return machine.executable is not None and is_open(machine)


class WarmModel(Acting):
    """A state machine of Hypothesis that calls something which keeps a child, in any order, and kills, freezes and closes it in between.

    Pointed at an executable, it checks that the program, kept by a `Shim` in mode warm, answers each request with its own answer, fails only where it
    must, and ends when it is told to:

        class Orders(WarmModel):
            executable = "bin/orders"
            settings = {"framing": "envelope"}
            events = st.builds(dict, id=st.integers(), cents=st.integers(0))

            def answer(self, event):
                return {"id": event["id"], "euros": event["cents"] / 100}

        TestOrders = Orders.TestCase

    Pointed at a runner, which is made by `start`, it checks that what keeps children does it as `shim` does: the program is a fake then, which crashes,
    hangs, replies twice, late, half or under a wrong id, and no caller may get what belongs to another. `choices`, `without`, `told` and `overtime`
    are for runners that promise less. A runner writes each request as one line of JSON, in which the event is the member "event"; with framing
    "envelope", "id" stands in front.

        class Keeps(WarmModel):
            start = Keeper                                  # Keeper(path, **settings)(event, context), and close()

        TestKeeper = Keeps.TestCase

    A failure shows the shortest story that leads to it. `TestOrders.settings = hypothesis.settings(…)` sets how much is tried: at first 25 examples
    of 30 steps. A method of the subclass may do more than here; each says what it is for.
    """

    events: st.SearchStrategy[Any] = JSON_OBJECTS
    """What the executable is asked."""
    failing_events: st.SearchStrategy[Any] | None = None
    """What it refuses, if anything: with an error (`failures`)."""
    failures: tuple[type[Exception], ...] = (ExitError, ReportedError)
    """What it may refuse it with."""
    echoes: str | None = None
    """A member of its events that its answers have as well: by that a reply is known to be its own request's."""
    pure: bool = False
    """Whether the same event has the same answer, whatever came before."""

    def __init__(self) -> None:
        super().__init__()
        self._last: Any = {}
        self._answers: dict[str, tuple[Any, Any]] = {}
        """What was asked, and the answer, by the JSON of it."""

    def answer(self, event: Any) -> Any:
        """What the executable must answer to that event; NotImplemented where that isn't known, as here."""
        del event
        return NotImplemented

    def check(self, event: Any, answer: Any) -> None:
        """Holds an answer to what is known of it: `answer`, `echoes` and `pure`. A subclass may check what else it knows.

        Raises:
            AssertionError: it is not the answer to that event.
        """
        shown = f"{_shown(event)} was answered with {_shown(answer)}"
        expected = self.answer(event)
        if expected is not NotImplemented and answer != expected:
            others = [_shown(other) for other, its in self._answers.values() if its == answer and other != event]
            hint = f", which is the answer to an earlier one: {others[-1]}" if others else ""
            raise AssertionError(f"{shown}{hint}, and not with {_shown(expected)}")
        if self.echoes is not None:
            has = isinstance(answer, dict) and self.echoes in answer and answer[self.echoes] == event[self.echoes]
            hold(has, f"{shown}, which has not its {self.echoes!r}")
        before = self._answers.setdefault(json.dumps(event, sort_keys=True), (event, answer))[1]
        hold(not self.pure or before == answer, f"{shown}, and before that with {_shown(before)}")

    @precondition(asks_a_program)
    @rule(event=st.runner().flatmap(lambda machine: machine.events))
    def invokes(self, event: Any) -> None:
        """It is asked what it can answer."""
        self.invoke(event, context="dropped")

    @precondition(asks_a_program)
    @rule(event=st.runner().flatmap(lambda machine: machine.events))
    def invokes_and_keeps_the_context(self, event: Any) -> None:
        """The same, by a host that drops the context later."""
        self.invoke(event, context="kept")

    @precondition(asks_a_program)
    @rule(event=st.runner().flatmap(lambda machine: machine.events))
    def invokes_without_a_deadline(self, event: Any) -> None:
        """The same, without a context."""
        self.invoke(event, context="none")

    @precondition(lambda self: self.failing_events is not None and asks_a_program(self))
    @rule(event=st.runner().flatmap(lambda machine: machine.refused()))
    def refuses(self, event: Any) -> None:
        """It is asked what it can't answer."""
        self.invoke(event, context="dropped", refused=True)

    def refused(self) -> st.SearchStrategy[Any]:
        """What it refuses."""
        return st.nothing() if self.failing_events is None else self.failing_events

    def ways(self) -> st.SearchStrategy[Choice]:
        """A runner of fakes is made in all ways, one of an executable as `settings` say."""
        if self.executable is None:
            return super().ways()
        return st.just(Choice(**{name: self.settings[name] for name in Choice._fields if name in self.settings}))

    def program(self, choice: Choice) -> tuple[str, dict[str, Any]]:
        """The fake, or the executable, with a variable by which its processes are known."""
        if self.executable is None:
            return super().program(choice)
        marked = {**self.settings.get("env", {}), MARK: self.folder.name}
        return self.executable, {"mode": "warm", **self.settings, "env": marked}

    def asks(self) -> st.SearchStrategy[Any]:
        """An act, or an event."""
        return super().asks() if self.executable is None else self.events

    def asking(self, what: Any, context: str, **how: Any) -> Asked:
        """The invocation that tells a fake what to do, or asks the executable."""
        if self.executable is None:
            return super().asking(what, context, **how)
        self._last = what
        act = Act(error="a failure", leaves=State.NONE if self._ends() else State.IDLE) if how.get("refused") else Act()
        asked = Asked(_shown(what), "", what, self.token(), act, self.model.state)
        if asked.was in (State.FRESH, State.IDLE, State.FROZEN) and not self.settings.keys() & set(LIMITS):
            asked.stays = self.processes.leaders_when(bool)
            hold(asked.stays, f"the program has ended by itself, before it was asked {_shown(what)}")
        return asked

    def harmless(self) -> Asked:
        """What the fake would echo, or what the executable was asked last."""
        if self.executable is None:
            return super().harmless()
        return Asked(_shown(self._last), "", self._last, self.token(), Act(), self.model.state)

    def has_begun(self, pid: int) -> bool:
        """Of an executable that isn't known."""
        return self.executable is not None or super().has_begun(pid)

    def compare(self, predicted: Predicted, asked: Asked, answer: Answer) -> None:
        """The reply is this very request's, or the error is one that may come."""
        if self.executable is None:
            super().compare(predicted, asked, answer)
            return
        error, act = answer.error, asked.act
        failed = "" if error is None else f"{asked.story} failed with {type(error).__name__}: {error}"
        if predicted.error is None:
            if error is not None:
                raise AssertionError(failed) from error
            self.check(asked.event, answer.value)
            self._is_the_same(asked)
        elif error is None:
            raise AssertionError(f"{asked.story} was answered with {_shown(answer.value)}, and must be refused")
        elif predicted.error == act.error:
            if not isinstance(error, self.failures):
                raise AssertionError(f"{failed}. It must be refused with one of {self.failures}") from error
            if isinstance(error, ExitError):
                self.model.child = None
        elif self.told(error) not in (predicted.error, None):
            raise AssertionError(f"{failed}. It must fail with {predicted.error}") from error

    def _ends(self) -> bool:
        """Whether a program has ended when it has refused something."""
        return self.model.choice.framing == "line"

    def _is_the_same(self, asked: Asked) -> None:
        """The child that was there is still there: it has done nothing for which it was replaced."""
        if not asked.stays or self.model.state is State.WORN:
            return  # it may have been replaced
        stays = asked.stays
        now = self.processes.leaders_when(lambda pids: pids == stays or not any(map(status, stays)))
        hold(
            now == stays,
            f"after {asked.story} was answered, another process is there ({now}, not {stays}): "
            "shim has replaced the first, and its line in the log says why",
        )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
