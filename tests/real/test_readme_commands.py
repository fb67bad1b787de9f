"""Every command line of the README, typed in as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer.core
import typer.main

from shim.cli.app import app
from tests.cli.command import environment, type_in
from tests.conftest import ROOT
from tests.real import components
from tests.real.programs import compile_c_count

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()
FIRST = README.partition("\n## Your first function\n")[2].partition("\nA program need not know")[0]
PACKAGE = ("shim", "README.md", "LICENSE", "pyproject.toml")
"""Of a clone, what pip installs."""
SHOWN = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LONGEST = 300


def blocks(text: str) -> list[str]:
    """What it shows to be typed, without what stands in front of it in a list; programs are no commands."""
    found = [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in SHOWN.findall(text)]
    return [block for block in found if not block.startswith("#!")]


def test_the_first_function_comes_of_the_five_steps(tmp_path: Path) -> None:
    """In a clone and a home of its own, with a virtual environment that the steps make: of this one nothing but its Python is used."""
    components.jq()
    clone = tmp_path / "clone"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PACKAGE]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    steps = blocks(FIRST)
    assert len(steps) == 5
    typed = "".join(steps).replace("python3.11", "python{}.{}".format(*sys.version_info))  # as the last step says
    answer = type_in(typed, clone, HOME=str(tmp_path), within=LONGEST)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    results = [line for line in answer.stdout.splitlines() if line.startswith('{"statusCode":200')]
    assert len(results) == 2
    assert len(set(results)) == 1
    assert " passed" in answer.stdout
    assert answer.stderr.count("REPORT RequestId: ") == 2
    assert (tmp_path / "hello" / "function.zip").is_file()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, compiler: str) -> Path:
    """With all that the other commands speak of."""
    made = tmp_path_factory.mktemp("readme")
    (made / "bin").mkdir()
    shutil.copy(compile_c_count(compiler, made / "bin"), made / "bin" / "program")
    (hello,) = [block for _, block in SHOWN.findall(README) if block.startswith("#!")]
    (made / "bin" / "hello").write_text(hello)
    (made / "bin" / "hello").chmod(0o755)
    (made / "models").mkdir()
    (made / "models" / "first").write_text("a model")
    shutil.copy(components.pandoc(), made / "pandoc")
    shutil.copy(ROOT / "fixtures/programs/shell-bootstrap/bootstrap", made)
    return made


LINES = [line for block in blocks(README.replace(FIRST, "")) for line in block.splitlines() if "venv" not in line]


@pytest.mark.parametrize("line", LINES)
def test_each_other_command_works(line: str, folder: Path) -> None:
    answer = type_in(line, folder, within=LONGEST)

    assert answer.returncode == 0, answer.stdout + answer.stderr


ENDS = {"check": {0, 1}, "conform": {1}}
"""The commands that it shows with what they print, and their exit codes there: what `check` finds is a matter of the machine's C library."""


@pytest.mark.parametrize("line", re.findall(r"^\$ (shim (?!serve).*)$", README, re.MULTILINE))
def test_what_is_shown_with_its_output_runs(line: str, folder: Path) -> None:
    answer = type_in(line, folder, within=LONGEST)

    assert answer.returncode in ENDS[line.split()[1]], answer.stdout + answer.stderr


def test_what_is_shown_of_a_conformance_run_is_what_it_says(folder: Path) -> None:
    shown = README.partition("$ shim conform bin/hello\n")[2].partition("```")[0].replace("…\n", "")
    answer = type_in("shim conform bin/hello || true", folder, within=LONGEST)

    assert [line for line in shown.splitlines() if line not in answer.stdout.splitlines()] == []


def test_the_server_that_is_shown_serves(folder: Path) -> None:
    """At another port than the one that is shown, which may be taken."""
    (line,) = re.findall(r"^\$ (shim serve .*)$", README, re.MULTILINE)
    words = shlex.split(line.replace("shim serve", "serve --json --port 0"))
    with subprocess.Popen(
        [sys.executable, "-m", "shim.cli", *words], stdout=subprocess.PIPE, cwd=folder, env=environment()
    ) as server:
        assert server.stdout is not None
        try:
            assert b'"event":"start"' in server.stdout.readline()
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(LONGEST) == 130


def mentions() -> list[str]:
    """Every command line of `shim` in it, shown or mentioned."""
    spans = re.findall(r"`(shim (?!help)[a-z]+ [^`]*)`", README)
    shown = [line for block in blocks(README) for line in block.splitlines()]
    return spans + [line for line in shown if line.startswith("shim ")]


@pytest.mark.parametrize("line", sorted(set(mentions())))
def test_each_option_that_it_mentions_exists(line: str) -> None:
    commands = typer.main.get_command(app)
    assert isinstance(commands, typer.core.TyperGroup)
    name, *words = line.split()[1:]
    options = {"--help"} | {option for parameter in commands.commands[name].params for option in parameter.opts}

    assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in options] == []
