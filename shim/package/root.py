"""A folder of this machine that stands for a place in another's file system: a whole system, a sysroot, an unpacked package."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shim.elf import Content

LINKS = 40
"""Links that are followed in one path, as by the kernel (path_resolution(7))."""


class FileSystem(Protocol):
    """Where a loader looks for files. Paths are absolute ones, as the loader will see them."""

    def real(self, path: str) -> str | None:
        """The path with every link followed, whether something is there or not; None where they lead in a circle."""

    def file(self, path: str) -> str | None:
        """The file behind a path, as this machine or an archive names it; None where the path leads out of what is known."""

    def content(self, path: str) -> Content:
        """The bytes of the file at a path.

        Raises:
            FileNotFoundError: nothing is there.
            OSError: it can't be read, or is no regular file.
        """

    def has(self, path: str) -> bool:
        """Whether there is a folder or a file."""


class Root:
    """A `FileSystem` that is a folder of this machine.

    Args:
        folder: the folder: `/`, a sysroot, an unpacked package.
        place: where it will be: `/` for a whole system, `/var/task` for a package. Nothing is known of what is outside of it.
    """

    def __init__(self, folder: str = "/", place: str = "/") -> None:
        self._folder = os.path.abspath(folder).rstrip("/")
        self._place = os.path.normpath(place).rstrip("/")
        self._links: dict[str, str | None] = {}

    def real(self, path: str) -> str | None:
        """Links are followed inside the root, absolute ones from its top."""
        todo, done, links = path.split("/")[::-1], [""], 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[max(len(done) - 1, 1) :]
            elif part not in {"", "."}:
                target = self._link("/".join([*done, part]))
                if target is None:
                    done.append(part)
                    continue
                links += 1
                if links > LINKS:
                    return None
                done = [""] if target.startswith("/") else done
                todo += target.split("/")[::-1]
        return "/".join(done) or "/"

    def file(self, path: str) -> str | None:
        """The file of this machine."""
        real = self.real(path)
        return None if real is None else self._here(real)

    def content(self, path: str) -> Content:
        """The bytes, read where they are asked for."""
        file = self.file(path)
        if file is None:
            raise FileNotFoundError(f"{path} is outside of {self._place or '/'}")
        return FileContent(file)

    def has(self, path: str) -> bool:
        """Whether there is a folder or a file of this machine."""
        file = self.file(path)
        return file is not None and os.path.exists(file)

    def _here(self, path: str) -> str | None:
        if path != self._place and not path.startswith(f"{self._place}/"):
            return None
        return f"{self._folder}{path[len(self._place) :]}" or "/"

    def _link(self, path: str) -> str | None:
        """Where a link leads; None for all that is no link."""
        if path not in self._links:
            here = self._here(path)
            try:
                self._links[path] = None if here is None else os.readlink(here)
            except (OSError, ValueError):
                self._links[path] = None
        return self._links[path]


class FileContent:
    """A file's bytes, read where they are asked for. It holds no descriptor, so that any number of them may live.

    Raises:
        OSError: the file is not there, can't be read, or is no regular file.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"is no file ({stat.filemode(found.st_mode)})")
        self._size = found.st_size
        os.close(os.open(file, os.O_RDONLY | os.O_CLOEXEC))  # whether it may be read is known from here on

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            start = part.start or 0
            return os.pread(descriptor, part.stop - start, start)
        finally:
            os.close(descriptor)
