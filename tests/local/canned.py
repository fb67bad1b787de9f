"""A function for tests of the Invoke API: one whose results are given, or the streamer; and requests to its ASGI application."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shim.local.emulator import Emulator
from shim.local.environment import function_environment
from shim.local.event_queue import EventQueue
from shim.local.function import Function, Result
from shim.local.invoke_api import InvokeApi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from shim.local.function import Invocation

FOLDER = Path(__file__).parent
INVOKE = "/2015-03-31/functions/f/invocations"
STREAM = "/2021-11-15/functions/f/response-streaming-invocations"


def function(*command: str, folder: Path = FOLDER, **rest: Any) -> Function:
    """A function of the name f."""
    environment = {"PATH": os.environ["PATH"], **rest.pop("variables", {})}
    environment |= function_environment(environment, name="f", memory=128, folder=str(folder))
    return Function("f", command, environment, str(folder), "handler", **rest)


def streamer(**rest: Any) -> Function:
    """The function that streams what its event asks for."""
    return function(sys.executable, "-IS", str(FOLDER / "streamer"), **rest)


async def echo(invocation: Invocation) -> Result:
    """The event is the answer."""
    return Result(invocation.event, log=b"END\n", request_id=invocation.request_id)


class Canned(Emulator):
    """An emulator without processes, which keeps what it was asked."""

    def __init__(self, act: Callable[[Invocation], Awaitable[Result]] = echo) -> None:
        super().__init__(function("none"))
        self._act = act
        self.asked: list[Invocation] = []

    async def invoke(self, invocation: Invocation) -> Result:
        self.asked.append(invocation)
        return await self._act(invocation)


class Answer(NamedTuple):
    """What a client gets. A status of 0 is none at all; `is_whole` tells whether the body has an end."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool


async def ask(
    emulator: Emulator,
    path: str | bytes = INVOKE,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    query: bytes = b"",
    headers: Mapping[str, str] | list[tuple[bytes, bytes]] | None = None,
    pieces: int = 1,
    queue: EventQueue | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Asks the application, without a server."""
    if not isinstance(headers, list):
        headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    raw_path = path if isinstance(path, bytes) else path.encode()
    size = -(-len(body) // pieces) or 1
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": at + 1 < len(parts)} for at, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80),
    }
    async with EventQueue(emulator) as own:
        await InvokeApi(emulator, queue or own, say=say)(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"", is_whole=False)
    head, *rest = sent
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
    is_whole = bool(rest) and not rest[-1]["more_body"]
    return Answer(head["status"], fields, b"".join(part["body"] for part in rest), is_whole)
