"""A kept program under test, and the lines that it writes: its replies, and everything else."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from shim.invocation import now
from shim.testing.conform.conduct import canonical, envelope_of, shown, values_in
from shim.testing.conform.subject import LONG_TICK, TICK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.settings import Settings
    from shim.testing.conform.request_lines import Lines
    from shim.testing.conform.subject import Subject

DYING = 2.0
"""Seconds after which what has not ended is said not to end."""
EVEN = 0.005
"""Seconds of being idle after which a lazy program is not waited for any longer."""

MOST_LINES = 10_000
"""Lines that a program may write for one request."""


class Reply(NamedTuple):
    """A line that is an answer."""

    line: bytes
    id: object
    """Whose it says it is, in an envelope."""
    value: bytes
    """The JSON of what it says, the same for the same value."""


class Kept:
    """A kept program that was started.

    Args:
        subject: the program.
        settings: how it is run.
        lines: what it is sent.
        is_lazy: whether it answers only when its input ends, so that nobody waits for that.
        is_strict: whether a line that is no reply is waited for as one.
    """

    def __init__(self, subject: Subject, settings: Settings, lines: Lines, *, is_lazy: bool, is_strict: bool) -> None:
        self.subject = subject
        self.replies: list[Reply] = []
        """All that came, in their order."""
        self.others: list[bytes] = []
        """The lines that are none. In an envelope they are log, and left out."""
        self.sent = 0
        """How many requests it was sent."""
        self.took: float | None = None
        """Seconds from the end of its input to its own; None where it did not end in time."""
        self._settings = settings
        self._lines = lines
        self._is_lazy = is_lazy
        self._is_strict = is_strict
        self._besides = 0
        self._has_ids = settings.framing == "envelope"
        self._counts = settings.output in ("json", "auto")

    @property
    def is_dead(self) -> bool:
        """Whether no reply can come any more."""
        return self.subject.has_gone or self.subject.has_flooded or not self.subject.hears

    def await_ready(self) -> str | None:
        """Waits for the line by which it says that it is ready, where it has to; what it did instead, as a predicate, or None."""
        if not self._settings.ready:
            return None
        subject = self.subject
        subject.wait(lambda: b"\n" in subject.written or self.is_dead, self._settings.ready_within_ms / 1000)
        line, _, rest = bytes(subject.written).partition(b"\n")
        subject.written[:] = rest
        if line.replace(b" ", b"").strip() == b'{"ok":true}':
            return None
        how = f"wrote {shown(line)}" if line else subject.ending
        return f'{how} where ready = true has it say {{"ok":true}} first'

    def send(self, request: bytes) -> str | None:
        """Sends one more request; its id, where it has one."""
        line, whose = self._lines.of(request)
        self._besides = 0
        self.sent += 1
        self.subject.send(line)
        return whose

    def await_reply(self, count: int, seconds: float, *, patiently: bool = False) -> bool:
        """Waits until so many replies have come in all, or none can come any more; whether they have.

        Of a lazy program none comes any more when it is idle, if it is not waited for patiently.
        """
        idle_since: float | None = None
        others = len(self.others)

        def is_decided() -> bool:
            nonlocal idle_since
            self.read()
            if len(self.replies) >= count or self.is_dead or (self._is_strict and len(self.others) > others):
                return True
            if self._is_lazy and not patiently:
                idle_since = (idle_since or now()) if self.subject.is_idle else None
            return idle_since is not None and now() - idle_since > EVEN

        self.subject.wait(is_decided, seconds, tick=TICK if self._is_lazy else LONG_TICK)
        return len(self.replies) >= count

    def ending(self) -> str:
        """How it ended, as a predicate: where its reply ends, it mostly does so at once."""
        self.subject.wait(lambda: self.subject.has_gone, 0.2)
        return self.subject.ending if self.subject.has_gone else "closed its reply's descriptor"

    def settle(self) -> None:
        """Takes what it writes besides, until it is idle."""
        self.subject.settle()
        self.read()

    def hear_out(self, seconds: float) -> None:
        """Waits for what it writes before it is asked, and forgets it."""
        self.subject.wait(lambda: self.subject.written or self.is_dead, seconds)
        self.settle()
        self.forget()

    def forget(self) -> None:
        """What came until now is no reply to what comes."""
        self.replies.clear()
        self.others.clear()

    def finish(self, seconds: float) -> None:
        """Ends its input, gives it so many seconds to end, and takes all that it has written."""
        subject = self.subject
        began = now()
        subject.end_input()
        if subject.wait(lambda: subject.has_gone, seconds):
            self.took = now() - began
        else:
            subject.signal(signal.SIGTERM)
            subject.wait(lambda: subject.has_gone, 0.2)
        subject.wait(lambda: subject.is_over, self._settings.linger_ms / 1000)
        self.read()
        rest = subject.take()
        if rest:
            self._sort(rest)

    def read(self) -> None:
        """Tells the replies from everything else in the lines that have come."""
        lines = self.subject.take_lines()
        self._besides += len(lines)
        if self._besides > MOST_LINES and not self._has_ids:  # in an envelope they may be log
            self.subject.has_flooded = True
            return
        for line in lines:
            self._sort(line)

    def _sort(self, line: bytes) -> None:
        if self._has_ids:
            envelope = envelope_of(line)
            if envelope is not None:
                whose, message = envelope
                self.replies.append(Reply(line, whose, line if message is None else canonical(_told(message))))
        elif not self._counts:
            self.replies.append(Reply(line, None, line))
        elif values := values_in(line)[0]:
            self.replies.append(Reply(line, None, canonical(values[0])))
        else:
            self.others.append(line)


def _told(message: dict[str, Any]) -> object:
    return message.get("value") if message.get("error") in (None, "") else {"error": message["error"]}


def converse(kept: Kept, requests: Sequence[bytes], within: float) -> tuple[list[str | None], list[list[Reply]]]:
    """Sends one request after the other, each when the one before is answered.

    Returns:
        The ids, and the replies that came after each and before the next: of a lazy program they come when its input ends, and are not here.
    """
    ids, replies = [], []
    for request in requests:
        if kept.is_dead:
            break
        before = len(kept.replies)
        ids.append(kept.send(request))
        kept.await_reply(before + 1, within)
        kept.settle()
        replies.append(kept.replies[before:])
    return ids, replies
