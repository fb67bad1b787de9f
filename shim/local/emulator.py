"""A Lambda on this machine: execution environments for one function, as many as are needed and allowed, and who gets which invocation."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from shim.local.execution_environment import ExecutionEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Self

    from shim.local.function import Function, Invocation, Result

KEPT = 10_000
"""How many invocations are remembered."""


class Throttled(Exception):
    """All execution environments that there may be are busy."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the emulator saw of one invocation.

    Attributes:
        invocation: as it was asked for.
        result: as its caller got it.
        environment: the number of the execution environment.
        is_cold: whether that was started for it.
        seconds: from the call to the result.
    """

    invocation: Invocation
    result: Result
    environment: int
    is_cold: bool
    seconds: float


class Emulator:
    """Serves one function.

    Args:
        function: what is served.
        concurrency: how many execution environments there may be.
        freeze: whether they are stopped between two invocations.
        write: takes each line of the log, with the number of its execution environment.
        seen: takes what was seen of each invocation.
    """

    def __init__(
        self,
        function: Function,
        *,
        concurrency: int = 10,
        freeze: bool = False,
        write: Callable[[int, bytes], None] = lambda _number, _line: None,
        seen: Callable[[Record], None] = lambda _record: None,
    ) -> None:
        self.function = function
        self.records: deque[Record] = deque(maxlen=KEPT)
        self._concurrency = concurrency
        self._freeze = freeze
        self._write = write
        self._seen = seen
        self._numbers = count(1)
        self._environments: list[ExecutionEnvironment] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def busy(self) -> int:
        """How many invocations run now."""
        return sum(environment.taken for environment in self._environments)

    async def invoke(self, invocation: Invocation) -> Result:
        """What becomes of the invocation.

        Raises:
            Throttled: nobody is free to take it.
        """
        began = time.perf_counter()
        environment, is_cold = self._take()
        timed_out = False
        try:
            failure = None
            if is_cold:
                environment, failure = await self._start(environment, invocation)
            result = replace(failure, request_id=invocation.request_id) if failure else None
            if result is None:
                result = await environment.invoke(invocation)
            timed_out = result.status == "timeout"
        except BaseException:
            timed_out = True  # nobody waits for it any more
            raise
        finally:
            self._give_back(environment, spoiled=timed_out and self.function.at_once == 1)
        record = Record(invocation, result, environment.number, is_cold, time.perf_counter() - began)
        self.records.append(record)
        self._seen(record)
        return result

    async def renew(self) -> None:
        """The function has changed: whatever comes from now on gets a new execution environment."""
        for environment in self._environments:
            environment.is_stale = True
        self._sweep()

    async def close(self) -> None:
        """Ends all execution environments, those as well that are busy."""
        for environment in self._environments:
            self._end(environment)
        self._environments.clear()
        await asyncio.gather(*self._tasks)

    def _take(self) -> tuple[ExecutionEnvironment, bool]:
        """An execution environment that is free, the one that was used last, or a new one; and whether it is new."""
        self._sweep()
        free = [
            environment
            for environment in self._environments
            if environment.is_ready and environment.taken < self.function.at_once and not environment.is_stale
        ]
        if free:
            environment = max(free, key=lambda environment: environment.last_used)
            environment.taken += 1
            return environment, False
        if len(self._environments) >= self._concurrency:
            raise Throttled
        return self._make(), True

    def _make(self) -> ExecutionEnvironment:
        environment = ExecutionEnvironment(self.function, number=next(self._numbers), write=self._write)
        environment.taken = 1
        self._environments.append(environment)
        return environment

    async def _start(
        self, environment: ExecutionEnvironment, invocation: Invocation
    ) -> tuple[ExecutionEnvironment, Result | None]:
        """Starts a new one. One that takes too long is started once more, in the time of its first invocation (AWS's developer guide)."""
        failure = await environment.start(invocation.request_id, self.function.init_timeout)
        if failure is not None and failure.status == "timeout":
            self._give_back(environment, spoiled=True)
            environment = self._make()
            failure = await environment.start(invocation.request_id, self.function.timeout)
        if failure is not None:
            environment.is_stale = True
        return environment, failure

    def _give_back(self, environment: ExecutionEnvironment, *, spoiled: bool) -> None:
        """An invocation is over: the execution environment may take the next one, if it can."""
        environment.taken -= 1
        environment.last_used = time.monotonic()
        environment.is_stale |= spoiled
        self._sweep()
        if environment in self._environments and not environment.taken:
            self._do(environment.rest(frozen=self._freeze))

    def _sweep(self) -> None:
        """Ends those that take no more invocations, and have none."""
        for environment in tuple(self._environments):
            if (environment.is_over or environment.is_stale) and not environment.taken:
                self._environments.remove(environment)
                self._end(environment)

    def _end(self, environment: ExecutionEnvironment) -> None:
        self._do(environment.end())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        """Goes on with it beside all else."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
