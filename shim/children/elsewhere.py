"""Spawning in another folder than our own, which `os.posix_spawn` can't do.

Changing our own folder for a moment would be seen by every other thread; a launcher in between would hide why the executable does not start.
The C library's posix_spawn can do it since glibc 2.29 (musl 1.1.24), with all that Python's passes on, so it is called itself.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_libc = ctypes.CDLL(None)
_ROOM = 1024
"""Bytes for the C library's posix_spawn_file_actions_t, posix_spawnattr_t (80 and 336 in glibc) and sigset_t (128)."""
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80  # <spawn.h>


def can_spawn_elsewhere() -> bool:
    """Whether this C library can."""
    return hasattr(_libc, "posix_spawn_file_actions_addchdir_np")


def spawn_in(
    folder: str,
    arguments: list[str],
    environment: Mapping[bytes, bytes],
    descriptors: list[tuple[int, int]],
    signals: Iterable[int],
) -> int:
    """Starts `arguments[0]` in that folder, leader of its own session, those signals at their default and none blocked.

    Args:
        folder: its current folder.
        arguments: argument 0, the file to run, and the others.
        environment: all of it.
        descriptors: ours → the child's.
        signals: those to set to their default.

    Returns:
        Its process number.

    Raises:
        OSError: it can't be started.
    """
    actions, attributes, signal_set = (ctypes.create_string_buffer(_ROOM) for _ in range(3))
    pid = ctypes.c_int()
    _check(_libc.posix_spawn_file_actions_init(actions))
    _check(_libc.posix_spawnattr_init(attributes))
    try:
        _check(_libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(folder)))
        for ours, theirs in descriptors:
            _check(_libc.posix_spawn_file_actions_adddup2(actions, ours, theirs))
        _libc.sigemptyset(signal_set)
        _check(_libc.posix_spawnattr_setsigmask(attributes, signal_set))
        for number in signals:
            _libc.sigaddset(signal_set, int(number))
        _check(_libc.posix_spawnattr_setsigdefault(attributes, signal_set))
        _check(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)))
        _check(
            _libc.posix_spawn(
                ctypes.byref(pid),
                os.fsencode(arguments[0]),
                actions,
                attributes,
                _texts([os.fsencode(argument) for argument in arguments]),
                _texts([name + b"=" + value for name, value in environment.items()]),
            )
        )
    finally:
        _libc.posix_spawnattr_destroy(attributes)
        _libc.posix_spawn_file_actions_destroy(actions)
    return pid.value


def _texts(values: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(values) + 1))(*values, None)


def _check(number: int) -> None:
    """The posix_spawn family returns an errno."""
    if number:
        raise OSError(number, os.strerror(number))
