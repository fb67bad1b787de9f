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

FIRST, LAST = (0,), (-1,)


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

    def take(self, request: Request, taken: list[Child]) -> None:
        """Moves the oldest spare that lives and is not too old there, for that request, if there is one. Who is interrupted finds it there, too.

        One that ended before it was asked did not wait for a request: what it wrote is no reply to one.
        """
        while self._pop(taken, FIRST):
            (child,) = taken
            if self._has_ended(child):
                self._end(taken, now())
                self._parent.log.note(
                    f"a spare of {self._parent.name} had ended before it was asked: spares are for programs that wait for their standard input",
                    request_id=request.request_id,
                )
            elif self._wear.is_reached(child):
                # At once: its grace would be the invocation's time, and it was asked nothing.
                self._parent.destroy(child)
                taken.clear()
            else:
                return

    def _has_ended(self, child: Child) -> bool:
        try:
            return has_ended(child.pid)
        except ChildProcessError:  # and somebody else has reaped it
            return True

    def _pop(self, taken: list[Child], at: tuple[int] = LAST) -> bool:
        """Moves one that waits no more there, in one call: an interrupt on the way would lose it. Tells whether there was one."""
        try:
            taken.extend(map(self._waiting.pop, at))
        except IndexError:
            return False
        sweep.waiting.pop(taken[-1].pid, None)
        return True

    def fill(self) -> None:
        """Starts as many as are missing. What can't be started is left to the next invocation, which tells its caller why."""
        if not self._filling.acquire(blocking=False):  # another thread does it, or this one in the middle of it
            return
        started: list[Child] = []
        try:
            while len(self._waiting) < self._wanted and not self._closed:
                self._start(started)
                sweep.waiting[started[0].pid] = started[0].mark
                self._waiting.extend(map(started.pop, LAST))  # in one call, likewise
            if self._closed:  # by another thread, meanwhile
                self.dismiss()
        except ExecutableError:
            pass
        except BaseException:
            for child in started:
                self._parent.destroy(child)
            raise
        finally:
            self._filling.release()

    def _start(self, started: list[Child]) -> None:
        ahead = self._ahead()
        started.append(self._parent.make(self._kind, ahead))
        self._parent.start(started[0], ahead)

    def dismiss(self) -> None:
        """Takes all spares down."""
        self._tell(self._waiting)
        until = now() + self.grace
        ending: list[Child] = []
        while self._pop(ending):
            self._end(ending, until)

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
        ending: list[Child] = []
        while self._pop(ending):
            self._end(ending, now())

    def _tell(self, children: list[Child]) -> None:
        for child in children:
            if not self._has_ended(child):
                sweep.kill_group(child.pid, signal.SIGTERM)

    def __del__(self) -> None:
        """Nobody can take one any more."""
        if lifetime.is_collecting():
            dropped: list[Child] = []
            while self._pop(dropped):
                dropped.pop().kill_quietly()
        else:
            self.close()

    def was_forked(self) -> None:
        """In a forked process: the spares are another's."""
        theirs: list[Child] = []
        while self._pop(theirs):
            theirs.pop().abandon()
        self._filling = allocate_lock()

    def _end(self, ending: list[Child], until: float) -> None:
        """Ends the one that is there and was told to, when that instant has come, and takes it out."""
        (child,) = ending
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
        ending.clear()
