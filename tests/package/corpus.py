"""The corpus of good and broken files: fixtures/elf/corpus.toml says what each is and how it is made; here they are made."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import FIXTURES, missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HERE = FIXTURES / "elf"
TABLE: Mapping[str, dict[str, Any]] = tomllib.loads((HERE / "corpus.toml").read_text())
SEARCH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
"""Go comes with the project's own packages for development."""


@dataclass(frozen=True)
class Corpus:
    """Makes the files, each once, in a folder of its own.

    Attributes:
        folder: where.
    """

    folder: Path

    def file(self, name: str) -> Path:
        """The file of that name in the corpus, its libraries beside it; the test is skipped, or fails in CI, where a tool for it is missing."""
        path = self.folder / name / name
        if not path.exists():
            self._make(name, path)
        return path

    def _make(self, name: str, path: Path) -> None:
        entry = TABLE[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if "run" in entry:
            for command in entry["run"]:
                self._run(command, path, optional=entry.get("optional", False))
        else:
            path.write_bytes(self._content(entry))
        path.chmod(0o755)

    def _content(self, entry: Mapping[str, Any]) -> bytes:
        if "text" in entry:
            return str(entry["text"]).encode()
        if "hex" in entry:
            return bytes.fromhex(entry["hex"])
        content = bytearray(self.file(entry["of"]).read_bytes())
        for place, change in entry.get("poke", ()):
            content[place : place + len(change) // 2] = bytes.fromhex(change)
        if entry.get("sectionless"):
            content = without_sections(content)
        return bytes(content[: entry.get("cut")])

    def _run(self, command: list[str], path: Path, *, optional: bool) -> None:
        values = {"here": str(HERE), "out": str(path)}
        values |= {other: str(self.file(other)) for other in TABLE if f"{{{other}}}" in command}
        words = [word.format_map(values) for word in command]
        tool = next(word for word in words if word != "env" and "=" not in word)
        if shutil.which(tool, path=SEARCH) is None:
            if optional:
                pytest.skip(f"there is no {tool}")
            missing(f"there is no {tool}")
        environment = os.environ | {"PATH": SEARCH, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
        environment["CRYSTAL_CACHE_DIR"] = str(self.folder / "crystal")  # two compilers at once must not share it
        made = subprocess.run(words, cwd=path.parent, env=environment, check=False, capture_output=True, text=True)
        if made.returncode != 0:
            pytest.fail(f"{' '.join(words)}: {made.stderr}")


def without_sections(content: bytearray) -> bytearray:
    """An ELF file of 64 bits without its section headers and what no segment holds."""
    (e_phoff,) = struct.unpack_from("<Q", content, 32)
    e_phentsize, e_phnum = struct.unpack_from("<HH", content, 54)
    places = [e_phoff + e_phentsize * number for number in range(e_phnum)]
    end = max(sum(struct.unpack_from("<Q16xQ", content, place + 8)) for place in places)
    struct.pack_into("<Q", content, 40, 0)
    struct.pack_into("<3H", content, 58, 0, 0, 0)
    return content[:end]
