"""The libraries that a program needs, found as its dynamic loader would find them, for any architecture, and without running anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shim.elf import Elf
from shim.package.loaders import Glibc, Loaded, Musl, Refusal, Surroundings, take
from shim.package.root import Root

if TYPE_CHECKING:
    from collections.abc import Collection

    from shim.package.root import FileSystem


@dataclass(frozen=True, slots=True)
class Library:
    """One needed name, and what the loader finds under it."""

    name: str
    """As DT_NEEDED has it; as PT_INTERP has it, for the loader."""
    needed_by: tuple[str, ...]
    """The paths of all that need it, in the order in which they are loaded."""
    path: str | None
    """Where the loader finds it; None where it does not."""
    file: str | None
    """The file behind that path, links followed, as this machine names it."""
    elf: Elf | None
    """What it says of itself."""
    trouble: str
    """Why it was not found, and what was seen on the way: "is nowhere; /usr/lib/libx.so.1 is for arm64 (64 bits)". Empty where it was."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A program, its loader, and every library that it and they need."""

    path: str
    elf: Elf
    loader: Library | None
    """PT_INTERP; None for a static program, and for a library."""
    libraries: tuple[Library, ...]
    """In the order in which they are sought, one for each name. A loader that is needed as a library as well is among them."""

    @property
    def missing(self) -> tuple[Library, ...]:
        """What the loader does not find, so that the program does not start."""
        loader = () if self.loader is None else (self.loader,)
        return tuple(library for library in (*loader, *self.libraries) if library.path is None)

    def newest_glibc(self, without: Collection[str] = ()) -> tuple[tuple[int, ...], str] | None:
        """The newest glibc that any of them needs, and the path of the first that needs it; None where none needs any.

        Args:
            without: names of libraries that are not asked, since the target has its own.
        """
        asked = [(library.elf, library.path) for library in self.libraries if library.name not in without]
        newest: tuple[tuple[int, ...], str] | None = None
        for elf, path in [(self.elf, self.path), *asked]:
            number = None if elf is None else elf.glibc
            if number is not None and path is not None and (newest is None or number > newest[0]):
                newest = number, path
        return newest


def closure(
    path: str,
    *,
    root: FileSystem | None = None,
    library_path: str = "",
    folder: str = "/",
    has_system: bool = True,
) -> Closure:
    """The program, its loader and its libraries, as the loader will find them: breadth first, each library once.

    Args:
        path: the program or the library, an absolute path in the root.
        root: the file system; this machine's, if not given.
        library_path: LD_LIBRARY_PATH as the loader will see it.
        folder: where it runs, to which relative folders and an empty one are relative.
        has_system: whether ld.so.cache and the default folders are looked into. Not so for a package: its target has its own.

    Raises:
        ElfInvalid: the program is no ELF file, or a broken one. A library that is one is missing, and says why.
        OSError: the program can't be read.
    """
    root = Root() if root is None else root
    elf, real = Elf(root.content(path)), root.real(path) or path
    # The kernel tells the loader a program's path with links followed; of a library it knows the path that it opened.
    program = Loaded(path, real, elf, os.path.dirname(real), elf.soname)
    around = Surroundings(root, library_path, folder, has_system)
    loader = Musl(program, around) if elf.libc == "musl" else Glibc(program, around)
    return _Search(program, loader).run()


class _Search:
    """One walk through everything that is needed."""

    def __init__(self, program: Loaded, loader: Glibc | Musl) -> None:
        self._program, self._loader = program, loader
        self._loaded = [program]
        self._interpreter: Loaded | None = None

    def run(self) -> Closure:
        """Breadth first: what is found is put behind all that was found before it."""
        named = self._program.elf.interpreter
        interpreted = None if named is None else self._interpret(named)
        found: dict[str, Loaded | str] = {}
        needed_by: dict[str, list[str]] = {}
        for by in self._loaded:  # which grows meanwhile
            for name in dict.fromkeys(by.elf.needed):
                if name not in found:
                    found[name] = self._find(name, by)
                needed_by.setdefault(name, []).append(by.path)
        libraries = tuple(self._library(name, found[name], needed_by[name]) for name in found)
        return Closure(self._program.path, self._program.elf, interpreted, libraries)

    def _interpret(self, name: str) -> Library:
        """What the kernel starts in the program's place, and what is there for the program's libraries before them."""
        around = self._loader.around
        taken = take(os.path.join(around.folder, name), self._program, self._loader)
        if isinstance(taken, Loaded):
            self._interpreter = taken
            self._loaded.append(taken)
            return self._library(name, taken, [self._program.path])
        why = "is not there" if taken is None else taken.why
        return self._library(name, why, [self._program.path])

    def _find(self, name: str, by: Loaded) -> Loaded | str:
        """What is loaded under a name, or why nothing is."""
        already = self._loader.already(name, self._loaded, self._interpreter)
        if already is not None:
            return already
        refusals = []
        for path in self._loader.paths(name, by):
            taken = take(os.path.join(self._loader.around.folder, path), by, self._loader)
            if isinstance(taken, Refusal):
                refusals.append(taken.why)
                if taken.ends:
                    return taken.why
            elif taken is not None:
                same = next((other for other in self._loaded if other.real == taken.real), None)
                if same is None:
                    self._loaded.append(taken)
                return same or taken
        return "; ".join(dict.fromkeys(["is nowhere", *refusals]))

    def _library(self, name: str, found: Loaded | str, needed_by: list[str]) -> Library:
        if isinstance(found, str):
            return Library(name, tuple(needed_by), None, None, None, found)
        file = self._loader.around.root.file(found.path)
        return Library(name, tuple(needed_by), found.path, file, found.elf, "")
