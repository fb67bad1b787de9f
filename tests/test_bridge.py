"""Mode bootstrap, as its caller sees it: a child that speaks the Runtime API itself, and never the author of another's answer."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Invocation, Shim
from shim.codecs.line import LAMBDA_LIMIT
from shim.local.context import CognitoIdentity, LambdaContext
from shim.logs import Log
from tests.conftest import descriptors, eventually, missing
from tests.test_lifetime import HEARING, Host
from tests.test_warm import Stage, ask, failure, is_dead, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER = "until:/nonexistent/file"
SHORT = 0.4
"""Seconds of an invocation whose child does not answer: it is told to stop after 0.3."""
LARGE = 6 * 1024 * 1024
HOST = """
import json, os, signal, sys
import shim
def ask(event=None): return program(event)["pid"]
def say(value): print(json.dumps(value), flush=True)
def wait(): sys.stdin.readline()
program = shim.Shim(sys.argv[1], mode="bootstrap", args=["note:" + sys.argv[1] + ".notes", "serve"])
"""
"""The beginning of a process that keeps a bootstrap."""


def hexed(text: str | bytes) -> str:
    return (text.encode() if isinstance(text, str) else text).hex()


def do(*words: str, **more: object) -> dict[str, object]:
    """An event with which the bootstrap does that."""
    return {"do": " ".join(words), **more}


FOREIGN = hexed('"foreign"')


def response(body: str | bytes) -> str:
    return f"post:response:{hexed(body)}"


def error(body: str | bytes, kind: str = "error") -> str:
    return f"post:{kind}:{hexed(body)}"


def register(*events: str) -> str:
    return f"register:{hexed(json.dumps({'events': events}))}"


def head(line: str) -> str:
    return f"head:{hexed(line)}"


def say(text: str, descriptor: int = 2) -> str:
    return f"say:{descriptor}:{hexed(text)}"


class Bridge(Stage):
    """A folder with the bootstrap, the function's log, and what the bootstrap notes."""

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        os.link(program, folder / "program")

    def serve(self, *words: str, **settings: Any) -> Shim:
        """A Shim for the bootstrap, which does these words before it serves. It is closed after the test."""
        return self.start(*words, "serve", **settings)

    def start(self, *words: str, **settings: Any) -> Shim:
        settings["env"] = {"STAGE": self.mark, **settings.get("env", {})}
        settings.setdefault("args", [f"note:{self.folder}/notes", *words])
        made = Shim(str(self.folder / "program"), mode="bootstrap", **settings)
        self._shims.append(made)
        return made

    def of(self, pid: int | None = None) -> list[str]:
        """What the bootstraps noted, or that one: it started, took an event, heard SIGTERM."""
        lines = [line.partition(" ") for line in self.note("notes")]
        return [said for whose, _, said in lines if pid is None or whose == str(pid)]

    def deliveries(self, token: str) -> int:
        """How often an event with that token was taken."""
        return sum(said.startswith("take ") and token in said for said in self.of())


@pytest.fixture
def stage(tmp_path: Path, bootstrap: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    made = Bridge(tmp_path, bootstrap)
    made.log_to(monkeypatch)
    try:
        yield made
        made.clear()
    finally:
        made.close()


def promptly(program: Shim, event: object = None, *, timeout: float = 4) -> Any:
    """The answer, given when it is there, and not at the deadline."""
    began = time.monotonic()
    answer = ask(program, event, timeout=timeout)

    assert time.monotonic() - began < timeout * 0.7
    return answer


def not_made(stage: Bridge, *words: str, **settings: Any) -> Any:
    """The error of a Shim that can't be made."""
    with pytest.raises(shim.ShimError) as raised:
        stage.start(*words, **settings)
    return raised.value.with_traceback(None)


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: state(pid) == "T")


def address_of(program: Shim) -> tuple[str, int]:
    """Where the child of that Shim finds its Runtime API."""
    environment = ask(program, do("describe"))["environment"]
    api = next(entry for entry in environment if entry.startswith("AWS_LAMBDA_RUNTIME_API=")).partition("=")[2]
    host, _, port = api.partition(":")
    return host, int(port)


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == 0


def headers(answer: dict[str, Any]) -> dict[str, str]:
    """What it was told of the invocation that it describes."""
    lines = answer["head"].split("\r\n")[1:-2]
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


# Results


def test_one_child_answers_all_invocations_of_one_thread(stage: Bridge) -> None:
    program = stage.serve()
    events: tuple[object, ...] = ({}, [1], "x" * 100_000, None)
    answers = [ask(program, event) for event in events]

    assert len({answer["pid"] for answer in answers}) == 1
    assert [answer["count"] for answer in answers] == [1, 2, 3, 4]
    assert [answer["event"] for answer in answers] == [{}, [1], "x" * 100_000, None]
    assert [answer["heard"] for answer in answers] == [[], [202], [202], [202]]
    assert stage.log == []


def test_the_child_is_started_at_init_and_waited_for(stage: Bridge) -> None:
    stage.serve(f"touch:{stage.folder}/begun", "sleep:50")

    assert stage.of() == ["start"]


def test_without_a_context_there_is_no_deadline(stage: Bridge) -> None:
    assert stage.serve()(do("sleep:300", response("1"))) == 1


def test_too_little_time_asks_nothing(stage: Bridge) -> None:
    program = stage.serve()
    error = failure(program, timeout=0.09)

    assert (type(error), error.signal, error.duration) == (shim.DeadlineExceeded, None, None)
    assert ask(program)["count"] == 1


@pytest.mark.parametrize(
    ("output", "body", "value"),
    [
        ("auto", b'{"a": 1}', {"a": 1}),
        ("auto", b"text", "text"),
        ("auto", b"", None),
        ("auto", b"12345678901234567890123", 12345678901234567890123),
        ("json", b" [1, 2.5] ", [1, 2.5]),
        ("text", "né".encode(), "né"),
        ("text", b"", ""),
        ("base64", b"\0\xff", b64encode(b"\0\xff").decode()),
    ],
)
def test_a_response_is_read_by_the_rule_of_output(output: str, body: bytes, value: object, stage: Bridge) -> None:
    assert ask(stage.serve(output=output), do(response(body))) == value


def test_the_bytes_of_a_response_are_passed_on(stage: Bridge) -> None:
    program = stage.serve()

    assert program.run(Invocation(do(response(b'{"b":1.50,"a" : 1}')), LambdaContext())) == b'{"b":1.50,"a" : 1}'


@pytest.mark.parametrize(
    ("output", "body", "kind"),
    [
        ("json", b"", shim.ReplyMissing),
        ("json", b"{", shim.OutputInvalid),
        ("auto", b"{a}", shim.OutputInvalid),
        ("text", b"\xff", shim.OutputInvalid),
    ],
)
def test_a_response_that_is_no_result_is_an_error_and_the_child_serves_on(
    output: str, body: bytes, kind: type[Exception], stage: Bridge
) -> None:
    program = stage.serve(output=output)
    failed = failure(program, do(response(body)))

    assert type(failed) is kind
    assert "posted an empty response" in str(failed) or "make it post" in str(failed)
    assert "line" not in str(failed)
    if output == "json":
        assert ask(program)["count"] == 2


def test_a_response_may_come_in_chunks_with_a_trailer(stage: Bridge) -> None:
    program = stage.serve()
    words = ("begin:response:chunked", f"chunk:{hexed('[1')}", f"chunk:{hexed(',2]')}", f"send:{hexed('0')}0d0a")

    assert ask(program, do(*words, "send:0d0a", "hear")) == [1, 2]
    assert ask(program, do(*words, f"send:{hexed('Lambda-X: y')}0d0a0d0a", "hear")) == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        "Expect: 100-continue",
        "Connection: close",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
        "X-Y: " + "z" * 3000,
    ],
)
def test_clients_have_their_ways_with_http(line: str, stage: Bridge) -> None:
    program = stage.serve()
    body = hexed("[1]")
    expects = ["hear"] if "Expect" in line else []
    words = (
        head(line),
        "begin:response:3",
        *expects,
        f"body:{body}",
        "hear",
        *(["hang-up"] if "close" in line else []),
    )

    assert [promptly(program, do(*words)) for _ in range(3)] == [[1]] * 3


@pytest.mark.parametrize("line", ["Connection: close", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"])
def test_a_next_of_such_a_client_is_answered(line: str, stage: Bridge) -> None:
    after = "hang-up" if "close" in line else "at:0"
    program = stage.serve(head(line), "ask")

    assert promptly(program, do(after, "answer", head(line), "ask"))["count"] == 1
    assert promptly(program, do(after, "answer"))["count"] == 2


def test_a_client_that_does_not_wait_for_its_answers_is_served(stage: Bridge) -> None:
    program = stage.serve()

    assert [promptly(program, do("begin:response:1", "body:31", "ask", "hear")) for _ in range(3)] == [1] * 3
    assert promptly(program)["count"] == 4


def test_a_client_of_http_1_0_is_served(stage: Bridge) -> None:
    """Its connection is closed with each answer."""
    get = "GET /2018-06-01/runtime/invocation/next HTTP/1.0\r\n\r\n"
    program = stage.serve(f"send:{hexed(get)}", "asked")

    assert promptly(program, do("hang-up", "answer"))["count"] == 1


def test_every_connection_may_be_a_new_one(stage: Bridge) -> None:
    program = stage.serve("at:0")
    before = len(descriptors())
    pids = {ask(program, do("answer", "hang-up"))["pid"] for _ in range(1000)}

    assert len(pids) == 1
    assert len(descriptors()) <= before + 1


def test_200_connections_at_once_are_served(stage: Bridge) -> None:
    program = stage.serve()
    ask(program)
    before = len(descriptors())

    assert promptly(program, do("flood:200", "answer"))["count"] == 2
    ask(program)
    assert len(descriptors()) == before


def test_200_connections_between_two_invocations_are_served(stage: Bridge) -> None:
    """Those above the backlog are tried again by the kernel, after a second at first."""
    program = stage.serve()
    first = ask(program, do("answer", "flood:200"))

    assert ask(program)["pid"] == first["pid"]


# What the child is told


def test_the_headers_tell_what_the_context_has(stage: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-a-b;Sampled=1")
    client = SimpleNamespace(client=SimpleNamespace(app_title="t"), custom={"é": "\r\n"}, env={"b": None})
    context = LambdaContext(
        request_id="79104ef7", tenant_id="acme", client_context=client, identity=CognitoIdentity("an-id", "a-pool")
    )
    told = headers(stage.serve()(do("describe"), context))
    client_context = json.loads(told.pop("Lambda-Runtime-Client-Context"))
    identity = json.loads(told.pop("Lambda-Runtime-Cognito-Identity"))

    assert client_context == {"client": {"app_title": "t"}, "custom": {"é": "\r\n"}, "env": {"b": None}}
    assert identity == {"cognitoIdentityId": "an-id", "cognitoIdentityPoolId": "a-pool"}
    assert told.pop("Lambda-Runtime-Invocation-Id") == "79104ef7-1"
    assert told.pop("Content-Length") == str(len(json.dumps(do("describe"), separators=(",", ":"))))
    assert told == {
        "Lambda-Runtime-Aws-Request-Id": "79104ef7",
        "Lambda-Runtime-Deadline-Ms": str(context._epoch_deadline_time_in_ms),  # noqa: SLF001 - as awslambdaric's
        "Lambda-Runtime-Invoked-Function-Arn": context.invoked_function_arn,
        "Lambda-Runtime-Trace-Id": "Root=1-a-b;Sampled=1",
        "Lambda-Runtime-Aws-Tenant-Id": "acme",
        "Content-Type": "application/json",
    }


def test_without_a_context_there_are_the_headers_that_clients_need(
    stage: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    program = stage.serve()
    told = [headers(program(do("describe"), None)) for _ in range(2)]

    assert [one["Lambda-Runtime-Aws-Request-Id"][-1] for one in told] == ["1", "2"]
    assert all(int(one["Lambda-Runtime-Deadline-Ms"]) > time.time() * 1000 + 600_000 for one in told)
    assert [one["Lambda-Runtime-Invoked-Function-Arn"] for one in told] == ["", ""]
    assert "Lambda-Runtime-Client-Context" not in told[0]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (where, value)
        for where in ("tenant_id", "request_id", "trace")
        for value in ("a\r\nX-Injected: 1", "a\nb", "é", "\udc80", "\x7f", " leading", "trailing ", "\t", "a\0b", 17)
        if where != "trace" or value not in ("a\0b", 17)  # which no variable can hold
    ],
)
def test_what_no_header_can_hold_is_the_events_mistake_and_injects_nothing(
    value: object, where: str, stage: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanks around a value are no part of it (RFC 9110, 5.5): they can't be told, and h11 refuses them."""
    if where == "trace":
        monkeypatch.setenv("_X_AMZN_TRACE_ID", str(value))
    program = stage.serve()
    context = LambdaContext(**({} if where == "trace" else {where: value}))  # type: ignore[arg-type]
    try:
        told = program(do("describe"), context)
    except shim.EventInvalid as refused:
        assert "which no header can hold" in str(refused)  # noqa: PT017 - either is well
    else:
        assert str(value).strip() in headers(told).values()
        assert "X-Injected" not in told["head"]
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    after = ask(program)

    assert after["pid"] == int(stage.note("notes")[0].split()[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_a_client_context_that_is_no_json_is_the_events_mistake(value: object, stage: Bridge) -> None:
    """As in the other modes."""
    program = stage.serve()
    client = SimpleNamespace(client=None, custom={"a": value}, env={})
    with pytest.raises(shim.EventInvalid):
        program(1, LambdaContext(client_context=client))

    assert ask(program)["count"] == 1


@pytest.mark.parametrize("event", [b"", b"no json\r\n\r\n\0\xff", b'{"a": 1,\n "b":2}', bytearray(b"[1]")])
def test_an_event_of_bytes_passes_byte_for_byte(event: bytes, stage: Bridge) -> None:
    program = stage.serve(args=["ask", "take", "echo", "serve"], output="base64")

    assert ask(program, event) == b64encode(event).decode()


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (None, b"null"),
        ("\ud800", b'"\\ud800"'),
        (2**70, b"1180591620717411303424"),
        ({"é": [1.5, True]}, '{"é":[1.5,true]}'.encode()),
        ([[[[]]]], b"[[[[]]]]"),
    ],
)
def test_an_event_of_values_is_their_json(event: object, body: bytes, stage: Bridge) -> None:
    program = stage.serve(args=["ask", "take", "echo", "serve"], output="base64")

    assert ask(program, event) == b64encode(body).decode()


@pytest.mark.parametrize("event", [float("nan"), {"a": [float("inf")]}, {1}, {1: 2}, b"x" and object()])
def test_an_event_that_json_does_not_have_is_refused_and_asks_nothing(event: object, stage: Bridge) -> None:
    program = stage.serve()
    with pytest.raises(shim.EventInvalid):
        ask(program, event)

    assert ask(program)["count"] == 1


def test_the_environment_is_that_of_an_os_only_runtime(stage: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
        "_HANDLER": "shim.handler",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_LAMBDA_MAX_CONCURRENCY": "1",
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper",
        "SHIM_MODE": "bootstrap",
        "SOMETHING": "else",
    }.items():
        monkeypatch.setenv(name, value)
    told = ask(stage.serve(cwd=str(stage.folder)), do("describe"))
    entries = [entry.partition("=") for entry in told["environment"]]
    environment = {name: value for name, _, value in entries}

    assert len(environment) == len(entries)
    host, _, port = environment["AWS_LAMBDA_RUNTIME_API"].partition(":")
    assert host == "127.0.0.1"
    assert port.isdecimal()
    assert environment["_HANDLER"] == "program"
    assert environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert environment["SOMETHING"] == "else"
    assert environment["LAMBDA_TASK_ROOT"] == str(Path.cwd())
    assert not {"AWS_EXECUTION_ENV", "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_EXEC_WRAPPER", "SHIM_MODE"} & {
        *environment
    }
    assert told["descriptors"] == [0, 1, 2]


def test_env_goes_before_what_a_bootstrap_gets(stage: Bridge) -> None:
    program = stage.serve(env={"_HANDLER": "app.run", "AWS_EXECUTION_ENV": "mine"}, env_deny=["AWS_*"])
    environment = ask(program, do("describe"))["environment"]

    assert {"_HANDLER=app.run", "AWS_EXECUTION_ENV=mine"} <= {*environment}
    assert any(entry.startswith("AWS_LAMBDA_RUNTIME_API=127.0.0.1:") for entry in environment)


# Errors of its own


@pytest.mark.parametrize("name", ["BadInput", "Orders::BadInput", "&str", "alloc::string::String", "A b", "x" * 128])
@pytest.mark.parametrize(
    "trace", [[], ["at a", "at b"], [{"path": "main.go", "line": 3, "label": "main.handle"}], ["a", {"b": 1}]]
)
def test_an_error_that_it_posts_is_its_own(name: str, trace: list[object], stage: Bridge) -> None:
    program = stage.serve()
    body = json.dumps({"errorType": name, "errorMessage": "line 3 é", "stackTrace": trace})
    failed = failure(program, do(say("last words\n"), head("Lambda-Runtime-Function-Error-Type: Other"), error(body)))

    assert isinstance(failed, shim.ReportedError)
    assert (type(failed).__name__, str(failed), failed.exit_code) == (name, "line 3 é", None)
    assert [json.loads(json.dumps(entry)) for entry in failed.stack_trace] == trace
    assert failed.stderr_tail == "last words"
    assert ask(program)["heard"] == [202]


@pytest.mark.parametrize(
    ("line", "body", "name", "message"),
    [
        ("Lambda-Runtime-Function-Error-Type: Own.Kind", "no json", "Own.Kind", "no json"),
        ("X: y", "no json", "ReportedError", "no json"),
        ("X: y", "", "ReportedError", ""),
        ("X: y", "[1]", "ReportedError", "[1]"),
        ("X: y", '{"errorMessage": "m"}', "ReportedError", "m"),
        ("Lambda-Runtime-Function-Error-Type: Own", '{"errorMessage": "m"}', "Own", "m"),
        ("Lambda-Runtime-Function-Error-Type: Own", '{"errorType": 3, "errorMessage": "m"}', "Own", "m"),
        ("X: y", '{"errorType": "a\\u0000b", "errorMessage": "m"}', "ReportedError", "a\0b: m"),
        ("X: y", '{"errorType": "a\\r\\nb", "errorMessage": "m"}', "ReportedError", "a\r\nb: m"),
        ("X: y", '{"errorType": "\\ud800", "errorMessage": "m"}', "ReportedError", "?: m"),
        ("X: y", '{"errorType": "Fehlerü", "errorMessage": "m"}', "ReportedError", "Fehlerü: m"),
        ("X: y", '{"errorType": "States.Timeout", "errorMessage": "m"}', "ReportedError", "States.Timeout: m"),
        ("X: y", json.dumps({"errorType": "x" * 129, "errorMessage": "m"}), "ReportedError", "x" * 129 + ": m"),
        ("X: y", '{"errorType": "A", "errorMessage": "a\\ud800\\u007f"}', "A", "a??"),
        ("X: y", b"\xff\xfe", "ReportedError", "��"),
    ],
)
def test_whatever_it_posts_as_an_error_is_one_that_can_be_sent(
    line: str, body: str | bytes, name: str, message: str, stage: Bridge
) -> None:
    program = stage.serve()
    failed = failure(program, do(head(line), error(body)))

    assert isinstance(failed, shim.ReportedError)
    assert (type(failed).__name__, str(failed)) == (name, message)
    str(failed).encode()
    assert ask(program)["count"] == 2


def test_a_long_message_and_trace_are_cut(stage: Bridge) -> None:
    body = json.dumps({"errorType": "A", "errorMessage": "x" * 200_000, "stackTrace": ["y" * 1000] * 1000})
    program = stage.serve("ask", "take", "begin:error:0", "hear")
    failed = failure(program)
    assert type(failed).__name__ == "ReportedError"
    failed = failure(program, do(error(body)))

    assert type(failed).__name__ == "A"
    assert len(str(failed)) <= 65_536
    assert 0 < len(json.dumps(failed.stack_trace)) < 140_000


def test_a_stream_that_fails_in_the_middle_is_an_error(stage: Bridge) -> None:
    """The type and the body are in the trailers."""
    program = stage.serve()
    body = json.dumps({"errorType": "Late", "errorMessage": "é", "stackTrace": ["a"]}).encode()
    for said in (b64encode(body).decode(), body.decode("latin-1")):
        trailers = (
            f"0\r\nLambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: {said}\r\n\r\n"
        )
        words = (
            head("Lambda-Runtime-Function-Response-Mode: streaming"),
            "begin:response:chunked",
            f"chunk:{hexed('[1')}",
            f"send:{hexed(trailers.encode('latin-1'))}",
            "hear",
        )
        failed = failure(program, do(*words))

        assert (type(failed).__name__, str(failed), failed.stack_trace) == ("Late", "é", ("a",))
    assert ask(program)["count"] == 3


def test_a_stream_that_fails_without_a_word_but_its_type_is_no_success(stage: Bridge) -> None:
    program = stage.serve()
    trailers = "0\r\nLambda-Runtime-Function-Error-Type: Late\r\n\r\n"
    words = (
        head("Lambda-Runtime-Function-Response-Mode: streaming"),
        "begin:response:chunked",
        f"chunk:{hexed('[1]')}",
        f"send:{hexed(trailers)}",
        "hear",
    )

    assert type(failure(program, do(*words))).__name__ == "Late"


def test_awslambdaric_gets_the_stack_trace_as_it_is(stage: Bridge) -> None:
    """In its FaultException: of any other it posts Python's own."""
    if find_spec("awslambdaric") is None:
        missing("AWS's runtime interface client is missing: pip install awslambdaric")
    script = (
        "import json, sys\n"
        "from awslambdaric.lambda_runtime_exception import FaultException\n"
        "import shim\n"
        "told = []\n"
        "with shim.Shim(sys.argv[1], mode='bootstrap', args=['serve']) as program:\n"
        "    for event in json.loads(sys.argv[2]):\n"
        "        try: program(event)\n"
        "        except shim.ReportedError as error:\n"
        "            is_one = isinstance(error, FaultException)\n"
        "            told.append([is_one, is_one and [error.exception_type, error.msg, error.trace]])\n"
        "print(json.dumps(told))\n"
    )
    bodies = [
        {"errorType": "Orders::Bad", "errorMessage": "m", "stackTrace": ["a\n", {"path": "b"}]},
        {"errorType": "Own", "errorMessage": "m", "trace": ["Error: m", "    at b"]},
        {"errorType": "Own", "errorMessage": "m"},
    ]
    events = json.dumps([do(error(json.dumps(body))) for body in bodies])
    command = [sys.executable, "-c", script, str(stage.folder / "program"), events]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert json.loads(done.stdout) == [
        [True, ["Orders::Bad", "m", ["a\n", {"path": "b"}]]],
        [True, ["Own", "m", ["Error: m", "    at b"]]],
        [True, ["Own", "m", []]],
    ]


# Init


def test_an_error_at_init_is_its_own(stage: Bridge) -> None:
    body = json.dumps({"errorType": "Config::Missing", "errorMessage": "no table", "stackTrace": ["a"]})
    failed = not_made(stage, say("words\n"), error(body, "init"), "exit:1")

    assert (type(failed).__name__, str(failed), failed.stack_trace) == ("Config::Missing", "no table", ("a",))
    assert failed.stderr_tail == "words"


@pytest.mark.parametrize("after", ["exit:0", "exit:3", "raise:9", NEVER, "serve"])
def test_an_error_at_init_is_its_own_however_it_ends(after: str, stage: Bridge) -> None:
    failed = not_made(stage, error('{"errorType": "A", "errorMessage": "b"}', "init"), after)

    assert (type(failed).__name__, str(failed)) == ("A", "b")


def test_an_error_at_init_may_have_its_type_in_a_header_alone(stage: Bridge) -> None:
    failed = not_made(stage, head("Lambda-Runtime-Function-Error-Type: Own.Kind"), error("oh", "init"), "exit:1")

    assert (type(failed).__name__, str(failed)) == ("Own.Kind", "oh")


def test_an_error_at_init_after_the_first_next_is_refused(stage: Bridge) -> None:
    program = stage.serve()

    assert ask(program, do(error("{}", "init"), "answer"))["heard"] == [403]


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("exit:3", shim.ExitError, "ended with exit code 3"),
        ("raise:11", shim.SignalError, "was killed by SIGSEGV"),
        ("exit:0", shim.NotReady, "ended with success before it asked for its first invocation"),
    ],
)
def test_an_end_before_the_first_next_is_told(
    word: str, kind: type[shim.ExecutableError], words: str, stage: Bridge
) -> None:
    failed = not_made(stage, say("words\n"), word)

    assert type(failed) is kind
    assert words in str(failed)
    assert "words" in failed.stderr_tail


def test_an_end_in_the_middle_of_an_error_at_init_is_told(stage: Bridge) -> None:
    failed = not_made(stage, "begin:init:100", f"body:{hexed('{')}", "exit:3")

    assert (type(failed), failed.exit_code) == (shim.ExitError, 3)


@pytest.mark.parametrize("executable", ["/bin/true", "/bin/cat"])
def test_what_is_no_bootstrap_is_not_ready_and_told_what_one_does(executable: str) -> None:
    with pytest.raises(shim.NotReady) as raised:
        Shim(executable, mode="bootstrap")

    assert "/2018-06-01/runtime/invocation/next" in str(raised.value)
    assert "SHIM_MODE" in str(raised.value)


def test_what_never_asks_is_not_ready(stage: Bridge) -> None:
    failed = not_made(stage, say("words\n"), NEVER, ready_within_ms=200)

    assert type(failed) is shim.NotReady
    assert "had not asked for its first invocation 200 ms (SHIM_READY_WITHIN_MS) after its start" in str(failed)
    assert "SHIM_READY_WITHIN_MS" in failed.cure
    assert failed.stderr_tail == "words"


def test_a_library_that_is_missing_is_told(tmp_path: Path, compiler: str) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 0; }")
    (tmp_path / "b.c").write_text("int f(void); int main(void) { return f(); }")
    library, program = tmp_path / "libgone.so.1", tmp_path / "program"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "a.c"], check=True)
    subprocess.run([compiler, "-o", program, tmp_path / "b.c", library], check=True)
    library.unlink()
    with pytest.raises(shim.ExecutableNotRunnable, match=r"did not find .*libgone\.so\.1"):
        Shim(str(program), mode="bootstrap")


def test_an_init_in_an_invocation_has_no_more_time_than_that(stage: Bridge) -> None:
    switch = stage.folder / "go"
    switch.touch()
    program = stage.serve(f"until:{switch}")
    pid = ask(program)["pid"]
    switch.unlink()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_dead(pid))
    failed = failure(program, timeout=SHORT)

    assert type(failed) is shim.DeadlineExceeded
    switch.touch()
    assert ask(program)["count"] == 1


# The deadline


@pytest.mark.parametrize(
    "words",
    [
        (NEVER,),
        ("ignore:15", NEVER),
        ("ignore:15", f"fork:{60_000}", NEVER),
        (f"leave:{60_000}", NEVER),
        ("begin:response:100", f"body:{hexed('[')}", NEVER),
        ("begin:response:chunked", f"chunk:{hexed('[')}", NEVER),
        ("raise:19",),
        ("hang-up", NEVER),
        ("ask", NEVER),
        ("at:1", f"send:{hexed('GET /2018-06-01/runtime/invo')}", NEVER),
        ("storm:1",),
        ("storm:6",),
    ],
    ids=" ".join,
)
def test_a_child_that_does_not_answer_is_stopped_in_time_and_leaves_nothing(
    words: tuple[str, ...], stage: Bridge
) -> None:
    program = stage.serve()
    pid = ask(program)["pid"]
    address = address_of(program)
    context = LambdaContext(
        timeout=2
    )  # of which 100 ms are for the answer alone: elsewhere processes are started all the time, after which is looked
    with pytest.raises(shim.DeadlineExceeded) as raised:
        program(do(*words), context)

    assert context.get_remaining_time_in_millis() > 0
    assert raised.value.signal in ("SIGTERM", "SIGKILL")
    assert is_dead(pid)
    assert not listens(address)
    assert len(set(stage.processes())) <= 1  # a new one, which was started when the answer was out
    assert ask(program)["pid"] != pid


def test_a_child_that_asks_and_asks_and_hears_nothing_is_stopped_in_time(stage: Bridge) -> None:
    """Each turn of the poll takes 64 KiB of it, which are 1,400 requests."""
    program = stage.serve()
    context = LambdaContext(timeout=2)
    with pytest.raises(shim.DeadlineExceeded):
        program(do("gush"), context)

    assert context.get_remaining_time_in_millis() > 0


def test_a_child_that_never_asks_again_is_stopped_at_the_next_invocations_deadline(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program, do("answer", "silent"))["pid"]
    failed = failure(program, {"token": "second"}, timeout=SHORT)

    assert type(failed) is shim.DeadlineExceeded
    assert stage.deliveries("second") == 0
    assert "had not asked for its next invocation when the time of this invocation was over" in stage.notes
    assert ask(program)["pid"] != pid


def test_a_child_that_does_not_read_its_event_is_stopped_in_time(stage: Bridge) -> None:
    program = stage.serve("ask", NEVER)
    before = len(descriptors())

    assert type(failure(program, "x" * LARGE, timeout=SHORT)) is shim.DeadlineExceeded
    stage.clear()
    assert len(descriptors()) < before


def test_an_answer_of_a_child_that_does_not_read_all_of_its_event_is_given_when_it_comes(stage: Bridge) -> None:
    """It knows from the head what to answer, and goes on over another connection."""
    request_id = "79104ef7"
    program = stage.start("ask", "sleep:100", "at:1", f"to:{request_id}", response("1"), "ask", NEVER)
    began = time.monotonic()

    assert program("x" * 8_000_000, LambdaContext(timeout=3, request_id=request_id)) == 1
    assert time.monotonic() - began < 2


# Ends in the middle


@pytest.mark.parametrize("word", ["exit:3", "exit:0", "raise:9", "raise:11"])
@pytest.mark.parametrize(
    "before",
    [
        (),
        ("begin:response:100", f"body:{hexed('[1')}"),
        ("begin:response:chunked", f"chunk:{hexed('[1]')}"),
        ("at:1", "begin:error:100", f"body:{hexed('{')}"),
    ],
    ids=["before", "mid-body", "mid-chunks", "mid-error"],
)
def test_an_end_before_the_answer_is_told_and_the_event_goes_to_nobody_else(
    before: tuple[str, ...], word: str, stage: Bridge
) -> None:
    program = stage.serve()
    failed = failure(program, do(say("words\n"), *before, word, text="once"))
    expected = {
        "exit:3": (shim.ExitError, "ended with exit code 3"),
        "exit:0": (shim.ReplyMissing, ""),
        "raise:9": (shim.SignalError, "SIGKILL"),
        "raise:11": (shim.SignalError, "SIGSEGV"),
    }

    assert (type(failed), expected[word][1] in str(failed)) == (expected[word][0], True)
    assert failed.stderr_tail == "words"
    assert stage.deliveries("once") == 1
    assert ask(program)["count"] == 1


def test_an_answer_that_is_broken_off_is_none_and_the_child_serves_on(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program)["pid"]
    failed = failure(program, do("at:1", "begin:response:100", f"body:{hexed('[1]')}", "hang-up"))

    assert type(failed) is shim.ReplyMissing
    assert "broke off what it posted to …/response after 3 bytes" in str(failed)
    assert ask(program)["pid"] == pid


@pytest.mark.parametrize("connection", ["at:0", "at:1", "hang-up"])
def test_an_answer_and_an_end_at_once_are_a_success(connection: str, stage: Bridge) -> None:
    program = stage.serve()
    for count in range(1, 21):
        words = (connection, "begin:response:3", f"body:{hexed('[1]')}", "exit:3")
        assert ask(program, do(*words, token=f"<{count}>")) == [1]
        assert stage.deliveries(f"<{count}>") == 1


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_an_answer_of_any_size_and_an_end_when_it_was_heard_are_a_success(size: int, stage: Bridge) -> None:
    program = stage.serve(output="text")

    assert ask(program, do(f"begin:response:{size}", f"fill:{size}", "hear", "exit:3")) == "x" * size
    assert ask(program, do(f"begin:response:{size}", f"fill:{size}", "exit:3")) == "x" * size


def test_an_answer_without_pidfds_and_an_end_at_once_are_a_success(
    stage: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shim.children.parent.has_pidfd", lambda: False)
    program = stage.serve()

    assert [ask(program, do("hang-up", "begin:response:1", "body:31", "exit:3")) for _ in range(20)] == [1] * 20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_child_that_died_between_two_invocations_is_replaced(number: int, stage: Bridge) -> None:
    program = stage.serve(args=["serve"])
    pid = ask(program)["pid"]
    os.kill(pid, number)
    eventually(lambda: is_dead(pid))

    assert ask(program, {"token": "once"})["pid"] != pid
    assert stage.notes == [f"was killed by {signal.Signals(number).name} while nothing was asked of it"]


def test_a_child_that_died_before_it_asked_again_is_replaced_and_the_event_delivered_once(stage: Bridge) -> None:
    program = stage.serve()
    go = stage.folder / "go"
    pid = ask(program, do("answer", f"until:{go}", "exit:3"))["pid"]
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program, {"token": "once"})
        time.sleep(0.05)
        go.touch()

        assert answer.result()["pid"] != pid
    assert stage.deliveries("once") == 1
    (note,) = stage.notes
    assert note in (
        "ended with exit code 3 before it read anything of the request, which a new one gets",
        "ended with exit code 3 while nothing was asked of it",
    )


def test_an_event_that_was_handed_out_goes_to_nobody_else(stage: Bridge) -> None:
    """Though the child had read none of it: it asked, and ends when the answer comes."""
    program = stage.start("ask", f"until:{stage.folder}/go", "exit:3")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(failure, program, {"token": "once"})
        time.sleep(0.05)
        (stage.folder / "go").touch()

        assert type(answer.result()) is shim.ExitError
    assert stage.of().count("start") <= 2  # the second is for the next invocation
    assert stage.deliveries("once") == 0


def test_an_end_before_the_first_next_of_a_new_child_is_told_each_time(stage: Bridge) -> None:
    """At most one child is started an invocation."""
    broken = stage.folder / "broken"
    program = stage.serve(f"exit-if:3:{broken}")
    pid = ask(program)["pid"]
    broken.touch()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_dead(pid))
    starts = stage.of().count("start")
    for number in range(1, 4):
        assert type(failure(program)) is shim.ExitError
        assert stage.of().count("start") == starts + number
    broken.unlink()

    assert ask(program)["count"] == 1


# Frozen, thawed, reconnected


def test_a_child_that_was_frozen_between_two_invocations_is_kept(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program)["pid"]
    freeze(pid)
    os.kill(pid, signal.SIGCONT)
    assert ask(program)["pid"] == pid
    freeze(pid)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program)
        time.sleep(0.05)
        os.kill(pid, signal.SIGCONT)

        assert answer.result()["pid"] == pid


def test_a_child_that_is_frozen_in_an_invocation_goes_on(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program)["pid"]
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program, do(f"touch:{stage.folder}/here", f"until:{stage.folder}/go", "answer"))
        eventually((stage.folder / "here").exists)
        freeze(pid)
        (stage.folder / "go").touch()
        os.kill(pid, signal.SIGCONT)

        assert answer.result()["pid"] == pid


@pytest.mark.parametrize("abandoned", ["abandon", "hang-up"])
def test_a_client_that_asked_again_over_another_connection_gets_the_invocation(abandoned: str, stage: Bridge) -> None:
    """As one does that has timed out while all was frozen."""
    program = stage.serve()
    here = stage.folder / "here"
    words = ("answer", "ask", abandoned, "at:1", "ask", f"touch:{here}")
    pid = ask(program, do(*words))["pid"]
    eventually(here.exists)

    assert promptly(program)["pid"] == pid
    assert promptly(program)["pid"] == pid


def test_a_client_that_is_slow_to_ask_again_over_its_new_connection_is_waited_for(stage: Bridge) -> None:
    program = stage.serve(linger_ms=5000)
    here, go = stage.folder / "here", stage.folder / "go"
    pid = ask(program, do("answer", "ask", "abandon", "at:1", "ask", f"touch:{here}"))["pid"]
    eventually(here.exists)
    ask(program, do("answer", f"until:{go}"))
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(promptly, program)
        time.sleep(0.05)  # it may already have gone to the connection that nobody hears
        go.touch()

        assert answer.result()["pid"] == pid


def test_a_connection_that_was_passed_over_gets_the_invocation_where_no_other_asks(stage: Bridge) -> None:
    program = stage.serve(linger_ms=20)
    words = ("answer", "at:1", "ask", "at:2", "ask")
    pid = ask(program, do(*words))["pid"]

    assert ask(program, do("answer", "at:1", "take", "answer", "silent"))["pid"] == pid
    assert promptly(program)["pid"] == pid


def test_a_connection_that_was_abandoned_before_the_invocation_gets_none_of_it(stage: Bridge) -> None:
    program = stage.serve()
    here = stage.folder / "here"
    pid = ask(program, do("answer", "at:1", "ask", "hang-up", f"touch:{here}", "at:0"))["pid"]
    eventually(here.exists)

    assert promptly(program)["pid"] == pid
    assert stage.deliveries("null") == 1


def test_two_nexts_that_wait_get_one_invocation_each(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program, do("answer", "at:1", "ask", "at:2", "ask"))["pid"]
    answers = [promptly(program, {"token": f"<{number}>"}) for number in range(4)]

    assert {answer["pid"] for answer in answers} == {pid}
    assert all(stage.deliveries(f"<{number}>") == 1 for number in range(4))


# A response belongs to the invocation to which it was posted


def test_a_second_response_is_refused(stage: Bridge) -> None:
    program = stage.serve()

    assert ask(program, do(response("1"), response("2"), error("{}"))) == 1
    answer = ask(program)
    assert answer["heard"] == [202, 403, 403]
    assert ask(program)["event"] is None


def test_a_response_to_the_invocation_before_is_not_this_ones(stage: Bridge) -> None:
    program = stage.serve()
    ask(program, do(response("1")))
    strange = ("to:last", response('"foreign"'), error('{"errorType": "Foreign"}'), "to:nobody", response("5"))
    answer = ask(program, do(*strange, "to:this", "answer"))

    assert isinstance(answer, dict)
    assert answer["heard"][0] == 202
    assert all(status in (400, 403) for status in answer["heard"][1:])
    assert len(answer["heard"]) == 4
    assert len([line for line in stage.log if "which was refused with" in line]) == 3


def test_a_response_that_comes_between_two_invocations_is_nobodys(stage: Bridge) -> None:
    program = stage.serve()
    here = stage.folder / "here"
    words = (response("1"), "at:1", "begin:response:9", f"body:{FOREIGN}", f"touch:{here}", "hear", "at:0")
    ask(program, do(*words))
    eventually(here.exists)
    answer = ask(program)

    assert answer["event"] is None
    assert answer["heard"] == [202, 403]


def test_two_connections_that_answer_the_same_invocation_give_one_whole_answer(stage: Bridge) -> None:
    program = stage.serve()
    words = (
        "at:1",
        "begin:response:5",
        f"body:{hexed('[1')}",
        "at:2",
        response("[7,7]"),
        "at:1",
        f"body:{hexed(',2]')}",
        "hear",
        "at:0",
    )

    assert ask(program, do(*words)) == [1, 2]
    assert ask(program)["heard"] == [403, 202]


def test_the_same_request_id_twice_is_two_invocations(stage: Bridge) -> None:
    """Lambda tries an event again with the same id."""
    program = stage.serve()
    answers = [program(do(response(str(number))), LambdaContext(request_id="again")) for number in (1, 2)]

    assert answers == [1, 2]


def test_a_response_after_the_deadline_is_nobodys(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program)["pid"]
    failed = failure(program, do("ignore:15", "sleep:320", f"post:response:{FOREIGN}", NEVER), timeout=SHORT)

    assert type(failed) is shim.DeadlineExceeded
    assert is_dead(pid)
    assert ask(program)["event"] is None


@pytest.mark.parametrize(
    "line", ["GARBAGE\r\n\r\n", "GET / HTTP/1.1\r\nBad Header\r\n\r\n", "\0" * 100, "POST /x HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)  # fmt: skip
def test_what_is_no_http_is_refused_and_no_harm(line: str, stage: Bridge) -> None:
    program = stage.serve()

    assert promptly(program, do("at:1", f"send:{hexed(line)}", "hear", "hang-up", "at:0", "answer"))["heard"][0] >= 400


def test_other_paths_are_refused_and_told_in_the_log_up_to_a_number(stage: Bridge) -> None:
    program = stage.serve()
    heard = ask(program, do("get:/2018-06-01/ping", *["get:/nowhere"] * 30, "answer"))["heard"]

    assert heard == [200] + [404] * 30
    assert len([line for line in stage.log if "sent GET /nowhere, which was refused with 404" in line]) == 20


def test_a_response_mode_that_there_is_not_is_a_breach(stage: Bridge) -> None:
    program = stage.serve()
    failed = failure(program, do(head("Lambda-Runtime-Function-Response-Mode: buffered"), response("1")))

    assert isinstance(failed, shim.ReplyMissing)
    assert "response mode 'buffered'" in str(failed)
    assert ask(program)["heard"] == [400]


# Sizes


def test_6_mb_go_in_and_out(stage: Bridge) -> None:
    program = stage.serve(output="text")
    for _ in range(2):
        event = "x" * (LARGE - 2)
        assert ask(program, {"do": "echo", "x": event[:-40]}, timeout=20).endswith('x"}')
    pad = "y" * (LARGE - 100)
    size = LARGE - 10
    answer = ask(program, do(f"begin:response:{size}", f"fill:{size}", "hear", pad=pad), timeout=20)

    assert answer == "x" * size
    assert len(stage.of()) == 4


@pytest.mark.parametrize("way", ["length", "chunked", "expect", "broken"])
def test_a_response_that_is_too_large_is_refused_and_the_child_serves_on(way: str, stage: Bridge) -> None:
    program = stage.serve(max_output_bytes=100_000)
    pid = ask(program)["pid"]
    words = {
        "length": ("begin:response:100001", "fill:100001", "hear"),
        "chunked": (
            "begin:response:chunked",
            f"send:{hexed('186a1')}0d0a",
            "fill:100001",
            "send:0d0a300d0a0d0a",
            "hear",
        ),
        "expect": (head("Expect: 100-continue"), "begin:response:100001", "hear", "hang-up"),
        "broken": ("begin:response:100001", "hang-up"),
    }
    failed = failure(program, do(*words[way]))

    assert type(failed) is shim.OutputTooLarge
    assert (failed.size, failed.limit) == (100_001, 100_000)
    answer = ask(program)
    assert answer["pid"] == pid
    assert answer["heard"] == ([202] if way == "broken" else [202, 413])


def test_a_response_of_just_the_limit_is_taken(stage: Bridge) -> None:
    program = stage.serve(max_output_bytes=100_000, output="text")

    assert ask(program, do("begin:response:100000", "fill:100000", "hear")) == "x" * 100_000


def test_a_result_that_lambda_does_not_take_is_refused(stage: Bridge) -> None:
    program = stage.serve(max_output_bytes=2 * LARGE, output="text")
    failed = failure(program, do(f"begin:response:{LAMBDA_LIMIT + 1}", f"fill:{LAMBDA_LIMIT + 1}", "hear"), timeout=20)

    assert type(failed) is shim.OutputTooLarge
    assert ask(program, do(response("1"))) == "1"


def test_an_absurd_length_is_no_harm(stage: Bridge) -> None:
    program = stage.serve()
    failed = failure(program, do("begin:response:99999999999999999999", "hang-up"))

    assert isinstance(failed, shim.ExecutableError)
    assert ask(program)["pid"]
    failed = failure(program, do(f"begin:response:{'9' * 40}", "hear", "exit:3"))
    assert isinstance(failed, shim.ExecutableError)


@pytest.mark.parametrize("when", ["in", "between"])
def test_more_connections_than_there_are_descriptors_are_no_harm_to_the_host(when: str, stage: Bridge) -> None:
    """Lambda allows 1,024, and a child opens as many as it likes."""
    program = stage.serve()
    ask(program)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(descriptors()) + 12
    words = ("flood:30", "answer") if when == "in" else ("answer", "flood:30")
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        for _ in range(2):
            try:
                ask(program, do(*words), timeout=SHORT * 2)
            except shim.ExecutableError:
                pass  # it is the executable's doing
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert ask(program)["pid"]


# The log


def test_both_outputs_are_the_log_and_the_tail_of_an_error(stage: Bridge) -> None:
    program = stage.serve()
    failed = failure(program, do(say("out\n", 1), say("err\n"), error('{"errorType": "A"}')))

    assert failed.stderr_tail == "out\nerr"
    ask(program, do(say("half", 1), "answer"))
    assert stage.log == ["out", "err", "half"]


def test_lines_of_the_log_bear_their_invocation(stage: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.log_to(monkeypatch, level="INFO")
    program = stage.serve(say("init\n"))
    for number in (1, 2):
        program(do(say(f"{number}\n", 1), "answer"), LambdaContext(request_id=f"id-{number}"))
    lines = [json.loads(line) for line in stage.log]

    assert [(line["message"], line.get("requestId"), line["stream"]) for line in lines[-2:]] == [
        ("1", "id-1", "stdout+stderr"),
        ("2", "id-2", "stdout+stderr"),
    ]
    assert lines[0]["message"] == "init"


def test_a_log_that_is_slow_has_all_lines_of_an_invocation_when_it_is_answered(
    stage: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in mode warm: what is answered may be frozen at once."""
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    log = Log(theirs)
    monkeypatch.setattr("shim.adapter.function_log", lambda: log)
    size = fcntl.fcntl(theirs, fcntl.F_GETPIPE_SZ)
    program = stage.serve(linger_ms=5000)
    os.write(theirs, b"x" * (size - 1) + b"\n")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program, do(say("words\n"), response("1")))
        eventually(lambda: log.descriptor is not None or answer.done())
        taken = os.read(ours, size)

        assert answer.result() == 1
    waits = log.descriptor is not None
    program.close()
    os.close(ours)
    os.close(theirs)
    assert len(taken) == size
    assert not waits


def test_outputs_that_it_closes_are_no_harm(stage: Bridge) -> None:
    program = stage.serve()
    pid = ask(program, do("close:0", "close:1", "close:2", "answer"))["pid"]

    assert {ask(program)["pid"] for _ in range(3)} == {pid}
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_dead(pid))
    assert ask(program)["pid"] != pid


def test_an_exit_code_may_have_a_name(stage: Bridge) -> None:
    program = stage.serve(exit_codes={"65": "BadInput", "3": "ok"})

    assert type(failure(program, do("exit:65"))).__name__ == "BadInput"
    assert type(failure(program, do("exit:3"))) is shim.ReplyMissing


def test_metrics_are_told_of_every_outcome(stage: Bridge) -> None:
    program = stage.serve(metrics="emf", max_output_bytes=1000)
    ask(program)
    failure(program, do(error('{"errorType": "Own::Kind"}')))
    failure(program, do("begin:response:1001", "fill:1001", "hear"))
    failure(program, do("exit:3"))
    lines = [json.loads(line) for line in stage.log if line.startswith('{"_aws"')]

    assert [line.get("errorType") for line in lines] == [None, "Own::Kind", "OutputTooLarge", "ExitError"]
    assert all("duration_ms" in line for line in lines)


# Several at once, and what is replaced


def test_threads_have_a_child_each_up_to_a_number(stage: Bridge) -> None:
    program = stage.serve(max_children=2)
    go = stage.folder / "go"
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask, program, do(f"until:{go}", "answer", token=f"<{n}>")) for n in range(4)]
        eventually(lambda: sum(said.startswith("take") for said in stage.of()) == 2)
        go.touch()
        told = [answer.result() for answer in answers]

    assert len({answer["pid"] for answer in told}) == 2
    assert [answer["event"]["token"] for answer in told] == [f"<{n}>" for n in range(4)]
    assert all(stage.deliveries(f"<{n}>") == 1 for n in range(4))


def test_a_thread_that_finds_all_busy_is_told_at_its_deadline(stage: Bridge) -> None:
    program = stage.serve(max_children=1)
    go = stage.folder / "go"
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program, do(f"touch:{stage.folder}/here", f"until:{go}", "answer"))
        eventually((stage.folder / "here").exists)
        failed = failure(program, timeout=SHORT)
        go.touch()
        answer.result()

    assert type(failed) is shim.DeadlineExceeded


def test_a_child_that_has_served_enough_is_replaced_and_gets_sigterm(stage: Bridge) -> None:
    program = stage.serve(max_uses=2)
    pids = [ask(program)["pid"] for _ in range(6)]

    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert stage.of(pids[0]) == ["start", "take null", "take null", "SIGTERM"]


def test_a_child_that_is_too_old_is_replaced(stage: Bridge) -> None:
    program = stage.serve(max_age_ms=200)
    first = ask(program)["pid"]
    eventually(lambda: ask(program)["pid"] != first)

    assert stage.of(first)[-1] == "SIGTERM"


def test_closing_ends_the_child_with_sigterm_and_frees_its_port(stage: Bridge) -> None:
    program = stage.serve(register(), "at:1", "event", "at:0")
    pid = ask(program)["pid"]
    address = address_of(program)
    program.close()

    assert stage.of(pid)[-1] == "SIGTERM"
    assert is_dead(pid)
    assert not listens(address)
    assert stage.log == []


def test_closing_ends_a_child_that_ignores_sigterm(stage: Bridge) -> None:
    program = stage.serve("ignore:15", "fork:60000", grace_ms=20)
    pid = ask(program)["pid"]
    program.close()

    assert is_dead(pid)
    assert stage.processes() == []


def test_an_extension_inside_is_registered_and_told_of_invocations(stage: Bridge) -> None:
    program = stage.serve(register("INVOKE"), "at:1", "event", "at:0")
    answer = program(do("at:1", "hear", "event", "at:0", "answer"), LambdaContext(request_id="an-id"))

    assert answer["heard"] == [200, 200]
    assert json.loads(answer["said"])["requestId"] == "an-id"
    assert ask(program)["pid"] == answer["pid"]


def test_an_invocation_that_runs_is_finished_when_it_is_closed(stage: Bridge) -> None:
    program = stage.serve()
    go = stage.folder / "go"
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, program, do(f"touch:{stage.folder}/here", f"until:{go}", response("1")))
        eventually((stage.folder / "here").exists)
        program.close()
        go.touch()

        assert answer.result() == 1
    with pytest.raises(shim.ShimClosed):
        ask(program)
    assert stage.processes() == []


def test_what_a_child_leaves_behind_goes_with_it(stage: Bridge) -> None:
    program = stage.serve()
    failed = failure(program, do("fork:60000", "leave:60000", "exit:3"))

    assert type(failed) is shim.ExitError
    program.close()
    assert stage.processes() == []


def test_an_interrupt_in_an_invocation_leaves_nothing(
    stage: Bridge, interrupted: Callable[[Callable[[], object], float], None]
) -> None:
    program = stage.serve()
    ask(program)
    before = len(descriptors())
    for after in (0.05, 0.001, 0.0005, 0.0001):
        interrupted(lambda: ask(program, do(NEVER)), after)
        assert ask(program)["pid"]

    assert len(stage.processes()) == 1
    assert len(descriptors()) == before


def test_a_shim_that_nobody_has_any_more_leaves_nothing(stage: Bridge) -> None:
    before = len(descriptors())
    for _ in range(2):
        program = Shim(str(stage.folder / "program"), mode="bootstrap", args=["serve"], env={"STAGE": stage.mark})
        ask(program)
        cycle = [program]
        cycle.append(cycle)  # type: ignore[arg-type] # a cycle of its own
        del program, cycle
        gc.collect()
        eventually(lambda: all(is_dead(pid) for pid in stage.processes()))
    stage.serve().close()  # what was killed in a collection is reaped with the next start

    assert stage.processes() == []
    assert len(descriptors()) <= before + 1


@pytest.mark.parametrize("room", range(10))
def test_a_child_for_which_there_are_no_descriptors_is_told_and_leaves_none(room: int, stage: Bridge) -> None:
    """Where they go out at its start, or when it connects, at any step."""
    program = stage.serve()
    pid = ask(program)["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_dead(pid))
    before = len(descriptors())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stage.serve().close()  # what is opened once is open
    highest = max(descriptors())
    fillers: list[int] = []
    while not fillers or fillers[-1] < highest:
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2 + room, hard))
    try:
        ask(program, timeout=SHORT * 2)
    except shim.ExecutableError:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        list(map(os.close, fillers))

    assert ask(program)["pid"]
    assert len(descriptors()) <= before + 1


# The life of the host


@pytest.fixture
def host(tmp_path: Path, bootstrap: Path) -> Iterator[Callable[..., Host]]:
    """Starts a process that keeps a bootstrap, and does that."""
    program = tmp_path / "program"
    os.link(bootstrap, program)
    hosts: list[Host] = []

    def start(text: str, *, before: str = "") -> Host:
        hosts.append(Host(program, before + HOST + text))
        return hosts[-1]

    yield start
    for started in hosts:
        started.close()


def ends_noted(folder: Path) -> list[str]:
    return [line for line in (folder / "program.notes").read_text().splitlines() if line.endswith(" SIGTERM")]


@pytest.mark.parametrize(("end", "status"), [("", 0), ("sys.exit(3)", 3), ("1 / 0", 1), ("del program", 0)])
def test_the_interpreters_end_takes_the_child_down(
    end: str, status: int, host: Callable[..., Host], tmp_path: Path
) -> None:
    process = host(f"say(ask())\nsys.stderr = None\n{end}")
    pid = process.heard()

    assert process.ended() == status
    assert is_dead(pid)
    assert ends_noted(tmp_path) == [f"{pid} SIGTERM"]


@pytest.mark.parametrize("waiting", ["wait()", "while True: pass", "ask({'do': 'sleep:0'})"])
def test_sigterm_takes_the_child_down_and_the_process_dies_of_it(
    waiting: str, host: Callable[..., Host], tmp_path: Path
) -> None:
    process = host(f"say(ask())\n{waiting}", before=HEARING)
    pid = process.heard()
    if "sleep" in waiting:
        eventually(lambda: "sleep" in (tmp_path / "program.notes").read_text())
    process.process.terminate()

    assert process.ended() == -signal.SIGTERM
    assert is_dead(pid)
    assert ends_noted(tmp_path) == [f"{pid} SIGTERM"]


def test_a_process_that_is_killed_ends_the_connections_of_its_child(host: Callable[..., Host]) -> None:
    process = host("say(ask())\nwait()")
    pid = process.heard()
    process.process.kill()
    process.ended()

    eventually(lambda: is_dead(pid))


def test_a_forked_process_has_a_child_of_its_own(host: Callable[..., Host]) -> None:
    process = host(
        "first = ask()\n"
        "def sockets(): return [link for link in links() if link.startswith('socket:')]\n"
        "def links():\n"
        "    for name in os.listdir('/proc/self/fd'):\n"
        "        try: yield os.readlink(f'/proc/self/fd/{name}')\n"
        "        except OSError: pass\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    say([sockets(), ask(), ask()])\n"
        "    sys.exit(5)\n"
        "_, status = os.waitpid(forked, 0)\n"
        "say([os.waitstatus_to_exitcode(status), first, ask(), ask()])\n"
        "wait()\n"
    )
    held, once, again = process.heard()
    status, first, later, last = process.heard()

    assert held == []
    assert status == 5
    assert once == again != first
    assert later == last == first
    assert is_dead(once)
    assert not is_dead(first)


def test_a_fork_while_a_child_is_asked_leaves_both_well(host: Callable[..., Host]) -> None:
    """As where another thread forks: the one that asks gets its answer, and the forked process can ask, too."""
    process = host(
        "first = ask()\n"
        "import threading, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "event = 'x' * 3_000_000\n"
        "answers = []\n"
        "thread = threading.Thread(target=lambda: answers.append(program(event)))\n"
        "thread.start()\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    signal.alarm(15)\n"
        "    os._exit(0 if ask() != first else 1)\n"
        "_, status = os.waitpid(forked, 0)\n"
        "thread.join()\n"
        "say([os.waitstatus_to_exitcode(status), first == answers[0]['pid'], len(answers[0]['event'])])\n"
    )

    assert process.heard() == [0, True, 3_000_000]


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codec", "line"),
        ("reply_fd", 3),
        ("framing", "envelope"),
        ("context_keys", "camel"),
        ("ready", True),
        ("spare", 1),
        ("tmp", "fresh"),
    ],
)
def test_a_setting_that_mode_bootstrap_never_reads_is_a_mistake(name: str, value: object) -> None:
    with pytest.raises(shim.SettingsError) as raised:
        shim.Settings("program", mode="bootstrap", **{name: value})

    assert f"{name} must not be set, since mode=bootstrap never reads it" in str(raised.value)


def test_the_runtime_api_is_not_for_env_to_set() -> None:
    with pytest.raises(shim.SettingsError, match="env must not have AWS_LAMBDA_RUNTIME_API"):
        shim.Settings("program", mode="bootstrap", env={"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"})


def test_without_h11_it_is_said_how_to_package_it(stage: Bridge) -> None:
    script = (
        "import sys; sys.modules['h11'] = None\n"
        "import shim\n"
        "try: shim.Shim(sys.argv[1], mode='bootstrap')\n"
        "except shim.SettingsError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(stage.folder / "program")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "lambda-shim[bootstrap]" in said
    assert "h11" in said


def test_the_other_modes_need_no_h11(stage: Bridge) -> None:
    script = "import sys; sys.modules['h11'] = None; import shim; print(shim.Shim('/bin/cat')(1)['event'])"

    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "1\n"
