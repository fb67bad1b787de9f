"""Invocations that run later: each is run, or given up in writing."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given, settings, strategies as st

from shim.local import event_queue
from shim.local.emulator import Emulator, Throttled
from shim.local.event_queue import EventQueue
from shim.local.function import Invocation, Result
from shim.local.invoke_request import Refusal
from tests.local.canned import INVOKE, Canned, ask, streamer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shim.local.emulator import Record


ERROR = Result(b'{\n"errorType": "E"}', error_type="Function.E")
DONE = Result(b"null")


def events(count: int) -> list[Invocation]:
    return [Invocation(json.dumps({"n": number}).encode()) for number in range(count)]


def letters(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def scripted(script: Sequence[Result | Exception]) -> Callable[[Invocation], Any]:
    """What becomes of one attempt after the other."""
    rest = list(script)

    async def act(_: Invocation) -> Result:
        outcome = rest.pop(0) if rest else DONE
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return act


def run(emulator: Emulator, invocations: Sequence[Invocation], **options: Any) -> None:
    """Has them done."""

    async def story() -> None:
        async with EventQueue(emulator, **options) as queue:
            for invocation in invocations:
                queue.put(invocation)
            async with asyncio.timeout(20):
                await queue.settle()
            assert queue.size == 0

    asyncio.run(story())


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters"


def test_an_event_is_accepted_at_once_and_run_later() -> None:
    may_run = asyncio.Event()

    async def act(invocation: Invocation) -> Result:
        assert invocation.client_context is None
        await may_run.wait()
        return DONE

    async def story() -> None:
        emulator = Canned(act)
        headers = {"x-amz-invocation-type": "Event", "x-amz-client-context": "e30="}
        async with EventQueue(emulator) as queue:
            answer = await ask(emulator, INVOKE, headers=headers, queue=queue)
            assert (answer.status, answer.body, queue.size) == (202, b"", 1)
            may_run.set()
            await queue.settle()
        assert [answer.headers["x-amzn-requestid"]] == [invocation.request_id for invocation in emulator.asked]

    asyncio.run(story())


def test_what_fails_is_tried_twice_more_with_the_same_request_id_and_then_written_down(dead: Path) -> None:
    emulator = Canned(scripted([ERROR] * 3))
    (invocation,) = sent = events(1)
    began = time.monotonic()
    run(emulator, sent, dead_letters=str(dead), scale=0.002)

    assert time.monotonic() - began >= 0.12 + 0.24
    assert [asked.request_id for asked in emulator.asked] == [invocation.request_id] * 3
    assert letters(dead) == [
        {
            "requestId": invocation.request_id,
            "condition": "RetriesExhausted",
            "attempts": 3,
            "errorType": "Function.E",
            "payload": {"errorType": "E"},
            "event": {"n": 0},
        }
    ]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_what_succeeds_in_the_end_is_not_written_down(failures: int, dead: Path) -> None:
    emulator = Canned(scripted([ERROR] * failures))
    run(emulator, events(1), dead_letters=str(dead), scale=0)

    assert (len(emulator.asked), letters(dead)) == (failures + 1, [])


def test_what_is_throttled_waits_longer_each_time() -> None:
    began = time.monotonic()
    emulator = Canned(scripted([Throttled()] * 4))
    run(emulator, events(1), scale=0.02)

    assert len(emulator.asked) == 5
    assert time.monotonic() - began >= 0.02 * (1 + 2 + 4 + 8)


def test_to_be_throttled_is_no_attempt(dead: Path) -> None:
    run(Canned(scripted([Throttled(), ERROR] * 3)), events(1), scale=0, dead_letters=str(dead))

    assert [letter["attempts"] for letter in letters(dead)] == [3]


def test_what_is_throttled_keeps_its_place() -> None:
    """However few are served at a time, all begin in the order in which they were accepted."""
    began: list[bytes] = []
    busy = 0

    async def act(invocation: Invocation) -> Result:
        nonlocal busy
        if busy == 3:
            raise Throttled
        busy += 1
        began.append(invocation.event)
        await asyncio.sleep(0.001)
        busy -= 1
        return DONE

    sent = events(200)
    run(Canned(act), sent)

    assert began == [invocation.event for invocation in sent]


def test_a_fault_of_the_emulator_is_no_attempt_either_and_is_told() -> None:
    said: list[str] = []
    emulator = Canned(scripted([OSError("no descriptors")] * 5))
    run(emulator, events(1), scale=0, say=said.append)

    assert len(emulator.asked) == 6
    assert said == ["an invocation that is to run later has to wait, since OSError: no descriptors"] * 5


@pytest.mark.parametrize(
    ("script", "scale", "attempts"), [([Throttled()] * 999, 10, 0), ([Throttled()] * 999, 0.01, 0), ([ERROR] * 2, 1, 1)]
)
def test_an_event_that_is_too_old_is_given_up(
    script: list[Result | Exception], scale: float, attempts: int, dead: Path
) -> None:
    """At once, and not only when it would be tried again."""
    began = time.monotonic()
    run(Canned(scripted(script)), events(1), dead_letters=str(dead), oldest=0.1, scale=scale)
    (letter,) = letters(dead)

    assert 0.1 <= time.monotonic() - began < 5
    assert (letter["condition"], letter["attempts"]) == ("EventAgeExceeded", attempts)
    assert letter["errorType"] == ("Function.E" if attempts else None)


def test_closing_gives_up_all_in_their_order(dead: Path) -> None:
    async def act(invocation: Invocation) -> Result:
        if invocation.event == b'{"n": 0}':
            return ERROR
        if len(emulator.asked) > 2:
            three.set()
            raise Throttled
        await asyncio.Event().wait()
        return DONE

    async def story() -> None:
        async with EventQueue(emulator, dead_letters=str(dead)) as queue:
            for invocation in events(5):
                queue.put(invocation)
            await three.wait()
            async with asyncio.timeout(1):
                await queue.close()
            with pytest.raises(Refusal, match="is being closed"):
                queue.put(Invocation(b"{}"))

    emulator, three = Canned(act), asyncio.Event()
    asyncio.run(story())

    assert [(each["event"]["n"], each["condition"], each["attempts"]) for each in letters(dead)] == [
        *((0, "Shutdown", 1), (1, "Shutdown", 1), (2, "Shutdown", 0), (3, "Shutdown", 0), (4, "Shutdown", 0))
    ]


def test_without_a_file_it_is_said() -> None:
    said: list[str] = []
    (invocation,) = sent = events(1)
    run(Canned(scripted([ERROR] * 3)), sent, scale=0, say=said.append)

    assert said == [f"The invocation {invocation.request_id} is given up (RetriesExhausted, after 3 attempts)."]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the dead-letter file .* can't be written: Is a directory; name a file"):
        run(Canned(), [], dead_letters=str(tmp_path))


def test_a_file_that_is_full_is_said() -> None:
    said: list[str] = []
    run(Canned(scripted([ERROR] * 3)), events(1), dead_letters="/dev/full", scale=0, say=said.append)

    assert [sentence.partition("/dev/full")[2] for sentence in said] == [
        " can't be written: No space left on device; make room for it."
    ]


def test_letters_are_added_to_those_of_before(dead: Path) -> None:
    dead.write_text('{"requestId":"0"}\n')
    run(Canned(scripted([ERROR] * 3)), events(1), dead_letters=str(dead), scale=0)

    assert len(letters(dead)) == 2


@given(st.binary(max_size=40) | st.sampled_from([b'{"a":\r\n"\\n"}', b"[" * 3000 + b"]" * 3000, b'"\\ud800"']))
def test_a_letter_is_one_line_of_json_whatever_the_function_said(payload: bytes) -> None:
    item = event_queue.Item(0, 1, Invocation(b"{\n}"), 0, 3, Result(payload, error_type="E"))
    line = event_queue.letter(item, "RetriesExhausted")

    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    said = json.loads(line)
    try:
        expected = json.loads(payload, parse_constant=int)
    except (ValueError, RecursionError):
        expected = payload.decode(errors="replace")
    assert said["payload"] in (expected, payload.decode(errors="replace"))
    assert said["event"] == {}


OUTCOMES = st.sampled_from([DONE, ERROR, Throttled(), OSError("x")])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(OUTCOMES, max_size=6), max_size=6), st.integers(1, 3))
def test_every_event_is_done_or_given_up_after_three_attempts(scripts: list[list[Any]], places: int) -> None:
    """Whatever becomes of each attempt, and however many run at a time."""
    expected = {}
    rest = {}
    for number, script in enumerate(scripts):
        runs = [*(outcome for outcome in script if isinstance(outcome, Result)), DONE, DONE, DONE][:3]
        expected[number] = all(outcome is ERROR for outcome in runs)
        rest[f'{{"n": {number}}}'.encode()] = list(script)
    busy = 0

    async def act(invocation: Invocation) -> Result:
        nonlocal busy
        if busy == places:
            raise Throttled
        outcome = rest[invocation.event].pop(0) if rest[invocation.event] else DONE
        if isinstance(outcome, Exception):
            raise outcome
        busy += 1
        await asyncio.sleep(0)
        busy -= 1
        return outcome

    given_up: list[str] = []
    sent = events(len(scripts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_queue, "LEAST_PAUSE", 0.0001)
        run(Canned(act), sent, scale=0, say=given_up.append)

    assert {
        number: any(invocation.request_id in sentence for sentence in given_up)
        for number, invocation in enumerate(sent)
    } == expected


def test_nothing_is_lost_while_environments_are_killed(tmp_path: Path, dead: Path) -> None:
    """Every event is answered, or written down after three attempts; those that were killed were tried again."""
    count, killed = 60, 0
    records: list[Record] = []

    def seen(record: Record) -> None:
        """Kills an environment after every fourth invocation, whatever it does."""
        nonlocal killed
        records.append(record)
        if len(records) % 4 == 0 and killed < 10 and (children := psutil.Process().children()):
            children[0].kill()
            killed += 1

    async def story() -> None:
        async with (
            Emulator(streamer(timeout=10), concurrency=3, seen=seen) as emulator,
            EventQueue(emulator, dead_letters=str(dead), scale=0.0001) as queue,
        ):
            for number in range(count):
                event = {"n": number, "do": "wait", "for": str(tmp_path)}
                queue.put(Invocation(json.dumps(event).encode()))
            async with asyncio.timeout(20):
                await queue.settle()

    asyncio.run(story())
    good = {json.loads(each.invocation.event)["n"] for each in records if not each.result.failed}
    bad = {letter["event"]["n"] for letter in letters(dead)}

    assert good | bad == set(range(count))
    assert not good & bad
    assert killed == 10
