"""What all commands share: how they look on a terminal, what they need, and what they leave alone."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import shim as package
from shim.cli import exits
from tests.cli.command import environment, shim, shim_on_terminal

if TYPE_CHECKING:
    from pathlib import Path

ESCAPE = re.compile(rb"\x1b\[[0-9;]*m")
PRINTF = ("printf", '{"text": "\\\\u00e4 \u009b", "n": 12345678901234567890123, "list": [true, null, {}, []]}')
PRETTY = """{
  "text": "\\u00e4 \\u009b",
  "n": 12345678901234567890123,
  "list": [
    true,
    null,
    {},
    []
  ]
}
"""


def test_on_a_terminal_the_result_is_indented_and_coloured() -> None:
    ended = shim_on_terminal("invoke", *PRINTF)

    assert ESCAPE.sub(b"", ended.out).decode() == PRETTY
    assert ESCAPE.search(ended.out)
    assert ended.code == 0


def test_no_color_leaves_no_escape() -> None:
    good = shim_on_terminal("invoke", *PRINTF, variables={"NO_COLOR": "1"})
    failed = shim_on_terminal("invoke", "false", variables={"NO_COLOR": "1"})

    assert good.out.decode() == PRETTY
    assert b"\x1b" not in good.err + failed.out + failed.err
    assert "─ ExitError ─" in failed.err.decode()
    assert "false ended with exit code 1" in failed.err.decode()


def test_a_pipe_gets_no_colour_whatever_is_asked_of_rich() -> None:
    ended = shim("invoke", *PRINTF, variables={"FORCE_COLOR": "1", "TERM": "xterm-256color"})

    assert b"\x1b" not in ended.out + ended.err
    assert ended.out.decode() == ('{"text":"\\u00e4 \u009b","n":12345678901234567890123,"list":[true,null,{},[]]}\n')


def test_debug_shows_where_an_error_was_raised() -> None:
    for arguments in (["--debug", "invoke", "false"], ["invoke", "--debug", "false"]):
        ended = shim(*arguments)

        assert "Traceback (most recent call last):" in ended.lines
        assert ended.error.startswith("ExitError: false ended with exit code 1")
        assert ended.code == 1


def test_the_version_is_the_packages() -> None:
    assert shim("--version").out.decode() == f"shim {package.__version__}\n"


def test_help_shows_examples_and_exit_codes() -> None:
    ended = shim("invoke", "--help", variables={"COLUMNS": "200"})

    assert "shim invoke --event events/order.json bin/program" in ended.out.decode()
    assert "shim invoke --repeat 100 bin/program" in ended.out.decode()
    assert "shim invoke --json bin/program | jq .duration_ms" in ended.out.decode()
    assert "Exit codes: 0 it worked" in ended.out.decode()
    assert (ended.err, ended.code) == (b"", 0)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    ended = shim("--show-completion", shell, variables={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})

    assert b"_SHIM_COMPLETE" in ended.out
    assert ended.code == 0


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str, tmp_path: Path) -> None:
    """What is imported when the interpreter starts makes that package impossible to find."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    ended = shim("invoke", "true", variables={"PYTHONPATH": str(tmp_path)})

    assert ended.lines == [f"The command shim needs {missing}, which is not installed: pip install 'lambda-shim[cli]'"]
    assert (ended.out, ended.code) == (b"", 2)


def loaded(statement: str) -> set[str]:
    """The modules that are there after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True).split())


def test_neither_the_package_nor_local_loads_what_the_command_needs() -> None:
    everything_local = "import shim.local.context, shim.local.environment, shim.local.report"

    assert not {name for name in loaded("import shim") if name.startswith(("shim.cli", "shim.local", "typer", "rich"))}
    assert not {name for name in loaded(everything_local) if name.startswith(("shim.cli", "typer", "rich"))}


def test_the_exit_codes_are_the_ones_in_their_table() -> None:
    table = exits.__doc__ or ""

    assert (exits.WORKED, exits.FAILED, exits.MISTAKE, exits.INTERRUPTED) == (0, 1, 2, 130)
    for row in ("| 0 |", "| 1 |", "| 2 |", "| 129, 130, 143 |"):
        assert row in table
