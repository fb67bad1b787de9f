"""The Runtime API of one execution environment, served on a port of its own: `shim.runtime_api.server` with asyncio's sockets around it."""

from __future__ import annotations

import asyncio
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
        limit: the most bytes of a response that is not streamed.
        stream_limit: the most bytes of one that is.
    """

    def __init__(
        self, *, registration: Mapping[str, str], tell: Callable[[Event], None], limit: int, stream_limit: int
    ) -> None:
        self._api = Server(
            registration=registration, identify=lambda: str(uuid4()), limit=limit, stream_limit=stream_limit
        )
        self._tell = tell
        self._peers: set[Peer] = set()
        self._listening: asyncio.Server | None = None
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

    def connect(self, peer: Peer) -> Connection:
        """A client has connected."""
        self._peers.add(peer)
        return self._api.connect()

    def leave(self, peer: Peer) -> None:
        """It has gone."""
        self._peers.discard(peer)
        self._serve()

    def receive(self, peer: Peer, data: bytes) -> None:
        """Takes what a client sent; b"" is its end."""
        peer.connection.receive(data)
        peer.send()
        self._serve(peer)

    def _serve(self, served: Peer | None = None) -> None:
        """Sends what is to go out, and tells what has happened."""
        for peer in tuple(self._peers):
            if peer is not served:
                peer.send()
        happened, self._api.events[:] = list(self._api.events), ()
        for event in happened:
            self._tell(event)


class Peer(asyncio.Protocol):
    """One connection of the runtime's."""

    connection: Connection
    _transport: asyncio.Transport

    def __init__(self, server: RuntimeServer) -> None:
        self._server = server

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
        elif self.connection.reads:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def abort(self) -> None:
        """Closes it, whatever is to go out."""
        self._transport.abort()
