"""Every project that `shim new` makes goes the way that its own README shows: built, tried, tested, held to the protocol, packed, and run as packed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from shim.project.new import LANGUAGES, MODES
from tests.cli.command import shim, type_in
from tests.real import components

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS = {
    "web.json": {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": {"lines": 2, "words": 10, "bytes": 56},
    },
    "s3-put.json": {
        "objects": [{"bucket": "amzn-s3-demo-bucket", "key": "orders/2026/Happy Face.csv", "bytes": 1024}],
        "bytes": 1024,
    },
}
"""What each of the events is answered with; a body as the JSON that it is."""
COMPONENTS = {
    "shell": (components.jq, components.curl),
    "c": (components.jansson, components.libcurl),
    "crystal": (components.crystal,),
    "go": (components.go,),
    "haskell": (components.haskell, components.haskell_libraries),
    "rust": (components.cargo,),
}
"""What must be here for a language's projects."""
CARGO_CONFIG = f"""\
[source.crates-io]
replace-with = "debian"

[source.debian]
directory = "{components.CRATES}"
"""
"""By which cargo takes Debian's crates. Its own registry is not asked."""
TOOLS = {
    ("shell", "oneshot"): ["jq", "answer.jq"],
    ("shell", "warm"): ["jq", "answer.jq"],
    ("shell", "bootstrap"): ["jq", "curl", "answer.jq"],
}
"""What must be in the package besides, since Lambda has none: this machine's would hide that it is missing."""
LONGEST = 300
"""Seconds that one block of commands may take."""


def blocks(readme: Path) -> list[str]:
    """What it shows to be typed."""
    return re.findall(r"^```sh\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)


def output_of(block: str, project: Path, cargo: Path) -> str:
    """The standard output of the commands. Each must end with 0."""
    ended = type_in(block, project, within=LONGEST, CARGO_HOME=str(cargo))

    assert ended.returncode == 0, f"{block}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def invocations(block: str) -> list[str]:
    """The events of the invocations in it."""
    return re.findall(r"^shim invoke --event events/(\S+) ", block, re.MULTILINE)


def answers(output: str) -> list[object]:
    """The results among the lines of standard output."""
    made = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [{**answer, "body": json.loads(answer["body"])} if "body" in answer else answer for answer in made]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_goes_the_way_that_its_readme_shows(language: str, mode: str, tmp_path: Path) -> None:
    for component in COMPONENTS[language]:
        component()
    made = shim("new", "first-function", "--language", language, "--mode", mode, cwd=tmp_path)

    assert made.code == 0, made.err
    project = tmp_path / "first-function"
    shown = blocks(project / "README.md")
    tried = [event for block in shown for event in invocations(block)]
    assert tried == ["web.json", "s3-put.json", "web.json"]
    cargo = tmp_path / "cargo"
    cargo.mkdir()
    (cargo / "config.toml").write_text(CARGO_CONFIG)
    output = "".join(output_of(block, project, cargo) for block in shown)

    assert answers(output) == [ANSWERS[event] for event in tried]
    assert " passed" in output
    assert "skipped" not in output
    with ZipFile(project / "function.zip") as package:
        assert {"first-function", "shim.toml", "shim/__init__.py", *TOOLS.get((language, mode), ())} <= set(
            package.namelist()
        )
    checked = shim("check", "function.zip", cwd=project)
    assert checked.code == 0, checked.out
