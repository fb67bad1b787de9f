"""A Lambda on this machine for a test: `shim.testing.emulator` serves a function for as long as its block lasts.

(No submodule here may bear a public name: a module `emulator` would shadow `shim.testing.emulator`.)
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from shim.errors import SettingsError
from shim.local.context import DEFAULT_NAME
from shim.local.deployment import AWSLAMBDARIC, BOOTSTRAP, OURS, PYTHONS, Facts, Package, with_bootstrap, with_python
from shim.local.emulator import Emulator
from shim.local.function import Invocation
from shim.local.target import is_zip
from shim.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Literal

    from shim.local.deployment import Deployment
    from shim.local.emulator import Record
    from shim.local.function import Result

LINES = 100_000
"""How many lines of the log are kept: the last ones."""


class Served:
    """A function that is being served, as a test sees it. It may be used from several threads."""

    def __init__(self, emulator: Emulator, log: deque[str], loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.url = url
        """Where the Invoke API is: boto3's `endpoint_url`. Below it, at `/url/`, is the function's URL."""
        self._emulator = emulator
        self._log = log
        self._loop = loop

    @property
    def log(self) -> list[str]:
        """The lines of the log until now, of all execution environments."""
        return list(self._log)

    @property
    def records(self) -> list[Record]:
        """What was seen of the invocations that are over: the last ones."""
        return list(self._emulator.records)

    def invoke(self, event: object, *, client_context: object = None) -> Result:
        """What becomes of that event, or of those bytes as the event, without HTTP.

        Raises:
            Throttled: all execution environments that there may be are busy.
        """
        context = None if client_context is None else json.dumps(client_context)
        invocation = Invocation(_encoded(event), client_context=context)
        return asyncio.run_coroutine_threadsafe(self._emulator.invoke(invocation), self._loop).result()

    def renew(self) -> None:
        """The function has changed: whatever comes from now on gets a new execution environment."""
        asyncio.run_coroutine_threadsafe(self._emulator.renew(), self._loop).result()


@contextmanager
def emulator(  # noqa: PLR0913 - each is something that a test may want to choose
    target: str | os.PathLike[str],
    *arguments: str,
    runtime: Literal["awslambdaric", "shim", "bootstrap"] | None = None,
    handler: str | None = None,
    name: str = DEFAULT_NAME,
    timeout: float = 3.0,
    memory: int = 128,
    function_env: Mapping[str, str] | None = None,
    at_once: int = 1,
    concurrency: int = 10,
    freeze: bool = False,
    dead_letters: str | os.PathLike[str] | None = None,
    retry_scale: float = 1.0,
    **settings: Any,
) -> Iterator[Served]:
    """Serves a function as Lambda would, as `shim serve` does. Nothing of it is left after the block.

    Args:
        target: an executable, below LAMBDA_TASK_ROOT or the current folder, or on PATH; or a deployment package: its folder, run with this Python's
            packages beside it, or its zip, run as it would be deployed.
        arguments: the executable's.
        runtime: "awslambdaric": AWS's own for Python, in this Python, with `shim.handler` or another handler. "shim": ours, which streams.
            "bootstrap": the executable speaks the Runtime API itself, or the folder has a file `bootstrap` that does. None: awslambdaric, but
            of a zip what it was packed for.
        handler: `_HANDLER`, where it is to be another one than the runtime's.
        name: the function's.
        timeout: seconds that an invocation has.
        memory: MB, told to the function and not enforced.
        function_env: variables of the function's, over all others.
        at_once: how many invocations an execution environment takes at a time, as on managed instances.
        concurrency: how many execution environments there may be.
        freeze: whether all their processes are stopped between two invocations.
        dead_letters: a file that gets a line for each asynchronous invocation that failed to the end.
        retry_scale: by what AWS's delays before retries of those are multiplied; 0 for none.
        settings: those of shim (`mode="warm"`).

    Raises:
        SettingsError: with every mistake in the settings.
        ExecutableError: the executable can't be run, as far as a look at it tells.
        PackageError: the zip can't be unpacked, or run on this machine.
        ImportError: what the extra `cli` brings is not installed.
    """
    facts = Facts(name, timeout, memory, at_once, handler, dict(function_env or {}))
    path, held = os.fspath(target), ExitStack()
    if is_zip(path):
        deployment = held.enter_context(_packaged(path, arguments, runtime, facts, settings))
    else:
        deployment = _deployed(path, arguments, runtime or AWSLAMBDARIC, facts, settings)
    log: deque[str] = deque(maxlen=LINES)
    served: Future[Served] = Future()

    async def serve() -> None:
        from shim.local.invoke_server import InvokeServer  # noqa: PLC0415 - it needs what not all have

        end = asyncio.Event()
        ends.append(end)
        loop = asyncio.get_running_loop()
        letters = os.fspath(dead_letters) if dead_letters is not None else None
        async with (
            Emulator(
                deployment.function,
                concurrency=concurrency,
                freeze=freeze,
                write=lambda _, line: log.append(line.decode(errors="replace")),
            ) as local,
            InvokeServer(local, dead_letters=letters, retry_scale=retry_scale) as server,
        ):
            served.set_result(Served(local, log, loop, server.url))
            await end.wait()
            await local.close()  # before the server, which waits for what runs

    ends: list[asyncio.Event] = []

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if served.done():
                raise
            served.set_exception(error)

    thread = Thread(target=run, name=f"emulator of {name}")
    with held:
        thread.start()
        try:
            function = served.result()
            yield function
        finally:
            if served.done() and served.exception() is None:
                served.result()._loop.call_soon_threadsafe(ends[0].set)  # noqa: SLF001 - our own class
            thread.join()


def _deployed(
    target: str, arguments: Sequence[str], runtime: str, facts: Facts, settings: Mapping[str, Any]
) -> Deployment:
    package = Package.of(target)
    if runtime == BOOTSTRAP:
        if settings:
            raise SettingsError(
                [f"{name} must not be given with a bootstrap, which never reads it" for name in settings]
            )
        return with_bootstrap(package, arguments, facts)
    if runtime not in PYTHONS:
        raise ValueError(f"runtime must be one of {', '.join([*PYTHONS, BOOTSTRAP])}, not {runtime!r}")
    first: dict[str, Any] = {} if package.executable is None else {"executable": package.executable}
    if facts.handler in (None, OURS):
        Settings.from_environment(folder=package.folder, **first, **settings)
    return with_python(runtime, package, arguments, facts, {name: _spelled(value) for name, value in settings.items()})


@contextmanager
def _packaged(
    archive: str, arguments: Sequence[str], runtime: str | None, facts: Facts, settings: Mapping[str, Any]
) -> Iterator[Deployment]:
    """What is served of a zip, as long as the block lasts."""
    from shim.local.packaged import with_package  # noqa: PLC0415 - only a zip needs them
    from shim.local.unpacked import unpacked  # noqa: PLC0415 - likewise
    from shim.package.archive import unpack  # noqa: PLC0415 - likewise

    if settings:
        Settings(**{"executable": "program", **settings})
    texts = {name: _spelled(value) for name, value in settings.items()}
    with unpacked(archive, unpack) as package:
        deployment, sentence = with_package(package, arguments, facts, texts, runtime=runtime)
        if sentence:
            warnings.warn(sentence, stacklevel=5)
        yield deployment


def _spelled(value: object) -> str:
    """A setting as its variable has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _encoded(event: object) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()
