"""Thousands of invocations of a function in the emulator: results, errors, crashes and timeouts, changes of the function, frozen or not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from shim.local.emulator import Emulator
from shim.local.environment import function_environment
from shim.local.function import Function, Invocation
from tests.conftest import FIXTURES

from .inventory import Row, compare, memory, take_inventory
from .roles import draw_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from shim.local.function import Result

    from .stage import Stage

AT_A_TIME = 4
"""Invocations that run at the same time, each in an environment of its own."""
WARM_UP = 1500
"""Invocations before the first inventory: until then the memory grows, by what the allocator keeps for each thread."""
KEPT = AT_A_TIME
"""Invocations that the emulator remembers: small ones when the memory is measured."""
NEAR = 0.3
"""Seconds that an invocation has."""


class Emulated(NamedTuple):
    """What was found."""

    took: float
    rows: list[Row]
    wrong: list[str]


def soak_emulator(invocations: int, random: Random, stage: Stage, tell: Callable[[], None]) -> Emulated:
    """Warms up, and runs the invocations between two inventories, in all of which the environments are there."""
    return asyncio.run(_soak(invocations, random, stage, tell))


async def _soak(invocations: int, random: Random, stage: Stage, tell: Callable[[], None]) -> Emulated:
    wrong: list[str] = []
    async with (
        Emulator(_function(stage), concurrency=AT_A_TIME, kept=KEPT) as plain,
        Emulator(_function(stage), concurrency=AT_A_TIME, kept=KEPT, freeze=True) as freezing,
    ):

        async def go_through(numbers: range) -> None:
            for first in numbers[::AT_A_TIME]:
                emulator = freezing if first % 10 == 0 else plain
                batch = numbers[first - numbers.start : first - numbers.start + AT_A_TIME]
                wrong.extend(filter(None, await asyncio.gather(*[_play(emulator, n, random) for n in batch])))
                if first % 1000 == 0:
                    await emulator.renew()
                for _ in batch:
                    tell()

        await go_through(range(1, WARM_UP + 1))
        await _fill(plain, freezing)
        before = take_inventory(stage)._replace(memory=memory())
        began = time.monotonic()
        await go_through(range(1, invocations + 1))
        took = time.monotonic() - began
        await _fill(plain, freezing)
        after = take_inventory(stage)._replace(memory=memory())
    return Emulated(took, compare(before, after), wrong)


async def _fill(*emulators: Emulator) -> None:
    """All environments that there may be are there, and nothing else is on its way."""
    for emulator in emulators:
        await asyncio.gather(*[emulator.invoke(_event("sleep:200 answer", 0)) for _ in range(AT_A_TIME)])
    await asyncio.sleep(0.5)


async def _play(emulator: Emulator, number: int, random: Random) -> str:
    """One invocation; returns what is wrong with what came of it, or nothing."""
    do, expected = _asked(number)
    invocation = _event(do, number, "x" * draw_size(random) if number % 10 == 5 else "")
    result = await emulator.invoke(invocation)
    if result.error_type != expected or result.request_id != invocation.request_id:
        return f"invocation {number}, {do}: {result.error_type or 'an answer'} where {expected or 'an answer'} was expected"
    if not expected and _number(result) != number:
        return f"invocation {number}, {do}: another one's answer"
    return ""


def _asked(number: int) -> tuple[str, str]:
    """What is asked for in that invocation, and the type of the error that must come of it: a timeout each 500th, a crash each 50th."""
    if number % 500 == 250:
        return "ignore:15 fork:0 leave:0 sleep:0", "Sandbox.Timedout"
    if number % 50 == 25:
        return "fork:0 leave:0 raise:11", "Runtime.ExitError"
    if number % 50 == 10:
        return "say:2:6f6b answer exit:3", ""
    return ["answer", "say:1:6f6b0a answer", "fork:1 answer", "answer sleep:1"][number % 4], ""


def _event(do: str, number: int, text: str = "") -> Invocation:
    return Invocation(json.dumps({"do": do, "number": number, "text": text}, separators=(",", ":")).encode())


def _number(result: Result) -> int:
    return int(json.loads(result.payload)["event"]["number"])


def _function(stage: Stage) -> Function:
    program = stage.folder / "bootstrap"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", program, FIXTURES / "executables" / "bootstrap.c"], check=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SHIM_"))}
    environ |= function_environment(environ, name="soak", memory=128, folder=str(stage.folder))
    return Function("soak", (str(program), "serve"), environ, str(stage.folder), "bootstrap", timeout=NEAR)
