"""The packages that shim needs: which, for which platform, and what of a wheel is packed."""

from __future__ import annotations

import sys
import tomllib
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shim.elf import Elf
from shim.errors import PackageError
from shim.package import wheels
from shim.package.tool import run
from shim.package.tree import DATA, PROGRAM
from shim.package.wheels import find_wheels, installed_files, platforms, requirements
from tests.conftest import ROOT, missing
from tests.package.wheelhouse import fill, packed

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_they_are_the_dependencies_that_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert list(wheels.REQUIREMENTS) == project["dependencies"]
    assert list(wheels.BOOTSTRAP_REQUIREMENTS) == project["optional-dependencies"]["bootstrap"]


def test_from_a_folder_any_will_do_and_from_elsewhere_those_that_are_installed_here() -> None:
    assert requirements(for_bootstrap=False, are_here=True) == ["orjson>=3.9", "psutil>=5.9"]
    assert requirements(for_bootstrap=True, are_here=False) == [
        f"{name}=={version(name)}" for name in ("orjson", "psutil", "h11")
    ]


def test_tags_reach_from_the_targets_glibc_to_the_oldest() -> None:
    arm64 = platforms("arm64", 26)

    assert arm64 == [*(f"manylinux_2_{minor}_aarch64" for minor in range(26, 16, -1)), "manylinux2014_aarch64"]
    assert platforms("x86_64", 34)[0] == "manylinux_2_34_x86_64"
    assert platforms("x86_64", 34)[-4:] == [
        "manylinux_2_5_x86_64",
        "manylinux2014_x86_64",
        "manylinux2010_x86_64",
        "manylinux1_x86_64",
    ]


def test_nothing_of_an_installer_goes_in(tmp_path: Path) -> None:
    fill(tmp_path, "orjson")
    with ExitStack() as held:
        files = list(installed_files(str(tmp_path / "orjson-99.0-py3-none-any.whl"), held))

        assert {file.name for file in files} == packed("orjson")
        assert {file.name: file.mode for file in files if file.mode != DATA} == {"orjson/_native.abi3.so": PROGRAM}
        assert b"".join(files[0].pieces()) == b""


def find(into: Path, folder: Path | None, names: Sequence[str], tags: Sequence[str], python: str = "3.13") -> list[str]:
    into.mkdir()
    return [
        Path(path).name for path in find_wheels(names, tags, python, str(into), None if folder is None else str(folder))
    ]


def test_they_are_found_in_a_folder_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pip is set up for."""
    elsewhere = fill(tmp_path / "elsewhere", "psutil", version="100.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "target"))
    folder = fill(tmp_path / "wheels", "orjson", "psutil", "h11")
    fill(folder, "psutil", tag="cp313-cp313-manylinux_2_99_x86_64", version="101.0")
    tags = platforms("x86_64", 34)
    found = find(tmp_path / "into", folder, requirements(for_bootstrap=False, are_here=True), tags)

    assert found == ["orjson-99.0-py3-none-any.whl", "psutil-99.0-py3-none-any.whl"]


def test_what_is_missing_is_one_sentence_with_pips_last_words(tmp_path: Path) -> None:
    fill(tmp_path / "wheels", "orjson", tag="cp312-cp312-manylinux_2_17_aarch64")
    with pytest.raises(PackageError) as raised:
        find(tmp_path / "into", tmp_path / "wheels", ["orjson>=3.9"], platforms("x86_64", 34))

    assert str(raised.value) == (
        f"there is no wheel of orjson>=3.9 for Python 3.13 on x86_64 in {tmp_path}/wheels; put them there (pip download …). pip says: "
        "No matching distribution found for orjson>=3.9"
    )


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"^/nonexistent, given with --wheels, is no folder$"):
        find(tmp_path / "into", Path("/nonexistent"), ["orjson"], ["any"])


def test_without_pip_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"pip, by which wheels are found, is not installed; python -m ensurepip"):
        find(tmp_path / "into", None, ["orjson"], ["any"])


def test_another_python_s_pip_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    (tmp_path / "bin" / "pip").chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    folder = fill(tmp_path / "wheels", "orjson")

    assert find(tmp_path / "into", folder, ["orjson"], platforms("arm64", 34)) == ["orjson-99.0-py3-none-any.whl"]


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize(("python", "glibc"), [("3.11", 26), ("3.13", 34)])
def test_the_real_ones_are_for_that_architecture_and_that_python(
    architecture: str, python: str, glibc: int, tmp_path: Path
) -> None:
    try:
        found = find(
            tmp_path / "into",
            None,
            requirements(for_bootstrap=True, are_here=False),
            platforms(architecture, glibc),
            python,
        )
    except PackageError as error:
        missing(f"pip finds no wheels: {error}")
    machine = {"arm64": "aarch64"}.get(architecture, architecture)

    assert [name.partition("-")[0] for name in found] == ["h11", "orjson", "psutil"]
    assert f"-cp{python.replace('.', '')}-" in found[1]
    assert machine in found[1]
    assert machine in found[2]
    with ExitStack() as held:
        libraries = [
            file
            for name in found
            for file in installed_files(str(tmp_path / "into" / name), held)
            if file.name.endswith(".so")
        ]
        assert {Elf(file.read()).machine for file in libraries} == {architecture}
        assert {file.mode for file in libraries} == {PROGRAM}
        assert all((Elf(file.read()).glibc or (0,)) <= (2, glibc) for file in libraries)


def test_of_pips_own_stack_trace_the_last_line_is_quoted(tmp_path: Path) -> None:
    """A full disk, say, which is no wheel that is missing."""
    said = "ERROR: Exception:\nTraceback (most recent call last):\nOSError: [Errno 28] No space left on device"
    with pytest.raises(PackageError, match=r"^pip says: OSError: \[Errno 28\] No space left on device$"):
        run(["sh", "-c", f"echo '{said}' >&2; exit 2"], "pip says")
