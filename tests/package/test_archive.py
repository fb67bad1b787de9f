"""Zips: the same bytes from the same files, and nothing outside of the folder from any."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from shim.errors import PackageError
from shim.package.archive import checksum, opened, unpack, write
from shim.package.tree import DATA, PROGRAM, File, of_folder, of_zip
from tests.conftest import missing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)
MODES = st.sampled_from([DATA, PROGRAM, stat.S_IFREG | 0o400])


def is_tree(names: list[str]) -> bool:
    """Whether no name is a folder of another's as well."""
    return not any(other.startswith(f"{name}/") for name in names for other in names)


TREES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=300), MODES), max_size=8).filter(
    lambda tree: is_tree(list(tree))
)


def files_of(tree: dict[str, tuple[bytes, int]]) -> list[File]:
    return [File(name, mode, len(content), content) for name, (content, mode) in tree.items()]


def unpacked(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (b"".join(file.pieces()), file.mode) for file in of_folder(str(folder))}


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    return tmp_path / "made.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "unpacked"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(TREES, st.randoms())
def test_what_is_packed_is_what_is_unpacked_and_the_order_does_not_matter(
    tree: dict[str, tuple[bytes, int]], chance: random.Random
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = files_of(tree)
        write(files, str(folder / "one.zip"))
        chance.shuffle(files)
        write(files, str(folder / "two.zip"))
        unpack(str(folder / "one.zip"), str(folder / "there"))

        assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()
        assert unpacked(folder / "there") == tree
        assert ZipFile(folder / "one.zip").namelist() == sorted(tree)


def test_neither_umask_nor_clock_nor_place_are_in_it(tmp_path: Path) -> None:
    made = set()
    for umask, place, time in ((0o000, "a", 1), (0o077, "b/c", 2_000_000_000), (0o377, "d", 400_000_000)):
        source = tmp_path / place
        source.mkdir(parents=True)
        (source / "file").write_bytes(b"content")
        os.utime(source / "file", (time, time))
        before = os.umask(umask)
        try:
            write([File("x/file", DATA, 7, str(source / "file"))], str(tmp_path / f"{time}.zip"))
        finally:
            os.umask(before)
        made.add((tmp_path / f"{time}.zip").read_bytes())

    assert len(made) == 1


def test_its_fields_are_those_of_unix_and_of_no_time(zipped: Path) -> None:
    write(files_of({"b": (b"b", DATA), "a/p": (b"", PROGRAM), "ü": (b"x" * 10_000, DATA)}), str(zipped))
    infos = ZipFile(zipped).infolist()

    assert [info.filename for info in infos] == ["a/p", "b", "ü"]
    assert {(info.create_system, info.date_time, info.extra, info.comment) for info in infos} == {
        (3, (1980, 1, 1, 0, 0, 0), b"", b"")
    }
    assert [stat.filemode(info.external_attr >> 16) for info in infos] == ["-rwxr-xr-x", "-rw-r--r--", "-rw-r--r--"]
    assert {info.flag_bits & ~0x800 for info in infos} == {0}, "sizes stand before the contents"


@pytest.fixture
def unzip() -> str:
    return shutil.which("unzip") or missing("unzip is not here")


def test_unzip_finds_nothing_wrong_and_the_same_modes(unzip: str, zipped: Path, tmp_path: Path) -> None:
    write(files_of({"bin/p": (b"#!/bin/sh\n", PROGRAM), "日本": (b"x", DATA)}), str(zipped))
    listed = subprocess.run([unzip, "-Z", str(zipped)], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    subprocess.run([unzip, "-q", str(zipped), "-d", str(tmp_path / "there")], check=True, env={"LC_ALL": "C.UTF-8"})

    assert b"-rwxr-xr-x  2.0 unx       10 b- defN 80-Jan-01 00:00 bin/p" in listed.stdout
    assert unpacked(tmp_path / "there") == {"bin/p": (b"#!/bin/sh\n", PROGRAM), "日本": (b"x", DATA)}


def test_what_was_there_is_replaced_at_once_or_not_at_all(tmp_path: Path, zipped: Path) -> None:
    zipped.write_bytes(b"before")
    before = zipped.open("rb")
    with pytest.raises(PackageError):
        write([File("a", DATA, 3, b"abc"), File("b", DATA, 1, str(tmp_path / "gone"))], str(zipped))

    assert zipped.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["made.zip"]

    write([File("a", DATA, 3, b"abc")], str(zipped))

    with before:
        assert before.read() == b"before", "who reads it goes on"
    assert ZipFile(zipped).read("a") == b"abc"
    assert os.listdir(tmp_path) == ["made.zip"]


def test_ctrl_c_leaves_nothing(zipped: Path) -> None:
    def interrupt(_size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write([File("a", DATA, 3, b"abc")], str(zipped), step=interrupt)

    assert os.listdir(zipped.parent) == []


@pytest.mark.parametrize(
    ("file", "sums"),
    [
        (File("a", DATA, 2, b"abc"), {}),
        (File("a", DATA, 4, b"abc"), {}),
        (File("a", DATA, 3, b"abd"), {"a": checksum(File("a", DATA, 3, b"abc"))}),
    ],
)
def test_a_file_that_changes_meanwhile_is_refused(file: File, sums: dict[str, str], zipped: Path) -> None:
    with pytest.raises(PackageError, match="has changed while it was packed; pack again when it is done"):
        write([file], str(zipped), sums=sums)

    assert not zipped.exists()


def test_where_it_can_not_be_written_it_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        ("gone/made.zip", "gone/made.zip can't be written: No such file or directory"),
        ("fifo", "fifo can't be written: it is there, and no file; name another with -o"),
        ("", "can't be written: it is there, and no file; name another with -o"),
    ):
        with pytest.raises(PackageError) as raised:
            write([], str(tmp_path / path))

        assert str(raised.value).endswith(message)


def test_a_link_keeps_leading_to_the_package(tmp_path: Path) -> None:
    (tmp_path / "link.zip").symlink_to("made.zip")
    write([File("a", DATA, 0, b"")], str(tmp_path / "link.zip"))

    assert (tmp_path / "link.zip").is_symlink()
    assert ZipFile(tmp_path / "made.zip").namelist() == ["a"]


def test_holes_of_a_sparse_file_are_packed_small(tmp_path: Path, zipped: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50_000_000)
    size = write(of_folder(str(tmp_path)), str(zipped))

    assert size == zipped.stat().st_size < 60_000
    assert ZipFile(zipped).getinfo("sparse").file_size == 50_000_000


def member(name: str, content: bytes = b"", mode: int = DATA, **fields: int) -> tuple[ZipInfo, bytes]:
    info = ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def link(name: str, target: str) -> tuple[ZipInfo, bytes]:
    return member(name, target.encode(), stat.S_IFLNK | 0o777)


def make(path: Path, *members: tuple[ZipInfo, bytes]) -> None:
    with ZipFile(path, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)


HOSTILE: dict[str, tuple[list[tuple[ZipInfo, bytes]], str]] = {
    "up": ([member("../a")], "'../a' leads out of the package"),
    "up-inside": ([member("a/../../b")], "leads out of the package"),
    "absolute": ([member("/etc/passwd")], "'/etc/passwd' leads out of the package"),
    "folder-up": ([member("../a/")], "'../a/' leads out of the package"),
    "twice": ([member("a", b"1"), member("./a", b"2")], "two files would be 'a'"),
    "file-and-folder": ([member("a"), member("a/b")], "'a' would be a file and a folder"),
    "file-and-empty-folder": ([member("a"), member("a/")], "'a' would be a file and a folder"),
    "through-a-link": ([link("a", "/tmp"), member("a/b", b"x")], "'a' would be a file and a folder"),
    "link-out": ([link("a", "../x")], "'a' is a link that leads out of the package, to '../x'"),
    "link-absolute": (
        [link("a", "/var/task/b"), member("b")],
        "'a' is a link that leads out of the package, to '/var/task/b'",
    ),
    "links-out": (
        [link("d/a", ".."), link("b", "d/a/.."), member("d/f")],
        "'b' is a link that leads out of the package",
    ),
    "links-in-a-circle": ([link("a", "b"), link("b", "a")], "is one of a loop of links"),
    "link-nowhere": ([link("a", "")], "'a' is a link that leads nowhere"),
    "link-nul": ([link("a", "b\0c")], "'a' is a link that leads nowhere"),
    "link-endless": ([link("a", "b" * 5000)], "'a' is a link with a target of 5000 bytes"),
    "fifo": ([member("a", mode=stat.S_IFIFO | 0o644)], "'a' is neither a file, a folder nor a link, but prw-r--r--"),
    "device": ([member("a", mode=stat.S_IFCHR | 0o644)], "'a' is neither a file, a folder nor a link, but crw-r--r--"),
    "bzip2": (
        [member("a", b"x" * 100, compress_type=zipfile.ZIP_BZIP2)],
        "'a' is compressed by method 12; pack it with deflate (8)",
    ),
    "lzma": ([member("a", b"x" * 100, compress_type=zipfile.ZIP_LZMA)], "'a' is compressed by method 14"),
    "long": ([member("a" * 300)], "File name too long"),
    "deep": ([member("a/" * 300 + "b")], "its folders are 300 deep, one in the other, and 256 is the most"),
    "deep-folder": ([member("a/" * 300)], "its folders are 300 deep"),
    "no-name": ([member(".")], "a file has the name '.'"),
    "too-large": ([member("a", b"x" * 1001)], "its files have more than 1000 bytes"),
    "too-large-together": ([member("a", b"x" * 600), member("b", b"x" * 600)], "its files have more than 1000 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_must_not_be_in_a_package_is_one_sentence_and_nothing_is_left(
    name: str, zipped: Path, folder: Path
) -> None:
    members, message = HOSTILE[name]
    make(zipped, member("innocent", b"x"), *members)
    with pytest.raises(PackageError) as raised:
        unpack(str(zipped), str(folder), limit=1000)

    assert str(raised.value).startswith(f"{zipped} can't be unpacked: ")
    assert message in str(raised.value)
    assert os.listdir(folder) == []
    assert sorted(os.listdir(zipped.parent)) == ["made.zip", "unpacked"]


def test_links_inside_stay_links(zipped: Path, folder: Path) -> None:
    make(
        zipped,
        link("lib/a.so", "a.so.1"),
        member("lib/a.so.1", b"x"),
        link("up", "lib/../lib"),
        link("dangling", "none"),
    )
    unpack(str(zipped), str(folder))

    assert os.readlink(folder / "lib/a.so") == "a.so.1"
    assert (folder / "up/a.so").read_bytes() == b"x"
    assert os.readlink(folder / "dangling") == "none"


def test_a_declared_size_that_lies_is_found_out(zipped: Path, folder: Path) -> None:
    """A bomb that says it is small: the central directory has 10 bytes for a megabyte."""
    make(zipped, member("bomb", b"\0" * 1_000_000, compress_type=zipfile.ZIP_DEFLATED))
    content = bytearray(zipped.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    zipped.write_bytes(content)
    with pytest.raises(PackageError, match="can't be unpacked: 'bomb' can't be read: Bad CRC-32 for file 'bomb'"):
        unpack(str(zipped), str(folder), limit=1000)

    assert os.listdir(folder) == []


def test_an_encrypted_one_is_one_sentence(zipped: Path, folder: Path) -> None:
    if shutil.which("zip") is None:
        missing("zip is not here")
    (zipped.parent / "secret").write_bytes(b"x")
    subprocess.run(["zip", "-q", "-P", "word", str(zipped), "secret"], cwd=zipped.parent, check=True)
    with pytest.raises(PackageError, match="'secret' is encrypted; pack it without a password"):
        unpack(str(zipped), str(folder))


def test_a_folder_that_is_not_empty_is_left_alone(zipped: Path, folder: Path) -> None:
    make(zipped, member("a"))
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(PackageError, match="is not empty; unpack"):
        unpack(str(zipped), str(folder))

    assert os.listdir(folder) == ["mine"]


def test_modes_are_kept_but_for_those_that_give_more_than_permissions(zipped: Path, folder: Path) -> None:
    make(
        zipped,
        member("program", mode=stat.S_IFREG | 0o755),
        member("secret", mode=stat.S_IFREG | 0o600),
        member("setuid", mode=stat.S_IFREG | 0o6755),
        member("without-type", mode=0o755),
        member("folder/", mode=stat.S_IFDIR | 0o700),
        member("folder-without-slash", mode=stat.S_IFDIR | 0o755),
        member("of-windows", create_system=0, mode=0),
    )
    before = os.umask(0o077)
    try:
        unpack(str(zipped), str(folder))
    finally:
        os.umask(before)

    assert {path.name: stat.filemode(path.stat().st_mode) for path in folder.iterdir()} == {
        "program": "-rwxr-xr-x",
        "secret": "-rw-------",
        "setuid": "-rwxr-xr-x",
        "without-type": "-rwxr-xr-x",
        "folder": "drwxr-xr-x",
        "folder-without-slash": "drwxr-xr-x",
        "of-windows": "-rw-r--r--",
    }


def by_zip(source: Path, path: Path) -> None:
    if shutil.which("zip") is None:
        missing("zip is not here")
    subprocess.run(["zip", "-q", "-r", "-y", str(path), "."], cwd=source, check=True)


def by_zip_as_a_stream(source: Path, path: Path) -> None:
    """Sizes come behind the contents, as in many libraries that write zips. It can't have links."""
    if shutil.which("zip") is None:
        missing("zip is not here")
    (source / "lib" / "a.so").unlink()
    (source / "lib" / "a.so").write_bytes(b"x")
    subprocess.run([f"zip -q -r - . | cat > {path}"], shell=True, cwd=source, check=True)  # noqa: S602 - no zip knows a pipe else


def by_python(source: Path, path: Path) -> None:
    with ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in of_folder(str(source)):
            if file.is_link:
                info, content = link(file.name, os.readlink(source / file.name))
                archive.writestr(info, content)
            else:
                archive.write(source / file.name, file.name)


def like_macos(source: Path, path: Path) -> None:
    """Names are UTF-8 without the flag that says so, and there is a folder of attributes."""
    by_python(source, path)
    content = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(magic, at + 1)) >= 0:
            content[at + flags + 1] &= ~0x08
    path.write_bytes(content)


@pytest.mark.parametrize("maker", [by_zip, by_zip_as_a_stream, by_python, like_macos])
def test_zips_of_all_makers_are_unpacked(
    maker: Callable[[Path, Path], None], tmp_path: Path, zipped: Path, folder: Path
) -> None:
    source = tmp_path / "source"
    (source / "lib").mkdir(parents=True)
    (source / "program").write_bytes(b"#!/bin/sh\n")
    (source / "program").chmod(0o755)
    (source / "lib" / "ünï.so.1").write_bytes(b"x" * 100_000)
    (source / "lib" / "ünï.so.1").chmod(0o644)
    (source / "lib" / "a.so").symlink_to("ünï.so.1")
    maker(source, zipped)
    unpack(str(zipped), str(folder))

    assert unpacked(folder) == unpacked(source)
    with opened(str(zipped)) as archive:
        assert {file.name for file in of_zip(archive)} >= {"program", "lib/ünï.so.1", "lib/a.so"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no zip archive that can be read: File is not a zip file; pack it again"),
        (b"PK\x05\x06" + b"\xff" * 18, "is no zip archive that can be read: "),
        (None, "can't be read: No such file or directory"),
    ],
)
def test_what_is_no_zip_is_one_sentence(content: bytes | None, message: str, zipped: Path, folder: Path) -> None:
    if content is not None:
        zipped.write_bytes(content)
    with pytest.raises(PackageError) as raised:
        unpack(str(zipped), str(folder))

    assert message in str(raised.value)


def test_a_fifo_is_not_waited_for(zipped: Path, folder: Path) -> None:
    os.mkfifo(zipped)
    with pytest.raises(PackageError, match="can't be read: it is no file"):
        unpack(str(zipped), str(folder))


@pytest.fixture(scope="module")
def real() -> bytes:
    out = BytesIO()
    with ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in (member("a/b", b"x" * 200), link("c", "a/b"), member("ü", b"y"), member("f/")):
            archive.writestr(info, content)
    return out.getvalue()


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.integers(0, 10_000))
def test_a_damaged_zip_is_unpacked_or_one_clear_error(real: bytes, changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(real)
    for place, value in changes:
        content[place % len(content)] = value
    with TemporaryDirectory() as name:
        for damaged in (bytes(content), bytes(content[: length % len(content)])):
            path = Path(name) / "damaged.zip"
            path.write_bytes(damaged)
            with TemporaryDirectory() as folder:
                try:
                    unpack(str(path), f"{folder}/there", limit=100_000)
                except PackageError:
                    continue


def hostile_names() -> Iterator[str]:
    yield from ("a", "b", "..", ".", "", "a", "c")


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(list(hostile_names())), min_size=1, max_size=4).map("/".join),
            st.sampled_from([DATA, stat.S_IFLNK | 0o777]),
            st.lists(st.sampled_from(list(hostile_names())), min_size=1, max_size=4).map("/".join),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_nothing_ever_gets_out_of_the_folder(members: list[tuple[str, int, str]]) -> None:
    """Names and targets of every hostile kind: what is unpacked leads nowhere but inside."""
    with TemporaryDirectory() as name:
        outer = Path(name).resolve()
        path, inner = outer / "hostile.zip", outer / "inner"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zipfile, that a name is there twice
            make(path, *(member(name, target.encode(), mode) for name, mode, target in members if name))
        try:
            unpack(str(path), str(inner))
        except PackageError:
            assert list(inner.iterdir()) == []
        else:
            for found in inner.rglob("*"):
                assert found.resolve().is_relative_to(inner)
        assert sorted(entry.name for entry in outer.iterdir()) == ["hostile.zip", "inner"]


def test_a_member_without_any_name_is_one_sentence(zipped: Path, folder: Path) -> None:
    """zipfile writes it, and stumbles over it."""
    info = ZipInfo("x")
    info.filename = ""
    make(zipped, member("a"), (info, b"x"))
    with pytest.raises(PackageError, match=r"made\.zip is no zip archive that can be read: a file in it has no name"):
        unpack(str(zipped), str(folder))


def test_a_path_that_names_a_folder_is_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="new/ can't be written: it names a folder; name a file in it"):
        write([], f"{tmp_path}/new/")

    assert os.listdir(tmp_path) == []


def test_its_own_name_may_be_as_long_as_any(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".zip")
    write([], str(path))

    assert os.listdir(tmp_path) == [path.name]


def test_a_file_that_grows_is_not_read_for_ever(tmp_path: Path) -> None:
    """As a log, which is written faster than it is read."""
    (tmp_path / "log").write_bytes(b"more than there was")
    with pytest.raises(PackageError, match="log grows while it is read; try again when it is done"):
        checksum(File("log", DATA, 4, str(tmp_path / "log")))
