"""Holds a program by lines to what it does with one request: as many requests as are made, and the smallest that it does wrong."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from shim.testing.conform.conduct import ANSWERED, HUNG, Conduct, shown
from shim.testing.conform.counterexample import least, smallest
from shim.testing.conform.protocol import Broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from hypothesis.strategies import SearchStrategy

    from shim.testing.conform.kept import Kept
    from shim.testing.conform.trial import Trial

QUICK = 20
"""So many times the slowest answer is long enough, once a request is known that is never answered."""
LEAST = 0.5
"""Seconds that are long enough then, at the least."""


class Examiner:
    """Asks a program one request after the other. A kept one goes on in one process as long as that is fit for it, since it may be slow to start.

    Args:
        trial: asks it.
        says: the end of the sentence on what it did; {} is the request, {size} how many bytes its line has.
        is_good: whether it did what it should.
        alone: whether each request needs a process of its own.
    """

    def __init__(self, trial: Trial, says: str, is_good: Callable[[Conduct], bool], *, alone: bool = True) -> None:
        self._trial = trial
        self._says = says
        self._is_good = is_good
        self._alone = alone or not trial.is_warm or trial.manner.is_lazy
        self._has_hung = False
        self._held = ExitStack()
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def judge(self, request: bytes) -> Broken | None:
        """What is broken by that request, or None."""
        conduct = self._conduct(request)
        if self._is_good(conduct):
            return None
        self._has_hung = self._has_hung or conduct.kind == HUNG
        size = f"{len(self._trial.lines.of(request)[0]):,}"
        return Broken(f"{conduct.how}, {self._says.format(shown(request), size=size)}", [request])

    def hold(self, request: bytes) -> None:
        """Raises what is broken by that request.

        Raises:
            Broken: something is.
        """
        found = self.judge(request)
        if found is not None:
            raise found

    def replays(self) -> bool:
        """Whether only certain requests are to be sent, which is done then.

        Raises:
            Broken: one of them breaks it.
        """
        for request in self._trial.plan.replay or ():
            self.hold(request)
        return self._trial.plan.replay is not None

    def grow(self, make: Callable[[int], bytes], sizes: list[int]) -> None:
        """Sends requests of so many sizes, each larger than the one before.

        Raises:
            Broken: by the smallest, if all above it break it as well.
        """
        passes = 0
        for size in sizes:
            found = self.judge(make(size))
            if found is not None:
                fails = least(passes, size, lambda middle: self.judge(make(middle)) is not None)
                raise self._sure(make(fails)) or found
            passes = size

    def search(self, requests: SearchStrategy[bytes], examples: int) -> None:
        """Sends so many requests that Hypothesis makes.

        Raises:
            Broken: by the smallest that it finds.
        """
        seen: list[Broken] = []

        def look(request: bytes) -> Broken | None:
            found = self.judge(request)
            if found is not None:
                seen.append(found)
            return found

        try:
            smallest(requests, look, examples=examples, number=self._trial.plan.seed)
        except Broken as found:
            raise self._sure(found.requests[0]) or seen[0] from None

    def _sure(self, request: bytes) -> Broken | None:
        """The verdict with all the patience there is, and in a process of its own."""
        self._has_hung = False
        self._alone = True
        return self.judge(request)

    def _conduct(self, request: bytes) -> Conduct:
        trial = self._trial
        within = min(trial.plan.within, max(LEAST, QUICK * trial.slowest)) if self._has_hung else trial.plan.within
        if self._alone:
            return trial.once(request, within)
        is_fresh = self._kept is None or self._kept.subject.has_gone
        if self._kept is None or is_fresh:
            self._held.close()
            self._kept = self._held.enter_context(trial.kept())
        conduct = trial.ask(self._kept, request, within)
        if conduct.kind != ANSWERED:  # it may be in any state
            self._held.close()
            self._kept = None
        return conduct if is_fresh or self._is_good(conduct) else trial.once(request, within)
