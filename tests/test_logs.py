"""The log: it never blocks, keeps what it can, and counts what it can't."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from shim.logs import CAPACITY, LONGEST_LINE, Log, StandardError

if TYPE_CHECKING:
    from collections.abc import Callable


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


def read_all(descriptor: int) -> bytes:
    data = bytearray()
    while chunk := os.read(descriptor, 65536):
        data += chunk
    return bytes(data)
