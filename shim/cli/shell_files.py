"""What Typer rewrites in place when it installs the completion: whatever happens to it then, the shell's own file is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REWRITTEN = (".bashrc", ".zshrc")


class Homeless(Exception):
    """There is no folder in which the files of a shell could be."""


@contextmanager
def kept() -> Iterator[None]:
    """If what stands inside does not end with success, the files are what they were: a copy takes their place, which needs no space any more.

    Raises:
        Homeless: there is nothing to be rewritten.
        OSError: no copy can be made.
    """
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise Homeless
    with ExitStack() as copies:
        for path in (os.path.realpath(os.path.join(home, name)) for name in REWRITTEN):
            if os.path.isfile(path):
                number, copy = tempfile.mkstemp(prefix=f"{os.path.basename(path)}-", dir=os.path.dirname(path))
                os.close(number)
                copies.callback(_remove, copy)
                shutil.copy2(path, copy)
                copies.push(_Restores(path, copy))
        yield


class _Restores:
    def __init__(self, path: str, copy: str) -> None:
        self._path = path
        self._copy = copy

    def __enter__(self) -> None:
        """A copy is there."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is not None and not (isinstance(error, SystemExit) and not error.code):  # Typer's success is an exit
            os.replace(self._copy, self._path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return  # it has taken the other's place
