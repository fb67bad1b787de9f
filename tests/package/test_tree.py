"""The files of a package: their names, and what can't be one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from shim.errors import PackageError
from shim.package.tree import DATA, File, folders_of, in_utf_8, of_folder, placed, refuse_collisions

if TYPE_CHECKING:
    from pathlib import Path


def file(name: str) -> File:
    return File(name, DATA, 0, b"")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a", "a"),
        ("./lib//a", "lib/a"),
        ("lib/", "lib"),
        (".", ""),
        ("", ""),
        ("a/..b", "a/..b"),
        ("ünï/日本", "ünï/日本"),
    ],
)
def test_a_name_is_one_way_to_a_place(name: str, place: str) -> None:
    assert placed(name) == place


@pytest.mark.parametrize("name", ["/", "/a", "..", "a/../b", "a/..", "../a", "./.."])
def test_a_place_outside_the_package_is_refused(name: str) -> None:
    with pytest.raises(PackageError, match="leads out of the package; name a place in it, as lib/file"):
        placed(name)


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(PackageError, match=r"^'a\\udcff' is no name in UTF-8, .*; rename the file$"):
        placed(os.fsdecode(b"a\xff"))


@given(st.lists(st.sampled_from(["a", "b", ".", "", "c d"]), max_size=6))
def test_a_place_stays_where_it_is(parts: list[str]) -> None:
    place = placed("./" + "/".join(parts))

    assert placed(place) == place == os.path.normpath("./" + "/".join(parts)).replace(".", "")


@pytest.mark.parametrize(
    ("names", "folders", "message"),
    [
        (
            ["a", "b", "a"],
            [],
            "two files would be 'a' in the package, the one from shim pack, the other from shim pack",
        ),
        (["a/b", "a"], [], "'a' would be a file and a folder in the package, the one from"),
        (["a", "a/b/c"], [], "'a' would be a file and a folder"),
        (["a"], ["a"], "'a' would be a file and a folder"),
        (["a"], ["a/b"], "'a' would be a file and a folder"),
    ],
)
def test_two_things_of_one_name_are_refused(names: list[str], folders: list[str], message: str) -> None:
    with pytest.raises(PackageError) as raised:
        refuse_collisions(map(file, names), folders)

    assert str(raised.value).startswith(message)


def test_names_that_only_begin_alike_are_two() -> None:
    refuse_collisions(map(file, ["a", "a.b", "ab/c", "a-b/c"]), ["ab", "b", "b/c"])


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 1])
def test_its_pieces_are_its_bytes(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    (found,) = of_folder(str(tmp_path))

    assert b"".join(found.pieces()) == content == bytes(found.read()[0:size])


def test_what_can_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"^'gone' can't be read: No such file or directory$"):
        list(File("gone", DATA, 1, str(tmp_path / "gone")).pieces())
    with pytest.raises(PackageError, match=r"^'folder' can't be read: Is a directory$"):
        list(File("folder", DATA, 1, str(tmp_path)).pieces())


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "/".join(["ab"] * 1362)])
def test_names_are_as_long_as_linux_has_them(name: str) -> None:
    assert placed(name) == name


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "/".join(["ab"] * 1363), "a/" * 32_000])
def test_a_name_that_no_system_can_unpack_is_refused(name: str) -> None:
    with pytest.raises(PackageError, match=r"has \d+ bytes: File name too long; give it a shorter one") as raised:
        placed(name)

    assert len(str(raised.value)) < 200


def test_a_folder_may_be_deeper_than_python_s_own_stack(tmp_path: Path) -> None:
    """It is removed step by step, too: Python 3.11 could not do it."""
    folders = [tmp_path]
    for _ in range(1200):
        folders.append(folders[-1] / "a")
        folders[-1].mkdir()
    (folders[-1] / "file").touch()

    assert [file.name for file in of_folder(str(tmp_path))] == ["a/" * 1200 + "file"]
    assert len(folders_of(str(tmp_path))) == 1200
    (folders[-1] / "file").unlink()
    for folder in folders[:0:-1]:
        folder.rmdir()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_name_is_the_same_in_every_locale(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode(encoding, "surrogateescape"))

    assert in_utf_8("ünï".encode().decode(encoding, "surrogateescape")) == "ünï"
    with pytest.raises(PackageError, match="is no name in UTF-8"):
        placed(in_utf_8("half \ud83d"))
