"""`python -m tests.bench [--json] [--rounds N] [--only NAME]`: the table of ratios; exit code 1 when one is above what it may be.

All contenders take turns in every round (floor, ours, next floor, …), so that whatever slows the machine for a while hits all alike. A ratio
is the median over the rounds of each round's own ratio, since the two measurements of one round are neighbours in time; the absolute times
are medians over the rounds as well, so that their quotient may differ a little from the ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple

from .package import PACKAGE_ROWS
from .rows import ROWS, Row
from .runtime import RUNTIME_ROWS
from .workbench import Workbench

ALL_ROWS = ROWS | RUNTIME_ROWS | PACKAGE_ROWS
PEER_EACH = 6
"""The Node.js shims take a turn each so many rounds: each starts a process of its own, and their medians vary little."""


class Measured(NamedTuple):
    """A row after all rounds: medians in the row's unit, and the ratio with the quartiles it lies between."""

    name: str
    row: Row
    floor: float
    ours: float
    apart: float
    ratio: float
    low: float
    high: float
    peer: float | None

    @property
    def falls_short(self) -> bool:
        """Whether the ratio is above what it may be at most, or the peer is faster."""
        return self.ratio > self.row.at_most or (self.peer is not None and self.ours >= self.peer)


def measure(rows: dict[str, Row], rounds: int) -> list[Measured]:
    """Runs the rounds, after one that only warms up."""
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rows}
    peers: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, row in rows.items():
            times[name].append((row.floor(), row.ours(), row.apart()))
            if row.peer is not None and number % PEER_EACH == 0:
                peers[name].append(row.peer())
    return [_measured(name, row, times[name][1:], peers[name]) for name, row in rows.items()]


def _measured(name: str, row: Row, times: list[tuple[float, float, float]], peers: list[float]) -> Measured:
    ratios = [(ours - apart) / floor for floor, ours, apart in times]
    low, ratio, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    floor, ours, apart = (median(column) for column in zip(*times, strict=True))
    return Measured(name, row, floor, ours, apart, ratio, low, high, median(peers) if peers else None)


def as_table(measured: list[Measured]) -> str:
    """The table for people; columns as wide as their widest cell."""
    lines = [("", "what", "floor", "ours", "ratio", "quartiles", "at most", "try for", "Node.js shim")]
    for it in measured:
        floor, ours, apart = (_shown(value, it.row.unit) for value in (it.floor, it.ours, it.apart))
        ours += f" - {apart}" if it.apart else ""
        spread = f"{it.low:.2f}-{it.high:.2f}"
        verdict = "SHORT" if it.falls_short else "ok"
        bounds = f"{it.row.at_most:.2f}", f"{it.row.try_for:.2f}"
        peer = "" if it.peer is None else f"{_shown(it.peer, it.row.unit)}, {it.peer / it.ours:.1f} of ours"
        lines.append((verdict, it.row.what, floor, ours, f"{it.ratio:.2f}", spread, *bounds, peer))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    if any(it.apart for it in measured):
        table += "\n\nours - …: what orjson alone takes for the same values, which the floor has no part in; the ratio is without it"
    return table


def as_json(measured: list[Measured]) -> str:
    """The same for programs: seconds (or bytes) and ratios, a row by its name."""
    rows = {
        it.name: {
            "what": it.row.what,
            f"floor_{it.row.unit}": it.floor,
            f"ours_{it.row.unit}": it.ours,
            f"apart_{it.row.unit}": it.apart,
            "ratio": it.ratio,
            "quartiles": [it.low, it.high],
            "at_most": it.row.at_most,
            "try_for": it.row.try_for,
            f"peer_{it.row.unit}": it.peer,
            "ok": not it.falls_short,
        }
        for it in measured
    }
    return json.dumps(rows, indent=2)


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1024**2:.1f} MiB"
    return f"{value * 1e6:.0f} us" if value < 0.001 else f"{value * 1e3:.2f} ms"


def main() -> int:
    """Reads the options, measures, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios to floors, on one pinned core.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--rounds", type=int, default=60, metavar="N", help="how often each contender has its turn (60)"
    )
    parser.add_argument(
        "--only", choices=ALL_ROWS, action="append", metavar="NAME", help=f"{', '.join(ALL_ROWS)}; repeatable"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    with TemporaryDirectory(prefix="shim-bench-") as folder:
        bench = Workbench(Path(folder).resolve())
        rows = {name: ALL_ROWS[name](bench) for name in options.only or ALL_ROWS}
        measured = measure(rows, options.rounds)
    print(as_json(measured) if options.json else f"{as_table(measured)}\n\nPython {sys.version}")
    return int(any(it.falls_short for it in measured))


if __name__ == "__main__":
    sys.exit(main())
