"""The README is the manual: what it says is there, and what is there it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema
import pytest

import shim
from shim.metrics import UNITS
from shim.records import Lines, Records
from shim.settings import SETTINGS
from tests.conftest import FIXTURES, ROOT

README = (ROOT / "README.md").read_text()


def table(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: its first column → the others."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_setting_stands_in_it_with_its_default() -> None:
    rows = table("Settings")

    assert list(rows) == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        default: Any = setting.default
        shown = rows[setting.name][0].strip("`")
        assert shown == {"executable": "required", "cwd": "the task root", "args": "[]", "env_deny": "[]"}.get(
            setting.name, "unlimited" if default is None else str(default).lower()
        )


def causes() -> dict[str, str]:
    """The second table of the errors: what happened → what the message says."""
    section = README.partition("\n| what happened |")[2].partition("\n\n")[0]
    rows = [re.split(r" \| ", line.strip("| "), maxsplit=1) for line in section.splitlines()[2:]]
    return {row[0]: row[1] for row in rows}


def test_every_error_stands_in_it() -> None:
    rows = table("Errors")
    errors = {
        name for name in shim.__all__ if isinstance(getattr(shim, name, None) if name != "handler" else None, type)
    }
    raised = {name for name in errors if issubclass(getattr(shim, name), shim.ShimError)} - {
        "ShimError",
        "ExecutableError",
    }

    assert set(rows) == raised
    assert all(len(row) == 2 and all(row) for row in rows.values())


def test_every_public_name_is_mentioned() -> None:
    assert [
        name
        for name in shim.__all__
        if f"`{name}" not in README and f"shim.{name}" not in README and f"{name}(" not in README
    ] == []


def test_every_command_stands_in_it() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "shim.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    commands = re.findall(r"^│ (\w+) ", answer.stdout.partition("Commands")[2], re.MULTILINE) or re.findall(
        r"^\s+(\w+)  ", answer.stdout.partition("Commands")[2], re.MULTILINE
    )

    assert commands
    assert [command for command in commands if f"`shim {command} " not in README] == []


def test_the_line_that_runs_the_main_job_runs_it() -> None:
    """With this environment's own `shim`: making the virtual environment anew is done by the checks on a clean clone."""
    (line,) = re.findall(r"^python3 -m venv \S+ && \S+/pip install .* && \S+/(shim invoke .*)$", README, re.MULTILINE)
    answer = subprocess.run(
        [sys.executable, "-m", "shim.cli", *line.split()[1:]],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )

    assert answer.stdout == (
        '{"objects":[{"bucket":"amzn-s3-demo-bucket","key":"orders/2026/Happy+Face.csv","bytes":1024}]}\n'
    )
    assert "found s3://amzn-s3-demo-bucket/orders/2026/Happy+Face.csv" in answer.stderr
    assert "REPORT RequestId: " in answer.stderr


@pytest.mark.parametrize("event", ['{"Records":[]}', "{}", '{"a": "b"}'])
def test_the_program_of_the_main_job_fails_truthfully(event: str) -> None:
    program = shim.Shim(str(ROOT / "fixtures/programs/shell-objects/objects.sh"))
    with pytest.raises(shim.ReportedError) as raised:
        program(event.encode())

    assert (type(raised.value).__name__, str(raised.value)) == ("NoObject", "the event names no S3 object")


def test_the_lines_of_the_log_that_it_shows_are_those_that_are_written() -> None:
    section = README.partition("\n## The log\n")[2].partition("\n## ")[0]
    record, metrics = re.findall(r"^\{.*\}$", section, re.MULTILINE)
    shown = json.loads(record)
    made: list[bytes] = []
    lines = Lines(
        Records("INFO", clock=lambda: shown["timestamp"]),
        lambda data, _: made.append(bytes(data)),
        request_id=shown["requestId"],
        stream="stderr",
    )
    lines.take(shown["message"].encode() + b"\n")

    assert made == [f"{record}\n".encode()]
    jsonschema.Draft7Validator(json.loads((FIXTURES / "emf.schema.json").read_text())).validate(json.loads(metrics))
    assert set(UNITS) == json.loads(metrics).keys() & UNITS.keys()
