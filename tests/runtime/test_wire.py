"""What `python -m shim.runtime` puts on the wire, header by header, and what it makes of the answers to that."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

import shim
from tests.conftest import eventually
from tests.runtime.stub import (
    ACCEPTED,
    EXTENSION,
    IDENTIFIER,
    INIT_ERROR,
    NEXT,
    PATIENCE,
    REGISTERED,
    RUNTIME,
    answer,
    chunked,
    facts,
    head,
    invocation,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runtime.stub import Request, Runtime

    Start = Callable[..., Runtime]

RESPONSE = f"{RUNTIME}/invocation/id-1/response"
ERROR = f"{RUNTIME}/invocation/id-1/error"
TYPE = "Lambda-Runtime-Function-Error-Type"
CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"
MODE = "Lambda-Runtime-Function-Response-Mode"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")

FOREVER = "while :; do sleep 1; done\n"


def script(text: str) -> str:
    """A shell script."""
    return "#!/bin/sh\n" + text


def holding(start: Start, tmp_path: Path, text: str, **rest: Any) -> Runtime:
    """A runtime whose script does `read -r line <go`, or `<on`, where it is to wait for the test."""
    (tmp_path / "root").mkdir()
    for name in ("go", "on"):
        os.mkfifo(tmp_path / "root" / name)
    return start(script(text), **rest)


def let_go(runtime: Runtime, name: str = "go") -> None:
    """The script goes on."""
    (runtime.root / name).write_text("go\n")


def says_once(runtime: Runtime) -> str:
    """The one line that it has logged."""
    [line] = runtime.lines()

    assert line.strip()
    return line


def ends_with_a_line(runtime: Runtime) -> str:
    """The one line of a runtime that ends because of what the server did."""
    assert runtime.ends() == 1
    return says_once(runtime)


def goes_on(runtime: Runtime) -> Request:
    """The next `next`."""
    return runtime.api.take(NEXT)


def error_of(post: Request) -> dict[str, Any]:
    """The error that is posted, whose headers and body must be what Lambda wants."""
    value: dict[str, Any] = json.loads(post.body)

    assert post["Content-Type"] == "application/json"
    assert ERROR_TYPE.fullmatch(post[TYPE]), post[TYPE]
    assert set(value) - {"requestId"} == {"errorMessage", "errorType", "stackTrace"}
    assert isinstance(value["errorMessage"], str)
    assert isinstance(value["stackTrace"], list)
    return value


# The extension that it is, too.


def test_it_registers_as_an_extension_over_a_connection_of_its_own_before_its_first_next(start: Start) -> None:
    runtime = start(registration=None)
    register = runtime.api.take_of_extension(1)

    assert register.line == f"POST {EXTENSION}/register"
    assert register["Lambda-Extension-Name"] == "shim"
    assert register["Content-Type"] == "application/json"
    assert json.loads(register.body) == {"events": []}
    assert runtime.api.requests == []
    register.connection.send(REGISTERED)
    waits = runtime.api.take_of_extension(2)

    assert waits.line == f"GET {EXTENSION}/event/next"
    assert waits["Lambda-Extension-Identifier"] == IDENTIFIER
    assert waits.connection is register.connection
    for number in range(3):
        posted = runtime.invoke(b"%d" % number)
        assert posted.connection is not register.connection
        assert not register.connection.ended

    assert runtime.api.of_extension == [register, waits]


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_an_extension_that_is_refused_is_said_and_it_goes_on_without(start: Start, status: int) -> None:
    body = b'{"errorType":"Extension.Refused","errorMessage":"no"}'
    runtime = start(registration=answer(status, ("Content-Type", "application/json"), body=body))
    runtime.invoke()
    runtime.invoke()
    goes_on(runtime)

    assert str(status) in says_once(runtime)
    assert [request.line for request in runtime.api.of_extension] == [f"POST {EXTENSION}/register"]


@pytest.mark.parametrize(
    "registration", [REGISTERED[:40] + b"\r\n\r\n", answer(200), answer(500), b"garbage\r\n\r\n", answer(200)[:30], b""]
)
def test_whatever_comes_of_its_registration_it_goes_on_or_ends_with_a_line(start: Start, registration: bytes) -> None:
    runtime = start(registration=None)
    register = runtime.api.take_of_extension(1)
    register.connection.send(registration)
    register.connection.finish()
    runtime.api.until(lambda: f"GET {NEXT}" in runtime.api.lines or runtime.exit_code is not None, "next, or its end")

    if runtime.exit_code is not None:
        ends_with_a_line(runtime)


# What it asks, and the event that it is given.


def test_what_next_says_and_over_what_connection(start: Start) -> None:
    runtime = start()
    first = goes_on(runtime)

    assert first.line == f"GET {NEXT}"
    assert f"shim/{shim.__version__}" in first["User-Agent"]
    assert {name.lower() for name, _ in first.headers} <= {"host", "user-agent", "accept", "connection"}
    first.connection.send(invocation())
    posted = runtime.api.take(RESPONSE)
    posted.connection.send(ACCEPTED)

    assert f"shim/{shim.__version__}" in posted["User-Agent"]
    for number in range(5):
        assert runtime.invoke(b"%d" % number).connection is first.connection
    assert len(runtime.api.connections) == 2


LENGTH = ("Content-Length", "8")
EVENT = b'{"a": 1}'


@pytest.mark.parametrize(
    ("pieces", "closes"),
    [
        ([head(200, *facts(), LENGTH) + EVENT], False),
        ([head(200, *facts(), LENGTH), EVENT], False),
        ([head(200, *facts(), LENGTH), *(EVENT[at : at + 1] for at in range(8))], False),
        ([head(200, *facts(), ("Transfer-Encoding", "chunked")) + chunked(EVENT)], False),
        ([head(200, *facts(), ("Transfer-Encoding", "chunked")), *(b"%c" % byte for byte in chunked(EVENT, 1, 5))], False),
        ([head(200, *facts(), ("Transfer-Encoding", "Chunked")) + b"08;a=b\r\n" + EVENT + b"\r\n00\r\nA: b\r\n\r\n"], False),
        ([b"%c" % byte for byte in head(200, *facts(), LENGTH)] + [EVENT], False),
        ([head(100), head(103, ("Link", "a")), head(200, *facts(), LENGTH) + EVENT], False),
        ([head(100) + head(102) + head(200, *facts(), LENGTH) + EVENT], False),
        ([head(200, *facts(), LENGTH, reason="") + EVENT], False),
        ([head(200, *facts(), LENGTH).replace(b" Said", b"") + EVENT], False),
        ([head(200, *facts(), LENGTH).replace(b": ", b":") + EVENT], False),
        ([head(200, *facts(), LENGTH).replace(b": ", b": \t ").replace(b"\r\n", b" \r\n", 4).replace(b" \r\n", b"\r\n", 1) + EVENT], False),
        ([head(200, *facts(), ("X", "x" * 900_000), LENGTH) + EVENT], False),
        ([head(200, *facts(), *((f"X-{n}", "x") for n in range(1000)), LENGTH) + EVENT], False),
        ([head(200, *facts(), LENGTH).lower().replace(b"http", b"HTTP") + EVENT], False),
        ([head(200, *facts(), LENGTH).upper().replace(b"ID-1", b"id-1") + EVENT], False),
        ([head(200, *facts(), LENGTH, ("Connection", "keep-alive")) + EVENT], False),
        ([head(200, *facts(), LENGTH, ("Connection", "close")) + EVENT], True),
        ([head(200, *facts(), LENGTH, ("connection", "Close")) + EVENT], True),
        ([head(200, *facts(), ("Transfer-Encoding", "chunked"), ("Connection", "close")) + chunked(EVENT)], True),
        ([head(200, *facts(), ("Connection", "close")), EVENT], True),
        ([head(200, *facts()), EVENT[:3], EVENT[3:]], True),
    ],
    ids=lambda value: f"{len(value)} pieces" if isinstance(value, list) else "",
)  # fmt: skip
def test_an_event_comes_whole_however_it_is_sent(start: Start, pieces: list[bytes], closes: bool) -> None:
    runtime = start(output="json")
    first = goes_on(runtime)
    first.connection.send_slowly(*pieces)
    if closes:
        first.connection.finish()
    posted = runtime.api.take(RESPONSE)
    posted.connection.send(ACCEPTED)
    second = goes_on(runtime)

    assert posted.body.startswith(b'{"event":' + EVENT + b',"context":{')
    assert (posted.connection is not first.connection) == closes
    assert second.connection is posted.connection
    assert runtime.lines() == []


def test_an_event_of_6_mb_comes_whole(start: Start) -> None:
    event = b'"%s"' % os.urandom(3 * 1024 * 1024).hex().encode()
    runtime = start(output="base64")
    posted = runtime.invoke(event)
    assert posted.line == f"POST {ERROR}"  # in base64 it is larger than Lambda takes
    assert error_of(posted)["errorType"] == "OutputTooLarge"

    runtime.api.take(NEXT).connection.send(invocation(event[:-2_000_000] + b'"'))
    posted = runtime.api.take(RESPONSE)

    assert base64.b64decode(json.loads(posted.body)).startswith(b'{"event":' + event[:-2_000_000] + b'","context":{')


def test_the_line_is_the_event_s_bytes_and_the_context_that_the_headers_are(start: Start) -> None:
    runtime = start(output="base64")
    client = {"client": {"installation_id": "i", "app_title": "ä"}, "custom": {"a": 1}, "env": {"b": None}}
    identity = {"cognitoIdentityId": "c", "cognitoIdentityPoolId": "p"}
    told: dict[str, Any] = {
        "Lambda_Runtime_Invoked_Function_Arn": "arn:aws:lambda:eu-central-1:123456789012:function:the-function",
        "Lambda_Runtime_Trace_Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        "Lambda_Runtime_Client_Context": json.dumps(client),
        "Lambda_Runtime_Cognito_Identity": json.dumps(identity),
        "Lambda_Runtime_Aws_Tenant_Id": "tenant 1",
    }
    contexts = []
    for event in (b' {"a" :\n[1.0, 12345678901234567890123,\r\n"\\ud800"]}\n', b"null"):
        posted = runtime.invoke(event, lasts=50, **told)
        line = base64.b64decode(json.loads(posted.body))
        assert line.startswith(b'{"event":' + event.replace(b"\n", b" ") + b',"context":{')
        assert line.endswith(b',"shim":1}\n')
        assert line.count(b"\n") == 1
        contexts.append(json.loads(line)["context"])
        told = {}
    first, second = contexts
    asked = time.time() * 1000

    assert first == {
        "aws_request_id": "id-1",
        "log_group_name": "the-group",
        "log_stream_name": "the-stream",
        "function_name": "the-function",
        "function_version": "7",
        "invoked_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:the-function",
        "memory_limit_in_mb": "128",
        "tenant_id": "tenant 1",
        "client_context": {
            "client": {
                "installation_id": "i",
                "app_title": "ä",
                "app_version_name": None,
                "app_version_code": None,
                "app_package_name": None,
            },
            "custom": {"a": 1},
            "env": {"b": None},
        },
        "identity": {"cognito_identity_id": "c", "cognito_identity_pool_id": "p"},
        "w3c": first["w3c"],
        "trace_id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        "deadline_ms": first["deadline_ms"],
        "cold_start": True,
        "invocation_count": 1,
    }
    assert asked < first["deadline_ms"] <= asked + 50_000
    assert [second[name] for name in ("tenant_id", "client_context", "identity", "trace_id")] == [None] * 4
    assert (second["cold_start"], second["invocation_count"]) == (False, 2)


def test_the_deadline_is_the_number_in_the_header(start: Start) -> None:
    runtime = start(output="json")
    asked = goes_on(runtime)
    asked.connection.send(invocation())
    sent = [value for name, value in facts() if name == "Lambda-Runtime-Deadline-Ms"]
    first = json.loads(runtime.api.take(RESPONSE).body)["context"]["deadline_ms"]

    assert abs(first - int(sent[0])) < PATIENCE * 1000


def test_the_trace_is_in_the_environment_of_its_own_invocation_alone(start: Start) -> None:
    runtime = start(script('printf %s "${_X_AMZN_TRACE_ID-none}"\n'), output="text")

    assert runtime.invoke(Lambda_Runtime_Trace_Id="Root=1-a-b").body == b'"Root=1-a-b"'
    assert runtime.invoke().body == b'"none"'
    assert runtime.invoke(Lambda_Runtime_Trace_Id="Root=1-a-c").body == b'"Root=1-a-c"'


@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_events_that_are_no_json_fail_and_it_goes_on(start: Start, mode: str) -> None:
    runtime = start(output="json", mode=mode)
    bad = [
        b"",
        b" ",
        b"{",
        b"NaN",
        b"[1,]",
        b'{"a":1} x',
        b"\xff",
        b'"\n"',
        b'1,"context":{},"shim":1}\n{"event":1',
        b'1}\r\n{"event":2',
        b"\xef\xbb\xbf{}",
    ]
    for number, event in enumerate(bad):
        posted = runtime.fail(event, f"bad-{number}")
        assert error_of(posted)["errorType"] == "EventInvalid"
        assert posted[TYPE] == "Function.EventInvalid"
        assert json.loads(runtime.invoke(b"%d" % number).body)["event"] == number


# What it posts.


@pytest.mark.parametrize("invocation_id", ["", "5e1f0000-abcd-4000-8000-00000000000f"])
def test_what_a_response_says(start: Start, invocation_id: str) -> None:
    reply = '{"a": 1.0,\t"b":12345678901234567890123, "a": "\\u00e4ä"}'
    runtime = start(
        script(f"printf '\\r\\n %s\\n\\n' '{reply.replace(chr(92), chr(92) * 2)}'\n".replace("\\\\u", "\\u"))
    )
    told: dict[str, Any] = {"Lambda_Runtime_Invocation_Id": invocation_id} if invocation_id else {}
    posted = runtime.invoke(b"1", "9d4c2a6e-0000-4000-8000-000000000001", **told)

    assert posted.line == f"POST {RUNTIME}/invocation/9d4c2a6e-0000-4000-8000-000000000001/response"
    assert posted.body == reply.encode()
    assert posted["Content-Type"] == "application/json"
    assert posted["Content-Length"] == str(len(reply.encode()))
    assert posted.get(INVOCATION_ID, "") == invocation_id
    assert MODE not in posted
    assert TYPE not in posted
    assert CAUSE not in posted


def test_an_invocation_id_is_echoed_for_its_own_invocation_alone(start: Start) -> None:
    runtime = start()

    assert runtime.invoke(Lambda_Runtime_Invocation_Id="first")[INVOCATION_ID] == "first"
    assert INVOCATION_ID not in runtime.invoke()
    assert runtime.fail(b"{", Lambda_Runtime_Invocation_Id="third")[INVOCATION_ID] == "third"
    assert INVOCATION_ID not in runtime.fail(b"{")


@pytest.mark.parametrize(
    ("output", "written", "body"),
    [
        ("auto", "", b"null"),
        ("auto", "plain ä", '"plain ä"'.encode()),
        ("auto", " [1, 2] ", b"[1, 2]"),
        ("text", '{"a": 1}', b'"{\\"a\\": 1}"'),
        ("text", "", b'""'),
        ("base64", "abc", b'"YWJj"'),
        ("json", "7", b"7"),
    ],
)
def test_a_reply_is_posted_by_the_rule_of_output(start: Start, output: str, written: str, body: bytes) -> None:
    assert start(script(f"printf %s '{written}'\n"), output=output).invoke().body == body


def test_a_response_of_6_mb_is_posted_whole(start: Start) -> None:
    runtime = start(script("head -c 6000000 /dev/zero | tr '\\0' a\n"), output="text")

    assert runtime.invoke().body == b'"' + b"a" * 6_000_000 + b'"'


def test_what_an_error_says(start: Start) -> None:
    runtime = start(script("echo because >&2; exit 3\n"))
    posted = runtime.fail(Lambda_Runtime_Invocation_Id="first")
    error = error_of(posted)
    cause = json.loads(posted[CAUSE])

    assert (error["errorType"], error["stackTrace"], error["requestId"]) == ("ExitError", [], "id-1")
    assert re.fullmatch(
        r"program ended with exit code 3 after [0-9.]+ m?s\. Its standard error ends with:\nbecause\n?",
        error["errorMessage"],
    )
    assert posted[TYPE] == "Function.ExitError"
    assert posted[INVOCATION_ID] == "first"
    assert MODE not in posted
    assert set(cause) == {"working_directory", "exceptions", "paths"}
    assert (cause["working_directory"], cause["paths"]) == (str(runtime.root), [])
    assert cause["exceptions"] == [{"message": error["errorMessage"], "type": "ExitError", "stack": []}]


NAMES = [
    ("BadInput", "Function.BadInput"),
    ("Bad", "Function.Bad"),
    ("badInput", "Function.ReportedError"),
    ("Bad_Input", "Function.ReportedError"),
    ("Bad2", "Function.ReportedError"),
    ("B", "Function.ReportedError"),
    ("B" * 128, "Function." + "B" * 128),
]


@pytest.mark.parametrize(("name", "sent"), NAMES)
def test_an_error_of_the_executable_s_own_bears_its_name_where_lambda_takes_it(
    start: Start, name: str, sent: str
) -> None:
    trace = ["line 1", "  ä\t\\", ""]
    report = json.dumps(
        {"errorType": name, "errorMessage": 'no "price"\nin ä', "stackTrace": trace}, ensure_ascii=False
    )
    runtime = start(script(f"cat <<'END'\n{report}\nEND\nexit 1\n"))
    posted = runtime.fail()
    error = error_of(posted)

    assert posted[TYPE] == sent
    assert (error["errorType"], error["errorMessage"], error["stackTrace"]) == (name, 'no "price"\nin ä', trace)
    assert json.loads(posted[CAUSE])["exceptions"][0]["message"] == 'no "price"\nin ä'
    assert json.loads(posted[CAUSE])["exceptions"][0]["type"] == name


@pytest.mark.parametrize("name", ["Runtime.Bad", "Function.Bad", "My.Error", "Sandbox.Timedout", "Runtime.bad"])
def test_a_name_with_a_dot_in_it_is_what_lambda_takes_all_the_same(start: Start, name: str) -> None:
    report = json.dumps({"errorType": name, "errorMessage": "no"})
    posted = start(script(f"cat <<'END'\n{report}\nEND\nexit 1\n")).fail()

    assert error_of(posted)["errorType"] == name


@pytest.mark.parametrize(("name", "sent"), [("BadInput", "Function.BadInput"), ("bad_input", "Function.ExitError")])
def test_an_exit_code_that_has_a_name_bears_it(start: Start, name: str, sent: str) -> None:
    posted = start(script("exit 65\n"), exit_codes=json.dumps({"65": name})).fail()

    assert error_of(posted)["errorType"] == name
    assert posted[TYPE] == sent


def test_the_error_s_cause_is_a_header_of_ascii_that_a_server_takes_however_long_the_message_is(start: Start) -> None:
    runtime = start(
        script("yes 'ä€😀\t\x7f\"' | head -c 40000 >&2; printf '\\001\\r\\n\\377' >&2; exit 1\n"),
        stderr_tail_bytes="32768",
    )
    posted = runtime.fail()
    error = error_of(posted)
    message = json.loads(posted[CAUSE])["exceptions"][0]["message"]

    assert posted[CAUSE].isascii()
    assert len(posted[CAUSE]) < 1024 * 1024
    assert len(error["errorMessage"]) > 8000
    assert message[:1000] == error["errorMessage"][:1000]


FAILURES = [
    ("kill -SEGV $$\n", {}, "SignalError"),
    ("echo '{'\n", {"output": "json"}, "OutputInvalid"),
    ("echo NaN\n", {"output": "json"}, "OutputInvalid"),
    (":\n", {"output": "json"}, "ReplyMissing"),
    ("printf '\\377'\n", {"output": "text"}, "OutputInvalid"),
    ("yes | head -c 2000\n", {"output": "text", "max_output_bytes": "1000"}, "OutputTooLarge"),
]


@pytest.mark.parametrize(("text", "settings", "name"), FAILURES)
def test_each_failure_is_posted_and_it_goes_on(start: Start, text: str, settings: dict[str, str], name: str) -> None:
    runtime = start(script(text), **settings)
    for number in range(2):
        posted = runtime.fail(b"{}", f"id-{number}")
        assert error_of(posted)["errorType"] == name
        assert posted[TYPE] == f"Function.{name}"
        assert json.loads(posted.body)["requestId"] == f"id-{number}"


def test_an_executable_that_is_too_slow_is_stopped_before_the_deadline_and_that_is_posted(start: Start) -> None:
    runtime = start(script(FOREVER))
    posted = runtime.fail(lasts=0.6)

    assert posted[TYPE] == "Function.DeadlineExceeded"
    assert error_of(posted)["errorType"] == "DeadlineExceeded"
    eventually(lambda: len(runtime.processes()) == 1)


def test_an_invocation_without_time_is_not_begun(start: Start) -> None:
    runtime = start(script("echo 1 >begun\n"))

    assert error_of(runtime.fail(lasts=-5))["errorType"] == "DeadlineExceeded"
    goes_on(runtime)
    assert not (runtime.root / "begun").exists()


@pytest.mark.parametrize("name", ["Lambda_Runtime_Client_Context", "Lambda_Runtime_Cognito_Identity"])
@pytest.mark.parametrize("value", ["{", "nonsense", '{"a": NaN} x'])
def test_a_client_context_or_an_identity_that_is_no_json_fails_its_invocation_alone(
    start: Start, name: str, value: str
) -> None:
    runtime = start()
    told: dict[str, Any] = {name: value}

    error_of(runtime.fail(**told, Lambda_Runtime_Invocation_Id="first"))
    assert runtime.invoke(b"1", "id-2").target.endswith("/id-2/response")


@pytest.mark.parametrize("name", ["Lambda_Runtime_Client_Context", "Lambda_Runtime_Cognito_Identity"])
@pytest.mark.parametrize("value", ["[]", "1", "null", '"a"', '{"client": 1, "custom": 2, "env": 3}', "", "{}"])
def test_a_client_context_or_an_identity_that_is_another_json_ends_nothing(start: Start, name: str, value: str) -> None:
    runtime = start()
    told: dict[str, Any] = {name: value}
    runtime.invoke(**told)
    runtime.invoke(b"1", "id-2")


# The answers to what it posts.


@pytest.mark.parametrize("kind", ["response", "error"])
@pytest.mark.parametrize(
    "accepted",
    [
        answer(200, reason="OK"),
        answer(201, body=b"x" * 100_000),
        head(202, ("Transfer-Encoding", "chunked")) + chunked(b'{"status":"OK"}', 3),
        head(204, reason="No Content"),
        head(100) + answer(299),
    ],
    ids=["200", "201", "chunks", "204", "100"],
)
def test_any_success_will_do(start: Start, accepted: bytes, kind: str) -> None:
    runtime = start()
    event = b"1" if kind == "response" else b"{"
    for _ in range(2):
        goes_on(runtime).connection.send(invocation(event))
        posted = runtime.api.take(f"{RUNTIME}/invocation/id-1/{kind}")
        posted.connection.send_slowly(accepted[:20], accepted[20:])
    goes_on(runtime)

    assert len(runtime.api.connections) == 2
    assert runtime.lines() == []


REFUSALS = [
    (400, b'{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}'),
    (403, b'{"errorType":"InvalidStateTransition","errorMessage":"Transition from a to b is not allowed"}'),
    (410, b'{"errorType":"InvokeTimeout","errorMessage":"Invoke timeout"}'),
    (413, b'{"errorType":"RequestEntityTooLarge","errorMessage":"Exceeded maximum allowed payload size"}'),
    (404, b""),
    (499, b"\xff\r\nno\nJSON\x00\n"),
]


@pytest.mark.parametrize("kind", ["response", "error"])
@pytest.mark.parametrize(("status", "body"), REFUSALS)
@pytest.mark.parametrize("closes", [False, True])
def test_a_post_that_is_refused_is_said_and_it_goes_on(
    start: Start, kind: str, status: int, body: bytes, closes: bool
) -> None:
    runtime = start()
    first = goes_on(runtime)
    first.connection.send(invocation(b"1" if kind == "response" else b"{"))
    posted = runtime.api.take(f"{RUNTIME}/invocation/id-1/{kind}")
    posted.connection.send(answer(status, *[("Connection", "close")] * closes, body=body))
    if closes:
        posted.connection.finish()
    second = goes_on(runtime)

    assert str(status) in says_once(runtime)
    assert (second.connection is not first.connection) == closes
    second.connection.send(invocation(b"2", "id-2"))
    assert runtime.api.take().target == f"{RUNTIME}/invocation/id-2/response"


@pytest.mark.parametrize("kind", ["response", "error"])
@pytest.mark.parametrize(
    "said",
    [
        answer(500, body=b'{"errorType":"ServiceError","errorMessage":"Container error"}'),
        answer(503),
        answer(302, ("Location", "/")),
        answer(202)[:-3],
        head(202, ("Content-Length", "10")) + b"short",
        head(202, ("Transfer-Encoding", "chunked")) + b"5\r\nab",
        b"garbage\r\n\r\n",
        b"",
    ],
)
def test_a_post_that_fails_otherwise_is_the_end(start: Start, kind: str, said: bytes) -> None:
    runtime = start()
    goes_on(runtime).connection.send(invocation(b"1" if kind == "response" else b"{"))
    posted = runtime.api.take(f"{RUNTIME}/invocation/id-1/{kind}")
    posted.connection.send(said)
    if not said.startswith((b"HTTP/1.1 5", b"HTTP/1.1 3")):
        posted.connection.finish()

    ends_with_a_line(runtime)
    assert runtime.api.lines[-1] == posted.line
    assert sum(line.startswith("POST " + RUNTIME) for line in runtime.api.lines) == 1


def test_a_post_whose_connection_is_reset_is_the_end(start: Start) -> None:
    runtime = start()
    goes_on(runtime).connection.send(invocation(b"1"))
    runtime.api.take(RESPONSE).connection.reset()

    ends_with_a_line(runtime)


def test_a_response_that_is_refused_before_its_end_is_refused(start: Start) -> None:
    """Lambda says 413 as soon as it knows the length."""
    runtime = start(script("head -c 6000000 /dev/zero | tr '\\0' a\n"), output="text")
    goes_on(runtime).connection.send(invocation())
    posted = runtime.api.begin(RESPONSE)
    posted.connection.send(answer(413, ("Connection", "close")))
    posted.connection.finish()
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    assert "413" in says_once(runtime)


# The ends of connections.


def test_a_connection_that_closes_after_an_answer_is_not_used_again(start: Start) -> None:
    runtime = start()
    first = goes_on(runtime)
    first.connection.send(answer(200, *facts(), ("Connection", "close"), body=b"1"))
    posted = runtime.api.take(RESPONSE)
    runtime.api.until(lambda: first.connection.ended, "the end of the first connection")
    posted.connection.send(answer(202, ("Connection", "close")))
    second = goes_on(runtime)
    runtime.api.until(lambda: posted.connection.ended, "the end of the second")

    assert len({request.connection for request in (first, posted, second)}) == 3
    assert runtime.lines() == []


def test_a_connection_that_was_closed_without_a_word_after_a_post_is_replaced(start: Start) -> None:
    runtime = start()
    goes_on(runtime).connection.send(invocation())
    posted = runtime.api.take(RESPONSE)
    posted.connection.send(ACCEPTED)
    posted.connection.close()
    posted.connection.await_end()
    second = goes_on(runtime)
    if len(runtime.api.requests) == 4 or second.connection is posted.connection:  # it had asked before it knew
        second = next(request for request in (second, goes_on(runtime)) if request.connection is not posted.connection)

    assert second.connection is not posted.connection
    second.connection.send(invocation(b"2", "id-2"))
    assert runtime.api.take().target == f"{RUNTIME}/invocation/id-2/response"
    assert runtime.lines() == []


@pytest.mark.parametrize("how", ["close", "finish", "reset"])
@pytest.mark.parametrize("before", [0, 2])
def test_a_next_that_gets_no_byte_is_asked_again(start: Start, how: str, before: int) -> None:
    runtime = start()
    for _ in range(before):
        runtime.invoke()
    first = goes_on(runtime)
    getattr(first.connection, how)()
    second = goes_on(runtime)

    assert second.connection is not first.connection
    second.connection.send(invocation(b"2", "id-2"))
    posted = runtime.api.take()
    assert posted.target == f"{RUNTIME}/invocation/id-2/response"
    assert posted.connection is second.connection
    assert runtime.api.lines.count(f"GET {NEXT}") == before + 2


def test_a_next_is_asked_again_once(start: Start) -> None:
    runtime = start()
    goes_on(runtime).connection.close()
    goes_on(runtime).connection.close()

    ends_with_a_line(runtime)
    assert runtime.api.lines.count(f"GET {NEXT}") == 2


def test_a_server_that_is_gone_is_the_end(start: Start) -> None:
    runtime = start()
    first = goes_on(runtime)
    runtime.api.refuse()
    first.connection.close()

    assert runtime.api.address in ends_with_a_line(runtime)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "", "nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":"])
def test_an_address_at_which_nobody_is_is_the_end(start: Start, address: str) -> None:
    runtime = start(variables={"AWS_LAMBDA_RUNTIME_API": address})

    assert runtime.ends() == 1
    assert 1 <= len(runtime.lines()) <= 2  # the registration may fail, too


def test_a_connection_that_was_closed_while_the_executable_ran_gets_no_second_post(
    start: Start, tmp_path: Path
) -> None:
    runtime = holding(start, tmp_path, "read -r line <go; echo 1\n")
    first = goes_on(runtime)
    first.connection.send(invocation())
    first.connection.close()
    let_go(runtime)
    runtime.api.until(lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "a post, or the end")

    if runtime.exit_code is not None:
        ends_with_a_line(runtime)
        assert runtime.api.nothing_waits()
    else:
        posted = runtime.api.take(RESPONSE)
        assert posted.connection is not first.connection
        posted.connection.send(ACCEPTED)
        goes_on(runtime)


# What nobody asked for.

FORGED = invocation(b'"forged"', "forged")


def test_what_comes_behind_an_answer_is_not_the_next_one(start: Start) -> None:
    runtime = start(output="json")
    first = goes_on(runtime)
    first.connection.send(invocation(b'"true"') + answer(202) + FORGED)
    posted = runtime.api.take(RESPONSE)

    assert json.loads(posted.body)["event"] == "true"
    assert posted.connection is not first.connection
    posted.connection.send(ACCEPTED + FORGED)
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    second.connection.send(invocation(b'"true"', "id-2"))
    again = runtime.api.take()
    assert again.target == f"{RUNTIME}/invocation/id-2/response"
    assert json.loads(again.body)["event"] == "true"


@pytest.mark.parametrize(
    "stray", [b"\r\n", b"x", FORGED, answer(202), answer(500)], ids=["an empty line", "a byte", "200", "202", "500"]
)
@pytest.mark.parametrize("output", ["json", "stream"])
def test_what_comes_while_the_executable_runs_is_not_the_answer_to_its_post(
    start: Start, tmp_path: Path, stray: bytes, output: str
) -> None:
    runtime = holding(start, tmp_path, "read -r line <go; echo 1\n", output=output)
    first = goes_on(runtime)
    first.connection.send(invocation())
    eventually(lambda: len(runtime.processes()) == 2)
    first.connection.send(stray)
    let_go(runtime)
    posted = runtime.api.take(RESPONSE)

    assert posted.connection is not first.connection
    posted.connection.send(ACCEPTED)
    assert goes_on(runtime).connection is posted.connection


def test_what_comes_behind_a_body_in_chunks_is_not_the_next_answer(start: Start) -> None:
    runtime = start(output="json")
    first = goes_on(runtime)
    first.connection.send(head(200, *facts(), ("Transfer-Encoding", "chunked")) + chunked(b"1", 1) + FORGED)
    posted = runtime.api.take(RESPONSE)

    assert json.loads(posted.body)["event"] == 1
    assert posted.connection is not first.connection


# Answers to `next` that are none.


@pytest.mark.parametrize(
    "said",
    [
        answer(500, *facts(), body=b"1"),
        answer(403, *facts(), body=b'{"errorType":"InvalidStateTransition","errorMessage":"no"}'),
        head(204, *facts()),
        answer(202, *facts(), body=b"1"),
        answer(301, ("Location", NEXT)),
        answer(404, ("Content-Type", "text/plain"), body=b"404 page not found"),
    ],
    ids=lambda said: said[9:12].decode(),
)
def test_a_next_that_is_refused_is_the_end(start: Start, said: bytes) -> None:
    runtime = start()
    goes_on(runtime).connection.send(said)

    assert said[9:12].decode() in ends_with_a_line(runtime)
    assert runtime.api.lines[-1] == f"GET {NEXT}"


def without(name: str) -> bytes:
    """An answer that lacks this header."""
    return answer(200, *(fact for fact in facts() if fact[0] != name), body=b"1")


def with_deadline(value: str) -> bytes:
    """An answer whose deadline is that."""
    return answer(200, facts()[0], ("Lambda-Runtime-Deadline-Ms", value), body=b"1")


NO_INVOCATIONS = {
    "no id": without("Lambda-Runtime-Aws-Request-Id"),
    "empty id": invocation(b"1", ""),
    "no deadline": without("Lambda-Runtime-Deadline-Ms"),
    "a word for a deadline": with_deadline("soon"),
    "an empty deadline": with_deadline(""),
    "NaN for a deadline": with_deadline("nan"),
    "infinite deadline": with_deadline("inf"),
    "two deadlines": with_deadline("1, 2"),
}


@pytest.mark.parametrize("said", NO_INVOCATIONS.values(), ids=NO_INVOCATIONS.keys())
def test_an_answer_that_names_no_invocation_is_the_end(start: Start, said: bytes) -> None:
    runtime = start()
    goes_on(runtime).connection.send(said)

    ends_with_a_line(runtime)
    assert not [line for line in runtime.api.lines if line.startswith("POST " + RUNTIME)]


@pytest.mark.parametrize("request_id", ["a b", "a/b", "a?b", "ä", "a\x00b", "a\tb", "../../init/error", "a%2fb", "#"])
def test_a_request_id_that_is_no_part_of_a_path_makes_no_other_request(start: Start, request_id: str) -> None:
    runtime = start()
    goes_on(runtime).connection.send(invocation(b"1", request_id))
    runtime.api.until(lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "a post, or the end")

    if runtime.exit_code is not None:
        ends_with_a_line(runtime)
    else:
        assert runtime.api.take().target.endswith("/response")


@pytest.mark.parametrize("value", ["99999999999999999999999999", "9" * 4000, "9" * 6000, "1e300", "-1"])
def test_an_absurd_deadline_hangs_and_breaks_nothing(start: Start, value: str) -> None:
    runtime = start()
    goes_on(runtime).connection.send(with_deadline(value))
    runtime.api.until(lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "a post, or the end")

    if runtime.exit_code is not None:
        ends_with_a_line(runtime)


ODD = [
    ("Lambda-Runtime-Invocation-Id", b"a\rX: 1"),
    ("Lambda-Runtime-Invocation-Id", b"a\0b"),
    ("Lambda-Runtime-Trace-Id", b"Root=1\0"),
    ("Lambda-Runtime-Trace-Id", b"Root=\xff"),
    ("Lambda-Runtime-Invoked-Function-Arn", b"arn\xff\0\x7f"),
    ("Lambda-Runtime-Aws-Tenant-Id", "ä".encode()),
    ("Lambda-Runtime-Client-Context", b'{"custom": {"a": "\xff"}}'),
    ("Lambda-Runtime-Client-Context", b'{"custom": NaN}'),
    ("Lambda-Runtime-Client-Context", b'{"custom": [1e999]}'),
    ("Lambda-Runtime-Client-Context", b'{"custom": "\\ud800"}'),
    ("Lambda-Runtime-Client-Context", b'{"custom": %s}' % (b"9" * 5000)),
    ("Lambda-Runtime-Client-Context", b'{"custom": %b}' % (b"[" * 900 + b"]" * 900)),
    ("Lambda-Runtime-Client-Context", b"[" * 100_000),
    ("Lambda-Runtime-Cognito-Identity", b'{"cognitoIdentityId": [NaN]}'),
]


@pytest.mark.parametrize(("name", "value"), ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_whatever_a_header_holds_what_follows_is_plain(start: Start, name: str, value: bytes, mode: str) -> None:
    """The invocation may fail, or the runtime end with a line."""
    runtime = start(mode=mode, output="base64")
    sent = invocation(b"1").replace(b"\r\n", b"\r\n%b: %b\r\n" % (name.encode(), value), 1)
    goes_on(runtime).connection.send(sent)
    runtime.api.until(lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "a post, or the end")

    if runtime.exit_code is not None:
        ends_with_a_line(runtime)
    else:
        posted = runtime.api.take()
        assert posted.target in (RESPONSE, ERROR)
        if posted.target == ERROR:
            assert error_of(posted)["errorType"] == "EventInvalid"
        posted.connection.send(ACCEPTED)
        assert runtime.invoke(b"2", "id-2").target.endswith("/id-2/response")


OF_LENGTH = "Content-Length"
BROKEN = {
    "no HTTP": b"garbage",
    "no HTTP, with an end": b"garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"HTTP/2 200\r\n" + invocation(b"1").partition(b"\r\n")[2],
    "HTTP/9.9": invocation(b"1").replace(b"HTTP/1.1", b"HTTP/9.9"),
    "no status": invocation(b"1").replace(b" 200 ", b" "),
    "a status that is no number": invocation(b"1").replace(b" 200 ", b" 2x0 "),
    "a status that is too long": invocation(b"1").replace(b" 200 ", b" 2000 "),
    "an empty line before": b"\r\n" + invocation(b"1")[:-20],
    "zeros": bytes(1000),
    "a byte": b"H",
    "half a head": invocation(b"1")[:100],
    "a head without its last byte": head(200, *facts())[:-1],
    "a head and no body": head(200, *facts(), (OF_LENGTH, "1")),
    "a body that is cut": head(200, *facts(), (OF_LENGTH, "10")) + b"1",
    "only what comes before an answer": head(100),
    "a bare LF": head(200, *facts(), (OF_LENGTH, "1")).replace(b"Said\r\n", b"Said\n") + b"1",
    "a header without a colon": head(200, *facts(), (OF_LENGTH, "1")).replace(b"Said\r\n", b"Said\r\nnonsense\r\n") + b"1",
    "a header without a name": head(200, *facts(), ("", "a"), (OF_LENGTH, "1")) + b"1",
    "a header name with a blank": head(200, *facts(), ("Content Length", "2"), (OF_LENGTH, "1")) + b"1",
    "a header name of other letters": head(200, *facts(), ("Content-L\N{LATIN SMALL LETTER E WITH ACUTE}ngth", "2"), (OF_LENGTH, "1")) + b"1",
    "a bare CR in a value": head(200, *facts(), ("X", "a\rContent-Length: 2"), (OF_LENGTH, "1")) + b"1",
    "a NUL in a value": head(200, *facts(), ("X", "a\0b"), (OF_LENGTH, "1")) + b"1",
    "a negative length": head(200, *facts(), (OF_LENGTH, "-1")) + b"1",
    "a signed length": head(200, *facts(), (OF_LENGTH, "+1")) + b"1",
    "a length with an underscore": head(200, *facts(), (OF_LENGTH, "1_0")) + b"1234567890",
    "a length of Arabic digits": head(200, *facts(), (OF_LENGTH, "\N{ARABIC-INDIC DIGIT ONE}")) + b"1",
    "a hexadecimal length": head(200, *facts(), (OF_LENGTH, "0x1")) + b"1",
    "a length and a word": head(200, *facts(), (OF_LENGTH, "1 2")) + b"1",
    "no length where one is named": head(200, *facts(), (OF_LENGTH, "")) + b"1",
    "two lengths": head(200, *facts(), (OF_LENGTH, "1"), (OF_LENGTH, "2")) + b"12",
    "two lengths in one": head(200, *facts(), (OF_LENGTH, "1, 2")) + b"12",
    "a length of 100 GB": head(200, *facts(), (OF_LENGTH, "107374182400")) + b"1",
    "a length of 30 digits": head(200, *facts(), (OF_LENGTH, "9" * 30)) + b"1",
    "a length of 5000 digits": head(200, *facts(), (OF_LENGTH, "9" * 5000)) + b"1",
    "a coding that nobody knows": head(200, *facts(), ("Transfer-Encoding", "gzip")) + b"1",
    "two codings": head(200, *facts(), ("Transfer-Encoding", "gzip, chunked")) + chunked(b"1"),
    "chunks that are none": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1",
    "an empty size": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"\r\n1\r\n0\r\n\r\n",
    "a negative chunk": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"-1\r\n1\r\n0\r\n\r\n",
    "a size with 0x": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"0x1\r\n1\r\n0\r\n\r\n",
    "a size that is no number": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"g\r\n1\r\n0\r\n\r\n",
    "a chunk of 2 ** 64 bytes": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1" + b"0" * 16 + b"\r\n1\r\n",
    "a chunk of 2 ** 44 bytes": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1" + b"0" * 11 + b"\r\n1\r\n",
    "a chunk that is longer than it says": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1\r\n12\r\n0\r\n\r\n",
    "a chunk that is cut": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"5\r\n1",
    "a chunk without its end": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1\r\n1",
    "no last chunk": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1\r\n1\r\n",
    "no end of the trailers": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1\r\n1\r\n0\r\n",
    "half a trailer": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1\r\n1\r\n0\r\nA: b",
    "an endless size": head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"0" * 3_000_000,
    "a head of 3 MB": head(200, *facts(), ("X", "x" * 3_000_000), (OF_LENGTH, "1")) + b"1",
    "many headers of 3 MB": head(200, *facts(), *[("X", "x" * 990)] * 3000, (OF_LENGTH, "1")) + b"1",
    "a status line of 3 MB": head(200, *facts(), (OF_LENGTH, "1"), reason="x" * 3_000_000) + b"1",
}  # fmt: skip


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_none_is_the_end(start: Start, said: bytes) -> None:
    runtime = start()
    first = goes_on(runtime)
    first.connection.send(said)
    first.connection.finish()

    assert len(ends_with_a_line(runtime)) < 1000
    assert runtime.api.lines[-1] == f"GET {NEXT}"
    assert runtime.api.lines.count(f"GET {NEXT}") == 1


@pytest.mark.parametrize(
    ("beginning", "again"),
    [
        (b"HTTP/1.1 200 ", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 10_000),
        (head(200, *facts(), ("Transfer-Encoding", "chunked")), b"0" * 65_536),
        (head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"1;", b"x" * 65_536),
        (head(200, *facts(), ("Transfer-Encoding", "chunked")) + b"0\r\n", b"X: 1\r\n" * 10_000),
        (head(200, *facts(), ("Transfer-Encoding", "chunked")), chunked(b"x" * 65_536)[:-5]),
        (head(200, *facts()), b"x" * 65_536),
    ],
    ids=["status line", "header", "headers", "size", "extension", "trailers", "chunks", "body"],
)
def test_what_is_without_end_is_refused_before_it_is_large(start: Start, beginning: bytes, again: bytes) -> None:
    """The server neither stops nor closes."""
    runtime = start()
    first = goes_on(runtime)
    first.connection.send(beginning)
    sent = 0
    while not first.connection.ended and sent < 100_000_000:
        first.connection.send(again)
        sent += len(again)

    assert sent < 100_000_000
    ends_with_a_line(runtime)


# What keeps it from beginning.


def init_error_of(runtime: Runtime) -> tuple[Request, dict[str, Any]]:
    """What is posted by a runtime that can't begin, and then ends."""
    posted = runtime.api.take(INIT_ERROR)
    value = error_of(posted)
    posted.connection.send(ACCEPTED)

    assert runtime.ends() == 1
    assert f"GET {NEXT}" not in runtime.api.lines
    assert runtime.api.nothing_waits()
    return posted, value


INIT_ERRORS: list[tuple[dict[str, Any], str, str]] = [
    ({"mode": "nonsense"}, "Function.SettingsError", "SHIM_MODE"),
    ({"margin_ms": "x", "args": "["}, "Function.SettingsError", "2 mistakes"),
    ({"program": "missing"}, "Function.ExecutableNotFound", "missing"),
    ({"program": ""}, "Function.SettingsError", "SHIM_EXECUTABLE"),
    ({"program": "/"}, "Function.ExecutableNotRunnable", "folder"),
    ({"mode": "warm", "output": "stream"}, "Function.SettingsError", "stream"),
    ({"mode": "warm", "ready": "true", "ready_within_ms": "100"}, "Function.NotReady", "READY_WITHIN_MS"),
]


@pytest.mark.parametrize(("rest", "sent", "part"), INIT_ERRORS)
def test_what_can_t_begin_is_posted_as_an_init_error(start: Start, rest: dict[str, Any], sent: str, part: str) -> None:
    runtime = start(**rest)
    posted, error = init_error_of(runtime)

    assert posted[TYPE] == sent
    assert f"Function.{error['errorType']}" == sent
    assert part in error["errorMessage"]


HANDLERS = [
    ("app.number", "number = 3\n"),
    ("app.missing", ""),
    ("missing.handler", ""),
    ("app.handler", "raise ValueError('no')\n"),
    ("app.handler", "this is no Python\n"),
    ("nonsense", ""),
]


@pytest.mark.parametrize(("handler", "module"), HANDLERS)
def test_a_handler_that_is_no_shim_is_posted_as_an_init_error(
    start: Start, tmp_path: Path, handler: str, module: str
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "app.py").write_text(module)

    init_error_of(start(handler=handler))


@pytest.mark.parametrize("handler", ["shim.handler", "app.handler"])
def test_a_handler_may_be_named(start: Start, tmp_path: Path, handler: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "app.py").write_text("from shim import Shim\nhandler = Shim('/bin/cat', output='json')\n")

    assert json.loads(start(handler=handler).invoke(b"[1]").body)["event"] == [1]


@pytest.mark.parametrize("said", [answer(403, body=b"{}"), answer(500), b"garbage\r\n\r\n", answer(202)[:10], b""])
def test_whatever_is_answered_to_an_init_error_it_ends(start: Start, said: bytes) -> None:
    runtime = start(mode="nonsense")
    posted = runtime.api.take(INIT_ERROR)
    posted.connection.send(said)
    posted.connection.finish()

    assert runtime.ends() == 1
    assert runtime.api.lines.count(f"POST {INIT_ERROR}") == 1
    assert f"GET {NEXT}" not in runtime.api.lines


# What it is told to end.


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        ("/bin/cat", {}),
        ("/bin/cat", {"mode": "warm"}),
        ("/bin/cat", {"spare": "2"}),
        (script("trap '' TERM\n" + FOREVER), {"mode": "warm"}),
        (script("setsid sleep 1000 & cat\n"), {"mode": "warm"}),
    ],
    ids=["oneshot", "warm", "spares", "stubborn", "with a descendant"],
)
def test_sigterm_ends_it_and_all_that_it_started_at_once(start: Start, program: str, settings: dict[str, str]) -> None:
    runtime = start(program, **settings)
    if settings.get("mode") != "warm":
        runtime.invoke()
    goes_on(runtime)
    if settings:
        eventually(lambda: len(runtime.processes()) >= (3 if "spare" in settings or "setsid" in program else 2))
    asked = time.monotonic()
    runtime.terminate()
    exit_code = runtime.ends()
    took = time.monotonic() - asked

    assert exit_code == 0
    eventually(lambda: not runtime.processes(), within=2)
    assert took < 2  # 0.3, on a machine that has nothing else to do
    assert runtime.api.lines[-1] == f"GET {NEXT}"
    assert "Traceback" not in "".join(runtime.lines())


@pytest.mark.parametrize("output", ["auto", "stream"])
@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_sigterm_in_the_middle_of_an_invocation_leaves_nothing(
    start: Start, tmp_path: Path, mode: str, output: str
) -> None:
    if (mode, output) == ("warm", "stream"):
        mode = "oneshot"
    text = "read -r event; printf a; sleep 1000 & sleep 1000\n"
    runtime = start(script(text), mode=mode, output="json" if mode == "warm" else output)
    goes_on(runtime).connection.send(invocation())
    eventually(lambda: len(runtime.processes()) == 4)
    runtime.terminate()
    runtime.ends(whatever_it_sends=True)

    eventually(lambda: not runtime.processes(), within=2)
    assert "Traceback" not in "".join(runtime.lines())


# Several at once.

AT_ONCE = {"AWS_LAMBDA_MAX_CONCURRENCY": "3"}


def three_of(runtime: Runtime) -> list[Request]:
    """The calls for the next invocation that three loops make, each over a connection of its own."""
    asked = [goes_on(runtime) for _ in range(3)]

    assert len({request.connection for request in asked}) == 3
    return asked


@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_as_many_invocations_as_lambda_says_are_served_at_once(start: Start, mode: str) -> None:
    runtime = start(output="json", variables=AT_ONCE, mode=mode)
    for turn in range(3):
        asked = three_of(runtime)
        for number, request in enumerate(asked):
            told: dict[str, Any] = {"Lambda_Runtime_Invocation_Id": f"{turn}-{number}"}
            request.connection.send(invocation(b"%d" % number, f"id-{number}", **told))
        posted = {request.target: request for request in [runtime.api.take() for _ in range(3)]}
        for number, request in enumerate(asked):
            response = posted[f"{RUNTIME}/invocation/id-{number}/response"]
            line = json.loads(response.body)
            assert response.connection is request.connection
            assert response[INVOCATION_ID] == f"{turn}-{number}"
            assert (line["event"], line["context"]["aws_request_id"]) == (number, f"id-{number}")
            response.connection.send(ACCEPTED)

    three_of(runtime)
    assert len(runtime.api.of_extension) == 2
    assert runtime.lines() == []


@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_one_that_can_t_go_on_is_the_end_of_all(start: Start, mode: str) -> None:
    runtime = start(script("read -r line; " + FOREVER), variables=AT_ONCE, mode=mode)
    asked = three_of(runtime)
    for request in asked[:2]:
        request.connection.send(invocation())
    eventually(lambda: len(runtime.processes()) >= 3)
    asked[2].connection.send(answer(500))

    assert runtime.ends(whatever_it_sends=True) == 1
    eventually(lambda: not runtime.processes())
    assert len([line for line in runtime.lines() if "500" in line]) == 1


@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_sigterm_ends_all_that_are_at_once(start: Start, mode: str) -> None:
    runtime = start(script("read -r line; " + FOREVER), variables=AT_ONCE, mode=mode)
    asked = three_of(runtime)
    for request in asked[:2]:
        request.connection.send(invocation())
    eventually(lambda: len(runtime.processes()) >= 3)
    runtime.terminate()

    assert runtime.ends(whatever_it_sends=True) == 0
    eventually(lambda: not runtime.processes())


@pytest.mark.parametrize("after", [number / 8000 for number in range(30)])  # seconds: around the start of the children
def test_sigterm_finds_the_child_too_that_another_thread_is_just_starting(start: Start, after: float) -> None:
    runtime = start(script("read -r line; " + FOREVER), variables=AT_ONCE)
    asked = three_of(runtime)
    for request in asked[:2]:
        request.connection.send(invocation())
    time.sleep(after)
    runtime.terminate()

    assert runtime.ends(whatever_it_sends=True) == 0
    eventually(lambda: not runtime.processes())


# A stream.


def stream_of(post: Request, content_type: str = "application/octet-stream") -> Request:
    """A response that is streamed, whose headers must be what Lambda wants."""
    assert post.target == RESPONSE
    assert post["Content-Type"] == content_type
    assert post[MODE] == "streaming"
    assert post["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in post
    assert [name.strip() for name in post["Trailer"].split(",")] == [TYPE, "Lambda-Runtime-Function-Error-Body"]
    assert TYPE not in post
    return post


def trailers_of(post: Request) -> tuple[str, dict[str, Any]]:
    """The error with which a stream has ended."""
    trailers = dict(post.trailers)
    value: dict[str, Any] = json.loads(base64.b64decode(trailers["Lambda-Runtime-Function-Error-Body"], validate=True))

    assert set(trailers) == {TYPE, "Lambda-Runtime-Function-Error-Body"}
    assert ERROR_TYPE.fullmatch(trailers[TYPE])
    assert set(value) - {"requestId"} == {"errorMessage", "errorType", "stackTrace"}
    return trailers[TYPE], value


def streaming(start: Start, tmp_path: Path, text: str, **rest: Any) -> tuple[Runtime, Request]:
    """A stream of which the first byte has come."""
    runtime = holding(start, tmp_path, text, output="stream", **rest)
    goes_on(runtime).connection.send(invocation(Lambda_Runtime_Invocation_Id="first"))
    posted = stream_of(runtime.api.begin())
    runtime.api.until(lambda: posted.body, "the first byte")
    return runtime, posted


def test_a_stream_begins_with_the_first_byte_and_ends_with_the_executable(start: Start, tmp_path: Path) -> None:
    runtime, posted = streaming(start, tmp_path, "printf a; read -r line <go; printf bc; read -r line <on\n")

    assert posted[INVOCATION_ID] == "first"
    assert posted.body == b"a"
    let_go(runtime)
    runtime.api.until(lambda: posted.body == b"abc", "the rest")
    assert not posted.whole
    let_go(runtime, "on")
    runtime.api.until(lambda: posted.whole, "the end")

    assert posted.trailers == []
    posted.connection.send(ACCEPTED)
    assert goes_on(runtime).connection is posted.connection
    assert runtime.lines() == []


def test_a_stream_is_the_executable_s_bytes(start: Start) -> None:
    runtime = start(
        script("cat; head -c 3000000 /dev/zero | tr '\\0' '\\r'; printf '\\n0\\r\\n\\r\\n'\n"), output="stream"
    )
    for number in range(2):
        posted = stream_of(runtime.invoke(b"%d" % number))
        assert posted.body.startswith(b'{"event":%d,' % number)
        assert posted.body.endswith(b"\r" * 3_000_000 + b"\n0\r\n\r\n")
        assert posted.trailers == []
        assert INVOCATION_ID not in posted


@pytest.mark.parametrize("text", ["printf a\n", ":\n", "head -c 3000000 /dev/zero\n"])
def test_a_stream_goes_over_a_new_connection_where_the_old_one_closes(start: Start, text: str) -> None:
    runtime = start(script(text), output="stream")
    first = goes_on(runtime)
    first.connection.send(answer(200, *facts(), ("Connection", "close"), body=b"1"))
    first.connection.finish()
    posted = stream_of(runtime.api.take())

    assert posted.connection is not first.connection
    assert len(posted.body) == {"p": 1, ":": 0, "h": 3_000_000}[text[0]]
    posted.connection.send(answer(202, ("Connection", "close")))
    assert goes_on(runtime).connection is not posted.connection
    assert runtime.lines() == []


def test_a_stream_without_a_byte_is_a_stream(start: Start) -> None:
    runtime = start("/bin/true", output="stream")
    posted = stream_of(runtime.invoke())

    assert (posted.pieces, posted.trailers) == ([], [])
    assert stream_of(runtime.invoke()).whole


@pytest.mark.parametrize(("end", "sent"), [("exit 3", "Function.ExitError"), ("kill -KILL $$", "Function.SignalError")])
def test_a_stream_that_fails_ends_with_its_error(start: Start, tmp_path: Path, end: str, sent: str) -> None:
    runtime, posted = streaming(start, tmp_path, f"printf a; read -r line <go; echo because >&2; {end}\n")
    let_go(runtime)
    runtime.api.until(lambda: posted.whole, "the end")
    error_type, error = trailers_of(posted)

    assert posted.body == b"a"
    assert error_type == sent
    assert f"Function.{error['errorType']}" == sent
    assert "because" in error["errorMessage"]
    assert error["stackTrace"] == []
    posted.connection.send(ACCEPTED)
    assert goes_on(runtime).connection is posted.connection


def test_a_stream_that_lasts_too_long_ends_with_that(start: Start) -> None:
    runtime = start(script("printf a; " + FOREVER), output="stream")
    posted = stream_of(runtime.invoke(lasts=0.6))

    assert trailers_of(posted)[0] == "Function.DeadlineExceeded"
    eventually(lambda: len(runtime.processes()) == 1)


def test_a_stream_that_fails_before_its_first_byte_is_an_error(start: Start) -> None:
    runtime = start(script("exit 3\n"), output="stream")
    posted = runtime.fail(Lambda_Runtime_Invocation_Id="first")

    assert error_of(posted)["errorType"] == "ExitError"
    assert "transfer-encoding" not in posted
    assert MODE not in posted
    assert posted[INVOCATION_ID] == "first"
    assert error_of(runtime.fail(b"{"))["errorType"] == "EventInvalid"
    assert RESPONSE not in [request.target for request in runtime.api.requests]


def test_an_executable_that_streams_nothing_until_the_deadline_is_an_error(start: Start) -> None:
    runtime = start(script(FOREVER), output="stream")

    assert error_of(runtime.fail(lasts=0.6))["errorType"] == "DeadlineExceeded"
    assert RESPONSE not in [request.target for request in runtime.api.requests]


@pytest.mark.parametrize("text", ["printf a; " + FOREVER, "exec yes\n"], ids=["slow", "fast"])
@pytest.mark.parametrize("status", [400, 403, 410, 413])
def test_a_stream_that_is_refused_in_its_middle_is_stopped_and_it_goes_on(
    start: Start, tmp_path: Path, text: str, status: int
) -> None:
    runtime, posted = streaming(start, tmp_path, text)
    posted.connection.send(answer(status, ("Connection", "close"), body=b'{"errorType":"a","errorMessage":"b"}'))
    posted.connection.finish()
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    eventually(lambda: len(runtime.processes()) == 1)
    assert str(status) in says_once(runtime)
    assert sum(line.startswith("POST " + RUNTIME) for line in runtime.api.lines) == 1


def test_a_stream_that_is_refused_without_a_word_on_the_connection_asks_over_a_new_one(
    start: Start, tmp_path: Path
) -> None:
    runtime, posted = streaming(start, tmp_path, "printf a; " + FOREVER)
    posted.connection.send(answer(413))
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    assert "413" in says_once(runtime)


def test_a_stream_that_is_accepted_in_its_middle_is_stopped_too(start: Start, tmp_path: Path) -> None:
    """No more of it would be read."""
    runtime, posted = streaming(start, tmp_path, "printf a; " + FOREVER)
    posted.connection.send(answer(202, ("Connection", "close")))
    posted.connection.finish()
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    eventually(lambda: len(runtime.processes()) == 1)
    assert "None" not in says_once(runtime)


def test_a_stream_that_is_refused_at_its_end_is_said_and_it_goes_on(start: Start) -> None:
    runtime = start(output="stream")
    goes_on(runtime).connection.send(invocation())
    posted = stream_of(runtime.api.take())
    posted.connection.send(answer(413))

    assert goes_on(runtime).connection is posted.connection
    assert "413" in says_once(runtime)


@pytest.mark.parametrize("text", ["printf a; " + FOREVER, "exec yes\n"], ids=["slow", "fast"])
@pytest.mark.parametrize("how", ["500", "garbage", "close", "finish", "reset"])
def test_a_stream_that_is_broken_off_by_the_server_is_the_end(
    start: Start, tmp_path: Path, text: str, how: str
) -> None:
    runtime, posted = streaming(start, tmp_path, text)
    if how == "500":
        posted.connection.send(answer(500, ("Connection", "close")))
        posted.connection.finish()
    elif how == "garbage":
        posted.connection.send(b"garbage\r\n\r\n")
        posted.connection.finish()
    else:
        getattr(posted.connection, how)()

    ends_with_a_line(runtime)
    eventually(lambda: not runtime.processes())
    assert sum(line.startswith("POST " + RUNTIME) for line in runtime.api.lines) == 1


def test_a_stream_that_is_not_read_does_not_keep_the_executable_beyond_its_deadline(start: Start) -> None:
    runtime = start(script("exec yes\n"), output="stream")
    goes_on(runtime).connection.send(invocation(lasts=0.8))
    posted = stream_of(runtime.api.begin())
    posted.connection.pause()
    eventually(lambda: len(runtime.processes()) == 2)
    eventually(lambda: len(runtime.processes()) <= 1)
    posted.connection.resume()
    runtime.api.until(lambda: posted.whole or posted.broken, "the end")

    if posted.whole:
        assert trailers_of(posted)[0] == "Function.DeadlineExceeded"
        posted.connection.send(ACCEPTED)
        goes_on(runtime)
    else:
        runtime.api.until(lambda: not runtime.api.nothing_waits() or runtime.exit_code is not None, "next, or the end")
        says_once(runtime)


# HTTP.

PRELUDE = '{"statusCode": 201, "headers": {"x-a": "b"}, "cookies": ["a=b", "c=d"]}'
DELIMITER = "\\0\\0\\0\\0\\0\\0\\0\\0"
HTTP_TYPE = "application/vnd.awslambda.http-integration-response"


@pytest.mark.parametrize("prelude", [PRELUDE, "{}", '{"statusCode":200}'])
@pytest.mark.parametrize("body", ["", "plain", "\\0\\0\\0\\0\\0\\0\\0\\0\\0\\r\\n"])
def test_an_http_answer_is_a_head_a_delimiter_and_a_body(start: Start, prelude: str, body: str) -> None:
    runtime = start(script(f"printf %s '{prelude}'; printf '{DELIMITER}{body}'\n"), output="http")
    posted = stream_of(runtime.invoke(), HTTP_TYPE)
    sent, _, rest = posted.body.partition(bytes(8))

    assert json.loads(sent) == json.loads(prelude)
    assert rest == body.replace("\\0", "\0").replace("\\r", "\r").replace("\\n", "\n").encode()
    assert posted.trailers == []


def test_the_body_of_an_http_answer_is_streamed(start: Start, tmp_path: Path) -> None:
    text = f"printf %s '{PRELUDE}'; printf '{DELIMITER}a'; read -r line <go; printf b\n"
    runtime = holding(start, tmp_path, text, output="http")
    goes_on(runtime).connection.send(invocation())
    posted = stream_of(runtime.api.begin(), HTTP_TYPE)
    runtime.api.until(lambda: posted.body.endswith(bytes(8) + b"a"), "the first byte")
    let_go(runtime)
    runtime.api.until(lambda: posted.whole, "the end")

    assert posted.body.endswith(bytes(8) + b"ab")


def test_the_head_of_an_http_answer_may_come_in_pieces(start: Start, tmp_path: Path) -> None:
    text = "printf '{\"statusCode\":'; read -r line <go; printf '201}\\0\\0'; read -r line <on; printf '\\0\\0\\0\\0\\0\\0a'\n"
    runtime = holding(start, tmp_path, text, output="http")
    goes_on(runtime).connection.send(invocation())
    let_go(runtime)
    let_go(runtime, "on")
    posted = stream_of(runtime.api.take(), HTTP_TYPE)
    sent, _, rest = posted.body.partition(bytes(8))

    assert (json.loads(sent), rest) == ({"statusCode": 201}, b"a")


@pytest.mark.parametrize("written", ["", "{", "plain", '{"statusCode": 200}'])
def test_an_http_answer_that_fails_before_its_body_is_an_error(start: Start, written: str) -> None:
    runtime = start(script(f"printf '{written}'; exit 3\n"), output="http")

    assert error_of(runtime.fail())["errorType"] == "ExitError"
    assert RESPONSE not in [request.target for request in runtime.api.requests]


def test_an_http_answer_that_fails_in_its_body_ends_with_its_error(start: Start) -> None:
    runtime = start(script(f"printf %s '{PRELUDE}'; printf '{DELIMITER}a'; exit 3\n"), output="http")
    posted = stream_of(runtime.invoke(), HTTP_TYPE)

    assert posted.body.endswith(bytes(8) + b"a")
    assert trailers_of(posted)[0] == "Function.ExitError"


@pytest.mark.parametrize(
    "written",
    [
        f"[1]{DELIMITER}a",
        f'"a"{DELIMITER}',
        f"plain{DELIMITER}a",
        f'{{"statuscode": 200}}{DELIMITER}a',
        f'{{"statusCode": 200, "body": "a"}}{DELIMITER}',
        f"{DELIMITER}a",
        '{"statusCode": 200}',
        '{"statusCode": 200}\\0\\0\\0\\0\\0\\0\\0',
        "plain",
    ],
)
def test_an_http_answer_without_a_head_is_an_error_and_nothing_is_streamed(start: Start, written: str) -> None:
    runtime = start(script(f"printf '{written}'\n"), output="http")
    posted = runtime.fail()

    assert error_of(posted)["errorType"] == "OutputInvalid"
    assert posted[TYPE] == "Function.OutputInvalid"
    assert RESPONSE not in [request.target for request in runtime.api.requests]
