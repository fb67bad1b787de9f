"""The context object that Lambda hands over beside the event, for this machine: for the command line, and for tests."""

from __future__ import annotations

import sys
import time
import uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "$LATEST"
"""The version of a function that was not published."""
REGION = "us-east-1"
ACCOUNT = "012345678912"
"""The account in the ARN, as AWS's own emulator has it."""
DEFAULT_NAME = "function"


def log_group(name: str) -> str:
    """Where Lambda keeps a function's log."""
    return f"/aws/lambda/{name}"


def log_stream() -> str:
    """A name for one execution environment's part of the log, as Lambda makes it: the date, the version, something unique."""
    return f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{VERSION}]{uuid.uuid4().hex}"


class CognitoIdentity:
    """Who called, where that was a user of Cognito. Lambda always hands the object over, mostly empty."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, cognito_identity_id: str | None = None, cognito_identity_pool_id: str | None = None) -> None:
        self.cognito_identity_id = cognito_identity_id
        self.cognito_identity_pool_id = cognito_identity_pool_id

    def __repr__(self) -> str:
        return f"CognitoIdentity({self.cognito_identity_id!r}, {self.cognito_identity_pool_id!r})"


class LambdaContext:
    """Everything that awslambdaric's context has (lambda_context.py), with a deadline `timeout` seconds from now.

    Args:
        timeout: seconds; Lambda's own default is 3.
        memory: MB. The attribute is a text, as in Lambda.
        name: the function's.
        request_id: a new UUID where none is given.
        region: where the function is said to be.
        log_group_name: what follows from the name, where none is given.
        log_stream_name: a new one, where none is given.
        tenant_id: as the caller gave it.
        client_context: an object with `client`, `custom` and `env`, or None.
        identity: an empty one where none is given.
    """

    def __init__(  # noqa: PLR0913 - each is a fact that a caller may want to choose
        self,
        *,
        timeout: float = 3.0,
        memory: int = 128,
        name: str = DEFAULT_NAME,
        request_id: str | None = None,
        region: str = REGION,
        log_group_name: str | None = None,
        log_stream_name: str | None = None,
        tenant_id: str | None = None,
        client_context: Any = None,
        identity: CognitoIdentity | None = None,
    ) -> None:
        self._epoch_deadline_time_in_ms = int((time.time() + timeout) * 1000)
        self.aws_request_id = request_id or str(uuid.uuid4())
        self.function_name = name
        self.function_version = VERSION
        self.invoked_function_arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        self.memory_limit_in_mb = str(memory)
        self.log_group_name = log_group_name or log_group(name)
        self.log_stream_name = log_stream_name or log_stream()
        self.tenant_id = tenant_id
        self.client_context = client_context
        self.identity = identity or CognitoIdentity()

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, not less than 0."""
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self) -> dict[str, str]:
        """The W3C trace context of the invocation: none here."""
        return {}

    def log(self, message: object) -> None:
        """Writes to the function's log, which is standard error here."""
        sys.stderr.write(str(message))

    def __repr__(self) -> str:
        return (
            f"<LambdaContext of {self.function_name}, request {self.aws_request_id},"
            f" {self.get_remaining_time_in_millis()} ms left>"
        )
