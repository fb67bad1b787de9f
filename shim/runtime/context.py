"""The context of an invocation, as our own runtime hands it over: what the Runtime API's headers and Lambda's variables say."""

from __future__ import annotations

import json
import os
import time

from shim.errors import EventInvalid
from shim.runtime_api import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

W3C_FIELDS = ("traceparent", "tracestate", "baggage")
"""What of a client context's `w3c` is handed on (awslambdaric, lambda_context.py)."""


class Fields:
    """An object of JSON whose members are attributes; one that is missing is None."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> None:
        """What is missing."""


class Context:
    """All that awslambdaric's context has (lambda_context.py), under the same names.

    Args:
        headers: of the answer to `next`, their names in lower case.

    Raises:
        EventInvalid: the client context or the identity is no JSON object.
    """

    log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
    memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    client_context: Fields | None = None
    identity: Fields | None = None
    _w3c: Mapping[str, str] = {}

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.aws_request_id = headers[_REQUEST_ID]
        self.invoked_function_arn = headers.get(_FUNCTION_ARN)
        self.tenant_id = headers.get(_TENANT_ID)
        self._epoch_deadline_time_in_ms = int(headers[_DEADLINE_MS])
        if headers.get(_CLIENT_CONTEXT):
            members = _object(headers, messages.CLIENT_CONTEXT)
            w3c = members.pop("w3c", None)
            if isinstance(w3c, dict):
                self._w3c = {name: w3c[name] for name in W3C_FIELDS if isinstance(w3c.get(name), str)}
            client = members.get("client")
            self.client_context = Fields(members | {"client": Fields(client) if isinstance(client, dict) else None})
        if headers.get(_COGNITO_IDENTITY):
            members = _object(headers, messages.COGNITO_IDENTITY)
            self.identity = Fields(
                {
                    "cognito_identity_id": members.get("cognitoIdentityId"),
                    "cognito_identity_pool_id": members.get("cognitoIdentityPoolId"),
                }
            )

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation, not less than 0."""
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self) -> dict[str, str]:
        """The W3C trace context of the invocation."""
        return dict(self._w3c)


_REQUEST_ID = messages.REQUEST_ID.lower()
_DEADLINE_MS = messages.DEADLINE_MS.lower()
_FUNCTION_ARN = messages.FUNCTION_ARN.lower()
_TENANT_ID = messages.TENANT_ID.lower()
_CLIENT_CONTEXT = messages.CLIENT_CONTEXT.lower()
_COGNITO_IDENTITY = messages.COGNITO_IDENTITY.lower()


def _object(headers: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(headers[name.lower()])
    except (ValueError, RecursionError) as error:
        raise EventInvalid(f"the header {name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise EventInvalid(f"the header {name} is no JSON object")
    return value
