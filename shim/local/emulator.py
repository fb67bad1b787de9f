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

KEPT = 1000
"""How many invocations are remembered."""
KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of their events and answers."""


class EmulatorClosed(RuntimeError):
    """Nothing is served any more."""


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

    @property
    def size(self) -> int:
        """Bytes of what it has kept."""
        return len(self.invocation.event) + len(self.result.payload) + len(self.result.log)


class Emulator:
    """Serves one function.

    Args:
        function: what is served.
        concurrency: how many execution environments there may be.
        freeze: whether they are stopped between two invocations.
        kept: how many invocations are remembered in `records`; fewer, where they are large.
        write: takes each line of the log, with the number of its execution environment.
        seen: takes what was seen of each invocation.
    """

    def __init__(  # noqa: PLR0913 - each is something that a caller may want to choose
        self,
        function: Function,
        *,
        concurrency: int = 10,
        freeze: bool = False,
        kept: int = KEPT,
        write: Callable[[int, bytes], None] = lambda _number, _line: None,
        seen: Callable[[Record], None] = lambda _record: None,
    ) -> None:
        self.function = function
        self.records: deque[Record] = deque()
        self._kept = kept
        self._kept_bytes = 0
        self._concurrency = concurrency
        self._freeze = freeze
        self._write = write
        self._seen = seen
        self._numbers = count(1)
        self._environments: list[ExecutionEnvironment] = []
        self._is_closed = False
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
            EmulatorClosed: nothing is served any more.
        """
        began = time.perf_counter()
        record = None
        while record is None:  # as long as it is only found out then that an environment is of no use any more
            record = await self._try(invocation)
        record = replace(record, seconds=time.perf_counter() - began)
        self._keep(record)
        self._seen(record)
        return record.result

    async def renew(self) -> None:
        """The function has changed: whatever comes from now on gets a new execution environment."""
        for environment in self._environments:
            environment.is_stale = True
        self._sweep()

    async def close(self) -> None:
        """Ends all execution environments, those as well that are busy."""
        self._is_closed = True
        for environment in self._environments:
            self._end(environment)
        self._environments.clear()
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _try(self, invocation: Invocation) -> Record | None:
        """Hands the invocation to one execution environment. None where that turns out to have ended."""
        environment, is_cold = self._take(invocation)
        function, spent, result = self.function, 0.0, None
        is_spoiled = True  # if nobody waits for it any more
        try:
            failure = await environment.started()
            if failure is not None and failure.status == "timeout" and is_cold:
                # Once more, in the time of the invocation (AWS's developer guide, "Understanding the Lambda execution environment lifecycle").
                began = time.perf_counter()
                late, environment = environment, self._make(invocation, function.timeout)
                self._give_back(late, is_spoiled=True)
                failure = await environment.started()
                spent = time.perf_counter() - began
            if failure is not None:
                environment.is_stale = True
                result = await environment.refuse(invocation, failure, spent=spent)
            else:
                result = await environment.invoke(invocation, spent=spent)
            is_spoiled = result is None or result.status == "timeout"
        finally:
            self._give_back(environment, is_spoiled=is_spoiled)
        return Record(invocation, result, environment.number, is_cold, 0) if result is not None else None

    def _keep(self, record: Record) -> None:
        """Remembers it, and forgets the oldest."""
        self.records.append(record)
        self._kept_bytes += record.size
        while len(self.records) > self._kept or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self.records.popleft().size

    def _take(self, invocation: Invocation) -> tuple[ExecutionEnvironment, bool]:
        """An execution environment that is free, the one that was used last, or a new one; and whether it is new.

        One that takes several invocations at once takes them from the beginning of its init: they wait for its end together.
        """
        self._sweep()
        at_once = self.function.at_once
        free = [
            environment
            for environment in self._environments
            if environment.taken < at_once and not environment.is_stale and (environment.is_ready or at_once > 1)
        ]
        if free:
            environment = max(free, key=lambda environment: environment.last_used)
            environment.taken += 1
            return environment, False
        if len(self._environments) >= self._concurrency:
            raise Throttled
        return self._make(invocation, self.function.init_timeout), True

    def _make(self, invocation: Invocation, limit: float) -> ExecutionEnvironment:
        """A new one for the invocation, whose init may take that many seconds."""
        if self._is_closed:
            raise EmulatorClosed("the emulator is closed")
        environment = ExecutionEnvironment(
            self.function, number=next(self._numbers), write=self._write, over=self._sweep
        )
        environment.taken = 1
        self._environments.append(environment)
        environment.start(invocation.request_id, limit)
        return environment

    def _give_back(self, environment: ExecutionEnvironment, *, is_spoiled: bool) -> None:
        """An invocation is over: the execution environment may take the next one, if it can.

        One that takes several at once is ended when the others are over, too: who did not answer in time may never do so.
        """
        environment.taken -= 1
        environment.last_used = time.monotonic()
        environment.is_stale |= is_spoiled
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
