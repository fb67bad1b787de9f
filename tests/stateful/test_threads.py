"""Several threads call one Shim in mode warm at once: each gets its own reply, within the time that it has."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim.testing import (
    Behaviour,
    FakeExecutable,
    LambdaContext,
    closes_stdout,
    echoes,
    exits,
    obeys,
    raises_signal,
    sleeps,
)
from tests.conftest import descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

THREADS = 4
CALLS = 50


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A fake that does what its events say."""
    return str(FakeExecutable(obeys()).write_to(tmp_path / "fake"))


@pytest.fixture(params=["line", "envelope"])
def warm(request: pytest.FixtureRequest, program: str) -> Iterator[shim.Shim]:
    """A Shim with two children, of which nothing is left afterwards."""
    shim.Shim(program, mode="warm").close()  # what is opened once in a process
    before = descriptors()
    with shim.Shim(program, mode="warm", framing=request.param, max_children=2, grace_ms=20) as made:
        yield made

    assert processes_of(program) == []
    assert descriptors() == before


def told(warm: shim.Shim, *behaviours: Behaviour, label: str = "", pad: str = "") -> dict[str, object]:
    """An event that has a child do this."""
    return FakeExecutable.event(*behaviours, label=label, framing=warm.settings.framing, pad=pad)


def is_echoed(warm: shim.Shim, *before: Behaviour, label: str = "", pad: str = "", timeout: float = 30) -> bool:
    """Whether the reply is the event itself."""
    event = told(warm, *before, echoes(), label=label, pad=pad)
    return bool(warm(event, LambdaContext(timeout=timeout)) == event)


def test_each_gets_its_own_reply(warm: shim.Shim, program: str) -> None:
    together = Barrier(THREADS)

    def call(thread: int) -> list[bool]:
        together.wait()
        return [
            is_echoed(warm, sleeps(0.001), label=f"{thread} {number}", pad="x" * 700 * number)
            for number in range(CALLS)
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        came = [reply for replies in pool.map(call, range(THREADS)) for reply in replies]

    assert came == [True] * THREADS * CALLS
    assert len(processes_of(program)) == 2


def test_one_that_fails_takes_nothing_from_the_others(warm: shim.Shim, program: str) -> None:
    together = Barrier(THREADS)
    ways = {exits(3): shim.ExitError, raises_signal("SIGKILL"): shim.SignalError, closes_stdout(): shim.ReplyMissing}

    def call(thread: int) -> int:
        together.wait()
        right = 0
        for number in range(CALLS):
            way = list(ways)[number % len(ways)]
            if thread % 2:
                right += is_echoed(warm, label=f"{thread} {number}")
                continue
            with pytest.raises(ways[way]):
                warm(told(warm, way), LambdaContext(timeout=30))
            right += 1
        return right

    with ThreadPoolExecutor(THREADS) as pool:
        came = list(pool.map(call, range(THREADS)))

    assert came == [CALLS] * THREADS
    assert len(processes_of(program)) <= 2


def test_where_all_children_are_busy_until_the_deadline_one_is_told_so(warm: shim.Shim, program: str) -> None:
    busy = [Thread(target=is_echoed, args=[warm, sleeps(1)]) for _ in range(2)]
    for thread in busy:
        thread.start()
    eventually(lambda: len(processes_of(program)) == 2)
    began = time.monotonic()
    with pytest.raises(shim.DeadlineExceeded, match="all 2 children are busy") as raised:
        warm(told(warm, echoes()), LambdaContext(timeout=0.6))
    took = time.monotonic() - began
    for thread in busy:
        thread.join()

    assert took < 0.6
    assert raised.value.duration is None
    assert is_echoed(warm)


def test_close_lets_those_finish_that_run(warm: shim.Shim, program: str) -> None:
    came: list[bool] = []
    running = Thread(target=lambda: came.append(is_echoed(warm, sleeps(0.2), label="last")))
    running.start()
    pool: Any = warm._runner  # noqa: SLF001 - nothing else shows that an invocation runs
    eventually(lambda: len(pool._free) == 1)  # noqa: SLF001 - see above
    warm.close()
    with pytest.raises(shim.ShimClosed):
        warm({}, LambdaContext())
    running.join()

    assert came == [True]
    assert processes_of(program) == []
