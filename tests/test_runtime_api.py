"""The Runtime API: each answer that there is, what brings it about, and what is told of it."""

from __future__ import annotations

import http.client
import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shim.runtime_api import messages
from shim.runtime_api.connection import LONGEST_HEAD
from tests.runtime_client import (
    EXTENSION,
    INIT_ERROR,
    NEXT,
    PING,
    REGISTRATION,
    Environment,
    Request,
    chunked,
    get,
    identifier,
    parse,
    post,
    post_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime_client import Answer

RESPONSE = post_path("a")
FIRST = identifier(1)
INVOKED = b'{"eventType":"INVOKE","deadlineMs":1700000000000,"requestId":"%s","invokedFunctionArn":""}'


def nothing(_: Environment) -> None:
    """Before anything was asked."""


def waiting(environment: Environment) -> None:
    """A `next` waits."""
    environment.say(get(NEXT))


def running(environment: Environment) -> None:
    """An invocation is handed out: `a`, in its first attempt."""
    environment.running("a", ("Lambda-Runtime-Invocation-Id", "first"))


def answered(environment: Environment) -> None:
    """It is answered."""
    running(environment)
    environment.say(post(RESPONSE))


def responding(environment: Environment) -> None:
    """Its response has begun."""
    running(environment)
    environment.say_bytes(post(RESPONSE, b"{}").head())


def failed(environment: Environment) -> None:
    """The init has failed."""
    environment.say(post(INIT_ERROR))


def registered(environment: Environment) -> None:
    """An extension is registered, which asked for INVOKE."""
    environment.say(registration("one", "INVOKE"))


def listening(environment: Environment) -> None:
    """It waits for its next event."""
    registered(environment)
    environment.say(event(FIRST))


def full(environment: Environment) -> None:
    """There are as many extensions as there may be."""
    for number in range(10):
        environment.say(registration(f"extension {number}"))


def registration(name: str, *events: str, features: str = "") -> Request:
    """An extension registers for these events."""
    body = json.dumps({"events": events}).encode()
    return post(f"{EXTENSION}/register", body, Lambda_Extension_Name=name, Lambda_Extension_Accept_Feature=features)


def event(known: str) -> Request:
    """An extension asks for its next event."""
    return get(f"{EXTENSION}/event/next", Lambda_Extension_Identifier=known)


def failure(kind: str, known: str, error_type: str = "Extension.Bad") -> Request:
    """An extension says that it can't begin ("init") or go on ("exit")."""
    headers = {"Lambda_Extension_Identifier": known, "Lambda_Extension_Function_Error_Type": error_type}
    return post(f"{EXTENSION}/{kind}/error", b"{}", **headers)


def bare(body: bytes) -> Request:
    """A registration that is this."""
    return post(f"{EXTENSION}/register", body, Lambda_Extension_Name="one")


def transition(before: str, wanted: str) -> messages.Answer:
    return messages.bad_transition(before, wanted)


def of_extension(before: str, wanted: str) -> messages.Answer:
    return messages.bad_extension_transition(before, wanted, FIRST)


MODE = "Lambda_Runtime_Function_Response_Mode"
UNKNOWN = identifier(99)
ANSWERS: list[tuple[Callable[[Environment], None], Request, messages.Answer]] = [
    (nothing, get(PING), messages.PONG),
    (nothing, get(f"{PING}/"), messages.NOT_FOUND),
    (nothing, get("/2018-06-02/ping"), messages.NOT_FOUND),
    (nothing, get("/2018-06-01/runtime/invocation"), messages.NOT_FOUND),
    (nothing, get("/2018-06-01/runtime/invocation/next/"), messages.NOT_FOUND),
    (running, post("/2018-06-01/runtime/invocation/a/responses"), messages.NOT_FOUND),
    (running, post("/2018-06-01/runtime/invocation/a"), messages.NOT_FOUND),
    (running, post("/2018-06-01/runtime/invocation/a/b/response"), messages.NOT_FOUND),
    (running, post(f"{RESPONSE}/"), messages.NOT_FOUND),
    (nothing, Request("PUT", "/2020-08-15/logs", (), b"{}"), messages.LOGS_NOT_SUPPORTED),
    (nothing, Request("PUT", "/2022-07-01/telemetry", (), b"{}"), messages.TELEMETRY_NOT_SUPPORTED),
    (nothing, post(PING), messages.not_allowed("POST", "GET")),
    (nothing, post(NEXT), messages.not_allowed("POST", "GET")),
    (running, get(RESPONSE), messages.not_allowed("GET", "POST")),
    (running, Request("PUT", post_path("a", "error"), (), b""), messages.not_allowed("PUT", "POST")),
    (nothing, get(INIT_ERROR), messages.not_allowed("GET", "POST")),
    (nothing, get("/2020-08-15/logs"), messages.not_allowed("GET", "PUT")),
    (nothing, get("/2022-07-01/telemetry"), messages.not_allowed("GET", "PUT")),
    (nothing, get(f"{EXTENSION}/register"), messages.not_allowed("GET", "POST")),
    (nothing, post(f"{EXTENSION}/event/next"), messages.not_allowed("POST", "GET")),
    (nothing, get(f"{EXTENSION}/init/error"), messages.not_allowed("GET", "POST")),
    (nothing, get(f"{EXTENSION}/exit/error"), messages.not_allowed("GET", "POST")),
    (nothing, Request("BREW", PING), messages.not_allowed("BREW", "GET")),
    (running, post(RESPONSE, b"{}"), messages.ACCEPTED),
    (running, post(post_path("a", "error"), b"{}"), messages.ACCEPTED),
    (running, post(RESPONSE, b"{}", Lambda_Runtime_Invocation_Id="first"), messages.ACCEPTED),
    (running, post(RESPONSE, b"{}", **{MODE: "streaming"}), messages.ACCEPTED),
    (running, post(post_path("a", "error"), b"{}", **{MODE: "buffered"}), messages.ACCEPTED),
    (running, post(RESPONSE, b"x" * 1000), messages.ACCEPTED),
    (running, post(RESPONSE, b"x" * 1001), messages.too_large(1000)),
    (running, post(RESPONSE, b"x" * 3001, **{MODE: "streaming"}), messages.too_large(3000)),
    (running, post(post_path("a", "error"), b"x" * 1001, **{MODE: "streaming"}), messages.too_large(1000)),
    (running, post(RESPONSE, b"{}", **{MODE: "buffered"}), messages.INVALID_RESPONSE_MODE),
    (running, post(RESPONSE, b"{}", **{MODE: "Streaming"}), messages.INVALID_RESPONSE_MODE),
    (running, post(RESPONSE, b"{}", Lambda_Runtime_Invocation_Id="second"), messages.INVOKE_TIMEOUT),
    (answered, post(RESPONSE, b"{}", Lambda_Runtime_Invocation_Id="first"), messages.INVOKE_TIMEOUT),
    (nothing, post(RESPONSE), messages.INVALID_REQUEST_ID),
    (running, post(post_path("b")), messages.INVALID_REQUEST_ID),
    (running, post(post_path("%61")), messages.INVALID_REQUEST_ID),
    (running, post(post_path("A")), messages.INVALID_REQUEST_ID),
    (nothing, post(INIT_ERROR, b"{}"), messages.ACCEPTED),
    (failed, post(INIT_ERROR), transition("InitError", "InitError")),
    (failed, get(NEXT), transition("InitError", "Ready")),
    (waiting, post(INIT_ERROR), transition("Ready", "InitError")),
    (running, post(INIT_ERROR), transition("Running", "InitError")),
    (answered, post(INIT_ERROR), transition("RuntimeResponseSentState", "InitError")),
    (answered, post(RESPONSE), transition("RuntimeResponseSentState", "InvocationResponse")),
    (answered, post(post_path("a", "error")), transition("RuntimeResponseSentState", "InvocationErrorResponse")),
    (responding, post(RESPONSE), transition("InvocationResponse", "InvocationResponse")),
    (responding, post(post_path("a", "error")), transition("InvocationResponse", "InvocationErrorResponse")),
    (nothing, registration("", "INVOKE"), messages.NAME_MISSING),
    (nothing, bare(b""), messages.REGISTRATION_INVALID),
    (nothing, bare(b"[]"), messages.REGISTRATION_INVALID),
    (nothing, bare(b'{"events":"INVOKE"}'), messages.REGISTRATION_INVALID),
    (nothing, bare(b'{"events":[1]}'), messages.REGISTRATION_INVALID),
    (nothing, bare(b"[" * 100_000), messages.REGISTRATION_INVALID),
    (nothing, bare(b'{"configurationKeys":["a"]}'), messages.CONFIGURATION_DEPRECATED),
    (nothing, registration("one", "INVOKE", "SHUTDOWN"), messages.event_invalid("SHUTDOWN")),
    (nothing, registration("one", "invoke"), messages.event_invalid("invoke")),
    (registered, registration("one"), messages.NAME_TAKEN),
    (full, registration("one more"), messages.TOO_MANY_EXTENSIONS),
    (running, registration("one"), messages.REGISTRATION_CLOSED),
    (registered, event(""), messages.IDENTIFIER_MISSING),
    (registered, event("one"), messages.IDENTIFIER_INVALID),
    (registered, event(UNKNOWN), messages.identifier_unknown(UNKNOWN)),
    (listening, event(FIRST), of_extension("Ready", "Ready")),
    (registered, failure("init", ""), messages.IDENTIFIER_MISSING),
    (registered, failure("exit", "one"), messages.IDENTIFIER_INVALID),
    (registered, failure("init", UNKNOWN), messages.REPORTER_UNKNOWN),
    (registered, failure("exit", UNKNOWN, ""), messages.ERROR_TYPE_MISSING),
    (registered, failure("init", FIRST), messages.ACCEPTED),
    (registered, failure("exit", FIRST), messages.ACCEPTED),
    (listening, failure("exit", FIRST), messages.ACCEPTED),
    (listening, failure("init", FIRST), of_extension("Ready", "InitError")),
]
"""What was before, what is asked, and the answer."""
BROKEN: list[tuple[bytes, messages.Answer]] = [
    (b"GET / HTTP/1.1\r\n\r\n", messages.malformed(400)),
    (get(PING, Expect="a miracle").render(), messages.malformed(417)),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD, messages.malformed(431)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n", messages.malformed(501)),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", messages.malformed(505)),
    (chunked(post(INIT_ERROR)).head() + b"no chunk\r\n", messages.TRUNCATED._replace(headers=messages.CLOSE)),
]


def is_that(answer: Answer, expected: messages.Answer) -> bool:
    """Whether an answer is all that it should be, and nothing else."""
    headers = {name.lower(): value for name, value in expected.headers}
    headers["content-length"] = str(len(expected.body))
    if expected.content_type:
        headers["content-type"] = expected.content_type
    return (answer.status, answer.reason, answer.body, answer.headers) == (
        expected.status,
        messages.REASONS[expected.status],
        expected.body,
        headers,
    )


@pytest.mark.parametrize(
    ("before", "request_", "expected"),
    ANSWERS,
    ids=[
        f"{before.__name__}: {request.method} {request.path[-40:]} {expected.status}"
        for before, request, expected in ANSWERS
    ],
)
def test_each_request_is_answered_as_it_is_written(
    before: Callable[[Environment], None], request_: Request, expected: messages.Answer
) -> None:
    environment = Environment()
    before(environment)
    environment.told.words.clear()
    connection = environment.connect()
    [answer] = environment.say(request_, over=connection)
    refused = [word for word in environment.told.words if word[0] == "refused"]

    assert is_that(answer, expected), (answer, expected)
    assert not connection.closing
    assert refused == (
        [("refused", f"{request_.method} {request_.path}", expected.status, expected.error_type)]
        if expected.error_type
        else []
    )


@pytest.mark.parametrize(("data", "expected"), BROKEN, ids=[str(expected.status) for _, expected in BROKEN])
def test_what_is_no_http_is_answered_as_it_is_written_and_the_connection_closed(
    data: bytes, expected: messages.Answer
) -> None:
    environment = Environment()
    connection = environment.connect()
    [answer] = environment.say_bytes(data, over=connection)

    assert is_that(answer, expected), (answer, expected)
    assert connection.closing
    assert environment.told.words[-1][2:] == (expected.status, expected.error_type)
    assert environment.told.unfinished == 0


def test_every_answer_that_there_is_is_in_the_tables() -> None:
    met = {expected._replace(headers=()) for _, _, expected in ANSWERS} | {
        expected._replace(headers=()) for _, expected in BROKEN
    }
    there_are = {value._replace(headers=()) for value in vars(messages).values() if isinstance(value, messages.Answer)}

    assert there_are - met == set()
    assert {answer.status for answer in met} == set(messages.REASONS)


def test_answers_are_read_by_another_client_as_well() -> None:
    class Socket:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def makefile(self, _: str) -> io.BytesIO:
            return io.BytesIO(self.data)

    for before, request, expected in ANSWERS:
        environment = Environment()
        before(environment)
        connection = environment.connect()
        connection.receive(request.render())
        response = http.client.HTTPResponse(Socket(connection.take()), method=request.method)  # type: ignore[arg-type] # all that it needs
        response.begin()

        assert (response.status, response.read()) == (expected.status, expected.body)


def test_an_invocation_is_the_event_and_headers() -> None:
    environment = Environment()
    connection = environment.connect()
    connection.receive(get(NEXT).render())

    assert connection.take() == b""
    assert environment.server.waits
    environment.server.invoke("a", [("Lambda-Runtime-Aws-Request-Id", "a"), ("Lambda-Runtime-Deadline-Ms", "1")], b"[]")

    [answer] = parse(connection.take())

    assert answer.status == 200
    assert answer.body == b"[]"
    assert answer.headers == {
        "lambda-runtime-aws-request-id": "a",
        "lambda-runtime-deadline-ms": "1",
        "content-type": "application/json",
        "content-length": "2",
    }
    assert not environment.server.waits


def test_of_several_that_wait_the_last_is_answered() -> None:
    environment = Environment()
    connections = [environment.connect() for _ in range(3)]
    for connection in connections:
        connection.receive(get(NEXT).render())
    connections.pop().close()
    environment.server.events.clear()
    environment.invoke("a")

    assert [bool(connection.take()) for connection in connections] == [False, True]


def test_a_stream_that_fails_in_the_middle_says_why_in_its_trailers() -> None:
    trailers = {"Lambda_Runtime_Function_Error_Type": "Function.Late", "Lambda_Runtime_Function_Error_Body": "bGF0ZQ=="}
    environment = Environment().running()
    [answer] = environment.say(chunked(post(RESPONSE, b"so far", **{MODE: "streaming"}), 3, **trailers))

    assert answer.status == 202
    assert environment.told.words[-1] == ("ended", "/response", "a", b"so far", "Function.Late", "bGF0ZQ==")


def test_the_type_of_an_error_is_in_its_headers_and_other_trailers_change_nothing() -> None:
    environment = Environment().running()
    environment.say(
        chunked(
            post(post_path("a", "error"), b"{}", Lambda_Runtime_Function_Error_Type="Early", Content_Type="a/b"),
            X_Other="1",
        )
    )

    assert environment.told.words[-2:] == [
        ("began", "/error", "a", "a/b"),
        ("ended", "/error", "a", b"{}", "Early", None),
    ]


def test_a_post_that_is_too_large_has_the_size_that_it_had() -> None:
    for request in (post(RESPONSE, b"x" * 1234), chunked(post(RESPONSE, b"x" * 1234), 900, 200)):
        environment = Environment().running()
        environment.say(request)

        assert ("too large", "/response", "a", 1234) in environment.told.words


def test_a_post_that_breaks_off_is_cut_and_its_invocation_over() -> None:
    for how in ("end", "close"):
        environment = Environment().running()
        connection = environment.connect()
        connection.receive(post(RESPONSE, b"x" * 10).render()[:-4])
        if how == "end":
            [answer] = environment.say_bytes(b"", over=connection)

            assert is_that(answer, messages.TRUNCATED._replace(headers=messages.CLOSE))
        else:
            connection.close()
            environment.told.take(environment.server.events)

            assert connection.take() == b""
        assert ("cut", "/response", "a", b"xxxxxx") in environment.told.words
        [again] = environment.say(post(RESPONSE))

        assert again.status == 403


def test_what_is_forgotten_can_not_be_answered() -> None:
    environment = Environment().running("a").running("b")
    environment.server.forget("a")
    environment.server.forget("none")
    [late, good, later] = environment.say(post(post_path("a")), post(post_path("b")), post(post_path("a")))

    assert late.error["errorMessage"].startswith("State transition from Running to InvocationResponse")
    assert good.status == 202
    assert later.error_type == "InvalidRequestID"  # another was the last


def test_an_answer_is_late_until_the_next_invocation_is_asked_for() -> None:
    environment = Environment()
    answered(environment)
    [late] = environment.say(post(RESPONSE))
    environment.say(get(NEXT))
    [later] = environment.say(post(RESPONSE))

    assert (late.error_type, later.error_type) == ("InvalidStateTransition", "InvalidRequestID")


def test_a_client_keeps_its_connection_unless_it_says_otherwise() -> None:
    for request, keeps in (
        (get(PING), True),
        (get(PING, Connection="keep-alive"), True),
        (replace(get(PING), closes=True), False),
        (get(PING, Connection="Close"), False),
        (replace(get(PING), version="1.0"), False),
        (replace(get(PING, Connection="keep-alive"), version="1.0"), False),
    ):
        environment = Environment()
        connection = environment.connect()
        [answer, *others] = environment.say(request, get(PING), over=connection)

        assert answer.status == 200
        assert connection.closing != keeps
        assert answer.says_that_it_closes != keeps
        assert len(others) == keeps


def test_a_client_that_has_gone_waits_no_more() -> None:
    for goes in ("end", "close"):
        environment = Environment()
        connection = environment.connect()
        connection.receive(get(NEXT).render())
        if goes == "end":
            connection.receive(b"")
        else:
            connection.close()

        assert connection.closing
        assert connection.take() == b""
        assert not environment.server.waits
        connection.receive(b"more")
        connection.receive(b"")
        connection.close()

        assert connection.take() == b""


def test_a_client_that_waits_for_100_continue_gets_it_or_its_answer() -> None:
    environment = Environment().running()
    connection = environment.connect()
    connection.receive(replace(post(RESPONSE, b"{}"), expects=True).head())

    assert connection.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert [answer.status for answer in environment.say_bytes(b"{}", over=connection)] == [202]
    assert not connection.closing
    connection.receive(replace(post(RESPONSE, b"{}"), expects=True).head())
    [refused] = parse(connection.take())

    assert refused.status == 403
    assert refused.says_that_it_closes
    assert connection.closing


def test_an_extension_is_told_of_the_function_and_of_its_account_if_it_asks() -> None:
    [plain] = Environment().say(registration("one", "INVOKE", "INVOKE"))
    environment = Environment()
    [whole] = environment.say(registration("one", features="other, accountId"))
    [cased] = environment.say(registration("two", features="accountid"))
    without = {key: value for key, value in REGISTRATION.items() if key != "accountId"}

    assert json.loads(plain.body) == without == json.loads(cased.body)
    assert json.loads(whole.body) == REGISTRATION
    assert plain.body.endswith(b"}\n")
    assert plain.headers["lambda-extension-identifier"] == FIRST
    assert environment.told.words == [("registered", "one", ()), ("registered", "two", ())]


def test_an_event_is_asked_for_once_and_said_once() -> None:
    environment = Environment()
    environment.say(registration("one", "INVOKE", "INVOKE"))

    assert environment.told.words == [("registered", "one", ("INVOKE",))]


def test_an_extension_that_waits_is_told_of_each_invocation() -> None:
    environment = Environment()
    connection = environment.connect()
    registered(environment)
    environment.say(get(NEXT))

    assert not environment.server.waits
    assert environment.server.laggards == ["one"]
    assert environment.say(event(FIRST.upper()), over=connection) == []
    assert environment.server.waits
    environment.invoke("a", ("Lambda-Runtime-Trace-Id", "Root=1"), ("Lambda-Runtime-Invoked-Function-Arn", "arn"))
    [answer] = parse(connection.take())

    assert answer.headers["lambda-extension-event-identifier"] == identifier(2)
    assert json.loads(answer.body) == {
        "eventType": "INVOKE",
        "deadlineMs": 1700000000000,
        "requestId": "a",
        "invokedFunctionArn": "arn",
        "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
    }


def test_an_extension_that_does_not_wait_is_told_when_it_asks_of_the_last_invocation() -> None:
    environment = Environment()
    registered(environment)
    environment.running("a").running("b")
    connection = environment.connect()
    [answer] = environment.say(event(FIRST), over=connection)

    assert answer.body == INVOKED % b"b"
    assert environment.say(event(FIRST), over=connection) == []


def test_an_extension_that_did_not_ask_for_it_hears_nothing() -> None:
    environment = Environment()
    environment.say(registration("one"))
    connection = environment.connect()
    environment.say(event(FIRST), over=connection)
    environment.running()

    assert connection.take() == b""


def test_an_extension_that_has_gone_is_told_when_it_comes_again() -> None:
    environment = Environment()
    listening(environment)
    connection = environment.connect()
    environment.say(registration("two", "INVOKE"))
    environment.say(event(identifier(2)), over=connection)
    connection.close()
    environment.running()
    [answer] = environment.say(event(identifier(2)))

    assert answer.body == INVOKED % b"a"


def test_an_extension_that_fails_is_told_of() -> None:
    environment = Environment()
    registered(environment)
    environment.say(failure("init", FIRST))
    [again, end] = environment.say(failure("init", FIRST), failure("exit", FIRST))

    assert again.status == 202
    assert "from InitError to Exited failed" in end.error["errorMessage"]
    assert environment.told.words[1:3] == [("failed", "one", "Extension.Bad")] * 2


def test_no_other_mode_loads_the_http_of_this_one() -> None:
    """It takes tens of milliseconds, at each cold start."""
    program = (
        "import sys; from shim import Shim; Shim('/bin/true', output='text')({}, None);"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'h11' or name == 'shim.runtime_api.server'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# An extension says that it goes, on another connection than the one on which it waits: it has gone, and the end of that connection does not
# bring it back.
def test_an_extension_that_has_gone_for_good_does_not_come_back_when_its_connection_ends() -> None:
    environment = Environment()
    registered(environment)
    connection = environment.connect()
    environment.say(event(FIRST), over=connection)
    environment.say(failure("exit", FIRST))
    connection.receive(b"")
    answers = environment.say(event(FIRST))

    assert answers
    assert "from ExitError to Ready failed" in answers[0].error["errorMessage"]


# Lambda tries an asynchronous invocation again by the same request id, after its time was over; a runtime may still be posting the response
# to the attempt before.
def test_what_was_posted_to_an_attempt_that_is_over_does_not_answer_the_next_attempt() -> None:
    environment = Environment()
    late, fresh = environment.connect(), environment.connect()
    environment.running("a", ("Lambda-Runtime-Invocation-Id", "first"))
    environment.say_bytes(post(RESPONSE, b"late").render()[:-2], over=late)
    environment.server.forget("a")
    environment.say(get(NEXT))
    environment.invoke("a", ("Lambda-Runtime-Invocation-Id", "second"))
    [first] = environment.say_bytes(b"te", over=late)
    [second] = environment.say(post(RESPONSE, b"fresh", Lambda_Runtime_Invocation_Id="second"), over=fresh)
    ended = [word[3] for word in environment.told.words if word[0] == "ended"]

    assert second.status == 202
    assert first.status != 202
    assert ended == [b"fresh"]


# An invocation that is forgotten while a response to it is read has no answer.
def test_what_is_forgotten_while_it_is_answered_has_no_answer() -> None:
    environment = Environment()
    connection = environment.connect()
    environment.running("a")
    environment.say_bytes(post(RESPONSE, b"late").render()[:-2], over=connection)
    environment.server.forget("a")
    [answer] = environment.say_bytes(b"te", over=connection)

    assert answer.status != 202
    assert "ended" not in {word[0] for word in environment.told.words}


@pytest.mark.parametrize(
    "body",
    [b'{"events":[],"x":"' + b"x" * 70_000 + b'"}', b'{"events":[]}' + b" " * 70_000 + b"no JSON"],
    ids=["JSON", "no JSON"],
)
def test_a_long_registration_is_refused_however_it_is_cut(body: bytes) -> None:
    data = bare(body).render()
    for size in (7, 1000, 65_536, 10**6):
        environment = Environment()
        connection = environment.connect()
        for at in range(0, len(data), size):
            connection.receive(data[at : at + size])
        [answer] = parse(connection.take())

        assert is_that(answer, messages.REGISTRATION_INVALID)
