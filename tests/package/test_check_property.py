"""Whatever is in a package, it is judged: the only exception is PackageError, for what can't be read, and the same files are judged alike."""

from __future__ import annotations

import stat
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import ZipFile, ZipInfo

from hypothesis import HealthCheck, given, settings, strategies as st

from shim.elf import MAGIC
from shim.errors import PackageError
from shim.package.check import check, judge
from shim.package.subject import subject
from shim.package.targets import TARGETS
from tests.package.corpus import TABLE
from tests.package.test_check import of, said

if TYPE_CHECKING:
    from shim.package.tree import File

HEADERS = [bytes.fromhex(entry["hex"]) for entry in TABLE.values() if "hex" in entry]
TEXTS = [str(entry["text"]).encode() for entry in TABLE.values() if "text" in entry]
REAL = Path("/bin/sh").read_bytes()
NAMES = [
    "bootstrap",
    "shim.toml",
    "SHA256SUMS",
    "bin/program",
    "bin/tool",
    "lib/libc.so.6",
    "lib/libz.so.1",
    "shim/__init__.py",
    "package/bootstrap",
]
NAMES += [
    "orjson/__init__.py",
    "orjson/orjson.cpython-313-x86_64-linux-gnu.so",
    "libc/program",
    "libc/ld-linux-x86-64.so.2",
    "program",
    "a",
    "a/b",
]
SETTINGS = [
    "",
    'executable = "bin/program"',
    'executable = "program"\nmode = "warm"',
    "executable = 1",
    'executable = ["',
    'env = {PATH = "bin"}',
]
KINDS = [stat.S_IFREG] * 6 + [stat.S_IFLNK, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFSOCK]

names = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=12))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real program's bytes, some of which are others, and fewer."""
    content = bytearray(draw(st.sampled_from([REAL, *HEADERS])))
    for place, value in draw(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=6)):
        content[place % len(content)] = value
    return bytes(content[: draw(st.one_of(st.none(), st.integers(0, 4096)))])


contents = st.one_of(
    mutated(),
    st.sampled_from([*TEXTS, *HEADERS, MAGIC]),
    st.sampled_from(SETTINGS).map(str.encode),
    st.sampled_from(NAMES).map(str.encode),  # a link's, or a script's
    st.sampled_from(NAMES).map(lambda name: f"#!/var/task/{name}\n".encode()),
    st.sampled_from(NAMES).map(lambda name: f"{'0' * 64}  {name}\n".encode()),
    st.binary(max_size=200),
)
files = st.builds(
    lambda name, kind, permissions, content: of(content, name, kind | permissions),
    names,
    st.sampled_from(KINDS),
    st.sampled_from([0o755, 0o755, 0o644, 0o600, 0o700, 0]),
    contents,
)


@given(
    package=st.lists(files, max_size=10),
    target=st.sampled_from([None, *TARGETS.values()]),
    architecture=st.sampled_from([None, "x86_64", "arm64"]),
    handler=st.sampled_from([None, "shim.handler", "a.b", "", ".", "\0."]),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_list_of_files_is_judged(
    package: list[File], target: object, architecture: str | None, handler: str | None
) -> None:
    found = judge(package, target=target, architecture=architecture, handler=handler).problems  # type: ignore[arg-type] # one of them

    assert all(problem.sentence and problem.cure for problem in found)
    assert [problem.severity for problem in found] == sorted(problem.severity for problem in found)
    assert said(check(package, target=target, architecture=architecture)) is not None  # type: ignore[arg-type] # as above


@given(package=st.lists(files, max_size=8, unique_by=lambda file: file.name))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_zip_is_judged_as_its_files_are(package: list[File]) -> None:
    written = BytesIO()
    plain = [file for file in package if _fits_a_zip(file)]
    with ZipFile(written, "w") as made:
        for file in plain:
            info = ZipInfo(file.name)
            info.external_attr = file.mode << 16
            made.writestr(info, file.read()[:])
    with TemporaryDirectory() as folder:
        path = Path(folder, "function.zip")
        path.write_bytes(written.getvalue())
        with subject(str(path)) as found:
            assert said(check(found.files)) == said(check(plain))


def _fits_a_zip(file: File) -> bool:
    """What zipfile writes as it is: ZipInfo cuts names at NUL, and takes a slash at the end for a folder."""
    try:
        file.name.encode()
    except UnicodeEncodeError:
        return False
    return bool(file.name) and "\0" not in file.name and not file.name.endswith("/") and not stat.S_ISDIR(file.mode)


@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0)),
)
@settings(max_examples=200)
def test_a_broken_zip_is_judged_or_a_package_error(changes: list[tuple[int, int]], cut: int | None) -> None:
    written = BytesIO()
    with ZipFile(written, "w") as made:
        for name, content in (
            ("bootstrap", REAL[:5000]),
            ("shim.toml", b'executable = "bootstrap"'),
            ("SHA256SUMS", b"0  a\n"),
        ):
            made.writestr(name, content, compress_type=8)
    mutable = bytearray(written.getvalue())
    for place, value in changes:
        mutable[place % len(mutable)] = value
    if cut is not None:
        del mutable[cut % len(mutable) :]
    with TemporaryDirectory() as folder:
        path = Path(folder, "function.zip")
        path.write_bytes(mutable)
        with suppress(PackageError), subject(str(path)) as found:
            check(found.files, zipped=found.zipped)


@given(content=contents)
@settings(max_examples=100, suppress_health_check=[HealthCheck.data_too_large])
def test_any_file_is_judged(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "program")
        path.write_bytes(content)
        path.chmod(0o755)
        with subject(str(path)) as found:
            judge(found.files, executables=found.executables)
