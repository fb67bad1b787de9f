"""`shim invoke`: one invocation of an executable or of a deployment package, as Lambda would do it, on this machine."""

from __future__ import annotations

import base64
import os
from contextlib import closing
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from shim.cli.display import deliver, say, show_object, show_result
from shim.cli.ending import Debug, ending, tell_error
from shim.cli.event import NOTHING, read_event
from shim.cli.function import Function, Measured, PackagedFunction, packaged, peak
from shim.cli.jsonobject import failure_object, success_object, summary_object
from shim.cli.limits import Memory, Name, Timeout  # noqa: TC001 - Typer reads the annotations
from shim.cli.options import Arguments, keywords, with_settings
from shim.cli.orphans import keep_orphans, kill_descendants
from shim.cli.progress import progress
from shim.cli.repeat import Tally, repeat
from shim.cli.table import show_summary
from shim.errors import ShimError
from shim.local.context import DEFAULT_NAME
from shim.local.environment import function_environment
from shim.local.report import end_line, report_line, start_line
from shim.local.target import is_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from shim.local.function import Function as Served

PANEL = "The invocation"
MB = 1024 * 1024


@with_settings
def invoke(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    executable: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTABLE|ZIP",
            help="The file to run: below LAMBDA_TASK_ROOT or the current folder, or on PATH. Or a deployment package.",
        ),
    ],
    arguments: Arguments = None,
    *,
    event: Annotated[
        str, typer.Option(metavar="FILE|-|JSON", help="A file, - for standard input, or JSON.", rich_help_panel=PANEL)
    ] = NOTHING,
    timeout: Timeout = 3.0,
    memory: Memory = 128,
    name: Name = DEFAULT_NAME,
    times: Annotated[
        int | None,
        typer.Option(
            "--repeat",
            metavar="N",
            min=1,
            help="Invoke it N times, and show how long that took and how it ended instead of the results.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, of a result as of an error.", rich_help_panel=PANEL)
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
    **settings: str | None,
) -> None:
    """Runs EXECUTABLE for one event, as Lambda would do it; or a ZIP as it would be deployed, with nothing but what is in it.

    The result comes on standard output; the executable's log, with Lambda's START, END and REPORT around it, on standard error.

    Options stand before EXECUTABLE or ZIP; all after it is the program's own.

    [bold]Examples[/bold]

    [cyan]shim invoke cat[/cyan] shows what an executable is told

    [cyan]shim invoke --event events/order.json bin/program[/cyan] takes the event from a file

    [cyan]shim invoke --event '{"id": 1}' --timeout 10 bin/program --verbose[/cyan] takes it from the command line

    [cyan]jq '.Records[0]' batch.json | shim invoke --event - bin/program[/cyan] takes it from standard input

    [cyan]shim invoke --output text --exit-codes '{"1": "ok"}' grep event[/cyan] wraps a program that knows nothing of Lambda

    [cyan]shim invoke --repeat 100 bin/program[/cyan] shows the durations and outcomes of 100 invocations

    [cyan]shim invoke --event events/order.json function.zip[/cyan] runs what shim pack has made, before it is uploaded

    [cyan]shim invoke --json bin/program | jq .duration_ms[/cyan] gives result, error and figures to a script
    """
    measured = Measured()
    tell = partial(_tell_json, measured) if as_json else tell_error
    with ending(context, tell):
        event_bytes = read_event(event)
        if is_zip(executable):
            from shim.local.deployment import Facts  # noqa: PLC0415 - it loads much that an executable does not need

            keep_orphans()
            facts = Facts(name, timeout, memory, 1, None, {})
            with packaged(executable, arguments or (), facts, settings, tell) as deployment:
                _of_package(deployment.function, event_bytes, times, measured, as_json=as_json)
            return
        os.environ.update(function_environment(os.environ, name=name, memory=memory, folder=os.getcwd()))
        keep_orphans()
        chosen = keywords(executable, arguments or (), settings)
        build = partial(Function, chosen, timeout=timeout, memory=memory, measured=measured)
        if times is None:
            function = build()
            result = _once(function, event_bytes, memory=memory, measured=measured)
            if function.streams:
                _show_any(result, measured, as_json=as_json)
            else:
                show_object(success_object(result, measured)) if as_json else show_result(result)
            return
        with progress(times) as step, closing(build()) as function:
            tally = _many(lambda: function.invoke(event_bytes, function.context()), times, measured, step)
        _show_many(tally, measured, as_json=as_json)


def _once(function: Function, event: bytes, *, memory: int, measured: Measured) -> bytes:
    """The JSON of the result; the lines of the log around it are written."""
    context = function.context()
    say(start_line(context.aws_request_id, context.function_version))
    try:
        return function.invoke(event, context)
    finally:
        function.close()  # the executable's log is all out before the lines that stand after it
        _report(context.aws_request_id, memory, measured)


def _report(request_id: str, memory: int, measured: Measured) -> None:
    most, is_bound = peak()
    measured.peak = None if is_bound else most
    say(end_line(request_id))
    say(
        report_line(
            request_id,
            duration=measured.duration or 0,
            init=measured.init or 0,
            memory=memory,
            peak=ceil(most / MB),
            peak_is_bound=is_bound,
        )
    )


def _many(invoke: Callable[[], object], times: int, measured: Measured, step: Callable[[Tally], None]) -> Tally:
    """What became of so many invocations of one function. Lambda's lines are left out of the log, which is the executable's alone."""

    def invoke_once() -> tuple[float, ShimError | None]:
        failed = None
        try:
            invoke()
        except ShimError as error:
            failed = error
        return measured.duration or 0, failed

    return repeat(invoke_once, times, step)


def _show_many(tally: Tally, measured: Measured, *, as_json: bool) -> NoReturn:
    show_object(summary_object(tally, measured)) if as_json else show_summary(tally, measured)
    raise typer.Exit(tally.exit_code)


def _of_package(served: Served, event: bytes, times: int | None, measured: Measured, *, as_json: bool) -> None:
    """Invokes the function of a package, as often as is asked, and shows what comes of it. Nothing of what was started is left then."""
    try:
        if times is None:
            with PackagedFunction(served, measured, with_platform=True) as function:
                result = function.invoke(event)
            _show_any(result, measured, as_json=as_json)
            return
        with progress(times) as step, PackagedFunction(served, measured, with_platform=False) as function:
            tally = _many(lambda: function.invoke(event), times, measured, step)
    finally:
        kill_descendants()
    _show_many(tally, measured, as_json=as_json)


def _show_any(result: bytes, measured: Measured, *, as_json: bool) -> None:
    """Shows what may be a stream, which may be anything: what is no JSON as it is."""
    from shim.local.invoke_request import is_json  # noqa: PLC0415 - it loads much that others do not need

    if as_json:
        show_object(success_object(result if is_json(result) else _quoted(result), measured))
    elif is_json(result):
        show_result(result)
    else:
        deliver(result)


def _quoted(result: bytes) -> bytes:
    """The JSON of what is none: a text, or base64 of what is no text."""
    try:
        return orjson.dumps(result.decode())
    except UnicodeDecodeError:
        return orjson.dumps(base64.b64encode(result).decode())


def _tell_json(measured: Measured, error: ShimError) -> None:
    show_object(failure_object(error, measured))
