"""`shim pack`: a deployment package of executables."""

from __future__ import annotations

import inspect
import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from shim.cli import options
from shim.cli.display import deliver, say, visible
from shim.cli.ending import Debug, ending
from shim.cli.options import POSITIONAL, keywords, with_settings
from shim.cli.packing import packing
from shim.errors import PackageError
from shim.settings import Settings, from_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.package.pack import Order, Packed

PANEL = "The package"
SETTINGS = "Settings of shim (over shim.toml, in the package's own)"
MB = 1024 * 1024


def _into_the_package(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose help says of the settings that they are packed."""
    for parameter in inspect.signature(command).parameters.values():
        for option in get_args(parameter.annotation)[1:]:
            if getattr(option, "rich_help_panel", None) == options.PANEL:
                option.rich_help_panel = SETTINGS
    return command


def _includes(texts: list[str] | None) -> list[str]:
    from shim.package.sources import Include  # noqa: PLC0415 - no other command needs it

    for text in texts or ():
        try:
            Include.parse(text)
        except PackageError as error:
            raise typer.BadParameter(str(error)) from None
    return texts or []


@_into_the_package
@with_settings
def pack(  # noqa: PLR0913 - the options of a command are its parameters
    context: typer.Context,
    executables: Annotated[
        list[str],
        typer.Argument(
            metavar="EXECUTABLE",
            help="The file that invocations run, and others that it may run. They go to the package's root.",
        ),
    ],
    *,
    zip_file: Annotated[
        str,
        typer.Option(
            "-o",
            "--zip",
            metavar="FILE",
            help="The zip, which is replaced if it is there.",
            rich_help_panel=PANEL,
        ),
    ] = "function.zip",
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC[:DEST]",
            callback=_includes,
            help="A file or folder that goes in too, and the name it has there; with a slash at its end DEST is the folder it goes into. May be repeated.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        Literal["python3.11", "python3.12", "python3.13", "python3.14", "provided.al2", "provided.al2023"],
        typer.Option(
            help="The function's. With provided.* the first EXECUTABLE, which speaks the Runtime API, becomes bootstrap, and shim stays out.",
            rich_help_panel=PANEL,
        ),
    ] = "python3.13",
    architecture: Annotated[
        Literal["x86_64", "arm64"] | None,
        typer.Option(
            help="The function's. Not needed but for scripts: else it is that of the executables, and at last this machine's.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    own_runtime: Annotated[
        bool,
        typer.Option("--own-runtime", help="Take our own runtime along, which streams.", rich_help_panel=PANEL),
    ] = False,
    wheels: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder with wheels of orjson and psutil (mode bootstrap: h11 too), for no network. Else pip finds them.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    with_libc: Annotated[
        bool,
        typer.Option(
            "--with-libc",
            help="Take loader and C library along, for programs newer than the target's glibc. /proc/self/exe is then the loader.",
            rich_help_panel=PANEL,
        ),
    ] = False,
    upx: Annotated[
        bool,
        typer.Option("--upx", help="Compress the executables with UPX. They start more slowly.", rich_help_panel=PANEL),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Pack in spite of errors that shim check finds.", rich_help_panel=PANEL)
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback keeps it
    **settings: str | None,
) -> None:
    """Makes a deployment package: executables, the libraries that Lambda lacks, and shim with what it needs and these settings.

    The same files and options, packed by the same Python, give the same zip, byte for byte.

    [bold]Examples[/bold]

    [cyan]shim pack bin/program[/cyan] makes function.zip, for a function with a Python runtime and the handler shim.handler

    [cyan]shim pack --output text --args '-f markdown' -o html.zip pandoc[/cyan] wraps a program that knows nothing of Lambda

    [cyan]shim pack --include models bin/program bin/tool[/cyan] takes a folder along, and a tool that the program calls

    [cyan]shim pack --runtime provided.al2023 ./bootstrap[/cyan] packs a program that speaks the Runtime API itself

    [cyan]shim pack --with-libc bin/program[/cyan] packs one that was built on a newer system than Lambda's
    """
    with ending(context):
        from shim.package.pack import Order, pack as make  # noqa: PLC0415 - no other command needs them
        from shim.package.sources import Include  # noqa: PLC0415 - likewise

        order = Order(
            executables,
            zip_file,
            [Include.parse(text) for text in include or ()],
            runtime,
            architecture,
            _settings(settings, runtime),
            own_runtime=own_runtime,
            wheels=wheels,
            with_libc=with_libc,
            upx=upx,
            force=force,
        )
        from shim.package.check import check  # noqa: PLC0415 - likewise
        from shim.package.targets import RUNTIMES  # noqa: PLC0415 - likewise

        # What it is for is known, and what is packed has just been hashed.
        judge = partial(check, target=RUNTIMES[runtime], architecture=architecture, sums=False)
        with packing() as watch:
            packed = make(order, judge=judge, watch=watch)
        _show(order, packed)


def _settings(given: dict[str, str | None], runtime: str) -> dict[str, object]:
    """Those of the command line over those of the current folder's shim.toml, with which the program was tried; not those of the environment.

    Raises:
        SettingsError: with every mistake in both.
    """
    if not runtime.startswith("python"):  # none may be given, whatever its value
        return {name: text for name, text in given.items() if text is not None}
    folder, environ = os.getcwd(), {"SHIM_EXECUTABLE": "program"}
    options = keywords(None, (), given, environ=environ, folder=folder)
    Settings.from_environment(environ, folder=folder, **options)
    return {name: value for name, (_, value) in from_file(folder, []).items() if name != POSITIONAL} | options


def _show(order: Order, packed: Packed) -> None:
    """What was made, and what the function must be told; on standard error what is wrong with it."""
    for problem in packed.problems:
        place = f"{visible(problem.place)}: " if problem.place else ""
        say(f"{problem.severity}: {place}{visible(problem.sentence)}; {visible(problem.cure)}")
    sizes = f"{_megabytes(packed.zipped)} zipped, {_megabytes(packed.unpacked)} unpacked"
    lines = [f"{visible(order.output)}: {packed.files} files, {sizes}, for {order.runtime} on {packed.architecture}"]
    if packed.handler is not None:
        lines.append(f"handler: {packed.handler}")
    lines += [f"variable: {name}={value}" for name, value in packed.variables.items()]
    deliver("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _megabytes(size: int) -> str:
    return f"{size / MB:.2f} MB"
