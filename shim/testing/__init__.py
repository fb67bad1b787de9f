"""What this project's own tests use, and what others may: nothing heavy is imported here.

`emulator` serves a function on this machine, as Lambda would, for as long as a test needs it.
"""

from __future__ import annotations

__all__ = ["emulator"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.testing.serving import emulator


def __getattr__(name: str) -> object:
    """Loads what is asked for, when it is first asked for."""
    if name == "emulator":
        from shim.testing.serving import emulator as loaded  # noqa: PLC0415 - it loads asyncio

        globals()["emulator"] = loaded
        return loaded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
