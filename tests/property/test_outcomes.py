"""Whatever an executable does, its outcome is the one that its fake knows, in time, and nothing of it is left."""

from __future__ import annotations

import base64
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings, strategies as st

import shim
from shim.logs import Log
from shim.testing import FakeExecutable, LambdaContext, echoes, strategies
from tests.conftest import descriptors, processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shim.invocation import Deadline
    from shim.outcome import Outcome
    from shim.request import Request
    from shim.testing import Behaviour

LIMIT = 100_000
TIMEOUT = 0.6  # so that the margin is 150 ms, and a child that hangs is told to stop after 450 ms
EVENTS = st.sampled_from([None, "x" * 4000, "x" * 5000, "x" * 70_000, "x" * 2_000_000])
SMALL_EVENTS = st.sampled_from([None, {"a": ["}", '"']}, "x" * 5000, "x" * 90_000])
PATIENT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
PHASES = [
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
    Phase.shrink,
]  # to explain a failure takes longer than to find it


class Recorded:
    """A runner, and what it was asked and said last."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.request = b""
        self.outcome: Outcome | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        self.request, self.outcome = request.body, None
        self.outcome = self._runner.run(request, deadline)
        return self.outcome


def recorded(runner: shim.Shim) -> Recorded:
    made = Recorded(runner._runner)  # noqa: SLF001 - the outcome is seen nowhere else
    runner._runner = made  # noqa: SLF001 - likewise
    return made


@pytest.fixture
def log() -> Iterator[tuple[int, Log]]:
    """A file for the log: what it holds is what the function's log would."""
    descriptor = os.memfd_create("log")
    yield descriptor, Log(descriptor)
    os.close(descriptor)


@pytest.mark.usefixtures("subreaper")
@settings(max_examples=int(os.environ.get("OUTCOMES", "300")), suppress_health_check=PATIENT, phases=PHASES)
@given(behaviours=strategies.behaviours(), value=EVENTS, reply_fd=st.sampled_from([1, 3]))
def test_the_outcome_of_a_one_shot_child_is_the_one_that_must_be(
    behaviours: list[Behaviour], value: object, reply_fd: int, tmp_path: Path, log: tuple[int, Log]
) -> None:
    fake = FakeExecutable(*behaviours, reply_fd=reply_fd)
    path = str(fake.write_to(tmp_path / "fake"))
    runner = shim.Shim(
        path, output="base64", reply_fd=reply_fd, max_output_bytes=LIMIT, stderr_tail_bytes=64, linger_ms=0
    )
    runner._log = runner._parent.log = log[1]  # noqa: SLF001 - its descriptor is 2, which the test runner holds
    seen = recorded(runner)
    os.ftruncate(log[0], 0)
    os.lseek(log[0], 0, os.SEEK_SET)
    before = descriptors()
    started = time.monotonic()
    error: str | None = None
    answer = b""
    try:
        answer = runner.run(shim.Invocation(value, LambdaContext(timeout=TIMEOUT)))
    except shim.ExecutableError as raised:
        error = type(raised).__name__
    took = time.monotonic() - started
    expected = fake.expected_outcome(runner.settings, seen.request)
    event(error or "success")

    assert seen.outcome is not None
    expected.check(seen.outcome)
    assert error in expected.errors
    assert took < TIMEOUT
    assert descriptors() == before
    assert processes_of(path) == []
    if error is None:
        assert base64.b64decode(answer.strip(b'"')) == expected.among[0].reply
    if expected.among[0].stderr is not None:
        written = os.pread(log[0], 10_000_000, 0)
        own = [text for text in written.splitlines() if text.startswith(b"shim: ")]
        assert len(own) <= 3
        assert written.startswith(expected.among[0].stderr) or any(b"were dropped" in text for text in own)


@pytest.mark.usefixtures("subreaper", "silent")
@settings(max_examples=int(os.environ.get("OUTCOMES", "300")) // 3, suppress_health_check=PATIENT, phases=PHASES)
@given(
    data=st.data(), value=SMALL_EVENTS, reply_fd=st.sampled_from([1, 3]), framing=st.sampled_from(["line", "envelope"])
)
def test_the_outcome_of_a_kept_child_is_the_one_that_must_be(
    data: st.DataObject, value: object, reply_fd: int, framing: str, tmp_path: Path
) -> None:
    """It echoes, and does something else with one of its first three requests."""
    number = data.draw(st.integers(1, 3))
    special = data.draw(strategies.behaviours(mode="warm", framing=framing))
    how = {"reply_fd": reply_fd, "framing": framing}
    fake = FakeExecutable.warm(echoes(), on={number: special}, reply_fd=reply_fd, framing=framing)
    path = str(fake.write_to(tmp_path / "fake"))
    with shim.Shim(path, mode="warm", max_output_bytes=LIMIT, grace_ms=20, linger_ms=0, **how) as runner:
        seen = recorded(runner)
        error: str | None = None
        for count in range(1, number + 1):
            error = None
            started = time.monotonic()
            try:
                runner.run(shim.Invocation(value, LambdaContext(timeout=TIMEOUT)))
            except shim.ShimError as raised:
                error = type(raised).__name__
            took = time.monotonic() - started
            expected = fake.expected_outcome(runner.settings, seen.request, number=count)

            assert seen.outcome is not None
            expected.check(seen.outcome)
            assert error in expected.errors | {"OutputInvalid"}
            assert took < TIMEOUT
        event(error or "success")

    assert processes_of(path) == []
