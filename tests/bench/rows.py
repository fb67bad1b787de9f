"""The rows of the table: what is measured, against which floor, and what the ratio may be at most.

A row is made on a Workbench and gives functions that measure once and return seconds (or what its unit says). A new row is a function in
ROWS; those of our own runtime are in runtime.py, those of packages in package.py.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import orjson

from shim import Shim

from .workbench import Context, run_floor, run_peer, timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .workbench import Workbench

SMALL_EVENT = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2019-09-03T19:37:27.192Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "AWS:AIDAINPONIXQXHT3IKHL2"},
            "requestParameters": {"sourceIPAddress": "205.255.255.255"},
            "responseElements": {
                "x-amz-request-id": "D82B88E5F771F645",
                "x-amz-id-2": "vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0emYBDXOo6QBU0Wo=",
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "828aa6fc-f7b5-4305-8584-487c791949c1",
                "bucket": {
                    "name": "lambda-artifacts-deafc19498e3f2df",
                    "ownerIdentity": {"principalId": "A3I5XTEXAMAI3E"},
                    "arn": "arn:aws:s3:::lambda-artifacts-deafc19498e3f2df",
                },
                "object": {"key": "b21b84d653bb07b05b1e6b33684dc11b", "size": 1305107},
            },
        }
    ]
}
LARGE_EVENT = {"body": "x" * 6_000_000}
MIDDLE_EVENT = {"body": "x" * 1_000_000}
SETTLED = 0.003
"""Seconds between two invocations with a spare, as between two on Lambda: it has a core to start on, and waits for its request."""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    floor: Callable[[], float]
    ours: Callable[[], float]
    at_most: float
    try_for: float
    apart: Callable[[], float] = lambda: 0.0
    """What is taken off ours before it is compared, since the floor has no part in it: orjson's own time for a large value."""
    peer: Callable[[], float] | None = None
    """The same as users do it today, with a Node.js shim; ours, all of it, must be faster. None where they have none, or Node.js is not here."""
    unit: str = "s"
    """What the functions return: s (seconds), or bytes."""


def oneshot(bench: Workbench) -> Row:
    """A one-shot invocation with a small event: JSON in, dict out."""
    turns = 40
    shim = Shim(bench.compiled("child"), output="json")

    def ours() -> float:
        return timed(lambda: shim(SMALL_EVENT, Context()), turns)

    return _one_shot(bench, "one-shot invocation, small event", ours, turns, at_most=1.3, try_for=1.15)


def spare(bench: Workbench) -> Row:
    """The same, where the child was started after the answer before. The context is dropped as the host does it: when the clock has stopped."""
    turns = 20
    shim = Shim(bench.compiled("child"), output="json", spare=1)

    def ours() -> float:
        taken = []
        for _ in range(turns):
            time.sleep(SETTLED)
            context = Context()
            began = time.perf_counter()
            shim(SMALL_EVENT, context)
            taken.append(time.perf_counter() - began)
            del context
        return median(taken)

    return _one_shot(bench, "one-shot invocation with a spare", ours, turns, at_most=0.5, try_for=0.35)


def warm(bench: Workbench) -> Row:
    """A warm invocation with a small event: dict in, dict out."""
    child, program = bench.compiled("reply"), bench.compiled("pingpong")
    request = bench.folder / "request.json"
    request.write_bytes(as_line(SMALL_EVENT))
    shim = Shim(child, mode="warm")
    turns = 1000
    return Row(
        "warm invocation, small event",
        floor=lambda: run_floor(program, child, str(request), turns),
        ours=lambda: timed(lambda: shim(SMALL_EVENT, Context()), turns),
        at_most=2.5,
        try_for=1.8,
        peer=run_peer("kept", bench.compiled("answer"), str(request), turns),
    )


def warm_middle(bench: Workbench) -> Row:
    """1 MB there and back through a warm child."""
    return _warm_echo(bench, "1 MB event through warm cat, as text", MIDDLE_EVENT, turns=20, at_most=1.4)


def warm_large(bench: Workbench) -> Row:
    """6 MB there and back through a warm child."""
    return _warm_echo(bench, "6 MB event through warm cat, as text", LARGE_EVENT, turns=5, at_most=1.75)


def bootstrap(bench: Workbench) -> Row:
    """An invocation of a kept custom runtime with a small event, through an HTTP connection: dict in, dict out."""
    child, program = bench.compiled("bootstrap"), bench.compiled("bootstrap_server")
    event = bench.folder / "event.json"
    event.write_bytes(orjson.dumps(SMALL_EVENT))
    shim = Shim(child, mode="bootstrap")
    turns = 300
    return Row(
        "bootstrap invocation, small event",
        floor=lambda: run_floor(program, child, str(event), turns),
        ours=lambda: timed(lambda: shim(SMALL_EVENT, Context()), turns),
        at_most=8.0,
        try_for=5.0,
    )


def large(bench: Workbench) -> Row:
    """6 MB there and back, as text."""
    program, request = bench.compiled("large"), as_line(LARGE_EVENT)
    shim = Shim("/bin/cat", output="text")
    turns = 5
    return Row(
        "6 MB event through one-shot cat, as text",
        floor=lambda: run_floor(program, "/bin/cat", len(request), turns),
        ours=lambda: timed(lambda: shim(LARGE_EVENT, Context()), turns),
        at_most=1.5,
        try_for=1.2,
        apart=lambda: timed(lambda: as_line(LARGE_EVENT), turns),
    )


def start(bench: Workbench) -> Row:
    """A cold start with settings from the environment."""
    folder = bench.package("start")
    floor, ours = _starts(bench, folder, {"SHIM_EXECUTABLE": bench.compiled("child")})
    return Row("cold start, settings from the environment", floor, ours, at_most=1.0, try_for=0.9)


def start_toml(bench: Workbench) -> Row:
    """A cold start with settings from a shim.toml, as every packed function has."""
    folder = bench.package("start-toml", shim_toml=f'executable = "{bench.compiled("child")}"\noutput = "json"\n')
    floor, ours = _starts(bench, folder, {})
    return Row("cold start, settings from a shim.toml", floor, ours, at_most=1.25, try_for=1.05)


ROWS: dict[str, Callable[[Workbench], Row]] = {
    "oneshot": oneshot,
    "spare": spare,
    "large": large,
    "warm": warm,
    "warm-1mb": warm_middle,
    "warm-6mb": warm_large,
    "bootstrap": bootstrap,
    "start": start,
    "start-toml": start_toml,
}


def _one_shot(
    bench: Workbench, what: str, ours: Callable[[], float], turns: int, *, at_most: float, try_for: float
) -> Row:
    """A row with the floor and the peer that start a process for each small event."""
    child, program, request = bench.compiled("child"), bench.compiled("oneshot"), bench.folder / "request.json"
    request.write_bytes(as_line(SMALL_EVENT))
    return Row(
        what,
        floor=lambda: run_floor(program, child, str(request), turns),
        ours=ours,
        at_most=at_most,
        try_for=try_for,
        peer=run_peer("spawning", child, str(request), 20),
    )


def _warm_echo(bench: Workbench, what: str, event: dict[str, str], *, turns: int, at_most: float) -> Row:
    program, request = bench.compiled("pingpong_large"), bench.folder / f"{len(event['body'])}.json"
    request.write_bytes(as_line(event))
    shim = Shim("/bin/cat", mode="warm", output="text")
    return Row(
        what,
        floor=lambda: run_floor(program, "/bin/cat", request.stat().st_size, turns),
        ours=lambda: timed(lambda: shim(event, Context()), turns),
        at_most=at_most,
        try_for=1.2,
        apart=lambda: timed(lambda: as_line(event), turns),
        peer=run_peer("kept", bench.compiled("mirror"), str(request), turns, "echo"),
    )


def _starts(
    bench: Workbench, folder: Path, variables: dict[str, str]
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Floor and ours of a cold start in that package."""

    def starting(code: str) -> Callable[[], float]:
        return lambda: timed(lambda: bench.run_python(code, folder, variables), 3)

    return starting("import orjson, subprocess"), starting("import shim; shim.handler")


def as_line(event: object) -> bytes:
    """A request of about the size of ours, as one call of orjson makes it."""
    context = {name: getattr(Context, name) for name in dir(Context) if name[0] != "_" and name[:4] != "get_"}
    return orjson.dumps({"event": event, "context": context, "shim": 1}, option=orjson.OPT_APPEND_NEWLINE)
