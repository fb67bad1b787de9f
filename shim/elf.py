"""The headers of an ELF file, read from bytes through its program headers, so that stripped files can be read as well.

Names are the format's own (elf(5), <elf.h>, and the System V ABI, "Object Files" and "Program Loading and Dynamic Linking"). Offsets and
counts in the file may be hostile: whatever does not fit is `ElfInvalid`. Pure: this file imports nothing of the machine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ = 0, 1, 5, 10
PN_MAX = 65_536 // 32
"""More program headers than the kernel takes (fs/binfmt_elf.c: 64 KiB of them)."""
PATH_MAX = 4096
"""The longest path that the kernel takes (<linux/limits.h>)."""

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


class ElfInvalid(ValueError):
    """The bytes are no ELF file, or one whose headers point outside it."""


class Elf:
    """What an ELF file says of how it is to be loaded.

    Args:
        data: the file: bytes, a memory map, or what else has a length and gives bytes for a slice. Little of it is read.

    Raises:
        ElfInvalid: it can't be read.
    """

    __slots__ = ("_data", "_headers", "_order", "_wide", "entry", "machine", "type")

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

    @property
    def bits(self) -> int:
        """32 or 64."""
        return 64 if self._wide else 32

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
        names = [value for tag, value in dynamic if tag == DT_NEEDED]
        table = dict(dynamic)
        if not names:
            return ()
        if DT_STRTAB not in table or DT_STRSZ not in table:
            raise ElfInvalid("it needs libraries but has no table of their names")
        texts = self._slice(self._offset_of(table[DT_STRTAB]), table[DT_STRSZ])
        if max(names) >= len(texts):
            raise ElfInvalid("the name of a library that it needs is outside its table of names")
        return tuple(texts[name:].split(b"\0", 1)[0].decode("utf-8", "replace") for name in names)

    @property
    def length(self) -> int:
        """How long the file must be at least for what is loaded of it; one that is shorter by a page or more was copied half."""
        ends = (offset + size for p_type, offset, _, size in self._headers if p_type == PT_LOAD and size > 0)
        return max(ends, default=0)

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
        if count and size < (56 if self._wide else 32):
            raise ElfInvalid(f"its program headers have {size} bytes each, too few for what they hold")
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
                section = self._slice(offset, size)
                pairs = []
                for at in range(0, size - 2 * width + 1, 2 * width):
                    tag, value = self._number(section, at, width), self._number(section, at + width, width)
                    if tag == DT_NULL:
                        break
                    pairs.append((tag, value))
                return pairs
        return []
