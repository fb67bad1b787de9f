"""Several threads call one Shim in mode warm at once: each gets its own reply, within the time that it has."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim.local.context import LambdaContext
from tests.conftest import descriptors, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 4
CALLS = 50


@pytest.fixture(params=["line", "envelope"])
def warm(request: pytest.FixtureRequest, actor: str) -> Iterator[shim.Shim]:
    """A Shim with two children, of which nothing is left afterwards."""
    shim.Shim(actor, mode="warm", args=["serve"]).close()  # what is opened once in a process
    before = descriptors()
    with shim.Shim(actor, mode="warm", args=["serve"], framing=request.param, max_children=2, grace_ms=20) as made:
        yield made

    assert processes_of(actor) == []
    assert descriptors() == before


def words(warm: shim.Shim) -> str:
    """What has a child reply with the event."""
    return "answer:1" if warm.settings.framing == "envelope" else "reply:1"


def echoed(warm: shim.Shim, event: dict[str, str], *, timeout: float = 30) -> bool:
    """Whether the reply is that very event."""
    reply = warm(event, LambdaContext(timeout=timeout))
    return bool((reply if warm.settings.framing == "envelope" else reply["event"]) == event)


def test_each_gets_its_own_reply(warm: shim.Shim, actor: str) -> None:
    together = Barrier(THREADS)

    def call(thread: int) -> list[bool]:
        together.wait()
        return [
            echoed(warm, {"do": f"sleep:1 {words(warm)}", "token": f"{thread} {number}", "pad": "x" * 700 * number})
            for number in range(CALLS)
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        came = [reply for replies in pool.map(call, range(THREADS)) for reply in replies]

    assert came == [True] * THREADS * CALLS
    assert len(processes_of(actor)) == 2


def test_one_that_fails_takes_nothing_from_the_others(warm: shim.Shim, actor: str) -> None:
    together = Barrier(THREADS)
    ways = {"exit:3": shim.ExitError, "raise:9": shim.SignalError, "close:1": shim.ReplyMissing}

    def call(thread: int) -> int:
        together.wait()
        right = 0
        for number in range(CALLS):
            way = list(ways)[number % len(ways)]
            if thread % 2:
                right += echoed(warm, {"do": words(warm), "token": f"{thread} {number}"})
                continue
            with pytest.raises(ways[way]):
                warm({"do": way}, LambdaContext(timeout=30))
            right += 1
        return right

    with ThreadPoolExecutor(THREADS) as pool:
        came = list(pool.map(call, range(THREADS)))

    assert came == [CALLS] * THREADS
    assert len(processes_of(actor)) <= 2


def test_where_all_children_are_busy_until_the_deadline_one_is_told_so(warm: shim.Shim, actor: str) -> None:
    busy = [Thread(target=echoed, args=[warm, {"do": f"sleep:1000 {words(warm)}"}]) for _ in range(2)]
    for thread in busy:
        thread.start()
    eventually(lambda: len(processes_of(actor)) == 2)
    began = time.monotonic()
    with pytest.raises(shim.DeadlineExceeded, match="all 2 children are busy") as raised:
        warm({"do": words(warm)}, LambdaContext(timeout=0.6))
    took = time.monotonic() - began
    for thread in busy:
        thread.join()

    assert took < 0.6
    assert raised.value.duration is None
    assert echoed(warm, {"do": words(warm)})


def test_close_lets_those_finish_that_run(warm: shim.Shim, actor: str) -> None:
    came: list[bool] = []
    running = Thread(target=lambda: came.append(echoed(warm, {"do": f"sleep:200 {words(warm)}", "token": "last"})))
    running.start()
    pool: Any = warm._runner  # noqa: SLF001 - nothing else shows that an invocation runs
    eventually(lambda: len(pool._free) == 1)  # noqa: SLF001 - see above
    warm.close()
    with pytest.raises(shim.ShimClosed):
        warm({}, LambdaContext())
    running.join()

    assert came == [True]
    assert processes_of(actor) == []
