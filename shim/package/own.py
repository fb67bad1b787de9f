"""What of `shim` itself goes into a package: what a function needs, and nothing of the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import shim
from shim.errors import PackageError
from shim.package.tree import DATA, PROGRAM, File, of_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

LEFT_OUT = {"cli", "local", "package", "project", "testing", "pytest_plugin.py", "__pycache__"}
RUNTIME = "runtime"
"""Needed where it takes the place of AWS's."""
WRAPPER = "shim/runtime/wrapper"
"""The file to which AWS_LAMBDA_EXEC_WRAPPER leads, which must be executable."""


def own_files(*, with_runtime: bool) -> Iterator[File]:
    """The files of `shim`, as they are installed here, without byte code: what there is may be of another Python, and tells when it was made.

    Raises:
        PackageError: they can't be read.
    """
    folder = os.path.dirname(os.path.abspath(shim.__file__))
    left_out = LEFT_OUT if with_runtime else LEFT_OUT | {RUNTIME}
    for file in of_folder(folder):
        parts = file.name.split("/")
        if parts[0] in left_out or "__pycache__" in parts or any(part.startswith(".") for part in parts):
            continue
        if file.is_link or not isinstance(file.source, str):
            raise PackageError(f"{file.origin}, a part of shim itself, is a link; install lambda-shim anew")
        name = f"shim/{file.name}"
        yield File(name, PROGRAM if name == WRAPPER else DATA, file.size, file.source)
