"""A one-shot child whose reply goes to a sink while it is written, no faster than the sink takes it."""

from __future__ import annotations

import select

from shim.children.pipes import left
from shim.children.process import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.request import Sink, Streamed


class StreamingChild(Child):
    """As every child, where its request has no sink. Else its framing is `Streamed`, and the sink is in the poll from the first piece on."""

    framing: Streamed
    _sink_descriptor = -1
    _pauses = False

    @property
    def pipes_open(self) -> bool:
        """Whether somebody still holds the other end of the reply or of standard error. While the reply pauses nobody reads of its end."""
        if not self._pauses or self._stderr in self._open:
            return super().pipes_open
        poll = select.poll()
        poll.register(self._reply, 0)
        return not poll.poll(0)

    def _empty(self, until: float) -> None:
        """What of its reply is in the pipe when all that could write is killed, and no more, goes to the sink: that may take until `deliver_until`."""
        super()._empty(until)
        if self.sink is None:
            return
        goal = max(0, self.framing.room - (left(self._reply) if self.hears else 0))
        while (self.framing.room > goal or self.sink.is_full) and self.attend(self.deliver_until):
            pass
        self.is_delivered = self.framing.room <= goal and not self.sink.is_full

    def _read_reply(self, event: int) -> int:
        size = super()._read_reply(event)
        if self.sink is not None:
            data = self.framing.take()
            if data:
                self.sink.write(data)
                self._watch(self.sink)
            elif self.framing.overflowed:
                self._close(self._reply)
        return size

    def _attend_to(self, descriptor: int, event: int) -> None:
        if self.sink is not None and descriptor == self._sink_descriptor:
            if event & ~select.POLLOUT:
                self.sink.hear()
            self.sink.push()
            self._watch(self.sink)

    def _watch(self, sink: Sink) -> None:
        """Polls for what the sink waits for, and for the reply only while the sink takes it."""
        self._sink_descriptor = sink.descriptor
        self._poll.register(sink.descriptor, select.POLLIN | (select.POLLOUT if sink.is_full else 0))
        if self._pauses != sink.is_full and self.hears:
            self._pauses = sink.is_full
            if self._pauses:
                self._poll.unregister(self._reply)
            else:
                self._poll.register(self._reply, select.POLLIN)
