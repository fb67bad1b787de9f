"""What is to be checked, by its path: a zip, a folder that will be one, or a single executable."""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import is_zipfile

from shim.errors import PackageError
from shim.package.carried import FOLDER, carried, needs_of
from shim.package.targets import TARGETS
from shim.package.tree import UNIX, File, folders_of, in_utf_8, of_folder, of_zip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zipfile import ZipFile

    from shim.package.targets import Target

LOCAL_FILE = (b"PK\3\4", b"PK\5\6")
"""How a zip begins (APPNOTE.TXT, 4.3.7 and 4.3.16)."""
NEWEST = TARGETS["al2023"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be checked.

    Attributes:
        files: as a function will have them, and the folders with their modes.
        executables: the name of a single executable; None for a package, which says itself what it runs.
        zipped: the zip's size; None for what is none.
        added: names of libraries that were added to a single executable, since `shim pack` would take them along.
    """

    files: Sequence[File]
    executables: Sequence[str] | None = None
    zipped: int | None = None
    added: Sequence[str] = ()


@contextmanager
def subject(path: str, target: Target | None = None) -> Iterator[Subject]:
    """What is there; as long as it is held, the files can be read.

    Args:
        path: of it.
        target: the system that a single executable will run on, without whose libraries it is packed.

    Raises:
        PackageError: it can't be read, or is no file and no folder.
    """
    try:
        about = os.stat(path)
        first = b""
        if stat.S_ISREG(about.st_mode):
            with open(path, "rb") as file:
                first = file.read(4)
    except (OSError, ValueError) as error:
        raise PackageError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(about.st_mode):
        yield Subject([*of_folder(path), *folders_of(path)])
    elif not stat.S_ISREG(about.st_mode):
        raise PackageError(f"{path} is no file and no folder; name an executable, a folder or a zip")
    elif path.endswith(".zip") or (first in LOCAL_FILE and is_zipfile(path)):
        from shim.package.archive import opened  # noqa: PLC0415 - it loads what a program does not need

        with opened(path) as archive:
            yield Subject([*of_zip(archive), *_folders_in(archive)], zipped=about.st_size)
    else:
        yield _of_executable(path, about, target or NEWEST)


def _of_executable(path: str, about: os.stat_result, target: Target) -> Subject:
    """The executable, and the libraries of this machine that go with it, as `shim pack` would put them together."""
    whole = os.path.abspath(path)
    program = File(in_utf_8(posixpath.basename(whole)), about.st_mode, about.st_size, whole)
    need = needs_of(program)
    if need is None:
        return Subject([program], [program.name])
    libraries = carried([need], [program], target)
    beside = [_beside(whole, library.name) for library in need.missing]
    added = [posixpath.basename(file.name) for file in libraries]
    return Subject([program, *libraries, *(file for file in beside if file is not None)], [program.name], added=added)


def _beside(program: str, library: str) -> File | None:
    """What is there under the name of a library that the loader did not take: what is wrong with it will be said."""
    path = os.path.join(os.path.dirname(program), FOLDER, library)
    try:
        about = os.stat(path)
    except OSError:
        return None
    return File(f"{FOLDER}/{library}", about.st_mode, about.st_size, path)


def _folders_in(archive: ZipFile) -> Iterator[File]:
    for info in archive.infolist():
        if info.is_dir():
            mode = info.external_attr >> 16 if info.create_system == UNIX else 0
            yield File(info.filename.rstrip("/"), stat.S_IFDIR | stat.S_IMODE(mode), 0, b"")
