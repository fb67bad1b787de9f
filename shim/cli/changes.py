"""Which files have changed on disk: those that a function is made of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from watchfiles import DefaultFilter, awatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from watchfiles import Change


async def changes(files: Sequence[str]) -> AsyncIterator[list[str]]:
    """The files that have changed, each time that some did. Of a folder those are watched that belong to no tool (`.git`, `__pycache__`).

    Args:
        files: absolute paths of files, or of one folder.
    """
    async for found in _watcher(files):
        yield sorted({path for _, path in found})


def _watcher(files: Sequence[str]) -> AsyncIterator[set[tuple[Change, str]]]:
    if os.path.isdir(files[0]):
        return awatch(files[0], watch_filter=DefaultFilter())
    watched = set(files)
    folders = {os.path.dirname(file) for file in files}  # a file that is replaced is another one, in the same folder
    return awatch(*folders, recursive=False, watch_filter=lambda _change, path: path in watched)
