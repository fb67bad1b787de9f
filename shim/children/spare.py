"""Spares: children of mode `oneshot` that were started before their invocation, and wait for its request. Each serves one, or none."""

from __future__ import annotations

from _thread import allocate_lock

from shim.children import lifetime, sweep
from shim.children.reaper import has_ended
from shim.children.wear import Wear
from shim.errors import ExecutableError, ShimError
from shim.invocation import Deadline, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from shim.children.parent import Parent
    from shim.children.process import Child
    from shim.request import Request
    from shim.settings import Settings
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms


class Spares:
    """Keeps so many spares. Several threads may take some.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a spare is told at its start.
        kind: what a spare is.
    """

    def __init__(self, parent: Parent, settings: Settings, ahead: Callable[[], Request], kind: type[Child]) -> None:
        self._parent = parent
        self._ahead = ahead
        self._kind = kind
        self._wanted = settings.spare
        self._wear = Wear(settings)
        self.grace = settings.grace_ms / 1000
        """Seconds between SIGTERM and SIGKILL."""
        self._waiting: list[Child] = []
        self._filling = allocate_lock()
        self._closed = False
        lifetime.watch(self)

    def take(self, request: Request) -> Child | None:
        """The oldest spare that lives and is not too old, for that request; None where there is none.

        One that ended before it was asked did not wait for a request: what it wrote is no reply to one.
        """
        while self._waiting:
            child = self._pop(0)
            if self._has_ended(child):
                self._end(child, now())
                self._parent.log.note(
                    f"a spare of {self._parent.name} had ended before it was asked: spares are for programs that wait for their standard input",
                    request_id=request.request_id,
                )
            elif self._wear.is_reached(child):
                # At once: its grace would be the invocation's time, and it was asked nothing.
                self._parent.destroy(child)
            else:
                return child
        return None

    def _has_ended(self, child: Child) -> bool:
        try:
            return has_ended(child.pid)
        except ChildProcessError:  # and somebody else has reaped it
            return True

    def _pop(self, at: int = -1) -> Child:
        """Takes one out: it waits no more."""
        child = self._waiting.pop(at)
        sweep.waiting.pop(child.pid, None)
        return child

    def fill(self) -> None:
        """Starts as many as are missing. What can't be started is left to the next invocation, which tells its caller why."""
        if not self._filling.acquire(blocking=False):  # another thread does it, or this one in the middle of it
            return
        try:
            while len(self._waiting) < self._wanted and not self._closed:
                child = self._start()
                sweep.waiting[child.pid] = child.mark
                self._waiting.append(child)
            if self._closed:  # by another thread, meanwhile
                self.dismiss()
        except ExecutableError:
            pass
        finally:
            self._filling.release()

    def _start(self) -> Child:
        ahead = self._ahead()
        child = self._parent.make(self._kind, ahead)
        try:
            self._parent.start(child, ahead)
        except ExecutableError:
            raise
        except BaseException:
            self._parent.destroy(child)
            raise
        return child

    def dismiss(self) -> None:
        """Takes all spares down."""
        self._tell(self._waiting)
        until = now() + self.grace
        while self._waiting:
            self._end(self._pop(), until)

    def close(self) -> None:
        """As `dismiss`, for ever."""
        self._closed = True
        self.dismiss()
        lifetime.forget(self)

    def leave(self) -> None:
        """SIGTERM to all spares. Their input is not closed first: that would be a request which is empty."""
        self._closed = True
        self._tell(self._waiting)

    def wait(self, until: float) -> None:
        """Returns when all have gone, or then."""
        for child in self._waiting:
            while not child.gone and child.attend(until):
                pass

    def terminate(self) -> None:
        """They were told."""

    def bury(self) -> None:
        """SIGKILL to all that are there."""
        while self._waiting:
            self._end(self._pop(), now())

    def _tell(self, children: list[Child]) -> None:
        for child in children:
            if not self._has_ended(child):
                sweep.kill_group(child.pid, signal.SIGTERM)

    def __del__(self) -> None:
        """Nobody can take one any more."""
        if lifetime.is_collecting():
            while self._waiting:
                self._pop().kill_quietly()
        else:
            self.close()

    def was_forked(self) -> None:
        """In a forked process: the spares are another's."""
        while self._waiting:
            self._pop().abandon()
        self._filling = allocate_lock()

    def _end(self, child: Child, until: float) -> None:
        """Ends one that was told to, when that instant has come."""
        try:
            while not child.gone and child.attend(until):
                pass
            if not child.gone:
                sweep.kill_group(child.pid)
            self._parent.end(child, self._ahead(), Deadline.none(grace=0))
        except ShimError:
            pass  # nobody asks how it ended
        except BaseException:
            self._parent.destroy(child)
            raise
