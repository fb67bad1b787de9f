"""The testing kit: what this project's own tests use, and what others may. Nothing is loaded here before it is asked for.

- `FakeExecutable`, composed of behaviours (`reads_line()`, `replies({"ok": True})`, `exits(3)`): a real program that knows what must come of it
- `strategies`: Hypothesis strategies for events, contexts, settings, JSON values and behaviours
- `LambdaContext`, with a deadline that can be set and moved; `capture()`, of the function's log and its metrics; `emulator()`, a Lambda
- `WarmModel`: a state machine that anyone can point at a kept executable, or at what keeps them

No submodule may bear one of these names: it would shadow it.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.testing import strategies
    from shim.testing.behaviours import (
        Behaviour,
        awaits,
        closes,
        closes_stdout,
        copies,
        describes,
        echoes,
        exits,
        fails_where,
        fills,
        floods,
        forks_and_leaves,
        hangs,
        ignores,
        ignores_sigterm,
        leaves,
        notes,
        obeys,
        raises_signal,
        reads,
        reads_all,
        reads_line,
        refuses,
        replies,
        sleeps,
        stops,
        vanishes,
        writes,
        writes_stderr,
    )
    from shim.testing.captured import capture
    from shim.testing.executables import FakeExecutable
    from shim.testing.expectation import Expectation, Expected
    from shim.testing.invoking import LambdaContext
    from shim.testing.model import WarmModel
    from shim.testing.serving import emulator

__all__ = [
    "Behaviour",
    "Expectation",
    "Expected",
    "FakeExecutable",
    "LambdaContext",
    "WarmModel",
    "awaits",
    "capture",
    "closes",
    "closes_stdout",
    "copies",
    "describes",
    "echoes",
    "emulator",
    "exits",
    "fails_where",
    "fills",
    "floods",
    "forks_and_leaves",
    "hangs",
    "ignores",
    "ignores_sigterm",
    "leaves",
    "notes",
    "obeys",
    "raises_signal",
    "reads",
    "reads_all",
    "reads_line",
    "refuses",
    "replies",
    "sleeps",
    "stops",
    "strategies",
    "vanishes",
    "writes",
    "writes_stderr",
]

_PLACES = {
    "Expectation": "expectation",
    "Expected": "expectation",
    "FakeExecutable": "executables",
    "LambdaContext": "invoking",
    "WarmModel": "model",
    "capture": "captured",
    "emulator": "serving",
}
"""The modules of the names; those that are not here are behaviours."""


def __getattr__(name: str) -> object:
    """Loads what is asked for, when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if name == "strategies":
            loaded: object = import_module(f"{__name__}.strategies")
        else:
            loaded = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'behaviours')}"), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ImportError(f"shim.testing.{name} needs hypothesis: pip install 'lambda-shim[testing]'") from error
    globals()[name] = loaded
    return loaded


def __dir__() -> list[str]:
    return __all__
