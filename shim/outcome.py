"""What a child did: a closed union of plain values, which a codec turns into a value or an error.

This file imports nothing of the machine. Its classes are plain, since each dataclass costs a cold start a millisecond.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypedDict, Unpack

    class Facts(TypedDict):
        """What is known of every child that has ended."""

        reply: bytes | bytearray
        duration: float
        stderr_tail: str
        usage: Usage
        swept: int
        spawn: float


class Usage:
    """What the child used, as the kernel counted it when it was reaped."""

    __slots__ = ("_ours", "_peak", "_seen", "system", "user")

    def __init__(self, *, user: float, system: float, peak: int, ours: Callable[[], int]) -> None:
        self.user = user
        """Seconds of CPU in user mode."""
        self.system = system
        """Seconds of CPU in the kernel."""
        self._peak = peak
        self._ours = ours
        self._seen = 0

    def saw(self, peak: int, *, ours: int) -> None:
        """Takes what was seen of its memory while it lived, and what ours was when it was started."""
        self._seen = peak
        self._ours = lambda: ours

    @property
    def own(self) -> int:
        """Peak memory of this process, which is not the child, in bytes."""
        return self._ours()

    @property
    def max_rss(self) -> int | None:
        """Peak memory in bytes, as far as it is known; None where it is not.

        A spawned child begins with the peak of its parent, so what the kernel counts is the child's own only where it is above ours. Else it
        is what was seen while the child lived, where somebody looked.
        """
        return max(self._peak if self._peak > self._ours() else 0, self._seen) or None

    def __repr__(self) -> str:
        return f"Usage(user={self.user}, system={self.system}, max_rss={self.max_rss})"


class Told:
    """What every child that was told a request has in common."""

    __slots__ = ("duration", "reply", "stderr_tail")

    def __init__(self, reply: bytes | bytearray, duration: float, stderr_tail: str) -> None:
        self.reply = reply
        """The bytes of its answer, as far as they were read."""
        self.duration = duration
        """Seconds that it took: to its reply, or until nothing of it was left. They begin with its start, if that was in the same invocation."""
        self.stderr_tail = stderr_tail
        """The last of its standard error, as text."""


class Replied(Told):
    """A warm child answered, and waits for the next request. `message` is the parsed object of an envelope, which has `value`."""

    __slots__ = ("message",)

    def __init__(
        self, reply: bytes | bytearray, duration: float, stderr_tail: str, message: dict[str, Any] | None = None
    ) -> None:
        super().__init__(reply, duration, stderr_tail)
        self.message = message

    def __repr__(self) -> str:
        return f"<replied {len(self.reply)} bytes after {self.duration:.3f} s>"


class Refused(Told):
    """A warm child answered with an error of its own, and waits for the next request."""

    __slots__ = ("error",)

    def __init__(self, error: object, reply: bytes | bytearray, duration: float, stderr_tail: str) -> None:
        super().__init__(reply, duration, stderr_tail)
        self.error = error
        """What its envelope has as `error`."""

    def __repr__(self) -> str:
        return f"<refused with {self.error!r} after {self.duration:.3f} s>"


class Unanswered(Told):
    """A bootstrap posted what is no answer, and goes on: `how` tells what it did. Where its response is too long, `size` and `limit` are bytes."""

    __slots__ = ("how", "limit", "size")

    def __init__(self, how: str, *, size: int, limit: int, duration: float, stderr_tail: str) -> None:
        super().__init__(b"", duration, stderr_tail)
        self.how = how
        self.size = size
        """How many bytes the response has, if those are what is wrong; else 0."""
        self.limit = limit
        """How many may be read."""

    def __repr__(self) -> str:
        return f"<{self.how}, after {self.duration:.3f} s>"


class Ended(Told):
    """What every child that has ended has in common."""

    __slots__ = ("spawn", "swept", "usage")

    def __init__(self, **facts: Unpack[Facts]) -> None:
        super().__init__(facts["reply"], facts["duration"], facts["stderr_tail"])
        self.usage = facts["usage"]
        self.swept = facts["swept"]
        """How many processes it left behind, which were killed."""
        self.spawn = facts["spawn"]
        """Seconds that its start took."""

    def facts(self) -> Facts:
        """All that makes another outcome of the same ending."""
        return {
            "reply": self.reply,
            "duration": self.duration,
            "stderr_tail": self.stderr_tail,
            "usage": self.usage,
            "swept": self.swept,
            "spawn": self.spawn,
        }


class Exited(Ended):
    """It ended by itself, with an exit code."""

    __slots__ = ("code",)

    def __init__(self, code: int, **facts: Unpack[Facts]) -> None:
        super().__init__(**facts)
        self.code = code

    def __repr__(self) -> str:
        return f"<exited with code {self.code} after {self.duration:.3f} s, reply {len(self.reply)} bytes>"


class Signaled(Ended):
    """It was killed by a signal that we did not send."""

    __slots__ = ("core_dumped", "signal")

    def __init__(self, signal: str, *, core_dumped: bool, **facts: Unpack[Facts]) -> None:
        super().__init__(**facts)
        self.signal = signal
        """The signal's name, "SIGSEGV"."""
        self.core_dumped = core_dumped

    def __repr__(self) -> str:
        return f"<killed by {self.signal} after {self.duration:.3f} s>"


class Stopped(Ended):
    """Its time was over, and we stopped it."""

    __slots__ = ("by_line", "signal", "stalled")

    def __init__(
        self, signal: str | None, *, by_line: bool = False, stalled: bool = False, **facts: Unpack[Facts]
    ) -> None:
        super().__init__(**facts)
        self.signal = signal
        """The last signal that we sent, "SIGTERM" or "SIGKILL"; None where it had ended, and its stream was not taken."""
        self.stalled = stalled
        """Whether it waited for the caller, who did not take what it wrote."""
        self.by_line = by_line
        """Whether its reply was to end with a line feed, which did not come."""

    def __repr__(self) -> str:
        how = f"stopped by us with {self.signal}" if self.signal else "ended, with a reply that was not taken,"
        return f"<{how} after {self.duration:.3f} s>"


class Overflowed(Ended):
    """It wrote more than may be read, and we stopped it."""

    __slots__ = ("limit", "size")

    def __init__(self, *, size: int, limit: int, **facts: Unpack[Facts]) -> None:
        super().__init__(**facts)
        self.size = size
        """How many bytes were read."""
        self.limit = limit
        """How many may be read."""

    def __repr__(self) -> str:
        return f"<wrote more than {self.limit} bytes, stopped by us after {self.duration:.3f} s>"


class Misbehaved(Ended):
    """A warm child broke the protocol, and we stopped it: `how` tells what it did, with the bytes in question.

    `replied` is False where it is sure that no reply comes, True where what came can't be taken for the reply. `cure` is what to do about that.
    """

    __slots__ = ("cure", "how", "replied")

    def __init__(self, how: str, *, replied: bool, cure: str = "", **facts: Unpack[Facts]) -> None:
        super().__init__(**facts)
        self.how = how
        self.replied = replied
        self.cure = cure

    def __repr__(self) -> str:
        return f"<{self.how}, stopped by us after {self.duration:.3f} s>"


class NotStarted:
    """There was no child: the time was over already (`error` is None), or the kernel refused.

    `error` is the refusal as a person reads it, made where the file could still be looked at.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"<not started: {self.error or 'no time was left'}>"


if TYPE_CHECKING:
    Outcome: TypeAlias = (
        Replied | Refused | Unanswered | Exited | Signaled | Stopped | Overflowed | Misbehaved | NotStarted
    )


def ending(outcome: Outcome) -> str:
    """How a child ended, as the predicate of a sentence."""
    match outcome:
        case Exited():
            return f"ended with exit code {outcome.code}"
        case Signaled():
            return f"was killed by {outcome.signal}"
        case Misbehaved():
            return outcome.how
        case NotStarted():
            return "was not started"
        case _:
            return "was stopped"
