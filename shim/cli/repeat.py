"""Many invocations of one function, and what became of them. Nothing is shown here: see `table.py` and `progress.py`."""

from __future__ import annotations

from shim.cli.display import message_of
from shim.cli.exits import FAILED, INTERRUPTED, WORKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shim.errors import ShimError

OK = "ok"
"""The outcome of an invocation that succeeded; that of any other is its errorType."""
AN_ERROR_NAMED_OK = "errorType ok"
"""An executable may call its own error "ok", which must not pass for a success; with a blank in it this is nobody's errorType."""
EXAMPLE_LIMIT = 1000
"""The characters of an example: an executable that gives every error another name must not make us keep all it says."""


class Tally:
    """What became of invocations.

    Attributes:
        durations: seconds of each, of those that failed too.
        outcomes: how many ended so: "ok" first, then each errorType in the order in which they came.
        examples: the first message of each errorType.
        interrupted: Ctrl-C came before the last was done. The one that it ended is not counted.
    """

    def __init__(self) -> None:
        self.durations: list[float] = []
        self.outcomes = {OK: 0}
        self.examples: dict[str, str] = {}
        self.interrupted = False

    def add(self, duration: float, error: ShimError | None) -> None:
        """Counts one more."""
        self.durations.append(duration)
        if error is None:
            self.outcomes[OK] += 1
            return
        name = type(error).__name__
        name = AN_ERROR_NAMED_OK if name == OK else name
        self.outcomes[name] = self.outcomes.get(name, 0) + 1
        self.examples.setdefault(name, _shortened(message_of(error)))

    @property
    def failures(self) -> int:
        """How many failed."""
        return len(self.durations) - self.outcomes[OK]

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        if self.interrupted:
            return INTERRUPTED
        return FAILED if self.failures else WORKED

    @property
    def spread(self) -> dict[str, float | None]:
        """Minimum, median, p99 and maximum of the durations, in seconds; None where there is none."""
        ordered = sorted(self.durations)
        if not ordered:
            return dict.fromkeys(("minimum", "median", "p99", "maximum"))
        return {
            "minimum": ordered[0],
            "median": median(ordered),
            "p99": percentile(ordered, 99),
            "maximum": ordered[-1],
        }


def repeat(invoke: Callable[[], tuple[float, ShimError | None]], count: int, step: Callable[[Tally], None]) -> Tally:
    """Invokes so many times, or until Ctrl-C.

    Args:
        invoke: one invocation; gives its seconds and its error, if it failed.
        count: how many.
        step: is called after each, outside of the time that is measured.
    """
    tally = Tally()
    try:
        for _ in range(count):
            tally.add(*invoke())
            step(tally)
    except KeyboardInterrupt:
        tally.interrupted = True
    return tally


def median(ordered: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The least value that is not under `percent` of all: the nearest rank. It is always one that occurred; of fewer than 100 the p99 is the maximum."""
    rank = -(-percent * len(ordered) // 100)  # rounded up, in integers: 0.99 * 100 as a float may be above 99
    return ordered[rank - 1]


def _shortened(message: str) -> str:
    return message if len(message) <= EXAMPLE_LIMIT else f"{message[: EXAMPLE_LIMIT - 1]}…"
