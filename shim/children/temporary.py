"""A folder for temporary files of one child, removed after it: on Lambda, /tmp is kept from one invocation to the next, and fills up."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shim.logs import Log


@contextlib.contextmanager
def fresh_tmp(environment: Mapping[bytes, bytes], log: Log) -> Iterator[dict[bytes, bytes]]:
    """The environment with a `TMPDIR` that is there until the block ends."""
    folder = tempfile.mkdtemp(prefix="shim-")
    try:
        yield {**environment, b"TMPDIR": os.fsencode(folder)}
    finally:
        shutil.rmtree(folder, onerror=_make_writable_and_retry)
        if os.path.lexists(folder):
            log.note(f"{folder} could not be removed")


def _make_writable_and_retry(_remove: object, path: str, _error: object) -> None:
    """The child may have taken our right to remove what is in a folder of its own."""
    with contextlib.suppress(OSError):
        for folder in (os.path.dirname(path), path):
            if os.path.isdir(folder) and not os.path.islink(folder):
                os.chmod(folder, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
