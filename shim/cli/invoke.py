"""`shim invoke`: one invocation of an executable, as Lambda would do it, on this machine."""

from __future__ import annotations

import os
import re
import resource
from math import ceil, isfinite
from time import perf_counter
from typing import Annotated

import typer

from shim.adapter import Shim
from shim.children.sweep import set_subreaper
from shim.cli.display import say, show_error, show_result
from shim.cli.ending import Debug, ending
from shim.cli.event import NOTHING, read_event
from shim.cli.exits import FAILED
from shim.cli.options import keywords, with_settings
from shim.invocation import Invocation
from shim.local.context import DEFAULT_NAME, LambdaContext
from shim.local.environment import function_environment
from shim.local.report import end_line, report_line, start_line

PANEL = "The invocation"


def _finite(seconds: float) -> float:
    if not isfinite(seconds):  # NaN is neither under the least nor over the most
        raise typer.BadParameter("must be a number of seconds")
    return seconds


def _function_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):  # Lambda's rule (CreateFunction, FunctionName)
        raise typer.BadParameter("must be 1 to 64 letters, digits, hyphens and underscores")
    return name


@with_settings
def invoke(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    executable: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTABLE", help="The file to run: below LAMBDA_TASK_ROOT or the current folder, or on PATH."
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="Its arguments, whatever they look like. None: --args, SHIM_ARGS, shim.toml."
        ),
    ] = None,
    *,
    event: Annotated[
        str, typer.Option(metavar="FILE|-|JSON", help="A file, - for standard input, or JSON.", rich_help_panel=PANEL)
    ] = NOTHING,
    timeout: Annotated[
        float,
        typer.Option(
            min=1, max=900, callback=_finite, help="The function's timeout, in seconds.", rich_help_panel=PANEL
        ),
    ] = 3.0,
    memory: Annotated[
        int,
        typer.Option(
            min=128,
            max=10_240,
            envvar="AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            help="The function's memory in MB: told to the executable, not enforced.",
            rich_help_panel=PANEL,
        ),
    ] = 128,
    name: Annotated[
        str,
        typer.Option(
            envvar="AWS_LAMBDA_FUNCTION_NAME",
            callback=_function_name,
            help="The function's name.",
            rich_help_panel=PANEL,
        ),
    ] = DEFAULT_NAME,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
    **settings: str | None,
) -> None:
    """Runs EXECUTABLE for one event, as Lambda would do it.

    The result comes on standard output; the executable's log, with Lambda's START, END and REPORT around it, on standard error.

    Options stand before EXECUTABLE; all after it is the program's own.

    [bold]Examples[/bold]

    [cyan]shim invoke cat[/cyan] shows what an executable is told

    [cyan]shim invoke --event events/order.json bin/program[/cyan] takes the event from a file

    [cyan]shim invoke --event '{"id": 1}' --timeout 10 bin/program --verbose[/cyan] takes it from the command line

    [cyan]jq '.Records[0]' batch.json | shim invoke --event - bin/program[/cyan] takes it from standard input

    [cyan]shim invoke --output text --exit-codes '{"1": "ok"}' grep event[/cyan] wraps a program that knows nothing of Lambda
    """
    with ending(context):
        event_bytes = read_event(event)
        os.environ.update(function_environment(os.environ, name=name, memory=memory, folder=os.getcwd()))
        _keep_orphans()
        result = _run(event_bytes, keywords(executable, arguments or (), settings), timeout=timeout, memory=memory)
        try:
            show_result(result)
        except OSError as error:
            show_error("OSError", f"the result could not be written to standard output: {error.strerror}")
            raise typer.Exit(FAILED) from None


def _run(event: bytes, settings: dict[str, object], *, timeout: float, memory: int) -> bytes:
    """The JSON of the result; the lines of the log around it are written."""
    before = perf_counter()
    with Shim.from_environment(**settings) as shim:
        started = perf_counter()
        context = LambdaContext(
            timeout=timeout,
            memory=memory,
            name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            region=os.environ["AWS_REGION"],
            log_group_name=os.environ["AWS_LAMBDA_LOG_GROUP_NAME"],
            log_stream_name=os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
        )
        request_id = context.aws_request_id
        say(start_line(request_id, context.function_version))
        try:
            return shim.run(Invocation(event, context))
        finally:
            duration = perf_counter() - started
            shim.close()  # the executable's log is all out before the lines that stand after it
            peak, is_bound = _peak()
            say(end_line(request_id))
            say(
                report_line(
                    request_id,
                    duration=duration,
                    init=started - before,
                    memory=memory,
                    peak=peak,
                    peak_is_bound=is_bound,
                )
            )


def _peak() -> tuple[int, bool]:
    """The most memory that the executable had, in MB, and whether that is only known to be the most that it can have been.

    A spawned child begins with our own peak: until it runs its own program it shares our memory, and the kernel folds that peak into its
    ru_maxrss. So the figure is its own only where it is above ours; else it is known that it stayed under ours.
    """
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return ceil(max(ours, theirs) / 1024), theirs <= ours  # Linux counts KB


def _keep_orphans() -> None:
    """Nothing that the executable starts escapes us: this process is our own, so every orphan in it is the executable's."""
    try:
        set_subreaper(on=True)
    except OSError:
        return  # a sandbox that refuses it: what can be found without is killed all the same
