"""A folder for temporary files of one child, removed after it: on Lambda, /tmp is kept from one invocation to the next, and fills up.

The child may have put anything in its place, a link to somewhere else as well. So nothing is reached by a path that it could have changed: each
folder is moved beside the first one, which a mount refuses, and is then entered by a descriptor, which follows no link.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

from shim.invocation import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ITSELF = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place() -> str:
    """The path of a folder that is to be made, whose name nobody can guess. It is known before it is there: who is interrupted can still remove it.

    Raises:
        OSError: there is no place for it.
    """
    return os.path.join(tempfile.gettempdir(), f"shim-{os.urandom(8).hex()}")


def make(folder: str) -> None:
    """Makes it, so that only we and our children can enter.

    Raises:
        OSError: that can't be done.
    """
    os.mkdir(folder, 0o700)


def remove(folder: str, *, until: float) -> bool:
    """Removes a folder with all that is in it, as far as that can be done until then, or what is in its place; tells whether nothing is left.

    Whoever filled it may have nested it deeper than a path can say and taken our right to enter: each folder is given back to us. What is left
    has the folder's name and something after it, beside it.
    """
    try:
        base = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return not os.path.lexists(folder)
    try:
        name = os.path.basename(folder)
        waiting: list[str] = []
        try:
            _move(name, base, base, name, waiting)
        except FileNotFoundError:  # its child has removed it, or an interrupt came in the midst of this
            waiting += [other for other in os.listdir(base) if other.startswith(f"{name}-")]
        except OSError:
            return False
        is_whole = True
        while waiting and now() < until:
            try:
                _remove_one(waiting.pop(), base, name, waiting, until)
            except OSError:
                is_whole = False
        return is_whole and not waiting
    finally:
        os.close(base)


def _move(entry: str, inside: int, base: int, name: str, waiting: list[str]) -> None:
    """Moves what is inside one folder beside the first one, where it waits."""
    beside = f"{name}-{os.urandom(8).hex()}"
    try:
        os.rename(entry, beside, src_dir_fd=inside, dst_dir_fd=base)
    except PermissionError:  # to move a folder is to write into it
        with _entered(entry, inside):
            os.rename(entry, beside, src_dir_fd=inside, dst_dir_fd=base)
    waiting.append(beside)


def _remove_one(this: str, base: int, name: str, waiting: list[str], until: float) -> None:
    """Removes what waits under that name. The folders in it wait then.

    Raises:
        OSError: something of it is left.
    """
    try:
        with _entered(this, base) as inside, os.scandir(inside) as entries:
            for entry in entries:
                if now() > until:
                    raise TimeoutError
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        _move(entry.name, inside, base, name, waiting)
                    else:
                        os.unlink(entry.name, dir_fd=inside)
    except NotADirectoryError:  # a link, or a file
        os.unlink(this, dir_fd=base)
    else:
        os.rmdir(this, dir_fd=base)


@contextlib.contextmanager
def _entered(folder: str, parent: int) -> Iterator[int]:
    """A descriptor of a folder that is ours, which we may do anything in from now on.

    Raises:
        NotADirectoryError: it is none; a link to one is none, either.
    """
    itself = os.open(folder, ITSELF, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{itself}", 0o700)
        inside = os.open(f"/proc/self/fd/{itself}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(itself)
    try:
        yield inside
    finally:
        os.close(inside)
