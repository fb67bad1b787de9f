"""What a bootstrap is answered when it speaks to the Runtime API, and above all when it breaks the protocol: by AWS's own emulator, and by us.

Each script of the table is played twice by the program `replay`: as the bootstrap that AWS's emulator starts, and as the function's executable
in mode bootstrap, where our handler serves the Runtime API to it. What is expected is what AWS's emulator answers. Where we answer
otherwise on purpose, the table says what, and why.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.real.conftest import Start
    from tests.real.rie import Rie

RUNTIME = "/2018-06-01/runtime"
NEXT = f"{RUNTIME}/invocation/next"
RESPONSE = f"{RUNTIME}/invocation/{{id}}/response"
ERROR = f"{RUNTIME}/invocation/{{id}}/error"
INIT_ERROR = f"{RUNTIME}/init/error"
NOBODY = "00000000-0000-4000-8000-000000000000"
REGISTER = "/2020-01-01/extension/register"
EVENT = "/2020-01-01/extension/event/next"
EXTENSION_INIT_ERROR = "/2020-01-01/extension/init/error"
EXIT_ERROR = "/2020-01-01/extension/exit/error"
LIMIT = 6 * 1024 * 1024 + 100
"""What a response may have, in bytes."""
IDENTIFIED = "Lambda-Extension-Identifier: {extension}"
GO_TYPE = 'struct { handler.RegisterRequest; ConfigurationKeys []string "json:\\"configurationKeys\\"" }'
"""What AWS's JSON parser calls the body of a registration."""
CHUNKED = "Transfer-Encoding: chunked"
JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain; charset=utf-8"}
CLOSING = {"connection": "close"}


@dataclass(frozen=True)
class Answer:
    """An answer; `body` is a JSON value where the Content-Type says so, else text.

    In headers and texts, `{1}` is the first UUID that has come in the whole script, `{2}` the second, and `{ms}` any time in milliseconds.
    """

    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))


Outcome = Answer | str
"""Or one of the words that stand for no whole answer: see `replay`."""


@dataclass(frozen=True)
class Step:
    """What is sent on which connection, and what comes of it."""

    send: str | tuple[str | int, ...]
    outcome: Outcome
    on: str = "a"
    shut: bool = False

    def written(self, outcome: Outcome) -> dict[str, object]:
        """The step as `replay` reads it, which is to have this outcome."""
        return {
            "send": [self.send] if isinstance(self.send, str) else self.send,
            "on": self.on,
            "shut": self.shut,
            "read": outcome not in ("sent", "dropped"),
            "drop": outcome == "dropped",
            "within": 0.3 if outcome == "parked" else 10,
        }


@dataclass(frozen=True)
class Difference:
    """What our handler answers otherwise."""

    step: int
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Script:
    """What one process of a bootstrap does, from its start on, while a function is invoked so many times, one invocation after the other."""

    name: str
    steps: tuple[Step, ...]
    invocations: int = 1
    differences: tuple[Difference, ...] = ()
    emulator_alone: str = ""
    """Why all of it goes otherwise with us, if it does."""


ACCEPTED = Answer(202, {"status": "OK"})
NOT_FOUND = Answer(404, "404 page not found\n", {**TEXT, "x-content-type-options": "nosniff"})
INVALID_ID = Answer(400, {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"})
TOO_LARGE = Answer(
    413,
    {
        "errorMessage": f"Exceeded maximum allowed payload size ({LIMIT} bytes).",
        "errorType": "RequestEntityTooLarge",
    },
)
INVALID_MODE = Answer(
    400, {"errorMessage": "Invalid function response mode", "errorType": "InvalidFunctionResponseMode"}
)
TRUNCATED = Answer(400, {"errorMessage": "HTTP request detected as truncated", "errorType": "TruncatedHTTPRequest"})
CONTINUE = Answer(100, "", {})


def event(number: int, identifier: int | None = None) -> Answer:
    """The answer to `next` with that invocation's event; its id is that UUID of those that have come, else of that number."""
    return Answer(
        200,
        {"invocation": number},
        {
            **JSON,
            "lambda-runtime-aws-request-id": f"{{{identifier or number}}}",
            "lambda-runtime-deadline-ms": "{ms}",
            "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:012345678912:function:real",
        },
    )


def closing(answer: Answer) -> Answer:
    """The same, before the connection is closed."""
    return replace(answer, headers={**answer.headers, **CLOSING})


def bad(status: int, text: str) -> Answer:
    """The refusal of what is no HTTP request, after which the connection is closed."""
    return Answer(status, text, {**TEXT, **CLOSING})


def forbidden(error_type: str, message: str) -> Answer:
    """A refusal."""
    return Answer(403, {"errorMessage": message, "errorType": error_type})


def state(before: str, after: str) -> Answer:
    """The refusal of what the runtime may not do in its state."""
    message = f"State transition from {before} to {after} failed for runtime. Error: State transition is not allowed"
    return forbidden("InvalidStateTransition", message)


def extension_state(before: str, after: str) -> Answer:
    """The refusal of what an extension may not do in its state."""
    message = (
        f"State transition from {before} to {after} failed for extension {{1}}. Error: State transition is not allowed"
    )
    return forbidden("Extension.InvalidExtensionState", message)


def not_allowed(*methods: str) -> Answer:
    """The refusal of a method."""
    return Answer(405, "", {"allow": ", ".join(methods)})


def request(method: str, path: str, body: str | None = None, *headers: str, version: str = "1.1") -> str:
    """A request as bytes, with its length where it has a body."""
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: api", *length, *headers, "", body or ""])


def get(path: str, *headers: str) -> str:
    return request("GET", path, None, *headers)


def post(path: str, body: str = "", *headers: str) -> str:
    return request("POST", path, body, *headers)


def register(events: str, *headers: str) -> str:
    """The registration of an extension with that body."""
    return post(REGISTER, events, "Lambda-Extension-Name: inner", *headers)


UNSERVED = "between two invocations nobody answers: what is sent then is answered when the next one comes"
ONCE = "an invocation is handed out once; who asks besides waits, as on managed instances"
EACH = "HTTP/1.0 has a connection for each request, which is said"
DIRECT = "the emulator panics where a body can't be read whole; Lambda answers, by the source that the two share"

REGISTERED = Answer(
    200,
    {"functionName": "real", "functionVersion": "1", "handler": "replay"},
    {**JSON, "lambda-extension-identifier": "{1}"},
)
FIRST = Step(get(NEXT), event(1))
"""The first event is fetched."""
ANSWERED = Step(post(RESPONSE, '"done"'), ACCEPTED)
WAITING = Step(get(NEXT), "parked", on="b")
"""The runtime waits for another event, on a connection of its own."""

SCRIPTS = (
    Script("an invocation is answered", (FIRST, ANSWERED, Step(get(NEXT), event(2)), ANSWERED), invocations=2),
    Script(
        "a failure is reported",
        (FIRST, Step(post(ERROR, '{"errorMessage":"m","errorType":"T"}'), ACCEPTED), WAITING),
    ),
    Script(
        "a failure is reported with a type",
        (FIRST, Step(post(ERROR, "{}", "Lambda-Runtime-Function-Error-Type: any thing"), ACCEPTED), WAITING),
    ),
    Script(
        "a failure is reported with its cause",
        (FIRST, Step(post(ERROR, "[", "Content-Type: application/vnd.aws.lambda.error.cause+json"), ACCEPTED), WAITING),
    ),
    Script("a failure is no JSON", (FIRST, Step(post(ERROR, "no JSON"), ACCEPTED), WAITING)),
    Script(
        "a response has a wrong id",
        (
            FIRST,
            Step(post(RESPONSE.replace("{id}", NOBODY), "1"), INVALID_ID),
            Step(post(ERROR.replace("{id}", NOBODY), "1"), INVALID_ID),
            Step(post(RESPONSE.replace("{id}", ""), "1"), INVALID_ID),
            ANSWERED,
        ),
    ),
    Script(
        "an id is percent-encoded",
        (FIRST, Step(post(RESPONSE.replace("{id}", "{escaped id}"), "1"), INVALID_ID), ANSWERED),
    ),
    Script(
        "a response comes twice",
        (FIRST, ANSWERED, Step(post(RESPONSE, "2"), state("RuntimeResponseSentState", "InvocationResponse")), WAITING),
    ),
    Script(
        "an error comes after a response",
        (
            FIRST,
            ANSWERED,
            Step(post(ERROR, "{}"), state("RuntimeResponseSentState", "InvocationErrorResponse")),
            WAITING,
        ),
    ),
    Script(
        "a response comes after an error",
        (
            FIRST,
            Step(post(ERROR, "{}"), ACCEPTED),
            Step(post(RESPONSE, "1"), state("RuntimeResponseSentState", "InvocationResponse")),
            WAITING,
        ),
    ),
    Script(
        "a response comes without next",
        (
            FIRST,
            ANSWERED,
            WAITING,
            Step(post(RESPONSE, "1"), INVALID_ID),
            Step(post(ERROR, "{}"), INVALID_ID, on="c"),
        ),
        differences=(Difference(3, "parked", UNSERVED), Difference(4, "parked", UNSERVED)),
    ),
    Script(
        "a response comes in the init phase",
        (
            Step(post(RESPONSE.replace("{id}", NOBODY), "1"), INVALID_ID),
            Step(post(ERROR.replace("{id}", NOBODY), "1"), INVALID_ID),
            FIRST,
            ANSWERED,
        ),
    ),
    Script(
        "the start fails",
        (
            Step(post(INIT_ERROR, '{"errorMessage":"m","errorType":"T"}'), ACCEPTED),
            Step(post(INIT_ERROR, "{}"), state("InitError", "InitError")),
            Step(get(NEXT), state("InitError", "Ready")),
        ),
    ),
    Script(
        "the start fails after next",
        (
            FIRST,
            Step(post(INIT_ERROR, "{}"), state("Running", "InitError")),
            ANSWERED,
            Step(post(INIT_ERROR, "{}"), state("RuntimeResponseSentState", "InitError")),
            WAITING,
            Step(post(INIT_ERROR, "{}"), state("Ready", "InitError")),
        ),
        differences=(Difference(5, "parked", UNSERVED),),
    ),
    Script(
        "next comes while an invocation runs",
        (FIRST, Step(get(NEXT), event(1), on="b"), Step(get(NEXT), event(1), on="c"), ANSWERED),
        differences=(Difference(1, "parked", ONCE), Difference(2, "parked", ONCE)),
    ),
    Script(
        "two nexts wait at once",
        (
            FIRST,
            ANSWERED,
            Step(get(NEXT), "sent", on="b"),
            Step("", event(2), on="b"),
            Step(get(NEXT), event(2), on="c"),
            ANSWERED,
            WAITING,
        ),
        invocations=2,
        differences=(Difference(4, "parked", ONCE),),
    ),
    Script(
        "the one that has waited longer gets the event",
        (
            Step(register('{"events":["INVOKE"]}'), REGISTERED),
            Step(get(NEXT), "parked"),
            Step(get(NEXT), "parked", on="b"),
            Step(get(EVENT, IDENTIFIED), "sent", on="e"),
            Step("", event(1, 2)),
            Step("", "parked", on="b"),
            ANSWERED,
            Step(get(EVENT, IDENTIFIED), "sent", on="f"),
            Step(get(NEXT), "sent", on="c"),
            Step("", event(2, 3), on="b"),
            Step("", "parked", on="c"),
        ),
        invocations=2,
        emulator_alone="of several that wait we answer the last, which is the surest to be still there",
    ),
    Script(
        "one that waits has gone when the event comes",
        (
            Step(register("{}"), REGISTERED),
            Step(get(NEXT), "parked", on="b"),
            Step("", "dropped", on="b"),
            Step(get(NEXT), "parked"),
            Step(get(EVENT, IDENTIFIED), "sent", on="e"),
            Step("", "parked"),
            Step(get(NEXT), event(1, 2), on="c"),
            Step(post(RESPONSE, "1"), ACCEPTED, on="d"),
        ),
        differences=(
            Difference(5, event(1, 2), "the one that is still there gets it"),
            Difference(6, "parked", ONCE),
        ),
    ),
    Script(
        "no such path",
        (
            *(
                Step(get(path), NOT_FOUND)
                for path in (
                    "/",
                    "/ping",
                    "/2018-06-01",
                    "/2018-06-01/",
                    f"{RUNTIME}/invocation/next/",
                    f"{RUNTIME}/invocation//next",
                    f"{RUNTIME}/invocation/%6eext",
                    f"{RUNTIME}/restore/next",
                    "/2018-06-02/runtime/invocation/next",
                    "/2020-01-01/runtime/invocation/next",
                    "/2018-06-01/extension/event/next",
                    "/2021-04-23/credentials",
                    "/RUNTIME",
                )
            ),
            Step(post(f"{RUNTIME}/restore/error", "{}"), NOT_FOUND),
            Step(post(f"{RUNTIME}/invocation/{NOBODY}", "{}"), NOT_FOUND),
            Step(post(f"{RUNTIME}/invocation/{NOBODY}/response/", "{}"), NOT_FOUND),
            Step(post(f"{RUNTIME}/invocation/{NOBODY}/other", "{}"), NOT_FOUND),
            Step(request("PUT", "/2022-07-01/other", "{}"), NOT_FOUND),
            FIRST,
            ANSWERED,
        ),
    ),
    Script(
        "a wrong method",
        (
            *(
                Step(request(method, path, "{}"), not_allowed(allowed))
                for path, allowed in (
                    ("/2018-06-01/ping", "GET"),
                    (NEXT, "GET"),
                    (f"{RUNTIME}/invocation/{NOBODY}/response", "POST"),
                    (f"{RUNTIME}/invocation/{NOBODY}/error", "POST"),
                    (INIT_ERROR, "POST"),
                    (REGISTER, "POST"),
                    (EVENT, "GET"),
                    (EXTENSION_INIT_ERROR, "POST"),
                    (EXIT_ERROR, "POST"),
                    ("/2020-08-15/logs", "PUT"),
                    ("/2022-07-01/telemetry", "PUT"),
                )
                for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")
                if method != allowed
            ),
            FIRST,
            ANSWERED,
        ),
    ),
    Script(
        "a method that HTTP does not know",
        (
            Step(request("FETCH", NEXT), Answer(405, "", {})),
            Step(request("get", NEXT), Answer(405, "", {})),
            FIRST,
            ANSWERED,
        ),
    ),
    Script("a ping", (Step(get("/2018-06-01/ping"), Answer(200, "pong", TEXT)), FIRST, ANSWERED)),
    Script("a query", (Step(get(f"{NEXT}?a=b"), event(1)), Step(post(f"{RESPONSE}?a=b", "1"), ACCEPTED))),
    Script("an absolute path", (Step(get(f"http://other{NEXT}"), event(1)), ANSWERED)),
    Script(
        "next with a body",
        (Step(request("GET", NEXT, "12345"), event(1)), ANSWERED, WAITING),
    ),
    Script(
        "a response of the largest size",
        (
            FIRST,
            Step((f"POST {RESPONSE} HTTP/1.1\r\nHost: api\r\nContent-Length: {LIMIT}\r\n\r\n", LIMIT), ACCEPTED),
            WAITING,
        ),
    ),
    Script(
        "a response that is too large",
        (
            FIRST,
            Step(
                (f"POST {RESPONSE} HTTP/1.1\r\nHost: api\r\nContent-Length: {LIMIT + 1}\r\n\r\n", LIMIT + 1), TOO_LARGE
            ),
            Step(post(RESPONSE, "1"), state("RuntimeResponseSentState", "InvocationResponse")),
            WAITING,
        ),
    ),
    Script(
        "a response in chunks that is too large",
        (
            FIRST,
            Step(
                (
                    f"POST {RESPONSE} HTTP/1.1\r\nHost: api\r\n{CHUNKED}\r\n\r\n{LIMIT + 1:x}\r\n",
                    LIMIT + 1,
                    "\r\n0\r\n\r\n",
                ),
                TOO_LARGE,
            ),
            WAITING,
        ),
    ),
    Script(
        "an error that is too large",
        (
            FIRST,
            Step((f"POST {ERROR} HTTP/1.1\r\nHost: api\r\nContent-Length: {LIMIT + 1}\r\n\r\n", LIMIT + 1), "closed"),
            Step(post(ERROR, "{}"), state("InvocationErrorResponse", "InvocationErrorResponse")),
            Step(get(NEXT), state("InvocationErrorResponse", "Ready")),
        ),
        differences=(
            Difference(1, TOO_LARGE, "the emulator fails there; an error has the limit of a response"),
            Difference(2, state("RuntimeResponseSentState", "InvocationErrorResponse"), "see above"),
            Difference(3, "parked", "see above"),
        ),
    ),
    Script(
        "a response mode that does not exist",
        (
            FIRST,
            Step(post(RESPONSE, "1", "Lambda-Runtime-Function-Response-Mode: Streaming"), INVALID_MODE),
            Step(post(RESPONSE, "1"), state("InvocationResponse", "InvocationResponse")),
            Step(post(ERROR, "1"), state("InvocationResponse", "InvocationErrorResponse")),
            Step(get(NEXT), state("InvocationResponse", "Ready")),
        ),
        differences=(Difference(4, "parked", "the invocation is over, and the caller does not wait for its timeout"),),
    ),
    Script(
        "a response mode that is empty",
        (FIRST, Step(post(RESPONSE, "1", "Lambda-Runtime-Function-Response-Mode:"), ACCEPTED), WAITING),
    ),
    Script(
        "a response is streamed",
        (
            FIRST,
            Step(
                f"POST {RESPONSE} HTTP/1.1\r\nHost: api\r\n{CHUNKED}\r\n"
                "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n"
                '2\r\n"d\r\n4\r\none"\r\n0\r\n\r\n',
                ACCEPTED,
            ),
            WAITING,
        ),
    ),
    Script(
        "a response is streamed and fails at its end",
        (
            FIRST,
            Step(
                f"POST {RESPONSE} HTTP/1.1\r\nHost: api\r\n{CHUNKED}\r\n"
                "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
                '2\r\n"d\r\n0\r\n'
                "Lambda-Runtime-Function-Error-Type: Function.Late\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n",
                ACCEPTED,
            ),
            WAITING,
        ),
    ),
    Script(
        "a body is cut off",
        (
            FIRST,
            Step(request("POST", RESPONSE, None, "Content-Length: 10") + "12345", "closed", shut=True),
            Step(post(RESPONSE, "1"), state("InvocationResponse", "InvocationResponse"), on="b"),
            Step(get(NEXT), state("InvocationResponse", "Ready"), on="b"),
        ),
        differences=(
            Difference(1, closing(TRUNCATED), DIRECT),
            Difference(2, state("RuntimeResponseSentState", "InvocationResponse"), DIRECT),
            Difference(3, "parked", DIRECT),
        ),
    ),
    Script(
        "chunks are cut off",
        (
            FIRST,
            Step(request("POST", RESPONSE, None, CHUNKED) + "5\r\n123", "closed", shut=True),
            Step(get(NEXT), state("InvocationResponse", "Ready"), on="b"),
        ),
        differences=(Difference(1, closing(TRUNCATED), DIRECT), Difference(2, "parked", DIRECT)),
    ),
    Script(
        "a chunk has no size",
        (
            FIRST,
            Step(request("POST", RESPONSE, None, CHUNKED) + "no\r\n123", "closed"),
            Step(get(NEXT), state("InvocationResponse", "Ready"), on="b"),
        ),
        differences=(Difference(1, closing(TRUNCATED), DIRECT), Difference(2, "parked", DIRECT)),
    ),
    Script(
        "an error is cut off",
        (
            FIRST,
            Step(request("POST", ERROR, None, "Content-Length: 10") + "12345", ACCEPTED, shut=True),
            WAITING,
        ),
        differences=(Difference(1, closing(TRUNCATED), "half an error is no error, as half a response is none"),),
    ),
    Script(
        "HTTP/1.0",
        (
            Step(request("GET", NEXT, version="1.0"), event(1)),
            Step("", "closed"),
            Step(request("POST", RESPONSE, "1", version="1.0"), ACCEPTED),
            Step("", "closed"),
            Step("GET /2018-06-01/ping HTTP/1.0\r\n\r\n", Answer(200, "pong", TEXT)),
            Step("", "closed"),
            Step(
                request("GET", "/2018-06-01/ping", None, "Connection: keep-alive", version="1.0"),
                Answer(200, "pong", {**TEXT, "connection": "keep-alive"}),
            ),
        ),
        differences=(
            Difference(0, closing(event(1)), EACH),
            Difference(2, closing(ACCEPTED), EACH),
            Difference(4, closing(Answer(200, "pong", TEXT)), EACH),
            Difference(6, closing(Answer(200, "pong", TEXT)), EACH),
        ),
    ),
    Script(
        "a connection is to be closed",
        (
            Step(get(NEXT, "Connection: close"), closing(event(1))),
            Step("", "closed"),
            Step(post(RESPONSE, "1", "Connection: close"), closing(ACCEPTED)),
            Step("", "closed"),
        ),
    ),
    Script(
        "requests come before answers",
        (
            FIRST,
            Step(post(RESPONSE, '"done"') + get(NEXT), ACCEPTED),
            Step("", event(2)),
            Step(post(RESPONSE, '"done"') + get("/2018-06-01/ping") + get("/2018-06-01/none"), ACCEPTED),
            Step("", Answer(200, "pong", TEXT)),
            Step("", NOT_FOUND),
        ),
        invocations=2,
    ),
    Script(
        "a request that waits for leave to send its body",
        (
            FIRST,
            Step(request("POST", RESPONSE, None, "Content-Length: 3", "Expect: 100-continue"), CONTINUE),
            Step("123", ACCEPTED),
            Step(post(RESPONSE, "1", "Expect: something"), Answer(417, "", CLOSING)),
        ),
    ),
    Script(
        "a request that waits for leave and has a wrong id",
        (
            FIRST,
            Step(
                request("POST", RESPONSE.replace("{id}", NOBODY), None, "Content-Length: 3", "Expect: 100-continue"),
                closing(INVALID_ID),
            ),
        ),
    ),
    Script(
        "malformed requests",
        (
            Step(
                f"GET {NEXT} HTTP/1.1\r\n\r\n",
                bad(400, "400 Bad Request: missing required Host header"),
            ),
            Step("", "closed"),
            Step("nonsense\r\n\r\n", bad(400, "400 Bad Request")),
            Step("", "closed"),
            Step(f"GET {NEXT}\r\n\r\n", bad(400, "400 Bad Request")),
            Step("", "closed"),
            Step(
                request("GET", NEXT, version="3.0"),
                bad(505, "505 HTTP Version Not Supported: unsupported protocol version"),
            ),
            Step("", "closed"),
            Step(get(NEXT, "no colon"), bad(400, "400 Bad Request")),
            Step("", "closed"),
            Step(get(NEXT, "a name: 1"), bad(400, "400 Bad Request: invalid header name")),
            Step("", "closed"),
            Step(get("/%zz"), bad(400, "400 Bad Request"), on="z"),
            Step(
                request("POST", INIT_ERROR, None, "Content-Length: some"),
                bad(400, "400 Bad Request"),
            ),
            Step("", "closed"),
            Step(
                request("POST", INIT_ERROR, None, "Transfer-Encoding: gzip"),
                bad(501, "Unsupported transfer encoding"),
            ),
            Step("", "closed"),
            Step(
                (f"GET {NEXT} HTTP/1.1\r\nHost: api\r\nA: ", 2 << 20, "\r\n\r\n"),
                bad(431, "431 Request Header Fields Too Large"),
            ),
            Step("", "closed"),
            Step(f"GET {NEXT} HTTP/1.1\nHost: api\n\n", event(1), on="c"),
            ANSWERED,
        ),
        differences=(Difference(12, NOT_FOUND, "such a path is not there, whatever its percent signs mean"),),
    ),
    Script(
        "a response without a length",
        (FIRST, Step(request("POST", RESPONSE), ACCEPTED), WAITING),
    ),
    Script(
        "an extension registers",
        (
            Step(register('{"events":["INVOKE"]}', "Lambda-Extension-Accept-Feature: accountId"), REGISTERED),
            Step(get(EVENT, IDENTIFIED), "parked", on="e"),
            Step(get(NEXT), event(1, 2)),
            Step(
                "",
                Answer(
                    200,
                    {
                        "eventType": "INVOKE",
                        "deadlineMs": "{ms}",
                        "requestId": "{2}",
                        "invokedFunctionArn": "arn:aws:lambda:us-east-1:012345678912:function:real",
                    },
                    {**JSON, "lambda-extension-event-identifier": "{3}"},
                ),
                on="e",
            ),
            ANSWERED,
            WAITING,
            Step(get(EVENT, IDENTIFIED), "sent", on="e"),
            Step("", event(2, 4), on="b"),
        ),
        invocations=2,
    ),
    Script(
        "an extension that never asks holds up the first event",
        (
            Step(register('{"events":[]}'), REGISTERED),
            Step(get(NEXT), "parked"),
            Step(get(EVENT, IDENTIFIED), "parked", on="e"),
            Step("", event(1, 2)),
            ANSWERED,
        ),
    ),
    Script(
        "wrong registrations",
        (
            *(
                Step(sent, forbidden(error_type, message))
                for sent, error_type, message in (
                    (post(REGISTER, "{}"), "Extension.InvalidExtensionName", "Empty extension name"),
                    (
                        post(REGISTER, "", "Lambda-Extension-Name:"),
                        "Extension.InvalidExtensionName",
                        "Empty extension name",
                    ),
                    (register(""), "InvalidRequestFormat", "unexpected end of JSON input"),
                    (register('{"events":['), "InvalidRequestFormat", "unexpected end of JSON input"),
                    (register("no"), "InvalidRequestFormat", "invalid character 'o' in literal null (expecting 'u')"),
                    (register("x"), "InvalidRequestFormat", "invalid character 'x' looking for beginning of value"),
                    (register("{} {}"), "InvalidRequestFormat", "invalid character '{' after top-level value"),
                    (
                        register('{"events":["INVOKE"],}'),
                        "InvalidRequestFormat",
                        "invalid character '}' looking for beginning of object key string",
                    ),
                    (
                        register("[]"),
                        "InvalidRequestFormat",
                        f"json: cannot unmarshal array into Go value of type {GO_TYPE}",
                    ),
                    (
                        register('"INVOKE"'),
                        "InvalidRequestFormat",
                        f"json: cannot unmarshal string into Go value of type {GO_TYPE}",
                    ),
                    (
                        register('{"events":"INVOKE"}'),
                        "InvalidRequestFormat",
                        "json: cannot unmarshal string into Go struct field .RegisterRequest.events of type []core.Event",
                    ),
                    (
                        register('{"events":[1]}'),
                        "InvalidRequestFormat",
                        "json: cannot unmarshal number into Go struct field .RegisterRequest.events of type core.Event",
                    ),
                    (register('{"events":[null]}'), "Extension.InvalidEventType", ": ErrorInvalidEventType"),
                    (
                        register('{"configurationKeys":["a"]}'),
                        "InvalidRequestFormat",
                        "configurationKeys are deprecated; use environment variables instead",
                    ),
                    (
                        register('{"events":["INVOKE","SHUTDOWN"]}'),
                        "Extension.InvalidEventType",
                        "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
                    ),
                    (register('{"events":["invoke"]}'), "Extension.InvalidEventType", "invoke: ErrorInvalidEventType"),
                    (register('{"events":["<a>"]}'), "Extension.InvalidEventType", "<a>: ErrorInvalidEventType"),
                )
            ),
            FIRST,
            ANSWERED,
        ),
    ),
    Script(
        "registrations that are taken",
        (
            *(
                Step(
                    post(REGISTER, body, f"Lambda-Extension-Name: {number}"),
                    REGISTERED
                    if number == 1
                    else Answer(200, REGISTERED.body, {**JSON, "lambda-extension-identifier": f"{{{number}}}"}),
                )
                for number, body in enumerate(
                    (
                        "{}",
                        "null",
                        '{"EVENTS":["INVOKE"]}',
                        '{"events":null}',
                        '{"other":1}',
                        '{"events":["INVOKE","INVOKE"]}',
                        "{}",
                        "{}",
                        "{}",
                        "{}",
                    ),
                    1,
                )
            ),
            Step(
                post(REGISTER, "{}", "Lambda-Extension-Name: 11"),
                forbidden("Extension.TooManyExtensions", "Extension limit (10) reached"),
            ),
            Step(
                post(REGISTER, "{}", "Lambda-Extension-Name: 1"),
                forbidden("Extension.TooManyExtensions", "Extension limit (10) reached"),
            ),
        ),
    ),
    Script(
        "an extension registers twice",
        (
            Step(register("{}"), REGISTERED),
            Step(
                register("{}"),
                forbidden("Extension.InvalidExtensionState", "Extension with this name already registered"),
            ),
        ),
    ),
    Script(
        "an extension registers after the start",
        (
            FIRST,
            Step(register("{}"), forbidden("Extension.RegistrationClosed", "Extension registration closed already")),
            Step(
                register("x"), forbidden("InvalidRequestFormat", "invalid character 'x' looking for beginning of value")
            ),
            ANSWERED,
        ),
    ),
    Script(
        "an extension that nobody knows",
        (
            *(
                Step(
                    request(method, path, None if method == "GET" else "{}", *headers),
                    forbidden(f"Extension.{error_type}", message),
                )
                for method, path in (("GET", EVENT), ("POST", EXTENSION_INIT_ERROR), ("POST", EXIT_ERROR))
                for headers, error_type, message in (
                    ((), "MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
                    (
                        ("Lambda-Extension-Identifier: no",),
                        "InvalidExtensionIdentifier",
                        "Invalid Lambda-Extension-Identifier",
                    ),
                    (
                        (f"Lambda-Extension-Identifier: {NOBODY}",),
                        *(
                            ("UnknownExtensionIdentifier", "Unknown extension {1}")
                            if path == EVENT
                            else ("MissingHeader", "Lambda-Extension-Function-Error-Type not found")
                        ),
                    ),
                    *(
                        ()
                        if path == EVENT
                        else (
                            (
                                (f"Lambda-Extension-Identifier: {NOBODY}", "Lambda-Extension-Function-Error-Type: E"),
                                "UnknownExtensionIdentifier",
                                "Unknown Lambda-Extension-Identifier",
                            ),
                        )
                    ),
                )
            ),
            Step(get(NEXT), event(1, 2)),
            ANSWERED,
        ),
    ),
    Script(
        "an extension asks twice at once",
        (
            Step(register("{}"), REGISTERED),
            Step(get(EVENT, IDENTIFIED), "parked", on="e"),
            Step(get(EVENT, IDENTIFIED), extension_state("Ready", "Ready")),
            Step(
                post(EXTENSION_INIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"),
                extension_state("Ready", "InitError"),
            ),
        ),
    ),
    Script(
        "an extension fails to start",
        (
            Step(register("{}"), REGISTERED),
            Step(post(EXTENSION_INIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"), ACCEPTED),
            Step(post(EXTENSION_INIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"), ACCEPTED),
            Step(
                post(EXIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"),
                extension_state("InitError", "Exited"),
            ),
            Step(get(EVENT, IDENTIFIED), extension_state("InitError", "Ready")),
        ),
    ),
    Script(
        "an extension ends with an error",
        (
            Step(register("{}"), REGISTERED),
            Step(post(EXIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"), ACCEPTED),
            Step(post(EXIT_ERROR, "{}", IDENTIFIED, "Lambda-Extension-Function-Error-Type: E"), ACCEPTED),
            Step(get(EVENT, IDENTIFIED), extension_state("ExitError", "Ready")),
        ),
    ),
    Script(
        "logs and telemetry",
        (
            *(
                Step(
                    request("PUT", path, "{}", *headers),
                    Answer(202, {"errorMessage": f"{name} API is not supported", "errorType": f"{name}.NotSupported"}),
                )
                for path, name in (("/2020-08-15/logs", "Logs"), ("/2022-07-01/telemetry", "Telemetry"))
                for headers in ((), ("Lambda-Extension-Identifier: no",))
            ),
            FIRST,
            ANSWERED,
        ),
    ),
)

UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MILLISECONDS = re.compile("[0-9]{13}")


@pytest.mark.parametrize(
    ("script", "server"),
    [
        pytest.param(script, server, id=f"{script.name}-{server}")
        for script in SCRIPTS
        for server in (["rie"] if script.emulator_alone else ["rie", "shim"])
    ],
)
def test_an_answer_is_the_one_that_the_emulator_gives(server: str, script: Script, folder: Path, start: Start) -> None:
    """Status, headers and body of each answer, or that there is none."""
    program, report = folder / "replay", folder / "report"
    shutil.copy(Path(__file__).with_name("replay.py"), program)
    program.chmod(0o755)
    expected = [step.outcome for step in script.steps]
    if server == "shim":
        for difference in script.differences:
            expected[difference.step] = difference.outcome
    steps = [step.written(outcome) for step, outcome in zip(script.steps, expected, strict=True)]
    (folder / "script").write_text(json.dumps({"steps": steps, "exit": None}))
    variables = {"REPLAY": str(folder / "script"), "REPLAY_TO": str(report)}
    ours = {
        "SHIM_EXECUTABLE": "replay",
        "SHIM_MODE": "bootstrap",
        "SHIM_LINGER_MS": "1000",
        "SHIM_MAX_OUTPUT_BYTES": str(LIMIT),
    }
    theirs = {"_HANDLER": "replay"}
    rie = start(variables | theirs, bootstrap=[str(program)]) if server == "rie" else start(variables | ours)
    caller = threading.Thread(target=_invoke, args=[rie, script.invocations])
    caller.start()
    try:
        eventually(lambda: _lines(report) == len(script.steps) or not (caller.is_alive() or _lines(report)), within=60)
    finally:
        rie.session.end()
        caller.join()

    assert _lines(report), "the bootstrap has not been started"
    outcomes = _outcomes(report.read_text())
    if server == "shim":
        outcomes, expected = [_blurred(one) for one in outcomes], [_blurred(one) for one in expected]
    assert outcomes == expected


def _lines(report: Path) -> int:
    return report.read_bytes().count(b"\n") if report.exists() else 0


def _invoke(rie: Rie, times: int) -> None:
    """Invokes the function so many times, or until its environment is ended."""
    try:
        for number in range(1, times + 1):
            rie.invoke({"invocation": number})
    except OSError:
        return


def _outcomes(report: str) -> list[Outcome]:
    """What has come of each step, with what differs from one run to the next replaced."""
    for number, identifier in enumerate(dict.fromkeys(UUID.findall(report)), 1):
        report = report.replace(identifier, f"{{{number}}}")
    lines = [json.loads(line) for line in MILLISECONDS.sub("{ms}", report).splitlines()]
    return [_answer(line) if line["outcome"] == "answer" else line["outcome"] for line in lines]


def _answer(line: Mapping[str, Any]) -> Answer:
    body, headers = line["body"], line["headers"]
    if headers.get("content-type") == JSON["content-type"]:
        body = json.loads(body.replace(":{ms}", ':"{ms}"'))
    return Answer(line["status"], body, headers)


def _blurred(outcome: Outcome) -> Outcome:
    """The same without two headers that the emulator does not send, and without the message where it names a state of AWS's server, or is
    its JSON parser's, or that of its HTTP server.
    """
    if isinstance(outcome, str):
        return outcome
    unknown = ("lambda-runtime-invocation-id", "lambda-runtime-trace-id")
    headers = {name: value for name, value in outcome.headers.items() if name not in unknown}
    outcome = replace(outcome, headers=headers)
    if outcome.status in (400, 431, 501, 505) and isinstance(outcome.body, str):
        return replace(outcome, body="")
    if not isinstance(outcome.body, dict):
        return outcome
    error_type, message = outcome.body.get("errorType"), outcome.body.get("errorMessage", "")
    if error_type == "InvalidRequestFormat" or message.startswith("State transition from "):
        return replace(outcome, body={"errorType": error_type})
    return outcome
