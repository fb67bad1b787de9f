"""The headers of an ELF file, read from bytes through its program headers, so that stripped files can be read as well.

Names are the format's own (elf(5), <elf.h>, and the System V ABI, "Object Files" and "Program Loading and Dynamic Linking"). Offsets and
counts in the file may be hostile: whatever does not fit is `ElfInvalid`, in bounded time and memory. Each property reads its own small part
of the file, anew each time. Pure: this file imports nothing of the machine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, Protocol

    class Content(Protocol):
        """A file's bytes."""

        def __len__(self) -> int: ...

        def __getitem__(self, part: slice, /) -> bytes: ...


MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
DT_FLAGS_1, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFB, 0x6FFFFFFE, 0x6FFFFFFF
DF_1_NODEFLIB, DF_1_PIE = 0x800, 0x08000000
VER_FLG_WEAK = 2
PN_MAX = 65_536 // 32
"""More program headers than the kernel takes (fs/binfmt_elf.c: 64 KiB of them)."""
PATH_MAX = 4096
"""The longest path that the kernel takes (<linux/limits.h>)."""
SEARCH_MAX = 65_536
"""Bytes of a DT_RPATH or DT_RUNPATH that are read; real ones name a few dozen folders."""
DYNAMIC_MAX = 128 * 1024
"""Bytes of PT_DYNAMIC that are read; real ones have a few hundred."""
NEEDED_MAX = VERNEED_MAX = 4096
"""Needed libraries, and needed versions, that are read; real programs have a few hundred at most."""

MACHINES = {
    0x03: "i386",
    0x08: "mips",
    0x14: "ppc",
    0x15: "ppc64",
    0x16: "s390x",
    0x28: "arm",
    0x3E: "x86_64",
    0xB7: "arm64",
    0xF3: "riscv",
}
"""e_machine → the architecture, in Lambda's spelling where Lambda has it."""

GLIBC_ABI = {"GLIBC_ABI_DT_RELR": (2, 36)}
"""Versions of glibc that are no numbers → the first release that has them (glibc's NEWS)."""

UPX = b"UPX!"
"""What UPX writes four bytes behind the program headers, in its own (l_info)."""


class ElfInvalid(ValueError):
    """The bytes are no ELF file, or one whose headers point outside it."""


class Elf:
    """What an ELF file says of how it is to be loaded.

    Args:
        data: the file: bytes, a memory map, or what else has a length and gives bytes for a slice. Little of it is read.

    Raises:
        ElfInvalid: it can't be read. The properties raise it too, of what they read.
    """

    __slots__ = ("_data", "_end", "_headers", "_order", "_wide", "entry", "machine", "type")

    def __init__(self, data: Content) -> None:
        self._data = data
        ident = data[:16]
        if ident[:4] != MAGIC:
            raise ElfInvalid("it does not begin with the magic of ELF")
        if len(data) < 20:
            raise ElfInvalid(f"it ends after {len(data)} bytes, inside its first header")
        ei_class, ei_data = ident[4], ident[5]
        if ei_class not in (ELFCLASS32, ELFCLASS64) or ei_data not in (ELFDATA2LSB, ELFDATA2MSB):
            raise ElfInvalid(f"it has class {ei_class} and byte order {ei_data}, which ELF does not have")
        self._wide = ei_class == ELFCLASS64
        self._order: Literal["little", "big"] = "little" if ei_data == ELFDATA2LSB else "big"
        header = self._slice(0, 64 if self._wide else 52)
        self.type = self._number(header, 16, 2)
        e_machine = self._number(header, 18, 2)
        self.machine = MACHINES.get(e_machine, f"machine {e_machine}")
        """The architecture it is for."""
        word = 8 if self._wide else 4
        self.entry = self._number(header, 24, word)
        """Where its code begins; 0 in a library that is no program."""
        e_phoff = self._number(header, 24 + word, word)
        e_phentsize, e_phnum = (self._number(header, at + 3 * word, 2) for at in (30, 32))
        self._headers = self._program_headers(e_phoff, e_phentsize, e_phnum)
        self._end = e_phoff + e_phentsize * e_phnum

    @property
    def bits(self) -> int:
        """32 or 64."""
        return 64 if self._wide else 32

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """Both of Lambda's architectures are little."""
        return self._order

    @property
    def interpreter(self) -> str | None:
        """PT_INTERP: the loader that the kernel starts in its place, or None for a file that is static."""
        for p_type, offset, _, size in self._headers:
            if p_type == PT_INTERP:
                if size > PATH_MAX:
                    raise ElfInvalid(f"the path of its loader has {size} bytes")
                return self._slice(offset, size).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        return None

    @property
    def enters_its_header(self) -> bool:
        """Whether its code would begin at the ELF header itself, as in a library that is no program."""
        return self.entry == 0 and any(
            p_type == PT_LOAD and offset == vaddr == 0 and size > 0 for p_type, offset, vaddr, size in self._headers
        )

    @property
    def needed(self) -> tuple[str, ...]:
        """DT_NEEDED: the libraries that its loader will look for."""
        dynamic = self._dynamic()
        places = [value for tag, value in dynamic if tag == DT_NEEDED]
        if len(places) > NEEDED_MAX:
            raise ElfInvalid(f"it needs {len(places)} libraries, more than any program")
        table = dict(dynamic)
        return tuple(self._text(table, place, "the name of a library that it needs") for place in places)

    @property
    def soname(self) -> str | None:
        """DT_SONAME: the name under which other files need it, if it is a library that has one."""
        return self._optional(DT_SONAME, "its own name", PATH_MAX)

    @property
    def rpath(self) -> str | None:
        """DT_RPATH: folders in which its libraries and theirs are sought first. glibc ignores it where there is a DT_RUNPATH (ld.so(8))."""
        return self._optional(DT_RPATH, "its DT_RPATH", SEARCH_MAX)

    @property
    def runpath(self) -> str | None:
        """DT_RUNPATH: folders in which its own libraries are sought, after LD_LIBRARY_PATH."""
        return self._optional(DT_RUNPATH, "its DT_RUNPATH", SEARCH_MAX)

    @property
    def versions(self) -> dict[str, tuple[str, ...]]:
        """DT_VERNEED: the library (as in `needed`) → the versions of it without which the loader won't start it.

        Versions marked weak are left out: the loader goes on without them (VER_FLG_WEAK, glibc's elf/dl-version.c).
        """
        found: dict[str, list[str]] = {}
        for library, version in self._needed_versions():
            found.setdefault(library, []).append(version)
        return {library: tuple(versions) for library, versions in found.items()}

    @property
    def glibc(self) -> tuple[int, ...] | None:
        """The oldest glibc that has every version it needs: (2, 34); None where it needs none of glibc."""
        numbers = [glibc_of(version) for versions in self.versions.values() for version in versions]
        return max((number for number in numbers if number is not None), default=None)

    @property
    def is_static_pie(self) -> bool:
        """Whether it is a static program that runs at any address (`-static-pie`): it relocates itself.

        DF_1_PIE tells it from a library (linkers since binutils 2.26). Without that: it has a beginning, and no name as a library.
        """
        if self.type != ET_DYN or self.interpreter is not None or self.is_packed or self.needed:
            return False
        return self._is_pie()

    @property
    def is_static(self) -> bool:
        """Whether it needs neither a loader nor libraries. Of a packed one nobody knows: False."""
        if self.type == ET_EXEC:
            return self.interpreter is None and not self.is_packed and not self.needed
        return self.is_static_pie

    @property
    def is_program(self) -> bool:
        """Whether it is made to be run: no object file, no core file, no library that only others can load."""
        if self.type == ET_DYN:
            return self.interpreter is not None or self.is_packed or self._is_pie()
        return self.type == ET_EXEC

    @property
    def libc(self) -> Literal["glibc", "musl"] | None:
        """The C library that it is linked against, by the loader and the libraries that it names; None where it names neither, as a static one."""
        loader = (self.interpreter or "").rpartition("/")[2]
        names = (loader, *self.needed)
        if any(name.startswith(("ld-musl-", "libc.musl-")) or name == "libc.so" for name in names):
            return "musl"
        if any(name.startswith(("ld-linux", "ld64.so", "libc.so.")) or name == "ld.so.1" for name in names):
            return "glibc"
        return None

    @property
    def is_packed(self) -> bool:
        """Whether UPX compressed it: what it needs is then known only when it runs.

        Of a packed program nothing is left for a loader, so that one with PT_INTERP or PT_DYNAMIC is none, whatever bytes it holds.
        """
        if any(p_type in (PT_DYNAMIC, PT_INTERP) for p_type, *_ in self._headers):
            return False
        return UPX in bytes(self._data[self._end : min(self._end + 32, len(self._data))])

    @property
    def skips_default_folders(self) -> bool:
        """DF_1_NODEFLIB: whether its libraries are not sought in ld.so.cache and the default folders."""
        return bool(dict(self._dynamic()).get(DT_FLAGS_1, 0) & DF_1_NODEFLIB)

    @property
    def length(self) -> int:
        """How long the file must be at least for what is loaded of it; one that is shorter by a page or more was copied half."""
        ends = (offset + size for p_type, offset, _, size in self._headers if p_type == PT_LOAD and size > 0)
        return max(ends, default=0)

    def _is_pie(self) -> bool:
        if dict(self._dynamic()).get(DT_FLAGS_1, 0) & DF_1_PIE:
            return True
        return self.entry != 0 and self.soname is None

    def _slice(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._data):
            raise ElfInvalid(f"it ends after {len(self._data)} bytes, before what its headers place at {offset}")
        return bytes(self._data[offset : offset + size])

    def _number(self, data: bytes, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], self._order)

    def _program_headers(self, at: int, size: int, count: int) -> list[tuple[int, int, int, int]]:
        """p_type, p_offset, p_vaddr, p_filesz of each."""
        if count > PN_MAX:
            raise ElfInvalid(f"it has {count} program headers, more than the kernel takes")
        places = ((0, 4), (8, 8), (16, 8), (32, 8)) if self._wide else ((0, 4), (4, 4), (8, 4), (16, 4))
        expected = 56 if self._wide else 32
        if count and size != expected:  # neither the kernel nor a loader takes it
            raise ElfInvalid(f"its program headers have {size} bytes each, not {expected}")
        table = self._slice(at, size * count)
        read = self._number
        return [
            tuple(read(table, start + place, width) for place, width in places)  # type: ignore[misc] # there are four
            for start in range(0, size * count, size or 1)
        ]

    def _offset_of(self, address: int) -> int:
        """Where in the file the segment lies that is loaded at an address."""
        for p_type, offset, vaddr, size in self._headers:
            if p_type == PT_LOAD and vaddr <= address < vaddr + size:
                return offset + address - vaddr
        raise ElfInvalid(f"nothing of it is loaded at {address:#x}, where its headers place something")

    def _dynamic(self) -> list[tuple[int, int]]:
        """The tags and values of PT_DYNAMIC."""
        width = 8 if self._wide else 4
        for p_type, offset, _, size in self._headers:
            if p_type == PT_DYNAMIC:
                section = self._slice(offset, min(size, DYNAMIC_MAX))
                pairs: list[tuple[int, int]] = []
                for at in range(0, len(section) - 2 * width + 1, 2 * width):
                    tag, value = self._number(section, at, width), self._number(section, at + width, width)
                    if tag == DT_NULL:
                        return pairs
                    pairs.append((tag, value))
                if size > DYNAMIC_MAX:
                    raise ElfInvalid(f"its dynamic section has {size} bytes and no end, more than any program's")
                return pairs
        return []

    def _text(self, table: dict[int, int], place: int, what: str, most: int = PATH_MAX) -> str:
        """The text at a place in DT_STRTAB."""
        if DT_STRTAB not in table or DT_STRSZ not in table:
            raise ElfInvalid("it needs libraries but has no table of their names")
        if place >= table[DT_STRSZ]:
            raise ElfInvalid(f"{what} is outside its table of names")
        start = self._offset_of(table[DT_STRTAB]) + place
        size = min(table[DT_STRSZ] - place, most, len(self._data) - start)
        if size <= 0:
            raise ElfInvalid(f"{what} is outside the file")
        text, end, _ = bytes(self._data[start : start + size]).partition(b"\0")
        if not end and size == most:
            raise ElfInvalid(f"{what} has more than {most} bytes")
        return text.decode("utf-8", "surrogateescape")

    def _optional(self, tag: int, what: str, most: int) -> str | None:
        table = dict(self._dynamic())
        return self._text(table, table[tag], what, most) if tag in table else None

    def _needed_versions(self) -> Iterator[tuple[str, str]]:
        """The library and the version of each Elfxx_Vernaux, which are linked by offsets from one to the next."""
        table = dict(self._dynamic())
        if DT_VERNEED not in table:
            return
        at = self._offset_of(table[DT_VERNEED])
        budget = VERNEED_MAX
        for _ in range(min(table.get(DT_VERNEEDNUM, 0), VERNEED_MAX)):
            verneed = self._slice(at, 16)
            count, file, aux, following = (
                self._number(verneed, place, width) for place, width in ((2, 2), (4, 4), (8, 4), (12, 4))
            )
            library = self._text(table, file, "the name of a library whose version it needs")
            place = at + aux
            for _ in range(count):
                if (budget := budget - 1) < 0:
                    raise ElfInvalid(f"it needs more than {VERNEED_MAX} versions of libraries, more than any program")
                vernaux = self._slice(place, 16)
                flags, name, further = (self._number(vernaux, *part) for part in ((4, 2), (8, 4), (12, 4)))
                if not flags & VER_FLG_WEAK:
                    yield library, self._text(table, name, "the name of a version that it needs")
                if not further:
                    break
                place += further
            if not following:
                break
            at += following


def glibc_of(version: str) -> tuple[int, ...] | None:
    """The release of glibc that a version of its names: (2, 38) for GLIBC_2.38; None for GLIBC_PRIVATE and for what is not glibc's."""
    name, _, number = version.partition("_")
    parts = number.split(".")
    if name == "GLIBC" and len(number) < 20 and all(part.isascii() and part.isdecimal() for part in parts):
        return tuple(map(int, parts))
    return GLIBC_ABI.get(version)
