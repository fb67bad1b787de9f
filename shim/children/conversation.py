"""What is said between us and a kept child, and which of its answers are taken for one.

No answer of a child is believed that may be another request's: what came before its request was read, came twice, or bears another's id.
"""

from __future__ import annotations

from shim.children.kept import READY, READY_BYTES, Kept, KeptByEnvelope
from shim.errors import NotReady, seconds
from shim.invocation import now
from shim.outcome import Ended, Exited, Misbehaved, NotStarted, Refused, Replied, Signaled, Stopped, ending
from shim.request import REPORT, Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.children.parent import Parent
    from shim.errors import Facts
    from shim.invocation import Deadline
    from shim.outcome import Outcome
    from shim.request import Framing, Request
    from shim.settings import Settings

SHOWN = 60
"""How many bytes of what a child should not have written are shown."""
LINE_FEED = 1
"""So much of a request may be left unread: a reader of JSON may stop at the end of the value."""
GREETING = 0.002
"""Seconds that are waited after a child's first reply, where it is not asked to be ready first: what came may be a greeting, after which the
reply comes."""
PATIENCE = 1.0
"""Seconds that are waited for how a child ends which has reported an error: on the smallest function an interpreter takes a third of them."""

ENDING = 0.05
"""Seconds that a child whose descriptors are closed has to end by itself, whatever linger_ms is: the kernel closes them before it tells of the
end, and how it ended is worth more than that it can't be heard."""


class NoChild(Exception):
    """There is no child to ask; what became of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Conversation:
    """How children are asked, one at a time, and how it is known that one can be asked.

    Args:
        parent: ends the children.
        settings: what is asked for.
        ahead: makes the framing for what a child writes before it is asked.
    """

    _cure_of_success = ""
    """What to do about a child that ends with success in place of a reply, where that is not what lines want."""

    def __init__(self, parent: Parent, settings: Settings, ahead: Callable[[], Request]) -> None:
        self._parent = parent
        self._ahead = ahead
        self._successes = {0, *(code for code, name in settings.exit_codes.items() if name == "ok")}
        self._kind = KeptByEnvelope if settings.framing == "envelope" else Kept
        self._says_ready = settings.ready
        self._ready_within = settings.ready_within_ms / 1000
        self._greets = False
        """Whether a child wrote something before its first reply, which the next ones may do as well."""

    def make(self, ahead: Request) -> Kept:
        """A child that is not started yet, and that says that it is ready, where it has to."""
        child = self._parent.make(self._kind, ahead)
        if self._says_ready:
            child.ready = False
            child.framing = Line(READY_BYTES)
        return child

    def ask(self, child: Kept, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request: it has replied and waits for the next one, or is over."""
        framing: Framing = request.framing  # type: ignore[assignment] # the codec makes requests for this mode
        framing.follow(child.framing)
        child.framing = framing
        if self._parent.tags_lines or not child.stderr.silent:
            child.stderr.begin(self._parent.lines_to(request), anew=child.uses > 0)
        child.asked = max(child.started, deadline.began)
        child.uses += 1
        child.send(request.body)
        while child.attend(deadline.stop_at) and not (
            framing.complete or child.gone or framing.overflowed or framing.excess
        ):
            if not child.hears:
                if not self._goes(child, deadline):
                    return self._break_off(child, "closed its reply's descriptor", request, deadline, replied=False)
                break
        if framing.complete and not child.gone:
            unread = child.unread
            child.left_unread = unread > LINE_FEED
            if unread >= len(request.body):
                how = f"wrote {_shown(framing.reply)} before it had read anything of its request"
                return self._break_off(child, how, request, deadline)
            if child.uses == 1 or framing.reply.startswith(REPORT):
                self._look_twice(child, deadline)
        if framing.complete and (child.over or not (framing.excess or framing.overflowed or child.gone)):
            answer = _answer(child)
            if self._parent.log.descriptor is not None:
                self._parent.log.settle(self._parent.linger, deadline.give_up_at)
            return answer
        return self._conclude(child, request, deadline)

    def _conclude(self, child: Kept, request: Request, deadline: Deadline) -> Outcome:
        """What it was where not just a reply came: its end, too much, nothing in time, or more than a reply."""
        framing = child.framing
        outcome = None
        if child.gone or framing.overflowed or not (framing.complete or framing.excess):
            if child.gone and isinstance(framing, Line):
                child.end_reply()  # what comes later is somebody else's, who held its pipe
            outcome = self.end(child, request, deadline)
            if framing.complete and not child.read_something:
                how = f"wrote {_shown(framing.reply)} before it had read anything of its request"
                return self._breach(child, how, request, outcome)
            if framing.overflowed or not (framing.complete or framing.excess) or isinstance(outcome, Stopped):
                return outcome
            if framing.reply.startswith(REPORT) and isinstance(outcome, (Exited, Signaled)):
                return outcome
        if outcome is not None and not framing.excess:
            self.note(f"{ending(outcome)} while nothing was asked of it; the next request gets a new one", request)
        if framing.excess:
            what = "besides its reply" if framing.complete else "which is no reply to what was asked"
            how = f"wrote {_shown(framing.excess)} {what}"
            return self._breach(child, how, request, outcome or self.end(child, request, deadline, grace=0))
        return _answer(child)

    def _look_twice(self, child: Kept, deadline: Deadline) -> None:
        """Looks again where a line may be no reply: the first may be a greeting, and an error the last words of a child that fails."""
        if child.framing.reply.startswith(REPORT):
            child.leave()
            if not child.dies_within(PATIENCE, deadline):
                self._parent.destroy(child)
        elif not self._says_ready and isinstance(child.framing, Line):
            child.attend(now() + GREETING)

    def _goes(self, child: Kept, deadline: Deadline) -> bool:
        """Whether a child that has closed its reply's descriptor had replied, or ends now, as one does that has closed all of them."""
        if child.framing.complete:
            return True
        return child.dies_within(max(self._parent.linger, ENDING), deadline)

    def is_unfit(self, child: Kept, request: Request, deadline: Deadline) -> str | None:
        """Why it can't be asked again, or None."""
        child.attend(now())
        framing = child.framing
        if child.gone:
            return f"{ending(self.end(child, request, deadline))} while nothing was asked of it"
        if not child.hears:
            return "closed its reply's descriptor while nothing was asked of it"
        if framing.excess or framing.overflowed:
            how = f"wrote {_shown(framing.excess)} while nothing was asked of it"
            if child.uses == 0:  # as the next one would, and who knows when
                raise NoChild(self._break_off(child, f"{how} yet", request, deadline))
            return how
        child.left_unread = child.unread > LINE_FEED
        if child.left_unread:
            return f"left {child.unread} bytes of its last request unread"
        return None

    def await_greeting(self, child: Kept, request: Request, deadline: Deadline) -> None:
        """Gives a child the time to greet, where one before did so: what comes before it was asked is no reply.

        Raises:
            NoChild: it did.
        """
        until = now() + self._parent.linger
        while self._greets and not (child.gone or child.framing.excess) and child.attend(until):
            pass
        if child.framing.excess:
            how = f"wrote {_shown(child.framing.excess)} while nothing was asked of it yet"
            raise NoChild(self._break_off(child, how, request, deadline))
        if child.gone:
            raise NoChild(self.end(child, request, deadline))

    def await_ready(self, child: Kept, request: Request, deadline: Deadline) -> None:
        """Waits for the line by which it says that it is ready, within its own time and the invocation's.

        Raises:
            NoChild: it does not come.
        """
        framing: Line = child.framing  # type: ignore[assignment] # see _spawn
        until = child.started + self._ready_within
        is_last = deadline.stop_at is not None and deadline.stop_at < until
        is_ready = child.comes_ready(deadline.stop_at if is_last else until)
        if is_ready:
            child.framing = self._ahead().framing  # type: ignore[assignment] # the codec makes requests for this mode
            child.stderr.insert(child.framing.feed(framing.excess))
            if not (child.framing.excess or child.gone):
                child.ready = True
                return
        late = not (framing.complete or framing.overflowed or child.gone) and child.hears
        went = child.gone or (not child.hears and self._goes(child, deadline))
        outcome = self.end(child, request, deadline)
        if (late and is_last) or not isinstance(outcome, Ended) or (went and isinstance(outcome, (Exited, Signaled))):
            raise NoChild(outcome)
        if late:
            how = (
                f"had not written its line {READY} {seconds(self._ready_within)} (SHIM_READY_WITHIN_MS) after its start"
            )
        elif is_ready and framing.excess:
            how = f"wrote {_shown(framing.excess)} after its line {READY}, before it was asked"
        elif framing.reply:
            how = f"wrote {_shown(framing.reply)} before it was asked, and not its line {READY}"
        else:
            how = f"{ending(outcome)} before it wrote its line {READY}"
        raise self._not_ready(how, outcome)

    def _not_ready(self, how: str, outcome: Ended, *, cure: str = "") -> NoChild:
        """There is no child, since the one that was started and ended with that outcome did not become ready."""
        facts: Facts = {
            "executable": self._parent.name,
            "duration": outcome.duration,
            "stderr_tail": outcome.stderr_tail,
        }
        return NoChild(NotStarted(NotReady(how, cure=cure, **facts)))

    def _break_off(
        self, child: Kept, how: str, request: Request, deadline: Deadline, *, replied: bool = True
    ) -> Outcome:
        """Ends a child that broke the protocol while it was asked."""
        outcome = self.end(child, request, deadline, grace=0)
        return self._breach(child, how, request, outcome, replied=replied)

    def _breach(self, child: Kept, how: str, request: Request, outcome: Outcome, *, replied: bool = True) -> Outcome:
        """The outcome of a child that broke the protocol, and was ended with that one."""
        self.note(f"{how}; it was killed", request)
        cure = child.framing.cure if replied else ""
        if replied and child.uses < 2 and not self._says_ready and isinstance(child.framing, Line):
            self._greets = True
            cure = 'make it write nothing to standard output but its replies; or, for a line {"ok":true} at its start, set SHIM_READY=true'
        if isinstance(outcome, Ended):
            return Misbehaved(how, replied=replied, cure=cure, **outcome.facts())
        return outcome

    def end(self, child: Kept, request: Request, deadline: Deadline, *, grace: float | None = None) -> Outcome:
        """Ends the child; what it did. A success is none, since it ended without a reply."""
        outcome = self._parent.end(child, request, deadline, grace=grace)
        rest = child.framing.rest()
        child.stderr.insert(rest + b"\n" if rest else b"")
        if isinstance(outcome, Exited) and outcome.code in self._successes:
            how = "ended with success" + (f" (exit code {outcome.code})" if outcome.code else "")
            return Misbehaved(how, replied=False, cure=self._cure_of_success, **outcome.facts())
        return outcome

    def note(self, sentence: str, request: Request | None, *, level: str = "WARN") -> None:
        """Says in the log what the child did, as the predicate of a sentence."""
        request_id = request.request_id if request else None
        self._parent.log.note(f"{self._parent.name} {sentence}", level=level, request_id=request_id)


def tail_of(child: Kept) -> str:
    """The last of what a child that has replied wrote to standard error before."""
    if child.stderr.silent:
        return ""
    child.empty_stderr()  # what it wrote before the reply is this invocation's
    child.stderr.close()  # its last line may else wait for the next one, for hours
    return child.stderr.tail


def _answer(child: Kept) -> Replied | Refused:
    """What a child that has replied did. It waits for the next request, or has gone."""
    framing = child.framing
    tail = tail_of(child)
    message = framing.message
    if message is not None and "error" in message:
        return Refused(message["error"], framing.reply, now() - child.asked, tail)
    return Replied(framing.reply, now() - child.asked, tail, message)


def _shown(data: bytes | bytearray) -> str:
    """The beginning of some bytes, as a person reads them."""
    return f"{bytes(data[:SHOWN])!r}{'…' if len(data) > SHOWN else ''}"
