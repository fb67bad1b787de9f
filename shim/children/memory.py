"""How much memory a child had at most, by looks at it while it lives.

What the kernel counts for a child that was spawned begins with its parent's peak (getrusage(2), ru_maxrss: the peak goes through exec), so it
tells nothing of a child that is smaller than we are. VmHWM is its own, and is gone with its memory as soon as it ends.
"""

from __future__ import annotations


class Memory:
    """What was seen of one child: when its reply began, and before it was stopped. A look takes 14 µs."""

    __slots__ = ("ours", "seen")

    def __init__(self) -> None:
        self.seen = 0
        """The most bytes that it had had when we looked; 0 where it had ended already."""
        self.ours = 0
        """Our own peak when it was started."""

    def look(self, pid: int) -> None:
        """Looks (proc_pid_status(5))."""
        try:
            with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
                found = (file.read(4096) or b"").partition(b"\nVmHWM:")[2].split(maxsplit=1)
        except OSError:  # hidden from us
            return
        if found:
            self.seen = max(self.seen, int(found[0]) * 1024)


def tree_rss(pid: int) -> int:
    """The memory that a process and its descendants take now, in bytes; 0 for one that has gone."""
    import psutil  # noqa: PLC0415 - loaded at init where it is asked for: it takes long

    taken = 0
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in tree:
        try:
            taken += one.memory_info().rss
        except psutil.Error:  # it has gone since
            continue
    return taken
