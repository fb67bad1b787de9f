"""Pipes and memory for what is large: fewer turns, and fewer pages to make anew, for the same bytes."""

from __future__ import annotations

import errno
import fcntl
import sys
import termios
from functools import cache

LARGE_BLOCK = 31 * 1024 * 1024
"""Just below the most that glibc takes for an example (DEFAULT_MMAP_THRESHOLD_MAX)."""


@cache
def keep_large_blocks() -> None:
    """Lets the C library keep large blocks for the next invocation.

    glibc gives a large block back to the kernel at once, and every page of the next one costs a fault (3 ms for 6 MB), until it has seen a
    block of this size freed: from then on it keeps up to twice as much (mallopt(3), M_MMAP_THRESHOLD). This one is never touched.
    """
    bytes(LARGE_BLOCK)


def left(descriptor: int) -> int:
    """How many bytes are in the pipe."""
    count = bytearray(4)  # an int of C's; into a buffer that can be written to, the call takes a third of the time
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def enlarge(descriptor: int, size: int) -> None:
    """Lets the pipe hold so many bytes, where the user may have that."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY):  # the user's pipes have too many pages already
            raise
