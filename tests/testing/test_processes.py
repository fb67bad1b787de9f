"""A process is found by its mark whenever it is looked at, also in the middle of an exec."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from shim.testing import processes
from shim.testing.processes import Marked

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "mark-of-test-processes"


@pytest.fixture
def found() -> Iterator[tuple[Marked, int]]:
    """A look, and the number of a marked process that has its arguments and its environment."""
    marked = Marked(MARK)
    with subprocess.Popen(["/bin/cat"], env={"MARK": MARK}, stdin=subprocess.PIPE) as child:
        processes.eventually(lambda: marked.leaders() == [child.pid], "it is found")
        yield marked, child.pid


@pytest.mark.parametrize("empty", [{"environ"}, {"cmdline", "environ"}])
def test_a_process_that_has_no_environment_for_a_moment_is_found(
    empty: set[str], found: tuple[Marked, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between two programs: its arguments may have been read just before."""
    marked, pid = found
    content = processes._content  # noqa: SLF001 - what the kernel tells
    hidden = [f"/proc/{pid}/{place}" for place in sorted(empty)] * 5

    def during_exec(path: str) -> bytes:
        if path not in hidden:
            return content(path)
        hidden.remove(path)
        return b""

    monkeypatch.setattr(processes, "_content", during_exec)

    assert marked.leaders() == [pid]
    assert hidden == []


def test_one_that_has_no_mark_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STARTING", 0.02)
    marked = Marked(MARK)
    with subprocess.Popen(["/bin/cat"], env={}, stdin=subprocess.PIPE):
        assert marked.leaders() == []
