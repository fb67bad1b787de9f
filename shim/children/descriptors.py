"""Which descriptors a child gets: the standard ones (and 3), and no other of ours."""

from __future__ import annotations

import os

CLOSES_THE_REST: int | None = getattr(os, "POSIX_SPAWN_CLOSEFROM", None)
"""How `os.posix_spawn` is told to close all others in the child; None before Python 3.13 and glibc 2.34."""


def open_standard_descriptors() -> None:
    """Opens /dev/null where the host has closed 0, 1 or 2: what is opened next would take their place, and the log would go there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def seal_descriptors() -> None:
    """Makes every descriptor but the standard ones close-on-exec.

    Python opens its own so, but awslambdaric's HTTP client (libcurl) does not: a child would hold its connection to the Runtime API. That
    connection is made after init and made anew when it breaks, so once at init is not enough.
    """
    for name in os.listdir("/proc/self/fd"):
        if len(name) > 1 or name > "2":
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the one that listed the folder


def lift(pipes: list[tuple[int, int]], *, above: int) -> None:
    """Moves every end of the pipes above a number, since those up to it are what the child's own will take.

    Raises:
        OSError: no descriptor is left.
    """
    for index, ends in enumerate(pipes):
        for place, end in enumerate(ends):
            if end <= above:
                import fcntl  # noqa: PLC0415 - only where the host has closed one of its own

                moved = list(pipes[index])
                moved[place] = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, above + 1)
                pipes[index] = (moved[0], moved[1])
                os.close(end)
