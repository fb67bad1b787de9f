"""Asks a function for one answer after the other, in an execution environment of its own: without HTTP, and without `async`."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from shim.errors import EventInvalid, ExecutableError, SettingsError, ShimError
from shim.local.emulator import Emulator
from shim.local.function import Invocation, message_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    from shim.local.function import Function, Result

MB = 1024 * 1024
REPORT = re.compile(
    rb"REPORT RequestId: \S+\tDuration: ([\d.]+) ms\t.*\tMax Memory Used: (\d+) MB(?:\tInit Duration: ([\d.]+) ms)?.*"
)
MISTAKES: dict[str, type[ShimError]] = {"SettingsError": SettingsError, "EventInvalid": EventInvalid}
"""Errors that are nobody's fault but the caller's; all others are the function's."""
TAIL = ". Its standard error ends with:\n"


class Report(NamedTuple):
    """What an invocation took, as its REPORT line has it.

    Attributes:
        duration: seconds.
        init: seconds of the start before it; None where there was none.
        peak: bytes of memory that all processes together had at most.
    """

    duration: float
    init: float | None
    peak: int


class Caller:
    """A function that is asked.

    Args:
        function: it.
        log: takes each line of its log.
        with_platform: whether Lambda's own lines are among those.
    """

    def __init__(self, function: Function, log: Callable[[bytes], None], *, with_platform: bool) -> None:
        self._log = log
        self._with_platform = with_platform
        self._emulator = Emulator(function, concurrency=1, kept=0, write=self._take)
        self._runner = asyncio.Runner()
        self._request_id = b""
        self.report: Report | None = None
        """Of the last invocation."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all that was started for it. What an invocation says that is ended with it is of no interest."""
        if kind is not None and not issubclass(kind, ShimError):
            self._log = lambda _line: None
        with self._runner:
            self._runner.run(self._emulator.close())

    def ask(self, invocation: Invocation) -> Result:
        """The answer, if it is no error.

        Raises:
            ShimError: it is one, which bears the name that the function gave it.
        """
        self._request_id = invocation.request_id.encode()
        self.report = None
        result = self._runner.run(self._emulator.invoke(invocation))
        if result.failed:
            raise error_of(result)
        return result

    def _take(self, _: int, line: bytes) -> None:
        is_platform = line.startswith(
            tuple(b"%s RequestId: %s" % (word, self._request_id) for word in (b"START", b"END", b"REPORT"))
        )
        if is_platform and (report := REPORT.fullmatch(line)):
            init = float(report[3]) / 1000 if report[3] else None
            self.report = Report(float(report[1]) / 1000, init, int(report[2]) * MB)
        if self._with_platform or not is_platform:
            self._log(line)


def error_of(result: Result) -> ShimError:
    """The error that a function's caller got, as one of ours: with its own name and message."""
    try:
        told: Any = json.loads(result.payload)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    name = told.get("errorType")
    name = name if isinstance(name, str) and name else result.error_type
    base = MISTAKES.get(name, ExecutableError)
    try:
        kind = type(name, (base,), {"__module__": __name__})
    except ValueError:  # a name that no class can have
        kind = type("Unhandled", (base,), {"__module__": __name__})
    error: Any = Exception.__new__(kind)
    ShimError.__init__(error, message_of(result))
    if base is ExecutableError:
        error.stderr_tail = str(error).partition(TAIL)[2]
    trace = told.get("stackTrace")
    if trace and isinstance(trace, list) and all(isinstance(line, str) for line in trace):
        error.stack_trace = tuple(trace)
    return error  # type: ignore[no-any-return] # the class was made here
