"""The reader of ELF headers: it says what real tools say, and takes any bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from shim.elf import Elf, ElfInvalid

REAL = [path for path in (shutil.which(name) for name in ("ls", "sh", "gcc", "git", "awk")) if path]


@pytest.fixture(scope="session")
def header(actor: str) -> bytes:
    return Path(actor).read_bytes()[:4096]


@pytest.mark.skipif(
    not shutil.which("readelf") and os.environ.get("CI") != "true", reason="readelf, of binutils, is not here"
)
@pytest.mark.parametrize("path", REAL)
def test_it_says_what_readelf_says(path: str) -> None:
    content = Path(path).resolve().read_bytes()
    said = subprocess.check_output(["readelf", "-lhd", path], text=True)
    elf = Elf(content)

    assert elf.needed == tuple(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", said))
    assert [elf.interpreter] == (re.findall(r"Requesting program interpreter: (.*)\]", said) or [None])
    assert f"ELF{elf.bits}" in said
    assert elf.length <= len(content)


def test_a_static_program_needs_nothing(actor: str) -> None:
    elf = Elf(Path(actor).read_bytes())

    assert elf.needed == () or elf.interpreter is not None


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x7fELF" + tail))
def test_any_bytes_are_an_elf_file_or_one_clear_error(content: bytes) -> None:
    read_all(content)


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=8), st.integers(0, 4096))
def test_headers_that_lie_are_one_clear_error(header: bytes, changes: list[tuple[int, int]], length: int) -> None:
    """Hostile offsets, counts and truncations of a real header."""
    content = bytearray(header)
    for place, value in changes:
        content[place] = value
    read_all(bytes(content[:length]))
    read_all(bytes(content))


def read_all(content: bytes) -> None:
    """Nothing but ElfInvalid may come of it."""
    try:
        elf = Elf(content)
        _ = elf.needed, elf.interpreter, elf.length
    except ElfInvalid:
        pass
