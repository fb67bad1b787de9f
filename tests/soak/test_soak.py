"""A part of the soak, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(("invocations", "options"), [(1000, []), (5000, ["--warm"]), (500, ["--emulator"])])
def test_thousands_of_invocations_leave_everything_where_it_was(
    invocations: int, options: list[str], compiler: str
) -> None:
    command = [sys.executable, "-m", "tests.soak", "--invocations", str(invocations), "--json", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["invocations"] == invocations
    assert set(found["rows"]) == {"processes", "descriptors", "threads", "files", "memory"}
