"""The deadline holds, on a whole CPU and on the share of one that the smallest function has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real import components
from tests.real.rie import function_environment
from tests.real.session import left_in, processes_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.real.conftest import Start
    from tests.real.quota import Quota

SECONDS = 3
"""The function's timeout: Lambda's default."""


@pytest.fixture(params=["whole", "fourteenth"])
def share(request: pytest.FixtureRequest) -> Iterator[Quota | None]:
    """The CPU that the function has: all that there is, or the share of a function of 128 MB."""
    if request.param == "whole":
        yield None
        return
    quota = components.quota()
    yield quota
    quota.remove()


@pytest.mark.parametrize("order", ["hang", "brood", "ignore", "flood"])
def test_the_error_is_there_before_the_time_is_over(share: Quota | None, folder: Path, order: str) -> None:
    """Deaf to SIGTERM, with twenty grandchildren, without reading its 6 MB, or writing to the log for ever: it is stopped in time."""
    event = json.dumps({"do": order, "load": "x" * (6_000_000 if order == "ignore" else 0)})
    error, left_ms = invoke(event, folder, share, stderr=subprocess.DEVNULL)

    assert error == "DeadlineExceeded"
    assert left_ms > 0
    assert left_in(folder) == set()
    assert bites(share)


@pytest.mark.parametrize("order", ["flood", "blanks"])
def test_records_of_all_that_floods_the_log_take_no_more_time_than_there_is(
    share: Quota | None, folder: Path, order: str
) -> None:
    """In the JSON format each line costs a record, also an empty one."""
    event = json.dumps({"do": order})
    json_format = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
    error, left_ms = invoke(event, folder, share, stderr=subprocess.DEVNULL, variables=json_format)

    assert error == "DeadlineExceeded"
    assert left_ms > 0
    assert bites(share)


def test_a_log_that_nobody_reads_does_not_hold_the_error_up(share: Quota | None, folder: Path) -> None:
    """The executable floods a log that takes no more: neither it nor the handler waits for the log beyond the deadline."""
    reader, writer = os.pipe()
    try:
        error, left_ms = invoke(json.dumps({"do": "flood"}), folder, share, stderr=writer)
    finally:
        os.close(reader)
        os.close(writer)

    assert error == "DeadlineExceeded"
    assert left_ms > 0
    assert bites(share)


def test_the_caller_gets_the_error_and_the_environment_serves_on(
    share: Quota | None, folder: Path, start: Start
) -> None:
    """Under AWS's own client and emulator: DeadlineExceeded before Lambda's own end, nothing is left, and the next invocation succeeds."""
    rie = start({"AWS_LAMBDA_FUNCTION_TIMEOUT": str(SECONDS)}, quota=share)
    first = rie.count()
    serving = processes_in(folder)
    answer = rie.invoke({"do": "hang"})

    assert answer.error_type == "DeadlineExceeded"
    assert "stopped with SIGKILL" in answer.error_message
    assert answer.seconds < SECONDS
    assert left_in(folder, besides=serving) == set()
    assert rie.count() == first + 2
    assert bites(share)


def bites(share: Quota | None) -> bool:
    """Whether that share was less than what was wanted: else the test would show nothing."""
    return share is None or share.throttled > 0


def invoke(
    event: str, folder: Path, share: Quota | None, *, stderr: int, variables: Mapping[str, str] = {}
) -> tuple[str | None, int]:
    """The error of one invocation with that event, in a process that has that share, and the milliseconds that were left then."""
    command = [sys.executable, str(Path(__file__).with_name("one_invocation.py")), str(SECONDS)]
    run = subprocess.run(
        share.limits(command) if share else command,
        env={**function_environment(folder), **variables},
        cwd=folder,
        input=event.encode(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=True,
        timeout=60,
    )
    answer = json.loads(run.stdout)
    return answer["error"], answer["left_ms"]
