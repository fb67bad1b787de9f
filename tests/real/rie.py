"""One execution environment: AWS's emulator with AWS's runtime client and our handler in it."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import shim
from tests.conftest import eventually
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INVOCATIONS = "/2015-03-31/functions/function/invocations"


class Answer:
    """What the caller of a function gets."""

    def __init__(self, status: int, body: bytes, seconds: float) -> None:
        self.status = status
        self.body = body
        self.seconds = seconds
        """From the invocation to the end of the answer."""

    @property
    def value(self) -> Any:
        """The body's JSON value."""
        return json.loads(self.body)

    @property
    def error_type(self) -> str | None:
        """The body's errorType; None where it is no error. The emulator has no header that tells."""
        try:
            value = self.value
        except ValueError:  # the emulator's own words, when the time is over
            return None
        return value.get("errorType") if isinstance(value, dict) else None

    @property
    def error_message(self) -> str:
        """The body's errorMessage."""
        return str(self.value["errorMessage"])

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:500]!r}, {len(self.body)} bytes, after {self.seconds:.3f} s>"


class Rie:
    """The emulator as it serves the handler in that folder. One invocation at a time: two make it panic.

    Args:
        program: the emulator.
        command: what it is to start, and to start again when it has ended: the runtime client with the handler's name.
        folder: the function's LAMBDA_TASK_ROOT and current folder.
        variables: the function's own, beside those that every function here has.
        log: takes what the emulator and the function write.
    """

    def __init__(
        self, program: Path, command: Sequence[str], *, folder: Path, variables: Mapping[str, str], log: Path
    ) -> None:
        self.escapes = not variables.get("AWS_EXECUTION_ENV")
        """Whether the client encodes results as ASCII."""
        for _attempt in range(5):
            ports = _free_ports()
            # Without both addresses it listens on every interface.
            addresses = {"runtime-interface-emulator": ports[0], "runtime-api": ports[1]}
            flags = [word for name, port in addresses.items() for word in (f"--{name}-address", f"127.0.0.1:{port}")]
            self.session = Session(
                [str(program), *flags, *command],
                environment={**function_environment(folder), **variables},
                folder=folder,
                log=log,
            )
            self._port = ports[0]
            try:
                eventually(lambda: self.session.ended or _listens(self._port))
            except BaseException:
                self.session.end()
                raise
            if not self.session.ended:
                return
            self.session.end()  # another process took one of the ports in between
        raise OSError(f"the emulator does not start: {log.read_text()}")

    def invoke(self, event: object, **headers: str) -> Answer:
        """What it answers to that event, or to those bytes as the event; `X_Amz_Client_Context="…"` is a header."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        begun = monotonic()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", INVOCATIONS, body=body, headers={"Content-Type": "application/json"} | named)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, content, monotonic() - begun)

    def count(self) -> int:
        """The how-manieth invocation in its environment this good one was, by the child's own context. A new environment begins at 1."""
        count: int = self.invoke({"do": "echo"}).value["context"]["invocation_count"]
        return count

    def client(self) -> int:
        """The process number of the runtime client, which is the handler's process."""
        (pid,) = self.session.members() - {self.session.pid}
        return pid


def function_environment(folder: Path) -> dict[str, str]:
    """The environment of a function in that folder: nothing of ours that Lambda or `shim` would heed, and the same `shim` as here."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBDA_", "SHIM_", "_"))}
    return ours | {
        "AWS_LAMBDA_FUNCTION_NAME": "real",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "LAMBDA_TASK_ROOT": str(folder),
        "PYTHONPATH": str(Path(shim.__file__).parents[1]),
        "SHIM_EXECUTABLE": "obey",
    }


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
