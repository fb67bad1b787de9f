"""One event handled once, and the time it has. Only this file reads Lambda's context object and, on the path of an invocation, the clock."""

from __future__ import annotations

import os
import time
from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class LambdaContext(Protocol):
        """What awslambdaric hands over beside the event, as far as it must be there."""

        def get_remaining_time_in_millis(self) -> int:
            """Milliseconds until Lambda ends the invocation."""


now = time.monotonic
"""The clock that every deadline is an instant of, in seconds."""


def epoch_ms() -> int:
    """This instant in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def timestamp() -> str:
    """This instant as Lambda's log has it: RFC 3339, in UTC, with milliseconds."""
    seconds, milliseconds = divmod(epoch_ms(), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


FOREVER = float("inf")
SHORTEST = 0.1
"""Seconds that must be left for a child to be started at all."""


class Deadline:
    """The instants that an invocation must keep, on the clock `now`; None where there is no deadline.

    `margin` and `grace` are seconds, and are shrunk where little time is left, so that a one-second timeout is not half margin.
    """

    __slots__ = ("began", "grace", "lambda_at", "remaining", "stop_at")

    def __init__(self, began: float, remaining: float, margin: float, grace: float) -> None:
        self.began = began
        self.remaining = remaining
        """Seconds that were left for it then; infinite where there is no deadline."""
        if remaining < margin * 4:
            margin = remaining / 4
        self.grace = min(margin * 0.4, grace)
        """Seconds between SIGTERM and SIGKILL."""
        self.lambda_at: float | None = None
        """When Lambda ends everything: by then the answer must be out."""
        self.stop_at: float | None = None
        """When the child is told to stop."""
        if remaining != FOREVER:
            self.lambda_at = began + remaining
            self.stop_at = self.lambda_at - margin

    @classmethod
    def none(cls, *, grace: float) -> Deadline:
        """None, for what is no invocation's."""
        return cls(now(), FOREVER, FOREVER, grace)

    def before(self, until: float) -> float:
        """That instant, or when the child is told to stop, if that is earlier."""
        return until if self.stop_at is None else min(until, self.stop_at)

    @property
    def give_up_at(self) -> float:
        """When we answer even if what was killed is not gone yet: a fifth of the margin is left for the answer itself."""
        if self.lambda_at is None or self.stop_at is None:
            return now() + 1
        return self.lambda_at - (self.lambda_at - self.stop_at) / 5


class Invocation:
    """One event, its context and its time, as they came.

    Args:
        event: a JSON value, or bytes that are JSON already.
        context: Lambda's context object; None means that there is no deadline and that nothing is known.
        trace_id: X-Ray's; where none is given it is what awslambdaric put into the environment.
        is_valid: whether bytes are known to be JSON, and need not be looked at.
    """

    __slots__ = ("began", "context", "event", "is_valid", "remaining", "trace_id")

    def __init__(
        self,
        event: object,
        context: LambdaContext | None = None,
        *,
        trace_id: str | None = None,
        is_valid: bool = False,
    ) -> None:
        self.event = event
        self.is_valid = is_valid
        self.context = context
        self.began = now()
        self.remaining = FOREVER if context is None else context.get_remaining_time_in_millis() / 1000
        """Seconds until Lambda ends the invocation, when it began here."""
        # awslambdaric sets it before each invocation; a context object does not carry it.
        self.trace_id = trace_id or os.environ.get("_X_AMZN_TRACE_ID")

    def deadline(self, margin: float, grace: float) -> Deadline:
        """The instants that follow from the context and these two, in seconds."""
        return Deadline(self.began, self.remaining, margin, grace)

    @property
    def request_id(self) -> str | None:
        """Lambda's id of this invocation."""
        return getattr(self.context, "aws_request_id", None)

    @property
    def deadline_ms(self) -> int | None:
        """The instant at which Lambda ends the invocation, in milliseconds since 1970."""
        if self.context is None:
            return None
        exact = getattr(self.context, "_epoch_deadline_time_in_ms", None)  # what awslambdaric keeps, from the header
        return int(exact) if exact is not None else int((time.time() + self.remaining) * 1000)

    def describe(self, *, camel: bool, count: int) -> dict[str, Any]:
        """The context as the child sees it: all that awslambdaric's has (lambda_context.py), and what it lacks.

        Args:
            camel: names as Node.js has them (`awsRequestId`, `memoryLimitInMB`), else as Python has them.
            count: the how-manieth invocation in this execution environment it is, from 1.
        """
        context = self.context
        try:
            plain = _PLAIN(context)
        except AttributeError:  # a context of a person's own
            plain = tuple(getattr(context, name, None) for name in SNAKE_KEYS[:PLAIN])
        client_context = getattr(context, "client_context", None)
        identity = getattr(context, "identity", None)
        w3c = getattr(context, "w3c", None)
        values = (
            *plain,
            None if client_context is None else _client_context(client_context),
            None if identity is None else _identity(identity, camel=camel),
            None if w3c is None else w3c(),
            self.trace_id,
            self.deadline_ms,
            count == 1,
            count,
        )
        return dict(zip(CAMEL_KEYS if camel else SNAKE_KEYS, values))  # noqa: B905 - strict takes 0.1 µs, and a test holds that they fit


SNAKE_KEYS = (
    "aws_request_id",
    "log_group_name",
    "log_stream_name",
    "function_name",
    "function_version",
    "invoked_function_arn",
    "memory_limit_in_mb",
    "tenant_id",
    "client_context",
    "identity",
    "w3c",
    "trace_id",
    "deadline_ms",
    "cold_start",
    "invocation_count",
)
PLAIN = SNAKE_KEYS.index("tenant_id") + 1
"""So many of them are handed on as the context has them."""
_PLAIN = attrgetter(*SNAKE_KEYS[:PLAIN])
CAMEL_KEYS = (
    "awsRequestId",
    "logGroupName",
    "logStreamName",
    "functionName",
    "functionVersion",
    "invokedFunctionArn",
    "memoryLimitInMB",  # Node.js spells it so
    "tenantId",
    "clientContext",
    "identity",
    "w3c",
    "traceId",
    "deadlineMs",
    "coldStart",
    "invocationCount",
)
_CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


def _client_context(client_context: Any) -> dict[str, Any]:
    """Lambda's client context as the caller sent it. Node.js hands the caller's own names on, so they are the same in both spellings."""
    client = client_context.client
    return {
        "client": None if client is None else {name: getattr(client, name, None) for name in _CLIENT_FIELDS},
        "custom": client_context.custom,
        "env": client_context.env,
    }


def _identity(identity: Any, *, camel: bool) -> dict[str, Any] | None:
    """The Cognito identity; None where there is none. awslambdaric always has the object, with empty slots where it knows nothing."""
    identity_id = getattr(identity, "cognito_identity_id", None)
    pool_id = getattr(identity, "cognito_identity_pool_id", None)
    if identity_id is None and pool_id is None:
        return None
    if camel:
        return {"cognitoIdentityId": identity_id, "cognitoIdentityPoolId": pool_id}
    return {"cognito_identity_id": identity_id, "cognito_identity_pool_id": pool_id}
