"""What a caller of the Invoke API asks for, as its request says it, and the errors in which Lambda refuses it. Pure.

Sources, by which each rule is marked:
- [model] botocore's model of Lambda (lambda/2015-03-31/service-2.json);
- [seen] on AWS: LocalStack's tests that were run against it (tests/aws/services/lambda_/*.snapshot.json); for what is too large, the messages
  that users of Lambda report ("Deep Dive: Lambda's Request Payload Size Limit", zaccharles.medium.com);
- [ours] where none says anything.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import orjson

from shim.codecs.line import loads
from shim.local.context import VERSION
from shim.local.function import Invocation, new_trace_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from shim.local.function import Function

LARGEST = 6 * 1024 * 1024
"""Bytes of an event whose caller waits for the answer [model]."""
LARGEST_LATER = 1024 * 1024
"""Bytes of an event that is run later [model]."""
LONGEST_CONTEXT = 3583
"""Bytes of a client context, in base64 [model]."""

RUN, LATER, DRY = "RequestResponse", "Event", "DryRun"

_TYPE, _LOG, _CONTEXT = "x-amz-invocation-type", "x-amz-log-type", "x-amz-client-context"
_TENANT, _TRACE = "x-amz-tenant-id", "x-amzn-trace-id"

_PATH = re.compile(
    r"/2015-03-31/functions/(?P<name>[^/]+)/invocations|/2021-11-15/functions/(?P<streamed>[^/]+)/response-streaming-invocations"
)
_NAME_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_NAME = re.compile(_NAME_PATTERN, re.ASCII)
_NAME_GROUP, _QUALIFIER_GROUP = 11, 13
_TENANT_PATTERN = r"[a-zA-Z0-9\._:\/=+\-@ ]+"
_TENANT_ID = re.compile(_TENANT_PATTERN)
_TRACE_ID = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        error_type: as Lambda calls it.
        members: of the body.
        headers: besides those that each refusal has.
    """

    def __init__(
        self, status: int, error_type: str, members: Mapping[str, str], headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{error_type}: {members}")
        self.status = status
        self.error_type = error_type
        self.headers = headers
        self.body = orjson.dumps(members)


def not_found(function: Function, name: str) -> Refusal:
    """There is no function of that name [seen]."""
    arn = f"{function.arn.rpartition(':')[0]}:{name}"
    return Refusal(404, "ResourceNotFoundException", {"Type": "User", "Message": f"Function not found: {arn}"})


def invalid_content(message: str) -> Refusal:
    """The body or the client context is not what it must be [seen]."""
    return Refusal(400, "InvalidRequestContentException", {"Type": "User", "message": message})


def invalid_value(what: str, value: str, constraint: str) -> Refusal:
    """A part of the request has a value that the model does not allow [seen]."""
    message = f"1 validation error detected: Value '{value}' at '{what}' failed to satisfy constraint: {constraint}"
    return Refusal(400, "ValidationException", {"message": message})


def too_large(size: int | None, *, later: bool) -> Refusal:
    """An event above the limit [seen]; a size of None is not known, and above both limits."""
    if later and size is not None and size <= LARGEST:
        message = f"{size} byte payload is too large for the {LATER} invocation type (limit {LARGEST_LATER} bytes)"
        return Refusal(413, "RequestEntityTooLargeException", {"Type": "User", "message": message})
    message = f"Request must be smaller than {LARGEST} bytes for the InvokeFunction operation"
    return Refusal(413, "RequestEntityTooLargeException", {"Message": message})


def throttled() -> Refusal:
    """All execution environments that there may be are busy [seen]."""
    members = {
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }
    return Refusal(429, "TooManyRequestsException", members, (("retry-after", "1"),))


def failed(message: str, status: int = 500) -> Refusal:
    """It was not run, and that is not the caller's fault [model]."""
    return Refusal(status, "ServiceException", {"Type": "Service", "Message": message})


def closing() -> Refusal:
    """Nothing is taken any more [ours]."""
    return failed("The emulator is being closed.", 503)


@dataclass(frozen=True, slots=True)
class InvokeRequest:
    """What is asked for.

    Attributes:
        kind: RUN, LATER or DRY.
        streams: whether the answer is an event stream.
        wants_log: whether the end of the log is asked for.
        client_context: JSON in ASCII, or None.
        tenant_id: or None.
        trace_id: a new one, where none was sent.
    """

    kind: str
    streams: bool
    wants_log: bool
    client_context: str | None
    tenant_id: str | None
    trace_id: str

    @property
    def limit(self) -> int:
        """The most bytes that its event may have."""
        return LARGEST_LATER if self.kind == LATER else LARGEST

    def invocation(self, body: bytes) -> Invocation:
        """The invocation of an event. No body is an empty object, as LocalStack has it, which follows AWS.

        Raises:
            Refusal: it is no JSON.
        """
        check_json(body)
        return Invocation(
            body or b"{}",
            client_context=None if self.kind == LATER else self.client_context,  # as the model says
            tenant_id=self.tenant_id,
            trace_id=self.trace_id,
        )


def route(path: str) -> tuple[str, bool] | None:
    """The name of a function that is asked for with a path of the Invoke API, and whether the answer is to be streamed; or None."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    return unquote(match["name"] or match["streamed"]), match["streamed"] is not None


def check_name(function: Function, name: str, query: str) -> None:
    """A name, a partial or a full ARN must be of the function that is served, in whatever account and region; every version and alias is
    that one function [ours].

    Raises:
        Refusal: it is not.
    """
    match = _NAME.fullmatch(name)
    if match is None or len(name) > 256:
        constraint = f"Member must satisfy regular expression pattern: {_NAME_PATTERN}"
        raise invalid_value("functionName", name, constraint)
    qualifier, asked = match[_QUALIFIER_GROUP], parse_qs(query).get("Qualifier", [None])[0]
    if match[_NAME_GROUP] != function.name:
        suffix = qualifier or asked
        raise not_found(function, f"{match[_NAME_GROUP]}:{suffix}" if suffix else match[_NAME_GROUP])
    if qualifier and asked and qualifier != asked:
        message = "The derived qualifier from the function name does not match the specified qualifier."
        raise Refusal(400, "InvalidParameterValueException", {"Type": "User", "message": message})


def parse_request(headers: Mapping[str, str], *, streams: bool) -> InvokeRequest:
    """What the headers ask for, whose names are in lower case.

    Raises:
        Refusal: they have a value that can't be.
    """
    kinds = (RUN, DRY) if streams else (LATER, RUN, DRY)
    kind = headers.get(_TYPE) or RUN
    if kind not in kinds:
        raise invalid_value("invocationType", kind, f"Member must satisfy enum value set: [{', '.join(kinds)}]")
    log = headers.get(_LOG) or "None"
    if log not in ("None", "Tail"):
        raise invalid_value("logType", log, "Member must satisfy enum value set: [None, Tail]")
    tenant_id = headers.get(_TENANT, "").strip()
    if tenant_id and (len(tenant_id) > 256 or not _TENANT_ID.fullmatch(tenant_id)):
        raise invalid_value("tenantId", tenant_id, f"Member must satisfy regular expression pattern: {_TENANT_PATTERN}")
    return InvokeRequest(
        kind,
        streams=streams,
        wants_log=log == "Tail",
        client_context=_client_context(headers[_CONTEXT]) if headers.get(_CONTEXT) else None,
        tenant_id=tenant_id or None,
        trace_id=trace_id_of(headers),
    )


def trace_id_of(headers: Mapping[str, str]) -> str:
    """X-Ray's header as the caller sent it, where the runtime can be told of it; else a new one."""
    sent = headers.get(_TRACE, "").strip()
    return sent if _TRACE_ID.fullmatch(sent) else new_trace_id()


def check_json(body: bytes) -> None:
    """An event is one JSON value, or nothing.

    Raises:
        Refusal: it is not.
    """
    if body and not is_json(body):
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError as error:
            message = f"Could not parse request body into json: Could not parse payload into json: {error}"
            raise invalid_content(message) from None


def is_json(data: bytes) -> bool:
    """Whether it is one JSON value; also one that orjson does not take: half a character, a number of many digits, a depth of more than 1024."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            json.loads(data.decode(), parse_int=str, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _client_context(encoded: str) -> str:
    """The JSON of a client context, so that a header can carry it: outside its texts a control character is white space, and within them every
    character has an escape.
    """
    if len(encoded) > LONGEST_CONTEXT:
        raise invalid_content(
            f"Client context must be at most {LONGEST_CONTEXT} bytes of base64, and this one has {len(encoded)}."
        )
    try:
        decoded = b64decode(encoded, validate=True)
        context = loads(decoded)
    except ValueError:
        decoded, context = b"", None
    if not isinstance(context, dict):
        raise invalid_content("Client context must be a valid Base64-encoded JSON object.")
    text = decoded.decode().translate({ord("\n"): " ", ord("\r"): " ", ord("\t"): " ", 0x7F: "\\u007f"}).strip()
    return re.sub("[^\x00-\x7f]+", lambda match: _escaped(match[0]), text)


def _escaped(text: str) -> str:
    """The characters as JSON has them in ASCII."""
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


EXECUTED = ("x-amz-executed-version", VERSION)
"""The header that says which version has run."""
