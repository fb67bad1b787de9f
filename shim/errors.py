"""Every way in which an invocation can fail.

The names of these classes are wire names: awslambdaric sends `type(error).__name__` as Lambda's `errorType` and `str(error)` as its
`errorMessage`, and Step Functions match on the first. Each error makes its own sentence from its data, and carries the data as attributes.
This file imports nothing of the machine (no os, subprocess, socket, select, time, threading).
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypedDict, TypeVar, Unpack

    E = TypeVar("E", bound="ShimError")

    class Facts(TypedDict):
        """What an error of a child that was started carries."""

        executable: str
        duration: float
        stderr_tail: str


MESSAGE_LIMIT = 65_536
"""The bytes of one error message. awslambdaric also sends it as a header (Lambda-Runtime-Function-XRay-Error-Cause), which a server may refuse
from 1 MiB on; JSON can make six bytes of one."""

ERROR_NAME = r"(?!States\.)[A-Za-z_][A-Za-z0-9_.]{0,127}"
"""What may be an errorType: Step Functions keep `States.` for themselves (Amazon States Language, "Error names").

A text, which `re` compiles when it is first needed: at every cold start it would cost 0.3 ms.
"""


def is_error_name(name: str) -> bool:
    """Whether it may be an errorType (`ERROR_NAME`)."""
    return re.fullmatch(ERROR_NAME, name) is not None


class ShimError(Exception):
    """Everything that `shim` raises on purpose. Its message is made sendable: see `sendable`."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, sendable(message))  # not what else `reported` may put behind this class

    _parents: tuple[type, ...] | None = None
    """Of a class that was made for a name, and is found under none."""

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, as pickle makes it too, has the same data. The arguments of its making, from which Python would make it again, are not kept."""
        kind = type(self)
        return _made_again, (self._parents or kind, kind.__name__, self.args), vars(self)


class SettingsError(ShimError):
    """The settings have mistakes: all of them, at once.

    Attributes:
        mistakes: one sentence each.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(f"the settings have {count}: " + "; ".join(self.mistakes))


class EventInvalid(ShimError):
    """The event holds something that JSON can't hold, or is bytes that are not valid JSON. No child was started."""


class ShimClosed(ShimError):
    """The Shim was called after `close()`."""


class RuntimeApiError(ShimError):
    """Our own runtime can't go on: Lambda's Runtime API can't be reached, or does not speak as it should.

    Attributes:
        is_silent: whether the connection ended before a byte of an answer.
    """

    def __init__(self, message: str, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        super().__init__(message)


class PackageError(ShimError):
    """A deployment package can't be made, read or run."""


class ExecutableError(ShimError):
    """The executable's doing.

    Attributes:
        executable: its name, as the message shows it.
        duration: seconds from its start to its end, or None where it was never started.
        stderr_tail: the last of its standard error, as text.
        cure: what to do about it, or "".
    """

    def __init__(
        self, happened: str, *, executable: str, cure: str = "", duration: float | None = None, stderr_tail: str = ""
    ) -> None:
        self.executable = executable
        self.duration = duration
        self.stderr_tail = stderr_tail
        self.cure = cure
        message = f"{executable} {happened}"
        if cure:
            message += f"; {cure}"
        if stderr_tail:
            message += f". Its standard error ends with:\n{stderr_tail}"
        super().__init__(message)


class ExecutableNotFound(ExecutableError):
    """There is no such file, or the interpreter that its first line names is missing."""


class ExecutableNotRunnable(ExecutableError):
    """The file is there, but can't be run: no execute bit, a directory, another format or architecture, no resources left."""


class ExitError(ExecutableError):
    """The executable ended with an exit code that is not 0. The names given in `exit_codes` are its subclasses.

    Attributes:
        exit_code: 1 to 255.
    """

    def __init__(self, *, exit_code: int, reported: str = "", cure: str = "", **facts: Unpack[Facts]) -> None:
        self.exit_code = exit_code
        happened = f"ended with exit code {exit_code} after {seconds(facts['duration'])}"
        if reported:
            happened += f" and reported: {reported}"
        super().__init__(happened, cure=cure, **facts)


class SignalError(ExecutableError):
    """The executable was killed by a signal that `shim` did not send.

    Attributes:
        signal: its name, "SIGSEGV".
        core_dumped: whether the kernel wrote a core file.
    """

    def __init__(
        self, *, signal: str, core_dumped: bool, why: str = "", cure: str = "", **facts: Unpack[Facts]
    ) -> None:
        self.signal = signal
        self.core_dumped = core_dumped
        dumped = " (core dumped)" if core_dumped else ""
        happened = f"was killed by {signal}{dumped} after {seconds(facts['duration'])}"
        super().__init__(f"{happened}, {why}" if why else happened, cure=cure, **facts)


class DeadlineExceeded(ExecutableError):
    """The invocation's time was over: the executable was stopped before Lambda would have stopped everything.

    Attributes:
        signal: the last signal that was sent to stop it, or None where it was not started at all, or had ended.
    """

    def __init__(  # noqa: PLR0913 - four ways in which time is over
        self,
        *,
        executable: str,
        signal: str | None,
        duration: float | None,
        stderr_tail: str,
        busy: int | None = None,
        begun: int | None = None,
        stalled: bool = False,
    ) -> None:
        self.signal = signal
        cure = "raise the function's timeout; if it is slow, its memory too, with which its share of the CPU grows; if it hangs, find out what it waits for"
        if busy is not None:
            happened = f"was not asked in time, since all {busy} children are busy"
            cure = "raise SHIM_MAX_CHILDREN, or the function's timeout"
        elif duration is None:
            happened = "was not started, since less than 100 ms of the function's time were left"
        elif stalled:
            how = f"was stopped with {signal}" if signal else "had ended"
            happened = f"{how} before its caller had taken all that it streamed, {seconds(duration)} after its start, when the function's time was nearly over"
            cure = "raise the function's timeout, or stream less: Lambda sends 2 MB a second after the first 6 MB"
        else:
            happened = f"was still running after {seconds(duration)}, when the function's time was nearly over, and was stopped with {signal}"
        if begun == 0:
            cure += "; if it has replied, make it flush each line, which many languages do not by themselves when they write to a pipe"
        elif begun:
            happened += f"; it had written {begun} bytes without a line feed"
            cure = "make it end each reply with a line feed and flush it, which many languages do not by themselves when they write to a pipe"
        super().__init__(happened, cure=cure, executable=executable, duration=duration, stderr_tail=stderr_tail)


class NotReady(ExecutableError):
    """A warm child did not say in time that it is ready, which `ready` asks for; or a bootstrap did not ask for its first invocation."""

    def __init__(self, happened: str, *, cure: str = "", **facts: Unpack[Facts]) -> None:
        cure = cure or (
            'make it write the line {"ok":true} when it can take requests, and flush it; or raise SHIM_READY_WITHIN_MS'
        )
        super().__init__(happened, cure=cure, **facts)


class OutputTooLarge(ExecutableError):
    """The reply was longer than `max_output_bytes`, or is longer than Lambda's limit once it is encoded.

    Attributes:
        size: bytes read before the executable was stopped, or bytes of a bootstrap's response, or of the encoded result.
        limit: bytes that are allowed.
    """

    def __init__(
        self,
        *,
        size: int,
        limit: int,
        encoded: bool,
        stopped: bool = True,
        collected: bool = False,
        **facts: Unpack[Facts],
    ) -> None:
        self.size = size
        self.limit = limit
        if collected:
            happened = f"streamed more than the {limit} bytes that Lambda accepts of an answer that is collected, and was stopped after {size}"
            cure = "run it with python -m shim.runtime, which streams, or put the result into S3 and return its bucket and key"
        elif not stopped:
            happened = f"posted a response of {size} bytes, more than max_output_bytes allows, {limit}"
            cure = "make it answer with less, or put the result into S3 and return its bucket and key"
        elif encoded:
            happened = (
                f"gave a result of {size} bytes once encoded as JSON, more than the {limit} bytes that Lambda accepts"
            )
            cure = "put the result into S3 and return its bucket and key"
        else:
            happened = f"wrote more than max_output_bytes allows, {limit} bytes, and was stopped after {size}"
            cure = "make it write less, or raise SHIM_MAX_OUTPUT_BYTES"
        super().__init__(happened, cure=cure, **facts)


class OutputInvalid(ExecutableError):
    """The reply is not what `output` asks for: not JSON, not UTF-8, a lone surrogate, a number or a nesting that no result can hold.

    Attributes:
        reason: what is wrong.
        excerpt: the offending bytes and some around them.
        offset: where they stand in the reply, in bytes, or None where that is not one place.
    """

    def __init__(
        self, *, reason: str, reply: bytes | bytearray, offset: int | None, cure: str, **facts: Unpack[Facts]
    ) -> None:
        self.reason = reason
        self.offset = offset
        start = max(0, (offset or 0) - 20)
        self.excerpt = bytes(reply[start : start + 60])
        where = f" ({len(reply)} bytes)" if offset is None else f" at byte {offset} of {len(reply)}"
        happened = f"wrote a reply that is no valid result: {reason}{where}, near {self.excerpt!r}"
        super().__init__(happened, cure=cure, **facts)


class ReplyMissing(ExecutableError):
    """The executable succeeded and wrote no reply, where `output` asks for one. A warm one must not end, nor close its reply's descriptor."""

    def __init__(self, *, how: str | None = None, cure: str = "", **facts: Unpack[Facts]) -> None:
        if how is None:
            happened = f"ended with success after {seconds(facts['duration'])} but wrote no reply, although SHIM_OUTPUT=json requires one JSON value"
            cure = (
                "write one to standard output (or to descriptor 3, if SHIM_REPLY_FD=3), or set SHIM_OUTPUT=text or auto"
            )
        else:
            happened = f"{how}, {seconds(facts['duration'])} after it was asked, and gave no reply"
            cure = (
                cure
                or "make it answer each line with a line, flushed, and go on until the end of its input; or set SHIM_MODE=oneshot"
            )
        super().__init__(happened, cure=cure, **facts)


class ReplyUnexpected(ExecutableError):
    """A warm child replied more than once, before it was asked, or to another request. It was killed: no answer of it can be trusted."""

    def __init__(self, *, how: str, cure: str, **facts: Unpack[Facts]) -> None:
        super().__init__(f"{how}, and was killed", cure=cure, **facts)


class ReportedError(ExecutableError):
    """The base of the executable's own errors: it failed, and its output was `{"errorType", "errorMessage"[, "stackTrace"]}`.

    An envelope's `error` is one, too: an object like that, or a text, whose type is `ReportedError` itself. And so is what a bootstrap posts as
    an error.

    What is raised is a subclass that bears the name in `errorType`; its message is the executable's own.

    Attributes:
        exit_code: 1 to 255, or None for an envelope's and a bootstrap's.
        stack_trace: what is in `stackTrace`, verbatim: lines, or what else a bootstrap has there.
    """

    def __init__(
        self, message: str, *, exit_code: int | None, stack_trace: Sequence[Any], **facts: Unpack[Facts]
    ) -> None:
        super().__init__("", **facts)
        self.exit_code = exit_code
        self.stack_trace = tuple(stack_trace)
        self.args = (sendable(message),)


def reported(
    name: str | None, message: str, *, exit_code: int | None, stack_trace: Sequence[Any], **facts: Unpack[Facts]
) -> ReportedError:
    """The executable's own error, with that name, or with none.

    Where awslambdaric is the host it is a FaultException of its, too: of that one it posts the stack trace that it bears, of any other exception
    Python's (bootstrap.py, handle_event_request).
    """
    kind = ReportedError if name is None else named(ReportedError, name)
    fault = getattr(sys.modules.get("awslambdaric.lambda_runtime_exception"), "FaultException", None)
    if fault is None:
        return kind(message, exit_code=exit_code, stack_trace=stack_trace, **facts)
    error: Any = _subclass((kind, fault), kind.__name__)(message, exit_code=exit_code, stack_trace=stack_trace, **facts)
    error.msg, error.exception_type, error.trace = str(error), kind.__name__, list(stack_trace)
    return error  # type: ignore[no-any-return] # the class was made here


def named(parent: type[E], name: str) -> type[E]:
    """The subclass of `parent` with that name, which is an error name (`ERROR_NAME`)."""
    subclass: type[E] = _subclass((parent,), name)
    return subclass


@lru_cache(maxsize=64)  # the names come from the executable, and must not pile up
def _subclass(parents: tuple[type, ...], name: str) -> Any:
    return type(
        name, parents, {"__doc__": f"The executable's own {name}.", "__module__": __name__, "_parents": parents}
    )


def _made_again(kind: type[ShimError] | tuple[type, ...], name: str, arguments: tuple[str, ...]) -> ShimError:
    """An error without its data, for `ShimError.__reduce__`."""
    made: type[ShimError] = _subclass(kind, name) if isinstance(kind, tuple) else kind
    return made.__new__(made, *arguments)


def seconds(duration: float) -> str:
    """A duration as a person reads it: `12 ms`, `3.25 s`."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.2f} s"


def sendable(message: str) -> str:
    """The message, or its beginning and a word on what was left out, within `MESSAGE_LIMIT` bytes of UTF-8.

    A lone surrogate and DEL become "?": awslambdaric on Python 3.12 and later puts both into a header unescaped. It can't encode the first,
    and servers refuse the second; either way the execution environment dies of it.
    """
    encoded = message.replace("\x7f", "?").encode("utf-8", "replace")
    if len(encoded) <= MESSAGE_LIMIT:
        return encoded.decode()
    note = f" … (cut: the message has {len(encoded)} bytes)"
    return encoded[: MESSAGE_LIMIT - len(note.encode())].decode("utf-8", "ignore") + note
