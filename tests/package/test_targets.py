"""What Lambda's systems have: the list holds together, and says of real programs what they lack there."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.elf import Elf
from shim.package.targets import AL2, AL2023, GLIBC_FAMILY, LOADERS, RUNTIMES, TARGETS, Target, interpreters
from tests.package.corpus import Corpus

ALL = [AL2, AL2023]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.getbasetemp() / "corpus")


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_the_lists_hold_together(target: Target) -> None:
    assert TARGETS[target.name] is target
    assert not target.always & target.images
    assert target.always - {"libgcc_s.so.1", "libstdc++.so.6"} < GLIBC_FAMILY
    assert not target.images & GLIBC_FAMILY
    assert all(loader.rpartition("/")[2] in GLIBC_FAMILY for loader in LOADERS.values())


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_each_has_its_own_loader_and_not_the_others(target: Target, architecture: str) -> None:
    own = target.loader(architecture).rpartition("/")[2]
    other = next(path.rpartition("/")[2] for name, path in LOADERS.items() if name != architecture)

    assert target.has(own, architecture)
    assert not target.has(other, architecture)
    assert target.has("libc.so.6", architecture)
    assert target.has("libmvec.so.1", architecture) == (architecture == "x86_64")


@pytest.mark.parametrize("library", ["libssl.so.3", "libz.so.1", "libgmp.so.10", "libffi.so.8", "libevent-2.1.so.7"])
def test_what_is_not_sure_is_bundled(library: str) -> None:
    assert not AL2023.has(library, "x86_64")
    assert AL2023.shows(library) == (library != "libevent-2.1.so.7")


@pytest.mark.parametrize(
    ("version", "al2023", "al2"),
    [
        ("GLIBC_2.2.5", False, False),
        ("GLIBC_2.26", False, False),
        ("GLIBC_2.27", False, True),
        ("GLIBC_2.34", False, True),
        ("GLIBC_2.35", True, True),
        ("GLIBC_2.4", False, False),
        ("GLIBC_ABI_DT_RELR", True, True),
        ("GLIBC_PRIVATE", True, True),
        ("GLIBCXX_3.4", False, False),
        ("GLIBCXX_3.4.9", False, False),
        ("GLIBCXX_3.4.24", False, False),
        ("GLIBCXX_3.4.25", False, True),
        ("GLIBCXX_3.4.29", False, True),
        ("GLIBCXX_3.4.30", True, True),
        ("CXXABI_1.3.13", False, True),
        ("CXXABI_1.3.14", True, True),
        ("CXXABI_FLOAT128", False, False),
        ("GCC_3.0", False, False),
        ("GCC_7.0.0", False, False),
        ("GCC_12.0.0", True, True),
        ("OPENSSL_3.0.0", True, True),
        ("GLIBCXX_", True, True),
        ("GCC_" + "9" * 5000, True, True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, al2023: bool, al2: bool) -> None:
    assert (al2023, al2) == (AL2023.lacks(version), AL2.lacks(version))


@pytest.mark.parametrize(("name", "lacking"), [("needs-newer-glibc", ["GLIBC_2.99"]), ("musl-static", []), ("go", [])])
def test_what_programs_lack_there(name: str, lacking: list[str], corpus: Corpus) -> None:
    elf = Elf(Path(corpus.file(name)).read_bytes())

    assert lacking == [version for versions in elf.versions.values() for version in versions if AL2023.lacks(version)]


def test_runtimes_have_interpreters() -> None:
    assert {"/bin/sh", "/usr/bin/env", "/bin/bash"} <= interpreters("provided.al2023") < interpreters("python3.13")
    assert "/var/lang/bin/python3.13" in interpreters("python3.13")
    assert not any(
        "perl" in path or "/usr/bin/python" in path for runtime in RUNTIMES for path in interpreters(runtime)
    )
