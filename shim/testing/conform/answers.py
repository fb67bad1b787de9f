"""The checks of what a program by lines answers: once, at once, to whom, and with nothing besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from shim.errors import seconds
from shim.testing.conform.conduct import ANSWERED, shown, values_in
from shim.testing.conform.counterexample import smallest
from shim.testing.conform.kept import converse
from shim.testing.conform.protocol import Broken, NotAsked
from shim.testing.conform.request_lines import with_event_member
from shim.testing.conform.subject import Subject
from shim.testing.conform.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.testing.conform.kept import Reply
    from shim.testing.conform.protocol import Command, Plan

ANY_BYTES = "with output={} whatever it writes is its reply"


def flushes_each_reply(command: Command, plan: Plan) -> None:
    """3.2: an answer comes while the input has not ended."""
    trial = Trial(command, plan)
    with trial.kept() as kept:
        kept.send(plan.sample)
        if trial.manner.is_lazy:  # else somebody waited for it already
            kept.await_reply(1, plan.within, patiently=True)
            if not kept.replies:
                raise Broken(
                    f"gave no answer within {seconds(plan.within)}, but at the end of its input: flush each reply",
                    [plan.sample],
                )


def answers_once(command: Command, plan: Plan) -> None:
    """3.3: one reply for one request."""
    trial = Trial(command, plan)
    if not trial.judge.counts:
        raise NotAsked(ANY_BYTES.format(command.settings.output))
    if not trial.is_warm:
        found, _ = values_in(_reply(trial))
        if len(found) > 1:
            raise Broken(f"wrote {len(found)} JSON values to one request", [plan.sample])
        return
    one, _ = _count(trial, 1)
    two, survives = _count(trial, 2)
    # Twice as much is asked: what it writes unasked is the same in both.
    each = two - one if survives else one
    if each > 1:
        raise Broken(f"wrote {one} replies to one request, and {two} to two", [plan.sample] * 2)
    if each < 1:
        raise Broken("did not answer its second request", [plan.sample] * 2)


def keeps_its_reply_clean(command: Command, plan: Plan) -> None:
    """3.4: where its reply goes, there is nothing else."""
    trial = Trial(command, plan)
    if not trial.judge.counts:
        raise NotAsked(ANY_BYTES.format(command.settings.output))
    if trial.has_ids:
        raise NotAsked("with framing=envelope whatever is no reply is log")
    if not trial.is_warm:
        _is_clean(trial)
        return
    with trial.kept(hears_out=False) as kept:
        converse(kept, [plan.sample], plan.within)
        kept.finish(plan.within if trial.manner.is_lazy else command.grace)
    if trial.manner.greets:
        first = kept.others[0] if kept.others else kept.replies[0].line
        raise Broken(f'wrote {shown(first)} before it was asked; for a line {{"ok":true}} there is ready = true')
    if kept.others:
        raise Broken(f"wrote the line {shown(kept.others[0])}, which is no reply", [plan.sample])


def echoes_ids(command: Command, plan: Plan) -> None:
    """3.5: a reply bears the id of its request."""
    trial = Trial(command, plan)
    if not trial.has_ids:
        raise NotAsked("with framing=line no request has an id")
    requests = [plan.sample] * 3
    with trial.kept() as kept:
        ids, _ = converse(kept, requests, plan.within)
        kept.finish(plan.within if trial.manner.is_lazy else command.grace)
        # Once or twice, now or later: other requirements' affairs.
        replies = kept.replies
    given = [reply.id for reply in replies]
    for reply in replies:
        if reply.id not in ids:
            raise Broken(f"answered requests with the ids {_listed(ids)} with {shown(reply.line)}", requests)
    for number, whose in enumerate(ids, 1):
        if whose not in given:
            raise Broken(f"answered request {number}, whose id is {whose!r}, with another: {_listed(given)}", requests)


def answers_independently(command: Command, plan: Plan) -> None:
    """3.6: the same request has the same answer, whatever came before."""
    if not plan.pure:
        raise NotAsked("it need not be so (--pure)")
    trial = Trial(command, plan)
    alone: dict[bytes, bytes | None] = {}

    def fresh(request: bytes) -> bytes | None:
        if request not in alone:
            conduct = trial.once(request)
            alone[request] = conduct.value if conduct.kind == ANSWERED else None
        return alone[request]

    def judge(requests: tuple[bytes, ...]) -> Broken | None:
        for number, given in enumerate(_values(trial, requests), 1):
            expected = fresh(requests[number - 1])
            if given is not None and expected is not None and given != expected:
                return Broken(
                    f"answered {shown(given)} where it answers {shown(expected)} when nothing was asked before",
                    requests[:number],
                )
        return None

    if plan.replay is not None:
        found = judge(plan.replay)
        if found is not None:
            raise found
        return
    request = st.just(plan.sample)
    values = st.integers(0, 9).map(b"%d".__mod__) | st.sampled_from([b"null", b"true", b'"text"', b"[]", b"{}"])
    request |= values
    if plan.sample.lstrip()[:1] == b"{":
        request |= values.map(lambda value: with_event_member(plan.sample, "odd", value))
    sequences = st.lists(request, min_size=2, max_size=5).map(tuple)
    smallest(sequences, judge, examples=max(2, plan.examples // 5), number=plan.seed)


def _values(trial: Trial, requests: tuple[bytes, ...]) -> list[bytes | None]:
    """The answers of one process to all of them; of a program that ends with each, those of one process after the other."""
    if not trial.is_warm:
        conducts = [trial.once(request) for request in requests]
        return [conduct.value if conduct.kind == ANSWERED else None for conduct in conducts]
    with trial.kept() as kept:
        ids, replies = converse(kept, requests, trial.plan.within)
        if trial.manner.is_lazy:
            kept.finish(trial.plan.within)
            replies = _in_order(kept.replies, len(ids))
    return [some[-1].value if some else None for some in replies]


def _listed(ids: Sequence[object]) -> str:
    return ", ".join(map(repr, ids))


def _in_order(replies: list[Reply], count: int) -> list[list[Reply]]:
    """The replies of a lazy program, as many for each request."""
    each = len(replies) // count if count else 0
    return [replies[number * each : (number + 1) * each] for number in range(count)] if each else []


def _count(trial: Trial, requests: int) -> tuple[int, bool]:
    """How many replies there are to so many requests, one after the other; and whether it lived to get them all."""
    with trial.kept() as kept:
        sent, _ = converse(kept, [trial.plan.sample] * requests, trial.plan.within)
        survives = len(sent) == requests and not kept.subject.has_gone
        kept.finish(trial.plan.within if trial.manner.is_lazy else trial.command.grace)
        return len(kept.replies), survives


def _is_clean(trial: Trial) -> None:
    reply = _reply(trial)
    found, noise = values_in(reply)
    if not noise:
        return
    if trial.command.settings.output == "auto" and not any(isinstance(value, (dict, list)) for value in found):
        return  # it is a text
    raise Broken(f"wrote {shown(noise)} besides its reply", [trial.plan.sample])


def _reply(trial: Trial) -> bytes:
    """All that a program that ends with its request writes to the sample."""
    with Subject(trial.command) as subject:
        subject.send(trial.lines.of(trial.plan.sample)[0])
        subject.end_input()
        lingers = trial.manner.lingers
        subject.wait(lambda: subject.is_over or (lingers and trial.is_whole(subject.written)), trial.plan.within)
        if not subject.has_gone:
            subject.settle()
        return subject.take()
