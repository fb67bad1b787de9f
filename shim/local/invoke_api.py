"""The Invoke API of one function, and its function URL, as an ASGI application.

It answers as Lambda's own does (invoke_request.py says where that is known from):
- POST /2015-03-31/functions/NAME/invocations: Invoke, as boto3, the AWS CLI and curl call it;
- POST /2021-11-15/functions/NAME/response-streaming-invocations: InvokeWithResponseStream;
- any method at /url and below: the function URL (url_call.py);
- GET /: what is served.

A client that goes away does not end its invocation.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import orjson

from shim.local import eventstream, invoke_request
from shim.local.calls import Calls
from shim.local.exchange import Exchange, Gone, TooLong
from shim.local.function import Invocation
from shim.local.invoke_request import Refusal
from shim.local.pieces import Pieces
from shim.local.url_call import UrlCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.local.emulator import Emulator
    from shim.local.event_queue import EventQueue
    from shim.local.exchange import Receive, Scope, Send
    from shim.local.function import Result
    from shim.local.invoke_request import InvokeRequest

JSON = "application/json"
REQUEST_ID, ERROR_TYPE, TRACE_ID = "x-amzn-requestid", "x-amzn-errortype", "x-amzn-trace-id"
UNHANDLED = "Unhandled"
"""What Lambda calls each error of a function's, in the header and in an event stream: of others nobody knows (floci-io/floci#3314)."""
URL = "/url"


class InvokeApi:
    """The ASGI application.

    Args:
        emulator: serves the function.
        queue: takes the invocations that are to run later.
        say: takes a sentence for who runs the emulator: what a function did wrong that its caller is not told.
    """

    def __init__(
        self, emulator: Emulator, queue: EventQueue, *, say: Callable[[str], None] = lambda _sentence: None
    ) -> None:
        self._function = emulator.function
        self._emulator = emulator
        self._queue = queue
        self._say = say
        self._calls = Calls(emulator, say=say)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, whatever it is."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except Refusal as refusal:
            if not exchange.has_begun:
                request_id = Invocation(b"").request_id
                headers = [(REQUEST_ID, request_id), (ERROR_TYPE, refusal.error_type), ("content-type", JSON)]
                await exchange.answer(refusal.status, [*headers, *refusal.headers], refusal.body)
        except Gone:
            pass

    async def close(self) -> None:
        """Ends the invocations whose callers wait."""
        await self._calls.close()

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == URL or path.startswith(f"{URL}/"):
            await UrlCall(exchange, self._calls).answer(path.removeprefix(URL) or "/")
            return
        if path == "/":
            _allow(exchange, "GET", "HEAD")
            await exchange.answer(200, [("content-type", JSON)], self._overview())
            return
        routed = invoke_request.route(path)
        if routed is None:  # [ours]: the error is what the AWS SDKs know of an operation that there is not
            message = f"There is no {path} here, only the Invoke API below /2015-03-31/functions/ and the function URL at {URL}/."
            raise Refusal(404, "UnknownOperationException", {"message": message})
        _allow(exchange, "POST")
        name, streams = routed
        invoke_request.check_name(self._function, name, exchange.query)
        request = invoke_request.parse_request(exchange.headers, streams=streams)
        try:
            body = await exchange.read(request.limit)
        except TooLong as error:
            raise invoke_request.too_large(error.size, later=request.kind == invoke_request.LATER) from None
        await self._invoke(exchange, request, request.invocation(body))

    async def _invoke(self, exchange: Exchange, request: InvokeRequest, invocation: Invocation) -> None:
        headers = [(REQUEST_ID, invocation.request_id), (TRACE_ID, invocation.trace_id)]
        if request.kind == invoke_request.DRY:
            await exchange.answer(204, headers)
        elif request.kind == invoke_request.LATER:
            self._queue.put(invocation)
            await exchange.answer(202, headers)
        elif request.streams:
            await self._stream(exchange, request, invocation, [*headers, invoke_request.EXECUTED])
        else:
            result = await self._calls.result(self._calls.start(invocation))
            headers += [invoke_request.EXECUTED, ("content-type", result.content_type)]
            if result.failed:
                headers.append(("x-amz-function-error", UNHANDLED))
            if request.wants_log:
                headers.append(("x-amz-log-result", b64encode(result.log).decode()))
            await exchange.answer(200, headers, result.payload)

    async def _stream(
        self, exchange: Exchange, request: InvokeRequest, invocation: Invocation, headers: list[tuple[str, str]]
    ) -> None:
        """Sends the response as it comes. The head is sent with its first piece: before that the invocation may be refused."""
        pieces = Pieces()
        invocation.on_piece = pieces.put
        task = self._calls.start(invocation)
        task.add_done_callback(lambda _: pieces.end())
        piece = await pieces.get()
        if not piece:
            await self._calls.result(task)
        await exchange.begin(200, [*headers, ("content-type", eventstream.CONTENT_TYPE)])
        while piece:
            await exchange.write(eventstream.payload_chunk(piece))
            piece = await pieces.get()
        try:
            last = _completion(await self._calls.result(task), wants_log=request.wants_log)
        except Refusal as refusal:
            last = eventstream.invoke_complete(refusal.error_type, refusal.body.decode())
        await exchange.finish(last)

    def _overview(self) -> bytes:
        name = self._function.name
        return orjson.dumps(
            {
                "function": name,
                "arn": self._function.arn,
                "running": self._emulator.busy,
                "queued": self._queue.size,
                "invoke": f"/2015-03-31/functions/{name}/invocations",
                "invokeWithResponseStream": f"/2021-11-15/functions/{name}/response-streaming-invocations",
                "url": f"{URL}/",
            }
        )


def _completion(result: Result, *, wants_log: bool) -> bytes:
    """The last message of an event stream."""
    log = b64encode(result.log).decode() if wants_log else None
    if not result.failed:
        return eventstream.invoke_complete(log_result=log)
    return eventstream.invoke_complete(UNHANDLED, result.payload.decode(errors="replace"), log)


def _allow(exchange: Exchange, *methods: str) -> None:
    """Refuses other methods [ours]."""
    if exchange.method not in methods:
        message = f"{exchange.path} takes {methods[0]}, not {exchange.method}."
        allowed = ", ".join(methods)
        raise Refusal(405, "MethodNotAllowedException", {"Type": "User", "message": message}, (("allow", allowed),))
