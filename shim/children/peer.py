"""One connection of a bootstrap's to the Runtime API that it is served."""

from __future__ import annotations

import _socket as socket  # the enums that `socket` puts around it cost a cold start 2 ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.runtime_api.connection import Connection

MOST_UNSENT = 65_536
"""Bytes that a client may leave unread; it is read no further then."""


class Peer:
    """A connection of the child's: its socket, what is said over it, and what has not gone out yet."""

    __slots__ = ("connection", "socket", "unsent")

    def __init__(self, descriptor: int, connection: Connection) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.unsent = memoryview(b"")

    @property
    def reads(self) -> bool:
        """Whether more is to be received now."""
        return self.connection.reads and len(self.unsent) < MOST_UNSENT

    def receive(self) -> None:
        """Takes what has come."""
        try:
            data = self.socket.recv(self.connection.room)
        except BlockingIOError:
            return
        except OSError:  # the client reset it
            data = b""
        self.connection.receive(data)

    def send(self) -> None:
        """Sends what the socket takes of what is to go out."""
        more = self.connection.take()
        if more:
            self.unsent = memoryview(bytes(self.unsent) + more)
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:  # the client has gone
            self.unsent = memoryview(b"")
            self.connection.close()
