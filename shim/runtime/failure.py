"""A failure, as Lambda is told of it: the body, the header that says what kind it is, and what X-Ray shows."""

from __future__ import annotations

import json
import os

import orjson

from shim.errors import ReportedError, ShimError, sendable
from shim.runtime_api import messages

LONGEST_CAUSE = 8 * 1024
"""Characters of a message in X-Ray's header; the body has all of it."""


class Failure:
    """What went wrong, in the names of the wire.

    Args:
        error: what was raised. The name of its class is the `errorType`, its text the `errorMessage`.
        request_id: the invocation's, or None where there is none.
        category: what Lambda counts it as, where that is not the error's own kind: `Lambda-Runtime-Function-Error-Type`.
    """

    def __init__(self, error: BaseException, request_id: str | None = None, *, category: str | None = None) -> None:
        self.error_type = sendable(type(error).__name__)
        self.message = sendable(str(error))
        self.request_id = request_id
        self.stack_trace: list[object] = []
        """Of a child's own error its own, as it reported it; our own errors say all in their sentence."""
        if isinstance(error, ReportedError):
            self.stack_trace.extend(error.stack_trace)
        elif not isinstance(error, ShimError):
            import traceback  # noqa: PLC0415 - for what must not happen

            self.stack_trace.extend(map(sendable, traceback.format_tb(error.__traceback__)))
        self.category = category or _category(type(error))

    def body(self) -> bytes:
        """What its caller gets."""
        return self._body(self.message, self.stack_trace)

    def short_body(self, most: int) -> bytes:
        """The same in so many bytes: without a stack trace, and with the beginning of the message, where it has more."""
        body = self.body()
        message = self.message
        while len(body) > most:
            body = self._body(message if message is self.message else f"{message}…", [])
            message = message[: len(message) * 3 // 4]
        return body

    def _body(self, message: str, stack_trace: list[object]) -> bytes:
        told: dict[str, object] = {"errorMessage": message, "errorType": self.error_type}
        if self.request_id is not None:
            told["requestId"] = self.request_id
        return orjson.dumps({**told, "stackTrace": stack_trace})

    def headers(self) -> list[tuple[str, str]]:
        """What Lambda itself, and X-Ray, are told of it."""
        exception = {"message": self.message[:LONGEST_CAUSE], "type": self.error_type, "stack": []}
        try:
            folder = os.getcwd()
        except FileNotFoundError:  # it is gone
            folder = ""
        cause = {"working_directory": folder, "exceptions": [exception], "paths": []}
        return [
            (messages.FUNCTION_ERROR_TYPE, self.category),
            (messages.XRAY_ERROR_CAUSE, json.dumps(cause)),  # in ASCII, as a header is
        ]


def _category(kind: type[BaseException]) -> str:
    """`Function.` and a name of letters, as Lambda wants it (RIE fatalerror.go): the class's own, or that of the nearest above it that fits."""
    for above in kind.__mro__:
        name = above.__name__
        if name.isascii() and name.isalpha() and name[0].isupper() and len(name) > 1:
            return f"Function.{name}"
    return "Function.Unknown"
