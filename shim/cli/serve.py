"""`shim serve`: a Lambda on this machine, for one function."""

from __future__ import annotations

import os
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from shim.cli.display import deliver, say
from shim.cli.ending import Debug, ending, tell_error
from shim.cli.exits import MISTAKE
from shim.cli.function import packaged
from shim.cli.limits import FUNCTION, Memory, Name, Timeout, finite
from shim.cli.options import keywords, spelled, with_settings
from shim.cli.orphans import keep_orphans
from shim.errors import SettingsError
from shim.local.context import DEFAULT_NAME
from shim.local.target import is_zip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.errors import ShimError
    from shim.local.deployment import Deployment, Facts

SERVER = "The server"
PORT = 9000
"""Where AWS's own emulator is found by convention."""
MOST_AT_ONCE = 1600
"""What AWS takes for PerExecutionEnvironmentMaxConcurrency."""


def _named_values(texts: list[str] | None) -> list[str]:
    for text in texts or ():
        name, separator, _ = text.partition("=")
        if not (name and separator):
            raise typer.BadParameter(f"must be NAME=VALUE, not {text!r}")
        if name in {"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME"}:
            raise typer.BadParameter(f"must not set {name}, which each execution environment has of its own")
    return texts or []


def _writable(path: str | None) -> str | None:
    if path is not None:
        folder = os.path.dirname(path) or "."
        if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise typer.BadParameter(f"must be a file that can be written, which {path} is not")
    return path


@with_settings
def serve(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTABLE|FOLDER|ZIP",
            help="The file to run: below LAMBDA_TASK_ROOT or the current folder, or on PATH. Or a deployment package: its folder, run with this Python's packages beside it, or its zip, run as it would be deployed.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS",
            help="The executable's arguments, whatever they look like. None: --args, SHIM_ARGS, shim.toml.",
        ),
    ] = None,
    *,
    runtime: Annotated[
        Literal["awslambdaric", "shim", "bootstrap"] | None,
        typer.Option(
            help="awslambdaric: AWS's own for Python, in this Python. shim: ours, which streams. bootstrap: EXECUTABLE speaks the Runtime API itself, or FOLDER has a file bootstrap that does.",
            rich_help_panel=FUNCTION,
            show_default="awslambdaric; of a ZIP what it was packed for",
        ),
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE.NAME",
            help="_HANDLER: a Python handler in FOLDER. None: shim.handler; with --runtime bootstrap the file's name.",
            rich_help_panel=FUNCTION,
            show_default=False,
        ),
    ] = None,
    name: Name = DEFAULT_NAME,
    timeout: Timeout = 3.0,
    memory: Memory = 128,
    function_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            callback=_named_values,
            help="A variable of the function's, over all others. May be repeated.",
            rich_help_panel=FUNCTION,
            show_default=False,
        ),
    ] = None,
    at_once: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_AT_ONCE,
            help="Invocations that one execution environment takes at a time, as on managed instances.",
            rich_help_panel=FUNCTION,
        ),
    ] = 1,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where it listens; 0: a free one.", rich_help_panel=SERVER)
    ] = PORT,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Execution environments at most; beyond, callers get 429.", rich_help_panel=SERVER
        ),
    ] = 10,
    freeze: Annotated[
        bool,
        typer.Option("--freeze", help="Stop all processes between two invocations.", rich_help_panel=SERVER),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Make new execution environments when the executable, the folder or the zip changes on disk.",
            rich_help_panel=SERVER,
        ),
    ] = False,
    retry_scale: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            help="By which AWS's delays before retries of asynchronous invocations are multiplied.",
            rich_help_panel=SERVER,
        ),
    ] = 1.0,
    dead_letters: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            callback=_writable,
            help="Where asynchronous invocations are written that failed to the end.",
            rich_help_panel=SERVER,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a line, of all that happens.", rich_help_panel=SERVER),
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
    **settings: str | None,
) -> None:
    """Serves a function as Lambda would, until Ctrl-C: boto3, the AWS CLI, curl and browsers can talk to it.

    Options stand before EXECUTABLE, FOLDER or ZIP; all after it is the program's own.

    [bold]Examples[/bold]

    [cyan]shim serve bin/program[/cyan] serves an executable, by shim.handler

    [cyan]shim serve --watch --freeze package/[/cyan] serves a deployment package with a shim.toml, anew after each change

    [cyan]shim serve function.zip[/cyan] serves what shim pack has made, with nothing but what is in it

    [cyan]shim serve --runtime shim --output stream bin/program[/cyan] streams what it writes, by our own runtime

    [cyan]shim serve --runtime bootstrap --timeout 10 ./bootstrap[/cyan] serves a program that speaks the Runtime API itself

    [cyan]shim serve --handler app.handler --function-env TABLE=orders package/[/cyan] serves any Python handler

    [cyan]shim serve --port 0 --json bin/program[/cyan] tells a script where it is, and what happens
    """
    tell = _tell_json if as_json else tell_error
    with ending(context, tell), ExitStack() as held:
        from shim.local.deployment import AWSLAMBDARIC, Facts  # noqa: PLC0415 - it loads asyncio, which no other command needs

        facts = Facts(name, timeout, memory, at_once, handler, dict(text.split("=", 1) for text in function_env or ()))
        given = {name: text for name, text in settings.items() if text is not None}
        _need("uvicorn", *["watchfiles"] * watch)
        if is_zip(target):
            package = packaged(target, arguments or (), facts, given, tell, runtime=runtime, watch=watch)
            deployment = held.enter_context(package)
        else:
            deployment = _deployed(target, arguments or (), runtime or AWSLAMBDARIC, facts, given)
            _need(*["awslambdaric"] * (deployment.runtime == AWSLAMBDARIC))
        keep_orphans()
        from shim.cli.serving import Service, serve_until_signal  # noqa: PLC0415 - likewise

        service = Service(
            deployment,
            port,
            concurrency,
            freeze=freeze,
            watch=watch,
            retry_scale=retry_scale,
            dead_letters=dead_letters,
            as_json=as_json,
        )
        raise typer.Exit(serve_until_signal(service))


def _deployed(target: str, arguments: Sequence[str], runtime: str, facts: Facts, given: dict[str, str]) -> Deployment:
    """What is served; every mistake is found now.

    Raises:
        ShimError: it can't be.
    """
    from shim.local.deployment import BOOTSTRAP, Package, with_bootstrap, with_python  # noqa: PLC0415 - see above

    package = Package.of(target)
    if runtime == BOOTSTRAP:
        if given:
            raise SettingsError(
                [f"{spelled(name)} must not be given with --runtime bootstrap, which never reads it" for name in given]
            )
        return with_bootstrap(package, arguments, facts)
    keywords(package.executable, arguments, given, environ=os.environ, folder=package.folder)
    return with_python(runtime, package, arguments, facts, given)


def _need(*packages: str) -> None:
    """What is only needed for this command may be missing.

    Raises:
        typer.Exit: it is, and that was said.
    """
    for package in packages:
        try:
            found = find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            say(f"The command shim serve needs {package}, which is not installed: pip install 'lambda-shim[cli]'")
            raise typer.Exit(MISTAKE)


def _tell_json(error: ShimError) -> None:
    deliver(orjson.dumps({"event": "error", "errorType": type(error).__name__, "errorMessage": str(error)}) + b"\n")
