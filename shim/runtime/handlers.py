"""The Shim that is served: `shim.handler`'s, or one that a module of the function's has made."""

from __future__ import annotations

from importlib import import_module

from shim.adapter import Shim
from shim.errors import SettingsError

OURS = "shim.handler"
NONE = ("", "shim.runtime")
"""What `_HANDLER` is where none was chosen: AWS's emulator takes the third word of `python -m shim.runtime` for it."""


def is_ours(handler: str) -> bool:
    """Whether it names no module of the function's."""
    return handler == OURS or handler in NONE


def shim_of(handler: str) -> Shim:
    """The Shim that the handler names, as Lambda spells it: `MODULE.NAME`.

    Raises:
        SettingsError: it is no Shim, or there is none of that name.
        Exception: what building it raises.
    """
    if is_ours(handler):
        shim = Shim.from_environment()
    else:
        module, _, name = handler.rpartition(".")
        if not module:
            raise SettingsError([f"the handler must be MODULE.NAME, like shim.handler, not {handler!r}"])
        of_function = import_module(module.replace("/", "."))
        try:
            shim = getattr(of_function, name)
        except AttributeError:
            raise SettingsError([f"the handler {handler} is missing: {module} has no {name}"]) from None
        if not isinstance(shim, Shim):
            raise SettingsError(
                [
                    f"the handler {handler} must be a Shim, not {type(shim).__name__}: this runtime runs nothing else; Lambda's own runs any handler"
                ]
            )
    shim._introduce(streams=True)  # noqa: SLF001 - our own class
    return shim
