"""What the other tests lean on: their server takes what is plain HTTP/1.1, in any pieces, and blames whatever is not."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.runtime.stub import ACCEPTED, EXTENSION, NEXT, REGISTERED, RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Iterator

POST = b"POST /a HTTP/1.1\r\nHost: HOST\r\n"
CHUNKS = POST + b"Transfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    """One, of which nobody knows."""
    api = RuntimeApi()
    yield api
    api.close()


def send(api: RuntimeApi, data: bytes) -> socket.socket:
    """A client that has sent that, in single bytes, with the right host for HOST."""
    host, _, port = api.address.partition(":")
    client = socket.create_connection((host, int(port)))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for byte in data.replace(b"HOST", api.address.encode()):
            client.send(bytes([byte]))
    except OSError:
        pass  # it was blamed before its end
    return client


def test_what_is_asked_is_kept_as_it_came(api: RuntimeApi) -> None:
    with send(api, CHUNKS + b"3\r\nabc\r\n1\r\nd\r\n0\r\nB: 1\r\na: 2 3\r\n\r\n") as client:
        request = api.take("/a")

        assert request.line == "POST /a"
        assert request.headers == [("Host", api.address), ("Transfer-Encoding", "chunked"), ("Trailer", "A, B")]
        assert (request.pieces, request.body) == ([b"abc", b"d"], b"abcd")
        assert request.trailers == [("B", "1"), ("a", "2 3")]
        request.connection.send(ACCEPTED)
        assert client.recv(len(ACCEPTED), socket.MSG_WAITALL) == ACCEPTED

        client.sendall(f"GET {NEXT} HTTP/1.1\r\nhost:{api.address}\r\n\r\n".encode())
        again = api.take()
        assert again.connection is request.connection


def test_what_is_sent_is_read_before_the_next_piece_is(api: RuntimeApi) -> None:
    with send(api, POST + b"Content-Length: 2\r\n\r\n{}") as client:
        connection = api.take().connection
        connection.send(b"abc")
        assert connection.is_unread()
        assert client.recv(3, socket.MSG_WAITALL) == b"abc"
        connection.await_reading()


def test_an_extension_is_registered_and_parked(api: RuntimeApi) -> None:
    register = f"POST {EXTENSION}/register HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n\r\n{{}}"
    with send(api, register.encode()) as client:
        assert client.recv(len(REGISTERED), socket.MSG_WAITALL) == REGISTERED
        assert api.nothing_waits()


@pytest.mark.parametrize("how", ["close", "finish", "reset"])
def test_a_connection_ends_as_the_test_says(api: RuntimeApi, how: str) -> None:
    with send(api, POST + b"Content-Length: 2\r\n\r\n{}") as client:
        connection = api.take().connection
        getattr(connection, how)()
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
        assert connection.ended == (how == "reset") or how == "close"


def test_what_breaks_off_is_broken(api: RuntimeApi) -> None:
    client = send(api, CHUNKS + b"3\r\nabc\r\n1\r\n")
    request = api.begin()
    client.close()
    api.until(lambda: request.broken, "the end")

    assert not request.whole


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rHost",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: HOST\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: another\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nhost: HOST\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\r\na: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA : 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\r\n 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA: \xc3\xa4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA: \x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nContent-Type: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\n\r\nGET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        POST + b"\r\n",
        POST + b"Content-Length: +1\r\n\r\na",
        POST + b"Content-Length: 01\r\n\r\na",
        POST + b"Content-Length: 1, 1\r\n\r\na",
        POST + b"Content-Length: 1\r\n\r\nab",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\na",
        POST + b"Content-Length: 1\r\nTrailer: A\r\n\r\na",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        CHUNKS + b"g\r\n",
        CHUNKS + b"\r\n",
        CHUNKS + b"-1\r\n",
        CHUNKS + b"01\r\na\r\n",
        CHUNKS + b"1;a=b\r\na\r\n",
        CHUNKS + b"1 \r\na\r\n",
        CHUNKS + b"1\r\nab\r\n",
        CHUNKS + b"1\na\r\n",
        CHUNKS + b"00\r\n\r\n",
        CHUNKS + b"0\r\nC: 1\r\n\r\n",
        CHUNKS + b"0\r\nA: 1\r\na: 1\r\n\r\n",
        CHUNKS + b"0\r\nA 1\r\n\r\n",
        CHUNKS.replace(b"A, B", b"Content-Length") + b"0\r\nContent-Length: 1\r\n\r\n",
        CHUNKS + b"0\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_plain_http_is_blamed(api: RuntimeApi, data: bytes) -> None:
    with send(api, data), pytest.raises(AssertionError, match="connection 1"):
        api.until(lambda: False, "a fault")
