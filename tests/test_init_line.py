"""The first line of the log: what runs here, once in an execution environment."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCRIPT = b"#!/bin/sh\necho 1\n"
CHECKSUM = hashlib.sha256(SCRIPT).hexdigest()
RUNS = f"shim: {shim.__version__} runs bin/program ({len(SCRIPT)} bytes, a script for /bin/sh"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "program"
    program.write_bytes(SCRIPT)
    program.chmod(0o755)
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log_of(package: Path) -> Callable[..., list[str]]:
    """The log of an execution environment from its beginning."""

    def start(level: str | None = None, invocations: int = 1, **keywords: Any) -> list[str]:
        with capture(log_format="JSON" if level else "Text", log_level=level) as log:
            handler = shim.Shim.from_environment(**{"executable": "bin/program", **keywords})
            handler._introduce()  # noqa: SLF001 - as shim.handler does, which takes no keywords
            for _ in range(invocations):
                handler({})
        return log.lines

    return start


def test_it_says_what_runs_and_stands_there_once(log_of: Callable[..., list[str]]) -> None:
    assert log_of(invocations=3) == [f"{RUNS})"]


def test_it_says_size_and_architecture_of_a_program(log_of: Callable[..., list[str]], actor: str) -> None:
    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    (line,) = log_of(executable=actor)

    assert line == f"shim: {shim.__version__} runs {actor} ({os.stat(actor).st_size:,} bytes, {machine})"


def test_it_says_what_is_not_default_wherever_it_was_set(
    log_of: Callable[..., list[str]], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "shim.toml").write_text('linger_ms = 50\nmargin_ms = 300\nargs = ["-x", "a \\"b\\" é"]\n')
    monkeypatch.setenv("SHIM_OUTPUT", "json")
    (line,) = log_of(exit_codes={"1": "ok"})

    assert line == RUNS + (') with args=[2], output="json", margin_ms=300, exit_codes={"1": "ok"}')


def test_of_the_setting_env_it_shows_the_names_alone(log_of: Callable[..., list[str]]) -> None:
    (line,) = log_of(env={"API_TOKEN": "swordfish", "MODE": "hush"}, env_deny=["AWS_*"])

    assert line == RUNS + ') with env={"API_TOKEN": …, "MODE": …}, env_deny=["AWS_*"]'


def test_a_long_value_is_cut(log_of: Callable[..., list[str]]) -> None:
    (line,) = log_of(env_deny=["x" * 100_000])

    assert len(line) < 1000
    assert line.endswith("x…")


@pytest.mark.parametrize(
    "recorded",
    [
        "{checksum}  bin/program\n",
        "{checksum} *bin/program\n",
        "{checksum}  ./bin/program",
        "{other}  program\n{other}  other/bin/program\n{other}  bin/program2\n\n{checksum}  bin/program\n",
        "{other}  bin/program \n{checksum}  bin/program\r\n",
    ],
)
def test_the_checksum_is_the_one_that_was_recorded(
    recorded: str, log_of: Callable[..., list[str]], package: Path
) -> None:
    (package / "SHA256SUMS").write_bytes(recorded.format(checksum=CHECKSUM, other="0" * 64).encode())

    assert log_of() == [f"{RUNS}, sha256 {CHECKSUM})"]


@pytest.mark.parametrize(
    "recorded",
    [
        b"",
        b"no checksum  bin/program\n",
        b"0" * 63 + b"  bin/program\n",
        b"z" * 64 + b"  bin/program\n",
        b"0" * 64 + b"  program\n",
        b"0" * 64 + b"bin/program\n",
        b"\xff\0" * 1000,
    ],
)
def test_nothing_is_said_of_a_checksum_that_was_not_recorded(
    recorded: bytes, log_of: Callable[..., list[str]], package: Path
) -> None:
    (package / "SHA256SUMS").write_bytes(recorded)

    assert log_of() == [f"{RUNS})"]


def test_what_sha256sum_writes_is_read(log_of: Callable[..., list[str]], package: Path) -> None:
    with (package / "SHA256SUMS").open("wb") as sums:
        subprocess.run("find . -type f ! -name SHA256SUMS -exec sha256sum {} +", shell=True, stdout=sums, check=True)  # noqa: S602 - a line as packaging has it

    assert log_of() == [f"{RUNS}, sha256 {CHECKSUM})"]


@pytest.mark.parametrize("level", ["INFO", "TRACE"])
def test_in_json_it_is_a_record(level: str, log_of: Callable[..., list[str]]) -> None:
    (line,) = log_of(level)
    record = json.loads(line)

    assert record["message"] == f"{RUNS})".removeprefix("shim: ")
    assert (record["level"], record["logger"]) == ("INFO", "shim")
    assert "requestId" not in record


def test_a_level_above_it_keeps_it_back(log_of: Callable[..., list[str]]) -> None:
    assert log_of("WARN") == []


def test_the_handler_writes_it_and_a_shim_of_ones_own_does_not(package: Path) -> None:
    program = (
        "import shim; shim.Shim('bin/program')({}); print('before', flush=True); shim.handler({}); shim.handler({})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SHIM_EXECUTABLE": "bin/program"},
        cwd=package,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=True,
    )

    assert answer.stdout.splitlines() == ["before", f"{RUNS})"]


@pytest.mark.parametrize("name", ["program\nEND RequestId: 1", "program\x1b[31m", "program\u2028x"])
def test_a_name_forges_no_line(name: str, package: Path, log_of: Callable[..., list[str]]) -> None:
    (package / "bin" / "program").rename(package / "bin" / name)
    (line,) = log_of(executable=f"bin/{name}")

    assert line.startswith("shim: ")
    assert line.isprintable()


def test_a_fifo_in_place_of_a_file_of_ours_is_waited_for_by_nobody(
    package: Path, log_of: Callable[..., list[str]]
) -> None:
    os.mkfifo(package / "SHA256SUMS")
    assert log_of() == [f"{RUNS})"]
    os.mkfifo(package / "shim.toml")
    with pytest.raises(shim.SettingsError, match=r"shim\.toml can't be read: it is no file"):
        log_of()
