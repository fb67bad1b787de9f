"""The log of an execution environment, as lines and as the tail that a caller gets. Pure: bytes in, lines out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from shim.local.journal import LONGEST, TAIL, Journal

PIECES = st.lists(st.binary(max_size=40) | st.just(b"\n") | st.just(b"a\nb\n\nc"), max_size=20)


def fed(*pieces: bytes) -> tuple[Journal, list[bytes]]:
    """A journal that took these pieces, and the lines that it wrote."""
    lines: list[bytes] = []
    journal = Journal(lines.append)
    for piece in pieces:
        journal.feed(piece)
    return journal, lines


@given(pieces=PIECES)
def test_the_pieces_do_not_matter(pieces: list[bytes]) -> None:
    """The lines are those of all bytes together; the last one without an end comes when all is settled."""
    journal, lines = fed(*pieces)
    *whole, rest = b"".join(pieces).split(b"\n")
    assert lines == whole
    journal.settle()
    journal.settle()

    assert lines == whole + ([rest] if rest else [])


@given(pieces=PIECES, longest=st.integers(0, 5000))
def test_the_tail_is_the_end_of_all_lines(pieces: list[bytes], longest: int) -> None:
    """Since the invocation began, and no more than a caller gets."""
    journal, lines = fed(b"before\n")
    journal.begin()
    lines.clear()
    for piece in (b"x" * longest, *pieces):
        journal.feed(piece)
    journal.settle()

    assert journal.tail == b"".join(line + b"\n" for line in lines)[-TAIL:]


def test_what_is_said_is_a_line_as_well() -> None:
    """As it is, and it is in the tail."""
    journal, lines = fed(b"partial")
    journal.settle()
    journal.say(b"END")

    assert lines == [b"partial", b"END"]
    assert journal.tail == b"partial\nEND\n"


@pytest.mark.parametrize("size", [1, 1000, 65_536])
def test_a_line_without_end_is_kept_in_bounded_memory(size: int) -> None:
    """It comes in parts of which none is much longer than what is waited for, and nothing of it is lost; nor does it take ever more time."""
    pieces = (10 * LONGEST if size > 1 else 2 * LONGEST) // size
    began = time.perf_counter()
    journal, lines = fed(*[b"x" * size] * pieces, b"\n")
    took = time.perf_counter() - began

    assert max(map(len, lines)) <= LONGEST + size
    assert sum(map(len, lines)) == size * pieces
    assert len(journal.tail) == TAIL
    assert took < 5
