"""The log: it never blocks, keeps what it can, and counts what it can't."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import shim
from shim import logs
from shim.invocation import timestamp
from shim.logs import CAPACITY, LONGEST_LINE, RESERVE, Log, StandardError, function_log
from shim.records import Records
from shim.testing import LambdaContext, capture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def collect(chunks: list[bytes], tail_bytes: int = 100) -> tuple[list[bytes], str]:
    lines: list[bytes] = []
    stderr = StandardError(lambda data: lines.append(bytes(data)), tail_bytes)
    for chunk in chunks:
        stderr.feed(chunk)
    stderr.close()
    return lines, stderr.tail


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(0, 50))
def test_every_byte_reaches_the_log_once_in_order_and_the_last_line_is_ended(chunks: list[bytes], tail: int) -> None:
    lines, _ = collect(chunks, tail)
    written = b"".join(chunks)

    assert b"".join(lines) == (written if not written or written.endswith(b"\n") else written + b"\n")


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda chunk: b"\n" not in chunk), min_size=1))
def test_a_line_is_given_on_whole(chunks: list[bytes]) -> None:
    lines, _ = collect([*chunks, b"\n", b"x"])

    assert lines == [b"".join(chunks) + b"\n", b"x\n"]


@given(st.text(), st.integers(1, 60))
def test_the_tail_is_the_end_of_what_was_written_from_a_whole_character_on(text: str, size: int) -> None:
    text = text.rstrip("\n")
    data = text.encode()
    _, tail = collect([data[:7], data[7:]] if len(data) > 7 else [data or b"\n"], size)

    assert text.endswith(tail)
    assert len(data) - len(tail.encode()) <= max(len(data) - size, 0) + 3


def test_a_tail_of_nothing_is_nothing() -> None:
    assert collect([b"a lot\n"], 0) == ([b"a lot\n"], "")


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert collect([b"a\xff\x80\x80\x80\x80b"])[1] == "a\ufffd\ufffd\ufffd\ufffd\ufffdb"


def test_a_line_without_an_end_is_given_on_in_pieces() -> None:
    lines, _ = collect([b"x" * 10_000] * 10)

    assert b"".join(lines) == b"x" * 100_000 + b"\n"
    assert max(map(len, lines)) <= LONGEST_LINE + 10_000


def test_a_log_that_nobody_reads_blocks_nobody_and_what_is_dropped_is_counted() -> None:
    """A pipe that is full, then read again: all that it says adds up."""
    read, write = os.pipe()
    log = Log(write)
    line = b"y" * 99 + b"\n"
    count = 2 * CAPACITY // len(line)
    for _ in range(count):
        log.add(line)
    assert log.descriptor == write

    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_all(read)))
    reader.start()
    log.settle(5, float("inf"))
    log.note("the end")
    os.close(write)
    reader.join()
    os.close(read)

    lines = bytes(received).splitlines(keepends=True)
    kept = lines.count(line)
    (dropped,) = [int(word) for word in b"".join(lines[kept:-1]).split() if word.isdigit()]
    assert lines[-1] == b"shim: the end\n"
    assert kept * len(line) + dropped == count * len(line)
    assert kept * len(line) >= CAPACITY - len(line)


def test_a_log_whose_reader_has_gone_is_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(write)
    log.add(b"lost\n")

    assert log.descriptor is None
    os.close(write)
    log.add(b"lost, too\n")

    assert log.descriptor is None


def test_settling_ends_when_the_log_takes_nothing() -> None:
    read, write = os.pipe()
    log = Log(write)
    log.add(b"z" * 200_000)
    log.settle(0.01, float("inf"))

    assert log.descriptor == write
    os.close(read)
    os.close(write)


def test_what_was_dropped_is_said_though_the_reader_takes_only_a_little_at_a_time() -> None:
    """Also where all that waited is out, and the pipe is full just then."""
    read, write = os.pipe()
    log = Log(write)
    log.add(b"y" * (CAPACITY - 1) + b"\n")
    log.add(b"z" * CAPACITY + b"\n")
    received = bytearray()
    while log.descriptor is not None:
        received += os.read(read, 4096)
        log.push()
    os.close(write)
    received += read_all(read)
    os.close(read)

    assert received.endswith(b"shim: the log took no more: %d bytes were dropped\n" % (CAPACITY + 1))


def test_an_interrupt_at_any_moment_doubles_no_line(
    interrupted: Callable[[Callable[[], object], float], None],
) -> None:
    descriptor = os.memfd_create("log")
    log = Log(descriptor)

    def add(number: int) -> None:
        for part in range(10):
            log.add(b"%d.%d\n" % (number, part))

    for number in range(3000):
        interrupted(partial(add, number), 0.000001 + number % 20 * 0.000001)
    written = Counter(os.pread(descriptor, 1_000_000, 0).splitlines())
    os.close(descriptor)

    assert max(written.values()) == 1
    assert len(written) > 100


def test_lines_of_several_threads_do_not_mix() -> None:
    read, write = os.pipe()
    log = Log(write)
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_all(read)))
    reader.start()

    def say(letter: bytes) -> Callable[[], None]:
        def run() -> None:
            for _ in range(200):
                log.add(letter * 300 + b"\n")
                log.settle(5, float("inf"))

        return run

    threads = [threading.Thread(target=say(letter)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.settle(5, float("inf"))
    os.close(write)
    reader.join()
    os.close(read)

    assert sorted(set(bytes(received).splitlines())) == [b"a" * 300, b"b" * 300, b"c" * 300]
    assert len(received.splitlines()) == 600


def in_json(descriptor: int, level: str = "INFO") -> Log:
    return Log(descriptor, Records(level, clock=timestamp))


def test_a_log_in_json_that_nobody_reads_counts_what_the_child_wrote_and_not_what_was_made_of_it() -> None:
    """Records are longer than lines; what was dropped is said in bytes of the lines, in a record, whatever the level."""
    read, write = os.pipe()
    log = in_json(write)
    take = log.of_child(request_id="an-id", stream="stderr")
    line = b"y" * 99 + b"\n"
    count = 2 * CAPACITY // len(line)
    for _ in range(count):
        take(line)
    assert log.descriptor == write

    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(read_all, read)
        log.settle(5, float("inf"))
        log.note("the end")
        os.close(write)
        made = [json.loads(text) for text in received.result().splitlines()]
    os.close(read)

    kept = [record for record in made if record.get("stream") == "stderr"]
    loss, end = made[len(kept) :]
    (dropped,) = re.findall(r"the log took no more: (\d+) bytes were dropped", loss["message"])
    assert len(kept) * len(line) + int(dropped) == count * len(line)
    assert len(kept) * 200 > CAPACITY - 64 * 1024 - 200
    assert (loss["level"], loss["logger"]) == ("WARN", "shim")
    assert end["message"] == "the end"


@pytest.mark.parametrize("level", ["ERROR", "FATAL"])
def test_no_level_keeps_back_that_something_was_dropped(level: str) -> None:
    read, write = os.pipe()
    log = in_json(write, level)
    take = log.of_child(request_id=None, stream="stderr")
    for _ in range(2 * CAPACITY // 100):
        take(b'{"level":"FATAL","text":"%s"}\n' % (b"y" * 80))
    log.note("not heard at that level")
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(read_all, read)
        log.settle(5, float("inf"))
        os.close(write)
        last = json.loads(received.result().splitlines()[-1])
    os.close(read)

    assert "bytes were dropped" in last["message"]


@pytest.mark.parametrize("json_format", [False, True])
def test_there_is_room_for_what_we_say_where_there_is_none_for_a_child(json_format: bool) -> None:
    """On a line of its own, even where the end of a child's line was dropped; and it is bounded, too."""
    read, write = os.pipe()
    log = in_json(write) if json_format else Log(write)
    take = log.of_child(request_id=None, stream="stderr")
    for _ in range(2 * CAPACITY // 1000):
        take(b"y" * 1000)
    log.say(b"ours\n")
    take(b"y" * 1000)
    for _ in range(1000):
        log.say(b"z" * 99 + b"\n")
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(read_all, read)
        log.settle(5, float("inf"))
        os.close(write)
        lines = received.result().splitlines()
    os.close(read)
    said = lines.count(b"z" * 99)

    assert lines.count(b"ours") == 1
    assert RESERVE // 100 - 10 < said < RESERVE // 100 + 20
    losses = [int(number) for number in re.findall(rb"(\d+) bytes were dropped", b"\n".join(lines))]
    kept = sum(line.count(b"y") for line in lines if b"yyy" in line)
    assert sum(losses) == 2 * CAPACITY // 1000 * 1000 + 1000 - kept + (1000 - said) * 100


@pytest.mark.parametrize(
    ("format_", "level", "sees"),
    [
        (None, None, "text"),
        ("Text", "ERROR", "text"),
        ("no format", "ERROR", "text"),
        ("JSON", None, "record"),
        ("json", "INFO", "record"),
        ("JSON", "no level", "record"),
        ("JSON", "WARN", "record"),
        ("JSON", "ERROR", "nothing"),
    ],
)
def test_the_format_is_the_functions(
    format_: str | None,
    level: str | None,
    sees: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("AWS_LAMBDA_LOG_FORMAT", format_), ("AWS_LAMBDA_LOG_LEVEL", level)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    function_log.__wrapped__().note("something is wrong")
    written = capfd.readouterr().err

    if sees == "record":
        assert json.loads(written)["message"] == "something is wrong"
    else:
        assert written == ("shim: something is wrong\n" if sees == "text" else "")


@pytest.fixture
def log_of() -> Callable[..., bytes]:
    """What stands in the function's log after one invocation of `sh`."""

    def run(script: str, *, json_level: str | None = None, **settings: Any) -> bytes:
        context = LambdaContext(timeout=20)
        with capture(log_format="JSON" if json_level else "Text", log_level=json_level) as log:
            try:
                shim.Shim("sh", args=["-c", script], output="text", **settings)({}, context)
            except shim.ShimError as error:
                run.error = error  # type: ignore[attr-defined]
        run.request_id = context.aws_request_id  # type: ignore[attr-defined]
        return log.data

    return run


def test_in_text_every_byte_of_a_child_stays_as_it_is(log_of: Callable[..., bytes]) -> None:
    assert log_of(r"""printf '\0a\377\r\n{"a": 1}\n\nlast' >&2""") == b'\0a\xff\r\n{"a": 1}\n\nlast\n'


def test_in_json_every_line_of_a_child_is_a_record_of_its_invocation(log_of: Callable[..., bytes]) -> None:
    """NUL and invalid UTF-8 too; the executable's own fields win; a note of ours is a record of that invocation as well."""
    script = r"""printf '\0a\377\n{"level": "error", "n": 12345678901234567890123}\nlast' >&2; sleep 60 & exit 0"""
    log = log_of(script, json_level="INFO", linger_ms=0).splitlines()
    raw, spliced, last, *notes = map(json.loads, log)
    request_id = log_of.request_id  # type: ignore[attr-defined]

    assert raw["message"] == "\0a\ufffd"
    assert (spliced["level"], spliced["n"]) == ("error", 12345678901234567890123)
    assert last["message"] == "last"
    assert "left 1 process behind" in notes[-1]["message"]
    assert {record["requestId"] for record in (raw, spliced, last, *notes)} == {request_id}
    assert {record["stream"] for record in (raw, spliced, last)} == {"stderr"}
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", json.loads(line)["timestamp"]) for line in log)


def test_with_a_reply_descriptor_standard_output_and_standard_error_are_both_log_in_their_order(
    log_of: Callable[..., bytes],
) -> None:
    script = "echo one; echo two >&2; echo three; echo reply >&3"
    made = [json.loads(line) for line in log_of(script, json_level="INFO", reply_fd=3).splitlines()]

    assert [record["message"] for record in made] == ["one", "two", "three"]
    assert {record["stream"] for record in made} == {"stdout+stderr"}
    assert log_of(script, reply_fd=3) == b"one\ntwo\nthree\n"


def test_the_level_filters_the_log_and_not_the_tail_of_an_error(log_of: Callable[..., bytes]) -> None:
    script = """echo raw >&2; echo '{"level": "warn"}' >&2; echo '{"level": "error"}' >&2; exit 3"""
    (record,) = log_of(script, json_level="ERROR").splitlines()

    assert json.loads(record)["level"] == "error"
    assert log_of.error.stderr_tail == 'raw\n{"level": "warn"}\n{"level": "error"}'  # type: ignore[attr-defined]


@pytest.mark.parametrize("json_level", [None, "INFO"])
def test_what_came_just_before_a_kill_is_not_lost(json_level: str | None, log_of: Callable[..., bytes]) -> None:
    log = log_of("seq 10000 >&2; kill -9 $$", json_level=json_level, linger_ms=0).splitlines()
    numbers = [int(json.loads(line)["message"] if json_level else line) for line in log]

    assert numbers == list(range(1, 10_001))


def test_each_line_bears_the_id_of_its_own_invocation_where_several_run() -> None:
    script = 'read -r line; i=0; while [ $i -lt 50 ]; do echo "$line" | cut -c -200 >&2; i=$((i+1)); done'

    def invoke(number: int) -> str:
        context = LambdaContext(timeout=50)
        runner({"number": number}, context)
        return context.aws_request_id

    with capture(log_format="JSON") as log, ThreadPoolExecutor(4) as pool:
        runner = shim.Shim("sh", args=["-c", script])
        ids = list(pool.map(invoke, range(8)))

    assert len(log.records) == 8 * 50
    assert all(f'"number":{ids.index(record["requestId"])}' in record["message"] for record in log.records)


FLOOD = """
import json, os, sys, shim
from shim.local.context import LambdaContext

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def invoke(*words):
    with shim.Shim(sys.argv[1], args=[*words, "write:1:3432"], output="json", linger_ms=100) as runner:
        return runner({}, LambdaContext(timeout=60))

invoke("fill:2:100000")
before = peak()
assert invoke(f"fill:2:{50 * 2**20}") == 42
print(peak() - before)
"""


@pytest.mark.parametrize("reader", ["reads", "stalled"])
@pytest.mark.parametrize("format_", ["Text", "JSON"])
def test_fifty_megabytes_without_a_line_feed_take_no_memory_and_block_nobody(
    reader: str, format_: str, actor: str
) -> None:
    """In a process of its own, whose peak grows by no more than what may wait for the log and what a piece takes."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOD, actor],
        env={**os.environ, "AWS_LAMBDA_LOG_FORMAT": format_},
        stdout=subprocess.PIPE,
        stderr=write,
    )
    os.close(write)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(count_letters, read) if reader == "reads" else None
        grown, _ = process.communicate(timeout=100)
        letters, losses = taken.result() if taken else count_letters(read)
    os.close(read)

    assert process.returncode == 0
    assert int(grown) < 4096  # KB
    if reader == "reads":
        assert (
            0 <= letters + losses - (50 * 2**20 + 100_000) <= 2
        )  # the line feed that the last line lacks may be dropped too
    else:
        assert letters <= 65_536


def count_letters(descriptor: int) -> tuple[int, int]:
    """How many letters x are read, and how many are said to have been dropped."""
    data = read_all(descriptor)
    return data.count(b"x"), sum(map(int, re.findall(rb"(\d+) bytes were dropped", data)))


def read_all(descriptor: int) -> bytes:
    data = bytearray()
    while chunk := os.read(descriptor, 65536):
        data += chunk
    return bytes(data)


def test_a_signals_handler_may_write_to_the_log_in_the_middle_of_a_line() -> None:
    """As ours does on SIGTERM: the lock is its own thread's."""
    read, write = os.pipe()
    log = Log(write)
    with logs._turn:  # noqa: SLF001 - where the handler finds it
        log.note("hello")

    assert os.read(read, 100) == b"shim: hello\n"
    os.close(read)
    os.close(write)


def test_a_forked_process_writes_though_another_thread_held_the_log(tmp_path: Path) -> None:
    """And it does not write what the other one has to."""
    code = (
        "import os, threading\n"
        "from shim import logs\n"
        "log = logs.function_log()\n"
        "log._pending += b'theirs\\n'\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with logs._turn:\n"
        "        held.set(); done.wait()\n"
        "threading.Thread(target=hold).start()\n"
        "held.wait()\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    log.note('hello'); os._exit(0)\n"
        "os.waitpid(forked, 0)\n"
        "log._pending.clear(); done.set()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=True, cwd=tmp_path)

    assert ended.stderr == b"shim: hello\n"
