"""Whether a program conforms: a table on a terminal, a line for each requirement anywhere else, or one JSON object; and the commands that repeat failures."""

from __future__ import annotations

import os
import shlex
import string
from typing import TYPE_CHECKING

import orjson

from shim.cli.display import STDERR, STDOUT, deliver, rendered, styled, visible, write
from shim.cli.event import NOTHING
from shim.cli.jsonobject import whole
from shim.cli.options import spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from shim.testing.conform.protocol import Plan
    from shim.testing.conform.verdict import Verdict

STYLES = {"passed": "green", "failed": "bold red", "not asked": "dim"}
LONGEST_WORD = 1000
"""Bytes of a request that stand on a command line; a longer one is made by a command of its own."""
UNQUOTED = f"{string.ascii_letters}{string.digits} ./_-+=:,"
"""What means nothing to printf."""
LONGEST_RUN = 32
"""So many times the same byte are written as a product."""


class Report:
    """What is shown of the verdicts.

    Args:
        executable: as it stood on the command line.
        arguments: likewise.
        given: the settings that stood there.
        plan: what was asked.
        mode: in which the program was asked.
        event: the file that the sample is from, or None.
    """

    def __init__(  # noqa: PLR0913 - all that a report shows
        self,
        executable: str,
        arguments: Sequence[str],
        given: Mapping[str, str],
        plan: Plan,
        *,
        mode: str,
        event: str | None,
    ) -> None:
        self._mode = mode
        self._executable = executable
        self._arguments = arguments
        self._given = given
        self._plan = plan
        self._event = event

    def saw(self, verdict: Verdict) -> Verdict:
        """Shows on a terminal how far it came."""
        if styled(STDERR):
            text = f"\r\x1b[2K{verdict.requirement.number} {verdict.requirement.name}: {verdict.status}"
            write(STDERR, text.encode())
        return verdict

    def clear(self) -> None:
        """Nothing of that is left."""
        if styled(STDERR):
            write(STDERR, b"\r\x1b[2K")

    def show(self, found: Sequence[Verdict]) -> None:
        """Shows all of it on standard output.

        Raises:
            Unwritable: standard output does not take it.
        """
        if os.isatty(STDOUT):
            deliver(rendered(STDOUT, [self._table(found)]))
            deliver(
                rendered(STDOUT, self._failures(found), soft_wrap=True)
            )  # a command that is broken in two can't be pasted
        else:
            deliver("".join(f"{line}\n" for line in self._lines(found)).encode("utf-8", "backslashreplace"))

    def as_object(self, found: Sequence[Verdict]) -> bytes:
        """The object of `--json`: "ok" is whether nothing failed."""
        return orjson.dumps(
            {
                "ok": not _count(found, "failed"),
                "executable": whole(self._executable),
                "mode": self._mode,
                "requirements": [
                    {
                        "number": verdict.requirement.number,
                        "name": verdict.requirement.name,
                        "says": verdict.requirement.says,
                        "status": verdict.status,
                        "sentence": whole(verdict.sentence) or None,
                        "requests": [request.decode("utf-8", "backslashreplace") for request in verdict.requests],
                        "repeat": list(map(whole, self.repeat(verdict))) if verdict.status == "failed" else [],
                    }
                    for verdict in found
                ],
            }
        )

    def repeat(self, verdict: Verdict) -> list[str]:
        """The commands that repeat a failure: those that make its files, and then the one."""
        plan = self._plan
        making: list[str] = []
        words = ["shim", "conform", "--only", verdict.requirement.number]
        for name, text in self._given.items():
            words += [spelled(name), text]
        words += ["--pure"] if plan.pure else []
        for option, value, default in (
            ("--examples", plan.examples, 50),
            ("--requests", plan.requests, 1000),
            ("--seed", plan.seed, 0),
            ("--within", plan.within, 10.0),
        ):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)] if value != default else []
        if self._event is not None:
            words += ["--event", self._event]
        elif plan.sample.decode("utf-8", "surrogateescape") != NOTHING:
            words += ["--event", _word(plan.sample, "event.json", making)]
        if plan.failing is not None:
            words += ["--failing-event", _word(plan.failing, "failing-event.json", making)]
        for number, request in enumerate(_sent(verdict, plan), 1):
            words += ["--request", _word(request, f"request-{number}", making)]
        return [*making, " ".join(map(_quoted, [*words, *self._program()]))]

    def _program(self) -> list[str]:
        """The program as it has to stand behind options."""
        return [*(["--"] if self._executable.startswith("-") else []), self._executable, *self._arguments]

    def _lines(self, found: Sequence[Verdict]) -> Iterator[str]:
        for verdict in found:
            requirement = verdict.requirement
            yield f"{verdict.status}: {requirement.number} {requirement.name}{self._sentence(verdict)}"
            if verdict.status == "failed":
                for command in self.repeat(verdict):
                    yield f"    {visible(command)}"
        yield self._ending(found)

    def _sentence(self, verdict: Verdict) -> str:
        if verdict.status == "failed":
            return f": it {visible(verdict.sentence)}"
        return f", since {visible(verdict.sentence)}" if verdict.sentence else ""

    def _ending(self, found: Sequence[Verdict]) -> str:
        failed, passed, left = (_count(found, status) for status in ("failed", "passed", "not asked"))
        parts = [
            f"{failed} failed" if failed else "",
            f"{passed} passed" if passed else "",
            f"{left} not asked" if left else "",
        ]
        return visible(f"{self._executable}: {', '.join(filter(None, parts))}")

    def _table(self, found: Sequence[Verdict]) -> RenderableType:
        from rich import box  # noqa: PLC0415 - only for a terminal
        from rich.table import Table  # noqa: PLC0415 - likewise
        from rich.text import Text  # noqa: PLC0415 - likewise

        table = Table(box=box.ROUNDED)
        table.add_column("", no_wrap=True)
        table.add_column("requirement", no_wrap=True)
        table.add_column("what a good program does", overflow="fold")
        table.add_column("", overflow="fold")
        for verdict in found:
            requirement = verdict.requirement
            status = verdict.status + (self._sentence(verdict) if verdict.status == "not asked" else "")
            table.add_row(
                Text(requirement.number),
                Text(requirement.name),
                Text(requirement.says),
                Text(status, STYLES[verdict.status]),
            )
        return table

    def _failures(self, found: Sequence[Verdict]) -> Iterator[RenderableType]:
        """A sentence for each failure, and the commands that repeat it; then how many there are."""
        from rich.text import Text  # noqa: PLC0415 - only for a terminal

        for verdict in found:
            if verdict.status == "failed":
                yield Text.assemble(
                    (f"{verdict.requirement.number} {verdict.requirement.name}", STYLES["failed"]),
                    self._sentence(verdict),
                )
                for command in self.repeat(verdict):
                    yield Text(f"    {visible(command)}", "cyan")
        yield Text(self._ending(found), "" if _count(found, "failed") else "green")


def _sent(verdict: Verdict, plan: Plan) -> Sequence[bytes]:
    """What must be given with `--request`: nothing, where the requirement's own way leads there."""
    return () if all(request == plan.sample for request in verdict.requests) else verdict.requests


def _word(data: bytes, name: str, making: list[str]) -> str:
    """What stands for a request on a command line: itself, or the name of a file, whose making is added."""
    word = os.fsdecode(data)
    if len(data) <= LONGEST_WORD and b"\0" not in data and word != "-" and not os.path.exists(word) and _is_plain(word):
        return word
    program = f"import sys; sys.stdout.buffer.write({_expression(data)})"
    making.append(f"python3 -c {shlex.quote(program)} > {name}")
    return name


def _quoted(word: str) -> str:
    """The word as a shell takes it, of characters that all survive: a name that is not UTF-8, too."""
    if _is_plain(word):
        return shlex.quote(word)
    plain = "".join(chr(byte) if chr(byte) in UNQUOTED else f"\\0{byte:03o}" for byte in os.fsencode(word))
    return f"\"$(printf %b '{plain}')\""


def _is_plain(word: str) -> bool:
    """Whether it survives a terminal and a copy of it."""
    return word.isprintable()


def _expression(data: bytes) -> str:
    """The shortest expression of Python that is these bytes: long runs of one byte are products."""
    parts: list[str] = []
    at = begin = 0
    while at < len(data):
        end = at
        while end < len(data) and data[end] == data[at]:
            end += 1
        if end - at >= LONGEST_RUN:
            parts += [_literal(data[begin:at])] if at > begin else []
            parts.append(f"{_literal(data[at : at + 1])} * {end - at}")
            begin = end
        at = end
    parts += [_literal(data[begin:])] if begin < len(data) or not parts else []
    return " + ".join(parts)


def _literal(data: bytes) -> str:
    """The bytes as Python has them, without an apostrophe, which a shell would not take within apostrophes."""
    text = repr(b'"' + data)[3:-1]  # with both kinds of quotes in it, it stands in apostrophes
    return 'b"' + text.replace('"', '\\"').replace("\\'", "\\x27").replace("'", "\\x27") + '"'


def _count(found: Sequence[Verdict], status: str) -> int:
    return sum(verdict.status == status for verdict in found)
