"""The place where executables act: a folder that is the current one, a temporary folder of its own, and the log in a file in memory."""

from __future__ import annotations

import os
import resource
import tempfile
from typing import TYPE_CHECKING, Self

from shim.testing.executables import compile_actor

if TYPE_CHECKING:
    from pathlib import Path


class Stage:
    """From its entry to its exit, descriptor 2 is a file in memory: what the function's log would be.

    The temporary folder is ours alone, so that strangers' files are not counted.

    Args:
        folder: empty, and the caller's to remove.

    Raises:
        FileNotFoundError: there is no C compiler.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.actor = str(compile_actor(folder))
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
        os.chdir(folder)
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # core files are the kernel's doing

    def __enter__(self) -> Self:
        self._log = os.memfd_create("log")
        self._standard_error = os.dup(2)
        os.dup2(self._log, 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._standard_error, 2)
        os.close(self._standard_error)
        os.close(self._log)

    def take_log(self) -> bytes:
        """What was logged since it was last taken."""
        logged = os.pread(self._log, os.fstat(self._log).st_size, 0)
        os.ftruncate(self._log, 0)
        os.lseek(self._log, 0, os.SEEK_SET)
        return logged
