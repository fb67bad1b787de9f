"""`shim pack` as its users run it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, get_args, get_type_hints
from zipfile import ZipFile

import pytest

from shim.cli.options import spelled
from shim.cli.pack import pack
from shim.package.pack import ARCHITECTURES, NEWEST
from shim.package.targets import RUNTIMES
from shim.settings import NAMES
from tests.cli.command import environment, screen, shim, shim_on_terminal
from tests.package.wheelhouse import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RUNTIME = f"python3.{sys.version_info.minor}"
"""The one whose byte code can be made wherever the tests run: without it there is a warning."""
HERE = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a program, and wheels in `wheels`."""
    fill(tmp_path / "wheels", "orjson", "psutil", "h11")
    (tmp_path / "program").write_text('#!/bin/sh\necho "{}"\n')
    return tmp_path


def test_it_makes_function_zip_and_says_what_is_to_be_known(folder: Path) -> None:
    ended = shim("pack", "program", "--runtime", RUNTIME, "--wheels", "wheels", cwd=folder)
    files = ZipFile(folder / "function.zip").infolist()
    sizes = f"{(folder / 'function.zip').stat().st_size / 1024**2:.2f} MB zipped, {sum(file.file_size for file in files) / 1024**2:.2f} MB unpacked"

    assert ended.out.decode().splitlines() == [
        f"function.zip: {len(files)} files, {sizes}, for {RUNTIME} on {HERE}",
        "handler: shim.handler",
    ]
    assert (ended.err, ended.code) == (b"", 0)


def test_the_settings_of_options_and_of_the_folder_s_file_go_into_the_package(folder: Path) -> None:
    """With those of the file the program was tried; an option goes before. Those of this machine's variables do not."""
    (folder / "shim.toml").write_text('executable = "other"\ntmp = "fresh"\noutput = "json"\n')
    options = ["--args", "-x 'a b'", "--output", "text", "--exit-codes", '{"1": "ok"}', "--margin-ms", "300"]
    ended = shim(
        "pack", *options, "-o", "x.zip", "--wheels", "wheels", "program", cwd=folder, variables={"SHIM_METRICS": "emf"}
    )

    assert ended.code == 0, ended.err
    assert tomllib.loads(ZipFile(folder / "x.zip").read("shim.toml").decode()) == {
        "executable": "program",
        "args": "-x 'a b'",
        "tmp": "fresh",
        "output": "text",
        "exit_codes": {"1": "ok"},
        "margin_ms": 300,
    }


@pytest.mark.parametrize(
    ("settings", "options", "mistake"),
    [
        ("no-toml", [], "shim.toml is not valid TOML"),
        ('mode = "cold"', [], "mode in shim.toml must be one of oneshot, warm, bootstrap, not 'cold'"),
        ('mode = "warm"', ["--tmp", "fresh"], "tmp must not be set, since mode=warm never reads it"),
    ],
)
def test_what_is_wrong_with_the_folder_s_file_is_told(
    settings: str, options: list[str], mistake: str, folder: Path
) -> None:
    (folder / "shim.toml").write_text(settings)
    ended = shim("pack", "program", *options, "--wheels", "wheels", cwd=folder)

    assert ended.code == 2
    assert mistake in ended.error
    assert not (folder / "function.zip").exists()


def test_an_os_only_runtime_has_no_settings(folder: Path) -> None:
    """The file is for who serves the program with shim; alone, it is no part of the package."""
    (folder / "shim.toml").write_text('mode = "bootstrap"')
    ended = shim("pack", "program", "--runtime", "provided.al2023", cwd=folder)

    assert ended.code == 0, ended.err
    assert ZipFile(folder / "function.zip").namelist() == ["bootstrap"]


def test_the_help_has_every_setting_and_says_where_it_goes() -> None:
    shown = shim("pack", "--help", variables={"COLUMNS": "200"}).out.decode()

    assert "Settings of shim (over shim.toml, in the package's own)" in shown
    assert "over SHIM_* variables" not in shown
    assert [name for name in NAMES if name != "executable" and spelled(name) not in shown.split()] == []


def test_what_can_be_chosen_is_what_there_is() -> None:
    """It is spelled out in the command, so that no other command loads what packs."""
    hints = get_type_hints(pack, include_extras=True)
    runtimes, architectures = (get_args(hints[name])[0] for name in ("runtime", "architecture"))

    assert set(get_args(runtimes)) == set(RUNTIMES)
    assert set(get_args(get_args(architectures)[0])) == set(ARCHITECTURES)
    assert inspect.signature(pack).parameters["runtime"].default == NEWEST


def test_no_other_command_loads_what_packs() -> None:
    program = "import shim.cli.app, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True).split()

    assert not {name for name in loaded if name.startswith("shim.package")}


def test_our_own_runtime_says_which_variable_the_function_needs(folder: Path) -> None:
    options = ["--own-runtime", "--output", "stream", "--runtime", RUNTIME, "--wheels", "wheels"]
    ended = shim("pack", *options, "program", cwd=folder)

    assert ended.out.decode().splitlines()[-1] == ("variable: AWS_LAMBDA_EXEC_WRAPPER=/var/task/shim/runtime/wrapper")
    assert ended.err == b""


def test_warnings_come_on_standard_error(folder: Path) -> None:
    options = ["--output", "stream", "--runtime", RUNTIME, "--wheels", "wheels"]
    ended = shim("pack", *options, "program", cwd=folder)

    assert ended.lines == [
        (
            "warning: shim.toml: with AWS's own runtime for Python, output=stream is collected, up to 6 MiB, and not streamed; "
            "pack it with --own-runtime"
        )
    ]
    assert ended.code == 0


def test_several_executables_and_what_they_need(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a").touch()
    (folder / "tool").write_text("#!/bin/sh\n")
    ended = shim(
        *["pack", "program", "tool", "--include", "data", "--include", "tool:bin/", "--runtime", "provided.al2023"],
        cwd=folder,
    )

    assert ended.out.decode().startswith(
        "function.zip: 4 files, 0.00 MB zipped, 0.00 MB unpacked, for provided.al2023 on"
    )
    assert len(ended.out.splitlines()) == 1
    assert ZipFile(folder / "function.zip").namelist() == ["bin/tool", "bootstrap", "data/a", "tool"]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["gone"], "PackageError: gone can't be packed: No such file or directory", 1),
        (["program", "--wheels", "gone"], "PackageError: gone, given with --wheels, is no folder", 1),
        (["program", "-o", "gone/x.zip"], "PackageError: gone/x.zip can't be written: No such file or directory", 1),
        (["program", "--output", "xml"], "SettingsError: the settings have 1 mistake: --output must be one of", 2),
        (
            ["program", "--spare", "1", "--mode", "warm"],
            "SettingsError: the settings have 1 mistake: spare must not",
            2,
        ),
        (
            ["program", "--runtime", "provided.al2023", "--output", "text", "--own-runtime"],
            "SettingsError: the settings have 2 mistakes: --own-runtime must not be given with --runtime provided.al2023, ",
            2,
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    arguments: Sequence[str], message: str, code: int, folder: Path
) -> None:
    wheels = [] if "--wheels" in arguments or "--runtime" in arguments else ["--wheels", "wheels"]
    before = sorted(os.listdir(folder))
    ended = shim("pack", *arguments, *wheels, cwd=folder)

    assert ended.error.startswith(message)
    assert (len(ended.told), ended.out, ended.code) == (1, b"", code)
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--include", "program:../x", "program"], "'../x' leads out of the package"),
        (["--runtime", "python2.7", "program"], "'python2.7' is not one of"),
        (["--architecture", "mips", "program"], "'mips' is not one of"),
        ([], "Missing argument 'EXECUTABLE"),
    ],
)
def test_a_wrong_option_is_shown_with_its_name(arguments: Sequence[str], message: str, folder: Path) -> None:
    ended = shim("pack", *arguments, cwd=folder, variables={"COLUMNS": "200"})

    assert message in ended.err.decode()
    assert ended.code == 2


def test_on_a_terminal_a_bar_shows_what_is_packed_and_goes(folder: Path) -> None:
    (folder / "large").write_bytes(os.urandom(30_000_000))
    ended = shim_on_terminal(
        *["pack", str(folder / "program"), "--include", str(folder / "large"), "-o", str(folder / "x.zip")],
        *["--runtime", RUNTIME, "--wheels", str(folder / "wheels")],
        columns=80,
    )
    size = sum(file.file_size for file in ZipFile(folder / "x.zip").infolist()) / 1024**2

    assert f"/{size:.1f} MiB" in ended.err.decode()
    assert screen(ended.err) == [""]
    assert f" {size:.2f} MB unpacked" in ended.out.decode()
    assert ended.code == 0


def test_ctrl_c_leaves_what_was_there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "large").write_bytes(os.urandom(100_000_000))
    (folder / "x.zip").write_bytes(b"before")
    before = sorted(os.listdir(folder))
    temporary = tmp_path_factory.mktemp("tmp")
    ended = shim_on_terminal(
        *["pack", str(folder / "program"), "--include", str(folder / "large"), "-o", str(folder / "x.zip")],
        *["--wheels", str(folder / "wheels")],
        columns=80,
        interrupt_at=b"MiB",
        variables={"TMPDIR": str(temporary)},
    )

    assert ended.code == 130
    assert sorted(os.listdir(folder)) == before
    assert (folder / "x.zip").read_bytes() == b"before"
    assert os.listdir(temporary) == []
