"""A tenth of the soak, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_a_thousand_invocations_leave_everything_where_it_was(compiler: str) -> None:
    command = [sys.executable, "-m", "tests.soak", "--invocations", "1000", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["invocations"] == 1000
    assert set(found["rows"]) == {"processes", "descriptors", "threads", "files", "memory"}
