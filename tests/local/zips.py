"""Deployment packages by hand: what a function needs from where it is installed here, and a program."""

from __future__ import annotations

import stat
from importlib.metadata import distribution
from typing import TYPE_CHECKING
from zipfile import ZipFile, ZipInfo

from shim.package.own import own_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NEEDED = ("orjson", "psutil")


def zipped(path: Path, files: Mapping[str, bytes | str], *, programs: Iterable[str] = ()) -> Path:
    """The zip with these files, of which those programs may be run."""
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o755 if name in programs else 0o644)) << 16
            archive.writestr(info, content)
    return path


def package(
    path: Path,
    program: str,
    settings: str = "",
    *,
    without: str = "",
    own_runtime: bool = False,
    more: Mapping[str, bytes | str] | None = None,
) -> Path:
    """The zip of a function for this Python, as `shim pack` lays it out.

    Args:
        path: of the zip.
        program: what follows `#!/bin/sh` in the executable.
        settings: what follows the executable in shim.toml.
        without: a package that is not in it.
        own_runtime: whether our own runtime is in it.
        more: files that it has besides.
    """
    files: dict[str, bytes | str] = {}
    for name in NEEDED:
        for file in distribution(name).files or ():
            if name != without and ".." not in file.parts and "__pycache__" not in file.parts:
                files[str(file)] = file.read_binary()
    files |= {file.name: b"".join(file.pieces()) for file in own_files(with_runtime=own_runtime)}
    files |= {"program": f"#!/bin/sh\n{program}\n", "shim.toml": f'executable = "program"\n{settings}\n'}
    return zipped(path, {**files, **(more or {})}, programs=("program", "bootstrap", "shim/runtime/wrapper"))
