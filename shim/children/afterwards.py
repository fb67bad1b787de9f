"""The time after an answer: what can wait is done when the host has sent it, and before it asks for the next event.

awslambdaric has no hook for that. But it makes a context object for each invocation, and drops it when it has posted the answer: so what waits
is done when that object goes.
"""

from __future__ import annotations

from _weakref import ref  # what `weakref` gives out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Afterwards:
    """Does things when a context is dropped."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, ref[Any]] = {}

    def do(self, work: Callable[[], None], context: object) -> None:
        """Does the work when the context object goes; now, where there is none, or one of a kind that can't be watched."""

        def dropped(watched: ref[Any]) -> None:
            self._waiting.pop(id(watched), None)
            work()

        try:
            watched = ref(context, dropped)
        except TypeError:
            work()
        else:
            self._waiting[id(watched)] = watched
