"""The invocations whose callers wait for the answer. Each runs to its end, whether its caller still waits or not, as on AWS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shim.local.emulator import Throttled
from shim.local.invoke_request import closing, failed, throttled

if TYPE_CHECKING:
    from collections.abc import Callable

    from shim.local.emulator import Emulator
    from shim.local.function import Invocation, Result


class Calls:
    """Runs invocations.

    Args:
        emulator: serves the function.
        say: takes a sentence for who runs the emulator.
    """

    def __init__(self, emulator: Emulator, *, say: Callable[[str], None]) -> None:
        self.emulator = emulator
        self.say = say
        self._running: set[asyncio.Task[Result]] = set()
        self._is_closed = False

    def start(self, invocation: Invocation) -> asyncio.Task[Result]:
        """Begins an invocation.

        Raises:
            Refusal: all is being closed.
        """
        if self._is_closed:
            raise closing()
        task = asyncio.create_task(self.emulator.invoke(invocation))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def result(self, task: asyncio.Task[Result]) -> Result:
        """What became of it.

        Raises:
            Refusal: it was not run.
        """
        await asyncio.wait([task])
        if task.cancelled():
            raise closing()
        error = task.exception()
        if isinstance(error, Throttled):
            raise throttled()
        if error is not None:
            if self._is_closed:
                raise closing()
            self.say(f"an invocation was not run, since {type(error).__name__}: {error}")
            raise failed(f"The invocation was not run: {error}")
        return task.result()

    async def close(self) -> None:
        """Ends all that runs."""
        self._is_closed = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _forget(self, task: asyncio.Task[Result]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked for it may have gone
