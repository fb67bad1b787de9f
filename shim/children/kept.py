"""A child that is kept from one request to the next, and how it is looked at in between."""

from __future__ import annotations

import os
import select

from shim.children.pipes import enlarge
from shim.children.process import PIPE_SIZE, Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from shim.request import Framing


class Kept(Child):
    """A child whose standard input stays open."""

    kept = True
    ready = True
    """Whether it has said so, where it has to."""
    uses = 0
    """How many requests it was sent."""
    framing: Framing
    _roomy = False

    def spawn(self, arguments: list[str], environment: Mapping[bytes, bytes], **how: Any) -> None:
        """As every child, and prepares the look at the idle child.

        Raises:
            OSError: as every child.
        """
        super().spawn(arguments, environment, **how)
        os.set_blocking(self._stdin, False)
        # A pipe of one page polls as writable only when it is empty: one look tells as well whether the last request was read. That its child
        # has died shows at the reply, which nobody else holds as a rule; if somebody does, the request tells.
        enlarge(self._stdin, select.PIPE_BUF)
        self._idle = select.poll()
        self._idle.register(self._stdin, select.POLLOUT)
        self._idle.register(self._reply, select.POLLIN)
        self._silence = [(self._stdin, select.POLLOUT)]

    def is_idle(self) -> bool:
        """Whether it is silent and has read its last request, and lives, as far as its pipes tell. If not, `attend` and `unread` tell more."""
        return self._idle.poll(0) == self._silence and self.ready and not self._roomy

    @property
    def unread(self) -> int:
        """How many bytes of its requests it has not read."""
        return self._left(self._unread) + len(self._unsent)

    def leave(self) -> None:
        """Closes its standard input, which tells a program that reads lines to end."""
        self._close(self._stdin)

    def _make_room(self, size: int) -> None:
        if not self._roomy:
            self._roomy = True
            enlarge(self._stdin, PIPE_SIZE)
        if size > PIPE_SIZE:
            super()._make_room(size)
