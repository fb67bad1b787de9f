"""What a fake is asked that does what each event says: so what must come of it is known, whatever keeps it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shim.testing import kept_child
from shim.testing.asked import Answer, Asked, hold
from shim.testing.behaviours import echoes, notes, obeys, sleeps, writes
from shim.testing.executables import FakeExecutable
from shim.testing.invoking import LambdaContext
from shim.testing.keeping import CONTEXTS, Keeping, is_frozen, is_open
from shim.testing.kept_child import FAILING, LARGE, LEAVING, LIMIT, OVERDUE, SUCCEEDING, Act, Choice, Predicted, State
from shim.testing.processes import ENDED, eventually, status

if TYPE_CHECKING:
    from collections.abc import Collection

    from shim.testing.behaviours import Behaviour

SIZES = st.sampled_from([10, 1000, 4000, 5000, 60_000, 70_000, 100_000]) | st.integers(10, 100_000)
"""The letters that an event has besides: few, and more than pages, pipes and chunks take."""
CODES = st.sampled_from([3, 1, 42, 255])
SIGNALS = st.sampled_from(["SIGKILL", "SIGTERM", "SIGUSR1"])
WRITES_LATE = "replies, and writes while the next one waits"
"""The act of the rule that is called so."""
READY = '{"ok":true}\n'


class Notes:
    """What the fakes noted: who was started, and which requests were acted on, by whom."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._read = 0
        self.started: set[int] = set()
        self.begun: Counter[str] = Counter()
        """How often each request was acted on."""
        self.server: dict[str, int] = {}
        """The process that acted on it."""
        self.ended: set[str] = set()

    def look(self) -> None:
        """Takes what was noted since the last look."""
        if not Path(self.path).exists():
            return
        with Path(self.path).open() as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            pid, what, *token = line.split()
            if what == "start":
                self.started.add(int(pid))
            elif what == "begin":
                self.begun[token[0]] += 1
                self.server[token[0]] = int(pid)
            else:
                self.ended.add(token[0])

    def has_started(self, pid: int) -> bool:
        """Whether that process has come as far as to its first request."""
        self.look()
        return pid in self.started

    def has_done(self, token: str) -> bool:
        """Whether all was done that the request said."""
        self.look()
        return token in self.ended


def asks_a_fake(machine: Any) -> bool:
    """Whether there is a fake to ask."""
    return machine.executable is None and is_open(machine)


def some(kind: list[str]) -> st.SearchStrategy[str]:
    """One of the acts of that kind, of which the runner promises something."""
    return st.runner().flatmap(lambda machine: st.sampled_from(machine.names(kind)))


class Acting(Keeping):
    """A runner that keeps fakes."""

    without: Collection[str] = ()
    """The names of acts of which the runner promises nothing: of `ACTS` in `shim.testing.kept_child`, or `WRITES_LATE`."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = Notes(self.path("notes"))
        self.stories: dict[str, str] = {}
        """What was asked, by its token."""

    @precondition(asks_a_fake)
    @rule(does=some(SUCCEEDING), size=SIZES, context=CONTEXTS)
    def succeeds(self, does: str, size: int, context: str) -> None:
        """The child replies, and is well."""
        self.invoke(does, size=size, context=context)

    @precondition(asks_a_fake)
    @rule(does=some(FAILING), size=SIZES, context=CONTEXTS, code=CODES, killed_by=SIGNALS)
    def fails(self, does: str, size: int, context: str, code: int, killed_by: str) -> None:
        """The child does not reply as it must."""
        self.invoke(does, size=size, context=context, code=code, killed_by=killed_by)

    @precondition(asks_a_fake)
    @rule(does=some(LEAVING), size=SIZES, code=CODES, killed_by=SIGNALS)
    def leaves_something(self, does: str, size: int, code: int, killed_by: str) -> None:
        """The child replies, and then is not fit to be asked again."""
        self.invoke(does, size=size, code=code, killed_by=killed_by)

    @precondition(asks_a_fake)
    @rule(does=some(OVERDUE), size=SIZES, context=st.sampled_from(["dropped", "kept"]))
    def is_overdue(self, does: str, size: int, context: str) -> None:
        """The child takes all the time that there is."""
        self.invoke(does, size=size, context=context)

    @precondition(lambda self: asks_a_fake(self) and not is_frozen(self) and WRITES_LATE not in self.without)
    @rule(late=st.integers(30, 60))
    def replies_and_writes_while_the_next_one_waits(self, late: int) -> None:
        """The bytes come when the next request was sent, and the child has read nothing of it.

        Args:
            late: so many milliseconds after the reply.
        """
        name = "replies_and_writes_while_the_next_one_waits"
        token = self.token()
        whose = self.envelope_id(token, "kept")
        foreign = json.dumps("foreign" if self.model.choice.framing == "line" else {"id": whose, "value": "foreign"})
        does = (echoes(), sleeps(late / 1000), writes(foreign + "\n"), sleeps(0.02))
        first = self._asked(WRITES_LATE, token, Act(does, leaves=State.DIRTY))
        with self.step(name, looks=False):
            predicted = self.model.ask(first.act, "kill")
            answer = self.ask(first)
            self.compare(predicted, first, answer)
        if predicted.error is not None:
            return
        second = self._asked("echoes", self.token(), Act((echoes(),)))
        with self.step(name):
            answer = self.ask(second)
            if answer.error is not None and self.told(answer.error) == "ReplyUnexpected":
                self.model.started = False
                self.model.child = None
            else:  # what it wrote was found before, or a new one was asked
                self.compare(self.model.ask(second.act, "kill"), second, answer)
            if answer.error is None:
                self.contexts[-1] = (self.contexts[-1][0], self.model if self.model.has_work else None)

    @precondition(asks_a_fake)
    @rule()
    def is_no_event(self) -> None:
        """What JSON can't hold is refused, and nothing is asked of anybody."""
        with self.step("is_no_event"):
            self.asked += 1
            asked = replace(self.harmless(), event={"number": math.nan})
            error = self.call(asked, LambdaContext(timeout=self.far)).error
            hold(error is not None, "it answered an event that JSON can't hold: NaN")
            hold(self.is_called(error, "EventInvalid"), f"of NaN it says {error!r}")

    def names(self, kind: list[str]) -> list[str]:
        """Those acts of that kind which may be asked."""
        return [name for name in kept_child.names(kind, self.model.choice.framing) if name not in self.without]

    def envelope_id(self, token: str, context: str) -> str:
        """The id that the next request will have as an envelope: here, that of a `Shim`."""
        return f"{'invocation' if context == 'none' else token}-{self.asked + 1}"

    def begins_with(self, choice: Choice) -> list[Behaviour]:
        """What a fake does at its start."""
        self.notes = Notes(self.path("notes"))
        return [*([writes(READY)] if choice.ready else []), notes(self.notes.path), obeys()]

    def ways(self) -> st.SearchStrategy[Choice]:
        """As `choices` says."""
        return self.choices

    def program(self, choice: Choice) -> tuple[str, dict[str, Any]]:
        """The fake, and settings with which its failures are seen soon."""
        fake = FakeExecutable(*self.begins_with(choice), reply_fd=choice.reply_fd, framing=choice.framing)
        how = {"mode": "warm", "max_children": 2, "max_output_bytes": LIMIT, "grace_ms": 20, "linger_ms": 5}
        return str(fake.write_to(self.path("fake"))), {**how, **choice._asdict(), **self.settings}

    def asks(self) -> st.SearchStrategy[Any]:
        """Any act."""
        return st.sampled_from([name for kind in (SUCCEEDING, FAILING, LEAVING, OVERDUE) for name in self.names(kind)])

    def asking(
        self, what: Any, context: str, *, size: int = 100, code: int = 3, killed_by: str = "SIGKILL", **_: Any
    ) -> Asked:
        """The invocation that tells the child to do that, with so many letters in it."""
        token = self.token()
        whose = self.envelope_id(token, context)
        too_late = self.short + 0.2
        found = kept_child.acts(
            self.model.choice, token=token, whose=whose, code=code, signal=killed_by, too_late=too_late
        )
        return self._asked(what, token, found[what], size=size)

    def harmless(self) -> Asked:
        """Something that would be echoed."""
        return self._asked("echoes", self.token(), Act((echoes(),)))

    def has_begun(self, pid: int) -> bool:
        """It has noted its start."""
        return self.notes.has_started(pid)

    def compare(self, predicted: Predicted, asked: Asked, answer: Answer) -> None:
        """The reply has the request's own event; the error is the predicted one. Then what the child does afterwards is waited for."""
        if predicted.error is None:
            self._has_replied(asked, answer)
        else:
            self._has_failed(predicted, asked, answer)
        if asked.act.waits and predicted.error is None:
            self._wait_for_what_follows(asked)

    def look_around(self) -> None:
        """No request was acted on twice, besides."""
        super().look_around()
        self.notes.look()
        twice = [self.stories[token] for token, number in self.notes.begun.items() if number > 1]
        hold(not twice, f"a request was acted on twice: {twice}")

    def _asked(self, name: str, token: str, act: Act, *, size: int = 10) -> Asked:
        """The invocation by which a fake is told to do that."""
        choice, child = self.model.choice, self.model.child
        begun = (writes("\n"),) if child is not None and child.midline else ()
        act = replace(act, early=begun + act.early) if act.early else replace(act, do=begun + act.do)
        event = FakeExecutable.event(
            *act.do,
            label=token,
            early=act.early,
            reply_fd=choice.reply_fd,
            framing=choice.framing,
            pad="x" * (size + LARGE if act.early else size),
        )
        self.stories[token] = f"{token}, the request on which it {name!r}"
        return Asked(self.stories[token], name, event, token, act, self.model.state, timeout=self.far)

    def _has_replied(self, asked: Asked, answer: Answer) -> None:
        """The reply is this very request's."""
        story, act, value = asked.story, asked.act, answer.value
        if answer.error is not None:
            raise AssertionError(f"{story}, must be answered, and failed: {_shown(answer.error)}") from answer.error
        found = value.get("event") if act.whole_line and isinstance(value, dict) else value
        right = found == (asked.event if act.value is None else act.value)
        hold(right, f"{story}, was answered with {self._whose(value, asked.token)}")
        self.notes.look()
        hold(self.notes.begun[asked.token] == 1, f"{story}, was answered, and no child has acted on it")

    def _whose(self, value: Any, token: str) -> str:
        """What that reply is, for a sentence."""
        text = json.dumps(value)
        others = [story for its, story in self.stories.items() if f'"{its}"' in text and its != token]
        return f"what belongs to another: {others[0]}" if others else text[:200]

    def _has_failed(self, predicted: Predicted, asked: Asked, answer: Answer) -> None:
        """The error is the predicted one."""
        error = answer.error
        if error is None:
            whose = self._whose(answer.value, asked.token)
            raise AssertionError(f"{asked.story}, must fail with {predicted.error}, and was answered with {whose}")
        name = self.told(error)
        if name is None:
            return
        difference = f"{asked.story}, must fail with {predicted}, and failed: {_shown(error)}"
        if name != predicted.error:
            raise AssertionError(difference) from error
        if name == "ReportedError":
            hold(f'"token": "{asked.token}"' in str(error), difference)
        elif name == "ExitError":
            hold(getattr(error, "exit_code", predicted.code) == predicted.code, difference)
        elif predicted.signal:
            hold(getattr(error, "signal", predicted.signal[0]) in predicted.signal, difference)

    def _wait_for_what_follows(self, asked: Asked) -> None:
        """Until the child has done what it does after its reply. One that ends may have been seen to end with the reply."""
        if asked.act.leaves is not State.DEAD:
            eventually(lambda: self.notes.has_done(asked.token), f"all was done that {asked.story}, says")
            return
        server = self.notes.server[asked.token]
        eventually(lambda: status(server) in ENDED, f"the child has ended after {asked.story}")
        if not status(server):
            self.model.child = None
            self.contexts[-1] = (self.contexts[-1][0], self.model)


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
