"""Mode `warm`: a child that is kept, asked one request after the other, and never asked again once a reply of it might be another's.

Between two requests it must be silent, and have read all of the last one. What does not hold to that is poisoned: killed and replaced, with a
line in the log that says why.
"""

from __future__ import annotations

from shim.children.kept import READY, READY_BYTES, Kept
from shim.children.wear import Wear
from shim.errors import ExecutableError, NotReady, seconds
from shim.invocation import FOREVER, Deadline, now
from shim.outcome import Ended, Exited, Misbehaved, NotStarted, Overflowed, Refused, Replied, Signaled, Stopped, ending
from shim.request import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.children.parent import Parent
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
REPORT = b'{"errorType"'
"""A reply that begins so is perhaps the last words of a child that fails: it is waited for whether it ends."""


class Place:
    """A place for one kept child, in which one request is served at a time.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a child is told at its start, with a framing for what it writes before it is asked.
    """

    def __init__(self, parent: Parent, settings: Settings, ahead: Callable[[], Request]) -> None:
        self._parent = parent
        self._ahead = ahead
        self._successes = {0, *(code for code, name in settings.exit_codes.items() if name == "ok")}
        self._says_ready = settings.ready
        self._ready_within = settings.ready_within_ms / 1000
        self._grace = settings.grace_ms / 1000
        self._wear = Wear(settings)
        self.child: Kept | None = None
        self._started = True
        """Whether a child was started in the last invocation here, or there was none yet: `work` starts no other then."""
        self._greets = False
        """Whether a child wrote something before its first reply, which the next ones may do as well."""

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request. It is sent again, to a new child, only if the one before has provably read none of it."""
        self._started = False
        try:
            child = self.child
            if (
                child is None
                or not child.is_idle()
                or (self._wear.is_limited and self._wear.is_reached(child, child.uses))
            ):
                child = self._fit_child(request, deadline)
            outcome = self._ask(child, request, deadline)
            ended_by_itself = child is not self.child and not isinstance(outcome, (Stopped, Overflowed))
            if not ended_by_itself or child.read_something or request.framing.reply or self._started:
                return outcome
            self._note(f"{ending(outcome)} before it read anything of the request, which a new one gets", request)
            return self._ask(self._start(request, deadline), request, deadline)
        except _NoChild as found:
            return found.outcome
        except ChildProcessError as error:
            lost, self.child = self.child, None
            raise self._parent.lost(lost, request, deadline) from error
        except BaseException:
            self.drop()
            raise

    def start(self) -> Outcome | None:
        """Starts a child at init, and waits until it is ready where that is asked for. None where all is well."""
        try:
            self._start(self._ahead(), self._no_deadline())
        except _NoChild as found:
            return found.outcome
        except BaseException:
            self.drop()
            raise
        return None

    @property
    def has_work(self) -> bool:
        """Whether `work` may have something to do."""
        return self._wear.is_limited or self.child is None

    def work(self) -> None:
        """What can wait until the answer is out: retires a child that has served enough, and starts one where there is none.

        At most one is started an invocation, so that a program which dies at once is not started in a loop.
        """
        child = self.child
        try:
            if child is not None:
                why = self._wear.why(child, child.uses)
                if why is not None:
                    self._note(f"{why} and is replaced", None, level="INFO")
                    self.retire()
            if self.child is None and not self._started:
                self._spawn(self._ahead())
        except _NoChild:
            pass  # the next invocation finds it out, and tells its caller
        except BaseException:
            self.drop()
            raise

    def retire(self) -> None:
        """The ladder, for a child that is not asked any more: the end of its input, SIGTERM, SIGKILL, with the grace in between."""
        child = self.child
        if child is None:
            return
        try:
            child.leave()
            until = now() + self._grace
            while not child.gone and child.attend(until):
                pass
            self._end(child, self._ahead(), self._no_deadline())
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Kills the child at once, whatever its state."""
        child, self.child = self.child, None
        if child is not None:
            self._parent.destroy(child)

    def forget(self) -> None:
        """In a forked process: the child is another's."""
        child, self.child = self.child, None
        if child is not None:
            child.abandon()

    def _ask(self, child: Kept, request: Request, deadline: Deadline) -> Outcome:
        framing: Framing = request.framing  # type: ignore[assignment] # the codec makes requests for this mode
        framing.follow(child.framing)
        child.framing = framing
        if self._parent.tags_lines or not child.stderr.silent:
            child.stderr.begin(self._parent.lines_to(request), anew=child.uses > 0)
        child.asked = child.started if self._started else deadline.began
        child.uses += 1
        child.send(request.stdin)
        while child.attend(deadline.stop_at) and not (
            framing.complete or child.gone or framing.overflowed or framing.excess
        ):
            if not child.hears:
                if not self._goes(child, deadline):
                    return self._break_off(child, "closed its reply's descriptor", request, deadline, replied=False)
                break
        if framing.complete and (child.uses == 1 or framing.reply.startswith(REPORT)):
            how = self._is_doubtful(child, request, deadline)
            if how is not None:
                return self._break_off(child, how, request, deadline)
        if framing.complete and not (framing.excess or framing.overflowed or child.gone):
            return _answer(child)
        return self._conclude(child, request, deadline)

    def _conclude(self, child: Kept, request: Request, deadline: Deadline) -> Outcome:
        """What it was where not just a reply came: its end, too much, nothing in time, or more than a reply."""
        framing = child.framing
        outcome = None
        if child.gone or framing.overflowed or not (framing.complete or framing.excess):
            outcome = self._end(child, request, deadline)
            if framing.overflowed or not (framing.complete or framing.excess) or isinstance(outcome, Stopped):
                return outcome
            if framing.reply.startswith(REPORT) and isinstance(outcome, (Exited, Signaled)):
                return outcome
        if outcome is not None and not framing.excess:
            self._note(f"{ending(outcome)} while nothing was asked of it; the next request gets a new one", request)
        if framing.excess:
            what = "besides its reply" if framing.complete else "which is no reply to what was asked"
            how = f"wrote {_shown(framing.excess)} {what}"
            return self._breach(child, how, request, outcome or self._end(child, request, deadline, grace=0))
        return _answer(child)

    def _is_doubtful(self, child: Kept, request: Request, deadline: Deadline) -> str | None:
        """Looks twice where a line may be no reply, and returns why it is none: before the first reply a greeting may come.

        An error may be the last words of a child that fails, which then has gone.
        """
        if child.framing.reply.startswith(REPORT):
            self._dies(child, deadline)
        elif not child.gone and not self._says_ready and isinstance(child.framing, Line):
            if child.unread >= len(request.stdin):
                return f"wrote {_shown(child.framing.reply)} before it had read anything of its request"
            child.attend(now() + GREETING)
        return None

    def _goes(self, child: Kept, deadline: Deadline) -> bool:
        """Whether a child that has closed its reply's descriptor had replied, or ends now, as one does that has closed all of them."""
        if child.framing.complete:
            return True
        return self._dies(child, deadline)

    def _dies(self, child: Kept, deadline: Deadline) -> bool:
        """Whether it ends within linger_ms."""
        until = now() + self._parent.linger
        if deadline.stop_at is not None:
            until = min(until, deadline.stop_at)
        while not child.gone and child.attend(until):
            pass
        return child.gone

    def _fit_child(self, request: Request, deadline: Deadline) -> Kept:
        """The child that is there, if a second look finds nothing wrong with it, or a new one.

        Raises:
            _NoChild: there is none.
        """
        child = self.child
        if child is not None:
            child.stderr.begin(self._parent.lines_to(request), anew=child.uses > 0)
            if not child.ready:
                self._await_ready(child, request, deadline)
                return child
            why = self._is_unfit(child, request, deadline)
            worn = why or self._wear.why(child, child.uses)
            if worn is None:
                return child
            if why is None:
                self._note(f"{worn} and is replaced", request, level="INFO")
                self.retire()
            elif self.child is not None:
                self._note(f"{why}; it was killed, and a new one gets the request", request)
                self.drop()
            else:
                self._note(f"{why}; a new one gets the request", request)
        return self._start(request, deadline)

    def _is_unfit(self, child: Kept, request: Request, deadline: Deadline) -> str | None:
        """Why it can't be asked again, or None."""
        child.attend(now())
        framing = child.framing
        if child.gone:
            return f"{ending(self._end(child, request, deadline))} while nothing was asked of it"
        if not child.hears:
            return "closed its reply's descriptor while nothing was asked of it"
        if framing.excess or framing.overflowed:
            how = f"wrote {_shown(framing.excess)} while nothing was asked of it"
            if child.uses == 0:  # as the next one would, and who knows when
                raise _NoChild(self._break_off(child, f"{how} yet", request, deadline))
            return how
        if child.unread > LINE_FEED:
            return f"left {child.unread} bytes of its last request unread"
        return None

    def _start(self, request: Request, deadline: Deadline) -> Kept:
        """A new child, for that request.

        Raises:
            _NoChild: it was not started, did not become ready, or died before that.
        """
        self._started = True
        child = self._spawn(self._ahead())
        child.stderr.begin(self._parent.lines_to(request), anew=False)
        if not child.ready:
            self._await_ready(child, request, deadline)
        elif self._greets:  # perhaps: then before it is asked
            until = now() + self._parent.linger
            while not (child.gone or child.framing.excess) and child.attend(until):
                pass
            if child.framing.excess:
                how = f"wrote {_shown(child.framing.excess)} while nothing was asked of it yet"
                raise _NoChild(self._break_off(child, how, request, deadline))
        return child

    def _spawn(self, ahead: Request) -> Kept:
        child = self.child = self._parent.make(Kept, ahead)
        if self._says_ready:
            child.ready = False
            child.framing = Line(READY_BYTES)
        try:
            self._parent.start(child, ahead)
        except ExecutableError as refusal:
            self.child = None
            raise _NoChild(NotStarted(refusal)) from None
        return child

    def _await_ready(self, child: Kept, request: Request, deadline: Deadline) -> None:
        """Waits for the line by which it says that it is ready, within its own time and the invocation's.

        Raises:
            _NoChild: it does not come.
        """
        framing: Line = child.framing  # type: ignore[assignment] # see _spawn
        until = child.started + self._ready_within
        is_last = deadline.stop_at is not None and deadline.stop_at < until
        is_ready = child.comes_ready(deadline.stop_at if is_last else until)
        if is_ready:
            child.framing = self._ahead().framing  # type: ignore[assignment] # the codec makes requests for this mode
            child.stderr.insert(child.framing.feed(framing.excess))
            if not child.framing.excess:
                child.ready = True
                return
        late = not (framing.complete or framing.overflowed or child.gone) and child.hears
        went = child.gone or (not child.hears and self._goes(child, deadline))
        outcome = self._end(child, request, deadline)
        if (late and is_last) or not isinstance(outcome, Ended) or (went and isinstance(outcome, (Exited, Signaled))):
            raise _NoChild(outcome)
        if late:
            how = (
                f"had not written its line {READY} {seconds(self._ready_within)} (SHIM_READY_WITHIN_MS) after its start"
            )
        elif is_ready:
            how = f"wrote {_shown(framing.excess)} after its line {READY}, before it was asked"
        elif framing.reply:
            how = f"wrote {_shown(framing.reply)} before it was asked, and not its line {READY}"
        else:
            how = f"{ending(outcome)} before it wrote its line {READY}"
        raise _NoChild(
            NotStarted(
                NotReady(how, executable=self._parent.name, duration=outcome.duration, stderr_tail=outcome.stderr_tail)
            )
        )

    def _no_deadline(self) -> Deadline:
        return Deadline(now(), remaining=FOREVER, margin=FOREVER, grace=self._grace)

    def _break_off(
        self, child: Kept, how: str, request: Request, deadline: Deadline, *, replied: bool = True
    ) -> Outcome:
        """Ends a child that broke the protocol while it was asked."""
        outcome = self._end(child, request, deadline, grace=0)
        return self._breach(child, how, request, outcome, replied=replied)

    def _breach(self, child: Kept, how: str, request: Request, outcome: Outcome, *, replied: bool = True) -> Outcome:
        """The outcome of a child that broke the protocol, and was ended with that one."""
        self._note(f"{how}; it was killed", request)
        cure = child.framing.cure
        if child.uses < 2 and not self._says_ready and isinstance(child.framing, Line):
            self._greets = True
            cure = 'make it write nothing to standard output but its replies; or, for a line {"ok":true} at its start, set SHIM_READY=true'
        if isinstance(outcome, Ended):
            return Misbehaved(how, replied=replied, cure=cure, **outcome.facts())
        return outcome

    def _end(self, child: Kept, request: Request, deadline: Deadline, *, grace: float | None = None) -> Outcome:
        """Ends the child, which leaves the place empty; what it did. A success is none, since it ended without a reply."""
        outcome = self._parent.end(child, request, deadline, grace=grace)
        self.child = None
        rest = child.framing.rest()
        child.stderr.insert(rest + b"\n" if rest else b"")
        if isinstance(outcome, Exited) and outcome.code in self._successes:
            how = "ended with success" + (f" (exit code {outcome.code})" if outcome.code else "")
            return Misbehaved(how, replied=False, **outcome.facts())
        return outcome

    def _note(self, sentence: str, request: Request | None, *, level: str = "WARN") -> None:
        request_id = request.request_id if request else None
        self._parent.log.note(f"{self._parent.name} {sentence}", level=level, request_id=request_id)


def _answer(child: Kept) -> Replied | Refused:
    """What a child that has replied did. It waits for the next request, or has gone."""
    framing = child.framing
    tail = ""
    if not child.stderr.silent:
        child.empty_stderr()  # what it wrote before the reply is this invocation's
        child.stderr.close()  # its last line may else wait for the next one, for hours
        tail = child.stderr.tail
    message = framing.message
    if message is not None and "error" in message:
        return Refused(message["error"], framing.reply, now() - child.asked, tail)
    return Replied(framing.reply, now() - child.asked, tail, message)


class _NoChild(Exception):
    """There is no child to ask; what became of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def _shown(data: bytes | bytearray) -> str:
    """The beginning of some bytes, as a person reads them."""
    return f"{bytes(data[:SHOWN])!r}{'…' if len(data) > SHOWN else ''}"
