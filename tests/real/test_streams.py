"""Responses that a child writes as it goes, through our own runtime and the emulator, to the clients that people have: boto3, curl, a plain socket.

Where a test says that something is there before something else, the child waits at a FIFO for the test, and for no time.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

import shim.testing
from tests.conftest import ROOT, eventually
from tests.real import components
from tests.real.session import ends, processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from shim.testing.serving import Served
    from tests.real.conftest import Start

MEGABYTE = 1_000_000
PIECE = 64 * 1024
"""Bytes that are poured at a time."""
INVOKE = "/2021-11-15/functions/function/response-streaming-invocations"
URL = "/url/"
HEAD = {"statusCode": 201, "headers": {"content-type": "text/plain", "x-a": "b"}, "cookies": ["c=d", "e=f; Secure"]}
NULS = "\0" * 8
ALL_BYTES = bytes(range(256)).decode("latin-1")

FIFOS = ("fifo", "other")
"""For one wait each: who has opened a FIFO may let through another wait before it is closed again."""

CHILD = """
import json, os, signal, sys, time

def write(data):
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest):]

event = json.loads(sys.stdin.readline())["event"]
for order, *values in json.loads(event["body"]) if "rawPath" in event else event:
    if order == "write":
        write(values[0].encode("latin-1"))
    elif order == "await":
        open(values[0]).close()
    elif order == "note":
        open(values[0], "w").close()
    elif order == "pour":
        with open(values[1], "wb", buffering=0) as told:
            for number in range(values[0]):
                write(number.to_bytes(8, "big") * 8192)
                os.pwrite(told.fileno(), str(number + 1).encode(), 0)
    elif order == "complain":
        print(values[0], file=sys.stderr, flush=True)
    elif order == "exit":
        os._exit(values[0])
    elif order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == "hang":
        time.sleep(600)
"""
"""Does what its event lists, or the body of the event of a function URL."""


@pytest.fixture
def package(folder: Path) -> Path:
    """A deployment package with the child, and the FIFOs."""
    child = folder / "child"
    child.write_text(f"#!{sys.executable} -IS\n{CHILD}")
    child.chmod(0o755)
    leaving = folder / "leaving"
    leaving.write_text("#!/bin/sh\necho a\nsleep 600 &\n")
    leaving.chmod(0o755)
    for name in FIFOS:
        os.mkfifo(folder / name)
    return folder


@pytest.fixture
def release(package: Path) -> Callable[..., None]:
    """Lets the child go on, as soon as it waits at that FIFO."""

    def opened(name: str) -> bool:
        try:
            os.close(os.open(package / name, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody waits
            return False
        return True

    return lambda name="fifo": eventually(lambda: opened(name))


@pytest.fixture
def serve(package: Path) -> Iterator[Callable[..., Served]]:
    """Serves the child by our emulator, with our runtime if the test asks for no other."""
    with ExitStack() as until_the_end:

        def begin(**facts: Any) -> Served:
            facts = {"runtime": "shim", "executable": "child", "output": "stream", "timeout": 20, **facts}
            variables = {"PYTHONPATH": str(ROOT)}
            return until_the_end.enter_context(shim.testing.emulator(package, function_env=variables, **facts))

        yield begin


class Caller:
    """boto3, as it calls a function that streams.

    Args:
        url: of the Invoke API.
    """

    def __init__(self, url: str) -> None:
        self._client = boto3.client(
            "lambda",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106 - it must have one
            config=Config(retries={"total_max_attempts": 1}),
        )

    def stream(self, *steps: object) -> Iterator[dict[str, Any]]:
        """The events of the response, as they come."""
        answer = self._client.invoke_with_response_stream(FunctionName="function", Payload=json.dumps(steps))
        with closing(answer["EventStream"]) as events:
            yield from events

    def read(self, *steps: object) -> tuple[bytes, dict[str, Any]]:
        """All pieces together, and the last event, which tells how it ended."""
        *pieces, last = self.stream(*steps)
        return b"".join(map(payload, pieces)), last["InvokeComplete"]

    def whole(self, *steps: object) -> tuple[bytes, str | None]:
        """What a caller gets who wants it at once, and whether that is an error."""
        answer = self._client.invoke(FunctionName="function", Payload=json.dumps(steps))
        with closing(answer["Payload"]) as body:
            return body.read(), answer.get("FunctionError")

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()


@pytest.fixture
def call(serve: Callable[..., Served]) -> Iterator[Callable[..., Caller]]:
    """Serves a function with these facts, and calls it."""
    with ExitStack() as until_the_end:
        yield lambda **facts: until_the_end.enter_context(closing(Caller(serve(**facts).url)))


def payload(event: dict[str, Any]) -> bytes:
    """The piece of the response that an event has."""
    data: bytes = event["PayloadChunk"]["Payload"]
    return data


@pytest.mark.parametrize("spare", [0, 1])
def test_the_first_byte_is_there_before_the_last_is_written(
    spare: int, call: Callable[..., Caller], release: Callable[..., None]
) -> None:
    """A response goes out while the child writes it, and ends without an error."""
    caller = call(spare=spare)
    for _ in range(2):
        events = caller.stream(["write", f"first {ALL_BYTES}"], ["await", "fifo"], ["write", "last"])
        first = payload(next(events))
        release()
        *rest, complete = events

        assert first == f"first {ALL_BYTES}".encode("latin-1")
        assert b"".join(map(payload, rest)) == b"last"
        assert "ErrorCode" not in complete["InvokeComplete"]


def test_an_empty_stream_is_a_success(call: Callable[..., Caller]) -> None:
    """To both kinds of callers."""
    caller = call()
    body, complete = caller.read()

    assert body == b""
    assert "ErrorCode" not in complete
    assert caller.whole() == (b"", None)


def test_a_caller_who_does_not_stream_gets_the_whole(call: Callable[..., Caller]) -> None:
    """The bytes as they are, at once."""
    assert call().whole(["write", ALL_BYTES], ["write", "é"]) == (f"{ALL_BYTES}é".encode("latin-1"), None)


class Failure(NamedTuple):
    """How a child fails, and what is told of it."""

    steps: list[list[object]]
    error_type: str
    words: str
    facts: dict[str, Any]


FAILURES = {
    "exit": Failure([["complain", "no é"], ["exit", 3]], "ExitError", "exit code 3", {}),
    "crash": Failure([["crash"]], "SignalError", "was killed by SIGSEGV", {}),
    "hang": Failure([["hang"]], "DeadlineExceeded", "was still running", {"timeout": 2}),
    "too-much": Failure([["write", "x" * 10_000]], "OutputTooLarge", "9000", {"max_output_bytes": 9000}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_child_that_fails_in_the_middle_gives_its_pieces_and_the_error(
    name: str, call: Callable[..., Caller]
) -> None:
    """What came is not taken back; the last event has the error's type and message. The next invocation is served."""
    failure = FAILURES[name]
    caller = call(concurrency=1, **failure.facts)
    began = time.monotonic()
    body, complete = caller.read(["write", "begun"], *failure.steps)
    took = time.monotonic() - began
    details = json.loads(complete["ErrorDetails"])

    assert body[:5] == b"begun"
    assert body[5:].strip(b"x") == b""
    assert len(body) <= 9000
    assert complete["ErrorCode"] == "Unhandled"
    assert details["errorType"] == failure.error_type
    assert failure.words in details["errorMessage"]
    assert details["stackTrace"] == []
    assert took < failure.facts.get("timeout", 20)
    assert caller.read(["write", "next"]) == (b"next", {})


@pytest.mark.parametrize("name", ["exit", "crash", "hang"])
def test_a_child_that_fails_before_its_first_byte_gives_an_error(name: str, call: Callable[..., Caller]) -> None:
    """As it would without a stream, to both kinds of callers."""
    failure = FAILURES[name]
    caller = call(concurrency=1, **failure.facts)
    body, complete = caller.read(*failure.steps)
    whole, kind = caller.whole(*failure.steps)

    assert (body, complete["ErrorCode"], kind) == (b"", "Unhandled", "Unhandled")
    for details in (json.loads(complete["ErrorDetails"]), json.loads(whole)):
        assert details["errorType"] == failure.error_type
        assert failure.words in details["errorMessage"]
    assert caller.read(["write", "next"]) == (b"next", {})


@pytest.mark.parametrize("output", ["stream", "http"])
def test_an_error_that_the_child_reports_is_its_own(output: str, call: Callable[..., Caller]) -> None:
    """Who fails and has written nothing else gives an error of that name. If it does not fail it is a stream that begins so."""
    report = json.dumps({"errorType": "BadInput", "errorMessage": "line 3 é", "stackTrace": ["main.c:7"]})
    caller = call(output=output)
    body, complete = caller.read(["write", report], ["exit", 1])
    whole, kind = caller.whole(["write", report], ["exit", 1])

    assert (body, kind) == (b"", "Unhandled")
    for details in (json.loads(complete["ErrorDetails"]), json.loads(whole)):
        assert {name: details[name] for name in json.loads(report)} == json.loads(report)
    if output == "stream":
        assert caller.read(["write", report]) == (report.encode(), {})


def test_the_metrics_count_what_was_streamed(serve: Callable[..., Served]) -> None:
    """As they count a reply that is not."""
    served = serve(metrics="emf")
    with closing(Caller(served.url)) as caller:
        assert caller.read(["write", "12345"], ["write", "678"]) == (b"12345678", {})
    (line,) = (line for line in served.log if '"_aws"' in line)

    assert json.loads(line)["reply_bytes"] == 8


def test_a_process_that_stays_behind_holds_no_stream_open(serve: Callable[..., Served]) -> None:
    """The response ends with the child that was asked, and the process too."""
    served = serve(executable="leaving")
    with closing(Caller(served.url)) as caller:
        assert caller.read() == (b"a\n", {})

    assert any("left 1 process behind, which was killed" in line for line in served.log)


def pouring(folder: Path) -> int:
    """How many pieces the child has written until now."""
    told = folder / "told"
    return int(told.read_bytes() or 0) if told.exists() else 0


def standstill(measure: Callable[[], int]) -> int:
    """What is measured, once it does not change any more."""
    last, since = 0, time.monotonic()

    def stands() -> bool:
        nonlocal last, since
        value, now = measure(), time.monotonic()
        if value != last:
            last, since = value, now
        return value > 0 and now - since > 0.3

    eventually(stands)
    return last


def runtime_in(folder: Path) -> int:
    """The process number of our runtime."""
    (pid,) = (pid for pid in processes_in(folder) if b"shim.runtime" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


def peak(pid: int) -> int:
    """The most memory that a process had, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_a_reader_who_waits_holds_the_child_back(call: Callable[..., Caller], package: Path) -> None:
    """120 MB pass through in bounded memory: no more is written than fits into what lies between the two. Nothing is lost when it goes on."""
    count = 120 * MEGABYTE // PIECE
    caller = call()
    caller.read(["write", "warm"])
    runtime = runtime_in(package)
    before = peak(runtime)
    events = caller.stream(["pour", count, "told"])
    digest, expected, length = sha256(), sha256(), 0
    first = next(events)
    held = standstill(lambda: pouring(package))
    for event in (first, *events):
        if "PayloadChunk" in event:
            digest.update(payload(event))
            length += len(payload(event))
        else:
            assert "ErrorCode" not in event["InvokeComplete"]
    for number in range(count):
        expected.update(number.to_bytes(8, "big") * 8192)

    assert held * PIECE < 40 * MEGABYTE
    assert pouring(package) == count
    assert (length, digest.digest()) == (count * PIECE, expected.digest())
    assert peak(runtime) - before < 10 * MEGABYTE


def test_a_reader_who_never_goes_on_costs_one_invocation(serve: Callable[..., Served], package: Path) -> None:
    """When the time is nearly over the child is stopped, before the platform would end all: the same environment serves the next."""
    served = serve(timeout=2, concurrency=1)
    with connected(served, INVOKE, ["pour", 1000, "told"]) as waiting:
        assert waiting.recv(100)
        eventually(lambda: served.records)
        with closing(Caller(served.url)) as caller:
            assert caller.read(["write", "next"]) == (b"next", {})

    assert pouring(package) < 1000
    assert sum("[ERROR] DeadlineExceeded: child was stopped" in line for line in served.log) == 1
    assert not any("Task timed out" in line for line in served.log)
    assert {record.environment for record in served.records} == {1}


def connected(served: Served, path: str, *steps: object) -> socket.socket:
    """A connection over which an invocation was asked for."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    body = json.dumps(steps).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("path", [INVOKE, URL])
def test_a_caller_who_goes_away_takes_nothing_along(
    path: str, serve: Callable[..., Served], package: Path, release: Callable[..., None]
) -> None:
    """As on AWS the function goes on to its end, and all that it writes is taken; the same environment serves the next."""
    served = serve(concurrency=1)
    with connected(served, path, ["write", "first"], ["await", "fifo"], ["pour", 300, "told"], ["note", "done"]) as one:
        received = b""
        while b"first" not in received:
            received += one.recv(PIECE)
    release()
    eventually((package / "done").exists)
    with closing(Caller(served.url)) as caller:
        eventually(lambda: served.records)
        assert caller.read(["write", "next"]) == (b"next", {})

    assert pouring(package) == 300
    assert [(record.environment, record.result.failed) for record in served.records] == [(1, False), (1, False)]


def test_the_end_of_the_function_in_mid_stream_leaves_nothing(package: Path) -> None:
    """The caller gets no end of the response, and no process lives on."""
    facts: dict[str, Any] = {"runtime": "shim", "executable": "child", "output": "stream", "timeout": 60}
    with shim.testing.emulator(package, function_env={"PYTHONPATH": str(ROOT)}, **facts) as served:
        connection = connected(served, INVOKE, ["write", "first"], ["hang"])
        received = b""
        while b"first" not in received:
            received += connection.recv(PIECE)
        running = processes_in(package)
    with connection, suppress(ConnectionError):
        while piece := connection.recv(PIECE):
            received += piece

    assert len(running) == 2
    assert all(ends(pid, within=0) for pid in running)


def curl(served: Served, *steps: object) -> Popen[bytes]:
    """Curl, as it asks the function URL: the head, and then the body, as they come."""
    command = [components.curl(), "-sN", "-D", "-", "-H", "Content-Type: application/json", "-d", json.dumps(steps)]
    return subprocess.Popen([*command, f"{served.url}{URL}"], stdout=subprocess.PIPE)


def head_of(client: Popen[bytes]) -> tuple[int, list[tuple[str, str]]]:
    """The status, and the headers, as they come."""
    assert client.stdout is not None
    status, *lines = iter(lambda: client.stdout.readline().decode().strip(), "")  # type: ignore[union-attr] # see above
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    return int(status.split()[1]), headers


def test_an_http_response_reaches_curl_while_it_is_written(
    serve: Callable[..., Served], release: Callable[..., None]
) -> None:
    """Status, headers and cookies are those of its head; each part is there before the next is written."""
    served = serve(output="http")
    head = json.dumps(HEAD) + NULS
    waits = [["await", name] for name in FIFOS]
    with curl(served, ["write", head], waits[0], ["write", "first"], waits[1], ["write", "last"]) as got:
        status, headers = head_of(got)
        assert got.stdout is not None
        release(FIFOS[0])
        first = got.stdout.read(5)
        release(FIFOS[1])
        rest = got.stdout.read()

    assert status == 201
    assert {("content-type", "text/plain"), ("x-a", "b")} <= set(headers)
    assert [value for name, value in headers if name == "set-cookie"] == ["c=d", "e=f; Secure"]
    assert (first, rest, got.returncode) == (b"first", b"last", 0)


def test_an_http_response_without_a_body_or_a_status_is_one(serve: Callable[..., Served]) -> None:
    """The least that a head may be is an empty object."""
    served = serve(output="http")
    with curl(served, ["write", f"{{}}{NULS}"]) as got:
        status, _ = head_of(got)
        assert got.stdout is not None
        assert (status, got.stdout.read()) == (200, b"")


HEADS = {
    "none": ("hello", "OutputInvalid", "head"),
    "empty": ("", "ReplyMissing", "gave no reply"),
    "cut": ('{"statusCode": 200', "OutputInvalid", "head"),
    "status": (f'{{"statusCode": 99}}{NULS}body', "OutputInvalid", "statusCode"),
    "list": (f"[]{NULS}body", "OutputInvalid", "no JSON object"),
    "header": (f'{{"headers": {{"a": "b\\r\\nc: d"}}}}{NULS}body', "OutputInvalid", "headers"),
    "name": (f'{{"headers": {{"a b": "c"}}}}{NULS}body', "OutputInvalid", "headers"),
    "delete": (f'{{"headers": {{"a": "\x7f"}}}}{NULS}body', "OutputInvalid", "headers"),
    "unknown": (f'{{"status": 200}}{NULS}body', "OutputInvalid", "status"),
    "fewer-nuls": (f"{{}}{NULS[1:]}body", "OutputInvalid", "head"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_wrong_head_is_a_502_and_a_line_of_the_log(name: str, serve: Callable[..., Served]) -> None:
    """Nothing of it gets to the web; to a caller with credentials it is the error."""
    written, error_type, words = HEADS[name]
    served = serve(output="http", concurrency=1)
    with curl(served, ["write", written]) as got:
        status, headers = head_of(got)
        assert got.stdout is not None
        body = got.stdout.read()
    eventually(lambda: served.records)  # the answer may be out before the function has ended
    with closing(Caller(served.url)) as caller:
        pieces, complete = caller.read(["write", written])

    assert (status, body) == (502, b"Internal Server Error")
    assert not any(name == "set-cookie" for name, _ in headers)
    assert any(f"[ERROR] {error_type}: child " in line and words in line for line in served.log)
    assert pieces == b""
    assert json.loads(complete["ErrorDetails"])["errorType"] == error_type
    assert {record.environment for record in served.records} == {1}


def test_an_http_response_that_breaks_off_is_cut(serve: Callable[..., Served]) -> None:
    """Its status is out: the client sees that the end is missing. Before the head, a failure is a 502."""
    served = serve(output="http", concurrency=1)
    with curl(served, ["write", json.dumps(HEAD) + NULS + "begun"], ["exit", 3]) as cut:
        status, _ = head_of(cut)
        assert cut.stdout is not None
        body = cut.stdout.read()
    with curl(served, ["write", json.dumps(HEAD)[:5]], ["exit", 3]) as failed:
        failed_status, _ = head_of(failed)
        assert failed.stdout is not None
        failed.stdout.read()
    eventually(lambda: len(served.records) == 2)

    assert (status, body, cut.wait()) == (201, b"begun", 18)  # the transfer was closed with data outstanding
    assert failed_status == 502
    assert sum("[ERROR] ExitError: child ended with exit code 3" in line for line in served.log) == 2


def test_an_http_response_is_a_stream_to_the_invoke_api(call: Callable[..., Caller]) -> None:
    """The bytes as the child writes them, its head among them; to both kinds of callers."""
    caller = call(output="http")
    written = json.dumps(HEAD) + NULS + ALL_BYTES

    assert caller.read(["write", written]) == (written.encode("latin-1"), {})
    assert caller.whole(["write", written]) == (written.encode("latin-1"), None)


COLLECTED = "is collected here, up to Lambda's 6 MiB, since this runtime can't stream; python -m shim.runtime can"


@pytest.mark.parametrize("server", ["ours", "rie"])
def test_a_runtime_that_can_not_stream_collects(
    server: str, request: pytest.FixtureRequest, serve: Callable[..., Served], tmp_path: Path
) -> None:
    """AWS's runtime client gives a stream's bytes as they are, and an HTTP response as an object; one line of the log says so at init."""
    components.awslambdaric()
    text = [["write", f"{json.dumps(HEAD)}{NULS}a "], ["write", "b"]]
    binary = [["write", f"{{}}{NULS}\xff\0"]]
    events = [text, binary, [["exit", 3]]]
    for output in ("stream", "http"):
        if server == "ours":
            served = serve(runtime="awslambdaric", output=output)
            answers = [served.invoke(event).payload for event in events]
            lines = served.log
        else:
            start: Start = request.getfixturevalue("start")
            rie = start({"SHIM_EXECUTABLE": "child", "SHIM_OUTPUT": output})
            answers = [rie.invoke(event).body for event in events]
            lines = (tmp_path / "log").read_text().splitlines()

        assert json.loads(answers[2])["errorType"] == "ExitError"
        assert sum(f"output={output} {COLLECTED}" in line for line in lines) == 1
        if output == "stream":
            assert answers[:2] == [f"{json.dumps(HEAD)}{NULS}a b".encode(), b"{}" + bytes(8) + b"\xff\0"]
        else:
            assert json.loads(answers[0]) == {**HEAD, "body": "a b", "isBase64Encoded": False}
            assert json.loads(answers[1]) == {"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}


def test_awss_emulator_takes_a_stream_whole(start: Start, package: Path, tmp_path: Path) -> None:
    """It has no callers who stream: they get all of it at the end. Of an error in the middle, in trailers, it tells nothing: the log does."""
    variables = {"SHIM_EXECUTABLE": "child", "SHIM_OUTPUT": "stream", "AWS_LAMBDA_FUNCTION_TIMEOUT": "20"}
    rie = start(variables, bootstrap=[sys.executable, "-m", "shim.runtime", "shim.handler"])

    assert rie.invoke([["write", "a"], ["write", "b"]]).body == b"ab"
    assert rie.invoke([["exit", 3]]).error_type == "ExitError"
    assert rie.invoke([["write", "a"], ["exit", 4]]).body == b"a"
    assert "[ERROR] ExitError: child ended with exit code 4" in (tmp_path / "log").read_text()
    assert rie.invoke([["write", ALL_BYTES]]).body == ALL_BYTES.encode("latin-1")
