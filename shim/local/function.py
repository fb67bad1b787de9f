"""A function as it is served on this machine, and what becomes of one invocation."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field

from shim.local.context import ACCOUNT, REGION, CognitoIdentity
from shim.runtime_api import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from shim.runtime_api.post import Post


def new_trace_id() -> str:
    """A trace of its own, which nobody samples."""
    return f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0"


@dataclass(frozen=True, slots=True)
class Function:
    """What is served.

    Attributes:
        name: the function's.
        command: starts the runtime: the program, and its arguments.
        environment: all variables of the runtime, but for those of its execution environment.
        folder: where it runs.
        handler: its `_HANDLER`.
        timeout: seconds that an invocation has.
        init_timeout: seconds that the start of a runtime has.
        memory: MB, told to it.
        at_once: how many invocations one execution environment takes at a time: 1, or more as on managed instances.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    handler: str
    timeout: float = 3.0
    init_timeout: float = 10.0
    memory: int = 128
    at_once: int = 1

    @property
    def arn(self) -> str:
        """Its name in AWS."""
        region = self.environment.get("AWS_REGION", REGION)
        return f"arn:aws:lambda:{region}:{ACCOUNT}:function:{self.name}"


@dataclass(slots=True)
class Invocation:
    """One event for a function, as its caller sent it.

    Attributes:
        event: its bytes.
        request_id: the same for each attempt.
        client_context: JSON, or None.
        identity: who called, where that was a user of Cognito.
        tenant_id: as the caller gave it, or None.
        trace_id: X-Ray's header.
        on_piece: takes the response in pieces as they come, where the caller wants it streamed. It may return a future: no more is read from
            the runtime before that is done. An error is no response: the result has it.
        on_begin: is told the content type of a response before it comes, and says whether it wants the pieces; without it, they are wanted.
        deadline: the instant at which it is over, on the clock of `time.time`; set when it begins.
    """

    event: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_context: str | None = None
    identity: CognitoIdentity | None = None
    tenant_id: str | None = None
    trace_id: str = field(default_factory=new_trace_id)
    on_piece: Callable[[bytes], asyncio.Future[None] | None] | None = None
    on_begin: Callable[[str], bool] | None = None
    deadline: float = 0

    def headers(self, function: Function) -> list[tuple[str, str]]:
        """What the runtime is told besides the event."""
        optional = {
            messages.CLIENT_CONTEXT: self.client_context,
            messages.COGNITO_IDENTITY: self.identity
            and json.dumps(
                {
                    "cognitoIdentityId": self.identity.cognito_identity_id,
                    "cognitoIdentityPoolId": self.identity.cognito_identity_pool_id,
                }
            ),
            messages.TENANT_ID: self.tenant_id,
        }
        return [
            (messages.REQUEST_ID, self.request_id),
            (messages.DEADLINE_MS, str(int(self.deadline * 1000))),
            (messages.FUNCTION_ARN, function.arn),
            (messages.TRACE_ID, self.trace_id),
            (messages.INVOCATION_ID, str(uuid.uuid4())),
            *((name, value) for name, value in optional.items() if value),
        ]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an invocation.

    Attributes:
        payload: what the caller gets; of a response that was streamed, what was not.
        error_type: "" of a success; else what the platform calls the failure.
        status: how REPORT calls it: "", "error" or "timeout".
        content_type: as the runtime said, or JSON.
        log: the last 4 KiB of the log of this invocation.
        request_id: its id.
    """

    payload: bytes
    error_type: str = ""
    status: str = ""
    content_type: str = messages.JSON
    log: bytes = b""
    request_id: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is an error of the function's."""
        return bool(self.error_type)


def platform_error(error_type: str, message: str, *, status: str = "error") -> Result:
    """What the platform itself says of an invocation that has no answer (RIE interop/model.go)."""
    payload = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
    return Result(payload, error_type=error_type, status=status)


def message_of(result: Result) -> str:
    """What an error says, or all of it, where it is none as Lambda's runtimes post them."""
    try:
        message = json.loads(result.payload)["errorMessage"]
    except (ValueError, LookupError, TypeError, RecursionError):
        message = None
    text = message if isinstance(message, str) else result.payload.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


def too_large() -> Result:
    """Of a response that is longer than a caller may get at once."""
    message = f"Response payload size exceeded maximum allowed payload size ({messages.MAX_PAYLOAD_SIZE} bytes)."
    return platform_error("Function.ResponseSizeTooLarge", message)


def result_of(post: Post, body: bytes) -> Result:
    """What a post that came whole says. A stream that failed in the middle has its error in a trailer."""
    error_type = (post.error_type or "Unhandled") if post.failed else ""
    if post.error_body:
        return Result(post.trailing_error, error_type=error_type)
    return Result(body, error_type=error_type, content_type=post.content_type or messages.JSON)
