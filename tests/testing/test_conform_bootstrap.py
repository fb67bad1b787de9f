"""The checks of programs that speak the Runtime API: good programs pass all of them, and each fault breaks its own requirement and no other."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from shim.children.environment import child_environment
from shim.settings import Settings
from shim.testing.conform.protocol import BOOTSTRAP, REQUIREMENTS, Broken, Command, NotAsked, Plan
from shim.testing.conform.served import BOOTSTRAP_CHECKS
from tests.conftest import FIXTURES
from tests.real import components
from tests.real.programs import PROGRAMS, compile_crystal_bootstrap, compile_go_bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SAMPLE = b'{"name": "x"}'
MANY = Plan(SAMPLE, examples=30, requests=100, pure=True)
"""For the requirement that is broken."""
SOME = Plan(SAMPLE, examples=5, requests=50, pure=True)
"""For the others."""
BRIEF = 0.4
"""Seconds that are waited for what never comes."""

FAULTS = {
    "leaves-daemon": "1.2",
    "leaves-child": "1.2",
    "leaves-many": "1.2",
    "ignores-sigterm": "1.3",
    "slow-sigterm": "1.3",
    "small-buffer": "2.3",
    "one-read": "2.3",
    "hangs-large": "2.3",
    "crashes-on-null": "2.4",
    "crashes-after-null": "2.4",
    "crashes-deep": "2.4",
    "hangs-on-list": "2.4",
    "exits-0-on-false": "2.4",
    "silent-on-text": "2.4",
    "drops-numbers": "2.4",
    "answers-never": "3.3",
    "answers-twice": "3.3",
    "answers-late-twice": "3.3",
    "answers-garbage-twice": "3.3",
    "last-id": "3.5",
    "first-id": "3.5",
    "short-id": "3.5",
    "counts": "3.6",
    "keeps-for-null": "3.6",
    "takes-garbage": "4.2",
    "takes-cut": "4.2",
    "silent-on-garbage": "4.2",
    "exits-0-on-garbage": "4.2",
    "crashes-on-garbage": "4.2",
    "hangs-on-garbage": "4.2",
    "drops-garbage": "4.2",
    "leaks-memory": "5.2",
    "leaks-descriptors": "5.2",
    "leaks-threads": "5.2",
    "leaks-processes": "5.2",
    "exits-after-one": "6.1",
    "fails-after-one": "6.1",
    "stops-asking": "6.1",
    "ends-after-two": "6.1",
    "ends-after-three-asks-none": "6.1",
    "error-empty": "6.2",
    "error-text": "6.2",
    "error-cut": "6.2",
    "error-list": "6.2",
    "error-nameless": "6.2",
    "error-wordless": "6.2",
    "error-trace": "6.2",
    "error-as-response": "6.2",
    "head-case": "6.3",
    "needs-trace": "6.3",
    "needs-blank": "6.3",
    "id-first": "6.3",
    "short-head": "6.3",
}
"""A fault of the citizen's, and the requirement that it breaks."""
WAITING = ("hangs-large", "hangs-on-list", "hangs-on-garbage", "stops-asking")
"""Those which take all the time that there is."""
HOSTILE = (
    "never-asks", "dies", "waits-then-dies", "init-error", "no-http", "half-a-request", "floods-log", "pings", "connects", "floods-posts",
    "storms",
)  # fmt: skip
"""What gets no invocation, or ends with its first one."""
REPLAYED = (
    "leaves-daemon", "ignores-sigterm", "small-buffer", "one-read", "crashes-on-null", "crashes-deep", "answers-twice", "last-id",
    "keeps-for-null", "takes-cut", "leaks-descriptors", "exits-after-one", "error-list", "head-case",
)  # fmt: skip
LONG = 5.0
"""Seconds that no check takes with a program that gives it nothing to do."""
KINDLY = Plan(b'{"do":"measure","body":"a word"}', examples=4, requests=20, pure=True)
"""For the programs that real people would write: what the answer is depends on nothing but the event."""


@pytest.fixture(scope="session")
def citizen(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled citizen: a good bootstrap, but for the fault that its argument names."""
    program = tmp_path_factory.mktemp("citizen") / "citizen"
    source = FIXTURES / "executables" / "bootstrap_citizen.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-pthread", "-o", program, source], check=True)
    return program


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process that a check has started outlives it, and none of its descriptors stays open."""
    descriptors = len(os.listdir("/proc/self/fd"))
    yield

    assert psutil.Process().children(recursive=True) == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # that of /proc/loadavg is kept


def command(program: Path, *arguments: str, folder: Path, **settings: Any) -> Command:
    made = Settings(str(program), args=list(arguments), mode="bootstrap", **settings)
    environment = child_environment(
        os.environb, task_root=str(folder), env={"TMPDIR": str(folder)}, deny=(), handler=program.name
    )
    return Command(str(program), str(folder), environment, made)


def broken(given: Command, plan: Plan, numbers: list[str] | None = None) -> dict[str, Broken]:
    """The requirements that the program breaks, of these or of all."""
    found: dict[str, Broken] = {}
    for number in numbers or BOOTSTRAP_CHECKS:
        try:
            BOOTSTRAP_CHECKS[number](given, plan)
        except Broken as error:
            found[number] = error
        except NotAsked:
            continue
    return found


def test_there_is_a_check_for_each_requirement_of_the_mode() -> None:
    assert list(BOOTSTRAP_CHECKS) == [asked.number for asked in REQUIREMENTS if BOOTSTRAP in asked.modes]


@pytest.mark.parametrize("way", ["", "asks-ahead", "asks-anew"])
def test_a_good_program_keeps_all_requirements(way: str, citizen: Path, tmp_path: Path) -> None:
    """Each is asked: no check is given up."""
    for check in BOOTSTRAP_CHECKS.values():
        check(command(citizen, way, folder=tmp_path), MANY)


def test_a_program_that_ends_by_what_is_no_json_keeps_all_but_what_is_not_asked_of_it(
    citizen: Path, tmp_path: Path
) -> None:
    for number, check in BOOTSTRAP_CHECKS.items():
        if number != "6.2":
            check(command(citizen, "ends-by-garbage", folder=tmp_path), MANY)


@pytest.mark.parametrize("way", ["ends-by-garbage", "takes-garbage"])
def test_the_shape_of_errors_is_not_asked_of_a_program_that_posts_none(way: str, citizen: Path, tmp_path: Path) -> None:
    """Whether it ends by what it fails, or answers everything with success."""
    said = "it posted no error; --failing-event names an event that it must fail"
    with pytest.raises(NotAsked, match=f"^{said}$"):
        BOOTSTRAP_CHECKS["6.2"](command(citizen, way, folder=tmp_path), MANY)


def test_an_event_that_must_fail_and_ends_a_program_shows_no_error(citizen: Path, tmp_path: Path) -> None:
    program = command(citizen, "ends-by-garbage", folder=tmp_path)
    with pytest.raises(NotAsked, match=r"^it posted no error, not even for the event that it must fail$"):
        BOOTSTRAP_CHECKS["6.2"](program, MANY._replace(failing=b"no JSON either"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_breaks_its_own_requirement_and_no_other(fault: str, citizen: Path, tmp_path: Path) -> None:
    number = FAULTS[fault]
    program = command(citizen, fault, folder=tmp_path)
    within = BRIEF if fault in WAITING else MANY.within
    its = broken(program, MANY._replace(within=within), [number])
    others = broken(program, SOME._replace(within=within), [other for other in BOOTSTRAP_CHECKS if other != number])

    assert list(its) == [number]
    assert others == {}


@pytest.mark.parametrize("fault", REPLAYED)
def test_a_counterexample_breaks_the_requirement_again(fault: str, citizen: Path, tmp_path: Path) -> None:
    number = FAULTS[fault]
    program = command(citizen, fault, folder=tmp_path)
    found = broken(program, MANY, [number])[number]
    again = broken(program, MANY._replace(replay=found.requests), [number])

    assert list(again) == [number]


@pytest.mark.parametrize(
    ("fault", "words", "requests"),
    [
        ("leaves-daemon", "left citizen (process ", (SAMPLE,)),
        ("small-buffer", "posted an error '{\"errorType\":\"Malformed\"", None),
        ("small-buffer", "where the event has 65,537 bytes", None),
        ("hangs-large", "neither answered nor ended within 0.4 s where the event has ", None),
        ("one-read", "in 2 pieces, has 13 bytes", (SAMPLE,)),
        ("crashes-on-null", "was ended by SIGABRT", (b"null",)),
        ("crashes-after-null", "was ended by SIGABRT after it had answered", (b"null",)),
        ("exits-0-on-false", "ended with exit code 0 without an answer", (b"false",)),
        ("silent-on-text", "ended with exit code 3 without an answer, and without a word on its log", (b'""',)),
        ("drops-numbers", "asked for the next invocation without an answer to this one", (b"0",)),
        ("answers-twice", "posted a response '{\"name\": \"x\"}' and a response '{\"name\": \"x\"}' for one invocation", (SAMPLE,)),
        ("short-id", "answered the invocation '8476a536-e9f4-11e8-9739-2dfe598c3fcd-2' as '8476a536-e9f4-11e8-9739-2dfe598c3fcd'", None),
        ("counts", "answered with 2 where it answered with 1 in a process of its own", (SAMPLE, SAMPLE)),
        ("keeps-for-null", 'answered with {"name": "x"} where it answered with null', (SAMPLE, b"null")),
        ("takes-garbage", "posted a response '{\"bytes\":7}' for an event that is no JSON", (b"no JSON",)),
        ("leaks-descriptors", ": about 1.0 each", (SAMPLE,)),
        ("exits-after-one", "ended with exit code 0 in place of asking for another invocation after 1", (SAMPLE,)),
        ("ends-after-two", "ended with exit code 0 in place of asking for another invocation after 3", (SAMPLE,) * 3),
        ("error-nameless", "in which errorType is no text", None),
        ("error-as-response", "which is to be posted as an error", None),
        ("needs-trace", "ended with exit code 1 without an answer where Lambda-Runtime-Trace-Id is absent", (SAMPLE,)),
        ("needs-blank", "where nothing stands behind the colons", (SAMPLE,)),
    ],
)  # fmt: skip
def test_what_was_broken_is_said_with_the_data(
    fault: str, words: str, requests: tuple[bytes, ...] | None, citizen: Path, tmp_path: Path
) -> None:
    number = FAULTS[fault]
    plan = MANY._replace(within=BRIEF if fault in WAITING else MANY.within)
    found = broken(command(citizen, fault, folder=tmp_path), plan, [number])[number]

    assert words in found.sentence
    assert requests in (None, found.requests)


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_program_that_is_no_bootstrap_breaks_one_requirement_in_bounded_time(
    fault: str, citizen: Path, tmp_path: Path
) -> None:
    program = command(citizen, fault, folder=tmp_path)
    plan = SOME._replace(within=BRIEF if fault in ("dies", "waits-then-dies") else 0.2)
    found: dict[str, Broken] = {}
    for number in BOOTSTRAP_CHECKS:
        began = time.monotonic()
        found |= broken(program, plan, [number])

        assert time.monotonic() - began < LONG

    assert list(found) == ["6.1"]


def test_a_program_that_answers_for_ever_is_held_to_all_requirements_in_bounded_time(
    citizen: Path, tmp_path: Path
) -> None:
    program = command(citizen, "answers-forever", folder=tmp_path)
    found: dict[str, Broken] = {}
    for number in BOOTSTRAP_CHECKS:
        began = time.monotonic()
        found |= broken(program, SOME._replace(within=0.2), [number])

        assert time.monotonic() - began < LONG

    assert list(found) == ["3.3", "6.1"]


def test_a_program_that_dies_at_its_start_is_told_by_its_last_words(citizen: Path, tmp_path: Path) -> None:
    program = command(citizen, "dies", folder=tmp_path)
    said = "ended with exit code 7 before it asked for its first invocation; its log ends with 'no licence'"

    assert broken(program, SOME)["6.1"].sentence == said
    with pytest.raises(NotAsked, match=f"^it {said}$"):
        BOOTSTRAP_CHECKS["2.4"](program, SOME)


def test_a_program_that_can_t_be_started_breaks_what_is_asked(tmp_path: Path) -> None:
    found = broken(command(tmp_path / "nothing", folder=tmp_path), SOME, ["6.1"])

    assert found["6.1"].sentence == "can't be started: No such file or directory"


def test_an_event_that_must_fail_is_to_be_posted_as_an_error(citizen: Path, tmp_path: Path) -> None:
    failing = b'{"this": "must fail"}'
    found = broken(command(citizen, folder=tmp_path), Plan(SAMPLE, failing=failing), ["6.2"])

    assert found["6.2"].sentence == 'posted a response \'{"this": "must fail"}\' for an event that fails'
    assert found["6.2"].requests == (failing,)


def test_independence_is_only_asked_of_a_program_that_is_said_to_be_pure(citizen: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAsked, match="--pure"):
        BOOTSTRAP_CHECKS["3.6"](command(citizen, "counts", folder=tmp_path), MANY._replace(pure=False))


def test_an_interrupt_leaves_nothing(
    citizen: Path, tmp_path: Path, interrupted: Callable[[Callable[[], object], float], None]
) -> None:
    program = command(citizen, "never-asks", folder=tmp_path)
    began = time.monotonic()
    interrupted(lambda: BOOTSTRAP_CHECKS["6.1"](program, MANY), 0.3)

    assert time.monotonic() - began < MANY.within


def crystal() -> Path:
    return compile_crystal_bootstrap()


def go() -> Path:
    return compile_go_bootstrap()


def shell() -> Path:
    assert components.curl()
    return PROGRAMS / "shell-bootstrap" / "bootstrap"


@pytest.mark.parametrize(("program", "pollers"), [(crystal, ""), (go, ""), (go, "3"), (shell, "")])
def test_the_bootstraps_of_three_languages_keep_all_requirements(
    program: Callable[[], Path], pollers: str, tmp_path: Path
) -> None:
    """Each is asked: no check is given up."""
    given = command(program(), folder=tmp_path)
    given = given._replace(environment={**given.environment, b"POLLERS": pollers.encode()})
    for check in BOOTSTRAP_CHECKS.values():
        check(given, KINDLY)
