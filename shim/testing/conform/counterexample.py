"""The smallest of what breaks a requirement, found and made smaller by Hypothesis, the same at every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings as profile
from hypothesis.errors import HypothesisException

from shim.invocation import now
from shim.testing.conform.protocol import Broken

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hypothesis.strategies import SearchStrategy

    H = TypeVar("H", bound=Hashable)

SHRINKING = 20.0
"""Seconds in which a counterexample is made smaller."""


def smallest(strategy: SearchStrategy[H], judge: Callable[[H], Broken | None], *, examples: int, number: int) -> None:
    """Raises the least of what `judge` finds broken among so many examples.

    Args:
        strategy: of the examples.
        judge: tells what one breaks, or None. It is asked once for each.
        examples: at most so many.
        number: the seed.

    Raises:
        Broken: one of them.
    """
    known: dict[H, Broken | None] = {}
    last: Broken | None = None
    until: float | None = None

    def look(example: H) -> None:
        nonlocal last, until
        if example not in known:
            if until is not None and now() > until:
                return
            known[example] = judge(example)
        found = known[example]
        if found is not None:
            until = until or now() + SHRINKING
            last = found
            raise found.with_traceback(None)

    quiet = profile(
        max_examples=max(1, examples),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    try:
        seed(number)(quiet(given(strategy)(look)))()
    except Broken as found:
        raise found from None
    except HypothesisException:
        if last is None:
            raise
        raise last from None


def least(passes: int, fails: int, is_broken: Callable[[int], bool]) -> int:
    """The least number that breaks something, where one passes, a larger one fails, and all above the least one do."""
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if is_broken(middle):
            fails = middle
        else:
            passes = middle
    return fails
