"""The checks of programs that speak the Runtime API: `BOOTSTRAP_CHECKS`, each by the number of its requirement.

Each hands a program invocations and says what it did wrong, if that is against its own requirement. What is against another one it lets pass:
a program with one fault breaks one requirement. Where a requirement is about unusual events or heads, what the program does with the usual
ones is the measure.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import hypothesis.strategies as st

from shim.testing.conform.counterexample import least, smallest
from shim.testing.conform.heads import spellings
from shim.testing.conform.hearing import Hearing, heard
from shim.testing.conform.life import FEW, does_not_grow, ends_on_sigterm, leaves_nothing, loops
from shim.testing.conform.odd_events import GROWING, NO_JSON, SIZES, VALUES, cuts_of, in_places, odd_events, padded
from shim.testing.conform.protocol import Broken, NotAsked
from shim.testing.conform.seen import Seen, is_error, misshapen, shown, untrue, worse

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hypothesis.strategies import SearchStrategy

    from shim.testing.conform.heads import Spelling
    from shim.testing.conform.protocol import Check, Plan

    H = TypeVar("H", bound=Hashable)

SHOWN = 200
"""Characters of an answer that a sentence shows."""
QUIET = 0.01
"""Seconds in which nothing more may come of an invocation, where that is asked."""
HEAD = 400
"""Bytes of a head, or nearly."""
PIECES = 100_000
"""Bytes of an event that comes in pieces: more than a reader takes at once."""
IDS = (
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "8476A536-E9F4-11E8-9739-2DFE598C3FCD",
    "7",
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd-2",
    "8476a536-e9f4-11e8-9739-2dfe598c3fce",
    "a_b.c~d",
    "x" * 128,
)
"""Request ids: UUIDs as Lambda has them, which promises nothing about them."""


@heard
def reads_any_size(hearing: Hearing, plan: Plan) -> None:
    """2.3: it does with an event what it does with the same event with blanks in it, however many they are, and in however many pieces it comes."""
    usual = hearing.usual(plan.sample)
    length = len(plan.sample)

    def judge(event: bytes, cuts: tuple[int, ...] = ()) -> Broken | None:
        seen = hearing.attempt(event, lambda seen: worse(seen, usual), cuts=cuts)
        against = worse(seen, usual)
        pieces = f", in {len(cuts) + 1} pieces," if cuts else ""
        size = f"where the event{pieces} has {len(event):,} bytes"
        return Broken(f"{against} {size}{seen.said}", (event,)) if against else None

    if plan.replay is None:
        _hold(_cuts(length), lambda places: _raise(judge(plan.sample, places)), plan)
        sizes = [length, *(size for size in SIZES if size > length)]
        for smaller, size in pairwise(sizes):
            _grow(smaller, size, lambda size: _raise(judge(padded(plan.sample, size))))
        large = padded(plan.sample, PIECES)
        _hold(_cuts(PIECES), lambda places: _raise(judge(large, places)), plan)
    for event in plan.replay or ():
        for places in ((), (0,), tuple(range(-HEAD, 0, HEAD // 10)), tuple(range(0, len(event), len(event) // 10 + 1))):
            _raise(judge(event, places))


@heard
def survives_odd_json(hearing: Hearing, plan: Plan) -> None:
    """2.4: with any JSON value it answers, or ends with a code that is not 0 and words on its log; and with the sample with such a member."""
    usual = hearing.usual(plan.sample)

    def judge(event: bytes) -> None:
        hearing.hold(event, lambda seen: untrue(seen, usual))

    def of_size(make: Callable[[int], bytes], place: int, size: int) -> None:
        judge(in_places(plan.sample, [make(size)])[place])

    for event in plan.replay or in_places(plan.sample, VALUES):
        judge(event)
    if plan.replay is None:
        for make, most in GROWING:
            for place in range(len(in_places(plan.sample, [b""]))):
                _grow(1, most, partial(of_size, make, place))
        _hold(odd_events(plan.sample), judge, plan)


@heard
def answers_once(hearing: Hearing, plan: Plan) -> None:
    """3.3: it posts exactly one answer for an event that it accepts, and never two."""
    events = plan.replay or (plan.sample,) * FEW
    more = (*NO_JSON, *VALUES, plan.sample)
    for number, event in enumerate((*events, *more), 1):
        seen = hearing.invoke(event, quiet=QUIET if number == len(events) + len(more) else 0)
        if len(seen.posts) > 1:
            posts = " and ".join(map(shown, seen.posts[:2]))
            raise Broken(f"posted {posts} for one invocation", hearing.sent)
        if event == plan.sample and seen.asked and not seen.posts:
            raise Broken(f"{seen}{seen.said}", hearing.sent)


@heard
def echoes_ids(hearing: Hearing, plan: Plan) -> None:
    """3.5: it posts to the id that it was given, whatever that looks like."""
    events = plan.replay or (plan.sample,)
    for number, request_id in enumerate(IDS):
        seen = hearing.invoke(events[number % len(events)], request_id=request_id, quiet=QUIET)
        if seen.answer is not None and all(post.request_id != request_id for post in seen.posts):
            raise Broken(f"answered the invocation {request_id!r} as {seen.answer.request_id!r}", hearing.sent)


@heard
def answers_independently(hearing: Hearing, plan: Plan) -> None:
    """3.6: it answers an event as a fresh process does, with the same id and the same headers, whatever came before."""
    if not plan.pure:
        raise NotAsked("it need not be so (--pure)")
    hearing.usual(plan.sample)

    def last(events: tuple[bytes, ...]) -> str | None:
        hearing.stop()
        for number, event in enumerate(events[:-1]):
            hearing.invoke(event, request_id=f"{IDS[0]}-{number}")
        return hearing.invoke(events[-1], request_id=IDS[0]).meaning

    known: dict[bytes, str | None] = {}

    def judge(events: tuple[bytes, ...]) -> None:
        if events[-1] not in known:
            known[events[-1]] = last(events[-1:])
        alone, after = known[events[-1]], last(events)
        if after != alone and None not in (alone, after):
            where = "in another process" if len(events) == 1 else "in a process of its own"
            raise Broken(f"answered {_cut(after)} where it answered {_cut(alone)} {where}", events)

    if plan.replay is not None:
        judge(plan.replay)
    else:
        for event in (plan.sample, *VALUES):
            judge((plan.sample, event))
        each = st.sampled_from((plan.sample, *VALUES)) | odd_events(plan.sample)
        _hold(st.lists(each, min_size=1, max_size=5).map(tuple), judge, plan)


@heard
def refuses_what_is_no_json(hearing: Hearing, plan: Plan) -> None:
    """4.2: an event that is no JSON it fails: it posts an error, or ends with a code that is not 0 and words on its log."""
    usual = hearing.usual(plan.sample)

    def against(seen: Seen) -> str | None:
        if seen.succeeded and seen.answer is not None and not is_error(seen.answer):
            return f"{seen} for an event that is no JSON"
        return untrue(seen, usual)

    for event in plan.replay or NO_JSON:
        hearing.hold(event, against)
    if plan.replay is None:
        _hold(cuts_of(plan.sample), lambda event: hearing.hold(event, against), plan)


@heard
def reports_errors(hearing: Hearing, plan: Plan) -> None:
    """6.2: what it fails, it posts as an error, in the shape that Lambda wants, or ends with a code that is not 0 and words.

    It is made to fail by what is no JSON, by odd values, and by `plan.failing`, where there is one: an event that it must fail. Where it posts no
    error even so, there is none to look at: a program that ends by all that it fails, or fails nothing, has not passed.
    """
    usual = hearing.usual(plan.sample)
    errors = 0

    def looked(judge: Callable[[Seen], str | None], seen: Seen) -> str | None:
        nonlocal errors
        errors += seen.answer is not None and seen.answer.failed
        return judge(seen)

    def misplaced(seen: Seen) -> str | None:
        if seen.succeeded and seen.answer is not None and is_error(seen.answer):
            return f"{seen}, which is to be posted as an error"
        return misshapen(seen)

    def failed(seen: Seen) -> str | None:
        return f"{seen} for an event that fails" if seen.succeeded else misshapen(seen) or untrue(seen, usual)

    judges: dict[bytes | None, Callable[[Seen], str | None]] = {
        plan.sample: misshapen,
        **dict.fromkeys(VALUES, misshapen),
        **dict.fromkeys(NO_JSON, misplaced),
        plan.failing: failed,
    }
    for event in plan.replay or judges:
        if event is not None:
            hearing.hold(event, partial(looked, judges.get(event, misshapen)))
    if not errors:
        cure, given = "; --failing-event names an event that it must fail", ", not even for the event that it must fail"
        raise NotAsked(f"it posted no error{cure if plan.failing is None else given}")


@heard
def survives_odd_headers(hearing: Hearing, plan: Plan) -> None:
    """6.3: however the head of an invocation is written, it does with it what it does with one as Lambda writes it."""
    event = plan.replay[-1] if plan.replay else plan.sample
    hearing.invoke(event)  # its second answer shows whose id it takes
    usual = hearing.usual(event)

    def judge(spelling: Spelling) -> None:
        seen = hearing.attempt(event, lambda seen: worse(seen, usual), spelling=spelling)
        against = worse(seen, usual)
        if against is None and usual.is_right and not seen.is_right and seen.answer is not None:
            against = f"answered the invocation {seen.request_id!r} as {seen.answer.request_id!r}"
        if against:
            raise Broken(f"{against} where {spelling}{seen.said}", (event,))

    _hold(spellings(), judge, plan)


BOOTSTRAP_CHECKS: dict[str, Check] = {
    "1.2": leaves_nothing,
    "1.3": ends_on_sigterm,
    "2.3": reads_any_size,
    "2.4": survives_odd_json,
    "3.3": answers_once,
    "3.5": echoes_ids,
    "3.6": answers_independently,
    "4.2": refuses_what_is_no_json,
    "5.2": does_not_grow,
    "6.1": loops,
    "6.2": reports_errors,
    "6.3": survives_odd_headers,
}
"""The check of each requirement that mode bootstrap has, by its number."""


def _hold(examples: SearchStrategy[H], judge: Callable[[H], None], plan: Plan) -> None:
    """Holds a program to all examples; raises Broken for the least of those which the judge raises it for."""
    smallest(examples, lambda example: _found(judge, example), examples=plan.examples, number=plan.seed)


def _grow(passes: int, size: int, judge: Callable[[int], None]) -> None:
    """Holds a program to something of that size; raises Broken for the least of which the judge raises it, above one that passes."""
    known: dict[int, Broken | None] = {}

    def breaks(tried: int) -> bool:
        known[tried] = _found(judge, tried)
        return known[tried] is not None

    if breaks(size):
        _raise(known[least(passes, size, breaks)])


def _found(judge: Callable[[H], None], example: H) -> Broken | None:
    """What the judge raises for that example."""
    try:
        judge(example)
    except Broken as found:
        return found
    except NotAsked:  # it takes too long, or can't be started again: what was found until then is enough
        return None
    return None


def _cuts(size: int) -> SearchStrategy[tuple[int, ...]]:
    """Where to cut an answer whose event has that size."""
    return st.lists(st.integers(-HEAD, size - 1), min_size=1, max_size=4).map(tuple)


def _raise(broken: Broken | None) -> None:
    if broken is not None:
        raise broken


def _cut(words: str | None) -> str | None:
    """As much of it as a sentence can hold."""
    return words if words is None or len(words) <= SHOWN else f"{words[:SHOWN]} …"
