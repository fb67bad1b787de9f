"""Children that outlive an invocation, and the life of our own process: they go with it, and belong to the process that started them.

They are taken down when the interpreter ends, and on SIGTERM, where nobody else handles it and Lambda sends it at all: to Python 3.12 and
later, when an extension is registered. In a process that is forked, as Lambda's runtime client does for several invocations at once, they are
another's.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from weakref import WeakSet

from shim.invocation import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Protocol

    class Owner(Protocol):
        """Who keeps children."""

        grace: float
        """Seconds between two rungs of the ladder."""

        def leave(self) -> None:
            """The first rung, by which children go that do as they are asked. Nothing is asked of any again."""

        def terminate(self) -> None:
            """The second: SIGTERM, for those that had another before."""

        def bury(self) -> None:
            """The last: SIGKILL, and the end of all that has gone."""

        def wait(self, until: float) -> None:
            """Returns when all have gone, or then."""

        def was_forked(self) -> None:
            """Forgets all children, in a forked process."""
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

HEARS_SIGTERM = sys.version_info >= (3, 12)
"""Whether Lambda sends SIGTERM: its runtime client can hear it from then on, since it waits for the next event in another thread."""

_owners: WeakSet[Owner] = WeakSet()


def is_collecting() -> bool:
    """Whether the garbage collector runs: then we may be anywhere, in the middle of a line of the log or of another invocation."""
    return _collecting


def _note_collection(phase: str, _: object) -> None:
    global _collecting  # noqa: PLW0603 - there is one collector in a process
    _collecting = phase == "start"


_collecting = False


def watch(owner: Owner) -> None:
    """From now on its children go with this process."""
    if not _owners:
        _prepare()
    _owners.add(owner)


def forget(owner: Owner) -> None:
    """It has taken its children down."""
    _owners.discard(owner)


def _prepare() -> None:
    """Once in a process, and again where a handler was reset."""
    global _prepared  # noqa: PLW0603 - the interpreter offers no way to take back the hook for forks
    if not _prepared:
        _prepared = True
        atexit.register(end_all)
        gc.callbacks.append(_note_collection)
        os.register_at_fork(after_in_child=_were_forked)
    if HEARS_SIGTERM and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        try:
            signal.signal(signal.SIGTERM, _end_with)
        except ValueError:
            pass  # not the main thread, which alone may do that


_prepared = False


def end_all(within: float | None = None) -> None:
    """Takes all children of this process down, those too that are asked something: in so many seconds, where that is less than `grace_ms` has it."""
    end(list(_owners), within)


def end(owners: list[Owner], within: float | None = None) -> None:
    """The ladder, for all children of these at once. Its last rung takes time as well, which is a third of what there is."""
    for owner in owners:
        owner.leave()
    for rung in (_terminate, _bury):
        began = now()
        for owner in owners:
            owner.wait(began + (owner.grace if within is None else min(owner.grace, within / 3)))
        for owner in owners:
            rung(owner)


def _terminate(owner: Owner) -> None:
    owner.terminate()


def _bury(owner: Owner) -> None:
    owner.bury()


def _end_with(number: int, _: object) -> None:
    """Takes all children down, and ends this process as the signal would have done."""
    signal.signal(number, signal.SIG_DFL)
    end_all()
    os.kill(os.getpid(), number)


def _were_forked() -> None:
    for owner in list(_owners):
        owner.was_forked()
