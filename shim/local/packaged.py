"""A deployment package from its zip, made the `Function` that an emulator starts: run as Lambda would, with nothing of this Python's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from shim.children.diagnosis import MACHINES, examine
from shim.children.sweep import EMULATED
from shim.errors import ExecutableNotFound, PackageError, SettingsError
from shim.local.deployment import AWSLAMBDARIC, BOOTSTRAP, OURS, SHIM, Deployment, environment_of, function_of
from shim.local.interpreter import built_for, find
from shim.local.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shim.local.deployment import Facts
    from shim.local.unpacked import Unpacked

SETTINGS_FILE = "shim.toml"
WRAPPER = "shim/runtime/wrapper"
"""Where AWS_LAMBDA_EXEC_WRAPPER leads, in a package that brings our own runtime."""


def with_package(
    package: Unpacked,
    arguments: Sequence[str],
    facts: Facts,
    settings: Mapping[str, str],
    *,
    runtime: str | None = None,
) -> tuple[Deployment, str]:
    """The function, and a sentence where this machine lets nobody make a sandbox for it; else "".

    Args:
        package: what is served.
        arguments: the executable's.
        facts: about the function.
        settings: those of shim that were given, each as the text of a variable of the function's.
        runtime: "awslambdaric", "shim" or "bootstrap"; None: what the package was packed for.

    Raises:
        SettingsError: what was given does not go with the package.
        PackageError: this machine can't run it.
        ExecutableError: its bootstrap can't be run, as far as a look at it tells.
        ImportError: AWS's runtime client is needed, and not installed.
    """
    runtime = runtime or _runtime_of(package.folder)
    if runtime == BOOTSTRAP:
        return _with_bootstrap(package, arguments, facts, settings)
    return _with_python(runtime, package, arguments, facts, settings)


def _runtime_of(folder: str) -> str:
    """What a package is made for: its files tell, as `shim pack` lays them out."""
    if os.path.lexists(os.path.join(folder, "bootstrap")) and not os.path.lexists(os.path.join(folder, SETTINGS_FILE)):
        return BOOTSTRAP
    return SHIM if os.path.lexists(os.path.join(folder, WRAPPER)) else AWSLAMBDARIC


def _with_python(
    runtime: str, package: Unpacked, arguments: Sequence[str], facts: Facts, settings: Mapping[str, str]
) -> tuple[Deployment, str]:
    handler = facts.handler or OURS
    if "." not in handler:
        raise SettingsError([f"--handler must be MODULE.NAME, like app.handler, not {handler!r}"])
    if runtime == SHIM and not os.path.lexists(os.path.join(package.folder, WRAPPER)):
        raise PackageError(
            f"{package.archive} has no {WRAPPER}, our own runtime, which is asked for; pack it with --own-runtime"
        )
    built = built_for(package.folder)
    here = os.uname().machine
    fitting = [one for one in built if one.machine == here]
    if built and not fitting:
        theirs, ours = (MACHINES.get(name, name) for name in (built[0].machine, here))
        raise PackageError(
            f"{package.archive} was packed for {theirs}, and this machine is {ours}; pack it for {ours}, or run it on a machine with {theirs}"
        )
    interpreter = find(package.archive, [one.version for one in fitting])
    sandbox = Sandbox(package.folder, package.runtime, interpreter)
    environment = _environment(sandbox, facts, handler)
    environment |= {"AWS_EXECUTION_ENV": f"AWS_Lambda_{interpreter.name}", EMULATED: "true"}
    if arguments:
        environment["SHIM_ARGS"] = json.dumps(list(arguments))
    environment |= {f"SHIM_{name.upper()}": text for name, text in settings.items()}
    if runtime == SHIM:
        wrapper = os.path.join(sandbox.task, WRAPPER)
        environment["AWS_LAMBDA_EXEC_WRAPPER"] = wrapper
        command = sandbox.command(wrapper, sandbox.starter, sandbox.harness)
    else:
        command = sandbox.python(sandbox.harness, handler)
    environment |= facts.variables
    function = function_of(command, environment, package.folder, handler, facts)
    return Deployment(function, runtime, handler, package.files), _sentence(sandbox)


def _with_bootstrap(
    package: Unpacked, arguments: Sequence[str], facts: Facts, settings: Mapping[str, str]
) -> tuple[Deployment, str]:
    if settings:
        raise SettingsError(
            [
                f"--{name.replace('_', '-')} must not be given with {package.archive}, whose bootstrap never reads it"
                for name in settings
            ]
        )
    path = os.path.join(package.folder, "bootstrap")
    if not os.path.lexists(path):
        raise ExecutableNotFound(
            f"was not found: there is none at the root of {package.archive}",
            executable="bootstrap",
            cure="pack it with --runtime provided.al2023",
        )
    sandbox = Sandbox(package.folder, package.runtime, None)
    handler = facts.handler or "bootstrap"
    environment = {**_environment(sandbox, facts, handler), **facts.variables}
    if not _is_for_the_sandbox(path, sandbox):
        problem = examine(path, executable="bootstrap", search=environment.get("PATH", ""), folder=package.folder)
        if problem is not None:
            raise problem
    program = os.path.join(sandbox.task, "bootstrap")
    function = function_of(sandbox.command(program, *arguments), environment, package.folder, handler, facts)
    return Deployment(function, BOOTSTRAP, program, package.files), _sentence(sandbox)


def _is_for_the_sandbox(path: str, sandbox: Sandbox) -> bool:
    """Whether it is a script whose interpreter is the package's own, at the path that only the sandbox has."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(256)[2:].strip().startswith(os.fsencode(sandbox.task))


def _environment(sandbox: Sandbox, facts: Facts, handler: str) -> dict[str, str]:
    """Lambda's variables, and no other."""
    variables = environment_of(sandbox.task, facts, handler, sandbox.variables())
    return variables | {"LAMBDA_RUNTIME_DIR": sandbox.runtime}


def _sentence(sandbox: Sandbox) -> str:
    if not sandbox.refusal:
        return ""
    return (
        f"no mount namespace can be made here ({sandbox.refusal}): the package runs in {sandbox.task} instead of /var/task,"
        " where root can write to it, and with this machine's /tmp"
    )
