"""A kept child as a small model: what it may be between two invocations, what it may do in one, and what must come of it.

It is pure, and knows `shim` by the names of its errors only. `WarmModel` drives it beside something that keeps children.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from shim.testing.behaviours import (
    Behaviour,
    awaits,
    closes,
    echoes,
    exits,
    fills,
    hangs,
    ignores_sigterm,
    raises_signal,
    replies,
    sleeps,
    stops,
    writes,
    writes_stderr,
)

LIMIT = 150_000
"""The bytes that a reply may have."""
LARGE = 30_000
"""So long is a request of which a fake, which reads 4,096 bytes at a time, leaves something unread."""
BROKEN = 7
"""The exit code of a program that ends at its start."""


class State(StrEnum):
    """What there is to ask, as the next invocation finds it."""

    CLOSED = "closed"
    NONE = "none"
    FRESH = "fresh"
    """It was not asked yet."""
    IDLE = "idle"
    WORN = "worn"
    """It is well, and has served `max_uses` requests."""
    FROZEN = "frozen"
    """It is stopped, and well but for that."""
    DIRTY = "dirty"
    """It wrote something, or closed its reply's descriptor, while nothing was asked of it."""
    UNREAD = "unread"
    """It replied before it had read all of its request."""
    DEAD = "dead"


class Choice(NamedTuple):
    """How a runner is made: shim's settings of these names."""

    framing: str = "line"
    reply_fd: int = 1
    max_uses: int | None = None
    ready: bool = False


class Predicted(NamedTuple):
    """The error's name, or None for a reply, and what it carries."""

    error: str | None
    code: int | None = None
    signal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Act:
    """What a child does with one request, and what must come of it."""

    do: tuple[Behaviour, ...] = ()
    """What it does when it has read the request."""
    early: tuple[Behaviour, ...] = ()
    """What it does before it has read all of it."""
    error: str | None = None
    """The name of the error; None where it replies."""
    code: int | None = None
    """The exit code that the error has."""
    signal: tuple[str, ...] = ()
    """The names of the signals, one of which the error has."""
    leaves: State = State.IDLE
    """What is there afterwards."""
    value: object = None
    """The reply, where it is not the request's own event."""
    whole_line: bool = False
    """Whether it replies with the whole line that it got, of which the event is a member."""
    midline: bool = False
    """Whether it leaves half a line of log behind its reply."""
    overdue: bool = False
    """Whether it takes all the time that there is."""
    waits: bool = False
    """Whether it does something after its reply."""
    continued: bool = False
    """Whether somebody continues it when it has stopped itself."""


SUCCEEDING = ["echoes", "echoes slowly", "logs", "stops and is continued"]
FAILING = [
    "exits", "is killed", "exits before the rest", "is killed before the rest", "writes half and exits",
    "writes half and is killed", "ends without a reply", "writes half and ends", "closes its reply", "writes too much",
    "replies twice", "writes what is no JSON",
]  # fmt: skip
LEAVING = [
    "replies and exits",
    "replies and is killed",
    "replies, then writes",
    "replies, then closes",
    "replies early",
]
OVERDUE = [
    "hangs",
    "hangs and ignores SIGTERM",
    "replies too late",
    "replies when it is told to end",
    "writes no line feed",
    "stops",
]
LINES = {"echoes its line": SUCCEEDING}
"""What only a child does whose reply is the line, and the list to which it belongs."""
ENVELOPES = {
    "logs half a line": SUCCEEDING,
    "refuses": FAILING,
    "answers another first": FAILING,
    "answers another": OVERDUE,
}
"""What only a child does that writes envelopes, likewise."""
ACTS = [*SUCCEEDING, *FAILING, *LEAVING, *OVERDUE, *LINES, *ENVELOPES]
"""The names of all."""


def names(kind: list[str], framing: str) -> list[str]:
    """Those acts of that kind which a child with that framing may do."""
    more = ENVELOPES if framing == "envelope" else LINES
    return kind + [name for name, its in more.items() if its is kind]


def acts(  # noqa: PLR0913 - each is a fact of one request
    choice: Choice, *, token: str, whose: str, code: int = 3, signal: str = "SIGKILL", too_late: float = 0.8
) -> dict[str, Act]:
    """Every act by its name.

    Args:
        choice: how the runner was made.
        token: the request's, a text by which it is known.
        whose: the id that its envelope will have.
        code: an exit code that is no success.
        signal: the name of a signal that kills.
        too_late: seconds after which the invocation is over.
    """
    lines = choice.framing == "line"

    def message(value: object, *, id: str = whose) -> str:  # noqa: A002 - the member's name
        return json.dumps(value if lines else {"id": id, "value": value}) + "\n"

    half = writes(message(token)[:-1])
    another = writes(message("foreign", id="another"))
    log = f"log of {token}\n"
    logs = (writes_stderr(log), echoes()) if lines else (writes_stderr(log), writes(log), echoes(then=log.encode()))
    no_json = writes("no JSON\n" if lines else f'{{"id":"{whose}","value":NaN}}\n')
    early = {"early": token}
    gone = partial(Act, leaves=State.NONE)
    died = partial(gone, error="SignalError", signal=(signal,))
    ended = partial(gone, error="ExitError", code=code)
    missing = partial(gone, error="ReplyMissing")
    foreign = partial(gone, error="ReplyUnexpected")
    late = partial(gone, error="DeadlineExceeded", overdue=True)
    left = partial(Act, waits=True)
    end, kill = exits(code), raises_signal(signal)
    told = ("SIGTERM",)
    either = ("SIGTERM", "SIGKILL")  # where it may come before it is ignored
    found = {
        "echoes": Act((echoes(),)),
        "echoes slowly": Act((sleeps(0.002), echoes())),
        "echoes its line": Act((ECHOES_ITS_LINE,), whole_line=True),
        "logs": Act(logs),
        "logs half a line": Act((echoes(then=b"half"),), midline=True),
        "stops and is continued": Act((stops(), echoes()), continued=True),
        "exits": ended((end,)),
        "is killed": died((kill,)),
        "exits before the rest": ended(early=(end,)),
        "is killed before the rest": died(early=(kill,)),
        "writes half and exits": ended((half, end)),
        "writes half and is killed": died((half, kill)),
        "ends without a reply": missing((exits(0),)),
        "writes half and ends": missing((half, exits(0))),
        "closes its reply": missing((closes(choice.reply_fd),)),
        "writes too much": gone((fills(LIMIT + 50_000),), error="OutputTooLarge"),
        "replies twice": foreign((echoes(then=message("second").encode()),)),
        "writes what is no JSON": Act((no_json,), error="OutputInvalid"),
        "refuses": Act((REFUSES_ITS_EVENT,), error="ReportedError"),
        "replies and exits": left((echoes(), sleeps(0.02), end), leaves=State.DEAD),
        "replies and is killed": left((echoes(), sleeps(0.02), kill), leaves=State.DEAD),
        "replies, then writes": left((echoes(), sleeps(0.02), writes(message("foreign"))), leaves=State.DIRTY),
        "replies, then closes": left((echoes(), closes(choice.reply_fd)), leaves=State.DIRTY),
        "replies early": Act(early=(replies(early), hangs()), leaves=State.UNREAD, value=early),
        "hangs": late((hangs(),), signal=told),
        "hangs and ignores SIGTERM": late((ignores_sigterm(), hangs()), signal=either),
        "replies too late": late((sleeps(too_late), echoes()), signal=told),
        "replies when it is told to end": late((awaits("SIGTERM"), echoes()), signal=either),
        "writes no line feed": late((half, hangs()), signal=told),
        "stops": late((stops(),), signal=told),
        "answers another first": foreign((another, echoes())),
        "answers another": foreign((another,), overdue=True),
    }
    return {name: act for name, act in found.items() if name not in (ENVELOPES if lines else LINES)}


ECHOES_ITS_LINE = Behaviour("echoes_its_line()", lambda stage: f"reply:{stage.reply_fd}")
REFUSES_ITS_EVENT = Behaviour("refuses_its_event()", lambda stage: f"refuse:{stage.reply_fd}")


@dataclass
class Child:
    """A child that was started."""

    uses: int = 0
    dead: bool = False
    dirty: bool = False
    unread: bool = False
    frozen: bool = False
    midline: bool = False


@dataclass
class Model:
    """A runner that one thread calls, which has one child at a time."""

    choice: Choice
    child: Child | None = None
    closed: bool = True
    broken: bool = False
    """Whether the program ends at its start."""
    starts: int = 0
    """How many children were started."""
    started: bool = False
    """Whether the last invocation started a child."""

    @property
    def state(self) -> State:
        """What the next invocation will find."""
        child = self.child
        if self.closed:
            return State.CLOSED
        if child is None:
            return State.NONE
        for found, state in (
            (child.dead, State.DEAD),
            (child.dirty, State.DIRTY),
            (child.unread, State.UNREAD),
            (self._is_worn(child), State.WORN),
            (child.frozen, State.FROZEN),
        ):
            if found:
                return state
        return State.IDLE if child.uses else State.FRESH

    @property
    def lives(self) -> bool:
        """Whether there is a child that lives."""
        return self.child is not None and not self.child.dead

    @property
    def is_frozen(self) -> bool:
        """Whether there is a child that lives, and is stopped."""
        return self.child is not None and not self.child.dead and self.child.frozen

    @property
    def has_work(self) -> bool:
        """Whether the end of an invocation's context will bring something about."""
        return not self.closed and (self.child is None or self._is_worn(self.child))

    def begin(self) -> Predicted:
        """A runner is made, which starts a child."""
        if self.broken and self.choice.ready:
            return Predicted("ExitError", BROKEN)
        self.closed = False
        self.starts = 1
        self.started = False
        self.child = Child(dead=self.broken)
        return Predicted(None)

    def close(self) -> None:
        """The runner is closed."""
        self.closed = True
        self.child = None

    def kill(self) -> None:
        """Somebody kills the child."""
        if self.child is not None:
            self.child.dead = True

    def freeze(self, *, on: bool) -> None:
        """Somebody stops the child, or continues it."""
        if self.child is not None:
            self.child.frozen = on

    def ask(self, act: Act, meanwhile: str) -> Predicted:
        """What must come of an invocation.

        Args:
            act: what the child does with it.
            meanwhile: whether a child that is frozen is continued then ("continue"), is killed ("kill"), or is left so ("leave").
        """
        self.started = False
        child = self.child
        is_fit = self.state in (State.FRESH, State.IDLE, State.FROZEN)
        if is_fit and child is not None and child.frozen and meanwhile == "leave":
            self.child = None
            return Predicted("DeadlineExceeded", signal=("SIGTERM",))
        if child is None or not is_fit or (child.frozen and meanwhile == "kill"):
            self.started = True
            self.starts += 1
            if self.broken:
                self.child = None
                return Predicted("ExitError", BROKEN)
            child = self.child = Child()
        child.uses += 1
        child.frozen = False
        child.midline = act.midline
        child.dead = act.leaves is State.DEAD
        child.dirty = act.leaves is State.DIRTY
        child.unread = act.leaves is State.UNREAD
        if act.leaves is State.NONE:
            self.child = None
        return Predicted(act.error, act.code, act.signal)

    def work(self) -> None:
        """What can wait until the answer is out is done."""
        if self.child is not None and self._is_worn(self.child):
            self.child = None
        if self.child is None and not self.started:
            self.starts += 1
            self.child = Child(dead=self.broken)

    def _is_worn(self, child: Child) -> bool:
        return self.choice.max_uses is not None and child.uses >= self.choice.max_uses
