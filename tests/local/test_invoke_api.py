"""The Invoke API, without a server where it can be."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings, strategies as st

from shim.local.emulator import Emulator, Throttled
from shim.local.event_queue import EventQueue
from shim.local.function import Result
from shim.local.invoke_api import InvokeApi
from shim.local.invoke_server import InvokeServer
from shim.local.pieces import MOST_WAITING, Pieces
from shim.request import DELIMITER
from shim.runtime_api.messages import HTTP_INTEGRATION
from tests.local.canned import INVOKE, STREAM, Answer, Canned, ask, streamer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from shim.local.function import Function, Invocation

ARN = "arn:aws:lambda:us-east-1:012345678912:function"
LARGEST = 6_291_456
MB = 1024 * 1024
PIECE = 65_536


def asked(path: str = INVOKE, body: bytes = b"{}", emulator: Emulator | None = None, **parts: Any) -> Answer:
    return asyncio.run(ask(emulator or Canned(), path, body, **parts))


def context_of(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def fails(error: Exception | Result) -> Callable[[Invocation], Coroutine[Any, Any, Result]]:
    async def act(_: Invocation) -> Result:
        if isinstance(error, Exception):
            raise error
        return error

    return act


def named(name: str) -> str:
    return f"/2015-03-31/functions/{quote(name, safe='')}/invocations"


def test_the_answer_has_what_lambda_says_of_it() -> None:
    answer = asked(body=b'{"a":1}', headers={"x-amz-log-type": "Tail", "x-amzn-trace-id": "Root=1-5"})

    assert (answer.status, answer.body, answer.is_whole) == (200, b'{"a":1}', True)
    assert answer.headers["x-amz-executed-version"] == "$LATEST"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amz-log-result"] == base64.b64encode(b"END\n").decode()
    assert answer.headers["x-amzn-trace-id"] == "Root=1-5"
    assert re.fullmatch("[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])
    assert "x-amz-function-error" not in answer.headers


def test_the_log_is_told_only_to_who_asks_for_it() -> None:
    assert "x-amz-log-result" not in asked().headers


def test_an_error_of_the_function_is_an_answer_too() -> None:
    result = Result(b'{"errorType":"E"}', error_type="Function.E")
    answer = asked(emulator=Canned(fails(result)))

    assert (answer.status, answer.headers["x-amz-function-error"]) == (200, "Unhandled")
    assert answer.body == b'{"errorType":"E"}'


@pytest.mark.parametrize(
    "name",
    [
        "f",
        "f:$LATEST",
        "f:live",
        "function:f",
        "012345678912:function:f",
        f"{ARN}:f",
        f"{ARN}:f:7",
        "arn:aws-cn:lambda:cn-north-1:111111111111:function:f",
    ],
)
def test_a_function_has_all_names_that_lambda_gives_it(name: str) -> None:
    assert asked(named(name)).status == 200
    assert asked(f"/2015-03-31/functions/{name}/invocations").status == 200


@pytest.mark.parametrize(
    ("name", "query", "arn"),
    [
        ("g", b"", f"{ARN}:g"),
        ("g:v1", b"", f"{ARN}:g:v1"),
        (f"{ARN}:g", b"Qualifier=live", f"{ARN}:g:live"),
    ],
)
def test_another_function_is_not_found(name: str, query: bytes, arn: str) -> None:
    answer = asked(named(name), query=query)

    assert (answer.status, answer.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    assert json.loads(answer.body) == {"Type": "User", "Message": f"Function not found: {arn}"}


@pytest.mark.parametrize(
    ("path", "query", "headers", "error_type", "words"),
    [
        (named("a b"), b"", {}, "ValidationException", "'functionName' failed to satisfy constraint"),
        (named("f" * 300), b"", {}, "ValidationException", "'functionName'"),
        (named("f:a"), b"Qualifier=b", {}, "InvalidParameterValueException", "does not match the specified qualifier"),
        (INVOKE, b"", {"x-amz-invocation-type": "Later"}, "ValidationException", "[Event, RequestResponse, DryRun]"),
        (STREAM, b"", {"x-amz-invocation-type": "Event"}, "ValidationException", "[RequestResponse, DryRun]"),
        (INVOKE, b"", {"x-amz-log-type": "Head"}, "ValidationException", "[None, Tail]"),
        (INVOKE, b"", {"x-amz-tenant-id": "a,b"}, "ValidationException", "'tenantId'"),
        (INVOKE, b"", {"x-amz-client-context": "{}"}, "InvalidRequestContentException", "Base64-encoded JSON object"),
        (INVOKE, b"", {"x-amz-client-context": context_of([])}, "InvalidRequestContentException", "Base64-encoded"),
        (
            INVOKE,
            b"",
            {"x-amz-client-context": context_of({"a": "b" * 3000})},
            "InvalidRequestContentException",
            "3583",
        ),
    ],
)
def test_what_lambda_refuses_is_refused(
    path: str, query: bytes, headers: dict[str, str], error_type: str, words: str
) -> None:
    emulator = Canned()
    answer = asked(path, emulator=emulator, query=query, headers=headers)

    assert (answer.status, answer.headers["x-amzn-errortype"], emulator.asked) == (400, error_type, [])
    assert words in json.loads(answer.body)["message"]


@pytest.mark.parametrize("path", [INVOKE, STREAM])
@pytest.mark.parametrize("body", [b"{", b"nope", b"{} {}", b"\xff", b"NaN", b" ", b"[" * 100_000])
def test_an_event_that_is_no_json_is_refused(path: str, body: bytes) -> None:
    answer = asked(path, body)

    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "InvalidRequestContentException")
    refusal = json.loads(answer.body)
    assert refusal["Type"] == "User"
    assert refusal["message"].startswith("Could not parse request body into json: Could not parse payload into json: ")


@pytest.mark.parametrize("body", [b"null", b'"\\ud800"', b"1" * 400, b"[" * 200 + b"]" * 200, b' {"a":\n1} '])
def test_any_json_is_an_event_as_it_is(body: bytes) -> None:
    emulator = Canned()
    asked(body=body, emulator=emulator)

    assert [invocation.event for invocation in emulator.asked] == [body]


def test_no_event_is_an_empty_object() -> None:
    assert asked(body=b"").body == b"{}"


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize(
    ("path", "kind", "limit", "message"),
    [
        (INVOKE, "RequestResponse", LARGEST, "Request must be smaller than 6291456 bytes for the InvokeFunction"),
        (STREAM, "RequestResponse", LARGEST, "Request must be smaller than 6291456 bytes for the InvokeFunction"),
        (INVOKE, "DryRun", LARGEST, "Request must be smaller than 6291456 bytes for the InvokeFunction"),
        (INVOKE, "Event", MB, "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"),
    ],
)
def test_an_event_has_a_limit(path: str, kind: str, limit: int, message: str, says_so: bool) -> None:
    def sent(size: int) -> Answer:
        headers = {"x-amz-invocation-type": kind} | ({"content-length": str(size)} if says_so else {})
        return asked(path, b'"' + b"a" * (size - 2) + b'"', headers=headers, pieces=7)

    answer = sent(limit + 1)

    assert sent(limit).status in (200, 202, 204)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    assert message in answer.body.decode() or not says_so


def test_the_runtime_is_told_what_the_caller_said() -> None:
    emulator = Canned()
    context = base64.b64encode('{"custom": {"ü": "\U0001f600\x7f"},\r\n\t"n": 1e3}'.encode()).decode()
    headers = {"x-amz-client-context": context, "x-amz-tenant-id": " a b ", "x-amzn-trace-id": "Root=1-2;Sampled=1"}
    asked(emulator=emulator, headers=headers)
    (invocation,) = emulator.asked

    assert (invocation.tenant_id, invocation.trace_id) == ("a b", "Root=1-2;Sampled=1")
    assert invocation.client_context == '{"custom": {"\\u00fc": "\\ud83d\\ude00\\u007f"},   "n": 1e3}'


def test_who_is_not_served_may_try_again() -> None:
    for path in (INVOKE, STREAM, "/url/"):
        answer = asked(path, emulator=Canned(fails(Throttled())))

        assert (answer.status, answer.headers["x-amzn-errortype"]) == (429, "TooManyRequestsException")
        assert answer.headers["retry-after"] == "1"
        assert json.loads(answer.body) == {
            "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
            "Type": "User",
            "message": "Rate Exceeded.",
        }


def test_a_fault_of_our_own_is_lambdas_500_and_is_told() -> None:
    for path in (INVOKE, STREAM, "/url/"):
        said: list[str] = []
        answer = asked(path, emulator=Canned(fails(OSError("no descriptors are left"))), say=said.append)

        assert (answer.status, answer.headers["x-amzn-errortype"]) == (500, "ServiceException")
        assert said == ["an invocation was not run, since OSError: no descriptors are left"]


def test_a_dry_run_runs_nothing() -> None:
    for path in (INVOKE, STREAM):
        emulator = Canned()
        answer = asked(path, emulator=emulator, headers={"x-amz-invocation-type": "DryRun"})

        assert (answer.status, answer.body, emulator.asked) == (204, b"", [])
        assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "error_type"),
    [
        ("GET", INVOKE, 405, "MethodNotAllowedException"),
        ("HEAD", STREAM, 405, "MethodNotAllowedException"),
        ("POST", "/", 405, "MethodNotAllowedException"),
        ("GET", "/favicon.ico", 404, "UnknownOperationException"),
        ("POST", "/2015-03-31/functions/f/invocations/x", 404, "UnknownOperationException"),
        ("GET", "/urls", 404, "UnknownOperationException"),
    ],
)
def test_what_is_not_there_is_said(method: str, path: str, status: int, error_type: str) -> None:
    answer = asked(path, method=method)

    assert (answer.status, answer.headers["x-amzn-errortype"]) == (status, error_type)


def test_the_root_tells_what_is_served() -> None:
    for path in ("/", "http://example.org/"):
        overview = json.loads(asked(path, b"", method="GET").body)

        assert (overview["function"], overview["invoke"], overview["url"]) == ("f", INVOKE, "/url/")


TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
NAMES = st.sampled_from(
    [
        *("x-amz-invocation-type", "x-amz-client-context", "x-amz-log-type", "x-amz-tenant-id", "x-amzn-trace-id"),
        *("content-length", "content-type", "cookie", "expect", "host", "transfer-encoding", "x-forwarded-for"),
    ]
)
VALUES = TEXTS | st.sampled_from(["Event", "DryRun", "Tail", "9" * 30, "-1", "e30=", context_of({"a": "\ud800"})])
PARTS = st.sampled_from(["2015-03-31", "2021-11-15", "functions", "f", "invocations", "response-streaming-invocations"])
PATHS = st.one_of(
    st.sampled_from([INVOKE, STREAM, "/url/", "/url", "/", ""]).map(str.encode),
    st.binary(max_size=30).map(lambda name: b"/2015-03-31/functions/" + name + b"/invocations"),
    st.binary(max_size=30).map(lambda rest: b"/url" + rest),
    st.lists(PARTS | st.text(max_size=5)).map(lambda parts: "/".join(["", *parts]).encode(errors="replace")),
    st.binary(max_size=30),
)
RESULTS = st.builds(
    Result,
    st.binary(max_size=40) | st.sampled_from([b'{"statusCode":204}', b'{"statusCode":"x"}', b'"a"', b"{}"]),
    error_type=st.sampled_from(["", "", "Unhandled"]),
    log=st.binary(max_size=20),
)


@settings(max_examples=400)
@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]),
    PATHS,
    st.binary(max_size=30),
    st.lists(st.tuples(NAMES | st.text("abc-", min_size=1, max_size=5), VALUES), max_size=5),
    st.binary(max_size=30) | st.just(b"{}"),
    RESULTS,
    st.sampled_from(["application/json", HTTP_INTEGRATION, "application/octet-stream", "text/html"]),
    st.lists(st.binary(max_size=30) | st.sampled_from([b'{"statusCode":201}' + DELIMITER, b'{"headers":{"a":"b"}}'])),
)
def test_whatever_comes_is_answered_and_none_of_it_is_our_fault(
    method: str,
    path: bytes,
    query: bytes,
    headers: list[tuple[str, str]],
    body: bytes,
    result: Result,
    content_type: str,
    pieces: list[bytes],
) -> None:
    async def act(invocation: Invocation) -> Result:
        if invocation.on_piece is not None and (invocation.on_begin is None or invocation.on_begin(content_type)):
            for piece in pieces:
                invocation.on_piece(piece)
                await asyncio.sleep(0)
        return result

    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    answer = asked(path, body, Canned(act), method=method, query=query, headers=fields)  # type: ignore[arg-type]

    assert 200 <= answer.status < 600
    assert answer.status != 500
    assert answer.is_whole or (result.failed and path.startswith(b"/url"))
    if "content-length" in answer.headers:
        assert int(answer.headers["content-length"]) == len(answer.body)
    for name, value in answer.headers.items():
        assert not {"\r", "\n", "\0"} & set(name + value)


def test_a_client_that_goes_while_it_sends_is_let_go() -> None:
    emulator = Canned()
    assert asyncio.run(_broken_off(emulator)) == []
    assert emulator.asked == []


async def _broken_off(emulator: Emulator) -> list[Any]:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": INVOKE, "query_string": b"", "headers": []}
    async with EventQueue(emulator) as queue:
        await InvokeApi(emulator, queue)(scope, receive, send)
    return sent


def test_pieces_wait_for_room() -> None:
    async def story() -> None:
        pieces = Pieces()
        assert pieces.put(b"a" * (MOST_WAITING - 1)) is None
        room = pieces.put(b"b")
        assert room is not None
        assert pieces.put(b"c") is room
        assert not room.done()
        assert len(await pieces.get()) == MOST_WAITING + 1
        assert room.done()
        assert pieces.put(b"d") is None
        pieces.end()
        assert (await pieces.get(), await pieces.get()) == (b"d", b"")
        assert pieces.put(b"late") is None

    asyncio.run(story())


@asynccontextmanager
async def serving(function: Function, **rest: Any) -> AsyncIterator[Served]:
    async with Emulator(function, **rest) as emulator, InvokeServer(emulator) as server:
        served = Served(emulator, server)
        try:
            yield served
        finally:
            served.leave()


class Served:
    """A server, and its clients."""

    def __init__(self, emulator: Emulator, server: InvokeServer) -> None:
        self.emulator = emulator
        self.server = server
        self.port = int(server.url.rpartition(":")[2])
        self.clients: list[Client] = []

    async def ask(self, path: str, event: object, method: str = "POST") -> Client:
        """Sends a request."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        body = json.dumps(event).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: f.example:80\r\nContent-Type: application/json\r\nX-Forwarded-For: 9.9.9.9\r\n"
        client.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return client

    def leave(self) -> None:
        """The clients go."""
        for client in self.clients:
            client.writer.transport.abort()


class Client:
    """A connection, and what is read from it as slowly as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def head(self) -> int:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:-2])}
        return int(lines[0].split()[1])

    async def chunk(self) -> bytes:
        """The next chunk; b"" at the end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def body(self) -> bytes:
        """All of a body with a length."""
        return await self.reader.readexactly(int(self.headers["content-length"]))

    async def frames(self) -> AsyncIterator[tuple[str, bytes]]:
        """The messages of an event stream."""
        buffer = EventStreamBuffer()
        while chunk := await self.chunk():
            buffer.add_data(chunk)
            for message in buffer:
                yield message.headers[":event-type"], message.payload


async def events(client: Client) -> list[tuple[str, bytes]]:
    return [event async for event in client.frames()]


async def eventually(condition: Callable[[], object], *, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - another process fulfils it
            await asyncio.sleep(0.005)


async def standstill(count: Callable[[], int]) -> int:
    """What is counted, when that grows no more."""
    before = -1
    while (now := count()) != before:
        before = now
        await asyncio.sleep(0.2)
    return now


def test_a_stream_is_sent_as_it_comes_and_ends_with_what_became_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(streamer(), concurrency=1) as served:
            gate = tmp_path / "gate"
            client = await served.ask(STREAM, {"do": "wait", "for": str(gate)})
            assert await client.head() == 200
            assert client.headers["content-type"] == "application/vnd.amazon.eventstream"
            frames = client.frames()
            assert await anext(frames) == ("PayloadChunk", b"first")
            gate.touch()
            assert [frame async for frame in frames] == [("PayloadChunk", b"last"), ("InvokeComplete", b"{}")]

            error = base64.b64encode(b'{"errorType":"Late"}').decode()
            trailers = {"Lambda-Runtime-Function-Error-Type": "Late", "Lambda-Runtime-Function-Error-Body": error}
            event = {"do": "stream", "pieces": ["a"], "trailers": trailers}
            client = await served.ask(STREAM, event)
            await client.head()
            *chunks, (kind, last) = await events(client)
            assert (b"".join(payload for _, payload in chunks), kind) == (b"a", "InvokeComplete")
            assert json.loads(last) == {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType":"Late"}'}

            client = await served.ask(INVOKE, event)
            assert (await client.head(), client.headers["x-amz-function-error"]) == (200, "Unhandled")
            assert await client.body() == b'{"errorType":"Late"}'

            client = await served.ask(STREAM, {"do": "quit", "pieces": ["a", "b"]})
            await client.head()
            *chunks, (_, last) = await events(client)
            assert b"".join(payload for _, payload in chunks) == b"ab"
            assert json.loads(last)["ErrorCode"] == "Unhandled"

            client = await served.ask(STREAM, {"do": "fail", "why": "x"})
            await client.head()
            ((kind, last),) = await events(client)
            assert kind == "InvokeComplete"
            assert json.loads(json.loads(last)["ErrorDetails"])["event"] == {"do": "fail", "why": "x"}

            client = await served.ask(STREAM, {"do": "echo"})
            await client.head()
            assert [kind for kind, _ in await events(client)] == ["PayloadChunk", "InvokeComplete"]

    asyncio.run(story())


def test_a_stream_for_a_caller_who_takes_it_whole_has_the_limit_of_other_answers(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(streamer(timeout=20), concurrency=1) as served:
            event = {"do": "pour", "pieces": 96, "told": str(tmp_path / "told")}
            client = await served.ask(INVOKE, event)
            await client.head()
            assert await client.body() == bytes(range(256)) * 256 * 96

            client = await served.ask(INVOKE, event | {"pieces": 400})
            await client.head()
            assert json.loads(await client.body())["errorType"] == "Function.ResponseSizeTooLarge"

    asyncio.run(story())


@pytest.mark.parametrize("path", [STREAM, "/url/"])
def test_a_slow_reader_holds_the_runtime_back_and_gets_200_mb_in_little_memory(path: str, tmp_path: Path) -> None:
    count = 3199  # just under 200 MB

    async def story() -> None:
        async with serving(streamer(timeout=60), concurrency=1) as served:
            told, process = tmp_path / "told", psutil.Process()
            client = await served.ask(path, {"do": "pour", "pieces": count, "told": str(told)})
            assert await client.head() == 200
            before = process.memory_info().rss
            written = await standstill(lambda: int(told.read_bytes() or 0))
            assert written * PIECE < 24 * MB

            got, peak = 0, 0
            if path == STREAM:
                async for kind, payload in client.frames():
                    got += len(payload) if kind == "PayloadChunk" else 0
                    peak = max(peak, process.memory_info().rss)
            else:
                while chunk := await client.chunk():
                    got += len(chunk)
                    peak = max(peak, process.memory_info().rss)
            assert got == count * PIECE
            assert peak - before < 32 * MB

    asyncio.run(story())


def test_a_caller_that_goes_away_does_not_end_the_invocation(tmp_path: Path) -> None:
    async def story() -> None:
        seen: list[Result] = []
        function = streamer(timeout=20)
        async with serving(function, concurrency=3, seen=lambda record: seen.append(record.result)) as served:
            gate = tmp_path / "gate"
            clients = [await served.ask(path, {"do": "wait", "for": str(gate)}) for path in (INVOKE, STREAM)]
            told = {"do": "pour", "pieces": 800, "told": str(tmp_path / "told")}
            clients.append(await served.ask(STREAM, told))
            assert await clients[1].head() == await clients[2].head() == 200
            await eventually(lambda: served.emulator.busy == 3)
            served.leave()
            gate.touch()
            await eventually(lambda: len(seen) == 3)

        assert not any(result.failed for result in seen)
        assert b"firstlast" in [result.payload for result in seen]

    asyncio.run(story())


def test_closing_ends_what_runs_within_a_second(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(streamer(timeout=60), concurrency=4) as served:
            waits = {"do": "wait", "for": str(tmp_path / "never")}
            plain, streamed, web = [await served.ask(path, waits) for path in (INVOKE, STREAM, "/url/")]
            told = tmp_path / "told"
            slow = await served.ask(STREAM, {"do": "pour", "pieces": 3000, "told": str(told)})
            idle = await served.ask("/", None, method="GET")
            for client in (streamed, web, slow, idle):
                assert await client.head() == 200
            await idle.body()
            await eventually(lambda: served.emulator.busy == 4)
            async with asyncio.timeout(1):
                await served.server.__aexit__()
            assert await plain.head() == 503
            *_, (kind, last) = await events(streamed)
            assert (kind, json.loads(last)["ErrorCode"]) == ("InvokeComplete", "ServiceException")
            assert await web.chunk() == b"first"
            with pytest.raises(asyncio.IncompleteReadError):
                await web.chunk()
            assert await idle.reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await served.ask("/", None)

    asyncio.run(story())


def test_a_port_that_is_taken_is_said() -> None:
    async def story() -> None:
        async with serving(streamer()) as served:
            with pytest.raises(OSError, match=f"port {served.port} of 127.0.0.1 can't be had: Address already in use"):
                async with InvokeServer(Canned(), port=served.port):
                    pass

    asyncio.run(story())


def test_the_function_url_turns_a_request_into_an_event_and_the_result_into_an_answer() -> None:
    async def story() -> None:
        async with serving(streamer(), concurrency=1) as served:
            client = await served.ask("/url/a%20b/?x=1&x=2", {"do": "echo"}, method="PUT")
            assert (await client.head(), client.headers["content-type"]) == (200, "application/json")
            got = json.loads(await client.body())["event"]["web"]
            assert (got["rawPath"], got["rawQueryString"], got["body"]) == ("/a%20b/", "x=1&x=2", '{"do": "echo"}')
            assert got["requestContext"]["http"]["method"] == "PUT"
            assert got["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
            assert got["requestContext"]["domainName"] == "f.example"
            forwarded = {name: got["headers"][f"x-forwarded-{name}"] for name in ("for", "port", "proto")}
            assert forwarded == {"for": "9.9.9.9,127.0.0.1", "port": str(served.port), "proto": "http"}
            assert got["headers"]["x-amzn-trace-id"] == client.headers["x-amzn-trace-id"]
            assert got["requestContext"]["requestId"] == client.headers["x-amzn-requestid"]

            client = await served.ask("/url", {"do": "echo"}, method="HEAD")
            assert (await client.head(), int(client.headers["content-length"]) > 0) == (200, True)
            client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await client.reader.read()).startswith(b"HTTP/1.1 200 OK")  # there was no body

            client = await served.ask("/url/", {"do": "fail"})
            assert await client.head() == 502
            assert await client.body() == b"Internal Server Error"

    asyncio.run(story())


def stream_of(*pieces: bytes, content_type: str = HTTP_INTEGRATION, **fields: Any) -> Canned:
    """A function that streams these."""

    async def act(invocation: Invocation) -> Result:
        assert invocation.on_begin is not None
        assert invocation.on_piece is not None
        assert invocation.on_begin(content_type)
        for piece in pieces:
            invocation.on_piece(piece)
            await asyncio.sleep(0)
        return Result(b"", **fields)

    return Canned(act)


PRELUDE = b'{"statusCode":201,"headers":{"X-A":"b"},"cookies":["c=d"]}' + DELIMITER


@pytest.mark.parametrize(
    ("emulator", "status", "headers", "body", "said"),
    [
        (stream_of(PRELUDE + b"a", b"b"), 201, {"x-a": "b", "set-cookie": "c=d"}, b"ab", ""),
        (stream_of(PRELUDE[:9], PRELUDE[9:60], PRELUDE[60:], b"ab"), 201, {"x-a": "b"}, b"ab", ""),
        (stream_of(PRELUDE), 201, {"x-a": "b"}, b"", ""),
        (stream_of(b'{"statusCode":304}' + DELIMITER, b"x"), 304, {}, b"", ""),
        (stream_of(b"a", b"b", content_type="application/octet-stream"), 200, {}, b"ab", ""),
        (stream_of(content_type="application/octet-stream"), 200, {"content-length": "0"}, b"", ""),
        (stream_of(b'{"statusCode":201}'), 502, {}, b"Internal Server Error", "the prelude has no end"),
        (stream_of(), 502, {}, b"Internal Server Error", "the prelude has no end"),
        (stream_of(b"no" + DELIMITER), 502, {}, b"Internal Server Error", "the prelude can't be read"),
        (stream_of(b'{"statusCode":1}' + DELIMITER), 502, {}, b"Internal Server Error", "no integer from 200"),
        (stream_of(error_type="E", content_type="application/octet-stream"), 502, {}, b"Internal Server Error", "E"),
        (stream_of(b"{", error_type="E"), 502, {}, b"Internal Server Error", "the function failed with E"),
    ],
)
def test_the_function_url_streams_what_the_function_streams(
    emulator: Canned, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    sentences: list[str] = []
    answer = asked("/url/x", b"", emulator, method="GET", say=sentences.append)

    assert (answer.status, answer.body, answer.is_whole) == (status, body, True)
    assert headers.items() <= answer.headers.items()
    assert said in " ".join(sentences)
    assert len(sentences) == bool(said)


def test_an_answer_that_fails_in_the_middle_has_no_end() -> None:
    said: list[str] = []
    answer = asked("/url/", b"", stream_of(PRELUDE + b"a", error_type="Late"), say=said.append)

    assert (answer.status, answer.body, answer.is_whole) == (201, b"a", False)
    assert said == ["The answer of the function URL to /url/ is cut. the function failed with Late: "]


def test_a_request_to_the_function_url_has_a_limit_and_so_has_its_event() -> None:
    emulator = Canned()
    for size in (LARGEST + 1, LARGEST - 1000):  # the second becomes too long as base64
        answer = asked("/url/", b"\xff" * size, emulator)

        assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    assert emulator.asked == []
    assert asked("/url/", b"a" * (LARGEST - 1000), emulator, headers={"content-type": "text/plain"}).status == 200
