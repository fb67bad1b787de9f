"""A folder for temporary files of one child, removed after it: on Lambda, /tmp is kept from one invocation to the next, and fills up."""

from __future__ import annotations

import contextlib
import os
import tempfile
from itertools import count

from shim.invocation import now


def make() -> str:
    """A new folder that only we and our children can enter.

    Raises:
        OSError: there is no place for it.
    """
    return tempfile.mkdtemp(prefix="shim-")


def remove(folder: str, *, until: float) -> None:
    """Removes a folder with all that is in it, as far as that can be done until then.

    Whoever filled it may have nested it deeper than a path can say and taken our right to enter: each folder is given back to us, and
    its folders are moved to the top, so that every path is short.
    """
    waiting = [folder]
    numbers = count()
    emptied = []
    while waiting and now() < until:
        path = waiting.pop()
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
            emptied.append(path)
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.path in waiting or now() > until:
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                        continue
                    with contextlib.suppress(OSError):
                        os.chmod(entry.path, 0o700)
                        higher = os.path.join(folder, f".{next(numbers)}")
                        os.rename(entry.path, higher)
                        waiting.append(higher)
    for path in reversed(emptied):
        with contextlib.suppress(OSError):
            os.rmdir(path)
