"""Where dynamic loaders look for a library, and what they refuse: glibc's (ld.so(8), elf/dl-load.c) and musl's (ldso/dynlink.c).

Left out on purpose: LD_PRELOAD, DT_AUXILIARY and DT_FILTER, and the folders glibc-hwcaps, whose libraries suit the processor of one machine
and not another's: the plain library beside them is looked at.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shim.elf import ET_DYN, MAGIC, Elf, ElfInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.package.root import FileSystem

PAGE = 4096
CACHE = "/etc/ld.so.cache"
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
CACHE_FLAGS = {
    ("x86_64", 64): 0x0303,
    ("arm64", 64): 0x0A03,
    ("i386", 32): 0x0003,
    ("x86_64", 32): 0x0803,
    ("arm", 32): 0x0903,
    ("ppc64", 64): 0x0503,
    ("s390x", 64): 0x0403,
    ("riscv", 64): 0x1003,
}
"""Architecture and bits → what an entry of ld.so.cache says of a library for it (glibc's sysdeps/generic/ldconfig.h)."""
TRIPLETS = {
    ("x86_64", 64): "x86_64-linux-gnu",
    ("arm64", 64): "aarch64-linux-gnu",
    ("i386", 32): "i386-linux-gnu",
    ("x86_64", 32): "x86_64-linux-gnux32",
    ("arm", 32): "arm-linux-gnueabihf",
    ("ppc64", 64): "powerpc64le-linux-gnu",
    ("s390x", 64): "s390x-linux-gnu",
    ("riscv", 64): "riscv64-linux-gnu",
}
"""Debian's folders of libraries (dpkg-architecture(1), DEB_HOST_MULTIARCH)."""
PLATFORMS = {"arm64": "aarch64", "i386": "i686"}
"""Architectures whose AT_PLATFORM, which $PLATFORM stands for, is another word (getauxval(3))."""
TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
MUSL_ITSELF = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
"""Names under which musl's loader, which is its C library, means itself."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A file that the loader takes."""

    path: str
    """Where it found it."""
    real: str
    """That path with links followed: two names of one file load it once."""
    elf: Elf
    origin: str
    """What $ORIGIN stands for in it."""
    soname: str | None
    by: Loaded | None = None
    """What needed it first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that the loader does not take."""

    why: str
    ends: bool
    """Whether the loader gives up there, instead of looking further."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a loader is given besides the program."""

    root: FileSystem
    library_path: str
    folder: str
    has_system: bool


class Glibc:
    """ld.so: the RPATH of those that lead to it, LD_LIBRARY_PATH, RUNPATH, ld.so.cache, the default folders."""

    stops_at_foreign = False

    def __init__(self, program: Loaded, around: Surroundings) -> None:
        self.program, self.around = program, around
        self._machine = program.elf.machine, program.elf.bits
        self._triplet = TRIPLETS.get(self._machine, "")
        self._cache: dict[str, list[str]] | None = None

    def already(self, name: str, loaded: list[Loaded], interpreter: Loaded | None) -> Loaded | None:
        """What was loaded under that name before, or calls itself so."""
        if interpreter is not None and name == os.path.basename(interpreter.path):
            return interpreter
        return next((other for other in loaded if name in {other.soname, other.path}), None)

    def paths(self, name: str, by: Loaded) -> Iterator[str]:
        """Where it looks for a name that `by` needs, in this order."""
        if "/" in name or "$" in name:
            yield self._expand(name, by)
            return
        for folder in self._folders(by):
            yield os.path.join(folder, name)
        if self.around.has_system and not by.elf.skips_default_folders:
            yield from self._cached().get(name, ())
            for folder in self._default_folders():
                yield os.path.join(folder, name)

    def _folders(self, by: Loaded) -> Iterator[str]:
        if by.elf.runpath is None:
            chain = _chain(by)
            for other in chain if self.program in chain else [*chain, self.program]:
                if other.elf.runpath is None and other.elf.rpath is not None:
                    yield from (self._expand(folder, other) for folder in other.elf.rpath.split(":"))
        if self.around.library_path:
            yield from (self._expand(folder, self.program) for folder in re.split("[:;]", self.around.library_path))
        if by.elf.runpath is not None:
            yield from (self._expand(folder, by) for folder in by.elf.runpath.split(":"))

    def _expand(self, text: str, by: Loaded) -> str:
        values = {"ORIGIN": by.origin, "LIB": self._lib(), "PLATFORM": PLATFORMS.get(by.elf.machine, by.elf.machine)}
        return TOKEN.sub(lambda token: values[token[1] or token[2]], text)

    def _lib(self) -> str:
        """What $LIB stands for: it is built into a loader; here, the folders of the system tell."""
        if self._triplet and any(self.around.root.has(f"{usr}/lib/{self._triplet}") for usr in ("", "/usr")):
            return f"lib/{self._triplet}"
        return "lib64" if self.program.elf.bits == 64 else "lib"

    def _default_folders(self) -> list[str]:
        """Debian's, then those of the others: they are built into a loader."""
        debian = [f"/lib/{self._triplet}", f"/usr/lib/{self._triplet}"] if self._triplet else []
        return [*debian, *(["/lib64", "/usr/lib64"] if self.program.elf.bits == 64 else []), "/lib", "/usr/lib"]

    def _cached(self) -> dict[str, list[str]]:
        if self._cache is None:
            self._cache = cached(_read(self.around.root, CACHE) or b"", *self._machine)
        return self._cache


class Musl:
    """musl's loader: LD_LIBRARY_PATH, RUNPATH or RPATH of those that lead to it, and its own list of folders."""

    stops_at_foreign = True

    def __init__(self, program: Loaded, around: Surroundings) -> None:
        self.program, self.around = program, around

    def already(self, name: str, loaded: list[Loaded], interpreter: Loaded | None) -> Loaded | None:
        """Itself, under all its names, or what was loaded from a file of that name before."""
        if interpreter is not None and (MUSL_ITSELF.match(name) or name == os.path.basename(interpreter.path)):
            return interpreter
        return next((other for other in loaded[1:] if os.path.basename(other.path) == name), None)

    def paths(self, name: str, by: Loaded) -> Iterator[str]:
        """Where it looks for a name that `by` needs, in this order."""
        if "/" in name:
            yield name
            return
        folders = re.split("[:\n]", self.around.library_path)
        for other in _chain(by):
            search = other.elf.rpath if other.elf.runpath is None else other.elf.runpath
            expanded = (search or "").replace("${ORIGIN}", other.origin).replace("$ORIGIN", other.origin)
            folders += [] if "$" in expanded else re.split("[:\n]", expanded)
        if self.around.has_system:
            folders += self._system_folders()
        yield from (os.path.join(folder, name) for folder in folders if folder)

    def _system_folders(self) -> list[str]:
        """/etc/ld-musl-ARCH.path, with ARCH as its own name has it, or else what is built in."""
        own = os.path.basename(self.program.elf.interpreter or "").partition(".")[0]
        content = _read(self.around.root, f"/etc/{own}.path")
        if content is None:
            return ["/lib", "/usr/local/lib", "/usr/lib"]
        return re.split("[:\n]", content.decode("utf-8", "surrogateescape"))


def take(path: str, by: Loaded, loader: Glibc | Musl) -> Loaded | Refusal | None:
    """What is at a path: a library, something that the loader refuses, or nothing."""
    root = loader.around.root
    real = root.real(path)
    try:
        content = root.content(path)
        first = content[0:64]
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return Refusal(f"{path} can't be read: {error.strerror or error}", ends=False)
    try:
        elf = Elf(content)
        refusal = _unfit(path, elf, len(content), loader)
        if refusal is not None:
            return refusal
        soname, *_ = elf.soname, elf.needed, elf.rpath, elf.runpath, elf.versions, elf.interpreter
    except ElfInvalid as error:
        is_text = first[:4] != MAGIC and first.isascii() and b"\0" not in first
        kind = "is a text, perhaps a linker script" if is_text and first else "is no library that can be read"
        return Refusal(f"{path} {kind}: {error}", ends=True)
    return Loaded(path, real or path, elf, os.path.dirname(path), soname, by)


def _unfit(path: str, elf: Elf, size: int, loader: Glibc | Musl) -> Refusal | None:
    """Why the loader does not take a file that is ELF."""
    ours = loader.program.elf
    if (elf.machine, elf.bits) != (ours.machine, ours.bits):
        return Refusal(f"{path} is for {elf.machine} ({elf.bits} bits)", ends=loader.stops_at_foreign)
    if elf.type != ET_DYN:
        return Refusal(f"{path} is no shared library", ends=True)
    if elf.length > -(-size // PAGE) * PAGE:  # the last page is filled up with zeros
        happened = f"{path} is truncated: it has {size} bytes, and its headers describe {elf.length}"
        return Refusal(happened, ends=True)
    return None


def cached(content: bytes, machine: str, bits: int) -> dict[str, list[str]]:
    """The names in an ld.so.cache and their paths, best first, for one architecture; empty for what is no such file.

    The format is `struct cache_file_new` of glibc's sysdeps/generic/dl-cache.h, alone or behind the older one, in the byte order of Lambda's
    architectures. Entries for special processors (hwcap) are left out.
    """
    start = content.find(CACHE_MAGIC)
    wanted = CACHE_FLAGS.get((machine, bits))
    found: dict[str, list[str]] = {}
    count = _number(content, start + 20)
    if start < 0 or wanted is None or start + 48 + 24 * count > len(content):
        return found
    for at in range(start + 48, start + 48 + 24 * count, 24):
        flags, name, path, _, *hwcap = (_number(content, place) for place in range(at, at + 24, 4))
        if flags == wanted and not any(hwcap):
            found.setdefault(_text(content, start + name), []).append(_text(content, start + path))
    return found


def _number(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "little")


def _text(content: bytes, at: int) -> str:
    return content[at : content.find(b"\0", at, at + PAGE)].decode("utf-8", "surrogateescape")


def _chain(by: Loaded) -> list[Loaded]:
    """It, what needed it first, and so on."""
    chain = [by]
    while (link := chain[-1].by) is not None:
        chain.append(link)
    return chain


def _read(root: FileSystem, path: str) -> bytes | None:
    try:
        content = root.content(path)
        return content[0 : len(content)]
    except OSError:
        return None
