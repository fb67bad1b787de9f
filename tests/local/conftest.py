"""A folder in which functions run, of which nothing may be left: no process in it, no descriptor of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shim.children.sweep import last_pid
from tests.conftest import descriptors, eventually
from tests.real.session import kill, left_in, processes_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The deployment package, empty, and its end."""
    root = tmp_path / "task"
    root.mkdir()
    last_pid()  # keeps a descriptor for ever
    before = descriptors()
    yield root
    left = left_in(root)
    while members := processes_in(root):  # they may still become more
        for pid in members:
            kill(pid)

    assert left == set()
    eventually(lambda: descriptors() <= before)
