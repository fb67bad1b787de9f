"""A program: AWS's runtime client for Python around a package, from outside of it, as Lambda has it in /var/runtime.

    python -S -P harness.py HANDLER

It is copied to a folder where nothing is beside it but AWS's client with what that needs, and run by the Python that the package is for, without
the packages that are installed in that. So this file must import nothing of shim: what the package does not bring is not there.

AWS's client talks to the Runtime API by a library that was built for one version of Python. Any other version gets the same from `RuntimeClient`.
"""

from __future__ import annotations

import os
import site
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

API = "/2018-06-01/runtime/invocation"

DEADLINE = "Lambda-Runtime-Deadline-Ms"
EXPECTED = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Invoked-Function-Arn",
    DEADLINE,
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id",
    "Content-Type",
)
"""The headers that AWS's client looks at, as it spells them."""


class RuntimeClient:
    """What the module `runtime_client` has, as AWS's client uses it (lambda_runtime_client.py)."""

    def initialize_client(self, user_agent: str) -> None:
        """Is told who we are."""
        self._headers = {"User-Agent": user_agent}

    def next(self) -> tuple[bytes, Mapping[str, str | int | None]]:
        """Waits for an invocation: its event, and the headers."""
        event, headers = self._ask("GET", f"{API}/next", 200)
        return event, {**dict.fromkeys(EXPECTED), **headers, DEADLINE: int(headers[DEADLINE])}

    def post_invocation_result(
        self, request_id: str, data: bytes, content_type: str, invocation_id: str | None
    ) -> None:
        """Gives the result."""
        headers = {"Content-Type": content_type, **_echoed(invocation_id)}
        self._ask("POST", f"{API}/{request_id}/response", 202, data, headers)

    def post_error(self, request_id: str, data: str, cause: str, invocation_id: str | None) -> None:
        """Gives an error."""
        headers: dict[str, str | bytes] = {"Content-Type": "application/json", **_echoed(invocation_id)}
        headers["Lambda-Runtime-Function-XRay-Error-Cause"] = cause.encode()
        self._ask("POST", f"{API}/{request_id}/error", 202, data.encode(), headers)

    def _ask(
        self, method: str, path: str, status: int, body: bytes | None = None, headers: Mapping[str, Any] | None = None
    ) -> tuple[bytes, dict[str, str]]:
        from http.client import HTTPConnection  # noqa: PLC0415 - only where the library does not fit

        connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        try:
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status != status:
            raise RuntimeError(f"the Runtime API answered {method} {path} with {answer.status}")
        names = {name.lower(): name for name in EXPECTED}
        return data, {names.get(name.lower(), name): value for name, value in answer.getheaders()}


def _echoed(invocation_id: str | None) -> dict[str, str]:
    return {} if invocation_id is None else {"Lambda-Runtime-Invocation-Id": invocation_id}


def main() -> None:
    """Serves the handler, until Lambda ends it."""
    site.setquit()  # what every Python has; without -S it would be there
    site.setcopyright()
    site.sethelper()
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    try:
        import_module("runtime_client")
    except ImportError:
        sys.modules["runtime_client"] = RuntimeClient()  # type: ignore[assignment] # all that is asked of it
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 - it is to be found first

    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    serve(["bootstrap", *sys.argv[1:]])


if __name__ == "__main__":
    main()
