"""What may come as the answer to `next`: a good one, however it is spelled and cut, is the event; any other is the end, said in one line."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import HealthCheck, Phase, assume, event, example, given, settings, strategies as st

from shim.testing import strategies
from tests.runtime.stub import ACCEPTED, NEXT, RUNTIME, Runtime, facts
from tests.runtime_client import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.runtime.stub import Request

JSON = strategies.json_values(max_leaves=8, sendable=True)
EVENTS = st.builds(
    lambda value, ascii_only, indent, around: (
        f"{around}{json.dumps(value, ensure_ascii=ascii_only, indent=indent)}{around}"
    ),
    JSON,
    st.booleans(),
    st.sampled_from([None, 0, 1, "\t"]),
    st.sampled_from(["", " ", "\n", "\r\n"]),
).map(str.encode)
NAMES = st.sampled_from(
    ["X-A", "Date", "Server", "Content-Type", "Lambda-Runtime-Trace-Id", "Keep-Alive", "Via", "!#$%&'*+-.^_`|~9"]
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).map(str.strip) | st.just("x" * 1000)  # fmt: skip
CUTS = st.lists(st.integers(0, 3000), max_size=6)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer, and how it is spelled."""

    body: bytes
    framing: str
    """length, chunks, close, or 1.0: the end of the connection is its end, and it is HTTP/1.0."""
    sizes: tuple[int, ...]
    """Of the chunks, but the last one, which is the rest."""
    extension: str
    trailers: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    casing: Callable[[str], str]
    blanks: tuple[str, str]
    """Around each value."""
    interim: tuple[int, ...]
    """The statuses that come before it."""
    reason: str
    closes: bool

    @property
    def may_keep(self) -> bool:
        """Whether the connection may be used again."""
        return self.framing in ("length", "chunks") and not self.closes

    def render(self, status: int, headers: Sequence[tuple[str, str]]) -> bytes:
        """Its bytes."""
        all_headers = [*self.others, *headers, *(("Connection", "close") for _ in range(self.closes))]
        if self.framing == "length":
            all_headers.insert(len(all_headers) // 2, ("Content-Length", str(len(self.body))))
        if self.framing == "chunks":
            all_headers.insert(1, ("Transfer-Encoding", "chunked"))
        before, after = self.blanks
        lines = [f"{self.casing(name)}:{before}{value}{after}\r\n" for name, value in all_headers]
        interim = "".join(f"HTTP/1.1 {status} Wait\r\nLink: a\r\n\r\n" for status in self.interim)
        version = "1.0" if self.framing == "1.0" else "1.1"
        head = f"{interim}HTTP/{version} {status} {self.reason}\r\n{''.join(lines)}\r\n"
        return head.encode() + (self._in_chunks() if self.framing == "chunks" else self.body)

    def _in_chunks(self) -> bytes:
        coded, rest = b"", self.body
        for size in (*self.sizes, len(self.body)):
            piece, rest = rest[:size], rest[size:]
            if piece:
                coded += b"%x%b\r\n%b\r\n" % (len(piece), self.extension.encode(), piece)
        return coded + b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in self.trailers).encode() + b"\r\n"


def answers(
    framings: Sequence[str], bodies: st.SearchStrategy[bytes] = EVENTS, *, interim: bool = True
) -> st.SearchStrategy[Answer]:
    """Answers whose ends are known in one of these ways."""
    one_each = st.lists(st.tuples(NAMES, VALUES), max_size=3, unique_by=lambda header: header[0]).map(tuple)
    return st.builds(
        Answer,
        bodies,
        st.sampled_from(framings),
        st.lists(st.integers(1, 100), max_size=4).map(tuple),
        st.sampled_from(["", ";a", ";a=b", ';a="b c"']),
        one_each,
        one_each,
        st.sampled_from([str, str.lower, str.upper]),
        st.tuples(st.sampled_from([" ", "", "\t", "  "]), st.sampled_from(["", " ", "\t"])),
        st.lists(st.sampled_from([100, 102, 103]), max_size=2).map(tuple) if interim else st.just(()),
        st.sampled_from(["OK", "", "All is well", "ä"]),
        st.booleans(),
    )


class Served:
    """A runtime whose executable answers with its line in base64. It serves until an example ends it, or fails; then there is a new one.

    Args:
        folder: gives a new folder for each.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """The one that serves."""
        if self._runtime is None:
            self._runtime = Runtime(self._folder(), output="base64")
        return self._runtime

    def __enter__(self) -> Runtime:
        return self.runtime

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None or self.runtime.exit_code is not None:
            self.end(kind)

    def end(self, kind: object = None) -> None:
        """Ends it."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.__exit__(kind)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests in this file."""
    served = Served(lambda: tmp_path_factory.mktemp("runtime"))
    yield served
    served.end()


def event_in(posted: Request) -> bytes:
    """The bytes that the executable got for its event."""
    line = base64.b64decode(json.loads(posted.body), validate=True)

    assert line.endswith(b',"shim":1}\n')
    return line.removeprefix(b'{"event":').rpartition(b',"context":{')[0]


def as_read(event: bytes) -> bytes:
    """The same, of the event that was sent."""
    return event.replace(b"\n", b" ")


def is_json(body: bytes) -> bool:
    """Whether the bytes are JSON."""
    try:
        json.loads(body.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return False
    return True


slow = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink what hangs would take too long
)
PLAIN = Answer(b"{}", "length", (), "", (), (), str, (" ", ""), (), "OK", closes=False)


@settings(slow, max_examples=100)
@given(
    answers(["length", "chunks", "close", "1.0"]),
    CUTS,
    answers(["length", "chunks", "close", "1.0"], st.binary(max_size=300)),
    st.sampled_from([200, 202, 299]),
    CUTS,
)
@example(PLAIN, [], PLAIN, 202, [])
@example(PLAIN, [*range(300)], PLAIN, 202, [*range(300)])
def test_a_good_answer_is_the_event_however_it_comes(
    served: Served, given_answer: Answer, cuts: list[int], accepted: Answer, status: int, more_cuts: list[int]
) -> None:
    with served as runtime:
        asked = runtime.api.take(NEXT)
        asked.connection.send_slowly(*pieces(given_answer.render(200, facts()), cuts))
        if not given_answer.may_keep:
            asked.connection.finish()
        posted = runtime.api.take(f"{RUNTIME}/invocation/id-1/response")

        assert event_in(posted) == as_read(given_answer.body)
        assert (posted.connection is asked.connection) == given_answer.may_keep
        posted.connection.send_slowly(*pieces(accepted.render(status, []), more_cuts))
        if not accepted.may_keep:
            posted.connection.finish()
        runtime.api.until(lambda: not runtime.api.nothing_waits(), "the next request")

        assert (runtime.api.requests[-1].connection is posted.connection) == accepted.may_keep
        assert runtime.lines() == []


@slow
@given(answers(["length", "chunks"]), st.integers(0), CUTS, st.sampled_from(["close", "finish", "reset"]))
def test_an_answer_that_is_cut_off_is_the_end(
    served: Served, given_answer: Answer, cut: int, cuts: list[int], how: str
) -> None:
    with served as runtime:
        whole = given_answer.render(200, facts())
        sent = whole[: 1 + cut % (len(whole) - 1)]
        asked = runtime.api.take(NEXT)
        asked.connection.send_slowly(*pieces(sent, cuts))
        getattr(asked.connection, how)()

        assert runtime.ends() == 1
        assert len(runtime.lines()) == 1
        assert runtime.api.nothing_waits()


def read_by_another(data: bytes) -> tuple[int, bytes] | None:
    """The status and the body of an answer as h11 reads it, if it is one; what comes behind it is not looked at."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * 1024 * 1024)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(part := connection.next_event(), h11.EndOfMessage):
            if isinstance(part, h11.Response):
                status = part.status_code
            if isinstance(part, h11.Data):
                body += part.data
            if isinstance(part, h11.ConnectionClosed) or part is h11.NEED_DATA or part is h11.PAUSED:
                return None
    except h11.RemoteProtocolError:
        return None
    return status, body


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat", "cut"]),
        st.integers(0, 1000),
        st.integers(1, 30),
        st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0", b"1", b"9", b"-", b",", b"\xff", b"\r\n\r\n"])
        | st.binary(min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, mutations: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    """The bytes with these changes: where, how many, and what is put there."""
    for how, place, size, new in mutations:
        at = place % (len(data) + 1)
        before, those, after = data[:at], data[at : at + size], data[at + size :]
        if how == "replace":
            data = before + new + data[at + len(new) :]
        elif how == "insert":
            data = before + new + those + after
        elif how == "delete":
            data = before + after
        elif how == "repeat":
            data = before + those + those + after
        else:
            data = before
    return data


@settings(slow, max_examples=80)
@given(answers(["length", "chunks"], interim=False), MUTATIONS, CUTS)
def test_an_answer_with_mistakes_is_the_end_or_the_event_that_it_says(
    served: Served, given_answer: Answer, mutations: list[tuple[str, int, int, bytes]], cuts: list[int]
) -> None:
    """What says that is another's reading of the same bytes; where that is stricter, only the event that was meant will do."""
    original = given_answer.render(200, facts())
    data = mutated(original, mutations)
    assume(data not in (b"", original))
    assert read_by_another(original) == (200, given_answer.body)
    with served as runtime:
        asked = runtime.api.take(NEXT)
        asked.connection.send_slowly(*pieces(data, cuts))
        asked.connection.finish()
        runtime.api.until(
            lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "a post, or the end"
        )
        if runtime.api.nothing_waits():
            event("the end")
            assert runtime.ends() == 1
            assert len(runtime.lines()) == 1
            return
        posted = runtime.api.take()
        assert posted.method == "POST"
        if posted.connection is asked.connection:  # it asked before it saw the end, and gets no answer there
            assert runtime.ends() == 1
        else:
            assert runtime.lines() == []
        status, body = read_by_another(data) or (200, given_answer.body)
        assert status == 200
        if posted.target.endswith("/response"):
            event("an event")
            assert event_in(posted) == as_read(body)
        else:
            event("an error")
            kind = json.loads(posted.body)["errorType"]
            assert kind == "DeadlineExceeded" or (kind == "EventInvalid" and not is_json(body))
        if runtime.exit_code is None:
            posted.connection.send(ACCEPTED)
