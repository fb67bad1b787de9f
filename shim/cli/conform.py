"""`shim conform`: whether an executable is a good citizen of the protocol."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.display import say, show_object
from shim.cli.ending import Debug, ending, tell_error, tell_json
from shim.cli.event import NOTHING, STANDARD_INPUT, read_event, read_request
from shim.cli.exits import FAILED, MISTAKE, SIGNALED
from shim.cli.limits import finite
from shim.cli.options import Arguments, keywords, with_settings
from shim.cli.orphans import keep_orphans, kill_descendants
from shim.errors import SettingsError
from shim.local.context import DEFAULT_NAME
from shim.local.environment import function_environment
from shim.settings import Settings

if TYPE_CHECKING:
    from types import FrameType


class Signaled(BaseException):
    """A signal asks us to end. Hypothesis takes a SystemExit, which it is elsewhere, for a failure of what it tries."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


PANEL = "What is asked"
MEMORY = 128
"""MB that the function is said to have."""


def _requirements() -> list[tuple[str, str]]:
    """What a shell may complete the name of a requirement to, and what it says."""
    from shim.testing.conform.protocol import REQUIREMENTS  # noqa: PLC0415 - only a completion needs it here

    return [(requirement.name, requirement.says) for requirement in REQUIREMENTS]


@with_settings
def conform(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    executable: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTABLE",
            help="The file to run: below LAMBDA_TASK_ROOT or the current folder, or on PATH.",
        ),
    ],
    arguments: Arguments = None,
    *,
    event: Annotated[
        str,
        typer.Option(
            metavar="FILE|-|JSON", help="An event that the program answers with success.", rich_help_panel=PANEL
        ),
    ] = NOTHING,
    failing_event: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-|JSON",
            help="An event that the program, a bootstrap, must fail (6.2).",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    pure: Annotated[
        bool,
        typer.Option("--pure", help="The same request must have the same answer, too (3.6).", rich_help_panel=PANEL),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|NUMBER",
            help="Ask this requirement alone: 2.3, or reads-any-size. May be repeated.",
            autocompletion=_requirements,
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|NUMBER",
            help="Do not ask this requirement. May be repeated.",
            autocompletion=_requirements,
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|-|TEXT",
            help="Send this, and nothing that is made: an event, a line with some of its members, or a line that is no JSON."
            " With --only, to repeat a failure. May be repeated.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        int,
        typer.Option(
            min=10, max=1_000_000, help="How many a kept program gets that must not grow.", rich_help_panel=PANEL
        ),
    ] = 1000,
    examples: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many are made of each kind.", rich_help_panel=PANEL)
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Another one makes other examples.", rich_help_panel=PANEL)] = 0,
    within: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=900,
            callback=finite,
            metavar="SECONDS",
            help="How long an answer may take, with the start.",
            rich_help_panel=PANEL,
        ),
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
    **settings: str | None,
) -> None:
    """Says whether EXECUTABLE keeps to the protocol: whether it reads any request, answers once, fails truthfully, ends when it should, and leaves nothing behind.

    Each failure comes with its smallest counterexample, and with the command that repeats it.

    Options stand before EXECUTABLE; all after it is the program's own.

    [bold]Examples[/bold]

    [cyan]shim conform bin/program[/cyan] holds a program to all that is asked of one that is started for each request

    [cyan]shim conform --event events/order.json bin/program[/cyan] of one that answers certain events only

    [cyan]shim conform --mode warm --pure bin/program[/cyan] of one that is kept, and whose answers depend on nothing but the request

    [cyan]shim conform --mode bootstrap bin/bootstrap[/cyan] of one that speaks the Runtime API

    [cyan]shim conform --only reads-any-size bin/program[/cyan] asks one thing
    """
    with ending(context, tell_json if as_json else tell_error):
        _need("hypothesis", "psutil")
        import tempfile  # noqa: PLC0415 - no other command needs it

        from shim.cli.conformity import Report  # noqa: PLC0415 - no other command needs it
        from shim.testing.conform.protocol import BOOTSTRAP, Plan  # noqa: PLC0415 - likewise
        from shim.testing.conform.verdict import command_of, requirements_of, verdicts  # noqa: PLC0415 - likewise

        sample = read_event(event)
        replay = tuple(map(read_request, request)) if request else None
        if replay is not None and len(only or ()) != 1:
            raise SettingsError(["--request must be given with --only, and one requirement"])
        os.environ.update(function_environment(os.environ, name=DEFAULT_NAME, memory=MEMORY, folder=os.getcwd()))
        chosen = Settings.from_environment(**keywords(executable, arguments or (), settings))
        asked = requirements_of(chosen.mode, only or (), skip or ())
        keep_orphans()
        failing = None if failing_event is None else read_event(failing_event)
        if failing is not None and chosen.mode != BOOTSTRAP:
            raise SettingsError(["--failing-event must be given with --mode bootstrap only, of which alone it is read"])
        plan = Plan(sample, examples, requests, within, seed, pure, replay, failing)
        report = Report(
            executable,
            arguments or (),
            {name: text for name, text in settings.items() if text is not None},
            plan,
            mode=chosen.mode,
            event=event if event != STANDARD_INPUT and os.path.exists(event) else None,
        )
        with tempfile.TemporaryDirectory(prefix="shim-conform-", ignore_cleanup_errors=True) as folder:
            _keep_in(folder)
            command = command_of(chosen)
            _pass_signals_on()
            try:
                found = [report.saw(verdict) for verdict in verdicts(command, plan, asked)]
            except Signaled as signaled:
                raise typer.Exit(SIGNALED + signaled.number) from None
            finally:
                report.clear()
                kill_descendants()
        show_object(report.as_object(found)) if as_json else report.show(found)
        if any(verdict.status == "failed" for verdict in found):
            raise typer.Exit(FAILED)


def _pass_signals_on() -> None:
    """Those that would end us, and are not ignored, come as an exception that passes through everything."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _pass_on)


def _pass_on(number: int, _frame: FrameType | None) -> None:
    raise Signaled(number)


def _keep_in(folder: str) -> None:
    """Hypothesis keeps its files there, and none in the current folder; and so do the programs that are killed before they remove theirs."""
    os.environ["TMPDIR"] = folder
    from hypothesis.configuration import set_hypothesis_home_dir  # noqa: PLC0415 - no other command needs it

    set_hypothesis_home_dir(folder)


def _need(*packages: str) -> None:
    """Ends the command where a package is missing."""
    for package in packages:
        if find_spec(package) is None:
            say(
                f"The command shim conform needs {package}, which is not installed: pip install 'lambda-shim[cli,testing]'"
            )
            raise typer.Exit(MISTAKE)
