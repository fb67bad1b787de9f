"""The rows of packages: what `shim pack` takes for a folder of 200 MB, against zip(1), and what `shim check` takes for a program of 170 MB.

Ours is the whole command as its users run it: Python's start, Typer, pip, which finds the wheels in a folder, the files' checksums, and an archive
that is the same each time. zip's has none of these. Both take seconds, so that they have a turn in every twentieth round only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from shim.package.wheels import find_wheels, platforms, requirements

from .rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .workbench import Workbench

SIZE = 200_000_000
LARGEST = 20_000_000
"""Bytes of one file at most."""
LARGE_PROGRAM = 170_000_000
EMPTY_COMMAND = """
import typer
from typing import Annotated, Literal
app = typer.Typer()
@app.command()
def main(path: str, *, target: Literal["a", "b"] | None = None, flag: Annotated[bool, typer.Option("--flag")] = False): pass
app()
"""
EACH = 20
"""Rounds between two turns."""


def pack(bench: Workbench) -> Row:
    """A program and a folder of 200 MB, of what a Linux system consists of."""
    folder, wheels, made = bench.folder / "large", bench.folder / "wheels", bench.folder / "made"
    for path in (folder, wheels, made):
        path.mkdir()
    _fill(folder)
    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    find_wheels(requirements(for_bootstrap=False, are_here=False), platforms(machine, 34), "3.13", str(wheels), None)
    command = [sys.executable, "-m", "shim.cli", "pack", bench.compiled("child"), "--include", str(folder)]
    zipped = shutil.which("zip")
    if zipped is None:
        raise RuntimeError("the row package needs zip (apt-get install zip)")
    return Row(
        "pack of a 200 MB folder, against zip -r -6",
        floor=_seldom([zipped, "-q", "-r", "-6", str(made / "floor.zip"), folder.name], made / "floor.zip"),
        ours=_seldom([*command, "--wheels", str(wheels), "-o", str(made / "ours.zip")], made / "ours.zip"),
        at_most=1.2,
        try_for=1.1,
    )


def check(bench: Workbench) -> Row:
    """A dynamic program of 170 MB, against 100 ms. Of the command's time, that of one that does nothing is taken off: Python's start, and Typer's, which
    every command has.
    """
    program, nothing = bench.folder / "program", bench.folder / "nothing.py"
    source = f'__asm__(".section .rodata\\nlarge: .zero {LARGE_PROGRAM}\\n.text\\n"); int main(void) {{ return 0; }}'
    subprocess.run(["gcc", "-x", "c", "-", "-o", str(program)], input=source, text=True, check=True)
    nothing.write_text(EMPTY_COMMAND)
    command, empty = (
        [sys.executable, "-m", "shim.cli", "check", str(program)],
        [sys.executable, str(nothing), "program"],
    )
    return Row(
        "check of a 170 MB program beyond Python's and Typer's start, against 100 ms",
        floor=lambda: 0.1,
        ours=lambda: _taken(command) - _taken(empty),
        at_most=1.0,
        try_for=0.5,
    )


PACKAGE_ROWS: dict[str, Callable[[Workbench], Row]] = {"pack": pack, "check": check}


def _taken(command: list[str]) -> float:
    """Seconds of a command."""
    began = perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - began


def _seldom(command: list[str], made: Path) -> Callable[[], float]:
    """What runs the command in some rounds, and returns what it took then; the file that it makes is removed each time."""
    took: list[float] = []
    rounds = 0

    def run() -> float:
        nonlocal rounds
        if rounds % EACH == 0:
            began = perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took.append(perf_counter() - began)
            made.unlink()
        rounds += 1
        return took[-1]

    return run


def _fill(folder: Path) -> None:
    """Programs, libraries and documents of this machine, until it is enough. The first byte is one that makes no program of them, whose libraries would
    have to be packed as well.
    """
    left = SIZE
    number = 0
    while left > 0:
        for content in _contents():
            piece = content[:left]
            (folder / f"{number:05}").write_bytes(b"\0" + piece[1:])
            number += 1
            left -= len(piece)
            if left <= 0:
                return


def _contents() -> Iterator[bytes]:
    for place in ("/usr/bin", "/usr/share/doc", "/usr/lib"):
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size <= LARGEST:
                yield path.read_bytes()
