"""What there is at one moment that invocations could leave behind, and the comparison of two such moments."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shim.children.sweep import MARK

if TYPE_CHECKING:
    from .stage import Stage

GROWTH = 1024 * 1024
"""Bytes by which our memory may grow. What is free is given back before it is measured, but for what the C library and Python keep in lists of
their own and for pages that hold something else as well: 0.3 to 0.7 MB more after 10,000 invocations, and no more after 30,000.
A leak of 110 bytes an invocation is found by 10,000 of them, one of 1.1 KB by the tenth."""


class Inventory(NamedTuple):
    """What there is: each thing with a text by which a person finds it."""

    processes: dict[int, str]
    """By number: our children, zombies too, what bears the mark of a child of ours, and what runs a program of the stage."""
    descriptors: list[str]
    threads: list[str]
    files: list[str]
    """Files and folders under the stage's temporary folder."""
    memory: int
    """Bytes of ours that are resident."""


class Row(NamedTuple):
    """One line of the comparison; numbers of things, or bytes."""

    what: str
    before: int
    after: int
    allowed: int
    """By how much there may be more."""
    left: list[str]
    """What is there now and was not."""

    @property
    def is_left(self) -> bool:
        """Whether there is more than may be."""
        return self.after > self.before + self.allowed


def take_inventory(stage: Stage) -> Inventory:
    """What there is now."""
    return Inventory(
        processes=_processes(str(stage.folder)),
        descriptors=_descriptors(),
        threads=[f"{number}" for number in os.listdir("/proc/self/task")],
        files=[str(path.relative_to(stage.temporary)) for path in sorted(stage.temporary.rglob("*"))],
        memory=memory(),
    )


def memory() -> int:
    """Bytes of ours that are resident, once all that is free has been given back."""
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc keeps what is freed
    if give_back is not None:
        give_back(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE")


def compare(before: Inventory, after: Inventory) -> list[Row]:
    """A row for each kind of thing."""

    def row(what: str, then: list[str], now: list[str]) -> Row:
        return Row(what, len(then), len(now), 0, sorted(set(now) - set(then)))

    return [
        row("processes", list(before.processes.values()), list(after.processes.values())),
        row("descriptors", before.descriptors, after.descriptors),
        row("threads", before.threads, after.threads),
        row("files", before.files, after.files),
        Row("memory", before.memory, after.memory, GROWTH, []),
    ]


def kill(processes: dict[int, str]) -> None:
    """What was left, once it is told: nobody else would end it."""
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _processes(folder: str) -> dict[int, str]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return {pid: text for pid in numbers if pid != os.getpid() and (text := _ours(pid, folder))}


def _ours(pid: int, folder: str) -> str:
    """The process as a text, if it is one of ours; else nothing."""
    place = Path(f"/proc/{pid}")
    try:
        name, _, rest = (place / "stat").read_text(errors="replace").rpartition(")")
        state, parent = rest.split()[:2]
        text = f"{name}) {state}"
        if int(parent) == os.getpid() or (place / "exe").readlink().is_relative_to(folder):
            return text
        return text if b"%s=%d-" % (MARK, os.getpid()) in (place / "environ").read_bytes() else ""
    except OSError:  # it has gone, is a kernel's thread, a stranger's zombie or another user's
        return ""


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:  # the one by which they were listed
            continue
    return found
