"""Whole programs from `shim pack` to `shim invoke` and `shim serve`: what is deployed is what was tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import COMMAND, environment, shim
from tests.cli.served import serve
from tests.conftest import FIXTURES, eventually, missing
from tests.local.zips import package
from tests.real import components
from tests.real.programs import (
    compile_c_count,
    compile_crystal_bootstrap,
    compile_go_bootstrap,
    compile_haskell_csv,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIME = f"python3.{sys.version_info.minor}"
S3_PUT = FIXTURES / "events" / "s3-put.json"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is unpacked."""
    components.mount_namespace()
    (tmp_path / "places").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "places"))


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., str]:
    """Packs, and gives the zip's path."""

    def run(*words: str) -> str:
        path = str(tmp_path / "function.zip")
        ended = shim("pack", "-o", path, *words, cwd=tmp_path)

        assert ended.code == 0, ended.err
        return path

    return run


def test_a_c_program_with_its_own_libc(pack: Callable[..., str], compiler: str, tmp_path: Path) -> None:
    """It is newer than the glibc of some targets, and needs nothing of this machine's."""
    program = compile_c_count(compiler, tmp_path)
    path = pack("--runtime", RUNTIME, "--output", "json", "--with-libc", str(program))
    ended = shim("invoke", "--event", '{"text": "é"}', path)

    assert ended.code == 0, ended.err
    assert json.loads(ended.out).keys() == {"bytes", "characters"}
    assert os.listdir(tmp_path / "places") == []


def test_a_haskell_program_with_its_libraries(pack: Callable[..., str], tmp_path: Path) -> None:
    """It finds its data in the package, and names what is wrong as it does without one."""
    thing = json.loads(S3_PUT.read_text())["Records"][0]["s3"]
    file = tmp_path / "data" / thing["bucket"]["name"] / urllib.parse.unquote_plus(thing["object"]["key"])
    file.parent.mkdir(parents=True)
    file.write_text("name,quantity,price\ntea,2,3.50\n")
    options = ["--with-libc", "--output", "json", "--include", "data", "--env", '{"BUCKETS": "data"}']
    path = pack("--runtime", RUNTIME, *options, str(compile_haskell_csv()))
    good, bad = shim("invoke", "--event", str(S3_PUT), path), shim("invoke", path)

    assert good.code == 0, good.err
    assert json.loads(good.out)["objects"][0]["total"] == "7.00"
    assert bad.error.startswith("NoObject: ")
    assert bad.code == 1


@pytest.mark.parametrize("build", [compile_go_bootstrap, compile_crystal_bootstrap])
def test_a_bootstrap(build: Callable[[], Path], pack: Callable[..., str]) -> None:
    path = pack("--runtime", "provided.al2023", str(build()))
    good = shim("invoke", "--event", '{"do": "echo", "value": "Größe 😀"}', path)
    bad = shim("invoke", "--event", '{"do": "fail", "type": "BadInput", "message": "no"}', path)

    assert good.code == 0, good.err
    assert json.loads(good.out)["value"] == "Größe 😀"
    assert (bad.error, bad.code) == ("BadInput: no", 1)


def test_a_package_is_served_and_served_anew_when_it_was_packed_again(pack: Callable[..., str], tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 1\n")
    path = pack("--runtime", RUNTIME, str(program))
    with serve("--watch", path, cwd=tmp_path) as served:
        assert served.post({}).value == 1

        program.write_text("#!/bin/sh\necho 2\n")
        pack("--runtime", RUNTIME, str(program))
        eventually(lambda: served.post({}).value == 2)

        assert served.end() == 130
    assert os.listdir(tmp_path / "places") == []


@pytest.mark.parametrize("who", [["--map-user=1000", "--map-group=1000"], ["--map-root-user"]], ids=str)
def test_who_is_not_root_has_the_same_sandbox(tmp_path: Path, who: list[str]) -> None:
    """And nobody becomes another in it."""
    command = ["unshare", "--user", *who]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        missing("no user namespace can be made here")
    program = 'id -u; touch "$LAMBDA_TASK_ROOT/new" 2>/dev/null || echo read-only; pwd; ls -A /tmp'
    path = package(tmp_path / "function.zip", program, 'output = "text"')
    (tmp_path / "function.zip").chmod(0o644)
    ended = subprocess.run(
        [*command, *COMMAND, "invoke", str(path)], capture_output=True, check=False, env=environment(), text=True
    )
    user = "1000" if len(who) == 2 else "0"

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout).split() == [user, "read-only", "/var/task"]


def test_where_no_namespace_can_be_made_one_line_says_so(tmp_path: Path) -> None:
    """As in a container without rights: no capability, and no user namespaces."""
    if shutil.which("setpriv") is None:
        missing("there is no setpriv: on Debian, apt-get install util-linux")
    drop = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$@"'
    path = package(tmp_path / "function.zip", "pwd", 'output = "text"')
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", drop, "sh", *COMMAND, "invoke", str(path)],
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
    )
    notes = [line for line in ended.stderr.splitlines() if "namespace" in line]

    assert ended.returncode == 0, ended.stderr
    assert [note[:61] for note in notes] == ["shim: no mount namespace can be made here (unshare: No space "]
    assert json.loads(ended.stdout).startswith(str(tmp_path / "places"))
    assert os.listdir(tmp_path / "places") == []


def test_a_python_on_the_path_runs_what_was_packed_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own runtime or AWS's client, in another version than this one."""
    python = another_python()
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
    (tmp_path / "program").write_text('#!/bin/sh\nread -r line; echo "$line"\n')
    for options in ([], ["--own-runtime"]):
        path = str(tmp_path / "function.zip")
        packed = shim("pack", "-o", path, "--runtime", python.name, *options, "program", cwd=tmp_path)
        assert packed.code == 0, packed.err
        ended = shim("invoke", "--event", '["é😀"]', path)

        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["event"] == ["é😀"]


def another_python() -> Path:
    """A Python that Lambda has and that does not run these tests: of the system, or one that pyenv has made."""
    made = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for name in (f"python3.{minor}" for minor in (13, 12, 11, 14) if minor != sys.version_info.minor):
        of_system = shutil.which(name)
        candidates: list[Path] = [Path(of_system)] if of_system else []
        for python in [*candidates, *made.glob(f"{name[6:]}.*/bin/{name}")]:
            if subprocess.run([python, "-c", "1"], capture_output=True, check=False).returncode == 0:
                return python
    return missing("there is no other Python here than the one that runs the tests")
