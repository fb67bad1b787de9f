"""The Invoke API on a port of this machine, with uvicorn and h11 around the ASGI application."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from shim.local.event_queue import EventQueue
from shim.local.invoke_api import InvokeApi

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from shim.local.emulator import Emulator

HOST = "127.0.0.1"
BACKLOG = 512
"""Connections that may wait to be accepted."""
LONGEST_HEAD = 128 * 1024
"""Bytes of a request's line and headers."""
KEPT_ALIVE = 75
"""Seconds for which a connection without a request stays open: longer than the SDKs keep theirs."""
PATIENCE = 0.5
"""Seconds that a client has at the end to take its answer."""

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # what breaks HTTP is told to who asks for it


class Protocol(H11Protocol):
    """One connection, whose faults are told to the log of this module."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log


class InvokeServer:
    """Serves the Invoke API and the function URL of an emulator's function. An async context manager; the emulator is its caller's.

    Args:
        emulator: serves the function.
        port: 0 for any that is free.
        dead_letters: the path of a file that gets a line for each invocation of type Event that failed for good, or None.
        retry_scale: what the pauses between the attempts of such an invocation are multiplied with.
        say: takes a sentence for who runs the emulator: what went wrong that no client is told.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        port: int = 0,
        dead_letters: str | None = None,
        retry_scale: float = 1.0,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._port = port
        self.queue = EventQueue(emulator, dead_letters=dead_letters, scale=retry_scale, say=say)
        self._api = InvokeApi(emulator, self.queue, say=say)
        self._stack = AsyncExitStack()
        self.url = ""
        """`http://host:port`, once it listens."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listening = stack.enter_context(self._bind())
            await stack.enter_async_context(self.queue)
            config = Config(
                self._api,
                interface="asgi3",
                http=Protocol,
                ws="none",
                lifespan="off",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEPT_ALIVE,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=LONGEST_HEAD,
            )
            config.load()
            server = Server(config)
            server.lifespan = config.lifespan_class(config)
            await server.startup(sockets=[listening])  # neither its signal handlers nor its clock are wanted
            stack.push_async_callback(self._shut_down, server, listening)
            self.url = f"http://{HOST}:{listening.getsockname()[1]}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _bind(self) -> socket.socket:
        # With another `proto` asyncio leaves Nagle's algorithm on, and an answer takes 40 ms.
        listening = socket.socket(proto=socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, self._port))
        except OSError as refusal:
            listening.close()
            message = f"port {self._port} of {HOST} can't be had: {refusal.strerror}; name another one, or 0 for any that is free"
            raise OSError(refusal.errno, message) from None
        return listening

    async def _shut_down(self, server: Server, listening: socket.socket) -> None:
        """Takes no more requests, ends those that run, and leaves no connection open."""
        for listener in server.servers:
            listener.close()
        await self._api.close()
        handle = asyncio.get_running_loop().call_later(PATIENCE, _abort, server)
        await server.shutdown(sockets=[listening])
        handle.cancel()


def _abort(server: Server) -> None:
    """Closes the connections whose clients take nothing."""
    for connection in tuple(server.server_state.connections):
        if isinstance(connection, H11Protocol):
            connection.transport.abort()
