"""The checks of which requests a program by lines takes, and which it refuses. `LINE_CHECKS` are all of those for programs by lines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from shim.testing.conform.answers import (
    answers_independently,
    answers_once,
    echoes_ids,
    flushes_each_reply,
    keeps_its_reply_clean,
)
from shim.testing.conform.conduct import ANSWERED, FAILED, Conduct
from shim.testing.conform.endings import ends_at_end_of_input, ends_on_sigterm, leaves_nothing
from shim.testing.conform.examiner import Examiner
from shim.testing.conform.growth import does_not_grow
from shim.testing.conform.odd_events import GROWING, NO_JSON, SIZES, VALUES, odd_events
from shim.testing.conform.request_lines import with_event_member, with_members
from shim.testing.conform.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.testing.conform.protocol import Check, Command, Plan

    Place = Callable[[bytes], bytes]

SMALL = 3800
"""Bytes of a line that no buffer is too small for: one of more is another requirement's."""
LEAST_ROOM = 500
"""Bytes that an odd value may have at least, however large the sample is."""


def ignores_the_unknown(command: Command, plan: Plan) -> None:
    """2.2: a line with more members than are known today, in itself or in its context, is answered."""
    trial = Trial(command, plan)
    with Examiner(trial, "to a line with members that it does not know, {}", _is_answered) as examiner:
        if examiner.replays():
            return
        names = st.from_regex(r"[a-z]{1,8}", fullmatch=True).map(lambda name: f"new_{name}")
        plain = st.none() | st.booleans() | st.integers(0, 99) | st.text("abc ", max_size=8)
        values = plain | st.lists(plain, max_size=2) | st.dictionaries(names, plain, max_size=1)
        given = st.dictionaries(names, values, min_size=1, max_size=2)
        lines = given.map(lambda added: with_members(plan.sample, top=added))
        contexts = given.map(lambda added: with_members(plan.sample, context=added))
        examiner.search(lines | contexts, max(4, plan.examples // 5))


def reads_any_size(command: Command, plan: Plan) -> None:
    """2.3: a line of any size is answered. The padding is in its context, so that the event is the sample."""
    trial = Trial(command, plan)
    with Examiner(trial, "to a line of {size} bytes", _is_answered) as examiner:
        if examiner.replays():
            return
        least = len(trial.lines.of(_padded(plan.sample, 0))[0])
        examiner.grow(lambda size: _padded(plan.sample, max(0, size - least)), [size for size in SIZES if size > least])


def survives_odd_json(command: Command, plan: Plan) -> None:
    """2.4: an event of any JSON value is answered, or failed truthfully; the sample with such a member, too."""
    trial = Trial(command, plan)
    with Examiner(trial, "to the event {}", _is_truthful, alone=False) as examiner:
        if examiner.replays():
            return
        places: list[Place] = [bytes]
        if plan.sample.lstrip()[:1] == b"{":
            places.append(lambda value: with_event_member(plan.sample, "odd", value))
        room = max(LEAST_ROOM, SMALL - len(trial.lines.of(plan.sample)[0]))
        for place in places:
            for value in VALUES:
                examiner.hold(place(value))
            for make, most in GROWING:
                each = len(make(2)) - len(make(1))
                examiner.grow(partial(_placed, place, make), [min(most, room // each)])
        examiner.search(odd_events(plan.sample, room), plan.examples)


def refuses_what_is_no_json(command: Command, plan: Plan) -> None:
    """4.2: a line that is no JSON is failed truthfully."""
    trial = Trial(command, plan)
    with Examiner(trial, "to the line {}, which is no JSON", _is_failed) as examiner:
        if examiner.replays():
            return
        for line in NO_JSON:
            examiner.hold(line)
        whole, _ = trial.lines.of(plan.sample)
        cuts = st.integers(1, len(whole) - 2).map(lambda end: whole[:end])
        words = st.text("abc xyz,.", min_size=1, max_size=20).map(str.encode)
        binary = st.binary(min_size=1, max_size=20).filter(_is_binary)
        # Of each kind its part, whatever Hypothesis prefers.
        for kind, share in ((words, 5), (binary, 5), (cuts, 1)):
            examiner.search(kind, max(4, plan.examples // share))


LINE_CHECKS: dict[str, Check] = {
    "1.2": leaves_nothing,
    "1.3": ends_on_sigterm,
    "2.2": ignores_the_unknown,
    "2.3": reads_any_size,
    "2.4": survives_odd_json,
    "3.2": flushes_each_reply,
    "3.3": answers_once,
    "3.4": keeps_its_reply_clean,
    "3.5": echoes_ids,
    "3.6": answers_independently,
    "4.2": refuses_what_is_no_json,
    "5.1": ends_at_end_of_input,
    "5.2": does_not_grow,
}
"""The number of a requirement → its check, for programs by lines."""


def _is_answered(conduct: Conduct) -> bool:
    return conduct.kind == ANSWERED


def _is_failed(conduct: Conduct) -> bool:
    return conduct.kind == FAILED


def _is_truthful(conduct: Conduct) -> bool:
    return conduct.is_truthful


def _padded(sample: bytes, size: int) -> bytes:
    """A request with that event, and so many bytes more."""
    client = {"client": None, "custom": {"padding": "x" * size}, "env": None}
    return with_members(sample, context={"client_context": client})


def _placed(place: Place, make: Callable[[int], bytes], number: int) -> bytes:
    return place(make(number))


def _is_binary(data: bytes) -> bool:
    """Whether it is one line, and no text in ASCII."""
    return b"\n" not in data and not data.isascii()
