"""A Runtime API that believes nothing of its client, and answers with whatever bytes a test gives it; and the runtime that it serves.

It shares no code with what it tests. What it is sent must be plain HTTP/1.1, to the byte: anything else is a fault, and fails the test.
"""

from __future__ import annotations

import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from tests.real.session import kill, processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

RUNTIME = "/2018-06-01/runtime"
NEXT = f"{RUNTIME}/invocation/next"
INIT_ERROR = f"{RUNTIME}/init/error"
EXTENSION = "/2020-01-01/extension"
IDENTIFIER = "5e1f0000-abcd-4000-8000-000000000001"

PATIENCE = 30
"""Seconds after which what did not come will not come."""
LONGEST_HEAD = 1024 * 1024
"""Bytes from which on Lambda's server refuses a head."""

REQUEST_LINE = re.compile(rb"(GET|POST) (/[!-\x22\x24-~]*) HTTP/1\.1")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~](?:[\t -~]*[!-~])?)?")
LENGTH = re.compile(r"0|[1-9][0-9]{0,15}")
CHUNK = re.compile(rb"0|[1-9a-fA-F][0-9a-fA-F]{0,12}")
OF_A_BODY = {"content-length", "content-type", "transfer-encoding", "trailer", "content-encoding"}
NEVER = {"expect", "upgrade", "te", "proxy-connection", "content-encoding"}
"""Headers that nobody needs here, and some of which change what must be answered."""
NEVER_IN_TRAILERS = OF_A_BODY | NEVER | {"host", "connection", "authorization", "set-cookie", "content-range"}
EXPECTED_LINE = re.compile(r"shim: \S+ runs |\[ERROR\] ")
"""What the log has of a beginning, and of an invocation that fails."""


class Malformed(Exception):
    """What the client sent is no plain HTTP/1.1."""


class Ended(Exception):
    """The client has ended the connection."""


def answer(status: int = 200, *headers: tuple[str, str], body: bytes = b"", reason: str = "Said") -> bytes:
    """An answer whose length stands in a header."""
    return head(status, *headers, ("Content-Length", str(len(body))), reason=reason) + body


def head(status: int, *headers: tuple[str, str], reason: str = "Said") -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(body: bytes, *sizes: int) -> bytes:
    """A body in chunks of these sizes, and one of what remains."""
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, body] if piece) + b"0\r\n\r\n"


def facts(request_id: str = "id-1", *, lasts: float = 3600, **headers: str) -> list[tuple[str, str]]:
    """The headers of an invocation that has so many seconds; the others' names have underscores for dashes."""
    return [
        ("Lambda-Runtime-Aws-Request-Id", request_id),
        ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + lasts) * 1000))),
        *((name.replace("_", "-"), value) for name, value in headers.items()),
    ]


def invocation(event: bytes = b"{}", request_id: str = "id-1", *, lasts: float = 3600, **headers: str) -> bytes:
    """The answer to `next`."""
    return answer(200, ("Content-Type", "application/json"), *facts(request_id, lasts=lasts, **headers), body=event)


ACCEPTED = answer(202, ("Content-Type", "application/json"), body=b'{"status":"OK"}\n')
REGISTERED = answer(200, ("Lambda-Extension-Identifier", IDENTIFIER), body=b'{"functionName":"f"}')


class Request:
    """What a client asks. It is known from the end of its head on, and grows until it is `whole` or `broken`."""

    def __init__(self, connection: Connection, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.pieces: list[bytes] = []
        """Its body: a piece is a chunk, or all of it."""
        self.trailers: list[tuple[str, str]] = []
        self.whole = False
        self.broken = False
        """Whether the client ended the connection in its middle."""

    @property
    def body(self) -> bytes:
        """What has come of it."""
        return b"".join(self.pieces)

    @property
    def line(self) -> str:
        """The method and the target."""
        return f"{self.method} {self.target}"

    def __getitem__(self, name: str) -> str:
        return dict(self._lowered())[name.lower()]

    def get(self, name: str, otherwise: str) -> str:
        """The value of that header, if there is one."""
        return dict(self._lowered()).get(name.lower(), otherwise)

    def __contains__(self, name: str) -> bool:
        return name.lower() in dict(self._lowered())

    def _lowered(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self.headers]

    def __repr__(self) -> str:
        end = "whole" if self.whole else "broken" if self.broken else "not whole"
        return f"<{self.line} on connection {self.connection.number}, {end}, body {self.body[:200]!r}>"


class Connection:
    """One connection of the client, which a thread reads to its end. What is sent is the test's business, byte by byte."""

    def __init__(self, api: RuntimeApi, number: int, accepted: socket.socket) -> None:
        self.number = number
        self.ended = False
        """Whether the client has ended it, or nothing can be read from it any more."""
        self._api = api
        self._socket = accepted
        self._here = accepted.getsockname()
        self._there = accepted.getpeername()
        self._buffer = b""
        self._owes = False
        """Whether a request waits for the first byte of its answer."""
        self._reads = threading.Event()
        self._reads.set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Sends that. Where the client has gone nothing happens: a test looks at what it did then."""
        self._owes = False
        try:
            self._socket.sendall(data)
        except OSError:
            if not self.await_end():
                raise

    def send_slowly(self, *pieces: bytes) -> None:
        """Sends these pieces, each when the client has read what came before it."""
        for piece in pieces:
            self.send(piece)
            self.await_reading()

    def await_reading(self) -> None:
        """Returns when the client has read all that was sent, or never will."""
        until = time.monotonic() + PATIENCE
        while self.is_unread():
            assert time.monotonic() < until, "the client does not read"
            time.sleep(0.0002)  # nobody tells of it

    def finish(self) -> None:
        """Ends what is sent; what still comes is read."""
        self._shut(socket.SHUT_WR)

    def close(self) -> None:
        """Ends it in both directions."""
        self._shut(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Breaks it off: the client's next call fails, what it has not read yet is lost."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._shut(socket.SHUT_RD)  # its thread wakes, and closes it
        self.await_end()

    def pause(self) -> None:
        """Reads no more, but for what it may be reading now, until `resume`."""
        self._reads.clear()

    def resume(self) -> None:
        """Reads on."""
        self._reads.set()

    def await_end(self) -> bool:
        """Waits for the end of its thread, which comes when the client has ended the connection; returns whether that came."""
        self._thread.join(PATIENCE)
        return not self._thread.is_alive()

    def _shut(self, how: int) -> None:
        try:
            self._socket.shutdown(how)
        except OSError:
            pass  # the client was faster

    def is_unread(self) -> bool:
        """Whether bytes are on the way to the client, or in its kernel's buffer: the kernel tells of both ends (sock_diag(7), inet_diag)."""
        return _queued(self._there, self._here)[0] > 0 or _queued(self._here, self._there)[1] > 0

    def _serve(self) -> None:
        request: Request | None = None
        try:
            while True:
                request = None
                request = self._head()
                self._api.hear(request)
                self._body(request)
                self._owes = True
                self._api.change(request, whole=True)
        except (Ended, OSError):
            pass
        except Malformed as fault:
            self._api.blame(f"connection {self.number}: {fault}")
        if request is not None and not request.whole:
            self._api.change(request, broken=True)
        self._api.end(self)
        self._socket.close()

    def _head(self) -> Request:
        self._fill()
        if self._owes:
            raise Malformed(f"it goes on before it has the answer: {self._buffer[:100]!r}")
        line = self._line()
        if (match := REQUEST_LINE.fullmatch(line)) is None:
            raise Malformed(f"the request line {line!r}")
        headers = self._fields()
        known = {name.lower(): value for name, value in headers}
        if known.get("host") != self._api.address:
            raise Malformed(f"Host must be {self._api.address}: {headers}")
        if bad := NEVER & set(known):
            raise Malformed(f"headers that are not for here: {bad}")
        if match[1] == b"GET" and OF_A_BODY & set(known):
            raise Malformed(f"a GET with headers of a body: {headers}")
        if match[1] == b"POST" and ("content-length" in known) == ("transfer-encoding" in known):
            raise Malformed(f"a POST needs either a length or a transfer coding: {headers}")
        if "trailer" in known and "transfer-encoding" not in known:
            raise Malformed(f"trailers without chunks: {headers}")
        if known.get("connection", "keep-alive").lower() not in ("keep-alive", "close"):
            raise Malformed(f"Connection: {known['connection']}")
        return Request(self, match[1].decode(), match[2].decode(), headers)

    def _fields(self) -> list[tuple[str, str]]:
        """The lines up to the empty one, which no two may name alike."""
        fields: list[tuple[str, str]] = []
        size = 0
        while line := self._line():
            size += len(line) + 2
            match = HEADER.fullmatch(line)
            if match is None or size > LONGEST_HEAD:
                raise Malformed(f"the header {line[:200]!r}, after {size} bytes")
            name = match[1].decode()
            if name.lower() in [other.lower() for other, _ in fields]:
                raise Malformed(f"{name} twice")
            fields.append((name, (match[2] or b"").decode()))
        return fields

    def _body(self, request: Request) -> None:
        if request.method == "GET":
            return
        if "transfer-encoding" not in request:
            length = request["content-length"]
            if LENGTH.fullmatch(length) is None:
                raise Malformed(f"Content-Length: {length}")
            self._api.change(request, piece=self._exactly(int(length)))
            return
        if request["transfer-encoding"] != "chunked":
            raise Malformed(f"Transfer-Encoding: {request['transfer-encoding']}")
        while size := self._size():
            piece = self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise Malformed("a chunk that is longer than it says")
            self._api.change(request, piece=piece)
        trailers = self._fields()
        declared = [name.strip().lower() for name in request["trailer"].split(",")] if "trailer" in request else []
        for name, _ in trailers:
            if name.lower() in NEVER_IN_TRAILERS or name.lower() not in declared:
                raise Malformed(f"the trailer {name}, where {declared} were declared")
        self._api.change(request, trailers=trailers)

    def _size(self) -> int:
        line = self._line()
        if CHUNK.fullmatch(line) is None:
            raise Malformed(f"the size of a chunk {line[:100]!r}")
        return int(line, 16)

    def _line(self) -> bytes:
        """The next line, without the CR LF that ends it."""
        line = bytearray()
        while True:
            byte = self._exactly(1)
            if byte == b"\r":
                if self._exactly(1) != b"\n":
                    raise Malformed(f"a bare CR after {bytes(line[:200])!r}")
                return bytes(line)
            if byte == b"\n":
                raise Malformed(f"a bare LF after {bytes(line[:200])!r}")
            line += byte
            if len(line) > LONGEST_HEAD:
                raise Malformed(f"a line without end: {bytes(line[:200])!r}")

    def _exactly(self, size: int) -> bytes:
        if len(self._buffer) < size:
            pieces = [self._buffer]
            missing = size - len(self._buffer)
            self._buffer = b""
            while missing > 0:
                self._fill()
                pieces.append(self._buffer)
                missing -= len(self._buffer)
                self._buffer = b""
            self._buffer = b"".join(pieces)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        """Returns when there is a byte to be read."""
        if not self._buffer:
            self._reads.wait()
            self._buffer = self._socket.recv(65_536)
            if not self._buffer:
                raise Ended


def _queued(here: tuple[str, int], there: tuple[str, int]) -> tuple[int, int]:
    """The bytes that are not read yet, and those that have not arrived, at that end of a connection; none where it is gone."""
    ends = struct.pack("!HH", here[1], there[1]) + b"".join(
        socket.inet_aton(end[0]).ljust(16, b"\0") for end in (here, there)
    )
    which = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends
    which += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(which), 20, 1, 0, 0) + which)
        told = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", told, 4)
    if kind == 2 or told[17] == 10:  # an error: there is none; or the socket that listens, which is found in its place
        return 0, 0
    unread, unsent = struct.unpack_from("=II", told, 72)
    return unread, unsent


class RuntimeApi:
    """The API on a free port. Every request is in `requests`, or in `of_extension`, as soon as its head is there.

    Args:
        registration: the answer to an extension that registers; None leaves it to the test, as all others are.
    """

    def __init__(self, registration: bytes | None = REGISTERED) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self.of_extension: list[Request] = []
        self.connections: list[Connection] = []
        self.faults: list[str] = []
        self._registration = registration
        self._news = threading.Condition()
        self._untaken: list[Request] = []
        self._over: Callable[[], str] | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """The methods and targets of its requests, in the order in which they came."""
        return [request.line for request in self.requests]

    def take(self, target: str = "") -> Request:
        """The next request, whole."""
        request = self.begin(target)
        self.until(lambda: request.whole or request.broken, f"the end of {request}")

        assert request.whole, f"{request} was broken off"
        return request

    def begin(self, target: str = "") -> Request:
        """The same, of which no more than the head may be there."""
        self.until(lambda: self._untaken, f"a request {target}")
        request = self._untaken.pop(0)

        assert target in ("", request.target), request
        return request

    def take_of_extension(self, number: int) -> Request:
        """The so-manieth request of an extension, from 1."""
        self.until(lambda: len(self.of_extension) >= number, "a request of an extension")
        request = self.of_extension[number - 1]
        self.until(lambda: request.whole, f"the end of {request}")
        return request

    def nothing_waits(self) -> bool:
        """Whether each request was taken."""
        return not self._untaken

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for what the client does; fails where it does something wrong, or has ended, without it."""
        with self._news:
            came = self._news.wait_for(lambda: condition() or self.faults or self._over, PATIENCE)

            assert not self.faults, self.faults
            if not condition():
                state = self._over() if self._over is not None else ""
                pytest.fail(
                    f"{what}: it did not come{' in time' * (not came)}. {state} It sent {self.of_extension + self.requests}"
                )

    def hear_all(self) -> None:
        """Returns when all that the client has sent is heard, after its end."""
        for connection in self.connections:
            connection.resume()
            connection.await_end()

    def be_over(self, state: Callable[[], str]) -> None:
        """The client has ended, in this way: nothing more comes."""
        with self._news:
            self._over = state
            self._news.notify_all()

    def refuse(self) -> None:
        """From now on nobody can connect."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(PATIENCE)
        self._listener.close()

    def close(self) -> None:
        """Ends all of it."""
        self.refuse()
        for connection in self.connections:
            connection.close()
            connection.resume()
            connection.await_end()

    def hear(self, request: Request) -> None:
        """A request has begun."""
        with self._news:
            if request.target.startswith(EXTENSION):
                self.of_extension.append(request)
            else:
                self.requests.append(request)
                self._untaken.append(request)
            self._news.notify_all()

    def change(
        self,
        request: Request,
        *,
        piece: bytes = b"",
        trailers: Sequence[tuple[str, str]] = (),
        whole: bool = False,
        broken: bool = False,
    ) -> None:
        """More of it has come."""
        with self._news:
            if piece:
                request.pieces.append(piece)
            request.trailers += trailers
            request.whole = request.whole or whole
            request.broken = request.broken or broken
            self._news.notify_all()
        if whole and self._registration is not None and request.target == f"{EXTENSION}/register":
            request.connection.send(self._registration)

    def end(self, connection: Connection) -> None:
        """The client has ended that connection."""
        with self._news:
            connection.ended = True
            self._news.notify_all()

    def blame(self, fault: str) -> None:
        """The client has done what it may not."""
        with self._news:
            self.faults.append(fault)
            self._news.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", PATIENCE, 0))
            self.connections.append(Connection(self, len(self.connections) + 1, accepted))


class Runtime:
    """`python -m shim.runtime` in a folder of its own, served by a RuntimeApi, until the end of the context.

    Args:
        folder: for what is made: the task root in it, and the log.
        program: the executable's path, or the text of a script that becomes it.
        handler: the argument, where there is one.
        registration: see RuntimeApi.
        variables: what is in the environment besides.
        settings: of the executable, as in the environment.
    """

    def __init__(
        self,
        folder: Path,
        program: str = "/bin/cat",
        *,
        handler: str = "",
        registration: bytes | None = REGISTERED,
        variables: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.log = folder / "log"
        self.api = RuntimeApi(registration)
        self.exit_code: int | None = None
        if program.startswith("#!"):
            path = self.root / "program"
            path.write_text(program)
            path.chmod(0o755)
            program = "program"
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LAMBDA_TASK_ROOT": str(self.root),
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "the-function",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "the-group",
            "AWS_LAMBDA_LOG_STREAM_NAME": "the-stream",
            "SHIM_EXECUTABLE": program,
            **{f"SHIM_{name.upper()}": value for name, value in settings.items()},
            **(variables or {}),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shim.runtime", *([handler] if handler else [])],
                env={name: value for name, value in environment.items() if value},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def lines(self) -> list[str]:
        """What it logged, without the line that says what it runs, and those of errors that are posted."""
        written = self.log.read_text(errors="replace").splitlines()
        return [line for line in written if EXPECTED_LINE.match(line) is None]

    def invoke(self, event: bytes = b"{}", request_id: str = "id-1", *, lasts: float = 3600, **headers: str) -> Request:
        """What is posted for that event, which is accepted. All goes over one connection."""
        asked = self.api.take(NEXT)
        asked.connection.send(invocation(event, request_id, lasts=lasts, **headers))
        posted = self.api.take()
        posted.connection.send(ACCEPTED)

        assert posted.connection is asked.connection
        return posted

    def fail(self, event: bytes = b"{}", request_id: str = "id-1", *, lasts: float = 3600, **headers: str) -> Request:
        """The same, which must be an error."""
        posted = self.invoke(event, request_id, lasts=lasts, **headers)

        assert posted.target == f"{RUNTIME}/invocation/{request_id}/error", posted
        return posted

    def ends(self, *, whatever_it_sends: bool = False) -> int:
        """The exit code, when it has ended; before that it may ask for nothing more, if that matters."""
        self.api.until(
            lambda: self.exit_code is not None or not (whatever_it_sends or self.api.nothing_waits()), "its end"
        )

        assert self.exit_code is not None, f"it goes on; its log: {self.lines()}; it sent {self.api.requests}"
        return self.exit_code

    def terminate(self) -> None:
        """Sends it SIGTERM, as Lambda does before it ends an execution environment."""
        self._process.send_signal(signal.SIGTERM)

    def processes(self) -> set[int]:
        """The processes in its folder, itself among them, that live."""
        return processes_in(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._process.kill()
        self._watcher.join(PATIENCE)
        self.api.close()
        for pid in self.processes():
            kill(pid)
        if kind is None:
            assert not self.api.faults, self.api.faults
            assert "Traceback" not in self.log.read_text(errors="replace"), self.lines()

    def _watch(self) -> None:
        exit_code = self._process.wait()
        self.api.hear_all()
        self.exit_code = exit_code
        self.api.be_over(lambda: f"It ended with exit code {self.exit_code}; its log: {self.lines()}")
