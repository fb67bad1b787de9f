"""The rows of our own runtime, `python -m shim.runtime`: one turn of its loop, a large event, and what it streams.

The first two are measured against awslambdaric, which runs the same Shim at the same server of the Runtime API (floors/runtime_server.c): both
are started anew in every round by the same interpreter, on the same core. The server's own part is in both times: a turn of a runtime in C
(floors/bootstrap.c), which has no child, takes a quarter of awslambdaric's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import orjson

from shim import Shim
from shim.invocation import Invocation

from .rows import LARGE_EVENT, SMALL_EVENT, Row, as_line
from .workbench import Context, run_floor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workbench import Workbench

OURS = [sys.executable, "-m", "shim.runtime"]
AWSLAMBDARIC = [sys.executable, "-m", "awslambdaric", "shim.handler"]
STREAMED = 200 * 1024 * 1024
"""Bytes that Lambda lets a function stream."""
STREAMED_WITHIN = 16 * 1024 * 1024
"""Bytes of memory that this may take."""


def turn(bench: Workbench) -> Row:
    """One turn of the loop with a warm child: from the event until the runtime asks for the next, which is how long it keeps Lambda busy."""
    return _against_awslambdaric(
        bench,
        "one turn of our runtime, warm child",
        "turn",
        orjson.dumps(SMALL_EVENT),
        turns=400,
        at_most=0.5,
        try_for=0.33,
        variables={"SHIM_EXECUTABLE": bench.compiled("reply")},
    )


def large_event(bench: Workbench) -> Row:
    """6 MB in, a small answer out: from the event until its answer has arrived. The child holds the whole line before it answers.

    An answer as large as the event would leave the limit of 6 MiB + 100 bytes little room, and measure how a text is encoded as much as how an
    event goes through.
    """
    return _against_awslambdaric(
        bench,
        "6 MB event to small answer, warm child",
        "answer",
        orjson.dumps(LARGE_EVENT),
        turns=8,
        at_most=0.4,
        try_for=0.33,
        variables={"SHIM_EXECUTABLE": bench.compiled("answer"), "SHIM_FRAMING": "envelope"},
    )


def first_byte(bench: Workbench) -> Row:
    """The first byte of a stream, from a child that is started for it: from the call until the sink is given something."""
    child, program, request = bench.compiled("child"), bench.compiled("first_byte"), bench.folder / "request.json"
    request.write_bytes(as_line(SMALL_EVENT))
    event = orjson.dumps(SMALL_EVENT)
    shim = Shim(child, output="stream")
    turns = 40

    def ours() -> float:
        taken = []
        for _ in range(turns):
            sink = Sink()
            began = time.perf_counter()
            shim.run(Invocation(event, Context()), sink)
            taken.append(sink.first_at - began)
            sink.close()
        return median(taken)

    return Row(
        "first byte of a stream",
        floor=lambda: run_floor(program, child, str(request), turns),
        ours=ours,
        at_most=1.35,
        try_for=1.15,
    )


def stream_memory(bench: Workbench) -> Row:
    """The memory that the runtime takes at most for a stream of 200 MB, above what it has while it waits for its first event."""
    variables = {
        "SHIM_EXECUTABLE": "/usr/bin/head",
        "SHIM_ARGS": orjson.dumps(["-c", str(STREAMED), "/dev/zero"]).decode(),
        "SHIM_OUTPUT": "stream",
    }
    return Row(
        "memory for a stream of 200 MB",
        floor=lambda: STREAMED_WITHIN,
        ours=_served(bench, "memory", orjson.dumps(SMALL_EVENT), STREAMED, 1, OURS, variables),
        at_most=1.0,
        try_for=0.25,
        unit="bytes",
    )


RUNTIME_ROWS: dict[str, Callable[[Workbench], Row]] = {
    "turn": turn,
    "event-6mb": large_event,
    "first-byte": first_byte,
    "stream-memory": stream_memory,
}


class Sink:
    """Where a stream goes: nowhere, but when it began is kept. It takes everything at once, as a connection does that is read at its other end."""

    is_full = False
    has_begun = False

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.descriptor = self._ours.fileno()
        self.first_at = 0.0

    def write(self, data: bytes | bytearray) -> None:
        """Takes a piece."""
        if not self.has_begun and data:
            self.first_at = time.perf_counter()
            self.has_begun = True

    def push(self) -> None:
        """Sends what has been held back, which is nothing."""

    def hear(self) -> None:
        """The other end says something, which it never does here."""

    def close(self) -> None:
        """Ends both ends of the connection."""
        self._ours.close()
        self._theirs.close()


def _against_awslambdaric(
    bench: Workbench,
    label: str,
    what: str,
    event: bytes,
    *,
    turns: int,
    at_most: float,
    try_for: float,
    variables: dict[str, str],
) -> Row:
    """A row of a kept child that answers small."""
    variables = {"SHIM_MODE": "warm", **variables}
    return Row(
        label,
        floor=_served(bench, what, event, 10, turns, AWSLAMBDARIC, variables),
        ours=_served(bench, what, event, 10, turns, OURS, variables | _on_lambda(bench)),
        at_most=at_most,
        try_for=try_for,
    )


def _on_lambda(bench: Workbench) -> dict[str, str]:
    """By which our runtime takes this for Lambda itself, where every event is JSON already, and is not looked at again.

    The last one keeps it from the other thing that it does only there: to end orphans, which here may be anybody's. awslambdaric is not given
    them: it would then start several processes, and our Shim inside it gets values and looks at nothing either way.
    """
    return {"LAMBDA_TASK_ROOT": "/var/task", "SHIM_CWD": str(bench.folder), "AWS_LAMBDA_MAX_CONCURRENCY": "1"}


def _served(
    bench: Workbench, what: str, event: bytes, least: int, turns: int, command: list[str], variables: dict[str, str]
) -> Callable[[], float]:
    """What starts a runtime with these variables at the server, and returns what that counted: seconds, or bytes of memory.

    An error that the runtime posts, its end, and an answer of fewer bytes than `least` raise RuntimeError with all that was written then.
    """
    program = bench.compiled("runtime_server")
    file = bench.folder / f"event-{len(event)}.json"
    file.write_bytes(event)
    arguments = [program, what, str(file), str(least), str(turns), *command]

    def run() -> float:
        done = subprocess.run(arguments, env=os.environ | variables, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.decode(errors='replace')}")
        return int(done.stdout) / (1 if what == "memory" else 1e9)

    return run
