"""The checks of how a program that speaks the Runtime API lives: it goes on, it does not grow, it ends when it is asked to, and leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shim.testing.conform.descendants import name_of
from shim.testing.conform.growth import LOOKS, Size, leak_in
from shim.testing.conform.hearing import Hearing, heard
from shim.testing.conform.protocol import Broken, NotAsked

if TYPE_CHECKING:
    from shim.testing.conform.protocol import Plan

TRIES = 3
"""How often a program may end: the quickest counts, since a busy machine takes its part of the time."""
LOST = 1.0
"""Seconds in which a program may end by itself that has lost the Runtime API. Nothing asks that of it."""
FEW = 4
"""How many invocations show that there is a loop."""


@heard
def leaves_nothing(hearing: Hearing, plan: Plan) -> None:
    """1.2: it leaves no process behind, whether it ends by SIGTERM or since the Runtime API has gone."""
    events = plan.replay or (plan.sample,)
    for how in ("SIGTERM", "the loss of the Runtime API"):
        for event in events:
            hearing.invoke(event)
        process = hearing.process
        if process is not None and process.end is None:
            if how == "SIGTERM":
                process.terminate()
                process.attend(hearing.grace, lambda: False)
            else:
                process.hang_up()
                process.attend(LOST, lambda: False)
        if process is not None and process.end is not None:
            left = process.descendants.outlive(hearing.grace)
            if left:
                raise Broken(f"left {', '.join(map(name_of, left[:5]))} behind when it ended after {how}", events)
        hearing.stop()


@heard
def ends_on_sigterm(hearing: Hearing, plan: Plan) -> None:
    """1.3: SIGTERM, while it waits for an invocation, ends it in time, however it ends."""
    events = plan.replay or (plan.sample,)
    said = ""
    for _ in range(TRIES):
        for event in events:
            hearing.invoke(event)
        process = hearing.ready()
        process.terminate()
        process.attend(hearing.grace, lambda: False)
        if process.end is not None:
            return
        said = process.said
        hearing.stop()
    raise Broken(f"had not ended {hearing.grace:g} s after SIGTERM{said}", events)


@heard
def loops(hearing: Hearing, plan: Plan) -> None:
    """6.1: it asks for an invocation, and again when it has answered one, in one process."""
    events = plan.replay or (plan.sample,) * FEW
    try:
        hearing.ready()
    except NotAsked as reason:
        raise Broken(str(reason).removeprefix("it ")) from None
    for number, event in enumerate(events, 1):
        seen = hearing.invoke(event)
        if seen.end is not None:
            raise Broken(
                f"{seen.end.told} in place of asking for another invocation after {number}{seen.said}", hearing.sent
            )
        if not seen.asked:
            did = "did not ask" if seen.posts else "neither answered nor asked"
            raise Broken(
                f"{did} for another invocation within {hearing.within:g} s after {number}{seen.said}", hearing.sent
            )


@heard
def does_not_grow(hearing: Hearing, plan: Plan) -> None:
    """5.2: it holds no more memory, descriptors, processes and threads after so many requests than before."""
    events = plan.replay or (plan.sample,)
    asked = 0

    def ask() -> Size:
        nonlocal asked
        for _ in range(max(1, plan.requests // LOOKS)):
            seen = hearing.invoke(events[asked % len(events)])
            asked += 1
            if not (seen.posts and seen.asked):
                if asked > FEW and (seen.end or seen.is_late):
                    raise Broken(f"{seen} at invocation {asked:,}{seen.said}", events[:1])
                raise NotAsked("it does not go on from one invocation to the next, which 6.1 is about")
        return hearing.ready().descendants.size()

    leak = leak_in(ask, lambda: asked)
    if leak:
        raise Broken(leak, events[:1])
