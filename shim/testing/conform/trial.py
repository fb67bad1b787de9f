"""A program by lines is asked, and what it does is its conduct. First of all it is found out how it answers the sample."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from shim.codecs.ending import reported
from shim.errors import EventInvalid, ExecutableError, seconds
from shim.invocation import now
from shim.testing.conform.conduct import (
    ANSWERED,
    FAILED,
    FAULTY,
    HUNG,
    Conduct,
    Judge,
    canonical,
    envelope_of,
    shown,
    values_in,
)
from shim.testing.conform.kept import MOST_LINES, Kept, Reply
from shim.testing.conform.protocol import Manner, Plan
from shim.testing.conform.request_lines import Lines
from shim.testing.conform.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.testing.conform.protocol import Command

IMPATIENCE = 1.0
"""Seconds after which it is worth to look whether an answer comes at the end of the input only."""
CONFESSING = 1.0
"""Seconds that a kept program has to fail after a line that is a report: shim gives it as many."""


class Trial:
    """Asks a program.

    Args:
        command: the program.
        plan: its sample, its times, and its manner, which is found out where it is not known.

    Raises:
        EventInvalid: the program refuses the sample.
        ExecutableError: it can't be started, or does with the sample what no good program does with any event.
    """

    def __init__(self, command: Command, plan: Plan) -> None:
        settings = command.settings
        self.command = command
        self.plan = plan
        self.judge = Judge(settings)
        self.is_warm = settings.mode == "warm"
        self.has_ids = self.is_warm and settings.framing == "envelope"
        self.lines = Lines(camel=settings.context_keys == "camel", has_ids=self.has_ids)
        self.slowest = 0.0
        """Seconds that the slowest answer took, a start included where there was one."""
        self.manner = plan.manner or Manner()
        if plan.manner is None:
            self.manner = self._kept_manner() if self.is_warm else self._oneshot_manner()

    @contextmanager
    def kept(self, *, hears_out: bool = True) -> Iterator[Kept]:
        """A kept program, started and ready; nothing of it is left after the block.

        Args:
            hears_out: whether what it writes before it is asked is waited for and forgotten, where it does so.

        Raises:
            ExecutableError: it does not become ready.
        """
        with Subject(self.command) as subject:
            manner = self.manner
            kept = Kept(subject, self.command.settings, self.lines, is_lazy=manner.is_lazy, is_strict=manner.is_clean)
            unready = kept.await_ready()
            if unready is not None:
                raise self._unfit(Conduct(FAULTY, unready))
            if manner.greets and hears_out:
                kept.hear_out(self.plan.within)
            yield kept

    def once(self, request: bytes, within: float | None = None) -> Conduct:
        """What it does with one request, in a process of its own."""
        within = self.plan.within if within is None else within
        began = now()
        if self.is_warm:
            with self.kept() as kept:
                conduct = self.ask(kept, request, within)
        else:
            conduct = self._run(request, within)
        if conduct.kind == ANSWERED:
            self.slowest = max(self.slowest, now() - began)
        return conduct

    def ask(self, kept: Kept, request: bytes, within: float | None = None) -> Conduct:
        """What a kept program does with one more request. The input of a lazy one ends with it."""
        within = self.plan.within if within is None else within
        before, others = len(kept.replies), len(kept.others)
        clean = self.manner.is_clean
        whose = kept.send(request)
        kept.await_reply(before + 1, within)
        if self.manner.is_lazy:
            kept.finish(within)
        else:
            kept.settle()
        answers, besides = kept.replies[before:], kept.others[others:]
        if clean and besides:
            return self.judge.of_reply(besides[0], is_clean=True)
        if not answers:
            return self._unanswered(kept, within)
        if clean and len(answers) > 1:
            return Conduct(FAULTY, f"wrote {shown(answers[1].line)} besides its reply")
        answer = answers[-1]
        if self.has_ids:
            return self._of_envelope(answer, whose if clean else None)
        if reported(answer.line) is not None:
            return self._confession(kept.subject, answer)
        return self.judge.of_reply(answer.line, is_clean=clean)

    def _run(self, request: bytes, within: float) -> Conduct:
        """One request of a program that ends with it."""
        line, _ = self.lines.of(request)
        lingers = self.manner.lingers
        with Subject(self.command) as subject:
            subject.send(line)
            subject.end_input()
            subject.wait(
                lambda: subject.has_gone or subject.has_flooded or (lingers and self.is_whole(subject.written)), within
            )
            if subject.has_gone:
                subject.wait(lambda: subject.is_over, self.command.settings.linger_ms / 1000)
            else:
                subject.settle()
            reply = subject.take()
            if subject.status is None and lingers and self.is_whole(reply):
                return self.judge.of_reply(reply, is_clean=self.manner.is_clean)
            return self._failure(subject, reply, within) or self.judge.of_reply(reply, is_clean=self.manner.is_clean)

    def is_whole(self, written: bytes | bytearray) -> bool:
        """Whether it has answered, as far as that can be told before its end."""
        return bool(values_in(bytes(written))[0] if self.judge.counts else written)

    def _unanswered(self, kept: Kept, within: float) -> Conduct:
        how = kept.ending() if kept.is_dead else ""
        begun = bytes(kept.subject.written)
        failure = self._failure(kept.subject, begun, within)
        if failure is not None and failure.kind == HUNG and begun:
            return failure._replace(how=f"{failure.how}, but {shown(begun)} without a line feed")
        return failure or Conduct(FAULTY, f"{how} and gave no answer")

    def _failure(self, subject: Subject, reply: bytes, within: float) -> Conduct | None:
        if subject.has_flooded:
            limit = self.command.settings.max_output_bytes
            much = f"{limit:,} bytes (max_output_bytes)" if subject.is_full else f"{MOST_LINES:,} lines"
            return Conduct(FAULTY, f"wrote more than {much}")
        if subject.status is None and (subject.hears or not self.is_warm):
            how = "gave no answer within" if self.is_warm else "had not ended"
            after = "" if self.is_warm else " after its request"
            return Conduct(HUNG, f"{how} {seconds(within)}{after}")
        return self.judge.of_end(subject, reply)

    def _of_envelope(self, answer: Reply, whose: str | None) -> Conduct:
        _, message = envelope_of(answer.line) or (None, None)
        if message is None:  # meant to be a reply, and no JSON, or none that can be a result
            return self.judge.of_reply(answer.line, is_clean=True)
        if message.get("error") not in (None, ""):
            return Conduct(FAILED, f"answered with the error {shown(canonical(message['error']))}")
        if whose is not None and answer.id != whose:
            return Conduct(FAULTY, f"answered with the id {answer.id!r}, not {whose!r}")
        return Conduct(ANSWERED, f"answered {shown(answer.line)}", answer.value)

    def _confession(self, subject: Subject, answer: Reply) -> Conduct:
        """A line that is a report is an error if the program then fails, else an answer."""
        subject.end_input()
        subject.wait(lambda: subject.has_gone, CONFESSING)
        return self.judge.of_end(subject, answer.line) or self.judge.of_reply(answer.line, is_clean=False)

    def _oneshot_manner(self) -> Manner:
        conduct = self.once(self.plan.sample)
        if conduct.kind == ANSWERED:
            return Manner()
        lingers = conduct.kind == HUNG
        for is_clean in (True, False):
            self.manner = Manner(is_clean=is_clean, lingers=lingers)
            if (is_clean <= lingers) and self.once(self.plan.sample).kind == ANSWERED:
                return self.manner
        raise self._unfit(conduct)

    def _kept_manner(self) -> Manner:
        """As the sample is answered by a process that then comes to the end of its input."""
        within = self.plan.within
        self.manner = Manner(is_clean=False)
        with self.kept() as kept:
            whose = kept.send(self.plan.sample)
            if not kept.await_reply(1, min(IMPATIENCE, within)) and not kept.is_dead:
                at_the_end = self._answers_at_the_end() if kept.subject.is_idle else 0
                if at_the_end and not kept.await_reply(1, 0):
                    return Manner(is_clean=at_the_end == 1, is_lazy=True)
                kept.await_reply(1, within)
            conduct = None if kept.replies else self._unanswered(kept, within)
            kept.finish(self.command.grace)
            is_clean = len(kept.replies) == 1 and not kept.others and kept.replies[0].id == whose
            is_clean = is_clean and not kept.subject.has_flooded
        if conduct is not None:
            raise self._unfit(conduct)
        self.manner = Manner() if is_clean else Manner(is_clean=False, greets=self._greets())
        again = self.once(self.plan.sample)
        if again.kind != ANSWERED:
            raise self._unfit(again)
        return self.manner

    def _greets(self) -> bool:
        """Whether it writes something before it is asked. At the end of an empty input it is soon seen whether it may do so."""
        with self.kept() as kept:
            kept.finish(self.plan.within)
            if not (kept.replies or kept.others):
                return False
        with self.kept() as kept:
            kept.subject.wait(lambda: kept.subject.written or kept.is_dead, self.plan.within)
            return bool(kept.subject.written)

    def _answers_at_the_end(self) -> int:
        """How many lines another process writes to the sample by the end of its input."""
        with self.kept() as other:
            other.send(self.plan.sample)
            other.finish(self.plan.within)
            return len(other.replies) and len(other.replies) + len(other.others)

    def _unfit(self, conduct: Conduct) -> EventInvalid | ExecutableError:
        """The error for a sample that is not answered. To refuse an event truthfully is no fault of a program, but of who chose the event."""
        name, event = self.command.settings.executable, shown(self.plan.sample)
        cure = "give an event that it answers with --event"
        if conduct.kind == FAILED:
            return EventInvalid(f"{name} does not accept the event {event}: it {conduct.how}; {cure}")
        return ExecutableError(f"did not answer the event {event}: it {conduct.how}", executable=name, cure=cure)
