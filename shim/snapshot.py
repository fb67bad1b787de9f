"""SnapStart: no child lives in a snapshot. A restored process would share it with every other one, and with the time of the snapshot.

Lambda's managed runtimes bring `snapshot_restore_py`, in which functions register what is to be done before a snapshot and after it is restored.
awslambdaric calls both (bootstrap.py, on_init_complete), and our own runtime does as it does: an exception after the restore is told to Lambda,
which starts another environment.
"""

from __future__ import annotations

from weakref import WeakMethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def keep_out(dismiss: Callable[[], None], start: Callable[[], None]) -> None:
    """Takes the children down before a snapshot, and starts them after each restore. Does nothing where there are no snapshots.

    Both are methods, and are held weakly: the registry has no way to take a function back.
    """
    try:
        from snapshot_restore_py import (  # noqa: PLC0415 - only where children are kept
            register_after_restore,
            register_before_snapshot,
        )
    except ImportError:
        return
    register_before_snapshot(_call, WeakMethod(dismiss))
    register_after_restore(_call, WeakMethod(start))


def run_before_snapshot() -> None:
    """Does what was registered, the last first (awslambdaric, lambda_runtime_hooks_runner.py)."""
    from snapshot_restore_py import get_before_snapshot  # noqa: PLC0415 - only where there are snapshots

    hooks = get_before_snapshot()
    while hooks:
        function, arguments, keywords = hooks.pop()
        function(*arguments, **keywords)


def run_after_restore() -> None:
    """Does what was registered for that."""
    from snapshot_restore_py import get_after_restore  # noqa: PLC0415 - likewise

    for function, arguments, keywords in get_after_restore():
        function(*arguments, **keywords)


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    function = method()
    if function is not None:
        function()
