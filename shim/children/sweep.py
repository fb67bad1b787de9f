"""What a child left behind is found and killed: nothing of an invocation outlives it.

The kernel's last process number (the end of /proc/loadavg, a read of 2 µs) tells whether anything was started since the child was. Only the
numbers between the two are looked at. A process is the child's if it is in its session or group, if it carries the child's mark in its
environment, or if it is an orphan, born since, where every such orphan must be ours: see `orphanage`.

Out of reach: a process that left the session and wiped its environment, where nobody knows whose orphan it is.
"""

from __future__ import annotations

import os
import signal

from shim.invocation import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK = b"SHIM_CHILD"
"""The variable by which the environment of a process tells whose it is."""

FEW = 512
"""Up to so many process numbers are tried one by one (1.5 µs each where there is no process); beyond, /proc is listed."""

driven: set[int] = set()
"""The children that are in an invocation now, of every Shim in this process."""

_subreaper = False
_loadavg: int | None = None


def set_subreaper(on: bool) -> None:
    """Makes this process the parent of every orphan among its descendants, so that none is out of reach; or no longer.

    For a process of our own (the command line, a test), since new orphans are taken for a child's. Lambda refuses it.

    Raises:
        OSError: the kernel refuses.
    """
    import ctypes  # noqa: PLC0415 - not on the path of an invocation in Lambda

    global _subreaper  # noqa: PLW0603 - it is a property of the process, and so kept once
    pr_set_child_subreaper = 36  # <linux/prctl.h>
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_child_subreaper, int(on), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to make this process a subreaper")
    _subreaper = on


def alone_on_lambda(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether every orphan here is ours: the sandbox of a managed runtime on Lambda itself, with one invocation at a time.

    An emulator on a developer's machine sets most of these variables too, but not AWS_EXECUTION_ENV, which only Lambda's managed runtimes have.
    """
    return (
        environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_")
        and environ.get("LAMBDA_TASK_ROOT") == "/var/task"
        and "AWS_LAMBDA_RUNTIME_API" in environ
        and "AWS_LAMBDA_MAX_CONCURRENCY" not in environ
    )


def orphanage(alone: bool) -> int | None:
    """The parent whose new children are our child's orphans: ours if we are the subreaper, 1 if we are alone on Lambda; else nobody's."""
    if len(driven) > 1:
        return None
    if _subreaper:
        return os.getpid()
    return 1 if alone else None


def last_pid() -> int:
    """The number that the kernel gave to the newest process or thread."""
    global _loadavg  # noqa: PLW0603 - opened once in a process and kept: opening it costs more than reading it
    if _loadavg is None:
        _loadavg = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    return int(os.pread(_loadavg, 128, 0).rpartition(b" ")[2])


def sweep(child: int, mark: bytes, *, alone: bool, until: float) -> int:
    """Kills what the child left behind, again and again until nothing is found or the time is over; returns how many there were.

    Must run while the child is a zombie: until it is reaped, its number can't become a stranger's session.
    """
    found: set[int] = set()
    while True:
        parent = orphanage(alone)
        last = last_pid()
        alive = [pid for pid in _born_since(child, last) if pid not in driven and _is_of(pid, child, mark, parent)]
        found.update(alive)
        kill_group(child)
        for pid in alive:
            _kill(pid, child, mark, parent)
        # A process that has ended may have started another after we asked for the last number.
        if now() > until or (not alive and last_pid() == last):
            break
    if orphanage(alone) == os.getpid():
        _reap_adopted(child)
    return len(found)


def _born_since(child: int, last: int) -> Iterator[int]:
    """Every process number that the kernel may have given since the child's, up to the last. They wrap at pid_max."""
    if 0 <= last - child <= FEW:
        yield from range(child + 1, last + 1)
        return
    for name in os.listdir("/proc"):
        if name.isdecimal():
            pid = int(name)
            if child < pid <= last or (last < child and (pid > child or pid <= last)):
                yield pid


def _look(pid: int) -> tuple[bytes, int, int, int] | None:
    """State, parent, group and session of a process; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # "pid (name) state ppid pgrp session …", and the name may hold anything: proc(5)
            state, parent, group, session = file.read(1024).rpartition(b")")[2].split(maxsplit=4)[:4]
    except (OSError, ValueError):
        return None
    return state, int(parent), int(group), int(session)


def _is_of(pid: int, child: int, mark: bytes, orphans_of: int | None) -> bool:
    """Whether that process lives and is the child's."""
    look = _look(pid)
    if look is None:
        return False
    state, parent, group, session = look
    if state in (b"Z", b"X"):
        return False
    if child in (session, group) or parent == orphans_of:
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return mark in (file.readall() or b"")
    except OSError:  # gone, or another user's
        return False


def kill_group(child: int, number: int = signal.SIGKILL) -> None:
    """Signals the group that the child leads, and whose number is its own until it is reaped."""
    try:
        os.killpg(child, number)
    except PermissionError:
        pass  # all of it runs as another user (a setuid program), and can't be signalled by us
    except ProcessLookupError:
        pass  # somebody else has reaped it, which reaping will tell


def _kill(pid: int, child: int, mark: bytes, orphans_of: int | None) -> None:
    """Kills the process, if its number has not become another's since it was looked at."""
    pidfd = None
    try:
        pidfd = os.pidfd_open(pid)
        if _is_of(pid, child, mark, orphans_of):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except (OSError, AttributeError):  # a thread's number (EINVAL), or no pidfd on this system
        _kill_by_number(pid)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _kill_by_number(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def _reap_adopted(child: int) -> None:
    """Reaps what fell to us, as the subreaper, and is dead."""
    for pid in _born_since(child, last_pid()):
        look = _look(pid)
        if look and look[:2] == (b"Z", os.getpid()) and pid not in driven:
            os.waitpid(pid, os.WNOHANG)
