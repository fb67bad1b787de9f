"""Whatever an ELF file's headers say, it is read as they say, or refused with one error, in bounded time and memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from shim.elf import NEEDED_MAX, VERNEED_MAX, Elf, ElfInvalid
from tests.package.corpus import Corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

REAL = ["c-dynamic", "c-static-pie", "c-with-library", "musl-dynamic", "needs-newer-glibc", "library", "upx-headers"]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
HOSTILE = st.sampled_from([0, 1, 8, 15, 16, 4095, 2**16 - 1, 2**31, 2**32 - 1, 2**47, 2**63, 2**63 + 1, 2**64 - 1])
READ_MOST = 64 << 20
"""Bytes of a file that may be asked for, by all properties together, however large it says its parts are."""


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    corpus = Corpus(tmp_path_factory.getbasetemp() / "corpus")
    return [corpus.file(name).read_bytes() for name in REAL]


@dataclass
class Counted:
    """A file of any size, zeros but for its beginning, that counts what is read of it."""

    beginning: bytes
    size: int
    filling: bytes = b"\0"
    read: int = field(default=0)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self.size)
        length = max(stop - start, 0)
        self.read += length
        assert self.read <= READ_MOST, "too much is read"
        there = self.beginning[start:stop]
        return there + (self.filling * (length // len(self.filling) + 1))[: length - len(there)]


def read_all(content: bytes | Counted) -> Elf | None:
    """Every property: each may raise ElfInvalid, and nothing else."""
    try:
        elf = Elf(content)
    except ElfInvalid:
        return None
    for name in dir(Elf):
        try:
            getattr(elf, name)
        except ElfInvalid:
            pass
    return elf


def elf_file(
    dynamic: Sequence[tuple[int, int]], tail: bytes, *, wide: bool = True, order: str = "<", at: int = 0, count: int = 2
) -> bytes:
    """A library that is loaded whole at an address, with these entries in PT_DYNAMIC, and what they point to behind them."""
    word = "Q" if wide else "I"
    head, entry = (64, 56) if wide else (52, 32)
    start = head + 2 * entry
    section = b"".join(struct.pack(f"{order}2{word}", *pair) for pair in dynamic)
    size = start + len(section) + len(tail)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    fields = (3, 0x3E, 1, 0, head, 0, 0, head, entry, count, 0, 0, 0)
    header = ident + struct.pack(f"{order}2HI3{word}I6H", *fields)

    def segment(kind: int, offset: int, length: int) -> bytes:
        rest = (offset, at + offset, at + offset, length, length)
        return struct.pack(f"{order}2I6Q", kind, 4, *rest, 8) if wide else struct.pack(f"{order}8I", kind, *rest, 4, 8)

    return header + segment(1, 0, size) + segment(2, start, len(section)) + section + tail


def place_of_tail(entries: int, *, wide: bool = True) -> int:
    return (64 + 2 * 56 + 16 * entries) if wide else (52 + 2 * 32 + 8 * entries)


@given(
    st.lists(NAMES, max_size=6),
    NAMES | st.none(),
    NAMES | st.none(),
    NAMES | st.none(),
    st.dictionaries(NAMES, st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=4), max_size=4),
    st.booleans(),
    st.sampled_from("<>"),
    st.sampled_from([0, 0x400000]),
)
def test_what_was_written_is_read(
    needed: list[str],
    soname: str | None,
    rpath: str | None,
    runpath: str | None,
    versions: dict[str, list[tuple[str, bool]]],
    wide: bool,
    order: str,
    at: int,
) -> None:
    """Of both classes, in both byte orders, at any address."""
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        place = len(strings)
        strings.extend(value.encode() + b"\0")
        return place

    dynamic = [(1, text(name)) for name in needed]
    dynamic += [(tag, text(value)) for tag, value in ((14, soname), (15, rpath), (29, runpath)) if value is not None]
    verneed = b""
    for number, (library, names) in enumerate(versions.items()):
        following = 0 if number == len(versions) - 1 else 16 + 16 * len(names)
        verneed += struct.pack(f"{order}2H3I", 1, len(names), text(library), 16, following)
        for index, (name, is_weak) in enumerate(names):
            further = 0 if index == len(names) - 1 else 16
            verneed += struct.pack(f"{order}I2H2I", 0, 2 if is_weak else 0, 0, text(name), further)
    entries = len(dynamic) + (4 if versions else 2) + 1
    tail = at + place_of_tail(entries, wide=wide)
    dynamic += [(0x6FFFFFFE, tail), (0x6FFFFFFF, len(versions))] if versions else []
    dynamic += [(5, tail + len(verneed)), (10, len(strings)), (0, 0)]
    elf = Elf(elf_file(dynamic, verneed + bytes(strings), wide=wide, order=order, at=at))
    strong = {library: tuple(name for name, is_weak in names if not is_weak) for library, names in versions.items()}

    assert (tuple(needed), soname, rpath, runpath) == (elf.needed, elf.soname, elf.rpath, elf.runpath)
    assert {library: names for library, names in strong.items() if names} == elf.versions
    assert (elf.bits, elf.byte_order) == (64 if wide else 32, "little" if order == "<" else "big")


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x7fELF" + tail))
def test_any_bytes_are_an_elf_file_or_one_clear_error(content: bytes) -> None:
    read_all(content)


@given(st.data())
def test_headers_that_lie_are_one_clear_error(real: list[bytes], data: st.DataObject) -> None:
    """Real files with some bytes changed, and cut anywhere."""
    content = bytearray(data.draw(st.sampled_from(real)))
    places = st.integers(0, min(len(content), 4096) - 1) | st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=12)):
        content[place] = value
    read_all(bytes(content[: data.draw(st.integers(0, len(content)))]))
    read_all(bytes(content))


@given(st.data())
def test_hostile_numbers_in_real_headers_are_one_clear_error(real: list[bytes], data: st.DataObject) -> None:
    """Whole fields of the ELF header, the program headers and PT_DYNAMIC, which are what all else hangs on."""
    content = bytearray(data.draw(st.sampled_from(real)))
    elf = Elf(bytes(content))
    dynamic = next((offset for kind, offset, *_ in elf._headers if kind == 2), 64)  # noqa: SLF001 # where to aim
    fields = st.integers(2, 60).map(lambda word: word * 8) | st.integers(0, 80).map(lambda word: dynamic + word * 8)
    for place, value in data.draw(st.lists(st.tuples(fields, HOSTILE), min_size=1, max_size=6)):
        struct.pack_into("<Q", content, min(place, len(content) - 8), value)
    read_all(bytes(content))
    read_all(Counted(bytes(content), 2**40))


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 5, 10, 14, 15, 29, 0x6FFFFFFB, 0x6FFFFFFE, 0x6FFFFFFF]), HOSTILE), max_size=9
    ),
    st.binary(max_size=64),
    st.sampled_from([0, 1000, 2**40, 2**62]),
    st.sampled_from([b"\0", b"\x01", b"\xff", b"\x01\x00\x00\x00"]),
)
def test_hostile_tags_in_a_file_of_any_size_are_read_in_bounds(
    dynamic: list[tuple[int, int]], tail: bytes, more: int, filling: bytes
) -> None:
    content = elf_file(dynamic, tail)
    vast = bytearray(content)
    for header in range(64, 64 + 2 * 56, 56):
        struct.pack_into("<Q", vast, header + 32, len(content) + more)
    read_all(Counted(bytes(vast), len(content) + more, filling))


def test_versions_linked_in_a_circle_or_without_end_are_refused() -> None:
    """vn_next and vna_next are offsets, so that a chain can creep on by one byte, or stay where it is for as long as a count says."""
    place = place_of_tail(5)
    dynamic = [(5, place), (10, 8), (0x6FFFFFFE, place + 8), (0x6FFFFFFF, 2**63), (0, 0)]
    creeping = b"\0abc\0\0\0\0" + b"\x01" * 200_000

    with pytest.raises(ElfInvalid, match=f"more than {VERNEED_MAX} versions|outside its table"):
        _ = Elf(elf_file(dynamic, creeping)).versions
    endless = struct.pack("<2H3I", 1, 65_535, 1, 16, 1) + struct.pack("<I2H2I", 0, 0, 0, 1, 1) * 1
    with pytest.raises(ElfInvalid):
        _ = Elf(elf_file(dynamic, b"\0abc\0\0\0\0" + endless + b"\0" * 64 + b"\1\0" * 90_000)).versions


def test_more_libraries_than_any_program_needs_are_refused() -> None:
    dynamic = [(1, 1)] * (NEEDED_MAX + 1)
    place = place_of_tail(len(dynamic) + 3)

    with pytest.raises(ElfInvalid, match=f"it needs {NEEDED_MAX + 1} libraries"):
        _ = Elf(elf_file([*dynamic, (5, place), (10, 8), (0, 0)], b"\0liba.so")).needed
