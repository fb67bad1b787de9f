"""The codec of mode bootstrap: what the Runtime API tells of an invocation, and the error that a bootstrap posts.

The event is the body as Lambda has it, and what else there is to know stands in headers. Responses are read by the rule of `output`, as every
reply.
"""

from __future__ import annotations

import json

import orjson

from shim.codecs.ending import POST, facts
from shim.codecs.exact import dumps_exactly, refuse_what_json_lacks
from shim.codecs.line import STRICT, LineCodec
from shim.errors import MESSAGE_LIMIT, EventInvalid, reported, sendable
from shim.invocation import epoch_ms
from shim.outcome import Refused
from shim.request import Posted, Request
from shim.runtime_api import messages
from shim.settings import LONGEST_TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from shim.codecs.ending import Unfit
    from shim.errors import OutputInvalid, ShimError
    from shim.invocation import Invocation
    from shim.outcome import Outcome, Told
    from shim.request import Sink

LONGEST_TYPE = 128
"""Characters of an errorType."""


class Frame(dict[str, object]):
    """An entry of a stack trace that is an object, as Go's runtime client posts them (aws-lambda-go, lambda/messages).

    awslambdaric logs each entry by the lines of its text, and posts it as it is.
    """

    def splitlines(self) -> list[str]:
        """The lines of its text: one."""
        return [json.dumps(self)]


class InvocationApiCodec(LineCodec):
    """Invocation → Request of a bootstrap, and its Outcome → value or bytes."""

    _empty = ("posted an empty response", POST)

    def encode(self, invocation: Invocation, count: int, sink: Sink | None = None) -> Request:  # noqa: ARG002 - it has none
        """The event as a body, and the headers that Lambda sends with it.

        Raises:
            EventInvalid: the event holds what JSON can't hold, or the context what no header can hold.
        """
        return Request(
            body_of(invocation.event),
            arguments=self._arguments,
            environment=self._environment,
            framing=Posted(self._limit),
            request_id=invocation.request_id,
            headers=headers_of(invocation, count),
        )

    def ahead(self) -> Request:
        """What a child is told that is started before its first invocation: all but that."""
        return Request(b"", arguments=self._arguments, environment=self._environment, framing=Posted(self._limit))

    def _success(self, outcome: Outcome) -> Told:
        if isinstance(outcome, Refused):
            raise self._reported(outcome)
        return super()._success(outcome)

    def _reported(self, outcome: Refused) -> ShimError:
        """The error that it posted, as it is: a stranger's program has names of its own language for its errors (`Orders::BadInput`, `&str`)."""
        common = facts(outcome, self._name)
        error = _parsed(outcome.reply)
        name, message = error.get("errorType"), error.get("errorMessage")
        if not isinstance(name, str) or not name:
            name = outcome.error if isinstance(outcome.error, str) else ""
        if not isinstance(message, str):
            message = outcome.reply[:MESSAGE_LIMIT].decode("utf-8", "replace")
        if not is_error_type(name):
            message, name = (f"{name}: {message}" if name else message), ""
        trace = error.get("stackTrace", error.get("trace", []))  # Node.js's runtime client posts it as `trace`
        return reported(
            name or None,
            message,
            exit_code=None,
            stack_trace=_passed(trace if isinstance(trace, list) else [trace]),
            **common,
        )

    def _invalid(self, unfit: Unfit, ended: Told) -> OutputInvalid:
        unfit.cure = unfit.cure.replace("make it write", "make it post").replace(
            " to standard output, and log lines to standard error", ""
        )
        return super()._invalid(unfit, ended)


def is_error_type(name: str) -> bool:
    """Whether it may be the errorType of an error that is posted: what a header holds, and Step Functions do not keep for themselves."""
    return (
        0 < len(name) <= LONGEST_TYPE
        and name.isascii()
        and name.isprintable()
        and name == name.strip()
        and not name.startswith("States.")
    )


def body_of(event: object) -> bytes:
    """The event as JSON, or the bytes that it is: they are the whole body, and can forge nothing.

    Raises:
        EventInvalid: there is no JSON for it.
    """
    if isinstance(event, (bytes, bytearray)):
        return bytes(event)
    try:
        body = orjson.dumps(event, option=STRICT)
    except TypeError:
        return dumps_exactly("event", event)
    if b"null" in body:  # which orjson also writes for NaN
        refuse_what_json_lacks("event", event)
    return body


def headers_of(invocation: Invocation, count: int) -> list[tuple[str, str]]:
    """What the Runtime API tells of an invocation besides its event. Without a context there are the headers that clients can't do without.

    Raises:
        EventInvalid: the context has what no header can hold.
    """
    context = invocation.describe(camel=True, count=count)
    request_id = context["awsRequestId"] or f"00000000-0000-0000-0000-{count:012d}"
    # As the caller sent it: awslambdaric puts None where he sent nothing, and takes w3c out of it (lambda_context.py).
    client_context = _known({**(context["clientContext"] or {}), "w3c": context["w3c"]})
    optional = {
        messages.CLIENT_CONTEXT: client_context and dumps_exactly("client context", client_context).decode(),
        messages.COGNITO_IDENTITY: context["identity"] and json.dumps(context["identity"]),
        messages.TENANT_ID: context["tenantId"],
    }
    headers = {
        messages.REQUEST_ID: request_id,
        messages.DEADLINE_MS: str(context["deadlineMs"] or epoch_ms() + LONGEST_TIME),
        messages.FUNCTION_ARN: context["invokedFunctionArn"] or "",
        messages.TRACE_ID: context["traceId"] or "",
        messages.INVOCATION_ID: f"{request_id}-{count}",
        **{name: value for name, value in optional.items() if value},
    }
    for name, value in headers.items():
        if not (isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()):
            raise EventInvalid(f"the context has {value!r} for {name}, which no header can hold")
    return list(headers.items())


def _known(client_context: dict[str, Any]) -> dict[str, Any]:
    """What of a client context, and of the client in it, is not None; w3c is, too, where it is empty."""
    client = client_context.get("client")
    if client is not None:
        client = {name: value for name, value in client.items() if value is not None}
    known = {**client_context, "client": client, "w3c": client_context["w3c"] or None}
    return {name: value for name, value in known.items() if value is not None}


def _parsed(body: bytes | bytearray) -> dict[str, Any]:
    """The object that the body of an error is; empty where it is none."""
    try:
        error = json.loads(bytes(body).decode("utf-8", "replace"))  # with halves of characters, which are mended later
    except (ValueError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _passed(trace: list[Any]) -> list[str | Frame]:
    """A stack trace as awslambdaric can log and post it, of at most so many bytes as a message."""
    passed: list[str | Frame] = []
    room = MESSAGE_LIMIT
    for entry in trace:
        frame = (
            Frame(entry)
            if isinstance(entry, dict)
            else sendable(entry if isinstance(entry, str) else json.dumps(entry))
        )
        room -= len(json.dumps(frame))
        if room < 0:
            break
        passed.append(frame)
    return passed
