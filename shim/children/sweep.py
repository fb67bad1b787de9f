"""What a child left behind is found and killed: nothing of an invocation outlives it.

The kernel's last process number (the end of /proc/loadavg, a read of 2 µs) tells whether anything was started since the child was. Only the
numbers between the two are looked at. A process is the child's if it is in its session or group, if it carries the child's mark in its
environment, or if it is an orphan, born since, where every such orphan must be ours: see `orphanage`.

Out of reach: a process that left the session and wiped its environment, where nobody knows whose orphan it is.
"""

from __future__ import annotations

import os

from shim.invocation import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator, Mapping
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

MARK = b"SHIM_CHILD"
"""The variable by which the environment of a process tells whose it is."""

EMULATED = "SHIM_EMULATED"
"""The variable by which our emulator's sandbox, which looks like Lambda in all else, says what it is."""

FEW = 512
"""Up to so many process numbers are tried one by one (1.5 µs each where there is no process); beyond, /proc is listed."""

BRIEF = 0.3
"""Seconds in which the kernel can't count through all process numbers; after a longer time /proc is listed."""

driven: dict[bytes, list[int]] = {}
"""The children of every Shim in this process, from just before their start to their end: their marks, and their numbers, once they have one."""

waiting: dict[int, bytes] = {}
"""Those among them that wait for their one invocation, and their marks."""

_subreaper = False
_loadavg: int | None = None


def forget(mark: bytes) -> None:
    """The child with that mark is driven no more."""
    for pid in driven.pop(mark, ()):
        waiting.pop(pid, None)


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


def ignores_sigchld() -> bool:
    """Whether the kernel throws away how children end."""
    return bool(signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)


def alone_on_lambda(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether every orphan here is ours: on Lambda itself, with one invocation at a time. Our emulator's sandbox looks like Lambda, and shares
    its processes with everybody.
    """
    return on_lambda(environ) and not {"AWS_LAMBDA_MAX_CONCURRENCY", EMULATED} & environ.keys()


def on_lambda(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the sandbox of a managed runtime on Lambda itself.

    An emulator on a developer's machine sets most of these variables too, but not AWS_EXECUTION_ENV, which only Lambda's managed runtimes have.
    """
    return (
        environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_")
        and environ.get("LAMBDA_TASK_ROOT") == "/var/task"
        and "AWS_LAMBDA_RUNTIME_API" in environ
    )


def orphanage(alone: bool) -> int | None:
    """The parent whose new children are our child's orphans: ours if we are the subreaper, 1 if we are alone on Lambda; else nobody's."""
    if len(driven) - len(waiting) > 1:
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


def numbers() -> set[int]:
    """Those of all the children that are driven."""
    return {pid for born in list(driven.values()) for pid in born}


def sweep(child: int, mark: bytes, *, alone: bool, lived: float, until: float) -> int:
    """Kills what the child left behind, again and again until nothing is found or the time is over; returns how many there were.

    Must run while the child is a zombie: until it is reaped, its number can't become a stranger's session. `lived` is its age in seconds.
    """
    found: set[int] = set()
    started = look_at(child)
    born = started.born if started else 0
    while True:
        orphans_of = orphanage(alone)
        last = last_pid()
        alive = False
        ours = numbers()
        for pid in _newer(child, last, few=lived < BRIEF):
            if now() > until:
                break
            is_ours = pid not in ours and _is_of(pid, child, born, mark, orphans_of)
            if is_ours:
                found.add(pid)
                _kill(pid, child, born, mark, orphans_of)
            alive = alive or is_ours is not False
        kill_group(child)
        # A process that has ended may have started another after we asked for the last number.
        if now() > until or (not alive and last_pid() == last):
            break
    if orphanage(alone) == os.getpid():
        _reap_adopted(child)
    return len(found)


class Look:
    """What /proc/PID/stat says of a process or thread (proc_pid_stat(5)). Together its number and its birth are its own for ever."""

    __slots__ = (
        "_begin",
        "_end",
        "_memory",
        "born",
        "exit_signal",
        "flags",
        "group",
        "parent",
        "pid",
        "session",
        "state",
        "threads",
    )

    def __init__(self, pid: int, stat: bytes) -> None:
        # "pid (name) state ppid pgrp session …", and the name may hold anything
        fields = stat.rpartition(b")")[2].split()
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = map(int, fields[1:4])
        self.flags = int(fields[6])
        self.threads = int(fields[17])
        self.born = int(fields[19])
        self._memory = int(fields[20])
        self.exit_signal = int(fields[35])
        """What its parent gets at its end: -1, nothing, if it is a thread."""
        self._begin, self._end = map(int, fields[47:49])
        """Where in its memory its environment is."""

    @property
    def may_have_variables(self) -> bool:
        """Whether something is in its environment, or is to be: in the midst of execve it has new memory, in which there is none yet."""
        return self._memory > 0 and (self._begin != self._end or self._end == 0)


def look_at(pid: int) -> Look | None:
    """A look at a process or thread; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return Look(pid, file.read(2048))
    except (OSError, ValueError, IndexError):
        return None


def _newer(child: int, last: int, *, few: bool) -> Iterable[int]:
    """The numbers that may be of processes that were started since the child was; some are older, some of threads, some of nothing.

    Where they are few they are tried one by one. After a longer time the kernel may have counted to pid_max and begun again.
    """
    if few and 0 <= last - child <= FEW:
        return range(child + 1, last + 1)
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _is_of(pid: int, child: int, born: int, mark: bytes, orphans_of: int | None) -> bool | None:
    """Whether that is a process (and no thread of one) that lives, was started since the child was, and is the child's; None where it may be."""
    look = look_at(pid)
    if look is None or look.born < born or pid == child:
        return False
    if look.state in (b"Z", b"X") and look.threads < 2:  # its first thread may have ended while others live
        return False
    is_marked = child in (look.session, look.group) or _is_marked(pid, mark)
    if is_marked:
        return _leads_its_threads(pid)
    if look.parent != orphans_of or look.session in waiting or look.group in waiting:
        return is_marked
    for other in list(waiting.values()):
        if (is_others := _is_marked(pid, other)) is not False:
            return None if is_others is None else False
    return _leads_its_threads(pid)


def _is_marked(pid: int, mark: bytes) -> bool | None:
    """Whether the environment that it was started with holds the mark; None where that can't be told yet. That of another user's can't be read."""
    shown = None
    for place in (f"/proc/{pid}/environ", *(f"/proc/{pid}/task/{thread}/environ" for thread in _other_threads(pid))):
        try:
            with open(place, "rb", buffering=0) as file:
                shown = file.readall() or b""
        except OSError:
            continue
        if mark in shown:
            return True
    look = look_at(pid) if shown == b"" else None
    return None if look and look.may_have_variables else False


def _other_threads(pid: int) -> Iterator[str]:
    """The threads of a process whose first has ended, and which shows no environment any more."""
    look = look_at(pid)
    if look is not None and look.state == b"Z":
        try:
            yield from os.listdir(f"/proc/{pid}/task")
        except OSError:
            return


def _leads_its_threads(pid: int) -> bool:
    """Whether the number is a process's. To kill a thread's number kills the whole process: ours, if it is one of ours."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            return b"\nTgid:\t%d\n" % pid in (file.readall() or b"")
    except OSError:
        return False


def kill_group(child: int, number: int = signal.SIGKILL) -> None:
    """Signals the group that the child leads, and whose number is its own until it is reaped."""
    try:
        os.killpg(child, number)
    except PermissionError:
        pass  # all of it runs as another user (a setuid program), and can't be signalled by us
    except ProcessLookupError:
        pass  # somebody else has reaped it, which reaping will tell


def _kill(pid: int, child: int, born: int, mark: bytes, orphans_of: int | None) -> None:
    """Kills the process, if its number has not become another's since it was looked at."""
    pidfd = None
    try:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except (AttributeError, OSError):  # no such call here, or a sandbox refuses it
            if _is_of(pid, child, born, mark, orphans_of):
                os.kill(pid, signal.SIGKILL)
            return
        if _is_of(pid, child, born, mark, orphans_of):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        pass  # it has gone, or is another user's
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _reap_adopted(child: int) -> None:
    """Reaps what fell to us, as the subreaper, and is dead."""
    for name in os.listdir("/proc"):
        look = look_at(int(name)) if name.isdecimal() else None
        if look and (look.state, look.parent) == (b"Z", os.getpid()) and int(name) not in numbers() | {child}:
            os.waitpid(int(name), os.WNOHANG)
