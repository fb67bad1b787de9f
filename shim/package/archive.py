"""Zip archives: written so that the same files give the same bytes, and unpacked so that nothing gets out of the folder.

The format is PKWARE's APPNOTE.TXT, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. The bytes of an archive depend on the names, modes and
contents of its files and on the machine's zlib, and on nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from shim.errors import PackageError
from shim.package.tree import (
    DATA,
    LONGEST_LINK,
    UNIX,
    UNREADABLE,
    of_zip,
    placed,
    refuse_collisions,
    strangeness,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from shim.package.tree import File

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the format has."""
LIMIT = 1024 * 1024 * 1024
"""Bytes that are unpacked at most, four times what Lambda takes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
DEEPEST = 256
"""Folders in one another at most. Python 3.11 removes them by a function that calls itself, and has a limit to that."""
PERMISSIONS = 0o777
"""What is kept of a mode: no set-user-ID and the like."""


def write(
    files: Iterable[File],
    path: str,
    *,
    sums: Mapping[str, str] | None = None,
    step: Callable[[int], None] = lambda _size: None,
) -> int:
    """Writes the archive, and puts it in place when it is whole: until then, and where it fails, what was there before stays.

    Args:
        files: regular ones, in any order.
        path: of the archive.
        sums: the SHA-256 that a file must have, by its name.
        step: is told how many more bytes have been read.

    Returns:
        The archive's size.

    Raises:
        PackageError: a file can't be read, or is another than `sums` says; or the archive can't be written.
    """
    if path.endswith("/"):
        raise PackageError(f"{path} can't be written: it names a folder; name a file in it")
    place = os.path.realpath(path)
    if os.path.lexists(place) and not os.path.isfile(place):
        raise PackageError(f"{path} can't be written: it is there, and no file; name another with -o")
    folder, own = os.path.split(place)
    own = os.fsdecode(os.fsencode(own)[:200])  # a name has 255 bytes at most, this one too
    unfinished = os.path.join(folder, f"{own}.{secrets.token_hex(4)}.part")
    try:
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with open(descriptor, "w+b") as stream, ZipFile(stream, "w", ZIP_DEFLATED) as archive:
                for file in sorted(files, key=lambda file: file.name):
                    _add(archive, file, None if sums is None else sums.get(file.name), step)
            size = os.path.getsize(unfinished)
            os.replace(unfinished, place)
        except OSError as error:
            raise PackageError(f"{path} can't be written: {error.strerror or error}") from None
        return size
    finally:
        with suppress(OSError):
            os.unlink(unfinished)


def _add(archive: ZipFile, file: File, checksum: str | None, step: Callable[[int], None]) -> None:
    info = ZipInfo(file.name, EPOCH)
    info.create_system = UNIX
    info.external_attr = file.mode << 16
    info.compress_type = ZIP_DEFLATED
    info.file_size = file.size  # from which zipfile tells whether it needs the larger fields of zip64
    digest = hashlib.sha256()
    size = 0
    with archive.open(info, "w") as member:
        for piece in file.pieces():
            member.write(piece)
            digest.update(piece)
            size += len(piece)
            if size > file.size:
                break  # it grows
            step(len(piece))
    if size != file.size or (checksum is not None and digest.hexdigest() != checksum):
        raise PackageError(f"{file.origin} has changed while it was packed; pack again when it is done")


def checksum(file: File) -> str:
    """Its SHA-256, in hexadecimal digits.

    Raises:
        PackageError: it can't be read, or grows: its end might never be reached.
    """
    digest = hashlib.sha256()
    left = file.size
    for piece in file.pieces():
        if (left := left - len(piece)) < 0:
            raise PackageError(f"{file.origin} grows while it is read; try again when it is done")
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def opened(path: str) -> Iterator[ZipFile]:
    """An archive, to be read.

    Raises:
        PackageError: it can't be read, or is none.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a FIFO would wait for its writer
            raise PackageError(f"{path} can't be read: it is no file")
        archive = _open(path)
    except OSError as error:
        raise PackageError(f"{path} can't be read: {error.strerror or error}") from None
    except UNREADABLE as error:
        raise PackageError(f"{path} is no zip archive that can be read: {error}; pack it again") from None
    with archive:
        if not all(info.filename for info in archive.infolist()):  # zipfile itself stumbles over it
            raise PackageError(f"{path} is no zip archive that can be read: a file in it has no name; pack it again")
        yield archive


def _open(path: str) -> ZipFile:
    """Names in UTF-8 without the flag that says so, as macOS writes them, are taken for what they are."""
    try:
        return ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return ZipFile(path)


def unpack(path: str, folder: str, *, limit: int = LIMIT) -> None:
    """Unpacks an archive into an empty folder: with the files' modes (0644 where it has none), and links, which must stay inside.

    Where it fails the folder is empty again. Folders have the mode 0755.

    Args:
        path: of the archive.
        folder: is made where it is not there.
        limit: bytes at most, of all files together.

    Raises:
        PackageError: the archive can't be read, is larger, or has a name, a link or a file that must not be.
    """
    with opened(path) as archive:
        try:
            os.makedirs(folder, exist_ok=True)
            if os.listdir(folder):
                raise PackageError(f"{folder} is not empty; unpack {path} into an empty folder")
        except OSError as error:
            raise PackageError(f"{folder} can't be used: {error.strerror}") from None
        try:
            _unpack(archive, folder, limit)
        except BaseException as error:
            for name in os.listdir(folder):
                inside = os.path.join(folder, name)
                shutil.rmtree(inside) if os.path.isdir(inside) and not os.path.islink(inside) else os.unlink(inside)
            if isinstance(error, PackageError):
                raise PackageError(f"{path} can't be unpacked: {error}") from None
            if isinstance(error, OSError):
                name = os.path.relpath(error.filename, folder) if error.filename else folder
                raise PackageError(f"{path} can't be unpacked: {name}: {error.strerror}") from None
            raise


def _unpack(archive: ZipFile, folder: str, limit: int) -> None:
    files = []
    folders = {placed(info.filename) for info in archive.infolist() if info.is_dir()} - {""}
    for file in of_zip(archive):
        name = placed(file.name)
        if stat.S_ISDIR(file.mode) and not file.size:
            folders.add(name)
        else:
            _refuse_strange(file, name)
            files.append(replace(file, name=name))
    refuse_collisions(files, folders)
    if sum(file.size for file in files) > limit:
        raise _too_large(limit)
    folders |= {os.path.dirname(file.name) for file in files}
    if (depth := max((name.count("/") + 1 for name in folders), default=0)) > DEEPEST:
        raise PackageError(f"its folders are {depth} deep, one in the other, and {DEEPEST} is the most")
    for name in folders:
        _make_folder(folder, name)
    left = limit
    for file in files:
        if not file.is_link:
            left -= _extract(file, os.path.join(folder, file.name), left, limit)
    _link([file for file in files if file.is_link], folder)


def _refuse_strange(file: File, name: str) -> None:
    """What no package has, or not every reader reads."""
    if not name:
        raise PackageError(f"a file has the name {file.name!r}")
    if not (stat.S_ISREG(file.mode) or file.is_link):
        raise PackageError(f"{name!r} is neither a file, a folder nor a link, but {stat.filemode(file.mode)}")
    if (strange := strangeness(file)) is not None:
        sentence, cure = strange
        raise PackageError(f"{name!r} {sentence}; {cure}")
    if file.is_link and file.size > LONGEST_LINK:
        raise PackageError(f"{name!r} is a link with a target of {file.size} bytes")


def _too_large(limit: int) -> PackageError:
    return PackageError(f"its files have more than {limit} bytes")


def _make_folder(root: str, name: str) -> None:
    path = root
    for part in name.split("/"):
        path = os.path.join(path, part)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103 - whatever the umask


def _extract(file: File, path: str, left: int, limit: int) -> int:
    """Its size, which may be another than the archive says."""
    size = 0
    with open(path, "xb") as out:
        for piece in file.pieces():
            size += len(piece)
            if size > left:
                raise _too_large(limit)
            out.write(piece)
        os.fchmod(out.fileno(), file.mode & PERMISSIONS or stat.S_IMODE(DATA))
    return size


def _link(links: Sequence[File], folder: str) -> None:
    """The links are made last, so that nothing is written through one, and are looked at when all are there, since one may lead to another."""
    for link in links:
        target = b"".join(link.pieces())
        if not target or b"\0" in target:
            raise PackageError(f"{link.name!r} is a link that leads nowhere ({target!r})")
        os.symlink(target, os.fsencode(os.path.join(folder, link.name)))
    root = os.path.realpath(folder)
    for link in links:
        path = os.path.join(root, link.name)
        try:
            os.stat(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise PackageError(f"{link.name!r} is one of a loop of links") from None
        if os.path.isabs(os.readlink(path)) or os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise PackageError(f"{link.name!r} is a link that leads out of the package, to {os.readlink(path)!r}")
