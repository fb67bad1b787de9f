"""One call of the function URL: a web request as an event (function_url.py), and the answer back, streamed where the function streams.

A function URL on AWS is either BUFFERED or RESPONSE_STREAM. Here the response itself tells: it is streamed if its content type is that of a
response with a prelude, or application/octet-stream, which runtimes give a stream without one; everything else is a result to be mapped.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from shim.local import function_url
from shim.local.exchange import TooLong
from shim.local.function import Invocation
from shim.local.invoke_request import LARGEST, too_large, trace_id_of
from shim.local.pieces import Pieces
from shim.runtime_api import messages

if TYPE_CHECKING:
    import asyncio

    from shim.local.calls import Calls
    from shim.local.exchange import Exchange
    from shim.local.function import Result
    from shim.local.function_url import HttpAnswer

FORWARDED = ("x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id")
"""Headers that Lambda's front sets, whatever a client says."""
EXCERPT = 500
"""Bytes of an error that are said."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]*)?")


class UrlCall:
    """Asks the function for the answer to a request.

    Args:
        exchange: the request.
        calls: runs the invocation.
    """

    def __init__(self, exchange: Exchange, calls: Calls) -> None:
        self._exchange = exchange
        self._calls = calls
        self._pieces = Pieces()
        self._content_type = ""
        self._headers: list[tuple[str, str]] = []

    async def answer(self, path: str) -> None:
        """Answers the request for that path of the function URL.

        Raises:
            Refusal: it is too large, or is not run.
        """
        try:
            body = await self._exchange.read(LARGEST)
        except TooLong:
            raise too_large(None, later=False) from None
        invocation = Invocation(b"", on_piece=self._pieces.put, on_begin=self._begin)
        invocation.trace_id = trace_id_of(self._exchange.headers)
        invocation.event = self._event(path, body, invocation)
        if len(invocation.event) > LARGEST:
            raise too_large(None, later=False)
        self._headers = [
            ("x-amzn-requestid", invocation.request_id),
            ("x-amzn-trace-id", invocation.trace_id),
        ]
        task = self._calls.start(invocation)
        task.add_done_callback(lambda _: self._pieces.end())
        await self._pass_on(task)

    def _begin(self, content_type: str) -> bool:
        """A response begins: whether it is streamed."""
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in (messages.HTTP_INTEGRATION, function_url.BYTES):
            return False
        self._content_type = kind
        return True

    def _event(self, path: str, body: bytes, invocation: Invocation) -> bytes:
        exchange = self._exchange
        headers = [(name, value) for name, value in exchange.header_list if name not in FORWARDED]
        headers += [
            ("x-forwarded-for", exchange.client),
            ("x-forwarded-port", str(exchange.port)),
            ("x-forwarded-proto", "http"),
            ("x-amzn-trace-id", invocation.trace_id),
        ]
        return function_url.event_of(
            method=exchange.method,
            path=path,
            raw_query=exchange.query,
            headers=headers,
            body=body,
            domain=_host(exchange.headers.get("host", "")),
            source_ip=exchange.client,
            now=time.time(),
            request_id=invocation.request_id,
        )

    async def _pass_on(self, task: asyncio.Task[Result]) -> None:
        """Sends the answer: whole, or as it comes."""
        piece = await self._pieces.get()
        if not self._content_type:
            result = await self._calls.result(task)
            await self._send(_failure(result) if result.failed else function_url.answer_of(result.payload))
            return
        is_empty = not piece
        head, piece = await self._head(piece)
        if head is None or is_empty:  # it is over, and nothing is sent yet
            result = await self._calls.result(task)
            head = _failure(result) if result.failed else head or function_url.error_answer("the prelude has no end")
        if is_empty or head.problem or head.status in function_url.BODILESS:
            self._pieces.abandon()
            await self._send(head)
        else:
            await self._exchange.begin(head.status, self._fields(head))
            await self._stream(piece, task)

    async def _head(self, data: bytes) -> tuple[HttpAnswer | None, bytes]:
        """The head of a streamed response, and what came of its body; None where it ends within its prelude."""
        if self._content_type == function_url.BYTES:
            return function_url.head_of(), data
        try:
            while (split := function_url.split_prelude(data)) is None:
                piece = await self._pieces.get()
                if not piece:
                    return None, b""
                data += piece
        except ValueError as error:
            return function_url.error_answer(f"the prelude can't be read: {error}"), b""
        prelude, rest = split
        return function_url.head_of(prelude), rest

    async def _stream(self, piece: bytes, task: asyncio.Task[Result]) -> None:
        """Sends the body. That of a function that fails in the middle has no end, since its status is out."""
        await self._exchange.write(piece)
        while piece := await self._pieces.get():
            await self._exchange.write(piece)
        result = await self._calls.result(task)
        if result.failed:
            self._calls.say(
                f"The answer of the function URL to {self._exchange.path} is cut. {_failure(result).problem}"
            )
        else:
            await self._exchange.finish()

    async def _send(self, answer: HttpAnswer) -> None:
        """Answers at once, and says what is wrong with the answer where something is."""
        if answer.problem:
            self._calls.say(f"The function URL answered {answer.status} to {self._exchange.path}: {answer.problem}")
        await self._exchange.answer(answer.status, self._fields(answer), answer.body)

    def _fields(self, answer: HttpAnswer) -> list[tuple[str, str]]:
        ours = {name for name, _ in self._headers}
        return [*self._headers, *(field for field in answer.headers if field[0] not in ours)]


def _failure(result: Result) -> HttpAnswer:
    """What a web client gets of a function error: nothing about it."""
    said = result.payload[:EXCERPT].decode(errors="replace")
    return function_url.error_answer(f"the function failed with {result.error_type}: {said}")


def _host(host: str) -> str:
    """The name in a Host header, without its port."""
    match = _HOST.fullmatch(host)
    return match[1] if match else "127.0.0.1"
