"""`python -m tests.recording [--output FILE]`: the terminal that the README shows, recorded anew.

The commands are those of the README of the project that `shim new` makes, and really run.
"""

from __future__ import annotations

import argparse
import getpass
import re
import shlex
import socket
import sys
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.command import NONE, environment

from .picture import draw
from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .terminal import Film

RECORDING = Path(__file__).parents[2] / "fixtures" / "recording.svg"
NAME = "hello"
LANGUAGE = "c"
TITLE = "shim in a terminal"
DESCRIPTION = (
    "A project is made with shim new and built. shim invoke runs its executable as Lambda would: once with a result, and once with an event "
    "that it refuses, whose error is told. shim pack makes the deployment package."
)


class Unexpected(Exception):
    """A command of the story did not end as it should."""


def record(folder: Path, variables: Mapping[str, str] = NONE) -> Film:
    """What is to be seen when the commands run.

    Args:
        folder: an empty one.
        variables: of the environment that they run in.

    Raises:
        Unexpected: one of them ended otherwise.
    """
    (folder / "bin").mkdir()
    command = folder / "bin" / "shim"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m shim.cli "$@"\n')
    command.chmod(0o755)
    environ = environment({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **variables})
    environ["PATH"] = f"{command.parent}:{environ['PATH']}"
    environ.pop("COLORTERM", None)  # more colours than others have
    terminal = Terminal()
    made = folder / NAME

    def run(text: str, place: Path, pause: float, code: int = 0) -> None:
        ended = terminal.run(text, place, environ)
        if ended != code:
            raise Unexpected(f"{text} ended with exit code {ended}:\n" + terminal.text)
        terminal.wait(pause)

    run(f"shim new {NAME} --language {LANGUAGE}", folder, 1.8)
    run(f"cd {NAME}", folder, 0)  # each has a shell of its own: the others run in that folder
    for line in commands(made / "README.md", "Build it and try it"):
        run(line, made, 0)
    run(f"shim invoke --event events/web.json build/{NAME}", made, 2.5)
    run(f"shim invoke --event '{{}}' build/{NAME}", made, 3, code=1)
    for line in commands(made / "README.md", "Pack it"):
        run(line, made, 1)
    return terminal.film()


def commands(readme: Path, heading: str) -> list[str]:
    """The commands under a heading, up to the first that tries what they have made."""
    section = readme.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    block = section.partition("```sh\n")[2].partition("```")[0]
    return list(takewhile(lambda line: not line.startswith("shim invoke "), block.splitlines()))


def revealed(picture: str) -> list[str]:
    """The names of this machine, and of who works here, that stand in a picture."""
    names = {socket.gethostname(), getpass.getuser(), str(Path.home()), tempfile.gettempdir(), sys.prefix}
    return sorted(name for name in names - {"/"} if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", picture))


def main() -> None:
    """Writes the file, unless it would tell where it was made."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.recording", description="Records the terminal of the README."
    )
    parser.add_argument(
        "--output", type=Path, default=RECORDING, metavar="FILE", help="the SVG (fixtures/recording.svg)"
    )
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory(prefix="shim-recording-") as folder:
        try:
            film = record(Path(folder))
        except Unexpected as error:
            parser.exit(1, f"{error}\n")
    picture = draw(film, TITLE, DESCRIPTION)
    if names := revealed(picture):
        parser.exit(
            1, f"{output} is not written, since these names of this machine would be in it: {', '.join(names)}\n"
        )
    output.write_text(picture)
    sys.stdout.write(f"{output}: {film.seconds:.1f} s, {len(picture.encode()):,} bytes\n")


if __name__ == "__main__":
    main()
