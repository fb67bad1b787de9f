"""What is served: a folder or an executable under a runtime, made the `Function` that an emulator starts."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shim.children.diagnosis import examine, resolve
from shim.children.environment import child_environment
from shim.children.sweep import EMULATED
from shim.errors import ExecutableNotFound, SettingsError
from shim.local.environment import function_environment
from shim.local.function import Function
from shim.local.tree import MARK
from shim.settings import Settings, task_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AWSLAMBDARIC = "awslambdaric"
SHIM = "shim"
BOOTSTRAP = "bootstrap"
PYTHONS = {AWSLAMBDARIC: "awslambdaric", SHIM: "shim.runtime"}
"""The runtimes for Python: AWS's own and ours, and the modules that they are."""
OURS = "shim.handler"
"""The handler that runs an executable, and reads the settings of shim."""
API = "AWS_LAMBDA_RUNTIME_API"
OF_AN_ENVIRONMENT = (API, MARK)
"""The variables that each execution environment has a value of its own for."""
LEFTOVERS = (
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_EXECUTION_ENV",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "SHIM_CHILD",
    "PYTHONSAFEPATH",  # with it the handler would not be found in the current folder
)
LEFTOVER_FAMILIES = ("AWS_LAMBDA_", "_LAMBDA_")
"""Of a function in which this process itself may run: what another one has there is not this one's."""


@dataclass(frozen=True, slots=True)
class Package:
    """The deployment package.

    Attributes:
        folder: its root, absolute.
        executable: what was asked for, where that is no folder; relative to the root, or a bare name.
    """

    folder: str
    executable: str | None

    @classmethod
    def of(cls, target: str, environ: Mapping[str, str] = os.environ) -> Package:
        """A folder is one; an executable has LAMBDA_TASK_ROOT or the current folder for its own."""
        if os.path.isdir(target):
            return cls(os.path.abspath(target), None)
        return cls(os.path.abspath(task_root(environ)), target)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is served, and what it is made of.

    Attributes:
        function: as the emulator takes it.
        runtime: "awslambdaric", "shim" or "bootstrap".
        program: the path of the executable that does the work, where that is known; else the handler.
        files: those whose change makes it another function; a folder stands for all that is in it.
    """

    function: Function
    runtime: str
    program: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the runtimes have in common.

    Attributes:
        name: the function's.
        timeout: seconds that an invocation has.
        memory: MB.
        at_once: how many invocations an execution environment takes at a time.
        handler: None for the runtime's own.
        variables: what the function's environment has besides; they go before everything.
    """

    name: str
    timeout: float
    memory: int
    at_once: int
    handler: str | None
    variables: Mapping[str, str]


def with_python(  # noqa: PLR0913 - each is something that the caller may want to choose
    runtime: str,
    package: Package,
    arguments: Sequence[str],
    facts: Facts,
    settings: Mapping[str, str],
    *,
    environ: Mapping[str, str] = os.environ,
) -> Deployment:
    """A function of a runtime for Python, as this Python runs it.

    Args:
        runtime: one of PYTHONS.
        package: where it is.
        arguments: the executable's.
        facts: about the function.
        settings: those of shim that were given, each as the text of a variable.
        environ: what its environment begins with.

    Raises:
        SettingsError: with every mistake in the settings, where `shim.handler` reads them.
        ExecutableError: the executable can't be run, as far as a look at it tells.
    """
    handler = facts.handler or OURS
    if "." not in handler:
        raise SettingsError([f"--handler must be MODULE.NAME, like app.handler, not {handler!r}"])
    if facts.handler and package.executable and not os.path.exists(os.path.join(package.folder, package.executable)):
        raise SettingsError([f"there is no {package.executable} in {package.folder}: name the folder of the handler"])
    environment = environment_of(package.folder, facts, handler, environ)
    environment |= {"AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}", EMULATED: "true"}
    if package.executable is not None:
        environment["SHIM_EXECUTABLE"] = package.executable
    if arguments:
        environment["SHIM_ARGS"] = json.dumps(list(arguments))
    environment |= {f"SHIM_{name.upper()}": text for name, text in settings.items()}
    environment |= facts.variables
    files: tuple[str, ...] = (package.folder,)
    program = handler
    if handler == OURS:
        program = _executable_of(package.folder, environment)
        files = files if package.executable is None else _files_of(program, package.folder)
    command = (sys.executable, "-m", PYTHONS[runtime], handler)
    function = function_of(command, environment, package.folder, handler, facts)
    return Deployment(function, runtime, program, files)


def with_bootstrap(
    package: Package, arguments: Sequence[str], facts: Facts, environ: Mapping[str, str] = os.environ
) -> Deployment:
    """A function of an OS-only runtime: a program that speaks the Runtime API itself.

    Args:
        package: a folder with a file `bootstrap`, or that program itself.
        arguments: its own.
        facts: about the function.
        environ: what its environment begins with.

    Raises:
        ExecutableError: it can't be run, as far as a look at it tells.
    """
    folder = package.folder
    named = package.executable or os.path.join(folder, "bootstrap")
    handler = facts.handler or os.path.basename(named)
    environment = environment_of(folder, facts, handler, environ)
    libraries = (folder, os.path.join(folder, "lib"), environ.get("LD_LIBRARY_PATH", ""))
    environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    environment |= facts.variables
    search = environment.get("PATH", "")
    if package.executable is None and not os.path.lexists(named):
        raise ExecutableNotFound(
            f"was not found: there is no {named}", executable="bootstrap", cure="name the program in that folder so"
        )
    path = resolve(named, task_root=folder, path=search)
    problem = examine(path, executable=named, search=search, folder=folder)
    if problem is not None:
        raise problem
    files = (folder,) if package.executable is None else _files_of(path, folder)
    return Deployment(function_of((path, *arguments), environment, folder, handler, facts), BOOTSTRAP, path, files)


def environment_of(folder: str, facts: Facts, handler: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that every runtime has, but for those of the function's own, which come last."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in LEFTOVERS and not name.startswith(LEFTOVER_FAMILIES)
    }
    variables = kept | function_environment(kept, name=facts.name, memory=facts.memory, folder=folder)
    variables |= {"_HANDLER": handler, "LAMBDA_TASK_ROOT": folder, "TZ": ":UTC"}
    variables.setdefault("AWS_DEFAULT_REGION", variables["AWS_REGION"])  # the one that boto3 reads
    variables["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand"
    if facts.at_once > 1:
        variables["AWS_LAMBDA_INITIALIZATION_TYPE"] = "lambda-managed-instances"
        variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(facts.at_once)
    return variables


def _executable_of(folder: str, environment: Mapping[str, str]) -> str:
    """The file that `shim.handler` will run, which has been looked at as it will look at it.

    Raises:
        ShimError: it will fail.
    """
    settings = Settings.from_environment(environment, folder=folder)
    handed_on = child_environment(
        {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        task_root=folder,
        env=settings.env,
        deny=settings.env_deny,
    )
    runs_in = os.path.join(folder, settings.cwd or "")
    if not os.path.isdir(runs_in):
        raise SettingsError([f"cwd must be a folder, which {runs_in} is not"])
    search = os.fsdecode(handed_on[b"PATH"])
    path = resolve(settings.executable, task_root=folder, path=search)
    problem = examine(path, executable=settings.executable, search=search, folder=runs_in)
    if problem is not None:
        raise problem
    return path


def _files_of(path: str, folder: str) -> tuple[str, ...]:
    """An executable, what it is a link to, and the settings beside it."""
    return tuple(dict.fromkeys((path, os.path.realpath(path), os.path.join(folder, "shim.toml"))))


def function_of(
    command: tuple[str, ...], environment: Mapping[str, str], folder: str, handler: str, facts: Facts
) -> Function:
    """What starts with that command in that folder, and has those variables."""
    return Function(
        facts.name,
        command,
        environment,
        folder,
        handler,
        timeout=facts.timeout,
        memory=facts.memory,
        at_once=facts.at_once,
    )
