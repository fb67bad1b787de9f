"""The command `shim`: what stands before the commands, and their list."""

from __future__ import annotations

from typing import Annotated

import typer

from shim import __version__
from shim.cli.check import check
from shim.cli.conform import conform
from shim.cli.display import STDOUT, write
from shim.cli.ending import Debug  # noqa: TC001 - Typer reads the annotation
from shim.cli.invoke import invoke
from shim.cli.pack import pack
from shim.cli.serve import serve

EXIT_CODES = "Exit codes: 0 it worked · 1 what was run or judged failed · 2 a mistake in what was asked · 130 Ctrl-C"

app = typer.Typer(
    name="shim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a fault of ours is shown as Python shows it
    rich_markup_mode="rich",
)
# What follows EXECUTABLE is the program's, even if it looks like an option of ours.
app.command(context_settings={"allow_interspersed_args": False}, epilog=EXIT_CODES)(invoke)
app.command(context_settings={"allow_interspersed_args": False}, epilog=EXIT_CODES)(serve)
app.command(epilog=EXIT_CODES)(pack)
app.command(epilog=EXIT_CODES)(check)
app.command(context_settings={"allow_interspersed_args": False}, epilog=EXIT_CODES)(conform)


def _version(value: bool) -> None:
    if value:
        write(STDOUT, f"shim {__version__}\n".encode())
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Makes any native executable an AWS Lambda function, and tells the truth about how it ended."""
