"""A deployment package, as it is or as it is to be: files by their names, wherever their bytes are."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from shim.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO
    from zipfile import ZipInfo

    from shim.elf import Content

UNIX = 3
"""ZipInfo.create_system of an archive that has Unix modes (APPNOTE.TXT, 4.4.2.2)."""
PROGRAM = stat.S_IFREG | 0o755
"""The mode of a file that is run, and of a library."""
DATA = stat.S_IFREG | 0o644
"""The mode of every other file."""
ENCRYPTED = 0x1
"""A bit of ZipInfo.flag_bits."""
LONGEST_LINK = 4095
"""Bytes of the longest target that the kernel takes (PATH_MAX, with a NUL at its end)."""
NAME_MAX = 255
"""Bytes of the name of a file or a folder at most (<linux/limits.h>)."""
PATH_MAX = 4096 - len("/var/task/") - 1
"""Bytes of a whole name at most, so that its path in /var/task, with the NUL at its end, is none that the kernel refuses."""
PIECE = 1024 * 1024
"""Bytes that are read at a time."""
UNREADABLE = (
    OSError,
    BadZipFile,
    EOFError,
    ValueError,  # a name that is not in the encoding that it claims
    struct.error,
    zlib.error,
    NotImplementedError,  # as zipfile refuses strange compressions
    RuntimeError,  # as zipfile refuses encryption
)
"""What comes of a file, or an archive's member, that can't be read."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a package.

    Attributes:
        name: its path in the package, with slashes, as "bin/program".
        mode: its type and permissions, as os.stat has them; S_IFLNK for a link, whose content is where it leads.
        size: in bytes.
        source: where its bytes are: a path, the bytes themselves, or a place in an archive.
    """

    name: str
    mode: int
    size: int
    source: str | bytes | tuple[ZipFile, ZipInfo]

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def read(self) -> Content:
        """Its bytes, which are mapped where they are a file's.

        Raises:
            PackageError: they can't be read.
        """
        if isinstance(self.source, str) and self.size and not self.is_link:
            try:
                with open(self.source, "rb") as file:
                    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise self._unreadable(error) from None
        return b"".join(self.pieces())

    def open(self) -> IO[bytes]:
        """A stream of its bytes.

        Raises:
            PackageError: they can't be read.
        """
        if isinstance(self.source, bytes):
            return BytesIO(self.source)
        try:
            if isinstance(self.source, tuple):
                archive, info = self.source
                return archive.open(info)
            if self.is_link:
                return BytesIO(os.fsencode(os.readlink(self.source)))
            return open(self.source, "rb")
        except UNREADABLE as error:
            raise self._unreadable(error) from None

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, of which so many are kept in memory as one piece has.

        Raises:
            PackageError: they can't be read.
        """
        with self.open() as stream:
            while True:
                try:
                    piece = stream.read(PIECE)
                except UNREADABLE as error:
                    raise self._unreadable(error) from None
                if not piece:
                    return
                yield piece

    @property
    def origin(self) -> str:
        """Where it comes from, for a sentence."""
        if isinstance(self.source, bytes):
            return "shim pack"
        return (
            self.source if isinstance(self.source, str) else os.path.basename(self.source[0].filename or "an archive")
        )

    def _unreadable(self, error: BaseException) -> PackageError:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        return PackageError(f"{self.name!r} can't be read: {said}")


def strangeness(file: File) -> tuple[str, str] | None:
    """Why not every reader of zips reads a file in one, in the words of a problem, and the cure; None where each does."""
    if not isinstance(file.source, tuple):
        return None
    info = file.source[1]
    if info.flag_bits & ENCRYPTED:
        return "is encrypted", "pack it without a password"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}", "pack it with deflate (8)"
    return None


def placed(name: str) -> str:
    """The name as a package has it: "./lib//a" is "lib/a". Empty for the package's root.

    Raises:
        PackageError: it leads out of the package, or no archive can hold it.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise PackageError(f"{name!r} leads out of the package; name a place in it, as lib/file")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise PackageError(f"{name!r} is no name in UTF-8, the only ones that a zip has; rename the file") from None
    if max(sizes, default=0) > NAME_MAX or sum(sizes) + len(parts) - 1 > PATH_MAX:
        most = f"a shorter one ({NAME_MAX} bytes for each file and folder, {PATH_MAX} in all)"
        raise PackageError(f"{name[:30]!r}… has {len(name.encode())} bytes: File name too long; give it {most}")
    return "/".join(parts)


def in_utf_8(name: str) -> str:
    """A name of this machine as packages have it: its bytes are UTF-8, whatever the locale is by which Python read them."""
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name  # nobody has it, and `placed` says so


def refuse_collisions(files: Iterable[File], folders: Iterable[str] = ()) -> None:
    """Each name is that of one file, and none is that of a folder as well.

    Args:
        files: those of a package.
        folders: those that it has besides the ones in the files' names.

    Raises:
        PackageError: it is not so; says where both come from.
    """
    named: dict[str, File] = {}
    for file in files:
        if (other := named.setdefault(file.name, file)) is not file:
            raise PackageError(f"two files would be {file.name!r} in the package, {_from(other, file)}")
    for name in [*named, *(f"{folder}/" for folder in folders)]:
        end = len(name)
        while (end := name.rfind("/", 0, end)) > 0:
            if name[:end] in named:
                by = f", {_from(named[name[:end]], named[name])}" if name in named else ""
                raise PackageError(f"{name[:end]!r} would be a file and a folder in the package{by}")


def _from(one: File, other: File) -> str:
    return f"the one from {one.origin}, the other from {other.origin}; give one of them another name"


def of_folder(folder: str) -> list[File]:
    """The files of a folder, by their names. Links are files of their own; sockets, FIFOs and devices too, and can't be packed.

    Raises:
        PackageError: something in it can't be looked at.
    """
    return [file for file in _walked(folder) if not stat.S_ISDIR(file.mode)]


def folders_of(folder: str) -> list[File]:
    """The folders in a folder, with their modes.

    Raises:
        PackageError: something in it can't be looked at.
    """
    return [file for file in _walked(folder) if stat.S_ISDIR(file.mode)]


def _walked(top: str) -> list[File]:
    """All that is in it, by the names. However deep it is: no function calls itself."""
    found = []
    todo = [(top, "")]
    while todo:
        folder, before = todo.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = before + in_utf_8(entry.name)
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(about.st_mode):
                        todo.append((entry.path, f"{name}/"))
                        found.append(File(name, about.st_mode, 0, b""))
                    else:
                        found.append(File(name, about.st_mode, about.st_size, entry.path))
        except OSError as error:
            raise PackageError(f"{folder} can't be read: {error.strerror}") from None
    return sorted(found, key=lambda file: file.name)


def of_zip(archive: ZipFile) -> list[File]:
    """The files of an archive, in its order; folders are left out. One that was not made on Unix has modes of 0."""
    files = []
    for info in archive.infolist():
        if info.filename and not info.is_dir():
            mode = info.external_attr >> 16 if info.create_system == UNIX else 0
            files.append(
                File(info.filename, mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, info.file_size, (archive, info))
            )
    return files
