"""What `shim new` makes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from shim.cli.new import new
from shim.errors import PackageError
from shim.project.new import COMPILED, FACTS, LANGUAGES, MODES, RUNTIMES, TEMPLATES, Project, make
from tests.cli.command import COMMAND, environment, shim

COMMON = {
    ".gitignore",
    "README.md",
    "events/s3-put.json",
    "events/web.json",
    "tests/test_function.py",
    "template.yaml",
    "serverless.yml",
    "cdk/app.py",
    "cdk/cdk.json",
    "cdk/requirements.txt",
}


def project(language: str = "shell", mode: str = "oneshot", name: str = "orders-2") -> Project:
    return Project(name, language, mode, "python3.12", "arm64")


@pytest.mark.parametrize(("language", "mode"), list(product(LANGUAGES, MODES)))
def test_a_project_is_whole(language: str, mode: str, tmp_path: Path) -> None:
    made = make(project(language, mode), str(tmp_path / "orders-2"))
    folder = tmp_path / "orders-2"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    assert set(made.files) == files
    assert files >= COMMON
    assert ("shim.toml" in files) == (mode != "oneshot")
    assert made.source in files
    assert not files & FACTS
    assert [file for file in files if "{{" in (folder / file).read_text() + file] == []
    readme = (folder / "README.md").read_text()
    assert [line for line in made.build if line not in readme.splitlines()] == []
    assert "build/orders-2" in readme
    assert (folder.stat().st_mode & 0o777) == 0o777 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_template_is_in_a_project() -> None:
    """A file that no project has would be a mistake in its place or name."""
    used = {path for language, mode in product(LANGUAGES, MODES) for path in project(language, mode).folders}
    files = [path for path in TEMPLATES.rglob("*") if path.is_file() and COMPILED not in path.parts]

    assert [file for file in files if file.name not in FACTS and not used & set(file.parents)] == []


def test_what_can_be_chosen_is_what_there_is() -> None:
    """It is spelled out in the command, so that no other command loads what makes projects."""
    hints = get_type_hints(new, include_extras=True)
    chosen = {name: get_args(get_args(hints[name])[0]) for name in ("language", "mode", "runtime")}

    assert chosen == {"language": LANGUAGES, "mode": MODES, "runtime": RUNTIMES}


def test_the_command_says_what_to_do_first(tmp_path: Path) -> None:
    ended = shim("new", "orders", "--language", "go", "--mode", "warm", cwd=tmp_path)

    assert ended.code == 0, ended.err
    assert ended.err == b""
    lines = ended.out.decode().splitlines()
    files = sum(path.is_file() for path in (tmp_path / "orders").rglob("*"))
    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    runtime = f"python3.{sys.version_info.minor}"
    assert lines[0] == f"orders: {files} files, a function in Go, mode warm, for {runtime} on {machine}"
    readme = (tmp_path / "orders" / "README.md").read_text().splitlines()
    shown = [line.strip() for line in lines if line.startswith("    ")]
    assert shown[0] == "cd orders"
    assert [line for line in shown[1:] if line not in readme] == []
    assert shown[-1].startswith("shim invoke ")


def test_the_command_tells_a_script(tmp_path: Path) -> None:
    ended = shim("new", "orders", "--language", "c", "--runtime", "python3.14", "--json", cwd=tmp_path)
    told = json.loads(ended.out)

    assert (ended.code, ended.err) == (0, b"")
    assert (told["ok"], told["folder"], told["language"], told["mode"], told["runtime"]) == (
        True,
        "orders",
        "c",
        "oneshot",
        "python3.14",
    )
    assert [file for file in told["files"] if not (tmp_path / "orders" / file).is_file()] == []


@pytest.mark.parametrize("name", ["", "a", "1st", "-x", "a_b", "a/b", "..", "naïve", "a" * 41, "a b", "a\n"])
def test_a_name_that_aws_would_refuse_is_refused(name: str, tmp_path: Path) -> None:
    ended = shim("new", "--language", "shell", "--", name, cwd=tmp_path)

    assert ended.code == 2
    assert "must be a letter and 1 to 39 more letters, digits and hyphens" in " ".join(ended.err.decode().split())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("full", "file", "link"):
        ended = shim("new", name, "--language", "shell", cwd=tmp_path)

        assert ended.code == 2
        assert f"{name} is there already" in " ".join(ended.err.decode().split())
        with pytest.raises(PackageError, match=f"{name} is there already"):
            make(project(name=name), str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "link", "mine"]
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_becomes_the_project(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()

    assert shim("new", "orders", "--language", "shell", cwd=tmp_path).code == 0
    assert (tmp_path / "orders" / "README.md").is_file()


def test_where_nothing_can_be_made_the_error_says_why() -> None:
    ended = shim("new", "orders", "--language", "shell", cwd=Path("/proc"))

    assert ended.code == 1
    assert re.fullmatch(r"PackageError: orders can't be made: .+", ended.error)


def test_nothing_is_left_of_a_project_that_could_not_be_finished(tmp_path: Path) -> None:
    """The disk is full, or here: no file may have more than 500 bytes."""
    ended = subprocess.run(
        [*COMMAND, "new", "orders", "--language", "shell"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
        timeout=60,
    )

    assert ended.returncode == 1
    assert ended.stderr == "PackageError: orders can't be made: File too large\n"
    assert list(tmp_path.iterdir()) == []
