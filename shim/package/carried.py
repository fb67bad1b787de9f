"""The libraries that go into a package: those that its programs need and its target lacks, as they are found on this machine."""

from __future__ import annotations

import os
from filecmp import cmp
from typing import TYPE_CHECKING

from shim.elf import MAGIC, ElfInvalid
from shim.errors import PackageError
from shim.package.libraries import closure
from shim.package.targets import GLIBC_FAMILY
from shim.package.tree import PROGRAM, File

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from shim.package.libraries import Closure
    from shim.package.targets import Target

FOLDER = "lib"
"""Where a function's LD_LIBRARY_PATH looks, `shim`'s and Lambda's own."""


def needs_of(file: File) -> Closure | None:
    """What a file of this machine needs, resolved as its loader would do it here; None for what is no ELF file, or a broken one.

    Raises:
        PackageError: it can't be read.
    """
    if not isinstance(file.source, str):
        return None
    try:
        with open(file.source, "rb") as content:
            if content.read(len(MAGIC)) != MAGIC:
                return None
        return closure(os.path.realpath(file.source), library_path=os.environ.get("LD_LIBRARY_PATH", ""))
    except ElfInvalid:
        return None
    except OSError as error:
        raise PackageError(f"{file.origin} can't be read: {error.strerror or error}") from None


def carried(needs: Iterable[Closure], packed: Collection[File], target: Target) -> list[File]:
    """What goes to `lib/`. What was not found here is left out; that it is missing shows in the package.

    Args:
        needs: of all programs and libraries in the package.
        packed: the package's files so far: what is there already is not carried twice.
        target: what runs them.

    Raises:
        PackageError: a name is that of two different libraries.
    """
    names = {file.name for file in packed}
    sources = {os.path.realpath(file.source) for file in packed if isinstance(file.source, str)}
    found: dict[str, File] = {}
    for closed in needs:
        for library in closed.libraries:
            if library.file is None or "/" in library.name or not _lacks(target, library.name, closed):
                continue
            path = os.path.realpath(library.file)
            if path in sources or {library.name, f"{FOLDER}/{library.name}"} & names:
                continue
            file = File(f"{FOLDER}/{library.name}", PROGRAM, os.path.getsize(path), path)
            other = found.setdefault(library.name, file)
            if other.source != path and not cmp(str(other.source), path, shallow=False):
                # Here each program finds its own, by its RUNPATH say; in one folder the second would get the first one's.
                raise PackageError(
                    f"two programs need a {library.name}, and not the same: {other.origin} and {path}; pack them apart, or"
                    f" include the one that suits both (--include {path}:{FOLDER}/{library.name})"
                )
    return list(found.values())


def _lacks(target: Target, name: str, closed: Closure) -> bool:
    """Whether the target has no such library, or an older one than is needed. glibc's own are never mixed with the target's: see `libc.py`."""
    if name in GLIBC_FAMILY or (closed.loader is not None and name == os.path.basename(closed.loader.name)):
        return False
    if not target.has(name, closed.elf.machine):
        return True
    elves = [closed.elf, *(library.elf for library in closed.libraries if library.elf is not None)]
    return any(target.lacks(version) for elf in elves for version in elf.versions.get(name, ()))
