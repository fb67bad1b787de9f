"""The places for kept children: every thread that calls has one of its own, and waits where all are taken."""

from __future__ import annotations

from _queue import Empty, SimpleQueue  # what `queue` gives out, without the threads and the heap that it loads

from shim.children import lifetime
from shim.children.warm import Place
from shim.errors import DeadlineExceeded
from shim.invocation import SHORTEST, now
from shim.outcome import NotStarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.children.parent import Parent
    from shim.invocation import Deadline
    from shim.outcome import Outcome
    from shim.request import Request
    from shim.settings import Settings


class Pool:
    """Runs requests in kept children, as many at a time as there are places.

    The place that was left last is taken first, so that one thread alone has one child. There is a turn in the queue for each free place.

    Args:
        parent: starts and ends the children.
        settings: what is asked for.
        ahead: makes what a child is told at its start.
    """

    def __init__(self, parent: Parent, settings: Settings, ahead: Callable[[], Request]) -> None:
        self._name = settings.executable
        self._places = [Place(parent, settings, ahead) for _ in range(settings.max_children)]
        self._grace = settings.grace_ms / 1000
        self._closed = False
        self._open()
        lifetime.watch(self)

    has_work = False
    """Whether `work` may have something to do, in the place that was left last."""

    def _open(self) -> None:
        self._free = list(self._places)
        self._turns: SimpleQueue[None] = SimpleQueue()
        for _ in self._free:
            self._turns.put(None)

    def start(self) -> Outcome | None:
        """Starts the first child, at init or after a snapshot. None where all is well, else what became of it."""
        for place in self._take_free(at_most=1):
            try:
                if place.child is None and not self._closed:
                    return place.start()
            finally:
                self._leave(place)
        return None

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request, in a place that is free within the deadline."""
        if deadline.remaining < SHORTEST:
            return NotStarted(None)
        try:
            self._turns.get_nowait()
        except Empty:
            if not self._has_turn(deadline):
                return NotStarted(self._busy())
        place = self._free.pop()
        try:
            return place.run(request, deadline)
        finally:
            self._leave(place)

    def _has_turn(self, deadline: Deadline) -> bool:
        """Waits for a free place, within the deadline."""
        try:
            self._turns.get(timeout=None if deadline.stop_at is None else max(0, deadline.stop_at - now()))
        except Empty:
            return False
        return True

    def _busy(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            executable=self._name, signal=None, duration=None, stderr_tail="", busy=len(self._places)
        )

    def work(self) -> None:
        """What can wait until the answer is out, in the place that was left last."""
        for place in self._take_free(at_most=1):
            try:
                if not self._closed:
                    place.work()
            finally:
                self._leave(place)

    def _take_free(self, at_most: int) -> list[Place]:
        """Takes places that are free at the moment."""
        taken: list[Place] = []
        try:
            while len(taken) < at_most:
                self._turns.get_nowait()
                taken.append(self._free.pop())
        except Empty:
            pass
        return taken

    def _leave(self, place: Place) -> None:
        try:
            if self._closed:
                place.retire()
        finally:
            self.has_work = place.has_work
            self._free.append(place)
            self._turns.put(None)

    def dismiss(self) -> None:
        """Takes the children down that are not asked anything at the moment; others are started when they are needed."""
        free = self._take_free(at_most=len(self._places))
        try:
            _take_down(free)
        finally:
            for place in reversed(free):
                self._leave(place)

    def close(self) -> None:
        """As `dismiss`, and each child that is asked something goes after its reply."""
        self._closed = True
        self.dismiss()
        if all(place.child is None for place in self._places):  # else they go with this process
            lifetime.forget(self)

    def end(self) -> None:
        """This process ends: takes all children down, those too that are asked something at the moment, in this thread or another."""
        self._closed = True
        free = self._take_free(at_most=len(self._places))
        busy = [place.child for place in self._places if place.child is not None and place not in free]
        for child in busy:
            child.leave()
        _take_down(free)
        for child in busy:
            child.go_away(self._grace)

    def __del__(self) -> None:
        """Nobody can ask its children any more."""
        if lifetime.is_collecting():
            for place in self._places:
                place.kill_quietly()
        else:
            self.end()

    def was_forked(self) -> None:
        """In a forked process: all children are the other's. This one starts its own."""
        for place in self._places:
            place.forget()
        self._open()


def _take_down(places: list[Place]) -> None:
    """Tells all children to end, and then waits for one after the other."""
    for place in places:
        place.leave()
    for place in places:
        place.retire()
