"""The command `shim`: its list of commands, in the order in which one needs them, and what stands before them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from shim import __version__
from shim.cli.check import check
from shim.cli.conform import conform
from shim.cli.display import STDOUT, Unwritable, deliver, say, show_error, visible
from shim.cli.ending import DEBUG, TRY, Debug, of_machine, show_trace
from shim.cli.exits import FAILED, WORKED
from shim.cli.help import Command, Group
from shim.cli.invoke import invoke
from shim.cli.new import new
from shim.cli.pack import pack
from shim.cli.serve import serve

if TYPE_CHECKING:
    from typing import Any

EXIT_CODES = "Exit codes: 0 it worked · 1 what was run or judged failed · 2 a mistake in what was asked · 130 Ctrl-C"
MANUAL = "https://pypi.org/project/lambda-shim/"
COMPLETE = "_SHIM_COMPLETE"
"""The variable by which a shell asks for completions."""
OURS_FIRST = {"allow_interspersed_args": False}
"""What follows EXECUTABLE is the program's, even if it looks like an option of ours."""

app = typer.Typer(
    name="shim",
    cls=Group,
    pretty_exceptions_enable=False,  # a fault of ours is shown as Python shows it
    context_settings={"help_option_names": ["--help", "-h"]},
)
for command, line, settings in (
    (new, "Make a small project to begin with.", None),
    (invoke, "Run a program once, or a package, as Lambda would.", OURS_FIRST),
    (conform, "Say whether a program keeps to the protocol.", OURS_FIRST),
    (check, "Say what would break a function on Lambda.", None),
    (pack, "Make the deployment package.", None),
    (serve, "Be a Lambda on this machine, until Ctrl-C.", OURS_FIRST),
):
    app.command(cls=Command, context_settings=settings, short_help=line, epilog=EXIT_CODES)(command)


def run() -> int:
    """Runs the command line, and returns the exit code.

    What a command itself meets it ends with by `ending`; this is for what stands around it: words that make no sense, and the help.
    """
    if COMPLETE in os.environ:
        return _complete()
    try:
        return int(typer.main.get_command(app).main(prog_name="shim", standalone_mode=False) or WORKED)
    except TyperException as error:
        _tell_misuse(error)
        return error.exit_code
    except Unwritable as error:
        show_error("OSError", str(error))
    except OSError as error:
        # Without a name it is standard output: the help, or the completion, which Typer writes.
        show_error("OSError", str(Unwritable(error.strerror) if error.filename is None else of_machine(error)))
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # Python would try again at its end what has failed
    return FAILED


def _complete() -> int:
    """What a shell asks for at a press of a key: whatever goes wrong, nothing is written into the line that is typed."""
    try:
        typer.main.get_command(app).main(prog_name="shim")
    except Exception:
        return FAILED
    return WORKED


def _tell_misuse(error: TyperException) -> None:
    """Shows what is wrong with the words of a command line, how they go, and the next command to try."""
    context: Any = getattr(error, "ctx", None)
    message = re.sub(r"\s*\n\s*", " ", error.format_message()).replace(": Value error, ", ": ")
    if context is None:
        show_error("Error", message)
        return
    if context.meta.get(DEBUG):
        show_trace(error)
    say(visible(context.get_usage(), keep="\n"))
    show_error("Error", message)
    from shim.cli.advice import words  # noqa: PLC0415 - only after a mistake

    say(f"{TRY}{visible(words(error, context))}")


def _version(value: bool) -> None:
    if value:
        deliver(f"shim {__version__}\n".encode())
        raise typer.Exit


@app.callback(epilog=f"{EXIT_CODES}\n\nThe manual: {MANUAL}")
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Makes any native executable an AWS Lambda function, and tells the truth about how it ended.

    EXECUTABLE is any program that Linux runs: what a compiler has made, or a script. It reads one line of JSON and writes its answer. shim help COMMAND tells more about each command.

    [bold]Examples[/bold]

    [cyan]shim new hello --language shell[/cyan] makes the folder hello, with a function in it

    [cyan]cd hello[/cyan] and build it, as its README.md says

    [cyan]shim invoke --event events/web.json build/hello[/cyan] runs it once, as Lambda would

    [cyan]shim conform --pure --event events/web.json build/hello[/cyan] looks for a request that it does not answer well

    [cyan]shim check build/hello[/cyan] says whether Lambda could run it

    [cyan]shim pack build/hello[/cyan] makes function.zip, which is uploaded; README.md says with which options

    [cyan]shim serve --watch build/hello[/cyan] serves it here, anew after each build
    """
