"""`shim new`: a project to begin with, and what to do in it first."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from shim.cli.display import deliver, show_object
from shim.cli.ending import Debug, ending, tell_error, tell_json
from shim.errors import PackageError

if TYPE_CHECKING:
    from shim.project.new import Made, Project

NEWEST = "python3.13"
HERE = f"python3.{sys.version_info.minor}"
"""The runtime with this Python: what is packed for it can be run here."""
RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")


def _name(text: str) -> str:
    from shim.project.new import NAME  # noqa: PLC0415 - no other command needs it

    if not NAME.fullmatch(text):
        raise typer.BadParameter(
            "must be a letter and 1 to 39 more letters, digits and hyphens, since the function and its stack are called so"
        )
    if os.path.lexists(text) and not (os.path.isdir(text) and not os.listdir(text)):
        raise typer.BadParameter(f"{text} is there already; give another name, or remove it")
    return text


def new(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", callback=_name, help="The function's name, and its folder's, which is made."),
    ],
    *,
    language: Annotated[
        Literal["shell", "c", "crystal", "go", "haskell", "rust"],
        typer.Option(help="What the program is written in.", show_default=False),
    ],
    mode: Annotated[
        Literal["oneshot", "warm", "bootstrap"],
        typer.Option(
            help="How it lives: started for each invocation; kept, and asked line by line; or speaking the Runtime API itself."
        ),
    ] = "oneshot",
    runtime: Annotated[
        Literal["python3.11", "python3.12", "python3.13", "python3.14"],
        typer.Option(help="The function's. Default: the one with the Python that runs shim."),
    ] = HERE if HERE in RUNTIMES else NEWEST,  # type: ignore[assignment] # it is one of them
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
) -> None:
    """Makes a small project: a function that is told of S3 events and answers web requests, with tests and all that deploys it.

    Its README.md has the commands that build, try, test, pack and deploy it.

    [bold]Examples[/bold]

    [cyan]shim new hello --language shell[/cyan] makes the folder hello, with a function that needs jq and no compiler

    [cyan]shim new orders --language go --mode warm[/cyan] makes one whose process is kept

    [cyan]shim new orders --language crystal --mode bootstrap[/cyan] makes one that would run as a custom runtime, too
    """
    with ending(context, tell_json if as_json else tell_error):
        from shim.project.new import Project, make  # noqa: PLC0415 - no other command needs them

        project = Project(name, language, mode, runtime, _architecture())
        made = make(project, name)
        show_object(_as_object(project, made)) if as_json else deliver(_in_words(project, made).encode())


def _architecture() -> str:
    """That of this machine, in Lambda's words."""
    from shim.children.diagnosis import MACHINES  # noqa: PLC0415 - no other command needs it

    machine = os.uname().machine
    architecture = MACHINES.get(machine, machine)
    if architecture not in ("x86_64", "arm64"):
        raise PackageError(f"this machine is {machine}, on which Lambda runs nothing; use one with x86_64 or aarch64")
    return architecture


def _in_words(project: Project, made: Made) -> str:
    """What was made, and the first commands in it."""
    lines = [
        f"{project.name}: {len(made.files)} files, a function in {made.title}, mode {project.mode}, for {project.runtime} on {project.architecture}",
        "",
        f"    cd {project.name}",
        *(f"    {line}" for line in made.build),
        f"    shim invoke --event events/web.json build/{project.name}",
        "",
        f"It needs {made.needs} (Debian: apt-get install {made.debian}).",
        f"{made.source} has what it answers, README.md how to test, pack and deploy it.",
    ]
    return "".join(f"{line}\n" for line in lines)


def _as_object(project: Project, made: Made) -> bytes:
    return orjson.dumps(
        {
            "ok": True,
            "folder": project.name,
            "language": project.language,
            "mode": project.mode,
            "runtime": project.runtime,
            "architecture": project.architecture,
            "build": made.build,
            "source": made.source,
            "files": made.files,
        }
    )
