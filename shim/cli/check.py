"""`shim check`: what is wrong with an executable or a deployment package, before it is uploaded."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated, Literal

import typer

from shim.cli.display import show_object
from shim.cli.ending import Debug, ending, tell_error, tell_json
from shim.cli.exits import FAILED

PANEL = "The function"


def _there(path: str) -> str:
    if not os.path.lexists(path):
        raise typer.BadParameter(f"there is no {path}")
    return path


def check(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER|ZIP",
            callback=_there,
            help="An executable, a folder with the files of a function, or their zip.",
            show_default=False,
        ),
    ],
    *,
    target: Annotated[
        Literal["al2023", "al2"] | None,
        typer.Option(
            help="The system that the function's runtime is on. Default: al2023, and al2 for a package for Python 3.11.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    architecture: Annotated[
        Literal["x86_64", "arm64"] | None,
        typer.Option(help="The function's. Default: the executable's own.", rich_help_panel=PANEL, show_default=False),
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE.NAME",
            help="The function's handler, to see whether it is in the package.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
) -> None:
    """Says everything that is wrong with an executable or a deployment package, and the cure of each; nothing of it is run.

    Errors would break the function, and make the exit code 1; warnings may, or cost something.

    [bold]Examples[/bold]

    [cyan]shim check bin/program[/cyan] says whether Lambda can run a program, with the libraries of this machine that shim pack would take along

    [cyan]shim check function.zip[/cyan] looks at all that is in a package

    [cyan]shim check --target al2 --architecture arm64 package/[/cyan] looks at a folder, for a certain function

    [cyan]shim check --json function.zip | jq -r '.problems[].cure'[/cyan] gives it to a script
    """
    with ending(context, tell_json if as_json else tell_error):
        from shim.cli.verdict import as_object, show_verdict  # noqa: PLC0415 - no other command needs it
        from shim.package.check import judge  # noqa: PLC0415 - likewise
        from shim.package.subject import subject  # noqa: PLC0415 - likewise
        from shim.package.targets import TARGETS  # noqa: PLC0415 - likewise

        system = None if target is None else TARGETS[target]
        with subject(path, system) as found:
            verdict = judge(
                found.files,
                target=system,
                architecture=architecture,
                executables=found.executables,
                zipped=found.zipped,
                handler=handler,
            )
        show = (
            partial(show_object, as_object(path, verdict))
            if as_json
            else partial(show_verdict, path, verdict, found.added)
        )
        show()
        if any(problem.severity == "error" for problem in verdict.problems):
            raise typer.Exit(FAILED)
