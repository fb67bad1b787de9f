"""Wheels without a network: as pip takes them, but with nothing of use in them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

if TYPE_CHECKING:
    from pathlib import Path


def fill(folder: Path, *names: str, tag: str = "py3-none-any", version: str = "99.0") -> Path:
    """The folder, with a wheel for each name."""
    folder.mkdir(exist_ok=True)
    for name in names:
        about = f"{name}-{version}.dist-info"
        with ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
            wheel.writestr(f"{name}/_native.abi3.so", "not really")
            wheel.writestr(f"{name}/__pycache__/__init__.cpython-313.pyc", "of an untidy builder")
            wheel.writestr(f"{name}-{version}.data/platlib/{name}/data.py", "")
            wheel.writestr(f"{name}-{version}.data/scripts/{name}", "#!python")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{about}/licenses/LICENSE", "MIT")
            wheel.writestr(f"{about}/RECORD", "")
            wheel.writestr(f"{about}/direct_url.json", "{}")
    return folder


def packed(name: str, version: str = "99.0") -> set[str]:
    """The files of one of them that go into a package."""
    about = f"{name}-{version}.dist-info"
    files = {f"{name}/__init__.py", f"{name}/_native.abi3.so", f"{name}/data.py"}
    return files | {f"{about}/METADATA", f"{about}/WHEEL", f"{about}/licenses/LICENSE"}
