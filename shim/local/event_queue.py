"""Invocations that run later (invocation type Event): their order, their retries, and what becomes of those that fail for good.

As Lambda's own queue ("How Lambda handles errors and retries with asynchronous invocation", AWS's developer guide): what is throttled is tried
again for six hours, after one second and then after twice as long each time, up to five minutes; what fails is tried again after one minute and
after two more. Here what is throttled keeps its place before what was accepted later, and is tried as well when one of the queue's own
invocations has ended.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import orjson

from shim.local.emulator import EmulatorClosed, Throttled
from shim.local.invoke_request import closing, is_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from shim.local.emulator import Emulator
    from shim.local.function import Invocation, Result

RETRIES = (60.0, 120.0)
"""Seconds between a failure and the next attempt."""
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until something that was throttled is tried again."""
LEAST_PAUSE = 0.02
"""Seconds that a pause has however it is scaled: nobody asks in a busy loop."""
OLDEST = 6 * 3600.0
"""Seconds after which an event is not tried any more."""

EXHAUSTED, TOO_OLD, SHUTDOWN = "RetriesExhausted", "EventAgeExceeded", "Shutdown"
"""Why something was given up: the first two in Lambda's words (a destination's `condition`)."""


@dataclass(order=True, slots=True)
class Item:
    """An invocation that waits.

    Attributes:
        due: when it may be tried, on the clock of `time.monotonic`.
        number: its place in the order of acceptance.
        invocation: what is to run.
        expires: when it is given up.
        attempts: how often it has run, or begun to.
        result: of the last attempt.
    """

    due: float
    number: int
    invocation: Invocation = field(compare=False)
    expires: float = field(compare=False)
    attempts: int = field(default=0, compare=False)
    result: Result | None = field(default=None, compare=False)


class EventQueue:
    """Runs invocations later, in the order in which they were accepted. An async context manager.

    Args:
        emulator: serves the function.
        dead_letters: the path of a file that gets a line of JSON for each invocation that failed for good, or None.
        scale: what all pauses are multiplied with.
        oldest: seconds after which an event is given up; they are not scaled.
        say: takes a sentence for who runs the emulator.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        dead_letters: str | None = None,
        scale: float = 1.0,
        oldest: float = OLDEST,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._emulator = emulator
        self._path = dead_letters
        self._file = -1
        self._scale = scale
        self._oldest = oldest
        self._say = say
        self._numbers = count(1)
        self._items: dict[int, Item] = {}
        """All that are not done, in the order of their acceptance."""
        self._waiting: list[Item] = []
        """A heap of those that do not run."""
        self._running: set[asyncio.Task[None]] = set()
        self._pause = 0.0
        self._resumes = 0.0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._dispatch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as refusal:
                message = f"the dead-letter file {self._path} can't be written: {refusal.strerror}; name a file in a folder that is there and yours"
                raise OSError(refusal.errno, message) from None
        self._dispatch = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def size(self) -> int:
        """How many invocations wait or run."""
        return len(self._items)

    def put(self, invocation: Invocation) -> None:
        """Accepts an invocation.

        Raises:
            Refusal: the queue is not open.
        """
        if self._dispatch is None:
            raise closing()
        now = time.monotonic()
        item = Item(now, next(self._numbers), invocation, expires=now + self._oldest)
        self._items[item.number] = item
        self._idle.clear()
        self._wait(item)

    async def settle(self) -> None:
        """Waits until nothing waits or runs."""
        await self._idle.wait()

    async def close(self) -> None:
        """Ends what runs, and gives it up, and all that waits."""
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is None:
            return
        tasks = [dispatch, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for item in tuple(self._items.values()):
            self._give_up(item, SHUTDOWN)
        self._waiting.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _wait(self, item: Item) -> None:
        heappush(self._waiting, item)
        self._news.set()

    async def _run(self) -> None:
        """Tries what is due, one after the other, until it is cancelled."""
        while True:
            wakes = self._next_wake()
            now = time.monotonic()
            if wakes > now:
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), None if wakes == inf else wakes - now)
                continue
            item = heappop(self._waiting)
            if item.expires <= now:
                self._give_up(item, TOO_OLD)
                continue
            task = asyncio.create_task(self._try(item))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            await asyncio.sleep(0)  # it is taken now, or throttled, before the next one is tried

    def _next_wake(self) -> float:
        """When there is something to do for the first of those that wait."""
        if not self._waiting:
            return inf
        first = self._waiting[0]
        return max(first.due, min(self._resumes, first.expires))

    async def _try(self, item: Item) -> None:
        """Tries one invocation."""
        item.attempts += 1
        try:
            item.result = await self._emulator.invoke(item.invocation)
        except Exception as error:
            item.attempts -= 1
            if not isinstance(error, (Throttled, EmulatorClosed)):
                self._say(f"an invocation that is to run later has to wait, since {type(error).__name__}: {error}")
            self._pause = min(max(2 * self._pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            self._resumes = time.monotonic() + max(self._pause * self._scale, LEAST_PAUSE)
            self._wait(item)
            return
        self._pause = self._resumes = 0.0  # there is an execution environment that has just become free
        self._news.set()
        if not item.result.failed:
            self._is_done(item)
        elif item.attempts > len(RETRIES):
            self._give_up(item, EXHAUSTED)
        else:
            delay = RETRIES[item.attempts - 1] * self._scale
            item.due = min(time.monotonic() + delay, item.expires)
            self._wait(item)

    def _give_up(self, item: Item, condition: str) -> None:
        """It has failed for good: that is written before it is done."""
        request_id = item.invocation.request_id
        if self._file < 0:
            self._say(f"The invocation {request_id} is given up ({condition}, after {item.attempts} attempts).")
        else:
            line = memoryview(letter(item, condition))
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError as refusal:
                self._say(
                    f"The invocation {request_id} is given up ({condition}), and the dead-letter file {self._path}"
                    f" can't be written: {refusal.strerror}; make room for it."
                )
        self._is_done(item)

    def _is_done(self, item: Item) -> None:
        del self._items[item.number]
        if not self._items:
            self._idle.set()


def letter(item: Item, condition: str) -> bytes:
    """The line of the dead-letter file for an invocation."""
    result = item.result
    return orjson.dumps(
        {
            "requestId": item.invocation.request_id,
            "condition": condition,
            "attempts": item.attempts,
            "errorType": result.error_type if result else None,
            "payload": _value(result.payload) if result else None,
            "event": _value(item.invocation.event),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _value(data: bytes) -> orjson.Fragment | str:
    """JSON as it is, but in one line: a line feed in it can only be white space. What is no JSON is a text."""
    return orjson.Fragment(data.translate(_ONE_LINE)) if is_json(data) else data.decode(errors="replace")


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
