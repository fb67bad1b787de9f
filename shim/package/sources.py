"""What an author names for a package: executables, and files and folders to include. Links are followed here, so that a package has none."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from shim.errors import PackageError
from shim.package.tree import DATA, PROGRAM, File, in_utf_8, placed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What no package can hold."""


class Include(NamedTuple):
    """A file or a folder, and where it goes.

    Attributes:
        source: its path.
        destination: the name of the file, or of the folder that its files go to; "" is the package's root.
    """

    source: str
    destination: str

    @classmethod
    def parse(cls, text: str) -> Include:
        """`SRC[:DEST]`. Without DEST it keeps its own name, at the root; with a DEST that ends with a slash, in that folder. A folder whose DEST is `.` has its
        files at the root.

        A path that exists is taken for SRC whole, colons and all.

        Raises:
            PackageError: DEST is no place in a package.
        """
        source, colon, destination = (text, "", "") if os.path.lexists(text) else text.rpartition(":")
        if not colon:
            source, destination = text, "./"
        place = placed(in_utf_8(destination))
        if destination.endswith("/") or (not place and not os.path.isdir(source)):
            place = placed(f"{place or '.'}/{in_utf_8(os.path.basename(os.path.abspath(source)))}")
        return cls(source, place)


def executable(path: str, name: str | None = None) -> File:
    """A file that is run, whatever its mode.

    Args:
        path: where it is.
        name: in the package; its own, if none is given.

    Raises:
        PackageError: it is no file.
    """
    if not os.path.lexists(path) and "/" not in path and (elsewhere := shutil.which(path)):
        raise PackageError(f"there is no file {path} here; if you mean the one on your PATH, name {elsewhere}")
    about = _looked_at(path, path)
    if stat.S_ISDIR(about.st_mode):
        raise PackageError(f"{path} is a folder; name an executable in it, and take the rest along with --include")
    return File(placed(name or in_utf_8(os.path.basename(path))), PROGRAM, _file(path, path, about).size, path)


def included(include: Include, named: Collection[str] = (), without: str | None = None) -> list[File]:
    """The files of one `--include`. Folders that are empty are left out, since a package has files only.

    Args:
        include: what was asked for.
        named: paths of executables, to which a link may lead as well as to what is in the folder.
        without: the path of a file that is left out: the package itself.

    Raises:
        PackageError: something in it can't be packed.
    """
    about = _looked_at(include.source, include.source)
    if not stat.S_ISDIR(about.st_mode):
        return [_file(include.destination, include.source, about)]
    root = os.path.realpath(include.source)
    allowed = {os.path.realpath(path) for path in named}
    left_out = None if without is None else os.path.realpath(without)
    before = f"{include.destination}/" if include.destination else ""
    return [file for file in _walked(root, before, allowed) if file.source != left_out]


def _walked(root: str, before: str, allowed: Collection[str]) -> Iterator[File]:
    """The files of a folder. However deep it is: no function calls itself."""
    todo = [(before, [root])]
    while todo:
        before, inside = todo.pop()  # a folder's own path is the last of those that it is in
        folder = inside[-1]
        try:
            with os.scandir(folder) as found:
                entries = [(in_utf_8(entry.name), entry.path, entry.is_symlink()) for entry in found]
        except OSError as error:
            raise PackageError(f"{folder} can't be read: {error.strerror}") from None
        for own, path, is_link in entries:
            name = placed(before + own)
            about = _looked_at(path, path)
            real = os.path.realpath(path) if is_link else path
            if is_link and real not in allowed and os.path.commonpath([root, real]) != root:
                raise PackageError(f"{path} is a link that leads out of {root}, to {real}; include what it leads to")
            if not stat.S_ISDIR(about.st_mode):
                yield _file(name, real, about)
            elif real in inside:
                raise PackageError(f"{path} is a link to {real}, a folder that it is in itself; remove it")
            else:
                todo.append((f"{name}/", [*inside, real]))


def _looked_at(path: str, shown: str) -> os.stat_result:
    """What is there, links followed."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PackageError(f"{shown} is one of a loop of links; remove it") from None
        if os.path.islink(path):
            raise PackageError(f"{shown} is a link to {os.readlink(path)}, which is not there; remove it") from None
        raise PackageError(f"{shown} can't be packed: {error.strerror}") from None
    except ValueError:
        raise PackageError(f"{shown!r} is no path") from None


def _file(name: str, path: str, about: os.stat_result) -> File:
    kind = stat.S_IFMT(about.st_mode)
    if kind != stat.S_IFREG:
        raise PackageError(f"{path} is {KINDS.get(kind, 'no file')}, which a package can't hold; leave it out")
    return File(name, PROGRAM if about.st_mode & 0o111 else DATA, about.st_size, path)
