"""What a server tells while it serves: lines for a person on standard error, or JSON for a program on standard output."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Protocol

import orjson

from shim.cli import welcome
from shim.cli.board import Board, Tally
from shim.cli.display import STDERR, STDOUT, styled, visible
from shim.cli.jsonobject import milliseconds
from shim.cli.outlet import Outlet
from shim.invocation import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shim.local.deployment import Deployment
    from shim.local.emulator import Record
    from shim.local.function import Result

COLOURS = (b"36", b"33", b"35", b"32", b"34", b"96", b"93", b"95", b"92", b"94")
"""Of a terminal: the tags of execution environments take turns."""
LONGEST = 500
"""Characters of an error that are shown beside the log."""
PLATFORM = (b"START RequestId: ", b"END RequestId: ", b"REPORT RequestId: ")
DIM, RED, DEFAULT = b"\x1b[2m", b"\x1b[31m", b"\x1b[0m"


class Teller(Protocol):
    """Whom a server tells what happens."""

    def started(self, deployment: Deployment, url: str) -> None:
        """It serves from now on."""

    def logged(self, number: int, line: bytes) -> None:
        """An execution environment has logged a line."""

    def seen(self, record: Record) -> None:
        """An invocation is over."""

    def noted(self, sentence: str) -> None:
        """The server has something to say that no caller is told."""

    def renewed(self, files: Sequence[str]) -> None:
        """Those have changed, and there are new execution environments from now on."""

    def ending(self, signal: str, busy: int) -> None:
        """A signal came while so many invocations ran."""

    def close(self) -> None:
        """The end; everything is out when it returns."""

    def abandon(self) -> None:
        """The end at once."""


class Lines:
    """For a person.

    Args:
        running: how many invocations run now.
    """

    def __init__(self, running: Callable[[], int]) -> None:
        self._tally = Tally()
        self._is_live = styled(STDERR)
        self._running = running
        self._outlet: Outlet | None = None

    def started(self, deployment: Deployment, url: str) -> None:
        """As `Teller` says it."""
        board = Board(STDERR, self._tally, self._running) if self._is_live else None
        self._outlet = Outlet(STDERR, board=board)
        self._put(welcome.panel(deployment, url) if os.isatty(STDERR) else welcome.lines(deployment, url))

    def logged(self, number: int, line: bytes) -> None:
        """As `Teller` says it."""
        tag = b"[%d]" % number
        if self._is_live:
            tag = b"\x1b[%sm%s%s" % (COLOURS[(number - 1) % len(COLOURS)], tag, DEFAULT)
            line = _styled(line)
        self._put(b"%s %s\n" % (tag, line))

    def seen(self, record: Record) -> None:
        """As `Teller` says it. An error is told, since not every runtime logs it, and none its own end."""
        failed = record.result.failed
        self._tally.add(record.seconds, failed=failed)
        if failed:
            line = f"shim: [{record.environment}] {visible(_failure(record.result))}".encode(
                "utf-8", "backslashreplace"
            )
            self._put((RED + line + DEFAULT if self._is_live else line) + b"\n")

    def noted(self, sentence: str) -> None:
        """As `Teller` says it."""
        self._put(f"shim: {visible(sentence)}\n".encode("utf-8", "backslashreplace"))

    def renewed(self, files: Sequence[str]) -> None:
        """As `Teller` says it."""
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        self.noted(f"{files[0]}{more} changed: new execution environments from now on")

    def ending(self, signal: str, busy: int) -> None:
        """As `Teller` says it."""
        cut = f", {busy} of them unfinished" if busy else ""
        self.noted(f"{signal}: ending after {self._tally}{cut}")

    def close(self) -> None:
        """As `Teller` says it."""
        if self._outlet is not None:
            self._outlet.close()

    def abandon(self) -> None:
        """As `Teller` says it."""
        if self._outlet is not None:
            self._outlet.abandon()

    def _put(self, lines: bytes) -> None:
        if self._outlet is not None:
            self._outlet.put(lines)


class Objects:
    """For a program: an object a line.

    Args:
        on_failure: is called, in another thread, where nobody takes them any more.
    """

    def __init__(self, on_failure: Callable[[OSError], None]) -> None:
        self._outlet = Outlet(STDOUT, on_failure=on_failure)
        self._tally = Tally()

    def started(self, deployment: Deployment, url: str) -> None:
        """As `Teller` says it."""
        function = deployment.function
        self._tell(
            "start",
            url=url,
            function_url=f"{url}/url/",
            name=function.name,
            runtime=deployment.runtime,
            handler=function.handler,
            program=_text(deployment.program),
            folder=_text(function.folder),
            timeout_ms=milliseconds(function.timeout),
            memory_mb=function.memory,
        )

    def logged(self, number: int, line: bytes) -> None:
        """As `Teller` says it."""
        self._tell("log", environment=number, message=line.decode("utf-8", "replace"))

    def seen(self, record: Record) -> None:
        """As `Teller` says it."""
        result = record.result
        self._tally.add(record.seconds, failed=result.failed)
        self._tell(
            "invocation",
            environment=record.environment,
            requestId=record.invocation.request_id,
            ok=not result.failed,
            errorType=result.error_type or None,
            status=result.status or None,
            cold_start=record.is_cold,
            duration_ms=milliseconds(record.seconds),
            **_payload(result.payload),
        )

    def noted(self, sentence: str) -> None:
        """As `Teller` says it."""
        self._tell("note", message=_text(sentence))

    def renewed(self, files: Sequence[str]) -> None:
        """As `Teller` says it."""
        self._tell("renewed", files=[_text(file) for file in files])

    def ending(self, signal: str, busy: int) -> None:
        """As `Teller` says it."""
        self._tell("stop", signal=signal, invocations=self._tally.count, errors=self._tally.errors, unfinished=busy)

    def close(self) -> None:
        """As `Teller` says it."""
        self._outlet.close()

    def abandon(self) -> None:
        """As `Teller` says it: there is nothing to be restored."""

    def _tell(self, event: str, **data: object) -> None:
        self._outlet.put(orjson.dumps({"event": event, "timestamp": timestamp(), **data}) + b"\n")


def _failure(result: Result) -> str:
    """What the caller was told, on one line."""
    try:
        told = orjson.loads(result.payload)
        said = f"{told['errorType']}: {told['errorMessage']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = result.error_type
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _payload(payload: bytes) -> dict[str, object]:
    """What the caller got: JSON byte for byte, on one line; anything else in base64."""
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}
    # Raw, they stand between JSON's tokens only.
    return {"payload": orjson.Fragment(payload.replace(b"\n", b" ").replace(b"\r", b" "))}


def _styled(line: bytes) -> bytes:
    """A line of the platform's own stands back, but for the report of what it ended."""
    if not line.startswith(PLATFORM):
        return line
    return (RED if b"\tStatus: " in line else DIM) + line + DEFAULT


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
