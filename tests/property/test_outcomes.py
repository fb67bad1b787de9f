"""Whatever an executable does, its outcome is the one that the model predicts, in time, and nothing of it is left."""

from __future__ import annotations

import base64
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st

import shim
from shim.local.context import LambdaContext
from shim.logs import Log
from tests.conftest import descriptors, processes_of
from tests.property.model import predict

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 100_000
TIMEOUT = 0.6  # so that the margin is 150 ms, and a child that hangs is told to stop after 450 ms
SIGNALS = st.sampled_from([number for number in signal.Signals if number not in (signal.SIGRTMIN, signal.SIGRTMAX)])
TEXT = st.text(st.characters(codec="utf-8"), max_size=30).map(lambda text: text.encode().hex())
WORDS = st.one_of(
    st.sampled_from(["read:0", "read:1", "read:5000", "read-all", "close:0", "close:1", "close:2", "close:3"]),
    st.builds("write:{}:{}".format, st.integers(1, 3), TEXT),
    st.builds("fill:{}:{}".format, st.integers(1, 3), st.sampled_from([1, 4096, 65_537, 99_000, 300_000])),
    st.builds("sleep:{}".format, st.integers(1, 5)),
    st.builds("fork:{}".format, st.sampled_from([1, 0])),
    st.builds("leave:{}".format, st.sampled_from([1, 0])),
    st.builds("vanish:{}".format, st.sampled_from([1, 0])),
    st.builds("ignore:{}".format, SIGNALS),
)
ENDS: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]),
    st.builds(lambda code: [f"exit:{code}"], st.sampled_from([0, 0, 0, 1, 2, 42, 127, 255]) | st.integers(0, 255)),
    st.builds(lambda number: [f"raise:{number}"], SIGNALS),
    st.sampled_from([["flood:1"], ["flood:2"], ["flood:3"], ["sleep:0"], ["raise:19"]]),
)
SCRIPTS = st.builds(lambda words, end: [*words, *end], st.lists(WORDS, max_size=6), ENDS)
EVENTS = st.sampled_from([None, "x" * 4000, "x" * 5000, "x" * 70_000, "x" * 2_000_000])


@pytest.fixture
def log() -> Iterator[tuple[int, Log]]:
    """A file for the log: what it holds is what the function's log would."""
    descriptor = os.memfd_create("log")
    yield descriptor, Log(descriptor)
    os.close(descriptor)


@pytest.mark.usefixtures("subreaper")
@settings(
    max_examples=int(os.environ.get("OUTCOMES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=SCRIPTS, value=EVENTS, reply_fd=st.sampled_from([1, 3]))
def test_the_outcome_is_the_predicted_one(
    script: list[str], value: object, reply_fd: int, actor: str, log: tuple[int, Log]
) -> None:
    predicted = predict(script, reply_fd=reply_fd, limit=LIMIT)
    runner = shim.Shim(
        actor,
        args=script,
        output="base64",
        reply_fd=reply_fd,
        max_output_bytes=LIMIT,
        stderr_tail_bytes=64,
        linger_ms=0,
    )
    runner._log = runner._parent.log = log[1]  # noqa: SLF001 - its descriptor is 2, which the test runner holds
    os.ftruncate(log[0], 0)
    os.lseek(log[0], 0, os.SEEK_SET)
    before = descriptors()
    started = time.monotonic()
    error: shim.ExecutableError | None = None
    answer = b""
    try:
        answer = runner.run(shim.Invocation(value, LambdaContext(timeout=TIMEOUT)))
    except shim.ExecutableError as raised:
        error = raised
    took = time.monotonic() - started
    event(predicted.error or "success")

    assert type(error).__name__ == (predicted.error or "NoneType"), error
    assert took < TIMEOUT
    assert descriptors() == before
    assert processes_of(actor) == []
    if error is None:
        assert base64.b64decode(answer.strip(b'"')) == predicted.reply
    elif predicted.error in ("ExitError", "SignalError"):
        assert getattr(error, "exit_code", None) == predicted.code
        assert getattr(error, "signal", None) == predicted.signal
        assert predicted.log.rstrip(b"\n").endswith(error.stderr_tail.encode()) or "\ufffd" in error.stderr_tail
    elif predicted.error == "DeadlineExceeded":
        assert getattr(error, "signal", None) == (predicted.signal or getattr(error, "signal", None))
    if predicted.error in (None, "ExitError", "SignalError"):
        written = os.pread(log[0], 10_000_000, 0)
        own = [text for text in written.splitlines() if text.startswith(b"shim: ")]
        assert len(own) <= 3
        assert written.startswith(predicted.log) or any(b"were dropped" in text for text in own)
