"""What must come of a fake executable: one outcome, or one of a few where it is the kernel that decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shim import outcome as outcomes
from shim.errors import ShimError

if TYPE_CHECKING:
    from shim.outcome import Outcome


class Expected(NamedTuple):
    """One outcome, as far as it is certain."""

    kind: str
    """The name of its class in `shim.outcome`."""
    error: str | None
    """The name of the error that a caller gets, None for a result: where the reply is a valid one, as any is with `output="base64"`."""
    code: int | None = None
    """The exit code, of one that exited."""
    signals: frozenset[str] = frozenset()
    """The names of those that may have ended it."""
    reply: bytes | None = None
    """The bytes of its reply, of one that replied or ended by itself; an envelope's is the line."""
    stderr: bytes | None = None
    """All that it wrote to standard error, of one that ended by itself."""

    def difference(self, outcome: Outcome | ShimError) -> str:
        """What of that outcome, or of the error that a caller got, is not so; or nothing."""
        if isinstance(outcome, ShimError):
            return self._difference_of(outcome)
        if type(outcome).__name__ != self.kind:
            return f"it is {type(outcome).__name__}"
        if isinstance(outcome, outcomes.Exited) and outcome.code != self.code:
            return f"its code is {outcome.code}"
        if isinstance(outcome, (outcomes.Signaled, outcomes.Stopped)) and outcome.signal not in self.signals:
            return f"its signal is {outcome.signal}"
        reply = None if isinstance(outcome, outcomes.NotStarted) else bytes(outcome.reply)
        if self.reply is not None and reply != self.reply:
            return f"its reply is {_brief(reply)}"
        tail = "" if isinstance(outcome, outcomes.NotStarted) else outcome.stderr_tail
        if self.stderr is not None and "\ufffd" not in tail and not self.stderr.rstrip(b"\n").endswith(tail.encode()):
            return f"its standard error ends with {tail!r}"
        return ""

    def _difference_of(self, error: ShimError) -> str:
        if type(error).__name__ != self.error:
            return f"the caller gets {self.error or 'a result'}"
        if self.code is not None and getattr(error, "exit_code", self.code) != self.code:
            return f"its code is {self.code}"
        by = getattr(error, "signal", None)
        return f"its signal is {' or '.join(sorted(self.signals))}" if by is not None and by not in self.signals else ""


class Expectation(NamedTuple):
    """What must come of a fake executable: one outcome, or one of a few where it is the kernel that decides."""

    among: tuple[Expected, ...]
    name: str = ""
    """Why there are several; empty where there is one."""

    @property
    def errors(self) -> frozenset[str | None]:
        """The names of the errors that a caller may get, None for a result; where its reply is one that `output` takes, which is not looked at."""
        return frozenset(expected.error for expected in self.among)

    def check(self, outcome: Outcome | ShimError) -> None:
        """Compares.

        Args:
            outcome: what a runner said that the child did; or the error that a Shim raised.

        Raises:
            AssertionError: that outcome is none of them; it says what differs.
        """
        differences = [expected.difference(outcome) for expected in self.among]
        if all(differences):
            wanted = " or ".join(
                f"{expected.kind} ({difference})" for expected, difference in zip(self.among, differences, strict=True)
            )
            raise AssertionError(f"{outcome!r} is not the expected outcome: {wanted}")


def _brief(data: bytes | None) -> str:
    return repr(data) if data is None or len(data) < 200 else f"{data[:200]!r}… ({len(data)} bytes)"
