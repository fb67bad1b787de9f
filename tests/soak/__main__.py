"""`python -m tests.soak [--warm | --emulator] [--json] [--invocations N] [--seed N]`: exit code 1 when something is not where it was, or a result is wrong.

Every Shim lives as long as the soak, as on Lambda. Processes, descriptors, threads and files are counted before the first invocation and after
the last. Memory is measured when some have warmed up, each role's first among them: until then it grows by what is made once and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from .emulated import soak_emulator
from .inventory import Row, compare, kill, memory, take_inventory
from .kept import Kept, assemble_kept
from .roles import Role, assemble, draw_event, draw_size
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM_UP = 200
"""Invocations before the first inventory, besides one of each role."""
LARGEST = 1_000_000
"""Bytes of the largest event."""
TOLD = 10
"""So many of what was left are told, and so many of the wrong results."""


class Soaked(NamedTuple):
    """What a soak found."""

    invocations: int
    seed: int
    took: float
    """Seconds, without the warm-up."""
    rows: list[Row]
    wrong: list[str]
    """A sentence for each result that was not the expected one."""

    @property
    def failed(self) -> bool:
        """Whether something was left, or wrong."""
        return bool(self.wrong) or any(row.is_left for row in self.rows)


def soak(invocations: int, seed: int, stage: Stage, tell: Callable[[], None], *, warm: bool) -> Soaked:
    """Warms up, and runs the invocations between two inventories; `tell` is called after each."""
    random = Random(seed)
    cast = assemble_kept(stage, random) if warm else assemble(stage, random)
    wrong: list[str] = []

    def play(number: int, role: Role | Kept, size: int) -> None:
        if sentence := role.play(draw_event(number, size), stage):
            wrong.append(f"invocation {number}, {sentence}")

    start = take_inventory(stage)
    for role in cast.all():
        play(0, role, LARGEST)
    for number in range(-WARM_UP, 0):
        play(number, cast.draw(number, random), draw_size(random))
    before = start._replace(memory=memory())
    began = time.monotonic()
    for number in range(1, invocations + 1):
        play(number, cast.draw(number, random), draw_size(random))
        tell()
    took = time.monotonic() - began
    after = take_inventory(stage)
    kill(after.processes)
    return Soaked(invocations, seed, took, compare(before, after), wrong)


@contextmanager
def progress(invocations: int) -> Iterator[Callable[[], None]]:
    """A bar, where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import Progress  # noqa: PLC0415 - likewise

    # On a descriptor of its own, since 2 becomes the log; and drawn by us, since a thread of its own would be counted.
    with (
        open(os.dup(2), "w", encoding="utf-8") as terminal,
        Progress(console=Console(file=terminal), auto_refresh=False, transient=True) as bar,
    ):
        task = bar.add_task("invocations", total=invocations)

        def tell() -> None:
            bar.advance(task)
            if bar.tasks[task].completed % 50 == 0:
                bar.refresh()

        yield tell


def as_table(soaked: Soaked) -> str:
    """The table for people; columns as wide as their widest cell."""
    lines = [("", "what", "before", "after", "allowed")]
    for row in soaked.rows:
        show = _megabytes if row.what == "memory" else str
        verdict = "LEFT" if row.is_left else "ok"
        lines.append((verdict, row.what, show(row.before), show(row.after), f"+{show(row.allowed)}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table += [f"left: {thing}" for row in soaked.rows if row.is_left for thing in row.left[:TOLD]]
    results = f"{len(soaked.wrong)} wrong results" if soaked.wrong else "every result the expected one"
    table += ["", f"{soaked.invocations} invocations (seed {soaked.seed}) in {soaked.took:.1f} s, {results}"]
    return "\n".join(table + [f"wrong: {sentence}" for sentence in soaked.wrong[:TOLD]])


def as_json(soaked: Soaked) -> str:
    """The same for programs: numbers of things, bytes of memory, seconds."""
    rows = {
        row.what: {
            "before": row.before,
            "after": row.after,
            "allowed": row.allowed,
            "left": row.left[:TOLD],
            "ok": not row.is_left,
        }
        for row in soaked.rows
    }
    found = {"invocations": soaked.invocations, "seed": soaked.seed, "took_s": soaked.took, "rows": rows}
    return json.dumps({**found, "wrong": len(soaked.wrong), "examples": soaked.wrong[:TOLD]}, indent=2)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def main() -> int:
    """Reads the options, soaks, prints."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Whether invocations leave anything behind."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--warm", action="store_true", help="kept children in place of one-shot ones")
    kinds.add_argument("--emulator", action="store_true", help="invocations of a bootstrap in the emulator")
    parser.add_argument(
        "--invocations", type=int, default=None, metavar="N", help="how many (10,000; with --warm 100,000)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other ones (1)")
    options = parser.parse_args()
    if options.invocations is None:
        options.invocations = 100_000 if options.warm else 10_000
    if options.invocations < 1:
        parser.error("--invocations must be at least 1")
    with (
        TemporaryDirectory(prefix="shim-soak-") as folder,
        progress(options.invocations) as tell,
        Stage(Path(folder).resolve()) as stage,
    ):
        if options.emulator:
            emulated = soak_emulator(options.invocations, Random(options.seed), stage, tell)
            soaked = Soaked(options.invocations, options.seed, *emulated)
        else:
            soaked = soak(options.invocations, options.seed, stage, tell, warm=options.warm)
    print(as_json(soaked) if options.json else as_table(soaked))
    return int(soaked.failed)


if __name__ == "__main__":
    sys.exit(main())
