"""A bootstrap at its hearing: it is handed one invocation after the other, and what it did with each is told in full.

Where its process has ended, or does not ask for the next invocation, the next one is handed to a new process: so that one fault of a program
hides no other.
"""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING
from uuid import uuid4

from shim.testing.conform.candidate import Candidate
from shim.testing.conform.descendants import subreaper
from shim.testing.conform.heads import PLAIN, headers_of
from shim.testing.conform.protocol import Broken, NotAsked
from shim.testing.conform.seen import Seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from shim.testing.conform.heads import Spelling
    from shim.testing.conform.protocol import Check, Command, Plan

STRAY = 0.05
"""Seconds in which may still come what should have come before."""
SLOWEST = 5e6
"""Bytes a second that a program reads at least which works on an event while it asks for the next."""
BEGINNING = 0.25
"""Seconds in which may come the answer to the first invocation, when the program has asked again over the same connection: another of its threads
may have begun to ask just then."""
MOST_LATE = 3
"""How many invocations may take all the time that there is; then no more are handed out."""
LASTS = 900
"""Seconds from the beginning to the deadline that every invocation is told: the longest that Lambda has."""


class Hearing:
    """A program that is handed invocations, in one process after the other; nothing of it is left after its block.

    Attributes:
        sent: the events that the process got which is there now.
        process: that process, or None.
        within: seconds that an answer may take, and a start.
        grace: seconds that it has to end, when it is asked to.
    """

    def __init__(self, command: Command, plan: Plan) -> None:
        self.sent: list[bytes] = []
        self.process: Candidate | None = None
        self.within = plan.within
        self.grace = command.grace
        self._command = command
        self._deadline_ms = int((time.time() + LASTS) * 1000)
        self._late = 0
        self._is_fit = True
        """Whether the process has asked again after its last invocation: else another of its threads may wait, and what comes may be late."""
        self._is_silent = False
        """Whether it is known not to ask again."""

    def ready(self) -> Candidate:
        """A process that waits for an invocation.

        Raises:
            Broken: the kernel does not start it.
            NotAsked: there is none: it ends, or does not ask.
        """
        process = self.process
        if process is not None:
            process.hear_the_rest()  # which tells whether it has ended since
            if process.end is None and process.api.waits and self._is_fit:
                return process
            self.stop()
        process = self.process = Candidate(self._command)
        api = process.api
        process.attend(self.within, lambda: api.waits or api.answers)
        if api.waits and process.end is None:
            return process
        if process.end is not None:
            process.hear_the_rest()
        raise NotAsked(f"it {_never(process, self.within)}{process.said}")

    def invoke(
        self,
        event: bytes,
        *,
        request_id: str | None = None,
        spelling: Spelling = PLAIN,
        cuts: tuple[int, ...] = (),
        quiet: float = 0,
    ) -> Seen:
        """Hands it that event.

        Args:
            event: any bytes.
            request_id: a new UUID, where none is given.
            spelling: of the head.
            cuts: where to cut what is sent into pieces: so many bytes behind the end of the head, or before it.
            quiet: seconds in which nothing more may come after it has asked again.

        Raises:
            Broken: the kernel does not start it.
            NotAsked: there is no process that waits for it; or too many have waited in vain.
        """
        if self._late >= MOST_LATE:
            raise NotAsked("it leaves invocations without an answer, which others are about")
        process = self.ready()
        api, request_id = process.api, request_id or str(uuid4())
        api.forget_all()
        logged = process.logged
        headers = headers_of(request_id, len(event), self._deadline_ms)
        self.sent.append(event)
        process.send(api.hand_out(request_id, headers[:-2], event), spelling.write(headers), cuts)
        self._watch(process, quiet)
        if process.end is not None:
            process.hear_the_rest()
        api.forget(request_id)
        seen = Seen(
            request_id,
            tuple(api.answers),
            asked=api.asks > 0,
            end=process.end,
            spoke=process.logged > logged,
            said=process.said if process.end or not api.answers else "",
            within=self.within,
        )
        self._late += seen.is_late
        self._is_fit = seen.asked
        return seen

    def usual(self, event: bytes) -> Seen:
        """What it does with an event that it accepts.

        Raises:
            NotAsked: so little that there is nothing to compare with; or as `invoke`.
        """
        seen = self.attempt(event, lambda seen: seen.answer is None)
        if seen.answer is None:
            raise NotAsked(f"it {seen}, where the event is a good one{seen.said}")
        if not (seen.asked or seen.end):
            raise NotAsked("it does not ask for a second invocation, which 6.1 is about")
        return seen

    def attempt(
        self,
        event: bytes,
        judge: Callable[[Seen], object],
        *,
        spelling: Spelling = PLAIN,
        cuts: tuple[int, ...] = (),
    ) -> Seen:
        """Hands it that event, and once more to a fresh process, where something is against what it did and it has not asked again.

        A program may end after so many invocations, whatever they are, which is against 6.1: only what ends a fresh process too is the event's doing.

        Args:
            event: any bytes.
            judge: tells what is against what it did; something false, where nothing is.
            spelling: as `invoke`.
            cuts: as `invoke`.

        Returns:
            What it did at last.

        Raises:
            Broken: as `invoke`.
            NotAsked: as `invoke`.
        """
        seen = self.invoke(event, spelling=spelling, cuts=cuts)
        if len(self.sent) > 1 and not seen.asked and judge(seen):
            self.stop()
            seen = self.invoke(event, spelling=spelling, cuts=cuts)
        return seen

    def hold(self, event: bytes, judge: Callable[[Seen], str | None]) -> None:
        """Hands it that event, and holds it to what the judge says.

        Args:
            event: any bytes.
            judge: tells what is against what it did, as the predicate of a sentence, or None.

        Raises:
            Broken: there is something against it; in a fresh process as well, or, where it went on, with all that came before.
            NotAsked: as `invoke`.
        """
        seen = self.attempt(event, judge)
        against = judge(seen)
        if against is None:
            return
        first = Broken(f"{against}{seen.said}", self.sent)
        if len(self.sent) == 1:
            raise first
        self.stop()
        try:
            seen = self.invoke(event)
            against = judge(seen)
        except NotAsked:
            raise first from None
        raise Broken(f"{against}{seen.said}", (event,)) if against else first

    def stop(self) -> None:
        """Kills the process, with all that it started: the next invocation goes to a new one."""
        process, self.process = self.process, None
        self.sent = []
        if process is not None:
            process.close()

    def _watch(self, process: Candidate, quiet: float) -> None:
        """Waits until it has answered and asked again, or has ended, or its time is over."""
        api = process.api
        began = time.monotonic()
        process.attend(self.within, lambda: api.answers or api.asks)
        if not api.answers and process.end is None and api.asks:
            left = began + self.within - time.monotonic()
            if len(self.sent) > 1:  # whatever threads it has, all have asked before
                left = STRAY + len(self.sent[-1]) / SLOWEST
            elif api.has_returned:
                left = BEGINNING
            process.attend(left, lambda: api.answers)
        if api.answers and process.end is None:
            left = STRAY if self._is_silent else self.within
            self._is_silent |= not process.attend(left, lambda: api.asks) and process.end is None
        process.attend(quiet, lambda: False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def heard(ask: Callable[[Hearing, Plan], None]) -> Check:
    """The check that asks so, of a program that is ended with all that it started, whatever comes of it."""

    @wraps(ask)
    def check(command: Command, plan: Plan) -> None:
        with subreaper(), Hearing(command, plan) as hearing:
            ask(hearing, plan)

    return check


def _never(process: Candidate, within: float) -> str:
    if process.api.answers:
        return f"posted {shown(process.api.answers[0])} before it asked for its first invocation"
    if process.end is not None:
        return f"{process.end.told} before it asked for its first invocation"
    return f"did not ask for its first invocation within {within:g} s of its start"
