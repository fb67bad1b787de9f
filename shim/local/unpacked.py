"""A deployment package as files: unpacked for as long as it is served, anew when its zip changes, and then gone."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.local.interpreter import built_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOKS = 1000
"""Milliseconds between two looks at the zip, whatever is told of it."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package that is unpacked.

    Attributes:
        archive: the path of the zip, as it was named.
        folder: a link to where its files are: to other ones, when the zip has changed.
        runtime: an empty folder outside of it, for what runs it.
        files: those whose change makes it another function: one that changes when it was unpacked anew.
    """

    archive: str
    folder: str
    runtime: str
    files: tuple[str, ...]
    identity: tuple[int, ...] | None
    """What the zip was before it was unpacked."""


@contextmanager
def unpacked(
    archive: str, unpack: Callable[[str, str], None], *, watch: Callable[[str], None] | None = None
) -> Iterator[Unpacked]:
    """The package, for as long as the block lasts.

    Args:
        archive: the path of the zip.
        unpack: unpacks an archive into an empty folder, or raises PackageError.
        watch: where it is to be unpacked anew when it changes, takes a sentence where that fails. What runs keeps its own files.

    Raises:
        PackageError: it can't be unpacked.
    """
    try:
        workshop = TemporaryDirectory(prefix="shim-")
    except OSError as error:
        raise PackageError(f"{archive} can't be unpacked: {error.filename}: {error.strerror}") from None
    with workshop as place:
        own = os.fsdecode(
            os.fsencode(os.path.basename(os.path.abspath(archive)))[-200:]
        )  # a name has 255 bytes at most
        package = Unpacked(
            archive,
            os.path.join(place, "task"),
            os.path.join(place, "runtime"),
            (os.path.join(place, f"{own}.unpacked"),),
            identity_of(archive),
        )
        os.mkdir(package.runtime)
        _renew(package, unpack, 0)
        if watch is None:
            yield package
            return
        end = Event()
        watcher = Thread(target=_watch, args=(package, unpack, watch, end), name=f"watcher of {archive}", daemon=True)
        watcher.start()
        try:
            yield package
        finally:
            end.set()
            watcher.join()


def _renew(package: Unpacked, unpack: Callable[[str, str], None], number: int) -> None:
    """Unpacks it beside what is there, and lets the link lead there when all is done."""
    before = built_for(package.folder) if number else None
    files = f"{package.folder}-{number}"
    unpack(package.archive, files)
    if before is not None and built_for(files) != before:
        raise PackageError(f"{package.archive} is for another Python or architecture now; start shim serve anew")
    os.symlink(files, f"{files}.link")
    os.replace(f"{files}.link", package.folder)
    for file in package.files:
        with open(file, "w", encoding="ascii") as out:
            out.write(str(number))


def _watch(package: Unpacked, unpack: Callable[[str, str], None], say: Callable[[str], None], end: Event) -> None:
    from watchfiles import watch  # noqa: PLC0415 - only where that is asked for

    archive = os.path.abspath(package.archive)
    found = watch(
        os.path.dirname(archive),  # a file that is replaced is another one, in the same folder
        watch_filter=lambda _change, path: path == archive,
        recursive=False,
        stop_event=end,
        raise_interrupt=False,
        rust_timeout=LOOKS,
        yield_on_timeout=True,  # what changed before it was watched is found then
    )
    before = package.identity
    for number, _ in enumerate(found, 1):
        now = identity_of(archive)
        if now in (before, None):
            continue
        before = now
        try:
            _renew(package, unpack, number)
        except (PackageError, OSError) as error:
            say(f"{error}. What was unpacked before is served")


def identity_of(path: str) -> tuple[int, ...] | None:
    """What tells a file from what it was before; None where it is not there, as when it is about to be replaced."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
