"""A reply that goes to its caller while it is written: every byte in order, no faster than it is taken, and no success that lacks some."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.children.pipes import left
from shim.invocation import Invocation
from shim.local.context import LambdaContext
from shim.logs import Log
from tests.conftest import ROOT, descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NARROW = 4096
"""Bytes that a caller's socket takes, or about that, of which nobody reads them."""
WIDE = 1024 * 1024
PATIENCE = 20
"""Seconds after which a test fails that waits for the other end."""
REPORT = json.dumps({"errorType": "Bad.Input", "errorMessage": "why"}, separators=(",", ":"))
NULS = bytes(8).hex()


class Broken(Exception):
    """What is raised by a sink that fails."""


class Caller:
    """A sink as the runtime's is, and the other end of it: who takes the reply."""

    def __init__(self, room: int = NARROW, **fails: int) -> None:
        """`fails` has the names of methods, and the how-manieth call is the first that fails."""
        self._ours, self.theirs = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self._ours.setblocking(False)
        self.theirs.settimeout(PATIENCE)
        self._fails = fails
        self._unsent = memoryview(b"")
        self.descriptor = self._ours.fileno()
        self.has_begun = False
        self.handed = 0
        """How many bytes were written to it."""

    @property
    def is_full(self) -> bool:
        return len(self._unsent) > 0

    def _count(self, method: str) -> None:
        if method in self._fails:
            self._fails[method] -= 1
            if self._fails[method] <= 0:
                raise Broken(method)

    def write(self, data: bytes) -> None:
        assert data
        assert not self.is_full
        self.has_begun = True
        self.handed += len(data)
        self._count("write")
        self._unsent = memoryview(data)
        self._send()

    def push(self) -> None:
        self._count("push")
        self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._ours.send(self._unsent) :]
        except BlockingIOError:
            pass

    def hear(self) -> None:
        raise Broken("hear")

    def end(self, rest: bytes) -> None:
        """Hands on what is left, as the runtime does when the child has ended."""
        self._ours.settimeout(PATIENCE)
        self._ours.sendall(bytes(self._unsent) + rest)

    def read(self, size: int) -> bytes:
        """So many bytes, as soon as they come."""
        return self.theirs.recv(size, socket.MSG_WAITALL)

    def read_all(self, size: int = 65_536) -> bytes:
        """All to the end, in pieces of at most that size."""
        return b"".join(iter(lambda: self.theirs.recv(size), b""))

    def close(self) -> None:
        """It ends: then a reader sees it."""
        self._ours.close()


def serve(program: Shim, caller: Caller, event: object = None, timeout: float = 20) -> bytes:
    """One invocation, as the runtime has it. Returns what the sink was not given."""
    try:
        rest = program.run(Invocation(event, LambdaContext(timeout=timeout)), caller)
        caller.end(rest)
        return rest
    finally:
        caller.close()


class Ran:
    """What came of an invocation whose caller takes all of it."""

    def __init__(self, program: Shim, caller: Caller, *, pieces: int = 65_536, timeout: float = 20) -> None:
        with ThreadPoolExecutor(1) as pool, caller.theirs:
            running = pool.submit(serve, program, caller, timeout=timeout)
            self.received = caller.read_all(pieces)
            self.error: Any = running.exception()
        self.has_begun = caller.has_begun


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def streams(actor: str) -> Callable[..., Shim]:
    """Makes a Shim whose reply streams: for the actor with those words."""

    def make(*words: str, **settings: Any) -> Shim:
        return Shim(actor, args=list(words), **{"output": "stream", **settings})

    return make


def script(text: str, *arguments: object, **settings: Any) -> Shim:
    """The same for a script of the shell."""
    return Shim("sh", args=["-c", text, "sh", *map(str, arguments)], **{"output": "stream", **settings})


@pytest.fixture(autouse=True)
def nothing_is_left(left_behind: Callable[[], list[int]], caller: Caller) -> Iterator[None]:
    """After every test here: no process, no zombie, no descriptor."""
    before = descriptors()
    yield
    assert left_behind() == []
    assert len(descriptors() - before) <= 1  # /proc/loadavg, opened once
    caller.close()
    caller.theirs.close()


def hexed(text: str) -> str:
    return text.encode().hex()


def zombies(actor: str) -> list[int]:
    """Children of ours that have ended."""
    return [pid for pid in processes_of(actor) if not Path(f"/proc/{pid}/cmdline").read_bytes()]


# While it is written


def test_every_piece_arrives_while_the_child_goes_on(caller: Caller, pool: ThreadPoolExecutor, gate: Path) -> None:
    program = script('printf one; cat "$1"; printf two; cat "$1"; printf three', gate)
    running = pool.submit(serve, program, caller)
    assert caller.read(3) == b"one"
    gate.write_text("")
    assert caller.read(3) == b"two"
    gate.write_text("")

    assert caller.read_all() == b"three"
    assert running.result() == b""


def test_a_response_begins_with_its_head_and_its_body_arrives_while_it_is_written(
    caller: Caller, pool: ThreadPoolExecutor, gate: Path
) -> None:
    text = r"""printf '{"status'; cat "$1"; printf 'Code":404}\0\0\0\0\0\0\0\0'; cat "$1"; printf body"""
    running = pool.submit(serve, script(text, gate, output="http"), caller)
    gate.write_text("")
    assert caller.read(26) == b'{"statusCode":404}' + bytes(8)
    gate.write_text("")

    assert caller.read_all() == b"body"
    assert running.result() == b""


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5_000_000])
@pytest.mark.parametrize(("room", "pieces"), [(WIDE, 65_536), (NARROW, 1000)])
def test_all_bytes_arrive_in_order_whatever_the_caller_takes_at_a_time(
    size: int, room: int, pieces: int, tmp_path: Path
) -> None:
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    ran = Ran(Shim("cat", args=[str(tmp_path / "data")], output="stream"), Caller(room), pieces=pieces)

    assert ran.error is None
    assert ran.received == data
    assert ran.has_begun == (size > 0)


def test_a_reply_on_descriptor_3_streams(streams: Callable[..., Shim], capfd: pytest.CaptureFixture[str]) -> None:
    ran = Ran(streams("write:1:" + hexed("noise\n"), "fill:3:100000", reply_fd=3), Caller())

    assert (ran.error, ran.received) == (None, b"x" * 100_000)
    assert capfd.readouterr().err == "noise\n"


def test_the_metrics_count_what_was_streamed(streams: Callable[..., Shim], capfd: pytest.CaptureFixture[str]) -> None:
    ran = Ran(streams("fill:1:100000", metrics="emf"), Caller())

    assert ran.error is None
    assert json.loads(capfd.readouterr().err)["reply_bytes"] == 100_000


# No faster than it is taken


def is_blocked(pid: int) -> bool:
    """Whether its standard output is a pipe that takes nothing more."""
    pipe = os.open(f"/proc/{pid}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return left(pipe) == fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    finally:
        os.close(pipe)


def test_a_child_whose_caller_takes_nothing_is_not_read(
    streams: Callable[..., Shim], caller: Caller, pool: ThreadPoolExecutor, actor: str
) -> None:
    running = pool.submit(serve, streams("fill:1:20000000"), caller)
    caller.read(1)
    eventually(lambda: caller.is_full and processes_of(actor) and is_blocked(processes_of(actor)[0]))
    handed = caller.handed

    assert handed <= 2 * WIDE
    assert is_blocked(processes_of(actor)[0])
    assert len(caller.read_all()) == 20_000_000 - 1
    assert running.result() == b""
    assert caller.handed == 20_000_000


def test_its_standard_error_goes_on_meanwhile(caller: Caller, pool: ThreadPoolExecutor, gate: Path) -> None:
    read, write = os.pipe()
    program = script('head -c 3000000 /dev/zero & cat "$1" >&2; wait', gate)
    program._parent.log = Log(write)  # noqa: SLF001 - our own log is descriptor 2, which the test runner has
    running = pool.submit(serve, program, caller)
    eventually(lambda: caller.is_full)
    gate.write_text("meanwhile\n")

    assert os.read(read, 100) == b"meanwhile\n"
    assert caller.is_full
    assert not running.done()
    assert caller.read_all() == bytes(3_000_000)
    assert running.result() == b""
    os.close(read)
    os.close(write)


def test_a_long_stream_takes_no_more_memory_than_a_short_one() -> None:
    """In a process of its own. Its peak is not told by getrusage(2), which begins with that of the process that started it."""
    program = (
        "import re\n"
        "from tests.test_streaming import *\n"
        "def peak(size):\n"
        "    caller = Caller()\n"
        "    with ThreadPoolExecutor(1) as pool:\n"
        "        program = Shim('head', args=['-c', str(size), '/dev/zero'], output='stream')\n"
        "        running = pool.submit(serve, program, caller); came = 0\n"
        "        while data := caller.theirs.recv(65536): came += len(data)\n"
        "    assert (came, running.result()) == (size, b'')\n"
        "    return int(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
        "before = peak(5_000_000); print(peak(100_000_000) - before)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert int(told.stdout) < 8192


# A child that fails


@pytest.mark.parametrize("output", ["stream", "http"])
def test_an_error_before_the_first_byte_leaves_the_sink_alone(output: str, streams: Callable[..., Shim]) -> None:
    ran = Ran(streams("write:2:" + hexed("why"), "exit:3", output=output), Caller())

    assert (type(ran.error), ran.error.exit_code, ran.error.stderr_tail) == (shim.ExitError, 3, "why")
    assert not ran.has_begun


@pytest.mark.parametrize(("room", "pieces"), [(WIDE, 65_536), (NARROW, 1000)])
@pytest.mark.parametrize(("last", "kind"), [("exit:3", shim.ExitError), ("raise:11", shim.SignalError)])
def test_what_came_before_an_error_arrives_before_it(
    last: str, kind: type[shim.ShimError], room: int, pieces: int, streams: Callable[..., Shim]
) -> None:
    ran = Ran(streams("fill:1:200000", last), Caller(room), pieces=pieces)

    assert type(ran.error) is kind
    assert ran.received == b"x" * 200_000
    assert ran.has_begun


@pytest.mark.parametrize("output", ["stream", "http"])
def test_the_childs_own_error_is_no_part_of_the_reply(output: str, streams: Callable[..., Shim]) -> None:
    ran = Ran(streams("write:1:" + hexed(REPORT), "exit:3", output=output), Caller())

    assert (type(ran.error).__name__, str(ran.error)) == ("Bad.Input", "why")
    assert isinstance(ran.error, shim.ReportedError)
    assert not ran.has_begun


def test_the_childs_own_error_may_come_a_piece_at_a_time(caller: Caller, pool: ThreadPoolExecutor, gate: Path) -> None:
    program = script('printf %s "$2"; cat "$1"; printf %s "$3"; exit 3', gate, REPORT[:5], REPORT[5:])
    running = pool.submit(serve, program, caller)
    gate.write_text("")

    assert type(running.exception()).__name__ == "Bad.Input"
    assert not caller.has_begun


def test_what_looks_like_an_error_is_the_reply_of_a_child_that_succeeds(streams: Callable[..., Shim]) -> None:
    ran = Ran(streams("write:1:" + hexed(REPORT)), Caller())

    assert (ran.error, ran.received) == (None, REPORT.encode())
    assert not ran.has_begun


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["write:1:" + hexed('{"statusCode":99}') + NULS, "sleep:0"], shim.OutputInvalid),
        (["write:1:" + hexed("no head") + "00" + hexed("at all"), "sleep:0"], shim.OutputInvalid),
        (["fill:1:300000", "sleep:0"], shim.OutputInvalid),
        (["write:1:" + hexed("{}")], shim.OutputInvalid),
        (["write:1:" + hexed('{"errorType":"A","errorMessage":""}')], shim.OutputInvalid),
        ([], shim.ReplyMissing),
        (["write:1:" + hexed('{"statusCode":200}'), "raise:9"], shim.SignalError),
    ],
)
def test_a_response_without_a_head_is_an_error_and_not_begun(
    words: list[str], kind: type[shim.ShimError], streams: Callable[..., Shim]
) -> None:
    ran = Ran(streams(*words, output="http"), Caller())

    assert type(ran.error) is kind
    assert not ran.has_begun


@pytest.mark.parametrize(
    "words", [["fill:1:100001"], ["flood:1"], ["ignore:15", "flood:1"], ["fill:1:100001", "exit:3"]]
)
@pytest.mark.parametrize("room", [WIDE, NARROW])
def test_no_more_than_the_limit_is_handed_on(words: list[str], room: int, streams: Callable[..., Shim]) -> None:
    fits = Ran(streams("fill:1:100000", max_output_bytes=100_000), Caller(room))
    ran = Ran(streams(*words, max_output_bytes=100_000), Caller(room))

    assert (fits.error, len(fits.received)) == (None, 100_000)
    assert type(ran.error) is shim.OutputTooLarge
    assert (ran.error.size, ran.error.limit) == (100_001, 100_000)
    assert len(ran.received) <= 100_000
    assert set(ran.received) == {ord("x")}
