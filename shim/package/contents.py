"""What is wrong with a package as a set of files: names, modes, links, sizes, and whether they stand at its root."""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.ground import error, warning
from shim.package.taskroot import LARGEST, TASK_ROOT, TaskRoot, parents, target_of
from shim.package.tree import LONGEST_LINK, placed, strangeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shim.package.ground import Ground
    from shim.package.problem import Problem
    from shim.package.tree import File

UPLOADED = 50 * 1024 * 1024
"""Bytes of a zip that is uploaded without S3: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
MB = 1024 * 1024
OF_MACOS = ("__MACOSX", ".DS_Store")
"""What macOS puts beside an archive's files."""
OF_FUNCTIONS = {"bin", "lib", "lib64", "libc", "shim", "python", "opt"}
"""Folders that a function, or a layer, may well consist of."""
MARKS = ("shim.toml", "bootstrap", "shim/__init__.py")
"""Files that are at the root of a package."""
READABLE, ENTERED = 0o004, 0o005
"""Modes that files and folders must have at least, for a user who neither owns them nor is in their group."""


def folder_that_holds_all(files: Sequence[File], is_package: Callable[[TaskRoot], bool]) -> str | None:
    """The one folder that everything is in, where the package itself should be; None where it is as it should be.

    Args:
        files: of the package.
        is_package: whether something that a function could run is in the root, or in the folder.
    """
    tops = {parts_of(file.name)[0] for file in files if parts_of(file.name)} - set(OF_MACOS)
    if len(tops) != 1 or (top := tops.pop()) in OF_FUNCTIONS or top in MARKS:
        return None
    root = TaskRoot(files)
    if root.at(top) is not None:
        return None
    if any(root.at(f"{top}/{mark}") is not None for mark in MARKS) or is_package(root):
        return top
    return None


def parts_of(name: str) -> list[str]:
    """The folders and the file that a name consists of."""
    return [part for part in name.split("/") if part not in {"", "."}]


def judge_names(files: Sequence[File]) -> Iterator[Problem]:
    """Names that lead out of the package, that no archive holds, that Windows made; and those that several files have."""
    named: dict[str, str] = {}
    folders: set[str] = set()
    for file in files:
        try:
            name = placed(file.name)
        except PackageError as wrong:
            sentence, _, cure = str(wrong).rpartition("; ")
            yield error(_shown(file.name), sentence, cure)
            continue
        if "\\" in name:
            sentence = "it has a backslash in its name, which is no folder's end on Lambda"
            yield error(
                name, sentence, "make the zip with names that have slashes: in WSL or a container, or with shim pack"
            )
        if "\0" in name:
            yield error(_shown(name), "it has a NUL in its name, which no file has", "give it another name")
        folders.update(parents(name))
        if stat.S_ISDIR(file.mode):
            folders.add(name)
        elif name in named:
            yield error(name, "it is in the package more than once", "package it once")
        elif not name:
            yield error("", f"a file has the name {file.name!r}", "give it another name")
        else:
            named[name] = name
    for name in sorted(folders & named.keys()):
        yield error(name, "it is a file and a folder in one", "give one of them another name")


def judge_kinds(ground: Ground) -> Iterator[Problem]:
    """What is neither a file nor a link; links that lead outside, or nowhere."""
    for name, file in ground.root:
        if file.is_link:
            yield from _judge_link(name, file, ground)
        elif not stat.S_ISREG(file.mode):
            sentence = f"it is neither a file nor a folder ({stat.filemode(file.mode)}), and no package can hold it"
            yield error(name, sentence, "leave it out")


def judge_members(files: Sequence[File]) -> Iterator[Problem]:
    """Files of a zip that nobody can unpack, and with them the whole: each is read to its end, where its checksum stands.

    Not those of a zip that is too large, which is said in any case: a small one may have any size unpacked.
    """
    is_small = sum(file.size for file in files) <= LARGEST
    for file in files:
        try:
            if (strange := strangeness(file)) is not None:
                yield error(_shown(file.name), f"it {strange[0]}", strange[1])
            elif is_small and isinstance(file.source, tuple):
                for _ in file.pieces():
                    pass
        except PackageError as unreadable:
            yield error(_shown(file.name), str(unreadable), "package it again")


def _judge_link(name: str, link: File, ground: Ground) -> Iterator[Problem]:
    if link.size > LONGEST_LINK:
        sentence = f"it is a link with a target of {link.size} bytes, more than any has"
        yield error(name, sentence, "package what it should lead to")
        return
    target = target_of(link)
    place = ground.root.real(f"{TASK_ROOT}/{name}")
    if not target or "\0" in target:
        yield warning(name, f"it is a link that leads nowhere ({target!r})", "package what it should lead to")
    elif place is None:
        yield warning(name, "it is one of a loop of links", "leave it out")
    elif ground.root.name_of(place) is None:
        if place.partition("/")[2].partition("/")[0] not in {"opt", "tmp"}:  # layers, and what a function writes
            sentence = f"it is a link that leads out of the package, to {place}"
            yield warning(name, sentence, "package what it leads to")
    elif not ground.root.has(place):
        yield warning(
            name, f"it is a link to {target}, which is not there", "package what it should lead to, or leave it out"
        )


def judge_modes(files: Sequence[File], ground: Ground) -> Iterator[Problem]:
    """Files and folders that the user as whom Lambda runs a function can't read: errors for what the function is known to need."""
    for file in files:
        mode = stat.S_IMODE(file.mode)
        try:
            name = placed(file.name)
        except PackageError:
            continue
        if not mode & 0o777 or not name:
            continue  # the zip says nothing of modes: Lambda gives them
        shown = stat.filemode(file.mode)
        if stat.S_ISDIR(file.mode):
            if mode & ENTERED != ENTERED:
                is_needed = any(f"{needed}/".startswith(f"{name}/") for needed in ground.needed)
                sentence = f"Lambda's user can't enter and list this folder (its mode is {shown})"
                yield (error if is_needed else warning)(name, sentence, "chmod 755 it and package it again")
        elif stat.S_ISREG(file.mode) and not mode & READABLE:
            sentence = f"Lambda's user can't read it (its mode is {shown})"
            cure = f"chmod {'755' if mode & 0o100 else '644'} it and package it again"
            yield (error if name in ground.needed else warning)(name, sentence, cure)


def judge_sizes(files: Sequence[File], zipped: int | None) -> Iterator[Problem]:
    """Lambda's limits."""
    unpacked = _unpacked(files)
    if unpacked > LARGEST:
        sentence = (
            f"the files have {unpacked / MB:.1f} MB unpacked, and Lambda takes {LARGEST // MB} MB, with all layers"
        )
        yield error(
            "",
            sentence,
            "leave out what is not needed, strip programs of their symbols (strip), or use a container image",
        )
    if zipped is not None:
        yield from judge_upload(zipped)


def judge_upload(zipped: int) -> Iterator[Problem]:
    """Which way a zip of that size must go to Lambda, if not the usual one."""
    if zipped > UPLOADED:
        sentence = f"the zip has {zipped / MB:.1f} MB, and Lambda takes {UPLOADED // MB} MB in an upload"
        yield warning(
            "", sentence, "upload it to S3, and let the function take it from there (--code S3Bucket=…,S3Key=…)"
        )


def stands_below(folder: str, what: str) -> Problem:
    """Everything is in a folder."""
    sentence = f"{what} is in the folder {folder}/, and Lambda looks for a function's files at the package's root"
    return error(
        "", sentence, f"zip what is in that folder: (cd {posixpath.basename(folder)} && zip -r ../function.zip .)"
    )


def _unpacked(files: Sequence[File]) -> int:
    return sum(file.size for file in files if stat.S_ISREG(file.mode))


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
