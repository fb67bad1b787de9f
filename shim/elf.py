"""The headers of an ELF file, read from bytes through its program headers, so that stripped files can be read as well.

Names are the format's own (elf(5), <elf.h>, and the System V ABI, "Object Files" and "Program Loading and Dynamic Linking"). Offsets and
counts in the file may be hostile: whatever does not fit is `ElfInvalid`. Pure: this file imports nothing of the machine.
"""

from __future__ import annotations

import struct

MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ = 0, 1, 5, 10
PN_MAX = 512
"""More program headers than any linker writes."""

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
        data: the whole file, or as much of it as the headers need.

    Raises:
        ElfInvalid: it can't be read.
    """

    __slots__ = ("_data", "_headers", "_order", "_wide", "machine", "type")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        if bytes(data[:4]) != MAGIC:
            raise ElfInvalid("it does not begin with the magic of ELF")
        if len(data) < 20:
            raise ElfInvalid(f"it ends after {len(data)} bytes, inside its first header")
        ei_class, ei_data = data[4], data[5]
        if ei_class not in (ELFCLASS32, ELFCLASS64) or ei_data not in (ELFDATA2LSB, ELFDATA2MSB):
            raise ElfInvalid(f"it has class {ei_class} and byte order {ei_data}, which ELF does not have")
        self._wide = ei_class == ELFCLASS64
        self._order = "<" if ei_data == ELFDATA2LSB else ">"
        self.type, e_machine = self._unpack("HH", 16)
        self.machine = MACHINES.get(e_machine, f"machine {e_machine}")
        """The architecture it is for."""
        if self._wide:
            (e_phoff,), (e_phentsize, e_phnum) = self._unpack("Q", 32), self._unpack("HH", 54)
        else:
            (e_phoff,), (e_phentsize, e_phnum) = self._unpack("I", 28), self._unpack("HH", 42)
        if e_phnum > PN_MAX:
            raise ElfInvalid(f"it has {e_phnum} program headers, more than any linker writes")
        self._headers = [self._program_header(e_phoff + index * e_phentsize) for index in range(e_phnum)]

    @property
    def bits(self) -> int:
        """32 or 64."""
        return 64 if self._wide else 32

    @property
    def interpreter(self) -> str | None:
        """PT_INTERP: the loader that the kernel starts in its place, or None for a file that is static."""
        for p_type, offset, _, size in self._headers:
            if p_type == PT_INTERP:
                return self._slice(offset, size).split(b"\0", 1)[0].decode("utf-8", "replace")
        return None

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
        """How long the file must be at least for what is loaded of it; a shorter one was copied half."""
        return max((offset + size for p_type, offset, _, size in self._headers if p_type == PT_LOAD), default=0)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + layout, self._data, offset)
        except struct.error:
            raise ElfInvalid(f"it ends after {len(self._data)} bytes, before a header at {offset}") from None

    def _program_header(self, at: int) -> tuple[int, int, int, int]:
        """p_type, p_offset, p_vaddr, p_filesz."""
        if self._wide:
            p_type, _, p_offset, p_vaddr, _, p_filesz = self._unpack("IIQQQQ", at)
        else:
            p_type, p_offset, p_vaddr, _, p_filesz = self._unpack("IIIII", at)
        return p_type, p_offset, p_vaddr, p_filesz

    def _slice(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._data):
            raise ElfInvalid(f"it ends after {len(self._data)} bytes, before what its headers place at {offset}")
        return bytes(self._data[offset : offset + size])

    def _offset_of(self, address: int) -> int:
        """Where in the file the segment lies that is loaded at an address."""
        for p_type, offset, vaddr, size in self._headers:
            if p_type == PT_LOAD and vaddr <= address < vaddr + size:
                return offset + address - vaddr
        raise ElfInvalid(f"nothing of it is loaded at {address:#x}, where its headers place something")

    def _dynamic(self) -> list[tuple[int, int]]:
        """The tags and values of PT_DYNAMIC."""
        for p_type, offset, _, size in self._headers:
            if p_type == PT_DYNAMIC:
                layout = self._order + ("qQ" if self._wide else "iI")
                section = self._slice(offset, size - size % struct.calcsize(layout))
                pairs = []
                for tag, value in struct.iter_unpack(layout, section):
                    if tag == DT_NULL:
                        break
                    pairs.append((tag, value))
                return pairs
        return []
