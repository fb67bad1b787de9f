"""A kept child as a small model: what it may be between two invocations, what it may do in one, and what must come of it.

It knows `shim` by the names of its errors only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple

LIMIT = 150_000
"""The bytes that a reply may have."""
LARGE = 30_000
"""So long is a request of which the actor, which reads 4,096 bytes at a time, leaves something unread."""
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


class Choice(NamedTuple):
    """How a Shim is made."""

    framing: str
    reply_fd: int
    max_uses: int | None
    ready: bool


class Predicted(NamedTuple):
    """The error's name, or None for a reply, and what it carries."""

    error: str | None
    code: int | None = None
    signal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Act:
    """What a child does with one request: the words before it has read all of it, those afterwards, and what comes of them."""

    do: str = ""
    early: str = ""
    error: str | None = None
    code: int | None = None
    signal: tuple[str, ...] = ()
    leaves: State = State.IDLE
    value: object = None
    """The reply, where it is not the request's own event."""
    midline: bool = False
    """Whether it leaves half a line of log behind its reply."""
    overdue: bool = False
    """Whether it takes all the time that there is."""
    waits: bool = False
    """Whether it does something after its reply."""
    continued: bool = False
    """Whether somebody continues it when it has stopped itself."""


def hexed(text: str) -> str:
    """The bytes of a text as the actor takes them."""
    return text.encode().hex()


LINE_FEED = hexed("\n")
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
OVERDUE = ["hangs", "hangs and ignores SIGTERM", "replies late", "writes no line feed", "stops"]
ENVELOPES = {
    "logs half a line": SUCCEEDING,
    "refuses": FAILING,
    "answers another first": FAILING,
    "answers another": OVERDUE,
}
"""What only a child does that writes envelopes, and the list to which it belongs."""


def names(kind: list[str], framing: str) -> list[str]:
    """The acts of that kind."""
    return kind + [name for name, its in ENVELOPES.items() if its is kind and framing == "envelope"]


def acts(choice: Choice, *, token: str, whose: str, code: int, signal: str, number: int) -> dict[str, Act]:
    """Every act by its name.

    Args:
        choice: how the Shim was made.
        token: the request's.
        whose: the id that its envelope will have.
        code: an exit code that is no success.
        signal: the name of a signal that kills.
        number: the same as the kernel counts it.
    """
    fd = choice.reply_fd
    lines = choice.framing == "line"
    reply = f"{'reply' if lines else 'answer'}:{fd}"

    def message(value: object, *, id: str = whose) -> str:  # noqa: A002 - the member's name
        return json.dumps(value if lines else {"id": id, "value": value}) + "\n"

    half = f"write:{fd}:{hexed(message(token)[:-1])}"
    another = f"write:{fd}:{hexed(message('foreign', id='another'))}"
    log = hexed(f"log of {token}\n")
    no_json = "no JSON\n" if lines else f'{{"id":"{whose}","value":NaN}}\n'
    gone = partial(Act, leaves=State.NONE)
    died = partial(gone, error="SignalError", signal=(signal,))
    ended = partial(gone, error="ExitError", code=code)
    missing = partial(gone, error="ReplyMissing")
    foreign = partial(gone, error="ReplyUnexpected")
    late = partial(gone, error="DeadlineExceeded", overdue=True)
    left = partial(Act, waits=True)
    either = ("SIGTERM", "SIGKILL")  # where it may come before it is ignored
    found = {
        "echoes": Act(reply),
        "echoes slowly": Act(f"sleep:2 {reply}"),
        "logs": Act(f"write:2:{log} {reply}" if lines else f"write:2:{log} write:{fd}:{log} {reply}:{log}"),
        "stops and is continued": Act(f"stop {reply}", continued=True),
        "exits": ended(f"exit:{code}"),
        "is killed": died(f"raise:{number}"),
        "exits before the rest": ended(early=f"exit:{code}"),
        "is killed before the rest": died(early=f"raise:{number}"),
        "writes half and exits": ended(f"{half} exit:{code}"),
        "writes half and is killed": died(f"{half} raise:{number}"),
        "ends without a reply": missing("exit:0"),
        "writes half and ends": missing(f"{half} exit:0"),
        "closes its reply": missing(f"close:{fd}"),
        "writes too much": gone(f"fill:{fd}:{LIMIT + 50_000}", error="OutputTooLarge"),
        "replies twice": foreign(f"{reply}:{hexed(message('second'))}"),
        "writes what is no JSON": Act(f"write:{fd}:{hexed(no_json)}", error="OutputInvalid"),
        "replies and exits": left(f"{reply} sleep:20 exit:{code}", leaves=State.DEAD),
        "replies and is killed": left(f"{reply} sleep:20 raise:{number}", leaves=State.DEAD),
        "replies, then writes": left(f"{reply} sleep:20 write:{fd}:{hexed(message('foreign'))}", leaves=State.DIRTY),
        "replies, then closes": left(f"{reply} close:{fd}", leaves=State.DIRTY),
        "replies early": Act(
            early=f"write:{fd}:{hexed(message({'early': token}))} sleep:0", leaves=State.UNREAD, value={"early": token}
        ),
        "hangs": late("sleep:0", signal=("SIGTERM",)),
        "hangs and ignores SIGTERM": late("ignore:15 sleep:0", signal=either),
        "replies late": late(f"await:15 {reply}", signal=either),
        "writes no line feed": late(f"{half} sleep:0", signal=("SIGTERM",)),
        "stops": late("stop", signal=("SIGTERM",)),
        "logs half a line": Act(f"{reply}:{hexed('half')}", midline=True),
        "refuses": Act(f"refuse:{fd}", error="ReportedError"),
        "answers another first": foreign(f"{another} {reply}"),
        "answers another": foreign(another, overdue=True),
    }
    return {name: act for name, act in found.items() if not lines or name not in ENVELOPES}


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
    """A Shim that one thread calls, which has one child at a time."""

    choice: Choice
    child: Child | None = None
    closed: bool = True
    broken: bool = False
    """Whether the program ends at its start."""
    starts: int = 0
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

    def _is_worn(self, child: Child) -> bool:
        return self.choice.max_uses is not None and child.uses >= self.choice.max_uses

    @property
    def has_work(self) -> bool:
        """Whether the end of an invocation's context will bring something about."""
        return not self.closed and (self.child is None or self._is_worn(self.child))

    def begin(self) -> Predicted:
        """A Shim is made, which starts a child."""
        if self.broken and self.choice.ready:
            return Predicted("ExitError", BROKEN)
        self.closed = False
        self.starts = 1
        self.started = False
        self.child = Child(dead=self.broken)
        return Predicted(None)

    def close(self) -> None:
        """The Shim is closed."""
        self.closed = True
        self.child = None

    def ask(self, act: Act, meanwhile: str) -> Predicted:
        """An invocation. A child that is frozen is left so, or continued or killed meanwhile."""
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
        """The answer is out."""
        if self.child is not None and self._is_worn(self.child):
            self.child = None
        if self.child is None and not self.started:
            self.starts += 1
            self.child = Child(dead=self.broken)
