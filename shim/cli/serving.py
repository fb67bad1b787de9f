"""A function is served until a signal comes: the emulator, its front, and what goes on beside them. Loads asyncio and an HTTP server."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shim.cli.display import Unwritable
from shim.cli.ending import Refused
from shim.cli.exits import SIGNALED
from shim.cli.orphans import Orphans, kill_descendants
from shim.cli.teller import Lines, Objects
from shim.local.emulator import Emulator
from shim.local.invoke_server import InvokeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Any, Self

    from shim.cli.teller import Teller
    from shim.local.deployment import Deployment

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REAPING = 1.0
"""Seconds between two looks for orphans that have ended."""
CLOSING = 0.05
"""Seconds after which execution environments that were started in the end are ended, too."""


@dataclass(frozen=True, slots=True)
class Service:
    """What was asked for, and is served.

    Attributes:
        deployment: what is served.
        port: where; 0 is a free one.
        concurrency: how many execution environments there may be.
        freeze: whether they are stopped between two invocations.
        watch: whether a change on disk makes new ones.
        retry_scale: by which the delays before retries of asynchronous invocations are multiplied.
        dead_letters: the file for those that failed to the end.
        as_json: whether a program reads what is told.
    """

    deployment: Deployment
    port: int
    concurrency: int
    freeze: bool
    watch: bool
    retry_scale: float
    dead_letters: str | None
    as_json: bool


def serve_until_signal(service: Service) -> int:
    """Serves; returns the exit code. Nothing of what was started is left then.

    Raises:
        Refused: nothing was served.
        Unwritable: nobody takes any more what is told to a program.
    """
    try:
        return asyncio.run(_serve(service))
    finally:
        kill_descendants()


async def _serve(service: Service) -> int:
    end = End()
    teller: Teller = Objects(end.fail) if service.as_json else Lines(lambda: emulator.busy)
    emulator = Emulator(
        service.deployment.function,
        concurrency=service.concurrency,
        freeze=service.freeze,
        write=teller.logged,
        seen=teller.seen,
    )
    server = InvokeServer(
        emulator,
        port=service.port,
        dead_letters=service.dead_letters,
        retry_scale=service.retry_scale,
        say=teller.noted,
    )
    end.teller = teller
    try:
        with end:
            async with emulator, _opened(server, emulator):
                teller.started(service.deployment, server.url)
                number = await _first(end, service, emulator, teller)
                teller.ending(number.name, emulator.busy)
    finally:
        teller.close()
    return SIGNALED + number


async def _first(end: End, service: Service, emulator: Emulator, teller: Teller) -> signal.Signals:
    """Waits for a signal, while files are watched and orphans taken."""
    tasks = [asyncio.ensure_future(_reap())]
    if service.watch:
        tasks.append(asyncio.ensure_future(_renew(service.deployment.files, emulator, teller)))
    try:
        waited: list[asyncio.Future[Any]] = [end.came, *tasks]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # it does not end by itself, and says here why
        return await end.came
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _renew(files: tuple[str, ...], emulator: Emulator, teller: Teller) -> None:
    """A change on disk makes it another function."""
    from shim.cli.changes import changes  # noqa: PLC0415 - it loads watchfiles, only where that is asked for

    async for changed in changes(files):
        await emulator.renew()
        teller.renewed(changed)


async def _reap() -> None:
    """Takes orphans that have ended: they fall to us, and would stay zombies."""
    orphans = Orphans()
    while True:
        await asyncio.sleep(REAPING)
        orphans.reap()


@asynccontextmanager
async def _opened(server: InvokeServer, emulator: Emulator) -> AsyncIterator[None]:
    """Opens the server. When it closes, what runs is ended at once, and so is what its last callers and its retries begin.

    Raises:
        Refused: it can't be opened.
    """
    try:
        await server.__aenter__()
    except OSError as refusal:
        place = f"{refusal.filename}: " if refusal.filename else ""
        instead = {"port": "0"} if refusal.errno in {errno.EADDRINUSE, errno.EACCES} and not place else {}
        raise Refused(f"{place}{refusal.strerror}", **instead) from None
    try:
        yield
    finally:
        closing = asyncio.ensure_future(server.__aexit__(None, None, None))
        while not closing.done():
            await emulator.close()
            await asyncio.wait([closing], timeout=CLOSING)
        closing.result()


class End:
    """The signals that ask us to end: the first lets all end in order, the second kills it all."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup stays so
        self.came: asyncio.Future[signal.Signals] = self._loop.create_future()
        """The first; or why there is nobody to be told anything."""
        self.teller: Teller | None = None

    def __enter__(self) -> Self:
        for number in self._heard:
            self._loop.add_signal_handler(number, self._take, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._heard:
            self._loop.remove_signal_handler(number)

    def fail(self, error: OSError) -> None:
        """There is nobody to be told anything any more; may be called in any thread."""
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._fail, error)

    def _take(self, number: signal.Signals) -> None:
        if not self.came.done():
            self.came.set_result(number)
            return
        if self.teller is not None:
            self.teller.abandon()
        kill_descendants()
        os._exit(SIGNALED + number)

    def _fail(self, error: OSError) -> None:
        if not self.came.done():
            self.came.set_exception(Unwritable(error.strerror))
