"""What is wrong with a package: tables on a terminal, a line for each problem anywhere else, or one JSON object. Rich is imported only for a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson

from shim.cli.display import STDOUT, deliver, rendered, visible
from shim.cli.jsonobject import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from shim.package.check import Verdict
    from shim.package.problem import Problem

STYLES = {"error": "bold red", "warning": "bold yellow"}
WHOLE = "the package"
"""What is shown as the place of a problem that is no file's."""


def show_verdict(path: str, verdict: Verdict, added: Sequence[str] = ()) -> None:
    """Shows it on standard output.

    Args:
        path: what was judged.
        verdict: of it.
        added: names of libraries that were judged with it.

    Raises:
        Unwritable: standard output does not take it.
    """
    ending = _ending(path, verdict, added)
    if os.isatty(STDOUT):
        deliver(rendered(STDOUT, _tables(verdict.problems, ending)))
    else:
        lines = [*map(line, verdict.problems), ending]
        deliver("".join(f"{text}\n" for text in lines).encode("utf-8", "backslashreplace"))


def line(problem: Problem) -> str:
    """One problem: its severity, its place, what is wrong, the cure."""
    place = f"{visible(problem.place)}: " if problem.place else ""
    return f"{problem.severity}: {place}{visible(problem.sentence)}; {visible(problem.cure)}"


def as_object(path: str, verdict: Verdict) -> bytes:
    """The object of `--json`: "ok" is whether nothing would break the function."""
    return orjson.dumps(
        {
            "ok": not _count(verdict, "error"),
            "path": whole(path),
            "target": verdict.target.name,
            "architecture": verdict.architecture,
            "python": verdict.python,
            "executables": [whole(name) for name in verdict.executables],
            "errors": _count(verdict, "error"),
            "warnings": _count(verdict, "warning"),
            "problems": [
                {name: whole(text) for name, text in problem._asdict().items()} for problem in verdict.problems
            ],
        }
    )


def _ending(path: str, verdict: Verdict, added: Sequence[str]) -> str:
    """The last line: how many of each, and for which function."""
    counts = [_counted(_count(verdict, severity), severity) for severity in STYLES if _count(verdict, severity)]
    on = f" on {verdict.architecture}" if verdict.architecture else ""
    python = f" with Python {verdict.python}" if verdict.python else ""
    along = f"; with the libraries that shim pack takes along: {', '.join(added)}" if added else ""
    said = " and ".join(counts) or "nothing wrong"
    return visible(f"{path}: {said}, for {verdict.target.name}{on}{python}{along}")


def _tables(problems: Sequence[Problem], ending: str) -> Iterator[RenderableType]:
    """A table of the errors and one of the warnings, where there are any."""
    from rich import box  # noqa: PLC0415 - only for a terminal
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    for severity, style in STYLES.items():
        found = [problem for problem in problems if problem.severity == severity]
        if not found:
            continue
        table = Table(box=box.ROUNDED, show_lines=True)
        table.add_column(Text(_counted(len(found), severity), style), overflow="fold", ratio=2)
        table.add_column("what is wrong", overflow="fold", ratio=4)
        table.add_column("what to do about it", overflow="fold", ratio=3)
        for problem in found:
            cells = (problem.place or WHOLE, problem.sentence, problem.cure)
            table.add_row(*(Text(visible(cell)) for cell in cells))
        yield table
    style = "" if any(problem.severity == "error" for problem in problems) else "green"
    yield Text(ending, style)


def _count(verdict: Verdict, severity: str) -> int:
    return sum(problem.severity == severity for problem in verdict.problems)


def _counted(count: int, severity: str) -> str:
    return f"{count} {severity}" if count == 1 else f"{count} {severity}s"
