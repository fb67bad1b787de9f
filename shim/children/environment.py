"""The environment of a child: the function's, without what would let it take over the function's part. `os.environ` is never changed."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRACE_ID = b"_X_AMZN_TRACE_ID"
RUNTIME_API = b"AWS_LAMBDA_RUNTIME_API"
INITIALIZATION_TYPE = b"AWS_LAMBDA_INITIALIZATION_TYPE"
NEVER_HANDED_ON = (
    RUNTIME_API,  # with it a child could take real events, and answer them
    b"AWS_LAMBDA_EXEC_WRAPPER",
    b"AWS_LAMBDA_MAX_CONCURRENCY",
    b"_HANDLER",
)
NEVER_HANDED_ON_FAMILIES = (b"_LAMBDA_TELEMETRY_LOG_FD", b"SHIM_")
RUNTIME_LIBRARIES = b"/var/lang/lib"
"""Where Lambda's images keep the language runtime. First on the function's LD_LIBRARY_PATH, it would give a child Python's libssl; without it,
a child that is a Python script can't start."""


def is_denied(name: bytes, deny: Sequence[str]) -> bool:
    """Whether one of the globs says that the name is not handed on."""
    if not deny:
        return False
    from fnmatch import fnmatchcase  # noqa: PLC0415 - only where it is asked for

    return any(fnmatchcase(name, os.fsencode(glob)) for glob in deny)


def child_environment(
    function: Mapping[bytes, bytes],
    *,
    task_root: str,
    env: Mapping[str, str],
    deny: Sequence[str],
    handler: str | None = None,
) -> dict[bytes, bytes]:
    """What every child of one Shim gets. A bootstrap gets the variables of an OS-only runtime (AWS's developer guide, "Using Lambda environment
    variables"), but for the address of its Runtime API.

    Args:
        function: the function's own environment.
        task_root: the folder of the deployment package.
        env: what the settings add; it goes before everything.
        deny: globs of names that are not handed on. PATH, LD_LIBRARY_PATH and HOME it gets in any case.
        handler: a bootstrap's own `_HANDLER`; None for every other child.
    """
    root = os.fsencode(task_root)
    environment = {
        name: value
        for name, value in function.items()
        if name not in NEVER_HANDED_ON and not name.startswith(NEVER_HANDED_ON_FAMILIES)
    }
    environment = {name: value for name, value in environment.items() if not is_denied(name, deny)}
    environment.pop(TRACE_ID, None)  # it is that of one invocation
    environment[b"PATH"] = _path(root + b"/bin", root, function.get(b"PATH", b""))
    libraries = [folder for folder in function.get(b"LD_LIBRARY_PATH", b"").split(b":") if folder]
    last = [RUNTIME_LIBRARIES] if RUNTIME_LIBRARIES in libraries else []
    environment[b"LD_LIBRARY_PATH"] = _path(
        root + b"/lib", root, *(folder for folder in libraries if folder != RUNTIME_LIBRARIES), *last
    )
    if not os.path.isdir(environment.get(b"HOME") or b"/nonexistent"):
        environment[b"HOME"] = b"/tmp"  # the one folder that a function can write to
    if handler is not None:
        environment |= {b"_HANDLER": os.fsencode(handler), b"LAMBDA_TASK_ROOT": root}
        environment.pop(b"AWS_EXECUTION_ENV", None)  # it names the host's runtime; an OS-only one has none
        if (
            environment.get(INITIALIZATION_TYPE) == b"snap-start"
        ):  # it is started after each restore, and is in no snapshot
            environment[INITIALIZATION_TYPE] = b"on-demand"
    environment.update({os.fsencode(name): os.fsencode(value) for name, value in env.items()})
    return environment


def _path(*folders: bytes) -> bytes:
    return b":".join(folder for folder in folders if folder)
