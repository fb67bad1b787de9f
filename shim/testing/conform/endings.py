"""The checks of how a program by lines ends: in time, when it is asked to, and with nothing left."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shim.errors import seconds
from shim.invocation import now
from shim.testing.conform.kept import DYING
from shim.testing.conform.protocol import Broken
from shim.testing.conform.subject import Subject
from shim.testing.conform.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.testing.conform.protocol import Command, Plan

TRIES = 3
"""How often a program may end: the quickest counts, since a busy machine takes its part of the time."""
BEGINNING = 1.0
"""Seconds after which a program that has not read its input is taken for one that never does."""
LOOKS = 2
"""How often is looked who is left, each time after linger_ms: a process in the middle of an exec bears no mark for an instant."""


def leaves_nothing(command: Command, plan: Plan) -> None:
    """1.2: when it has ended, and linger_ms are over, no process of it lives."""
    trial = Trial(command, plan)
    found: list[str] = []
    for _ in range(TRIES):
        with _asked(trial) as subject:
            subject.end_input()
            if not subject.wait(lambda: subject.has_gone, _time_to_end(trial)):
                subject.signal(signal.SIGTERM)
                subject.wait(lambda: subject.has_gone, command.grace)
            for _ in range(LOOKS):
                subject.wait(lambda: False, command.settings.linger_ms / 1000)
                found = subject.left_behind()
                if found:
                    break
        if not found:
            return
    many = f"{len(found)} processes" if len(found) > 1 else "a process"
    raise Broken(f"left {many} behind when it ended: {', '.join(found[:5])}", [plan.sample])


def ends_on_sigterm(command: Command, plan: Plan) -> None:
    """1.3: it ends within grace_ms of SIGTERM, while it waits for its input."""
    trial = Trial(command, plan)
    quickest: float | None = None
    for _ in range(TRIES):
        with _waiting(trial) as subject:
            if subject.has_gone:
                return  # it reads no input, and has ended
            began = now()
            subject.signal(signal.SIGTERM)
            if subject.wait(lambda: subject.has_gone, max(command.grace, DYING)):
                took = now() - began
                if took <= command.grace:
                    return
                quickest = took if quickest is None else min(took, quickest)
            else:
                break
    how = "was still there" if quickest is None else "ended no earlier than"
    after = DYING if quickest is None else quickest
    raise Broken(f"{how} {seconds(max(after, command.grace))} after SIGTERM, and grace_ms gives it {_ms(command)}")


def ends_at_end_of_input(command: Command, plan: Plan) -> None:
    """5.1: it ends at the end of its input, after a request and without one; a kept one in grace_ms, with code 0, and not before."""
    trial = Trial(command, plan)
    _ends_unasked(trial)
    if trial.is_warm:
        _kept_ends(trial)
    elif trial.manner.lingers:
        raise Broken(f"had not ended {seconds(plan.within)} after the end of its input", [plan.sample])


def _ends_unasked(trial: Trial) -> None:
    """A program whose input is empty: so shim ends one that was started and is not needed."""
    within = trial.plan.within
    with Subject(trial.command) as subject:
        subject.end_input()
        if not subject.wait(lambda: subject.has_gone, within):
            raise Broken(f"had not ended {seconds(within)} after the end of an empty input")
        if trial.is_warm and subject.status:
            raise Broken(f"{subject.ending} at the end of an empty input, not with 0")


def _kept_ends(trial: Trial) -> None:
    command, sample = trial.command, trial.plan.sample
    quickest: float | None = None
    for _ in range(TRIES):
        with trial.kept() as kept:
            for number in range(1, 4):
                kept.send(sample)
                kept.await_reply(number, trial.plan.within)
                kept.settle()
                if kept.subject.has_gone:
                    ending = f"{kept.subject.ending} after {_requests(number)}, before the end of its input"
                    raise Broken(ending, [sample] * number)
            kept.finish(max(command.grace, DYING))
            if kept.took is None:
                raise Broken(
                    f"had not ended {seconds(max(command.grace, DYING))} after the end of its input, and grace_ms gives it {_ms(command)}",
                    [sample] * 3,
                )
            if kept.subject.status:
                raise Broken(f"{kept.subject.ending} at the end of its input, not with 0", [sample] * 3)
            if kept.took <= command.grace:
                return
            quickest = kept.took if quickest is None else min(kept.took, quickest)
    raise Broken(
        f"ended no earlier than {seconds(quickest or 0)} after the end of its input, and grace_ms gives it {_ms(command)}",
        [sample] * 3,
    )


@contextmanager
def _asked(trial: Trial) -> Iterator[Subject]:
    """A program that was asked once."""
    if trial.is_warm:
        with trial.kept() as kept:
            kept.send(trial.plan.sample)
            kept.await_reply(1, trial.plan.within)
            yield kept.subject
    else:
        with Subject(trial.command) as subject:
            subject.send(trial.lines.of(trial.plan.sample)[0])
            yield subject


@contextmanager
def _waiting(trial: Trial) -> Iterator[Subject]:
    """A program that waits for its input: a kept one for its next request, another one for the rest of its line."""
    if trial.is_warm:
        with _asked(trial) as subject:
            subject.settle()
            yield subject
        return
    with Subject(trial.command) as subject:
        line, _ = trial.lines.of(trial.plan.sample)
        subject.send(line[: len(line) // 2])
        if subject.wait(lambda: subject.has_read or subject.has_gone, BEGINNING):
            subject.settle()
        yield subject


def _time_to_end(trial: Trial) -> float:
    """Seconds after which a program that was asked has ended, or does not."""
    if trial.is_warm:
        return max(trial.command.grace, DYING)
    return DYING if trial.manner.lingers else trial.plan.within


def _ms(command: Command) -> str:
    return f"{command.settings.grace_ms} ms"


def _requests(number: int) -> str:
    return "one request" if number == 1 else f"{number} requests"
