"""The variables that Lambda sets for every function, for this machine."""

from __future__ import annotations

from shim.local.context import REGION, VERSION, log_group, log_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def function_environment(environ: Mapping[str, str], *, name: str, memory: int, folder: str) -> dict[str, str]:
    """What is to be set beside `environ`: name and memory always, everything else where it is not set yet.

    Args:
        environ: what is set already.
        name: the function's.
        memory: MB.
        folder: the deployment package, where LAMBDA_TASK_ROOT does not name one.
    """
    defaults = {
        "AWS_LAMBDA_FUNCTION_VERSION": VERSION,
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(name),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream(),
        # The AWS SDKs let AWS_REGION beat AWS_DEFAULT_REGION: a fixed one here would take the user's own away.
        "AWS_REGION": environ.get("AWS_DEFAULT_REGION") or REGION,
        "LAMBDA_TASK_ROOT": folder,
    }
    unset = {variable: value for variable, value in defaults.items() if not environ.get(variable)}
    return {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory), **unset}
