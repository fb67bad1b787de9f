"""A child that is kept, in mode warm or as a bootstrap: asked one request after the other, and never asked again once a reply of it might be another's.

Between two requests it must be silent, and have read all of the last one. What does not hold to that is poisoned: killed and replaced, with a
line in the log that says why.
"""

from __future__ import annotations

from shim.children import sweep
from shim.children.conversation import NoChild
from shim.children.wear import Wear
from shim.errors import ExecutableError, ShimError
from shim.invocation import Deadline, now
from shim.outcome import Exited, NotStarted, Overflowed, Signaled, Stopped, ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from shim.children.conversation import Conversation
    from shim.children.kept import Kept
    from shim.children.parent import Parent
    from shim.outcome import Outcome
    from shim.request import Request
    from shim.settings import Settings
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms


class Place:
    """A place for one kept child, in which one request is served at a time.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a child is told at its start, with a framing for what it writes before it is asked.
        conversation: how they are spoken to.
    """

    def __init__(
        self, parent: Parent, settings: Settings, ahead: Callable[[], Request], conversation: Conversation
    ) -> None:
        self._parent = parent
        self._ahead = ahead
        self._conversation = conversation
        self._grace = settings.grace_ms / 1000
        self._wear = Wear(settings)
        self._kept: Kept | None = None
        self._started = True
        """Whether a child was started in the last invocation here, or there was none yet: `work` starts no other then."""

    @property
    def child(self) -> Kept | None:
        """The child that is here, or None."""
        child = self._kept
        return None if child is None or child.over else child

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
            outcome = self._conversation.ask(child, request, deadline)
            ended_by_itself = child.over and not isinstance(outcome, (Stopped, Overflowed))
            if not ended_by_itself or child.read_something or self._started or _is_touched(request):
                return outcome
            self._conversation.note(
                f"{ending(outcome)} before it read anything of the request, which a new one gets", request
            )
            return self._conversation.ask(self._start(request, deadline), request, deadline)
        except NoChild as found:
            return found.outcome
        except ChildProcessError as error:
            raise self._parent.lost(self.child, request, deadline) from error
        except BaseException:
            self.drop()
            raise

    def start(self) -> Outcome | None:
        """Starts a child at init, and waits until it is ready where that is asked for. None where all is well."""
        try:
            self._start(self._ahead(), Deadline.none(grace=self._grace))
        except NoChild as found:
            return found.outcome
        except BaseException:
            self.drop()
            raise
        return None

    @property
    def has_work(self) -> bool:
        """Whether `work` may have something to do."""
        child = self.child
        return child is None or not child.is_settled or self._wear.is_limited

    def work(self) -> None:
        """What can wait until the answer is out: retires a child that has served enough, and starts one where there is none.

        At most one is started an invocation, so that a program which dies at once is not started in a loop.
        """
        try:
            child = self.child
            if child is not None:
                child.settle(self._parent.linger)
                why = self._wear.why(child, child.uses)
                if why is not None:
                    self._conversation.note(f"{why} and is replaced", None, level="INFO")
                    self.retire()
            if self.child is None and not self._started:
                self._spawn(self._ahead())
        except NoChild:
            pass  # the next invocation finds it out, and tells its caller
        except ExecutableError as failure:  # nobody waits for an answer
            self._parent.log.note(str(failure))
            self.drop()
        except BaseException:
            self.drop()
            raise

    def leave(self) -> None:
        """The first step of `retire`, for who has several places."""
        if self.child is not None:
            self.child.leave()

    def retire(self) -> None:
        """The ladder, for a child that is not asked any more."""
        take_down([self], self._grace)

    def wait(self, until: float) -> None:
        """Waits until then for the child's end."""
        try:
            while self.child is not None and not self.child.gone and self.child.attend(until):
                pass
        except BaseException:
            self.drop()
            raise

    def terminate(self) -> None:
        """SIGTERM to the child and its group."""
        if self.child is not None and not self.child.gone:
            self.child.tell(signal.SIGTERM)

    def bury(self) -> None:
        """The end of the child: at once, if it has not gone."""
        try:
            if self.child is not None:
                if not self.child.gone:
                    sweep.kill_group(self.child.pid)
                self._conversation.end(self.child, self._ahead(), Deadline.none(grace=0))
        except ShimError:
            pass  # nobody asks how it ended
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Kills the child at once, whatever its state."""
        child = self.child
        self._kept = None
        if child is not None:
            self._parent.destroy(child)

    def kill_quietly(self) -> None:
        """As `drop`, without a word."""
        if self.child is not None:
            self.child.kill_quietly()

    def forget(self) -> None:
        """In a forked process: the child is another's."""
        if self.child is not None:
            self.child.abandon()

    def _fit_child(self, request: Request, deadline: Deadline) -> Kept:
        """The child that is there, if a second look finds nothing wrong with it, or a new one.

        Raises:
            NoChild: there is none.
        """
        child = self.child
        if child is not None:
            child.stderr.begin(self._parent.lines_to(request), anew=child.uses > 0)
            if not child.ready:
                return self._ready_child(child, request, deadline)
            why = self._conversation.is_unfit(child, request, deadline)
            worn = why or self._wear.why(child, child.uses)
            if worn is None:
                return child
            if why is None:
                self._conversation.note(f"{worn} and is replaced", request, level="INFO")
                self._dismiss(child, deadline)
            elif not child.over:
                self._conversation.note(f"{why}; it was killed, and a new one gets the request", request)
                self.drop()
            else:
                self._conversation.note(f"{why}; a new one gets the request", request)
        return self._start(request, deadline)

    def _ready_child(self, child: Kept, request: Request, deadline: Deadline) -> Kept:
        """The child that was started ahead, when it is ready; or a new one, if it has died since.

        Raises:
            NoChild: there is none.
        """
        try:
            self._conversation.await_ready(child, request, deadline)
        except NoChild as found:
            if not isinstance(found.outcome, (Exited, Signaled)):
                raise
            self._conversation.note(
                f"{ending(found.outcome)} while nothing was asked of it; a new one gets the request", request
            )
            return self._start(request, deadline)
        return child

    def _dismiss(self, child: Kept, deadline: Deadline) -> None:
        """Ends a child in an invocation's time: it has linger_ms to go when its input has ended."""
        child.leave()
        child.dies_within(self._parent.linger, deadline)
        self.drop()

    def _start(self, request: Request, deadline: Deadline) -> Kept:
        """A new child, for that request.

        Raises:
            NoChild: it was not started, did not become ready, or died before that.
        """
        self._started = True
        child = self._spawn(self._ahead())
        child.stderr.begin(self._parent.lines_to(request), anew=False)
        if not child.ready:
            self._conversation.await_ready(child, request, deadline)
        else:
            self._conversation.await_greeting(child, request, deadline)
        return child

    def _spawn(self, ahead: Request) -> Kept:
        child = self._kept = self._conversation.make(ahead)
        try:
            self._parent.start(child, ahead)
        except ExecutableError as refusal:
            raise NoChild(NotStarted(refusal)) from None
        return child


def take_down(places: list[Place], grace: float) -> None:
    """The ladder, for all their children at once: the end of their input, SIGTERM, SIGKILL, with so many seconds in between."""
    for place in places:
        place.leave()
    until = now() + grace
    for place in places:
        place.wait(until)
    for place in places:
        place.terminate()
    until = now() + grace
    for place in places:
        place.wait(until)
        place.bury()


def _is_touched(request: Request) -> bool:
    """Whether anything came that its framing took."""
    return bool(request.framing.reply or request.framing.excess)
