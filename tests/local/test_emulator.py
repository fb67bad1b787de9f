"""The emulator with real processes: every way in which a runtime behaves, and nothing of it left."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import pytest

from shim.local import emulator as emulators
from shim.local.emulator import Emulator, Throttled
from shim.local.report import end_line, start_line
from tests.local.served import (
    EXIT_ERROR,
    TIMED_OUT,
    ask,
    error_of,
    event,
    fail,
    function_of,
    hexed,
    lines_of,
    report_of,
    run,
    states_in,
    until,
)
from tests.real.session import ends, processes_in

if TYPE_CHECKING:
    from shim.local.emulator import Record
    from shim.local.function import Result

SHORT = 0.4
"""Seconds that an invocation has which is to take too long."""
REGISTERED = ("at:1", f"register:{hexed('{}')}", "event", "at:0")
"""An extension in the runtime's own process."""


class Serve(Protocol):
    """An emulator that is to be entered."""

    def __call__(
        self, *words: str, around: str = "", concurrency: int = 1, freeze: bool = False, **facts: Any
    ) -> Emulator:
        """It starts the bootstrap with these words, `serve` where there are none, in a shell script where there is one, as "$@"."""


@pytest.fixture
def serve(bootstrap: Path, folder: Path) -> Serve:
    """Makes emulators."""

    def make(*words: str, around: str = "", concurrency: int = 1, freeze: bool = False, **facts: Any) -> Emulator:
        command = [bootstrap, *(words or ["serve"])]
        if around:
            command = ["/bin/sh", "-c", around, "around", *command]
        kept = {name: facts.pop(name) for name in ("write", "seen", "kept") if name in facts}
        return Emulator(function_of(*command, folder=folder, **facts), concurrency=concurrency, freeze=freeze, **kept)

    return make


# What the caller gets


def test_a_result_is_the_bytes_that_the_runtime_posts(serve: Serve) -> None:
    """As they are, with the type that it says; and the record tells of it."""

    async def scenario() -> None:
        async with serve() as emulator:
            invocation = event("echo", value='é"\\')
            first = await emulator.invoke(invocation)
            again = await emulator.invoke(invocation)

        assert (first.payload, first.error_type, first.status) == (invocation.event, "", "")
        assert (first.request_id, again.request_id) == (invocation.request_id,) * 2
        assert [(record.result, record.environment, record.is_cold) for record in emulator.records] == [
            (first, 1, True),
            (again, 1, False),
        ]
        assert all(0 < record.seconds < 5 for record in emulator.records)

    run(scenario())


@pytest.mark.parametrize("header", ["", f"head:{hexed('Lambda-Runtime-Function-Error-Type: Function.Bad')} "])
def test_an_error_is_the_runtimes_own(serve: Serve, header: str) -> None:
    """Its body is what the caller gets; the environment lives on."""
    body = '{"errorType":"Bad","errorMessage":"no"}'

    async def scenario() -> None:
        async with serve() as emulator:
            result = await emulator.invoke(event(f"{header}post:error:{hexed(body)}"))
            assert (result.payload.decode(), result.error_type) == (body, "Function.Bad" if header else "Unhandled")
            assert (await ask(emulator))["count"] == 2

    run(scenario())


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("exit:0", "Runtime exited without providing a reason"),
        ("exit:1", "Runtime exited with error: exit status 1"),
        ("exit:255", "Runtime exited with error: exit status 255"),
        ("raise:9", "Runtime exited with error: signal: killed"),
        ("raise:11", "Runtime exited with error: signal: segmentation fault"),
        ("raise:15", "Runtime exited with error: signal: terminated"),
    ],
)
def test_a_runtime_that_ends_is_told_and_replaced(serve: Serve, do: str, said: str) -> None:
    """All that it started ends with it, wherever that is."""

    async def scenario() -> None:
        async with serve(timeout=5) as emulator:
            first = await ask(emulator)
            assert await fail(emulator, f"fork:0 leave:0 {do}") == (EXIT_ERROR, said)
            assert (emulator.records[-1].result.status, report_of(emulator.records[-1].result)["Status"]) == (
                "error",
                "error",
            )
            second = await ask(emulator)
            assert (first["count"], second["count"]) == (1, 1)
            assert first["pid"] != second["pid"]
            await until(lambda: len(processes_in(emulator_folder(emulator))) == 1)

    run(scenario())


def test_what_was_posted_before_the_end_counts(serve: Serve) -> None:
    """Also where megabytes of it are still on their way when the process has ended: it did its work. The next one gets a new environment."""

    async def scenario() -> None:
        async with serve(timeout=5) as emulator:
            for _ in range(5):
                result = await emulator.invoke(event("begin:response:5000000 fill:5000000 exit:3"))
                assert (result.error_type, len(result.payload)) == ("", 5_000_000)
            assert [record.is_cold for record in emulator.records] == [True] * 5

    run(scenario())


def test_who_never_asks_again_keeps_nobody_else_from_an_answer(serve: Serve) -> None:
    """What takes too long after its answer costs the next invocation time, and not its answer, and is ended."""

    async def scenario() -> None:
        async with serve(timeout=SHORT) as emulator:
            first = await ask(emulator, "answer silent")
            second = await ask(emulator, "answer exit:3")
            third = await ask(emulator)
            assert len({value["pid"] for value in (first, second, third)}) == 3
            assert [record.result.status for record in emulator.records] == ["", "", ""]

    run(scenario())


@pytest.mark.parametrize("size", [6 * 1024 * 1024 + 100, 6 * 1024 * 1024 + 101, 20_000_000])
def test_a_response_has_its_limit(serve: Serve, size: int) -> None:
    """To the byte. The environment serves on."""

    async def scenario() -> None:
        async with serve(timeout=5) as emulator:
            result = await emulator.invoke(event(f"begin:response:{size} fill:{size} hear"))
            if size <= 6 * 1024 * 1024 + 100:
                assert len(result.payload) == size
            else:
                assert error_of(result)[0] == "Function.ResponseSizeTooLarge"
            assert (await ask(emulator))["heard"] == ([202] if size <= 6 * 1024 * 1024 + 100 else [413])

    run(scenario())


def test_a_response_that_breaks_off_is_none(serve: Serve) -> None:
    """Its connection ended before all of it came."""

    async def scenario() -> None:
        async with serve(timeout=5) as emulator:
            assert (await fail(emulator, "begin:response:100 fill:50 hang-up"))[0] == "Runtime.TruncatedResponse"

    run(scenario())


@pytest.mark.parametrize("begun", ["begin:response:100", "begin:response:100 fill:50"])
@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("raise:9", "with error: signal: killed"),
        ("exit:1", "with error: exit status 1"),
        ("exit:0", "without providing a reason"),
    ],
)
def test_a_runtime_that_ends_in_the_midst_of_its_response_is_told_as_ended(
    serve: Serve, begun: str, do: str, said: str
) -> None:
    """How it ended says more than that its response broke off, which the kernel makes known first."""

    async def scenario() -> None:
        async with serve(timeout=5) as emulator:
            assert await fail(emulator, f"{begun} {do}") == (EXIT_ERROR, f"Runtime exited {said}")

    run(scenario())


# Time


def test_a_timeout_ends_all_that_the_function_started(serve: Serve, actor: str) -> None:
    """In its group, in sessions of their own, orphans, deaf to SIGTERM; with an environment that was wiped, where it was seen before that."""
    wiped = f'(env -i {actor} sleep:0 & env -i setsid {actor} ignore:15 sleep:0 & sleep 0.3) >/dev/null & exec "$@"'

    async def scenario() -> None:
        async with serve(around=wiped, timeout=0.6) as emulator:
            began = time.perf_counter()
            assert await fail(emulator, "ignore:15 fork:0 leave:0 leave:0 sleep:0") == (
                TIMED_OUT,
                "Task timed out after 0.60 seconds",
            )
            assert 0.6 <= time.perf_counter() - began < 2
            folder = emulator_folder(emulator)
            await until(lambda: not processes_in(folder))
            emulator.records.clear()
            assert await ask(emulator, "sleep:10 answer")

    run(scenario())


@pytest.mark.parametrize(
    "script",
    [
        'setsid "$0" & exit',  # one after the other, each in a session of its own
        '"$0" & exit',
        "for i in $(seq 300); do setsid sleep 600 & done; sleep 600",
        'echo >>"$0.log"; [ $(wc -l <"$0.log") -gt 200 ] && exec sleep 600; setsid "$0" & "$0" & exec sleep 600',
    ],
    ids=["sessions", "chain", "many", "tree"],
)
def test_what_starts_others_while_it_is_killed_ends_too(serve: Serve, folder: Path, script: str) -> None:
    """However it runs ahead."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    async def scenario() -> None:
        async with serve(around=f'{program} & exec "$@"', timeout=0.2) as emulator:
            assert (await fail(emulator, "sleep:0"))[0] == TIMED_OUT

    for _ in range(3):
        run(scenario())
        assert processes_in(folder) == set()


def test_an_init_that_takes_too_long_is_tried_again_in_the_time_of_the_invocation(serve: Serve) -> None:
    """It has what is left of that; and such an init is no part of REPORT."""

    async def scenario() -> None:
        async with serve(
            around='mkdir tried && exec sleep 600; sleep 0.2; exec "$@"', init_timeout=0.3, timeout=0.6
        ) as emulator:
            result = await emulator.invoke(event("answer"))
            assert not result.failed
            report = report_of(result)
            assert 200 <= float(report["Duration"].removesuffix(" ms")) < 600
            assert "Init Duration" not in report
            assert emulator.records[0].environment == 2
            os.rmdir(f"{emulator.function.folder}/tried")
            await emulator.renew()
            assert await fail(emulator, "sleep:0") == (TIMED_OUT, "Task timed out after 0.60 seconds")
            assert 0.6 <= float(report_of(emulator.records[-1].result)["Duration"].removesuffix(" ms")) / 1000 < 0.9

    run(scenario())


def test_an_init_that_never_ends_is_told(serve: Serve) -> None:
    """After both times. What it logged is the invocation's."""

    async def scenario() -> None:
        async with serve("say:1:6869", "sleep:0", init_timeout=0.2, timeout=SHORT) as emulator:
            result = await emulator.invoke(event())
            assert error_of(result)[0] == TIMED_OUT
            assert result.status == "timeout"
            assert SHORT + 0.2 <= emulator.records[0].seconds < SHORT + 1.2
            assert lines_of(result)[0] == start_line(result.request_id, "$LATEST")
            assert lines_of(result)[1] == "hi"
            assert report_of(result)["Status"] == "timeout"

    run(scenario())


# Init


def test_an_init_that_fails_is_told_to_each_caller(serve: Serve) -> None:
    """In the runtime's own words, and none of its processes lives on."""
    body = '{"errorType":"NoDatabase","errorMessage":"gone"}'

    async def scenario() -> None:
        async with serve("say:2:6869", f"post:init:{hexed(body)}", "leave:0", "exit:1") as emulator:
            for number in (1, 2):
                result = await emulator.invoke(event())
                assert error_of(result) == ("NoDatabase", "gone")
                assert emulator.records[-1].environment == number
                assert "hi" in lines_of(result)
                assert report_of(result)["Status"] == "error"

    run(scenario())


@pytest.mark.parametrize("words", [("exit:7",), ("ask", "sleep:20", "exit:7")], ids=["before", "after it asked"])
def test_a_runtime_that_ends_before_its_first_invocation_is_told(serve: Serve, words: tuple[str, ...]) -> None:
    """It is not started again and again."""

    async def scenario() -> None:
        async with serve(*words) as emulator:
            assert await fail(emulator) == (EXIT_ERROR, "Runtime exited with error: exit status 7")
            assert report_of(emulator.records[0].result)["Status"] == "error"

    run(scenario())


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("missing", None, "No such file or directory"),
        ("plain", 0o644, "Permission denied"),
        ("text", 0o755, "Exec format error"),
        (".", None, "Permission denied"),
    ],
)
def test_a_command_that_can_not_be_started_is_told(folder: Path, name: str, mode: int | None, said: str) -> None:
    """By its name."""
    path = folder / name
    if mode is not None:
        path.write_text("?")
        path.chmod(mode)

    async def scenario() -> None:
        async with Emulator(function_of(path, folder=folder)) as emulator:
            assert await fail(emulator) == ("Runtime.InvalidEntrypoint", f"{said}: {path}")
            assert await fail(emulator) == ("Runtime.InvalidEntrypoint", f"{said}: {path}")

    run(scenario())


def test_a_folder_that_is_not_there_is_told(folder: Path, bootstrap: Path) -> None:
    """As what is missing."""

    async def scenario() -> None:
        async with Emulator(function_of(bootstrap, "serve", folder=folder / "gone")) as emulator:
            assert await fail(emulator) == (
                "Runtime.InvalidEntrypoint",
                f"No such file or directory: {folder / 'gone'}",
            )

    run(scenario())


def test_a_runtime_is_told_what_lambda_tells(serve: Serve, folder: Path) -> None:
    """Its variables, those of its environment, its folder; and it has no descriptors but the three."""

    async def scenario() -> None:
        async with serve(concurrency=2, variables={"MINE": "é"}) as emulator:
            first, second = await asyncio.gather(ask(emulator, "sleep:50 describe"), ask(emulator, "sleep:50 describe"))
            seen = [dict(line.split("=", 1) for line in value["environment"]) for value in (first, second)]
            (pid, *_) = processes_in(folder)

            assert first["descriptors"] == second["descriptors"] == [0, 1, 2]
            assert [variables["MINE"] for variables in seen] == ["Ã©"] * 2
            assert all(variables["AWS_LAMBDA_FUNCTION_NAME"] == "tested" for variables in seen)
            assert len({variables["AWS_LAMBDA_RUNTIME_API"] for variables in seen}) == 2
            assert len({variables["AWS_LAMBDA_LOG_STREAM_NAME"] for variables in seen}) == 2
            assert os.readlink(f"/proc/{pid}/cwd") == str(folder)
            assert "Lambda-Runtime-Deadline-Ms: " in first["head"]

    run(scenario())


# The log


def test_the_log_has_the_lines_of_lambda_around_every_invocation(serve: Serve) -> None:
    """START, what it said, END, REPORT; the init is told of once."""
    written: list[tuple[int, bytes]] = []

    async def scenario() -> None:
        async with serve("say:1:" + hexed("init\n"), "serve", write=lambda *line: written.append(line)) as emulator:
            results = [await emulator.invoke(event("say:2:" + hexed("a\nb") + " answer")) for _ in range(2)]
            for result in results:
                start, a, b, end, report = lines_of(result)
                assert (start, a, b) == (start_line(result.request_id, "$LATEST"), "a", "b")
                assert end == end_line(result.request_id)
                assert report.startswith(f"REPORT RequestId: {result.request_id}\tDuration: ")
            first, second = map(report_of, results)
            assert first.keys() - second.keys() == {"Init Duration"}
            assert first["Memory Size"] == "128 MB"
            billed, *parts = (
                float(first[name].removesuffix(" ms")) for name in ("Billed Duration", "Duration", "Init Duration")
            )
            assert 0 <= billed - sum(parts) < 1.1
            assert written[0] == (1, b"init")
            assert [line for _, line in written[1:]] == [line for result in results for line in result.log.splitlines()]

    run(scenario())


def test_the_memory_is_that_of_the_whole_tree(serve: Serve) -> None:
    """A child of 50 MB shows, and what was once used is remembered."""
    large = f"{sys.executable} -S -c \"import sys; x = b'x' * 50_000_000; sys.stdin.read()\""

    async def scenario() -> None:
        async with serve(timeout=10) as emulator:
            small = report_of(await emulator.invoke(event("answer")))
            assert 0 < int(small["Max Memory Used"].removesuffix(" MB")) < 10
        async with serve(around=f'{{ sleep 0.6; }} | {large} & sleep 0.3; exec "$@"', timeout=10) as emulator:
            for _ in range(2):
                report = report_of(await emulator.invoke(event("sleep:500 answer")))
                assert 50 <= int(report["Max Memory Used"].removesuffix(" MB")) < 90

    run(scenario())


def test_a_caller_gets_the_last_4_kib_of_the_log(serve: Serve) -> None:
    """Of its own invocation."""

    async def scenario() -> None:
        async with serve() as emulator:
            result = await emulator.invoke(event(f"say:1:{hexed('é' * 3000)} answer"))
            assert len(result.log) == 4096
            assert lines_of(result)[-1].startswith("REPORT")
            assert len((await emulator.invoke(event("answer"))).log) < 1000

    run(scenario())


def test_the_log_takes_any_bytes(serve: Serve) -> None:
    """Lines of megabytes come in parts, and what is no text comes as it is."""
    written: list[bytes] = []
    said = [bytes(range(256)).replace(b"\n", b""), b"\0\xff\xfe", b"x" * 1_000_000]

    async def scenario() -> None:
        async with serve(timeout=10, write=lambda _, line: written.append(line)) as emulator:
            await emulator.invoke(event(" ".join("say:1:" + hexed(line + b"\n") for line in said) + " answer"))

        lines = written[1:-2]
        assert lines[:2] == said[:2]
        assert b"".join(lines[2:]) == said[2]
        assert len(lines) <= 2 + 4

    run(scenario())


def test_who_logs_without_end_keeps_nobody_waiting(serve: Serve) -> None:
    """Neither the time limit of its own invocation, nor other environments."""
    around = 'if mkdir first; then yes & yes 1>&2 & fi 2>/dev/null; exec "$@"'

    async def scenario() -> None:
        async with serve(around=around, timeout=2, concurrency=2) as emulator:
            flooding = asyncio.create_task(emulator.invoke(event("sleep:0")))
            await asyncio.sleep(0.3)
            began = time.perf_counter()
            await ask(emulator)
            await ask(emulator)
            assert time.perf_counter() - began < 1.5
            assert error_of(await flooding)[0] == TIMED_OUT
            assert emulator.records[-1].seconds < 4

    run(scenario())


# Environments


def test_the_one_that_was_used_last_is_used_next(serve: Serve) -> None:
    """As Lambda does, so that others may be idle. As many as are asked for at once are there, and no more."""

    async def scenario() -> None:
        async with serve(concurrency=3) as emulator:
            await asyncio.gather(ask(emulator, "sleep:50 answer"), ask(emulator, "sleep:50 answer"))
            assert emulator.busy == 0
            slow = asyncio.create_task(ask(emulator, "sleep:100 answer"))
            await asyncio.sleep(0)
            assert emulator.busy == 1
            quick = [(await ask(emulator))["pid"] for _ in range(5)]
            assert len(set(quick)) == 1
            last = (await slow)["pid"]
            assert last not in quick
            assert [(await ask(emulator))["pid"] for _ in range(5)] == [last] * 5
            assert {record.environment for record in emulator.records} == {1, 2}

    run(scenario())


def test_more_than_may_run_at_once_are_throttled(serve: Serve) -> None:
    """And nothing becomes of them."""

    async def scenario() -> None:
        async with serve(concurrency=2) as emulator:
            came = await asyncio.gather(*[ask(emulator, "sleep:50 answer") for _ in range(5)], return_exceptions=True)
            assert [isinstance(one, Throttled) for one in came] == [False, False, True, True, True]
            assert len(emulator.records) == 2
            await ask(emulator)

    run(scenario())


def test_one_that_died_in_its_sleep_is_replaced(serve: Serve, folder: Path) -> None:
    """What it left is ended at once, and not when somebody asks next, who gets a good answer."""

    async def scenario() -> None:
        async with serve() as emulator:
            before = await ask(emulator, "leave:0 fork:0 answer")
            os.kill(before["pid"], signal.SIGKILL)
            await until(lambda: not processes_in(folder))
            after = await ask(emulator)
            assert (after["count"], after["pid"] == before["pid"]) == (1, False)
            assert emulator.records[-1].is_cold

    run(scenario())


def test_a_function_that_has_changed_gets_new_environments(serve: Serve) -> None:
    """Those that are idle end at once, those that are busy when they have answered."""

    async def scenario() -> None:
        async with serve(concurrency=2) as emulator:
            both = await asyncio.gather(ask(emulator, "sleep:50 answer"), ask(emulator, "sleep:50 answer"))
            busy = asyncio.create_task(ask(emulator, "sleep:100 answer"))
            await asyncio.sleep(0.02)
            await emulator.renew()
            after = await ask(emulator)
            old = await busy
            assert old["pid"] in {value["pid"] for value in both}
            assert after["count"] == 1
            await until(lambda: processes_in(emulator_folder(emulator)) == {after["pid"]})
            assert (await ask(emulator))["pid"] == after["pid"]

    run(scenario())


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("after", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_the_end_leaves_nothing_whenever_it_comes(serve: Serve, folder: Path, after: float, freeze: bool) -> None:
    """In the midst of inits, of invocations and between them. Each caller is told something; who comes later is refused."""

    async def scenario() -> None:
        async with serve(
            concurrency=4, timeout=30, freeze=freeze, around='leave() { setsid sleep 600 & }; leave; exec "$@"'
        ) as emulator:
            idle = await asyncio.gather(*[ask(emulator, "leave:0 answer") for _ in range(2)]) if after == 0.05 else []
            assert len(idle) in (0, 2)
            callers = [asyncio.create_task(emulator.invoke(event("fork:0 leave:0 sleep:0"))) for _ in range(3)]
            await asyncio.sleep(after)
        for result in await asyncio.gather(*callers, return_exceptions=True):
            if isinstance(result, RuntimeError):  # its environment was idle, and not there any more when it was to wake
                assert freeze
                continue
            assert not isinstance(result, BaseException)
            assert error_of(result) == (EXIT_ERROR, "Runtime exited with error: signal: killed")
        assert processes_in(folder) == set()
        with pytest.raises(RuntimeError, match="closed"):
            await emulator.invoke(event())

    run(scenario())


@pytest.mark.parametrize("after", [0.0, 0.001, 0.005, 0.1])
@pytest.mark.parametrize("init", [0, 50])
def test_an_invocation_for_which_nobody_waits_any_more_ends_with_its_environment(
    serve: Serve, folder: Path, after: float, init: int
) -> None:
    """Lambda's own goes on; but who gave up here would find it busy for ever."""

    async def scenario() -> None:
        async with serve(f"sleep:{init or 1}", "serve", timeout=30) as emulator:
            caller = asyncio.create_task(emulator.invoke(event("leave:0 sleep:0")))
            await asyncio.sleep(after)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert emulator.busy == 0
            await until(lambda: not processes_in(folder))
            assert (await ask(emulator))["count"] == 1

    run(scenario())


def test_who_gives_up_on_a_second_init_leaves_nothing(serve: Serve, folder: Path) -> None:
    """The environment that was started in place of the first is given back as well."""

    async def scenario() -> None:
        async with serve("sleep:0", init_timeout=0.1, timeout=30) as emulator:
            caller = asyncio.create_task(emulator.invoke(event()))
            await asyncio.sleep(0.3)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert emulator.busy == 0
            await until(lambda: not processes_in(folder))

    run(scenario())


# Freezing


def test_all_of_an_environment_is_stopped_between_its_invocations(serve: Serve, folder: Path, actor: str) -> None:
    """The runtime, what it started, in other sessions too; for the next one all goes on, in the same processes."""

    async def scenario() -> None:
        around = f'({actor} leave:0 fork:0) & exec "$@"'
        async with serve(around=around, freeze=True, concurrency=2, timeout=5) as emulator:
            first = await ask(emulator, "leave:0 fork:0 sleep:50 answer")
            await until(lambda: states_in(folder) == ["T"] * 5)
            await asyncio.sleep(0.1)
            assert states_in(folder) == ["T"] * 5
            second = asyncio.create_task(ask(emulator, "sleep:500 answer"))
            await until(lambda: "T" not in states_in(folder), within=2)
            assert (await second)["pid"] == first["pid"]
            await until(lambda: states_in(folder) == ["T"] * 5)

    run(scenario())


def test_a_process_that_starts_others_is_frozen_with_them(serve: Serve, folder: Path) -> None:
    """What was being started while the others were stopped is stopped as well."""

    async def scenario() -> None:
        around = '(for i in 1 2 3 4 5 6 7 8; do while :; do /bin/true; done & done); exec "$@"'
        async with serve(around=around, freeze=True, timeout=5) as emulator:
            for number in range(1, 6):
                assert (await ask(emulator))["count"] == number
                await until(
                    lambda: set(states_in(folder)) <= {"T", "D"}
                )  # D: waits for one that it has started with vfork
                assert (before := cpu_time(folder)) >= 0
                await asyncio.sleep(0.05)
                assert cpu_time(folder) == before

    run(scenario())


def test_an_invocation_that_comes_while_its_environment_is_being_frozen_is_answered(serve: Serve) -> None:
    """At any moment of that."""

    async def scenario() -> None:
        async with serve(around='setsid sleep 600 & exec "$@"', freeze=True, timeout=5) as emulator:
            for number in range(1, 101):
                assert (await ask(emulator))["count"] == number
                await asyncio.sleep(random.choice([0, 0, 0.001, 0.003, 0.01]))  # noqa: S311 - any moment

    run(scenario())


@pytest.mark.parametrize("words", [(), REGISTERED], ids=["alone", "registered"])
def test_a_frozen_environment_ends_as_others(serve: Serve, folder: Path, words: tuple[str, ...]) -> None:
    """It is woken where it is told before."""

    async def scenario() -> None:
        async with serve("note:notes", *words, "serve", freeze=True) as emulator:
            await ask(emulator, "leave:0 answer")
            await until(lambda: len(states_in(folder)) >= 2 and set(states_in(folder)) == {"T"})
        assert ("SIGTERM" in (folder / "notes").read_text()) is bool(words)

    run(scenario())


# The end


def test_who_is_registered_as_an_extension_is_told_of_the_end(serve: Serve, folder: Path) -> None:
    """After a timeout, after a change, and at the end; others are not."""

    async def scenario() -> None:
        async with serve("note:notes", *REGISTERED, "serve", timeout=SHORT) as emulator:
            pids = [(await ask(emulator))["pid"]]
            await fail(emulator, "sleep:0")
            pids.append((await ask(emulator))["pid"])
            await emulator.renew()
            pids.append((await ask(emulator))["pid"])
        told = [line for line in (folder / "notes").read_text().splitlines() if line.endswith("SIGTERM")]
        assert sorted(told) == sorted(f"{pid} SIGTERM" for pid in pids)
        async with serve("note:others", "serve", timeout=SHORT) as emulator:
            await ask(emulator)
            await fail(emulator, "sleep:0")
            await ask(emulator)
        assert "SIGTERM" not in (folder / "others").read_text()

    run(scenario())


def test_who_does_not_heed_it_has_half_a_second(serve: Serve) -> None:
    """Then it is killed."""

    async def scenario() -> None:
        emulator = serve("ignore:15", *REGISTERED, "serve")
        await ask(emulator)
        began = time.perf_counter()
        await emulator.close()
        assert 0.5 <= time.perf_counter() - began < 1
        emulator = serve("ignore:15", "serve")
        await ask(emulator)
        began = time.perf_counter()
        await emulator.close()
        assert time.perf_counter() - began < 0.4

    run(scenario())


def test_an_extension_is_waited_for(serve: Serve) -> None:
    """The init is over when it waits too, whoever of the two comes first; an init in which it never does has no end."""
    register = f"register:{hexed('{}')}"

    async def scenario() -> None:
        async with serve("at:1", register, "at:0", "ask", "sleep:100", "at:1", "event", "at:0", "serve") as emulator:
            assert (await ask(emulator))["count"] == 1
            assert float(report_of(emulator.records[0].result)["Init Duration"].removesuffix(" ms")) >= 100
        async with serve("at:1", register, "at:0", "serve", init_timeout=0.1, timeout=0.1) as emulator:
            assert (await fail(emulator))[0] == TIMED_OUT

    run(scenario())


# Many


def test_each_of_many_callers_gets_its_own_answer(serve: Serve) -> None:
    """200 at once on 8 environments; who is throttled tries again."""

    async def scenario() -> None:
        async with serve(concurrency=8, timeout=10) as emulator:
            await asyncio.gather(*[patient(emulator, number) for number in range(200)])
            assert len(emulator.records) == 200
            assert {record.environment for record in emulator.records} == set(range(1, 9))

    run(scenario())


async def patient(emulator: Emulator, number: int, do: str = "answer") -> Result:
    """What comes of it in the end."""
    invocation = event(do, number=number)
    while True:
        try:
            result = await emulator.invoke(invocation)
        except Throttled:
            await asyncio.sleep(0.002)
            continue
        assert result.request_id == invocation.request_id
        if not result.failed:
            value = json.loads(result.payload)
            assert (value["event"]["number"], value["id"]) == (number, invocation.request_id)
        return result


@pytest.mark.parametrize("freeze", [False, True])
def test_none_is_lost_while_environments_are_killed(serve: Serve, folder: Path, freeze: bool) -> None:
    """At random, in any state of theirs: each caller gets its answer, or Lambda's error, soon."""
    chance = random.Random(1)  # noqa: S311 - the same at every run

    async def scenario() -> None:
        async with serve(concurrency=8, timeout=10, freeze=freeze) as emulator:
            callers = [asyncio.create_task(patient(emulator, number, "sleep:5 answer")) for number in range(200)]
            while not all(caller.done() for caller in callers):
                for pid in processes_in(folder):
                    if chance.random() < 0.3:
                        kill_if_there(pid)
                await asyncio.sleep(0.01)
            results = [caller.result() for caller in callers]
            failed = [error_of(result) for result in results if result.failed]
            assert len(results) == len(emulator.records) == 200
            assert 0 < len(failed) < 200
            assert set(failed) == {(EXIT_ERROR, "Runtime exited with error: signal: killed")}
            assert max(record.seconds for record in emulator.records) < 10
            assert emulator.busy == 0

    run(scenario())


def kill_if_there(pid: int) -> None:
    """As somebody else might."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    ends(pid, within=1)


def test_what_is_remembered_has_its_limits(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes; whoever wants all is told of each as it comes."""
    seen: list[Record] = []

    async def scenario() -> None:
        async with serve(kept=3, seen=seen.append) as emulator:
            for number in range(5):
                await ask(emulator, number=number)
            assert list(emulator.records) == seen[-3:]
            assert len(seen) == 5
            monkeypatch.setattr(emulators, "KEPT_BYTES", 10_000)
            await ask(emulator, text="x" * 4000)
            await ask(emulator, text="x" * 4000)
            assert list(emulator.records) == seen[-1:]

    run(scenario())


def test_environments_that_come_and_go_and_leave_nothing(serve: Serve) -> None:
    """No descriptor, no port, no task and no process of each."""

    async def scenario() -> None:
        us = psutil.Process()
        async with serve() as emulator:
            await ask(emulator)
            await asyncio.sleep(0.1)
            before = us.num_fds(), len(asyncio.all_tasks())
            for _ in range(20):
                await fail(emulator, "leave:0 exit:1")
            await ask(emulator)
            await until(lambda: (us.num_fds(), len(asyncio.all_tasks())) == before)
            listening = [one for one in us.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
            assert len(listening) == 1

    run(scenario())


def cpu_time(folder: Path) -> float:
    """Seconds that the processes in that folder have worked."""
    times = [psutil.Process(pid).cpu_times() for pid in processes_in(folder)]
    return sum(time.user + time.system for time in times)


def emulator_folder(emulator: Emulator) -> Path:
    """Where its functions run."""
    return Path(emulator.function.folder)
