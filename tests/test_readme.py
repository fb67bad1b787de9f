"""The README is the manual: what it says is there, and what is there it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import shim
from shim import testing
from shim.metrics import UNITS
from shim.records import Lines, Records
from shim.settings import SETTINGS
from shim.testing.conform.protocol import REQUIREMENTS
from shim.testing.strategies import SOURCES
from tests.conftest import FIXTURES, ROOT
from tests.real.programs import compile_c_count

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()
NEVER_MADE = {"Behaviour", "Expectation", "Expected"}
"""Classes of the kit that others make."""


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


def test_every_link_leads_somewhere() -> None:
    """Within it to a heading, as GitHub spells them; beside it to a file."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", README), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", README)
    near = [link for link in links if not link.startswith(("#", "https://"))]

    assert [link for link in links if link.startswith("#") and link[1:] not in anchors] == []
    assert [link for link in near if not (ROOT / link).is_file()] == []


def test_it_has_all_that_a_manual_has_in_this_order() -> None:
    assert re.findall(r"^## (.*)$", re.sub(r"(?ms)^```.*?^```$", "", README), re.MULTILINE) == [
        "Your first function",
        "Which way to run it",
        "The command",
        "Settings",
        "Errors",
        "The protocol, version 1",
        "The log",
        "In Python",
        "The testing kit",
        "How it works",
        "Measured",
        "Out of reach",
        "Changes",
        "Development",
    ]


def shim_command(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What comes of a line `shim …` there, with this environment's own."""
    command = [sys.executable, "-m", "shim.cli", *line.split()[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)


def test_the_line_that_runs_the_main_job_runs_it() -> None:
    """With this environment's own `shim`: making the virtual environment anew is done by the checks on a clean clone."""
    (line,) = re.findall(r"^python3 -m venv \S+ && \S+/pip install .* && \S+/(shim invoke .*)$", README, re.MULTILINE)
    answer = shim_command(line, ROOT)

    assert answer.returncode == 0
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


@pytest.fixture
def project(compiler: str, tmp_path: Path) -> Path:
    """A folder with the program of which the examples speak."""
    (tmp_path / "bin").mkdir()
    compile_c_count(compiler, tmp_path / "bin")
    return tmp_path


KIT = README.partition("\n## The testing kit\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("example", re.findall(r"^```python\n(.*?)^```$", KIT, re.MULTILINE | re.DOTALL))
def test_the_examples_of_the_testing_kit_are_tests_that_pass(example: str, project: Path) -> None:
    (project / "test_example.py").write_text(example)
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        timeout=120,
    )

    assert "1 passed" in answer.stdout, answer.stdout + answer.stderr


def test_the_conformance_run_of_the_testing_kit_passes(project: Path) -> None:
    (line,) = re.findall(r"^```sh\n(shim conform .*)\n```$", KIT, re.MULTILINE)
    answer = shim_command(line, project)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_name_of_the_testing_kit_stands_in_it() -> None:
    assert [name for name in testing.__all__ if f"`{name}" not in KIT and name not in NEVER_MADE] == []


def test_every_source_of_events_stands_in_it() -> None:
    assert [source for source in SOURCES if f'"{source}"' not in KIT and f"`{source}`" not in KIT] == []


def test_every_requirement_stands_in_the_protocol_with_its_number() -> None:
    """As Markdown counts: 2.3 is the third point of the second."""
    section = README.partition("\n## The protocol, version 1\n")[2].partition("\n## ")[0]
    numbers: dict[str, str] = {}
    major = ""
    for line in section.splitlines():
        if found := re.match(r"( *)(\d+)\. (.*)", line):
            major = major if found[1] else found[2]
            numbers[f"{major}.{found[2]}" if found[1] else major] = found[3]

    assert [r.number for r in REQUIREMENTS if f"`{r.name}`" not in numbers[r.number]] == []
    named = re.findall(r"\(`([a-z-]+)`\)", section)
    assert sorted(named) == sorted(r.name for r in REQUIREMENTS)


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
