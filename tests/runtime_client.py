"""A client of the Runtime API as tests have it: requests that become bytes, bytes that become answers. It shares no code with the server."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from shim.runtime_api.events import Began, Cut, Ended, ExtensionFailed, NextWaits, Piece, Refused, Registered, TooLarge
from shim.runtime_api.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shim.runtime_api.connection import Connection
    from shim.runtime_api.events import Event
    from shim.runtime_api.post import Post

RUNTIME = "/2018-06-01/runtime"
NEXT = "/2018-06-01/runtime/invocation/next"
PING = "/2018-06-01/ping"
INIT_ERROR = "/2018-06-01/runtime/init/error"
EXTENSION = "/2020-01-01/extension"
REGISTRATION = {"functionName": "f", "functionVersion": "$LATEST", "handler": "h", "accountId": "123456789012"}

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([A-Za-z ]+)\r\n")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*)?\r\n")


def post_path(request_id: str, kind: str = "response") -> str:
    """Where a response or an error of that invocation is posted to."""
    return f"{RUNTIME}/invocation/{request_id}/{kind}"


def identifier(number: int) -> str:
    """The UUID that the server's so-manyth call of `identify` makes."""
    return f"5e1f0000-abcd-4000-8000-{number:012x}"


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request, and how it is spelled."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    version: str = "1.1"
    closes: bool = False
    """Whether it says Connection: close."""
    expects: bool = False
    """Whether it says Expect: 100-continue."""
    chunks: tuple[int, ...] | None = None
    """The sizes of the chunks of the body but the last one, which is the rest; None has the body's length in a header."""
    extension: str = ""
    """After the size of each chunk."""
    trailers: tuple[tuple[str, str], ...] = ()
    casing: str = "as it is"
    """Of the names of headers: lower, upper, or as it is."""
    encoded: int = 0
    """So many characters of the path, counted from its end, are percent-encoded, slashes and all that divides excepted."""
    is_absolute: bool = False
    """Whether the target has a scheme and a host."""
    query: str = ""

    @property
    def may_keep(self) -> bool:
        """Whether the client wants another answer over the same connection."""
        return self.version == "1.1" and not self.closes

    @property
    def target(self) -> str:
        """The path as it is spelled."""
        plain, coded = self.path[: len(self.path) - self.encoded], self.path[len(self.path) - self.encoded :]
        path = plain + "".join(c if c == "/" else "".join(f"%{byte:02x}" for byte in c.encode()) for c in coded)
        return ("http://127.0.0.1:9001" if self.is_absolute else "") + path + self.query

    def head(self) -> bytes:
        """Its line and its headers."""
        headers = [("Host", "127.0.0.1:9001"), *self.headers]
        if self.closes:
            headers.append(("Connection", "close"))
        if self.expects:
            headers.append(("Expect", "100-continue"))
        if self.body is not None:
            length = (
                ("Transfer-Encoding", "chunked") if self.chunks is not None else ("Content-Length", str(len(self.body)))
            )
            headers.append(length)
        lines = [f"{self.method} {self.target} HTTP/{self.version}"]
        lines += [f"{self._cased(name)}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def coded_body(self) -> bytes:
        """Its body, as it is sent."""
        if self.body is None or self.chunks is None:
            return self.body or b""
        pieces, rest = [], self.body
        for size in self.chunks:
            pieces.append(rest[:size])
            rest = rest[size:]
        pieces.append(rest)
        coded = [b"%x%s\r\n%s\r\n" % (len(piece), self.extension.encode(), piece) for piece in pieces if piece]
        trailers = "".join(f"{self._cased(name)}: {value}\r\n" for name, value in self.trailers)
        return b"".join(coded) + b"0\r\n" + trailers.encode("latin-1") + b"\r\n"

    def render(self) -> bytes:
        """All of it."""
        return self.head() + self.coded_body()

    def _cased(self, name: str) -> str:
        return {"lower": name.lower(), "upper": name.upper()}.get(self.casing, name)


def get(path: str, **headers: str) -> Request:
    """A GET, with headers whose names have underscores for dashes."""
    return Request("GET", path, _named(headers))


def post(path: str, body: bytes = b"", **headers: str) -> Request:
    """A POST, likewise."""
    return Request("POST", path, _named(headers), body)


def chunked(request: Request, *chunks: int, **trailers: str) -> Request:
    """The same in chunks of these sizes, with those trailers."""
    return replace(request, chunks=chunks, trailers=_named(trailers))


def _named(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: 100 Continue is no answer, but told of in the one that follows."""

    status: int
    reason: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    continued: bool = False

    @property
    def error_type(self) -> str:
        """The errorType of its body, "" where it refuses nothing or has none."""
        return str(self.error.get("errorType", ""))

    @property
    def error(self) -> dict[str, str]:
        """Its body, if it refuses something in JSON."""
        if self.status < 400 or self.headers.get("content-type") != "application/json":
            return {}
        value: dict[str, str] = json.loads(self.body)
        return value

    @property
    def says_that_it_closes(self) -> bool:
        """Whether it has Connection: close."""
        return self.headers.get("connection") == "close"


def parse(data: bytes, requests: Sequence[Request] | None = None) -> list[Answer]:
    """The answers, of which these bytes are made and of nothing else.

    Where the requests are not given, an answer may be one to HEAD: it is followed by the next one, or by nothing, and has no body.
    """
    answers: list[Answer] = []
    at, continued = 0, False
    while at < len(data):
        line = STATUS_LINE.match(data, at)
        assert line is not None, data[at : at + 100]
        at = line.end()
        headers: dict[str, str] = {}
        while (header := HEADER.match(data, at)) is not None:
            name = header[1].decode().lower()
            assert name not in headers, name
            headers[name] = (header[2] or b"").decode()
            at = header.end()
        assert data.startswith(b"\r\n", at), data[at : at + 100]
        at += 2
        if line[1] == b"100":
            assert not headers
            assert not continued
            continued = True
            continue
        length = int(headers["content-length"])
        is_bare = at == len(data) or data.startswith(b"HTTP/1.1 ", at)
        if is_bare if requests is None else requests[len(answers)].method == "HEAD":
            length = 0
        assert len(data) >= at + length, data
        body = data[at : at + length]
        answers.append(Answer(int(line[1]), line[2].decode(), headers, body, continued))
        at, continued = at + length, False
    return answers


class Told:
    """What is told of by events, in words that can be compared, whatever pieces a body came in.

    Each post is followed from its beginning to its one end; one that breaks that rule fails the test at once.
    """

    def __init__(self, limit: int, stream_limit: int) -> None:
        self.words: list[tuple[object, ...]] = []
        self._limits = (limit, stream_limit)
        self._open: dict[Post, bytearray] = {}
        self._over: set[Post] = set()

    @property
    def unfinished(self) -> int:
        """How many posts have begun and not ended."""
        return len(self._open)

    def take(self, events: list[Event]) -> None:
        """Takes what has happened, and empties it."""
        for event in events:
            self._take(event)
        events.clear()

    def _take(self, event: Event) -> None:
        match event:
            case Began(post):
                assert post not in self._open
                assert post not in self._over
                self._open[post] = bytearray()
                self.words.append(("began", post.kind, post.request_id, post.content_type))
            case Piece(post, data):
                self._open[post] += data
                assert len(self._open[post]) <= max(self._limits)
            case Ended() | TooLarge() | Cut():
                self.words.append(self._ending(event))
            case NextWaits():
                self.words.append(("next",))
            case Registered(name, hears):
                self.words.append(("registered", name, hears))
            case ExtensionFailed(name, error_type):
                self.words.append(("failed", name, error_type))
            case Refused(request, answer):
                self.words.append(("refused", request, answer.status, answer.error_type))

    def _ending(self, event: Ended | TooLarge | Cut) -> tuple[object, ...]:
        post = event.post
        if isinstance(event, Cut) and post not in self._open:
            assert post not in self._over
            self._over.add(post)
            return "cut at once", post.kind, post.request_id, event.how
        body = bytes(self._end(post))
        if isinstance(event, Ended):
            assert len(body) == post.size
            return "ended", post.kind, post.request_id, body, post.error_type, post.error_body
        if isinstance(event, TooLarge):
            assert event.size > min(self._limits)
            return "too large", post.kind, post.request_id, event.size
        assert event.how in {
            f"broke off what it posted to …{post.kind} after {len(body)} bytes",
            "was still posting its answer when its time was over",
        }
        return "cut", post.kind, post.request_id, body

    def _end(self, post: Post) -> bytearray:
        self._over.add(post)
        return self._open.pop(post)


class Environment:
    """A server, and who drives it: invocations are handed out as soon as they can be, `run-1`, `run-2` and so on."""

    def __init__(self, limit: int = 1000, stream_limit: int = 3000) -> None:
        self.identified = 0
        self.server = Server(registration=REGISTRATION, identify=self._identify, limit=limit, stream_limit=stream_limit)
        self.told = Told(limit, stream_limit)
        self.invoked = 0

    def _identify(self) -> str:
        self.identified += 1
        return identifier(self.identified)

    def connect(self) -> Connection:
        """A client has connected."""
        return self.server.connect()

    def settle(self) -> None:
        """Takes note of what has happened, and hands out invocations for as long as that can be."""
        self.told.take(self.server.events)
        while self.server.waits:
            self.invoked += 1
            self.invoke(f"run-{self.invoked}")

    def invoke(self, request_id: str, *headers: tuple[str, str], body: bytes = b'{"event":1}') -> None:
        """Hands out an invocation."""
        head = (
            ("Lambda-Runtime-Aws-Request-Id", request_id),
            ("Lambda-Runtime-Deadline-Ms", "1700000000000"),
            *headers,
        )
        self.server.invoke(request_id, head, body)
        self.told.take(self.server.events)

    def release(self) -> None:
        """Another client asks for an invocation, and never answers it: an extension that waits is told of it."""
        self.connect().receive(get(NEXT).render())
        self.settle()

    def say(self, *requests: Request, over: Connection | None = None) -> list[Answer]:
        """Sends these at once, and gives the answers that there are, nothing being invoked meanwhile."""
        return self.say_bytes(b"".join(request.render() for request in requests), over=over)

    def say_bytes(self, data: bytes, over: Connection | None = None) -> list[Answer]:
        """Sends these, likewise."""
        connection = over or self.connect()
        connection.receive(data)
        self.told.take(self.server.events)
        return parse(connection.take())

    def running(self, request_id: str = "a", *headers: tuple[str, str]) -> Environment:
        """This, after an invocation was handed out."""
        self.say(get(NEXT))
        self.invoke(request_id, *headers)
        return self


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


class Conversation:
    """What became of bytes that were sent over one connection, part by part, until so many answers came; then the client ended it.

    Where all was sent and answers are missing, an extension may wait: other clients take invocations then.
    """

    def __init__(self, parts: Sequence[bytes], wanted: int) -> None:
        self.environment = Environment()
        connection = self.environment.connect()
        self.out = _converse(self.environment, connection, parts, wanted)
        self.closing = connection.closing
        """Whether it was to be closed before the client ended it."""
        self.out += _end(self.environment, connection)

    @property
    def words(self) -> list[tuple[object, ...]]:
        """What was told."""
        return self.environment.told.words


def one_by_one(requests: Sequence[Request]) -> tuple[bytes, list[tuple[object, ...]]]:
    """What goes out, and what is told, where each request has a connection of its own."""
    environment = Environment()
    out = b""
    for request in requests:
        connection = environment.connect()
        out += _converse(environment, connection, [request.render()], 1)
        assert _end(environment, connection) == b""
    return out, environment.told.words


def _converse(environment: Environment, connection: Connection, parts: Sequence[bytes], wanted: int) -> bytes:
    out = b""
    for part in parts:
        connection.receive(part)
        environment.settle()
        out += connection.take()
    for _ in range(wanted):
        if connection.closing or len(parse(out)) >= wanted:
            break
        environment.release()
        out += connection.take()
    return out


def _end(environment: Environment, connection: Connection) -> bytes:
    """Ends the connection, after which nobody waits there and nothing is read."""
    connection.receive(b"")
    environment.told.take(environment.server.events)

    assert connection.closing
    assert not connection.reads
    assert not environment.server.waits
    assert environment.told.unfinished == 0
    return connection.take()
