"""The files of a package where a function will see them: in /var/task."""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.root import FileContent, Root
from shim.package.tree import LONGEST_LINK, placed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shim.elf import Content
    from shim.package.tree import File

TASK_ROOT = "/var/task"
LARGEST = 250 * 1024 * 1024
"""Bytes that all files of a function may have: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
HELD_AT_MOST = 4 * LARGEST
"""Bytes of an archive's files that are unpacked into memory."""


class TaskRoot(Root):
    """A `FileSystem` made of a package's files, wherever their bytes are. Nothing is known of what is outside of it.

    Args:
        files: those of the package. Of two with one name the last counts, as where an archive is unpacked. Names that lead out of it are left out.
    """

    def __init__(self, files: Iterable[File]) -> None:
        super().__init__(place=TASK_ROOT)
        self._named: dict[str, File] = {}
        self._folders = {""}
        self._held: dict[str, Content] = {}
        self._left = HELD_AT_MOST
        for file in files:
            try:
                name = placed(file.name)
            except PackageError:
                continue
            if stat.S_ISDIR(file.mode):
                self._folders.add(name)
            elif name:
                self._named[name] = file
            self._folders.update(parents(name))

    def __iter__(self) -> Iterator[tuple[str, File]]:
        """The names and the files; links, too, and no folders."""
        return iter(self._named.items())

    def __contains__(self, name: str) -> bool:
        """Whether there is a file, or a link, of that name."""
        return name in self._named

    def at(self, name: str) -> File | None:
        """What is under a name of the package, links followed; None where they lead to no file of it."""
        real = self.real(f"{TASK_ROOT}/{name}")
        inside = None if real is None else self.name_of(real)
        return None if inside is None else self._named.get(inside)

    def name_of(self, path: str) -> str | None:
        """The name that a path has in the package; None for one outside of it."""
        normal = posixpath.normpath(path)
        return normal[len(TASK_ROOT) + 1 :] if f"{normal}/".startswith(f"{TASK_ROOT}/") else None

    def file(self, path: str) -> str | None:
        """Its name in the package."""
        real = self.real(path)
        return None if real is None else self.name_of(real)

    def content(self, path: str) -> Content:
        """The bytes: where they are on this machine, or held in memory once they were unpacked."""
        name = self.file(path)
        file = None if name is None else self._named.get(name)
        if name is None or file is None:
            raise FileNotFoundError(f"{path} is not in the package")
        if not stat.S_ISREG(file.mode):
            raise OSError(f"is no file ({stat.filemode(file.mode)})")
        if isinstance(file.source, str):
            return FileContent(file.source)
        if name not in self._held:
            self._held[name] = self._unpacked(file)
        return self._held[name]

    def has(self, path: str) -> bool:
        """Whether the package has a folder or a file there."""
        name = self.file(path)
        return name is not None and (name in self._named or name in self._folders)

    def _unpacked(self, file: File) -> Content:
        if file.size > self._left:
            raise OSError(f"has {file.size} bytes, more than Lambda takes")
        self._left -= file.size
        try:
            return b"".join(file.pieces())
        except PackageError as error:
            raise OSError(str(error)) from None

    def _link(self, path: str) -> str | None:
        name = self.name_of(path)
        file = None if name is None else self._named.get(name)
        return None if file is None or not file.is_link else target_of(file)


def target_of(link: File) -> str | None:
    """Where a link leads, as it says; None where that can't be read, or is more than any link says."""
    if link.size > LONGEST_LINK:
        return None
    try:
        return b"".join(link.pieces()).decode("utf-8", "surrogateescape")
    except PackageError:
        return None


def parents(name: str) -> Iterator[str]:
    """The folders that a name is in, the innermost first: "a/b" and "a" for "a/b/c"."""
    while name := name.rpartition("/")[0]:
        yield name


def first_bytes(file: File, count: int) -> bytes:
    """The beginning of a file; nothing of what is no regular one.

    Raises:
        PackageError: it can't be read.
    """
    if not stat.S_ISREG(file.mode) or not file.size:
        return b""
    if isinstance(file.source, bytes):
        return file.source[:count]
    with file.open() as stream:
        try:
            return stream.read(count)
        except Exception as error:  # what a broken archive raises, zipfile does not say
            raise PackageError(f"{file.name!r} can't be read: {error}") from None
