"""The scenarios of test_bootstraps with every runtime on our emulator, and, where they are not there already, on AWS's: the same answers.

The one difference is AWS's emulator's known limit: of an invocation whose time is over it tells no error, but a plain text with the status of a
success (aws-lambda-runtime-interface-emulator, issue 21). Ours answers as Lambda does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import shim
import shim.testing
from tests.conftest import descriptors, eventually
from tests.real.rie import Answer
from tests.real.session import processes_in
from tests.real.test_bootstraps import (
    CRYSTAL,
    ECHO,
    GO,
    SCENARIOS,
    SECONDS,
    SHELL,
    Failure,
    Program,
    Result,
    Scenario,
    Words,
    check,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from shim.testing.serving import Served
    from tests.real.conftest import Start

TIMED_OUT = Failure("Sandbox.Timedout", [f"Error: Task timed out after {SECONDS}.00 seconds"])
PROGRAMS = [CRYSTAL, GO, SHELL]
RUNTIMES = ["awslambdaric", "shim"]
"""AWS's own for Python, and ours."""
OURS = [sys.executable, "-m", "shim.runtime", "shim.handler"]
"""The command of ours. AWS's emulator takes the third word for the handler, where there is no fourth."""


class Mode(NamedTuple):
    """A way in which shim runs an executable."""

    name: str
    settings: Mapping[str, Any]
    keeps: bool = True
    """Whether the next invocation is the same process's."""
    ended_by: tuple[str, ...] = ()
    """After which scenarios it is not, beside those after which it never is."""


MODES = [
    Mode("oneshot", {}, keeps=False),
    Mode("spare", {"spare": 1}, keeps=False),
    Mode("warm", {"mode": "warm", "framing": "envelope", "args": ["warm"]}, ended_by=("too-large-out",)),
]


@pytest.fixture
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """Serves what is in the folder by our emulator, of which nothing may be left; its log is shown where the test fails."""
    monkeypatch.setenv("PYTHONPATH", str(Path(shim.__file__).parents[1]))
    started: list[Served] = []
    before = descriptors()
    with ExitStack() as until_the_end:

        def begin(**facts: Any) -> Served:
            facts = {"timeout": SECONDS, "concurrency": 1, **facts}
            started.append(until_the_end.enter_context(shim.testing.emulator(folder, **facts)))
            return started[-1]

        yield begin
    if not started:
        return
    print(*(line[:500] for served in started for line in served.log), sep="\n")  # noqa: T201 - for who looks at a failure
    eventually(lambda: len(descriptors()) <= len(before) + 1)  # what tells the last process number stays open

    assert processes_in(folder) == set()


def invoke(served: Served, event: object) -> Answer:
    """As a caller of AWS's emulator has it."""
    begun = time.monotonic()
    result = served.invoke(event)
    return Answer(200, result.payload, time.monotonic() - begun)


def play(
    invoke: Callable[[object], Answer],
    expected: Callable[[Scenario], Any],
    *,
    keeps: bool = True,
    ended_by: tuple[str, ...] = (),
) -> None:
    """Goes through all scenarios, and a good event after each."""
    count = 0
    for scenario in SCENARIOS:
        count += 1
        answer = expected(scenario)
        if isinstance(answer, Result) and "count" in answer.members:
            answer = Result({**answer.members, "count": count})
        check(invoke(scenario.event), answer)
        if not keeps or not scenario.survives or scenario.name in ended_by:
            count = 0
        count += 1
        check(invoke(ECHO), Result({"value": ECHO["value"], "count": count}))
        count = count if keeps else 0


def of_the_emulator(scenario: Scenario) -> Result | Failure:
    """What ours answers where AWS's answers that."""
    return TIMED_OUT if isinstance(scenario.emulator, Words) else scenario.emulator


def of_shim(scenario: Scenario) -> Result | Failure | Words:
    """What comes through shim."""
    return scenario.shim or scenario.emulator


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_bootstraps_do_on_our_emulator_what_they_do_on_awss(
    program: Program, folder: Path, serve: Callable[..., Served]
) -> None:
    """All scenarios one after the other in one emulator. (On AWS's: test_bootstraps.)"""
    (folder / "bootstrap").symlink_to(program.build())
    served = serve(runtime="bootstrap")
    play(lambda event: invoke(served, event), of_the_emulator)

    environments = [record.environment for record in served.records]
    assert environments == sorted(environments)
    assert set(environments) == {1, 2, 3}  # one that crashed, one that hung
    assert sum("Init Duration" in line for line in served.log) == 3


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_bootstraps_in_mode_bootstrap_do_so_too(
    program: Program, runtime: str, folder: Path, serve: Callable[..., Served]
) -> None:
    """With our handler under AWS's own runtime client in between, or our runtime; its environment outlives all that its child does."""
    (folder / "bootstrap").symlink_to(program.build())
    served = serve(runtime=runtime, mode="bootstrap", executable="bootstrap")
    play(lambda event: invoke(served, event), of_shim)

    assert {record.environment for record in served.records} == {1}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("server", ["ours", "rie"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_executables_do_the_same_on_both(
    mode: Mode, server: str, runtime: str, folder: Path, serve: Callable[..., Served], start: Start
) -> None:
    """In every other mode, with AWS's own runtime client and with our runtime."""
    shutil.copy(Path(__file__).with_name("lines"), folder)
    if server == "ours":
        served = serve(runtime=runtime, executable="lines", **mode.settings)
        play(lambda event: invoke(served, event), of_shim, keeps=mode.keeps, ended_by=mode.ended_by)
        assert {record.environment for record in served.records} == {1}
    else:
        settings = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in mode.settings.items()
        }
        variables = {f"SHIM_{name.upper()}": value for name, value in settings.items()}
        variables |= {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(SECONDS), "SHIM_EXECUTABLE": "lines"}
        rie = start(variables, bootstrap=() if runtime == "awslambdaric" else OURS)
        play(rie.invoke, of_shim, keeps=mode.keeps, ended_by=mode.ended_by)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_an_init_that_fails_is_told_to_each_caller(
    program: Program, folder: Path, serve: Callable[..., Served]
) -> None:
    """As AWS's emulator tells it."""
    (folder / "bootstrap").symlink_to(program.build())
    served = serve(runtime="bootstrap", function_env={"BOOTSTRAP_INIT": "fail"})
    for _ in range(2):
        check(invoke(served, ECHO), Failure("NoDatabase", ["the database can't be reached"]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
def test_a_runtime_that_is_killed_is_told_as_aws_tells_it(
    number: signal.Signals, folder: Path, start: Start, bootstrap: Path
) -> None:
    """By the same words."""
    (folder / "bootstrap").symlink_to(bootstrap)
    event = json.dumps({"do": f"raise:{number.value}"}, separators=(",", ":")).encode()
    ours = shim.testing.emulator(folder / "bootstrap", "serve", runtime="bootstrap", timeout=SECONDS)
    with ours as function:
        mine = invoke(function, event)
    theirs = start(bootstrap=[str(folder / "bootstrap"), "serve"]).invoke(event)

    assert mine.error_type == theirs.error_type == "Runtime.ExitError"
    assert without_id(mine.error_message) == without_id(theirs.error_message)


def without_id(message: str) -> str:
    """All but the request's id."""
    return message.partition(" Error: ")[2]


def test_a_program_that_is_registered_as_an_extension_gets_sigterm(folder: Path, serve: Callable[..., Served]) -> None:
    """After a timeout, and at the end of the emulator; no init is over before the extension waits."""
    (folder / "bootstrap").symlink_to(GO.build())
    served = serve(runtime="bootstrap")
    for _ in range(2):
        check(invoke(served, {"do": "hang"}), TIMED_OUT)
    eventually(lambda: served.log.count("shutting down") == 2)
    check(invoke(served, ECHO), Result({"count": 1}))

    assert not any("no SIGTERM" in line for line in served.log)


def test_a_program_takes_several_invocations_at_once(folder: Path, serve: Callable[..., Served]) -> None:
    """In one process. Those whose time is over harm no others; but a process that may never answer them takes no more."""
    (folder / "bootstrap").symlink_to(GO.build())
    served = serve(runtime="bootstrap", at_once=4)
    with ThreadPoolExecutor(4) as pool:
        hanging = [pool.submit(invoke, served, {"do": "hang"}) for _ in range(3)]
        for number in range(20):
            value = invoke(served, {"do": "echo", "value": number}).value
            assert value["value"] == number
        assert not any(future.done() for future in hanging)
        for future in hanging:
            check(future.result(), TIMED_OUT)

    assert {record.environment for record in served.records} == {1}
    check(invoke(served, ECHO), Result({"count": 1}))
    assert {record.environment for record in served.records} == {1, 2}


@pytest.mark.parametrize(("runtime", "processes"), [("awslambdaric", 5), ("shim", 1)], ids=RUNTIMES)
def test_a_runtime_for_python_takes_several_invocations_at_once(
    runtime: str, processes: int, folder: Path, serve: Callable[..., Served], actor: str
) -> None:
    """AWS's forks a process for each that there may be at a time, ours has a thread for each; all begin with the first init, and each has its own answer."""
    (folder / "actor").symlink_to(actor)
    arguments = ["sleep:1000", "copy"]
    served = serve(runtime=runtime, executable="actor", args=arguments, output="json", at_once=4, timeout=30)
    with ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        futures = [pool.submit(invoke, served, number) for number in range(8)]
        answers = [future.result() for future in futures]
        took = time.monotonic() - begun

    assert [answer.value["event"] for answer in answers] == list(range(8))
    assert {record.environment for record in served.records} == {1}
    assert took < 7  # one after the other they would take 8 seconds
    assert len([pid for pid in processes_in(folder) if os.getsid(pid)]) == processes
