"""The reader of ELF headers: it says what real tools say of every program and library here, and what the corpus knows of its own."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shim.elf import ET_DYN, MAGIC, Elf, ElfInvalid, glibc_of

from .conftest import missing
from .package.corpus import TABLE, Corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec")
FACTS = sorted(name for name in TABLE if "facts" in TABLE[name])
BROKEN_ELF = ["truncated-header", "magic-alone", "wrong-class", "hostile-headers"]
NO_ELF = ["empty", "macho", "macho-universal", "windows", "zip", "text", "script-sh"]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.getbasetemp() / "corpus")


def elf_files(*folders: str) -> Iterator[str]:
    """Every ELF file there, no link, and none whose content was taken out for a debugger."""
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for path in sorted(os.path.join(parent, name) for name in names):
                if os.path.isfile(path) and not os.path.islink(path) and not path.endswith(".debug"):
                    with open(path, "rb") as file:
                        if file.read(4) == MAGIC:
                            yield path


def read_all(elf: Elf) -> dict[str, object]:
    """Every property."""
    return {name: getattr(elf, name) for name in dir(Elf) if not name.startswith("_")}


def of_readelf(said: str) -> dict[str, object]:
    """What readelf -W -h -l -d -V says, in our words."""

    def all_of(pattern: str) -> tuple[str, ...]:
        return tuple(re.findall(pattern, said))

    versions: dict[str, list[str]] = {}
    needs = said.partition("Version needs section")[2].partition("Version definition section")[0]
    for library, version, flags in re.findall(r"File: (\S+)|Name: (\S+)  Flags: (.*?)  Version", needs):
        if library:
            versions[library] = []
        elif "WEAK" not in flags:
            versions[list(versions)[-1]].append(version)
    return {
        "bits": 64 if "ELF64" in said else 32,
        "interpreter": next(iter(all_of(r"Requesting program interpreter: (.*)\]")), None),
        "needed": all_of(r"\(NEEDED\)\s+Shared library: \[(.*)\]"),
        "soname": next(iter(all_of(r"\(SONAME\)\s+Library soname: \[(.*)\]")), None),
        "rpath": next(iter(all_of(r"\(RPATH\)\s+Library rpath: \[(.*)\]")), None),
        "runpath": next(iter(all_of(r"\(RUNPATH\)\s+Library runpath: \[(.*)\]")), None),
        "versions": {library: tuple(names) for library, names in versions.items() if names},
        "skips_default_folders": bool(all_of(r"\(FLAGS_1\).*\bNODEFLIB\b")),
    }


def test_it_says_what_readelf_says_of_every_program_and_library_of_this_machine() -> None:
    if shutil.which("readelf") is None:
        missing("there is no readelf (binutils)")
    files = list(elf_files(*FOLDERS))
    wrong = []
    for start in range(0, len(files), 100):
        part = files[start : start + 100]
        command = ["readelf", "-W", "-h", "-l", "-d", "-V", *part]
        done = subprocess.run(
            command, env=os.environ | {"LC_ALL": "C"}, check=False, capture_output=True, text=True, errors="replace"
        )
        said = dict(zip(part, done.stdout.split("\nFile: ")[-len(part) :], strict=True))
        for path in part:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                elf = Elf(content)
                expected = of_readelf(said[path])
                found = {name: getattr(elf, name) for name in expected}
                if expected != found or elf.length > len(content) or elf.is_packed:
                    wrong.append((path, expected, found))

    assert len(files) > 100
    assert wrong == []


def test_no_library_of_this_machine_is_taken_for_a_static_program() -> None:
    """Both are ET_DYN without a loader. (musl's libc.so is both.)"""
    taken = []
    for path in elf_files("/usr/lib"):
        elf = Elf(Path(path).read_bytes())
        if (
            ".so" in os.path.basename(path).removeprefix("libc.so")
            and elf.type == ET_DYN
            and elf.interpreter is None
            and elf.is_static_pie
        ):
            taken.append(path)

    assert taken == []


@pytest.mark.parametrize("name", FACTS)
def test_it_says_what_the_corpus_knows(name: str, corpus: Corpus) -> None:
    expected = dict(TABLE[name]["facts"])
    elf = Elf(corpus.file(name).read_bytes())
    found = {fact: getattr(elf, fact) for fact in expected}

    assert expected == {fact: list(value) if isinstance(value, tuple) else value for fact, value in found.items()}
    assert read_all(elf)


@pytest.mark.parametrize("name", [*BROKEN_ELF, *NO_ELF])
def test_what_is_no_elf_file_is_one_error_that_says_why(name: str, corpus: Corpus) -> None:
    with pytest.raises(ElfInvalid, match=r"^it (does not begin|ends after|has class)"):
        Elf(corpus.file(name).read_bytes())


def test_a_program_that_was_cut_is_shorter_than_it_says(corpus: Corpus) -> None:
    content = corpus.file("truncated").read_bytes()

    assert Elf(content).length > len(content)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("GLIBC_2.2.5", (2, 2, 5)),
        ("GLIBC_2.34", (2, 34)),
        ("GLIBC_ABI_DT_RELR", (2, 36)),
        ("GLIBC_PRIVATE", None),
        ("GLIBC_", None),
        ("GLIBC_2.", None),
        ("GLIBC_٣", None),
        ("GLIBC_" + "9" * 5000, None),
        ("GLIBCXX_3.4", None),
        ("GCC_3.0", None),
        ("", None),
    ],
)
def test_versions_of_glibc_are_numbers(version: str, release: tuple[int, ...] | None) -> None:
    assert release == glibc_of(version)


def test_the_newest_glibc_is_the_highest_number_and_not_the_last_word(corpus: Corpus) -> None:
    """GLIBC_2.4 comes after GLIBC_2.34 in the alphabet."""
    elf = Elf(Path(sys.executable).resolve().read_bytes())
    numbers = [glibc_of(version) for versions in elf.versions.values() for version in versions]

    assert elf.glibc == max(number for number in numbers if number is not None)
    assert Elf(corpus.file("needs-newer-glibc").read_bytes()).glibc == (2, 99)


@pytest.mark.parametrize("name", ["c-dynamic", "c-static"])
def test_170_megabytes_are_read_in_10_ms(name: str, corpus: Corpus, tmp_path: Path) -> None:
    large = tmp_path / "large"
    shutil.copy(corpus.file(name), large)
    os.truncate(large, 170_000_000)
    with large.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            read_all(Elf(content))
            taken.append(time.perf_counter() - start)

    assert min(taken) < 0.010
