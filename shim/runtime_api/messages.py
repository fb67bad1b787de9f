"""The words of Lambda's Runtime API and of the part of its Extensions API that runtimes use: each once, named as AWS names it.

Sources, by which each group is marked:
- [docs] "Using the Lambda runtime API for custom runtimes" and "Using the Lambda Extensions API" in AWS's developer guide;
- [RIE] AWS's Runtime Interface Emulator, aws/aws-lambda-runtime-interface-emulator, `internal/lambda/…`;
- [LMI] its part for managed instances, `internal/lambda-managed-instances/…`.
"""

from __future__ import annotations

from typing import NamedTuple

# Paths [docs; RIE rapi/server.go, rapi/router.go]. Each begins with the version of its API.
RUNTIME = "/2018-06-01/runtime"
NEXT = f"{RUNTIME}/invocation/next"
INVOCATION = f"{RUNTIME}/invocation/"
"""Followed by the request id and one of the next two."""
RESPONSE = "/response"
ERROR = "/error"
INIT_ERROR = f"{RUNTIME}/init/error"
RESTORE_NEXT = f"{RUNTIME}/restore/next"
"""Answered after each restore of a snapshot, in its own process; with the next one only where there is SnapStart [RIE rapi/router.go]."""
RESTORE_ERROR = f"{RUNTIME}/restore/error"
PING = "/2018-06-01/ping"
"""Older than the API; kept there, and so here."""
EXTENSION = "/2020-01-01/extension"
EXTENSION_REGISTER = f"{EXTENSION}/register"
EXTENSION_NEXT = f"{EXTENSION}/event/next"
EXTENSION_INIT_ERROR = f"{EXTENSION}/init/error"
EXTENSION_EXIT_ERROR = f"{EXTENSION}/exit/error"
LOGS = "/2020-08-15/logs"
TELEMETRY = "/2022-07-01/telemetry"

# Headers of the answer to NEXT [docs; RIE rapi/rendering/rendering.go renderInvokeHeaders].
REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
DEADLINE_MS = "Lambda-Runtime-Deadline-Ms"
FUNCTION_ARN = "Lambda-Runtime-Invoked-Function-Arn"
TRACE_ID = "Lambda-Runtime-Trace-Id"
CLIENT_CONTEXT = "Lambda-Runtime-Client-Context"
COGNITO_IDENTITY = "Lambda-Runtime-Cognito-Identity"
TENANT_ID = "Lambda-Runtime-Aws-Tenant-Id"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
"""Of this attempt alone: a request that is tried again keeps its request id. A runtime sends it back with its answer [awslambdaric 4.2
lambda_runtime_client.py; aws/aws-lambda-dotnet#2508]."""

# Headers of what a runtime posts [docs; RIE rapi/handler/invocationresponse.go, invocationerror.go].
FUNCTION_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
FUNCTION_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
"""A trailer, in base64, of a streamed response that fails in the middle; the one above then is one, too [docs; LMI
invoke/runtime_response_request.go]."""
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
STREAMING = "streaming"
"""The one value that the header above may have."""
XRAY_ERROR_CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"
"""What X-Ray shows of an error, in JSON [RIE rapi/model/error_cause.go; awslambdaric bootstrap.py, make_xray_fault]."""

# Headers of extensions [docs; RIE rapi/handler/constants.go, rendering.go].
EXTENSION_NAME = "Lambda-Extension-Name"
EXTENSION_IDENTIFIER = "Lambda-Extension-Identifier"
EXTENSION_EVENT_IDENTIFIER = "Lambda-Extension-Event-Identifier"
EXTENSION_ERROR_TYPE = "Lambda-Extension-Function-Error-Type"
EXTENSION_FEATURES = "Lambda-Extension-Accept-Feature"
ACCOUNT_ID = "accountId"
"""The one feature that there is: then the answer to a registration has the function's `accountId`."""
INVOKE = "INVOKE"
SHUTDOWN = "SHUTDOWN"
MOST_EXTENSIONS = 10
"""[docs; RIE core/registrations.go MaxAgentsAllowed]"""

CONTENT_TYPE = "Content-Type"
JSON = "application/json"
BYTES = "application/octet-stream"
HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
"""Of a streamed response that begins with a head (aws-lambda-nodejs-runtime-interface-client, HttpResponseStream.js)."""

MAX_PAYLOAD_SIZE = 6 * 1024 * 1024 + 100
"""Bytes of an event and of a response that is not streamed [RIE interop/model.go]."""

# States of a runtime, which the message of an InvalidStateTransition names [RIE core/runtime_state_names.go].
STARTED = "Started"
INIT_FAILED = "InitError"
READY = "Ready"
RUNNING = "Running"
RESPONDING = "InvocationResponse"
FAILING = "InvocationErrorResponse"
RESPONSE_SENT = "RuntimeResponseSentState"

# States of an extension, likewise [RIE core/internalagent_states.go].
REGISTERED = "Registered"
EXIT_FAILED = "ExitError"
EXITED = "Exited"

REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Request Entity Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}
"""Of each status that is used (RFC 9110), as Go's net/http words them."""


class Answer(NamedTuple):
    """A status and a body. `error_type` names what was wrong with the request, "" where nothing was."""

    status: int
    body: bytes
    content_type: str = JSON
    error_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: int, error_type: str, message: str) -> Answer:
    """The answer to a request that is not taken [RIE rapi/rendering/render_error.go]."""
    from orjson import dumps  # noqa: PLC0415 - a client of the API has no use for it

    body = dumps({"errorMessage": message, "errorType": error_type}) + b"\n"
    return Answer(status, body, error_type=error_type)


METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE")
CLOSE = (("Connection", "close"),)
"""The header of an answer after which no other follows."""


def malformed(status: int) -> Answer:
    """The answer to what is no HTTP, as Go's net/http gives it."""
    status = status if status in REASONS else 400
    body = b"" if status == 417 else f"{status} {REASONS[status]}".encode()
    return Answer(status, body, "text/plain; charset=utf-8" if body else "", "Malformed", headers=CLOSE)


def too_large(limit: int) -> Answer:
    """A post of more bytes than that [RIE rapi/rendering/render_error.go]."""
    return refusal(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({limit} bytes).")


def not_allowed(method: str, allowed: str) -> Answer:
    """A path that takes another method, as go-chi answers it, on which RIE is built: it says which, where it knows the one that was asked."""
    return Answer(405, b"", "", "MethodNotAllowed", headers=(("Allow", allowed),) if method in METHODS else ())


def bad_transition(state: str, wanted: str) -> Answer:
    """A call that its runtime's state does not allow [RIE rapi/handler/constants.go, core/states.go]."""
    message = f"State transition from {state} to {wanted} failed for runtime. Error: State transition is not allowed"
    return refusal(403, "InvalidStateTransition", message)


# Answers [RIE rapi/rendering/render_error.go, rendering.go, rapi/middleware/middleware.go, rapi/handler/…].
ACCEPTED = Answer(202, b'{"status":"OK"}\n')
PONG = Answer(200, b"pong", "text/plain; charset=utf-8")
INVALID_REQUEST_ID = refusal(400, "InvalidRequestID", "Invalid request ID")
INVALID_RESPONSE_MODE = refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode")
TRUNCATED = refusal(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
INVOKE_TIMEOUT = refusal(410, "InvokeTimeout", "Invoke timeout")  # [LMI rapi/rendering/render_error.go]
NOT_FOUND = Answer(
    404,
    b"404 page not found\n",
    "text/plain; charset=utf-8",
    "NotFound",
    headers=(("X-Content-Type-Options", "nosniff"),),
)
LOGS_NOT_SUPPORTED = Answer(
    202, b'{"errorMessage":"Logs API is not supported","errorType":"Logs.NotSupported"}\n'
)  # [RIE rapi/handler/runtimelogs_stub.go]
TELEMETRY_NOT_SUPPORTED = Answer(
    202, b'{"errorMessage":"Telemetry API is not supported","errorType":"Telemetry.NotSupported"}\n'
)

# Answers to extensions [RIE rapi/handler/agentregister.go, agentnext.go, rapi/middleware/middleware.go].
NAME_MISSING = refusal(403, "Extension.InvalidExtensionName", "Empty extension name")
NAME_TAKEN = refusal(403, "Extension.InvalidExtensionState", "Extension with this name already registered")
REGISTRATION_CLOSED = refusal(403, "Extension.RegistrationClosed", "Extension registration closed already")
TOO_MANY_EXTENSIONS = refusal(403, "Extension.TooManyExtensions", f"Extension limit ({MOST_EXTENSIONS}) reached")
IDENTIFIER_MISSING = refusal(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
IDENTIFIER_INVALID = refusal(403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
REGISTRATION_INVALID = refusal(403, "InvalidRequestFormat", "the body is no JSON object with a list of events")
ERROR_TYPE_MISSING = refusal(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
REPORTER_UNKNOWN = refusal(403, "Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
"""Of one that says that it can't go on."""
CONFIGURATION_DEPRECATED = refusal(
    403, "InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead"
)


def bad_extension_transition(state: str, wanted: str, identifier: str) -> Answer:
    """A call that its extension's state does not allow [RIE rapi/handler/constants.go, core/internalagent_states.go]."""
    message = (
        f"State transition from {state} to {wanted} failed for extension {identifier}."
        " Error: State transition is not allowed"
    )
    return refusal(403, "Extension.InvalidExtensionState", message)


def identifier_unknown(identifier: str) -> Answer:
    """No extension has this identifier."""
    return refusal(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")


def event_invalid(event: str) -> Answer:
    """An extension of this process can't have such events: only external ones are told of SHUTDOWN."""
    why = "ShutdownEventNotSupportedForInternalExtension" if event == SHUTDOWN else "ErrorInvalidEventType"
    return refusal(403, "Extension.InvalidEventType", f"{event}: {why}")
