"""`shim check` as its users run it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, get_args, get_type_hints
from zipfile import ZipFile

import orjson
import pytest

from shim.cli.check import check
from shim.package.targets import LOADERS, TARGETS
from tests.cli.command import environment, screen, shim, shim_on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROBLEM = ["severity", "place", "sentence", "cure"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a good script, a broken one, and a package that has both, as a folder and as a zip."""
    _script(tmp_path / "good", "#!/bin/sh\n")
    _script(tmp_path / "broken", "#!/bin/zsh\n")
    package = tmp_path / "package"
    (package / "bin").mkdir(parents=True)
    _script(package / "bootstrap", "#!/bin/sh\n")
    _script(package / "bin" / "tool", "#!/bin/zsh\n")
    with ZipFile(tmp_path / "function.zip", "w") as made:
        made.write(package / "bootstrap", "bootstrap")
        made.write(package / "bin" / "tool", "bin/tool")
    return tmp_path


def _script(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


def test_of_a_good_one_it_says_so(folder: Path) -> None:
    ended = shim("check", "good", cwd=folder)

    assert (ended.out, ended.err, ended.code) == (b"good: nothing wrong, for al2023\n", b"", 0)


def test_a_line_for_each_problem_and_one_for_all(folder: Path) -> None:
    ended = shim("check", "broken", cwd=folder)

    assert ended.out.decode().splitlines() == [
        (
            "error: broken: it is a script whose interpreter is missing: neither the package nor al2023 has '/bin/zsh'; name one that exists in"
            " its first line, or package one in bin/ and begin with #!/usr/bin/env zsh"
        ),
        "broken: 1 error, for al2023",
    ]
    assert (ended.err, ended.code) == (b"", 1)


@pytest.mark.parametrize("path", ["package", "package/", "function.zip"])
def test_warnings_break_nothing(path: str, folder: Path) -> None:
    ended = shim("check", path, cwd=folder)
    first, last = ended.out.decode().splitlines()

    assert first.startswith("warning: bin/tool: it is a script whose interpreter is missing")
    assert last == f"{path}: 1 warning, for al2023"
    assert (ended.err, ended.code) == (b"", 0)


def test_target_and_architecture_are_what_it_is_judged_for(folder: Path) -> None:
    ended = shim("check", "--target", "al2", "--architecture", "arm64", "good", cwd=folder)

    assert ended.out == b"good: nothing wrong, for al2 on arm64\n"
    ended = shim("check", "--target", "al2", "--architecture", "arm64", sys.executable, cwd=folder)

    assert ended.code == 1


def test_the_libraries_that_would_be_packed_are_named(folder: Path, compiler: str) -> None:
    (folder / "a.c").write_text("int answer(void) { return 42; }")
    (folder / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,liba.so.1", "-o", "liba.so.1", "a.c"], cwd=folder, check=True
    )
    subprocess.run([compiler, "-o", "b", "b.c", "liba.so.1", "-Wl,-rpath,$ORIGIN"], cwd=folder, check=True)
    ended = shim("check", "b", cwd=folder)

    assert ended.out.decode().endswith("; with the libraries that shim pack takes along: liba.so.1\n")
    assert ended.code == 0


def test_the_handler_is_looked_for(folder: Path) -> None:
    (folder / "package" / "shim.toml").write_text('executable = "bootstrap"\nmode = "cold"\n')
    ended = shim("check", "--handler", "gone.handler", "package", cwd=folder)
    lines = ended.out.decode().splitlines()

    assert lines[0].startswith(
        "error: shim.toml: mode in shim.toml must be one of oneshot, warm, bootstrap, not 'cold'; "
    )
    assert lines[1].startswith("error: handler: there is no module 'gone' in the package")
    assert lines[-1] == "package: 2 errors and 2 warnings, for al2023"
    assert ended.code == 1


def test_json_is_one_object(folder: Path) -> None:
    ended = shim("check", "--json", "function.zip", cwd=folder)
    found = orjson.loads(ended.out)
    problems = found.pop("problems")

    assert found == {
        "ok": True,
        "path": "function.zip",
        "target": "al2023",
        "architecture": None,
        "python": None,
        "executables": ["bootstrap"],
        "errors": 0,
        "warnings": 1,
    }
    assert [list(problem) for problem in problems] == [PROBLEM]
    assert (ended.out.count(b"\n"), ended.err, ended.code) == (1, b"", 0)
    ended = shim("check", "--json", "broken", cwd=folder)

    assert orjson.loads(ended.out)["ok"] is False
    assert (ended.err, ended.code) == (b"", 1)


def test_what_can_not_be_judged_is_an_error(folder: Path) -> None:
    (folder / "half.zip").write_bytes((folder / "function.zip").read_bytes()[:50])
    ended = shim("check", "half.zip", cwd=folder)

    assert ended.error.startswith("PackageError: half.zip is no zip archive that can be read: ")
    assert (ended.out, ended.code) == (b"", 1)
    ended = shim("check", "--json", "half.zip", cwd=folder)
    found = orjson.loads(ended.out)

    assert list(found) == ["ok", "errorType", "errorMessage"]
    assert (found["ok"], found["errorType"], ended.err, ended.code) == (False, "PackageError", b"", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "there is no gone"),
        (["--target", "al1", "good"], "'al1' is not one of"),
        (["--architecture", "mips", "good"], "'mips' is not one of"),
        ([], "Missing argument 'FILE|FOLDER|ZIP"),
    ],
)
def test_a_mistake_in_what_was_asked(arguments: Sequence[str], message: str, folder: Path) -> None:
    ended = shim("check", *arguments, cwd=folder, variables={"COLUMNS": "200"})

    assert message in ended.err.decode()
    assert (ended.out, ended.code) == (b"", 2)


def test_on_a_terminal_errors_and_warnings_have_a_table_each(folder: Path) -> None:
    (folder / "package" / "shim.toml").write_text('executable = "bin/tool[red]"\n')
    ended = shim_on_terminal("check", str(folder / "package"), columns=100)
    shown = screen(ended.out)

    assert [line for line in shown if "1 error " in line]
    assert [line for line in shown if "2 warnings " in line]
    assert "[red]" in "".join(shown)
    assert shown[-1].strip() or shown[-2].strip()
    assert all(len(line) <= 100 for line in shown)
    assert ended.code == 1


def test_on_a_terminal_names_are_text(folder: Path) -> None:
    (folder / "package" / "bin" / "tool\x1b[2J").write_bytes((folder / "broken").read_bytes())
    (folder / "package" / "bin" / "tool\x1b[2J").chmod(0o755)
    ended = shim_on_terminal("check", str(folder / "package"), columns=100)

    assert b"\x1b[2J" not in ended.out
    assert b"\\x1b" in ended.out


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    """Where the file system takes one."""
    try:
        _script(folder / "package" / "bin" / "half-\udcff", "#!/bin/zsh\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    ended = shim("check", "package", cwd=folder)
    as_json = shim("check", "--json", "package", cwd=folder)

    assert b"no name in UTF-8" in ended.out
    assert orjson.loads(as_json.out)["errors"] == 1
    assert (ended.code, as_json.code) == (1, 1)


def test_what_can_be_chosen_is_what_there_is() -> None:
    """It is spelled out in the command, so that no other command loads what checks."""
    hints = get_type_hints(check, include_extras=True)
    targets, architectures = (get_args(get_args(get_args(hints[name])[0])[0]) for name in ("target", "architecture"))

    assert set(targets) == set(TARGETS)
    assert set(architectures) == set(LOADERS)


def test_no_other_command_loads_what_checks() -> None:
    program = "import shim.cli.app, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True).split()

    assert not {name for name in loaded if name.startswith("shim.package")}
    assert "shim.cli.verdict" not in loaded
