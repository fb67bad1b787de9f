"""Makes any native executable an AWS Lambda function: set `shim.handler` as the handler, and SHIM_EXECUTABLE to the executable.

The public face: `Shim`, `Settings`, `Invocation`, the errors, and `handler`, which is built from the environment when it is first asked for.
"""

from __future__ import annotations

from shim.adapter import Shim
from shim.errors import (
    DeadlineExceeded,
    EventInvalid,
    ExecutableError,
    ExecutableNotFound,
    ExecutableNotRunnable,
    ExitError,
    NotReady,
    OutputInvalid,
    OutputTooLarge,
    PackageError,
    ReplyMissing,
    ReplyUnexpected,
    ReportedError,
    RuntimeApiError,
    SettingsError,
    ShimClosed,
    ShimError,
    SignalError,
)
from shim.invocation import Invocation
from shim.settings import Settings

__version__ = "0.1.0"
__all__ = [
    "DeadlineExceeded",
    "EventInvalid",
    "ExecutableError",
    "ExecutableNotFound",
    "ExecutableNotRunnable",
    "ExitError",
    "Invocation",
    "NotReady",
    "OutputInvalid",
    "OutputTooLarge",
    "PackageError",
    "ReplyMissing",
    "ReplyUnexpected",
    "ReportedError",
    "RuntimeApiError",
    "Settings",
    "SettingsError",
    "Shim",
    "ShimClosed",
    "ShimError",
    "SignalError",
    "handler",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    handler: Shim


def __getattr__(name: str) -> Shim:
    """Builds `handler` once, when it is first asked for, so that `import shim` needs no settings.

    A mistake in the settings is raised as itself: awslambdaric would take an AttributeError for a handler that does not exist.
    """
    if name == "handler":
        built = Shim.from_environment()
        built._introduce()  # noqa: SLF001 - our own class
        globals()["handler"] = built
        return built
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
