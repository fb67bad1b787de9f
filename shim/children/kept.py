"""A child that is kept from one request to the next, and how it is looked at in between."""

from __future__ import annotations

import os
import select

import orjson

from shim.children import sweep
from shim.children.pipes import left
from shim.children.process import LARGE_PIPE_SIZE, Child
from shim.children.reaper import TICK, has_ended
from shim.invocation import now
from shim.request import Envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from typing import Any

    from shim.invocation import Deadline
    from shim.request import Framing
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

READY = '{"ok":true}'
READY_BYTES = 4096
"""How long the line may be by which a child says that it is ready."""


class Kept(Child):
    """A child whose standard input stays open."""

    kept = True
    ready = True
    """Whether it has said so, where it has to."""
    uses = 0
    """How many requests it was sent."""
    is_settled = True
    """Whether it has done all that it does after a reply."""
    framing: Framing
    left_unread = False
    """Whether it had not read all of its request when it replied."""

    def spawn(self, arguments: list[str], environment: Mapping[bytes, bytes], **how: Any) -> None:
        """As every child, and prepares the look at the idle child.

        Raises:
            OSError: as every child.
        """
        super().spawn(arguments, environment, **how)
        os.set_blocking(self._stdin, False)
        self._idle = select.poll()
        self._idle.register(self._reply, select.POLLIN)

    def is_idle(self) -> bool:
        """Whether it is silent and lives, as far as the look at its reply's pipe tells, and has read its last request. If not, `attend` tells more."""
        return self.ready and not self.left_unread and not self._idle.poll(0)

    @property
    def unread(self) -> int:
        """How many bytes of its requests it has not read."""
        return left(self._unread) + len(self._unsent)

    def comes_ready(self, until: float | None) -> bool:
        """Whether it writes, until then, the line that says it is ready."""
        framing = self.framing
        while not (framing.complete or framing.overflowed or self.gone) and self.hears and self.attend(until):
            pass
        try:
            said = orjson.loads(framing.reply)
        except orjson.JSONDecodeError:
            return False
        return framing.complete and isinstance(said, dict) and list(said) == ["ok"] and said["ok"] is True

    def empty_stderr(self) -> None:
        """Takes what is in the pipe of its standard error now, and no more: somebody may go on writing."""
        size = left(self._stderr) if self._stderr in self._open else 0
        while size > 0 and self._stderr in self._open:
            size -= self._read_stderr(select.POLLIN)

    def end_reply(self) -> None:
        """Takes what is in the pipe of its reply now, and nothing that comes later."""
        size = left(self._reply) if self.hears else 0
        while size > 0 and self.hears:
            size -= self._read_reply(select.POLLIN)
        self._close(self._reply)

    def dies_within(self, seconds: float, deadline: Deadline) -> bool:
        """Whether it ends in so many seconds, and within the deadline."""
        until = deadline.before(now() + seconds)
        while not self.gone and self.attend(until):
            pass
        return self.gone

    def settle(self, seconds: float) -> None:
        """Gives it so many seconds to become settled, at the most."""
        until = now() + seconds
        while not (self.is_settled or self.gone) and self.attend(until):
            pass

    def leave(self) -> None:
        """Closes its standard input, which tells a program that reads lines to end."""
        self._close(self._stdin)

    def tell(self, number: int) -> None:
        """Signals its group, if it lives."""
        if self._lives():
            sweep.kill_group(self.pid, number)
            sweep.kill_group(self.pid, signal.SIGCONT)  # a stopped process takes no signal but SIGKILL

    def goes_away(self, until: float) -> None:
        """Returns when it has gone, to which somebody else attends, or then."""
        while self._lives() and now() < until:
            select.poll().poll(TICK * 1000)

    def _lives(self) -> bool:
        try:
            return bool(self._born) and not has_ended(self.pid)
        except ChildProcessError:  # who attends to it has reaped it
            return False


class KeptByEnvelope(Kept):
    """The same, whose lines go to the log one by one, unless they are replies: less is read at a time, but within a long one."""

    def _read_reply(self, event: int) -> int:
        if isinstance(self.framing, Envelope):  # it is asked to be ready in lines
            self._chunk = LARGE_PIPE_SIZE if self.framing.is_long else self.log.chunk
        return super()._read_reply(event)
