"""The Runtime API of one execution environment, served on a port of its own: `shim.runtime_api.server` with asyncio's sockets around it."""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from shim.runtime_api.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from shim.runtime_api.connection import Connection
    from shim.runtime_api.events import Event

BACKLOG = 128
"""Connections that may wait to be accepted."""


class RuntimeServer:
    """Serves the runtime of one execution environment.

    Args:
        registration: what an extension is told when it registers.
        tell: takes what happens, in the order in which it does.
        ready: is called when the runtime waits for an invocation, and so does every extension that has registered; maybe more than once.
        limit: the most bytes of a response that is not streamed.
        stream_limit: the most bytes of one that is.
    """

    def __init__(
        self,
        *,
        registration: Mapping[str, str],
        tell: Callable[[Event], None],
        ready: Callable[[], None],
        limit: int,
        stream_limit: int,
    ) -> None:
        self._api = Server(
            registration=registration, identify=lambda: str(uuid4()), limit=limit, stream_limit=stream_limit
        )
        self._tell = tell
        self._ready = ready
        self._peers: set[Peer] = set()
        self._deserted = asyncio.Event()
        self._deserted.set()
        self._listening: asyncio.Server | None = None
        self._told_of: Peer | None = None
        self.address = ""
        """`host:port`, once it listens."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, backlog=BACKLOG)
        host, port = self._listening.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.close()
        for peer in tuple(self._peers):
            peer.abort()

    async def outlast(self, seconds: float) -> None:
        """Waits until all clients have gone, since the last words of one that has ended may still be on their way; but no longer than that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._deserted.wait(), seconds)

    @property
    def waits(self) -> bool:
        """Whether the runtime waits for an invocation."""
        return self._api.waits

    def invoke(self, request_id: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Hands an invocation to the runtime, which waits for one."""
        self._api.invoke(request_id, headers, body)
        self._serve()

    def forget(self, request_id: str) -> None:
        """The time of that invocation is over: an answer to it is refused from now on."""
        self._api.forget(request_id)

    def hold(self, room: asyncio.Future[None]) -> None:
        """Reads no more from the client whose data is just told of, until the future is done."""
        if self._told_of is not None:
            self._told_of.hold(room)

    def connect(self, peer: Peer) -> Connection:
        """A client has connected."""
        self._peers.add(peer)
        self._deserted.clear()
        return self._api.connect()

    def leave(self, peer: Peer) -> None:
        """It has gone."""
        self._peers.discard(peer)
        if not self._peers:
            self._deserted.set()
        self._serve()

    def receive(self, peer: Peer, data: bytes) -> None:
        """Takes what a client sent; b"" is its end."""
        for other in tuple(self._peers):
            if other is not peer and other.has_left:
                other.abort()
        peer.connection.receive(data)
        peer.send()
        self._serve(peer)

    def _serve(self, served: Peer | None = None) -> None:
        """Sends what is to go out, and tells what has happened."""
        for peer in tuple(self._peers):
            if peer is not served:
                peer.send()
        happened, self._api.events[:] = list(self._api.events), ()
        self._told_of = served
        for event in happened:
            self._tell(event)
        self._told_of = None
        if self.waits:
            self._ready()


class Peer(asyncio.Protocol):
    """One connection of the runtime's."""

    connection: Connection
    _transport: asyncio.Transport

    def __init__(self, server: RuntimeServer) -> None:
        self._server = server
        self._holds = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = transport  # type: ignore[assignment] # a server's are
        self.connection = self._server.connect(self)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._server.receive(self, data)

    def eof_received(self) -> bool:
        """As asyncio calls it: the connection is not closed before the answers are out."""
        self._server.receive(self, b"")
        return True

    def connection_lost(self, _: Exception | None) -> None:
        """As asyncio calls it."""
        self.connection.close()
        self._server.leave(self)

    def send(self) -> None:
        """Sends what is to go out; asyncio keeps what the socket does not take at once."""
        data = self.connection.take()
        if data:
            self._transport.write(data)
        if self.connection.closing:
            self._transport.close()
        elif self.connection.reads and not self._holds:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    @property
    def has_left(self) -> bool:
        """Whether its client has gone while nothing is read from it, which nothing else tells. What it sent last is of no use then: more is missing."""
        if not self._holds:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLRDHUP)
        return len(poll.poll(0)) > 0

    def hold(self, room: asyncio.Future[None]) -> None:
        """Reads no more until the future is done."""
        self._holds += 1
        self._transport.pause_reading()
        room.add_done_callback(self._go_on)

    def _go_on(self, _: asyncio.Future[None]) -> None:
        self._holds -= 1
        self.send()

    def abort(self) -> None:
        """Closes it, whatever is to go out."""
        self._transport.abort()
