"""The check that a kept program does not grow: its memory, descriptors, processes and threads, over many requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psutil

from shim.errors import seconds
from shim.testing.conform.protocol import Broken, NotAsked
from shim.testing.conform.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shim.testing.conform.kept import Kept
    from shim.testing.conform.protocol import Command, Plan

MEBIBYTE = 1024 * 1024
ROUNDS = 4
"""A heap that is collected, or a pool that fills, grows for a while; what grows in so many rounds of all the requests, each time, leaks."""
LOOKS = 10
"""How often in a round is looked."""
FEW = 3
"""A program that ends after so many requests is no kept one, which another requirement says."""


class Size(NamedTuple):
    """What a program takes, with its descendants. Zombies are processes."""

    memory: int
    descriptors: int
    processes: int
    threads: int

    def __sub__(self, other: Size) -> Size:
        return Size(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


SLACK = Size(memory=MEBIBYTE, descriptors=8, processes=4, threads=8)
"""What may come and go."""
HARM = Size(memory=1024 * MEBIBYTE, descriptors=500, processes=100, threads=200)
"""What is not waited for to become more."""
TELLING = ("processes", "threads", "descriptors", "memory")
"""Which is told of several that grow: the others take memory, too."""


def does_not_grow(command: Command, plan: Plan) -> None:
    """5.2: it is as large after many requests as before."""
    trial = Trial(command, plan)
    with trial.kept() as kept:

        def ask() -> Size:
            _ask(trial, kept, max(1, plan.requests // LOOKS))
            return size_of(kept.subject.pid)

        leak = leak_in(ask, lambda: kept.sent)
    if leak:
        raise Broken(leak)


def leak_in(ask: Callable[[], Size], asked: Callable[[], int]) -> str | None:
    """What a program does that grows, as the predicate of a sentence; None where it does not.

    Args:
        ask: sends it a part of the requests, of which there are `LOOKS`, and returns its size then.
        asked: how many it has got.
    """
    begun = before = ask()  # whatever is made once
    first, growing = asked(), set(Size._fields)
    for _ in range(ROUNDS):
        size = before
        for _ in range(LOOKS):
            size = ask()
            if harmful := _beyond(size - begun, HARM):
                return _told(harmful[0], begun, size, first, asked())
        growing &= set(_beyond(size - before, SLACK))
        if not growing:
            return None
        before = size
    return _told(next(name for name in TELLING if name in growing), begun, before, first, asked())


def _beyond(grown: Size, most: Size) -> list[str]:
    """The names of what has grown more."""
    return [name for name in TELLING if getattr(grown, name) > getattr(most, name)]


def size_of(pid: int) -> Size:
    """What that process takes, with its descendants; nothing where it has ended."""
    try:
        leader = psutil.Process(pid)
        return total_of([leader, *leader.children(recursive=True)])
    except psutil.Error:
        return Size(0, 0, 0, 0)


def total_of(everyone: Iterable[psutil.Process]) -> Size:
    """What these take; of one that ends meanwhile, or is another user's, as far as the kernel tells."""
    memory = descriptors = processes = threads = 0
    for process in everyone:
        processes += 1
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                threads += process.num_threads()
            descriptors += process.num_fds()
        except psutil.Error:  # it has ended since, or is a zombie
            continue
    return Size(memory, descriptors, processes, threads)


def _ask(trial: Trial, kept: Kept, requests: int) -> None:
    """Asks so many times. What is answered is not looked at.

    Raises:
        Broken: it ended, or gave no answer.
        NotAsked: it did so after few requests.
    """
    for _ in range(requests):
        before = len(kept.replies)
        kept.send(trial.plan.sample)
        is_answered = kept.await_reply(before + 1, trial.plan.within)
        if kept.is_dead and kept.sent <= FEW:
            raise NotAsked("it ends by itself after few requests, which 5.1 is about")
        if kept.is_dead:
            raise Broken(f"{kept.ending()} at request {kept.sent:,}, and the input had not ended")
        if not is_answered and not trial.manner.is_lazy:
            raise Broken(f"gave no answer to request {kept.sent:,} within {seconds(trial.plan.within)}")
    kept.forget()


def _told(name: str, begun: Size, end: Size, first: int, last: int) -> str:
    was, is_now = getattr(begun, name), getattr(end, name)
    each = (is_now - was) / (last - first)
    if name == "memory":
        was, is_now, each = (f"{was / 1e6:.1f} MB", f"{is_now / 1e6:.1f} MB", f"{each / 1e3:.1f} kB")
    else:
        was, is_now, each = (f"{was:,} {name}", f"{is_now:,}", f"{each:.1f}")
    return f"took {was} after {first:,} requests, and {is_now} after {last:,}: about {each} each"
