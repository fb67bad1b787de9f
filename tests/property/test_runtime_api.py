"""The Runtime API over one connection: what comes is the same however it is cut, and whatever comes breaks nothing."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given, settings, strategies as st

from shim.runtime_api.connection import LONGEST_HEAD, MOST_AHEAD
from shim.runtime_api.events import Began, Ended, Piece, TooLarge
from shim.runtime_api.server import Server
from tests.runtime_client import (
    EXTENSION,
    INIT_ERROR,
    NEXT,
    PING,
    Conversation,
    Environment,
    Request,
    get,
    identifier,
    one_by_one,
    parse,
    pieces,
    post,
    post_path,
)
from tests.stateful.runtime_model import ACCEPTED, Model, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shim.runtime_api.events import Event

MIB = 1024 * 1024
PIECE = 65_536
"""So much is read at a time."""
MOST_GROWTH = 4 * MIB


class Asked(NamedTuple):
    """A request, and by what the model knows it."""

    request: Request
    what: tuple[str, ...]


IDS = st.sampled_from(["run-1", "run-1", "run-2", "run-3", "foreign", "%72un-1", "a~b!$&'()*+,;=:@"])
SIZES = st.sampled_from([0, 1, 2, 10, 300, 999, 1000, 1001]) | st.integers(0, 1100)
BODIES = st.builds(
    lambda size, byte: (b"%c\r\n0\r\n\r\nGET /" % byte * (size // 11 + 1))[:size], SIZES, st.integers(0, 255)
)
EXTENSIONS = st.sampled_from(["", ";a", ";a=b", ';a="b c";d', ";" + "x" * 300, " "])
TRAILERS = st.sampled_from(
    [
        (),
        (("X-Checksum", "1"),),
        (("Lambda-Runtime-Function-Error-Type", "Function.Late"), ("Lambda-Runtime-Function-Error-Body", "bGF0ZQ==")),
    ]
)
IDENTIFIERS = st.sampled_from([identifier(1), identifier(1), identifier(2), identifier(10**9), "none", ""])
FIXED = {
    ("GET", PING): "ping",
    ("PUT", "/2020-08-15/logs"): "logs",
    ("PUT", "/2022-07-01/telemetry"): "logs",
    ("GET", f"{NEXT}/"): "unknown",
    ("GET", "/"): "unknown",
    ("GET", NEXT.replace("next", "%6eext")): "unknown",
    ("POST", "/2018-06-01/runtime/invocation/a/b/response"): "unknown",
    ("OPTIONS", "*"): "unknown",
    ("GET", "/" + "long" * 500): "unknown",
    ("HEAD", "/"): "unknown",
    ("HEAD", NEXT): "method",
    ("HEAD", PING): "method",
    ("POST", NEXT): "method",
    ("GET", INIT_ERROR): "method",
    ("OPTIONS", PING): "method",
    ("TRACE", PING): "method",
    ("DELETE", post_path("run-1")): "method",
    ("CONNECT", PING): "method",
    ("next", NEXT): "method",
}
VERDICTS = {
    "ping": Verdict(200, "", "pong"),
    "logs": Verdict(202, "", "NotSupported"),
    "unknown": Verdict(404, "NotFound"),
    "method": Verdict(405, "MethodNotAllowed"),
}
NEVER = Verdict(0)
"""There is no answer, since extensions do not wait, or hear of nothing."""


def _posts(kind: str, request_id: str, body: bytes, mode: str | None) -> Asked:
    path = INIT_ERROR if kind == "init/error" else post_path(request_id, kind[1:])
    headers = {} if mode is None else {"Lambda_Runtime_Function_Response_Mode": mode}
    return Asked(post(path, body, **headers), ("post", kind, "" if kind == "init/error" else request_id, mode or ""))


def _registers(name: str, events: str) -> Asked:
    body = f'{{"events":[{events}]}}'.encode()
    return Asked(post(f"{EXTENSION}/register", body, Lambda_Extension_Name=name), ("register", name, events))


def _fixed(fixed: tuple[str, str], body: bytes | None) -> Asked:
    return Asked(Request(*fixed, body=body), ("fixed", FIXED[fixed]))


def _reports(kind: str, known: str, error_type: str) -> Asked:
    headers = {"Lambda_Extension_Identifier": known, "Lambda_Extension_Function_Error_Type": error_type}
    return Asked(post(f"{EXTENSION}/{kind}/error", b"{}", **headers), ("report", kind, known, error_type))


OF_RUNTIMES = st.one_of(
    st.just(Asked(get(NEXT), ("next",))),
    st.just(Asked(get(NEXT, User_Agent="a/1", X_Long="x" * 2000, Accept="*/*"), ("next",))),
    st.builds(
        _posts,
        st.sampled_from([*["/response"] * 8, *["/error"] * 3, "init/error"]),
        IDS,
        BODIES,
        st.sampled_from([None, None, None, "", "streaming", "Buffered"]),
    ),
    st.builds(_fixed, st.sampled_from(sorted(FIXED)), st.none() | BODIES),
)
OF_EXTENSIONS = st.one_of(
    st.builds(_registers, st.sampled_from(["", "one", "two", "\xe4"]), st.sampled_from(["", '"INVOKE"', '"SHUTDOWN"'])),
    st.builds(
        lambda known: Asked(get(f"{EXTENSION}/event/next", Lambda_Extension_Identifier=known), ("event", known)),
        IDENTIFIERS,
    ),
    st.builds(_reports, st.sampled_from(["init", "exit"]), IDENTIFIERS, st.sampled_from(["", "Extension.Bad"])),
)


@st.composite
def spelled(draw: st.DrawFn, *, keeps: bool = False) -> Asked:
    """A request in one of the many ways in which it may be spelled. `keeps`: it asks for no end of its connection."""
    request, what = draw(OF_EXTENSIONS if draw(st.integers(0, 5)) == 5 else OF_RUNTIMES)
    chance = draw(st.integers(0, 19))
    if request.body is not None and chance % 2:
        sizes = tuple(draw(st.lists(st.integers(1, 400), max_size=3)))
        request = replace(request, chunks=sizes, extension=draw(EXTENSIONS), trailers=draw(TRAILERS))
    if not keeps:
        request = replace(request, closes=chance == 0, expects=chance in (1, 2, 3))
    if not keeps and chance == 4 and request.chunks is None:
        request = replace(request, version="1.0")
    return Asked(
        replace(
            request,
            casing=draw(st.sampled_from(["as it is", "lower", "upper"])),
            is_absolute=chance in (5, 6) and request.path.startswith("/"),
            query="?a=b%20/response?" if chance in (6, 7) else "",
        ),
        what,
    )


REQUESTS = st.lists(spelled(), min_size=1, max_size=8)
CUTS = st.lists(st.integers(0, 100_000), max_size=12)


class Simulation:
    """What the model says of requests over one connection, each `next` being answered at once and other clients asking where it waits."""

    def __init__(self) -> None:
        self.model = Model()
        self.invoked = 0

    def verdict(self, asked: Asked) -> Verdict:
        """The answer to the next request."""
        what, *told = asked.what
        model = self.model
        if what == "fixed":
            return VERDICTS[told[0]]
        if what == "next":
            return model.next(0) or (self.invoke() if model.waits else NEVER)
        if what == "register":
            hears = [told[1].strip('"')] if told[1] else []
            return model.register(told[0], hears, identifier(len(model.extensions) + 1))
        if what == "report":
            return model.report(*told)
        if what == "event":
            answer = model.event(told[0], 0)
            if answer is None and model.next(1) is None and model.waits:
                self.invoke()
                if model.extensions[told[0]].hears:
                    return Verdict(200, "", f'"requestId":"run-{self.invoked}"')
            return answer or NEVER
        request = asked.request
        body = request.body or b""
        begun = model.begin(
            told[0], told[1], mode=told[2] or None, announced=0 if request.chunks is not None else len(body)
        )
        begun.body += body
        return model.end(begun)

    def invoke(self) -> Verdict:
        self.invoked += 1
        line = self.model.invoke(f"run-{self.invoked}", None)
        for extension in self.model.extensions.values():
            if extension.hears:
                self.model.hear(extension, f"run-{self.invoked}")
        return Verdict(200, "", '{"event":1}') if line == 0 else ACCEPTED


slow = settings(deadline=None, max_examples=200)
"""A stream that comes byte by byte takes long on a busy machine."""


def ways(data: bytes, cuts: Iterable[int]) -> list[list[bytes]]:
    """The bytes whole, cut somewhere, and one by one."""
    return [[data], pieces(data, cuts), [data[at : at + 1] for at in range(len(data))]]


@slow
@given(REQUESTS, CUTS)
def test_events_and_answers_are_the_same_however_the_bytes_are_cut(asked: list[Asked], cuts: list[int]) -> None:
    data = b"".join(one.request.render() for one in asked)
    whole, *others = [Conversation(parts, len(asked)) for parts in ways(data, cuts)]

    for other in others:
        assert other.words == whole.words
        assert other.out == whole.out
        assert other.closing == whole.closing


@slow
@given(REQUESTS)
def test_each_request_has_one_answer_in_its_turn_the_one_that_the_model_says(asked: list[Asked]) -> None:
    requests = [one.request for one in asked]
    talk = Conversation([b"".join(request.render() for request in requests)], len(asked))
    simulation = Simulation()
    answers = parse(talk.out, requests)
    for answer, one in zip(answers, asked, strict=False):
        verdict = simulation.verdict(one)

        assert answer.status == verdict.status
        assert one.request.method == "HEAD" or verdict.names in (
            answer.error.get("errorMessage") or answer.body.decode()
        )
        assert answer.continued <= one.request.expects
        assert int(answer.headers["content-length"]) == len(answer.body) or one.request.method == "HEAD"
    if talk.closing:
        last = requests[len(answers) - 1]

        assert not last.may_keep or (last.expects and not answers[-1].continued)
    elif len(answers) < len(asked):
        assert simulation.verdict(asked[len(answers)]) == NEVER
    for answer, request in zip(answers[:-1], requests, strict=False):
        assert request.may_keep
        assert answer.continued == request.expects
        assert not answer.says_that_it_closes


@slow
@given(st.lists(spelled(keeps=True), min_size=1, max_size=6))
def test_requests_behind_one_another_are_answered_as_those_on_connections_of_their_own(asked: list[Asked]) -> None:
    requests = [one.request for one in asked]
    talk = Conversation([b"".join(request.render() for request in requests)], len(asked))
    answers = parse(talk.out, requests)
    alone, words = one_by_one(requests[: len(answers)])

    assert alone == talk.out
    assert len(answers) < len(asked) or words == talk.words


# What is no HTTP.

NASTY = [
    b"\0", b"\r\n", b"\n", b" ", b"\t", b":", b"\x80\xff", b"-1", b"99999999999999999999", b"9" * 5000, b"ffffffffffffffffffff",
    b"f" * 30, b"Content-Length: 3\r\n", b"Content-Length: -3\r\n", b"Content-Length: +3\r\n", b"Content-Length: 1, 2\r\n",
    b"Content-Length: 1_0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: \r\n",
    b"Connection: close\r\n", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    b"Expect: 100-continue\r\n", b"Expect: 200-ok\r\n", b"Host: twice\r\n", b" folded\r\n", b"\tfolded\r\n", b"No-Colon\r\n",
    b"Space : 1\r\n", b"X: " + b"x" * 3000 + b"\r\n", b"0\r\n\r\n", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.0", b"HEAD ", b"CONNECT ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\xe4", b"%", b"%00", b"%ff", b"/",
    b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip
"""What is put anywhere into a stream that is well-formed."""


class Change(NamedTuple):
    """What is done to a stream."""

    how: str
    place: int
    what: bytes
    length: int


CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(
            ["insert", "insert", "insert after a line", "insert after a line", "replace", "delete", "truncate"]
        ),
        st.integers(0, 100_000),
        st.sampled_from(NASTY) | st.binary(min_size=1, max_size=8),
        st.integers(1, 40),
    ),
    max_size=4,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    """The stream after that was done to it."""
    for how, place, what, length in changes:
        at = place % (len(data) + 1)
        if how == "insert after a line":
            at = data.find(b"\r\n", at) + 2 or 0
        match how:
            case "truncate":
                data = data[:at]
            case "delete":
                data = data[:at] + data[at + length :]
            case "replace":
                data = data[:at] + what + data[at + len(what) :]
            case _:
                data = data[:at] + what + data[at:]
    return data


HEADED = b"HEAD /x HTTP/1.1\r\nHost: a\r\n"


@settings(deadline=None, max_examples=400)
@given(REQUESTS, CHANGES, CUTS)
@example([], [Change("insert", 0, HEADED + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 0)], [])
@example([], [Change("insert", 0, HEADED + b"Content-Length: 3\r\n\r\n1", 0)], [])
def test_whatever_is_sent_nothing_is_raised_and_every_post_ends_once(
    asked: list[Asked], changes: list[Change], cuts: list[int]
) -> None:
    data = changed(b"".join(one.request.render() for one in asked), changes)
    parts = [part for part in pieces(data, cuts) if part]
    talk = Conversation(parts, 5)

    if talk.closing and talk.out:
        last = parse(talk.out)[-1]

        assert last.says_that_it_closes or last.status < 500
    server = talk.environment.server
    again = server.connect()
    again.receive(get(PING).render())

    assert again.take().endswith(b"pong")  # all others are served on


@slow
@given(REQUESTS, CHANGES, CUTS)
def test_what_is_no_http_is_refused_the_same_however_it_is_cut(
    asked: list[Asked], changes: list[Change], cuts: list[int]
) -> None:
    data = changed(b"".join(one.request.render() for one in asked), changes)
    whole, *others = [Conversation([part for part in parts if part], 5) for parts in ways(data, cuts)]

    for other in others:
        assert other.words == whole.words
        assert other.out == whole.out


@slow
@given(REQUESTS, CHANGES)
def test_an_answer_after_which_the_connection_is_closed_says_so(asked: list[Asked], changes: list[Change]) -> None:
    """A client that does not know would ask over it again, and be cut off (RFC 9112, 9.6)."""
    data = changed(b"".join(one.request.render() for one in asked), changes)
    talk = Conversation([data] if data else [], 5)
    answers = parse(talk.out)

    assert all(not answer.says_that_it_closes for answer in answers[:-1])
    assert not talk.closing or not answers or answers[-1].says_that_it_closes


def refused(data: bytes) -> tuple[list[int], bool]:
    """The statuses of the answers to that, and whether the connection is to be closed."""
    environment = Environment()
    connection = environment.connect()
    answers = environment.say_bytes(data, over=connection)
    closing = connection.closing
    connection.receive(b"")
    environment.told.take(environment.server.events)

    assert environment.told.unfinished == 0
    return [answer.status for answer in answers], closing


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n", 400),
        (b"\x16\x03\x01", 400),  # TLS
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ],
)
def test_what_is_no_http_of_ours_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    if data == b"GET /\r\n":
        data += b"\r\n"

    assert refused(data) == ([status], True)


@pytest.mark.parametrize(
    "coded",
    [
        b"-1\r\n",
        b"g\r\n",
        b"0x1\r\n",
        b"1" + b"0" * 20 + b"\r\n",
        b"1\r\nabc",
        b"1\r\na\r\n\r\n",
        b"\r\n",
        b"3\r\nab\r\n0\r\n\r\n\r\n",
    ],
)
def test_chunks_that_are_none_cut_what_was_posted(coded: bytes) -> None:
    environment = Environment().running()
    connection = environment.connect()
    head = b"POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    [answer] = environment.say_bytes(head + coded, over=connection)

    assert (answer.status, answer.error_type) == (400, "TruncatedHTTPRequest")
    assert connection.closing
    assert [word[0] for word in environment.told.words] == ["next", "began", "cut", "refused"]


def test_a_request_with_both_a_length_and_chunks_is_as_long_as_its_chunks() -> None:
    """RFC 9112, 6.3: the transfer coding overrides the length."""
    environment = Environment().running()
    both = post(post_path("a"), b"{}", Content_Length="5000")
    [answer] = environment.say(replace(both, chunks=()))

    assert answer.status in (202, 400)
    assert ("too large", "/response", "a", 5000) not in environment.told.words


# What is without end.


class Endless:
    """A connection that is sent the same again and again, while it is read, up to many times what may be kept of it."""

    def __init__(self, beginning: bytes, again: bytes, *, server: Server | None = None) -> None:
        self.server = server or Server(registration={}, identify=lambda: identifier(1))
        connection = self.server.connect()
        connection.receive(beginning)
        self.sent = 0
        tracemalloc.start()
        while connection.reads and self.sent < 32 * MIB:
            connection.receive(again)
            connection.take()
            self.server.events.clear()
            self.sent += len(again)
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.connection = connection


POSTING = b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FILLER = b"x" * PIECE
LINES = b"X: 1\r\n" * (PIECE // 6)


@pytest.mark.parametrize(
    ("beginning", "again"),
    [
        (b"GET /", FILLER),
        (b"G", FILLER),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", FILLER),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", LINES),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n", b" folded\r\n" * (PIECE // 9)),
        (POSTING + b"1;", FILLER),
        (POSTING + b"1", b"0" * PIECE),
        (POSTING + b"1\r\na\r\n1;", FILLER),
        (POSTING + b"0\r\n", LINES),
        (POSTING + b"1\r\na\r\n0\r\nX: ", FILLER),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", FILLER),
    ],
)
def test_a_head_or_a_trailer_without_end_is_refused_before_it_is_large(beginning: bytes, again: bytes) -> None:
    endless = Endless(beginning, again)

    assert endless.connection.closing
    assert endless.sent <= LONGEST_HEAD + 2 * PIECE
    assert endless.peak < MOST_GROWTH


@pytest.mark.parametrize("size", [1000, PIECE])
@pytest.mark.parametrize(
    "waiting",
    [
        get(NEXT),
        get(NEXT, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAoAAAAAIAAAAA"),
        replace(get(NEXT), closes=True),
        replace(get(NEXT), version="1.0"),
    ],
    ids=["plain", "upgrade", "close", "1.0"],
)
def test_a_client_that_sends_on_and_on_behind_a_next_that_waits_is_not_read(waiting: Request, size: int) -> None:
    again = (get(PING).render() * (size // 60 + 1))[:size]
    endless = Endless(waiting.render(), again)

    assert endless.sent <= MOST_AHEAD + size
    assert endless.peak < MOST_GROWTH


@pytest.mark.parametrize("again", [get(PING).render() * 1000, b"\r\n" * 1000, get("/none").render() * 1000])
def test_requests_without_end_leave_nothing_behind(again: bytes) -> None:
    assert Endless(b"", again[:PIECE]).peak < MOST_GROWTH


def test_what_was_sent_behind_a_request_that_waits_is_read_on_when_that_is_answered() -> None:
    environment = Environment()
    connection = environment.connect()
    connection.receive(get(NEXT).render())
    body = b"x" * (2 * MOST_AHEAD)
    data = replace(post(post_path("a"), body[:1000]), chunks=()).render() + get("/" + "x" * 2 * MOST_AHEAD).render()
    parts = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    while connection.reads and parts:
        connection.receive(parts.pop(0))

    assert parts
    environment.told.take(environment.server.events)
    environment.invoke("a")

    assert connection.reads
    for part in parts:
        assert connection.reads
        connection.receive(part)
    environment.told.take(environment.server.events)

    assert [answer.status for answer in parse(connection.take())] == [200, 202, 404]


def test_a_head_as_long_as_may_be_is_read() -> None:
    """1 MiB, which is what awslambdaric sends of an error at most."""
    environment = Environment()
    connection = environment.connect()
    data = post(INIT_ERROR, b"{}", Lambda_Runtime_Function_XRay_Error_Cause="x" * MIB).render()
    for part in pieces(data, [*range(0, len(data), PIECE), len(data) - 3]):
        connection.receive(part)

    assert [answer.status for answer in parse(connection.take())] == [202]


def chunks_of(total: int, chance: random.Random) -> Iterable[bytes]:
    """A body of that length in chunks of any size."""
    while total:
        size = min(total, chance.choice([1, 100, 1000, 65_536, 300_000, chance.randrange(1, 65_536)]))
        yield b"%x\r\n%b\r\n" % (size, bytes(size))
        total -= size
    yield b"0\r\n\r\n"


def whole_of(total: int, chance: random.Random) -> Iterable[bytes]:
    """A body of that length in pieces of any size."""
    while total:
        size = min(total, chance.randrange(1, PIECE + 1))
        yield bytes(size)
        total -= size


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_response_of_200_mb_passes_in_bounded_memory(framing: str) -> None:
    total = 200 * MIB
    server = Server(registration={}, identify=lambda: "", stream_limit=total)
    connection = server.connect()
    connection.receive(get(NEXT).render())
    server.invoke("a", [], b"")
    server.events.clear()
    head = post(post_path("a"), Lambda_Runtime_Function_Response_Mode="streaming").head()
    length = b"Transfer-Encoding: chunked" if framing == "chunks" else b"Content-Length: %d" % total
    parts = (chunks_of if framing == "chunks" else whole_of)(total, random.Random(7))  # noqa: S311 - the same each time
    come = 0
    ended: list[Event] = []
    tracemalloc.start()
    connection.receive(head.replace(b"Content-Length: 0", length))
    for part in parts:
        assert connection.reads
        connection.receive(part)
        come += sum(len(event.data) for event in server.events if isinstance(event, Piece))
        ended += [event for event in server.events if not isinstance(event, Piece)]
        server.events.clear()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert come == total
    assert [type(event) for event in ended] == [Began, Ended]
    assert connection.take().count(b"HTTP/1.1 202 Accepted") == 1
    assert peak < MOST_GROWTH


# What is too large.


@st.composite
def limited(draw: st.DrawFn) -> tuple[int, Request]:
    """A limit, and a post that is about as long."""
    limit = draw(st.integers(0, 3000))
    size = max(0, limit + draw(st.integers(-2, 2) | st.integers(-3000, 3000)))
    kind = draw(st.sampled_from(["response", "streaming", "error", "init/error"]))
    path = {"init/error": INIT_ERROR, "error": post_path("a", "error")}.get(kind, post_path("a"))
    headers = {"Lambda_Runtime_Function_Response_Mode": "streaming"} if kind == "streaming" else {}
    chunks = draw(st.none() | st.lists(st.integers(1, 2000), max_size=5).map(tuple))
    return limit, replace(post(path, b"x" * size, **headers), chunks=chunks, expects=draw(st.booleans()))


@slow
@given(limited(), CUTS)
@example((1000, post(post_path("a"), b"x" * 1000)), [])
@example((1000, post(post_path("a"), b"x" * 1001)), [])
@example((1000, replace(post(post_path("a"), b"x" * 1000), chunks=(999,))), [])
@example((1000, replace(post(post_path("a"), b"x" * 1001), chunks=(1000,))), [])
@example((1000, replace(post(post_path("a"), b"x" * 1001), expects=True)), [])
@example((0, replace(post(INIT_ERROR, b"x"), chunks=(), expects=True)), [])
def test_nothing_above_the_limit_comes_through_and_a_post_that_says_so_before_is_refused_at_once(
    limited: tuple[int, Request], cuts: list[int]
) -> None:
    limit, request = limited
    size = len(request.body or b"")
    other = 10 * (limit + 1)
    is_streamed = bool(request.headers)
    limits = {"limit": other if is_streamed else limit, "stream_limit": limit if is_streamed else other}
    server = Server(registration={}, identify=lambda: "", **limits)
    if request.path != INIT_ERROR:
        server.connect().receive(get(NEXT).render())
        server.invoke("a", [], b"")
        server.events.clear()
    connection = server.connect()
    connection.receive(request.head())
    out = connection.take()
    is_known = request.chunks is None and size > limit
    if request.expects:
        assert out.startswith(b"HTTP/1.1 413 " if is_known else b"HTTP/1.1 100 ")
        assert connection.closing == is_known
    for part in pieces(request.coded_body(), cuts):
        connection.receive(part)
    [answer] = parse(out + connection.take())
    first, *events = server.events
    come = sum(len(event.data) for event in events if isinstance(event, Piece))
    [end] = [event for event in events if isinstance(event, (Ended, TooLarge))]

    assert isinstance(first, Began)
    if size > limit:
        assert isinstance(end, TooLarge)
        assert end.size == size
        assert come <= (0 if is_known else limit)
        assert answer.status == 413
        assert answer.error["errorMessage"] == f"Exceeded maximum allowed payload size ({limit} bytes)."
    else:
        assert isinstance(end, Ended)
        assert (end.post.size, come) == (size, size)
        assert answer.status == 202
