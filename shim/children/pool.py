"""The places for kept children: every thread that calls has one of its own, and waits where all are taken."""

from __future__ import annotations

from _thread import allocate_lock

from shim.children import lifetime
from shim.children.conversation import Conversation
from shim.children.warm import Place, take_down
from shim.errors import DeadlineExceeded
from shim.invocation import SHORTEST, now
from shim.outcome import NotStarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _thread import LockType
    from collections.abc import Callable

    from shim.children.kept import Kept
    from shim.children.parent import Parent
    from shim.invocation import Deadline
    from shim.outcome import Outcome
    from shim.request import Request
    from shim.settings import Settings
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

LAST = (-1,)


class Pool:
    """Runs requests in kept children, as many at a time as there are places.

    The place that was left last is taken first, so that one thread alone has one child.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a child is told at its start.
        conversation: how children are spoken to.
    """

    def __init__(
        self,
        parent: Parent,
        settings: Settings,
        ahead: Callable[[], Request],
        conversation: type[Conversation] = Conversation,
    ) -> None:
        self._name = settings.executable
        self._places = [
            Place(parent, settings, ahead, conversation(parent, settings, ahead)) for _ in range(settings.max_children)
        ]
        self.grace = settings.grace_ms / 1000
        """Seconds between two rungs of the ladder."""
        self._ends = False
        """Whether the ladder has begun, for all: nobody else takes a child down."""
        self._idle: list[Place] = []
        self._busy: list[Kept] = []
        """The children that are asked something meanwhile, by other threads or below on the stack."""
        self._closed = False
        self._open()
        lifetime.watch(self)

    has_work = False
    """Whether `work` may have something to do, in the place that was left last."""

    def _open(self) -> None:
        self._free = list(self._places)
        self._waiting: list[LockType] = []
        """A locked lock for each thread that waits, which is unlocked when a place may be free."""

    def start(self) -> Outcome | None:
        """Starts the first child, at init or after a snapshot. None where all is well, else what became of it."""
        taken: list[Place] = []
        try:
            self._take(taken)
            return None if not taken or taken[0].child is not None or self._closed else taken[0].start()
        finally:
            self._free.extend(taken)  # before all else: an interrupt would lose it
            self._have_left(taken)

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request, in a place that is free within the deadline."""
        if deadline.remaining < SHORTEST:
            return NotStarted(None)
        taken: list[Place] = []
        try:
            if not (self._take(taken) or self._wait_for(taken, deadline)):
                return NotStarted(self._all_busy())
            return taken[0].run(request, deadline)
        finally:
            self._free.extend(taken)  # before all else: an interrupt would lose it
            self._have_left(taken)

    def _take(self, taken: list[Place]) -> bool:
        """Moves the place that was left last there, if one is free, in one call: an interrupt on the way would lose it."""
        try:
            taken.extend(map(self._free.pop, LAST))
        except IndexError:
            return False
        return True

    def _wait_for(self, taken: list[Place], deadline: Deadline) -> bool:
        """Waits until a place is free, within the deadline."""
        while True:
            lock = allocate_lock()
            lock.acquire()
            self._waiting.append(lock)
            # One that was left before we waited for it is here now; one that is left from here on unlocks.
            told = not self._take(taken) and lock.acquire(
                timeout=-1 if deadline.stop_at is None else max(0, deadline.stop_at - now())
            )
            if not told and not self._stops_waiting(lock):
                self._wake()  # it was unlocked all the same: then another one is free, for somebody else
            if taken or self._take(taken):
                return True
            if not told:
                return False

    def _stops_waiting(self, lock: LockType) -> bool:
        try:
            self._waiting.remove(lock)
        except ValueError:
            return False
        return True

    def _wake(self) -> None:
        """Unlocks for the thread that has waited longest."""
        try:
            self._waiting.pop(0).release()
        except IndexError:
            pass

    def _all_busy(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            executable=self._name, signal=None, duration=None, stderr_tail="", busy=len(self._places)
        )

    def work(self) -> None:
        """What can wait until the answer is out, in the place that was left last."""
        taken: list[Place] = []
        try:
            if self._take(taken) and not self._closed:
                taken[0].work()
        finally:
            self._free.extend(taken)  # before all else: an interrupt would lose it
            self._have_left(taken)

    def _have_left(self, taken: list[Place]) -> None:
        """These places are free again."""
        for place in taken:
            self.has_work = place.has_work
            if self._waiting:
                self._wake()
        if self._closed and not self._ends:
            self.dismiss()

    def dismiss(self) -> None:
        """Takes the children down that are not asked anything at the moment; others are started when they are needed."""
        taken: list[Place] = []
        try:
            while self._take(taken):
                pass
            take_down(taken, self.grace)
        finally:
            self._free.extend(reversed(taken))

    def close(self) -> None:
        """As `dismiss`, and each child that is asked something goes after its reply."""
        self._closed = True
        self.dismiss()
        if all(place.child is None for place in self._places):  # else they go with this process
            lifetime.forget(self)

    def leave(self) -> None:
        """Ends the input of all children, those too that are asked something at the moment, in this thread or another."""
        self._closed = self._ends = True
        while self._take(self._idle):
            pass
        idle = self._idle
        self._busy = [place.child for place in self._places if place.child is not None and place not in idle]
        for place in idle:
            place.leave()
        for child in self._busy:
            child.leave()

    def wait(self, until: float) -> None:
        """Returns when all have gone, or then."""
        for place in self._idle:
            place.wait(until)
        for child in self._busy:
            child.goes_away(until)

    def terminate(self) -> None:
        """SIGTERM to all that are there."""
        for place in self._idle:
            place.terminate()
        for child in self._busy:
            child.tell(signal.SIGTERM)

    def bury(self) -> None:
        """SIGKILL to all that are there. Those that were asked something are reaped by who asked."""
        for child in self._busy:
            child.tell(signal.SIGKILL)
        for place in self._idle:
            place.bury()
        for child in self._busy:
            child.goes_away(now() + 1)

    def __del__(self) -> None:
        """Nobody can ask its children any more."""
        if lifetime is None:  # the interpreter has ended, and took all children down before it emptied its modules
            return
        if lifetime.is_collecting():
            for place in self._places:
                place.kill_quietly()
        else:
            lifetime.end([self])

    def was_forked(self) -> None:
        """In a forked process: all children are the other's. This one starts its own."""
        for place in self._places:
            place.forget()
        self._open()
