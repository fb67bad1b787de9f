"""Mode `oneshot`: one child for each invocation. Its request is all of its standard input, its reply all that it writes, its end the end."""

from __future__ import annotations

import os

from shim.children.diagnosis import no_tmp
from shim.children.process import Child
from shim.errors import ExecutableError, ShimError
from shim.invocation import SHORTEST, Deadline, now
from shim.outcome import NotStarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from shim.children.parent import Parent
    from shim.outcome import Outcome
    from shim.request import Request


class OneShot:
    """Starts a child for a request, attends to it, and ends it with all that it left behind. Several threads may run at once.

    Args:
        parent: starts and ends the children.
        fresh_tmp: whether each child gets a TMPDIR of its own.
    """

    def __init__(self, parent: Parent, *, fresh_tmp: bool) -> None:
        self._parent = parent
        self._fresh_tmp = fresh_tmp

    has_work = False

    def start(self) -> Outcome | None:
        """There is nothing to start before an invocation."""
        return None

    def work(self) -> None:
        """There is nothing that can wait."""

    def close(self) -> None:
        """No child outlives its invocation."""

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request. Nothing of it is left afterwards."""
        if deadline.lambda_at is not None and deadline.lambda_at - now() < SHORTEST:
            return NotStarted(None)
        if self._fresh_tmp:
            return self._run_with_fresh_tmp(request, deadline)
        return self._run(request, request.environment, deadline)

    def _run_with_fresh_tmp(self, request: Request, deadline: Deadline) -> Outcome:
        from shim.children import temporary  # noqa: PLC0415 - only where it is asked for

        try:
            folder = temporary.make()
        except OSError as refusal:
            return NotStarted(no_tmp(refusal, executable=self._parent.name))
        try:
            environment = {**request.environment, b"TMPDIR": os.fsencode(folder)}
            return self._run(request, environment, deadline)
        finally:
            temporary.remove(folder, until=deadline.give_up_at)
            if os.path.lexists(folder):
                self._parent.log.note(
                    f"{folder}, the temporary files of an invocation, could not be removed in time",
                    request_id=request.request_id,
                )

    def _run(self, request: Request, environment: Mapping[bytes, bytes], deadline: Deadline) -> Outcome:
        child = self._parent.make(Child, request)
        try:
            self._parent.start(child, request, environment)
            child.send(request.stdin)
            while not (child.gone or request.framing.overflowed) and child.attend(deadline.stop_at):
                pass
            return self._parent.end(child, request, deadline)
        except ExecutableError as refusal:
            return NotStarted(refusal)
        except ShimError:  # how it ended can't be known, and there is nothing left to do
            raise
        except BaseException:
            self._parent.destroy(child)
            raise
