"""What the tests of the emulator share: a function of the scriptable bootstrap, a loop that must be left empty, and words for what came."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shim.local.environment import function_environment
from shim.local.function import Function, Invocation
from tests.real.session import processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from shim.local.emulator import Emulator
    from shim.local.function import Result

EXIT_ERROR = "Runtime.ExitError"
TIMED_OUT = "Sandbox.Timedout"


def function_of(
    *command: str | Path,
    folder: Path,
    variables: dict[str, str] | None = None,
    handler: str = "bootstrap",
    **facts: Any,
) -> Function:
    """A function that starts with that command in that folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SHIM_"))}
    environ |= function_environment(environ, name="tested", memory=128, folder=str(folder))
    environ |= variables or {}
    return Function("tested", tuple(map(str, command)), environ, str(folder), handler, **facts)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Runs it in a loop of its own, in which no task may be left."""

    async def whole() -> None:
        await scenario
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(whole())


async def until(condition: Callable[[], object], *, within: float = 10) -> None:
    """Waits for what others do, while they do it."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


def event(do: str = "", **more: object) -> Invocation:
    """An invocation in which the bootstrap does these words."""
    return Invocation(json.dumps({"do": do, **more} if do else more, separators=(",", ":")).encode())


async def ask(emulator: Emulator, do: str = "", **more: object) -> Any:
    """What comes of such an invocation, which must be a success."""
    result = await emulator.invoke(event(do, **more))

    assert not result.failed, result
    return json.loads(result.payload)


async def fail(emulator: Emulator, do: str = "", **more: object) -> tuple[str, str]:
    """The type and the message of the error that comes of it."""
    return error_of(await emulator.invoke(event(do, **more)))


def error_of(result: Result) -> tuple[str, str]:
    """What an error says; where it names its invocation it must be the right one."""
    assert result.failed, result
    value = json.loads(result.payload)
    message = value["errorMessage"]
    assert message.startswith(f"RequestId: {result.request_id} Error: ") or "RequestId" not in message
    assert value["errorType"] == result.error_type or result.error_type == "Unhandled"
    return value["errorType"], message.partition(" Error: ")[2] or message


def lines_of(result: Result) -> list[str]:
    """The log of the invocation."""
    return result.log.decode(errors="replace").splitlines()


def report_of(result: Result) -> dict[str, str]:
    """The parts of the last line of the log."""
    (line,) = [line for line in lines_of(result) if line.startswith("REPORT ")]
    return dict(re.findall(r"([A-Z][A-Za-z ]+): ([^\t]+)", line.partition("\t")[2]))


def hexed(text: str | bytes) -> str:
    """As the bootstrap's words take bytes."""
    return (text if isinstance(text, bytes) else text.encode()).hex()


def states_in(folder: Path) -> list[str]:
    """The states of the processes in that folder, as the kernel calls them."""
    states = []
    for pid in processes_in(folder):
        try:
            states.append(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode())
        except OSError:
            continue
    return states
