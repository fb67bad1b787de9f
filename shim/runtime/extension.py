"""An internal extension, so that Lambda sends SIGTERM before it ends everything: without one there is only SIGKILL.

It asks for no events; but its call for the next one must wait on a connection of its own, or Lambda does not take the init for finished.
Source: AWS's developer guide, "Using the Lambda Extensions API to create extensions" and "Understanding the Lambda execution environment
lifecycle": the time between the two signals is 500 ms, of which 300 are for us.
"""

from __future__ import annotations

from shim.runtime.connection import Connection
from shim.runtime_api import messages

NAME = "shim"
EVENTS = b'{"events":[]}'


class Extension:
    """Registers at that `host:port`.

    Raises:
        RuntimeApiError: the server can't be reached.
    """

    def __init__(self, address: str) -> None:
        self._connection = Connection(address)
        self._address = address

    def register(self) -> str | None:
        """Registers, and waits for an event that never comes: nobody reads the answer. Returns why that was refused, where it was."""
        answer = self._connection.ask(
            self._head("POST", messages.EXTENSION_REGISTER, messages.EXTENSION_NAME, NAME)
            + f"{messages.CONTENT_TYPE}: {messages.JSON}\r\nContent-Length: {len(EVENTS)}\r\n\r\n".encode(),
            EVENTS,
        )
        identifier = answer.headers.get(messages.EXTENSION_IDENTIFIER.lower())
        if answer.status != 200 or identifier is None:
            self._connection.close()
            return str(answer)
        head = self._head("GET", messages.EXTENSION_NEXT, messages.EXTENSION_IDENTIFIER, identifier)
        self._connection.send(head + b"\r\n")
        return None

    def _head(self, method: str, target: str, name: str, value: str) -> bytes:
        return f"{method} {target} HTTP/1.1\r\nHost: {self._address}\r\n{name}: {value}\r\n".encode()
