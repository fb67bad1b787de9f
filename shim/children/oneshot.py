"""Mode `oneshot`: one child for each invocation. Its request is all of its standard input, its reply all that it writes, its end the end."""

from __future__ import annotations

from shim.children.process import Child
from shim.errors import ExecutableError
from shim.invocation import SHORTEST, Deadline, now
from shim.outcome import Exited, NotStarted, Signaled, Stopped
from shim.settings import STREAMED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.children.parent import Parent
    from shim.outcome import Outcome
    from shim.request import Request
    from shim.settings import Settings


class OneShot:
    """Starts a child for a request, attends to it, and ends it with all that it left behind. Several threads may run at once.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a child is told that is started before its request.
    """

    def __init__(self, parent: Parent, settings: Settings, ahead: Callable[[], Request]) -> None:
        self._parent = parent
        self._kind: type[Child] = Child
        if settings.output in STREAMED:
            from shim.children.streaming import StreamingChild  # noqa: PLC0415 - only where it is asked for

            self._kind = StreamingChild
        self._spares = None
        self.has_work = settings.spare > 0
        """Whether `work` may have something to do."""
        if settings.spare:
            from shim.children.spare import Spares  # noqa: PLC0415 - only where it is asked for

            self._spares = Spares(parent, settings, ahead, self._kind)

    def start(self) -> None:
        """Starts the first spares, at init or after a snapshot."""
        self.work()

    def work(self) -> None:
        """What can wait until the answer is out: starts the next spares."""
        if self._spares is not None:
            self._spares.fill()

    def dismiss(self) -> None:
        """Takes the spares down."""
        if self._spares is not None:
            self._spares.dismiss()

    def close(self) -> None:
        """Takes the spares down, for ever."""
        if self._spares is not None:
            self._spares.close()

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request. Nothing of it is left afterwards."""
        if deadline.lambda_at is not None and deadline.lambda_at - now() < SHORTEST:
            return NotStarted(None)
        taken: list[Child] = []  # the child, as soon as there is one: an interrupt between two steps would lose it
        try:
            if self._spares is not None:
                self._spares.take(request, taken)
            if taken:
                taken[0].serve(request.framing, self._parent.lines_to(request))
            else:
                taken.append(self._parent.make(self._kind, request))
                self._parent.start(taken[0], request)
            (child,) = taken
            child.sink, child.deliver_until = request.sink, deadline.stop_at
            child.send(request.body)
            while not (child.gone or request.framing.overflowed) and child.attend(deadline.stop_at):
                pass
            outcome = self._parent.end(child, request, deadline)
        except ExecutableError as refusal:
            return NotStarted(refusal)
        except ChildProcessError as error:
            raise self._parent.lost(taken[0] if taken else None, request, deadline) from error
        except BaseException:
            for child in taken:
                self._parent.destroy(child)
            raise
        if not child.is_delivered and isinstance(outcome, (Exited, Signaled)):
            return Stopped(None, stalled=True, **outcome.facts())
        return outcome
