"""What became of many invocations, for a person: Rich's tables on a terminal, aligned text anywhere else. Rich is imported only for a terminal."""

from __future__ import annotations

import os

from shim.cli.display import STDOUT, deliver, rendered, visible
from shim.cli.repeat import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from shim.cli.function import Measured
    from shim.cli.repeat import Tally


def show_summary(tally: Tally, measured: Measured) -> None:
    """Shows it on standard output.

    Raises:
        Unwritable: standard output does not take it.
    """
    if os.isatty(STDOUT):
        deliver(rendered(STDOUT, tables(tally, measured)))
    else:
        deliver(aligned(tally, measured).encode())


def aligned(tally: Tally, measured: Measured) -> str:
    """A line for each figure: its name, the figure, and for an error the example. The columns are two blanks apart."""
    rows = [("invocations", str(len(tally.durations)), ""), ("init", shown(measured.init), "")]
    rows += [(name, shown(seconds), "") for name, seconds in tally.spread.items()]
    rows += _outcomes(tally)
    left = max(len(name) for name, _, _ in rows)
    right = max(len(figure) for _, figure, _ in rows)
    return "".join(f"{name:<{left}}  {figure:>{right}}  {example}".rstrip() + "\n" for name, figure, example in rows)


def tables(tally: Tally, measured: Measured) -> Iterator[Table]:
    """The durations, then the outcomes."""
    from rich import box  # noqa: PLC0415 - only for a terminal
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    durations = Table("duration", box=box.ROUNDED)
    durations.add_column(_invocations(tally), justify="right")
    for name, seconds in {"init": measured.init, **tally.spread}.items():
        durations.add_row(name, shown(seconds))
    yield durations

    outcomes = Table(box=box.ROUNDED)
    outcomes.add_column("outcome", overflow="fold")
    outcomes.add_column("times", justify="right")
    outcomes.add_column("example", overflow="fold")
    for name, figure, example in _outcomes(tally):
        outcomes.add_row(Text(name, "green" if name == OK else "bold red"), figure, Text(example))
    yield outcomes


def shown(seconds: float | None) -> str:
    """Milliseconds, as a REPORT line has them."""
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"


def _invocations(tally: Tally) -> str:
    count = len(tally.durations)
    said = "1 invocation" if count == 1 else f"{count} invocations"
    return f"{said} (interrupted)" if tally.interrupted else said


def _outcomes(tally: Tally) -> Iterator[tuple[str, str, str]]:
    for name, count in tally.outcomes.items():
        yield name, str(count), visible(tally.examples.get(name, ""))
