"""What an ending means, whatever the codec: the reply of a child that succeeded, or the error of one that did not."""

from __future__ import annotations

import json

import orjson

from shim.errors import (
    DeadlineExceeded,
    ExitError,
    OutputTooLarge,
    ReplyMissing,
    ReplyUnexpected,
    ReportedError,
    SignalError,
    is_error_name,
    named,
    reported as reported_error,
)
from shim.outcome import (
    Exited,
    Misbehaved,
    NotStarted,
    Overflowed,
    Refused,
    Replied,
    Signaled,
    Stopped,
    Told,
    Unanswered,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from shim.errors import Facts, ShimError
    from shim.outcome import Outcome


BYTES = "make it write UTF-8, or set SHIM_OUTPUT=base64 for bytes"
"""The cure for a reply that is no text."""
POST = "make it post one whole response or error for each invocation"
"""The cure for a bootstrap that posted something else."""


class Unfit(ValueError):
    """A reply that gives no value: it does not parse as JSON, or (`parses`) what it says can't be a result."""

    def __init__(self, reason: str, cure: str, *, offset: int | None = None, parses: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure
        self.offset = offset
        self.parses = parses


def success(  # noqa: C901 - a case for each outcome
    outcome: Outcome, *, executable: str, exit_codes: Mapping[int, str], memory: int | None
) -> Exited | Replied:
    """The outcome itself, if the child succeeded. `memory` is the function's, in bytes, or None where it is not known.

    Raises:
        ShimError: the one error that tells how it failed.
    """
    match outcome:
        case Replied() | Exited(code=0):
            return outcome
        case Exited():
            if exit_codes.get(outcome.code) == "ok":
                return outcome
            raise exit_error(outcome, executable=executable, name=exit_codes.get(outcome.code), memory=memory)
        case Signaled():
            raise signal_error(outcome, executable=executable, memory=memory)
        case Stopped():
            begun = len(outcome.reply) if outcome.by_line else None
            common = facts(outcome, executable)
            raise DeadlineExceeded(signal=outcome.signal, begun=begun, stalled=outcome.stalled, **common)
        case Refused():
            raise refusal(outcome, executable=executable)
        case Misbehaved(replied=True):
            raise ReplyUnexpected(how=outcome.how, cure=outcome.cure, **facts(outcome, executable))
        case Misbehaved():
            raise ReplyMissing(how=outcome.how, cure=outcome.cure, **facts(outcome, executable))
        case Unanswered(size=0):
            raise ReplyMissing(how=outcome.how, cure=POST, **facts(outcome, executable))
        case Overflowed() | Unanswered():
            stopped = isinstance(outcome, Overflowed)
            raise OutputTooLarge(
                size=outcome.size, limit=outcome.limit, encoded=False, stopped=stopped, **facts(outcome, executable)
            )
        case NotStarted(error=None):
            raise DeadlineExceeded(executable=executable, signal=None, duration=None, stderr_tail="")
        case NotStarted():
            raise outcome.error  # type: ignore[misc] # it is not None: that is the case above


def facts(outcome: Told, executable: str) -> Facts:
    """What every error of a child that was started says."""
    return {"executable": executable, "duration": outcome.duration, "stderr_tail": outcome.stderr_tail}


def signal_error(outcome: Signaled, *, executable: str, memory: int | None) -> SignalError:
    """The error for a signal that we did not send."""
    from shim.codecs.hints import of_signal  # noqa: PLC0415 - only after a failure

    why, cure = of_signal(outcome, memory)
    common = facts(outcome, executable)
    return SignalError(signal=outcome.signal, core_dumped=outcome.core_dumped, why=why, cure=cure, **common)


def exit_error(outcome: Exited, *, executable: str, name: str | None, memory: int | None) -> ShimError:
    """The error for an exit code that is no success. A name that the settings give to the code goes before the child's own."""
    report = reported(outcome.reply)
    common = facts(outcome, executable)
    if name is not None:
        message = report["errorMessage"] if report else ""
        return named(ExitError, name)(exit_code=outcome.code, reported=message, **common)
    if report is None:
        from shim.codecs.hints import of_exit_code  # noqa: PLC0415 - only after a failure

        return ExitError(exit_code=outcome.code, cure=of_exit_code(outcome, memory), **common)
    return reported_error(
        report["errorType"],
        report["errorMessage"],
        exit_code=outcome.code,
        stack_trace=report.get("stackTrace", ()),
        **common,
    )


def refusal(outcome: Refused, *, executable: str) -> ReportedError:
    """The error that an envelope has: an object as Lambda's own runtimes post it, a text, or what else it may be, as JSON."""
    common = facts(outcome, executable)
    error = outcome.error
    report = as_report(error)
    if report is not None:
        return reported_error(
            report["errorType"],
            report["errorMessage"],
            exit_code=None,
            stack_trace=report.get("stackTrace", ()),
            **common,
        )
    try:
        message = error if isinstance(error, str) else json.dumps(error)
    except RecursionError:
        message = "an error that is nested too deep to be told"
    return ReportedError(message, exit_code=None, stack_trace=(), **common)


def reported(reply: bytes | bytearray) -> dict[str, Any] | None:
    """The error that a failed child wrote as its reply, or None where the reply is anything else."""
    if b'"errorType"' not in reply:
        return None
    try:
        return as_report(orjson.loads(reply))
    except orjson.JSONDecodeError:
        return None


def as_report(report: Any) -> dict[str, Any] | None:
    """The value, if it is an error as Lambda's own runtimes post it: nothing but `errorType`, `errorMessage` and `stackTrace` may be in it."""
    if not isinstance(report, dict) or not {"errorType", "errorMessage"} <= report.keys() <= {
        "errorType",
        "errorMessage",
        "stackTrace",
    }:
        return None
    name, message, trace = report["errorType"], report["errorMessage"], report.get("stackTrace", [])
    if not isinstance(name, str) or not is_error_name(name) or not isinstance(message, str):
        return None
    if not isinstance(trace, list) or not all(isinstance(line, str) for line in trace):
        return None
    return report
