"""Where a package is run, by which Python, and what runs it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from zipfile import ZipFile

import pytest

import shim.testing
from shim import ExecutableNotFound, PackageError, SettingsError
from shim.local import confine, sandbox
from shim.local.interpreter import Built, Interpreter, InterpreterMissing, built_for, find
from shim.local.sandbox import Sandbox
from shim.local.target import is_zip
from shim.local.unpacked import unpacked
from shim.package.archive import unpack
from tests.conftest import eventually, missing
from tests.local.zips import package, zipped

MACHINE = os.uname().machine
HERE = sys.version_info[:2]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """A package with one file, and a place for what runs it."""
    for name in ("package", "runtime"):
        (tmp_path / name).mkdir()
    (tmp_path / "package" / "file").write_text("packed")
    return str(tmp_path / "package"), str(tmp_path / "runtime")


@pytest.fixture
def confined(folders: tuple[str, str]) -> Sandbox:
    """A sandbox, where there may be one."""
    made = Sandbox(*folders, None)
    if made.refusal:
        missing(f"no mount namespace can be made here: {made.refusal}")
    return made


def run(command: tuple[str, ...], **variables: str) -> str:
    """What a command says, on either stream."""
    ended = subprocess.run(command, capture_output=True, check=True, text=True, env={"PATH": os.defpath, **variables})
    return ended.stdout + ended.stderr


def test_the_package_is_at_its_place_and_nobody_can_write_to_it(confined: Sandbox, folders: tuple[str, str]) -> None:
    script = (
        "pwd; cat file; for place in /var/task /var/runtime; do touch $place/new || :; done; echo more >> file || :"
    )
    said = run(confined.command("/bin/sh", "-c", script))

    assert said.startswith("/var/task\npacked")
    assert said.count("Read-only file system") == 3
    assert os.listdir(folders[0]) == ["file"]


def test_its_tmp_is_empty_and_its_own_each_time(confined: Sandbox, tmp_path: Path) -> None:
    script = (
        f"ls -A /tmp; stat -c %a /tmp; ls {tmp_path} 2>&1 | grep -c package || :; touch /tmp/made; df -m /tmp | tail -1"
    )
    for _ in range(2):
        said = run(confined.command("/bin/sh", "-c", script)).splitlines()

        assert said[0] == "1777"
        assert said[-1].split()[1] == "512"
    assert not os.path.exists("/tmp/made")


def test_all_else_is_as_it_was(confined: Sandbox) -> None:
    """Links, folders and files of /var, too; and who runs it."""
    script = "ls -A /var; ls -A /var/lib; id -u; readlink /var/run || :"
    inside = run(confined.command("/bin/sh", "-c", script)).splitlines()
    outside = run(("/bin/sh", "-c", script)).splitlines()

    assert [line for line in inside if line not in ("task", "runtime")] == [line for line in outside if line != "task"]


def test_no_mount_of_it_is_seen_outside(confined: Sandbox) -> None:
    with open("/proc/self/mounts", encoding="utf-8") as file:
        before = file.read()
    inside = run(confined.command("/bin/cat", "/proc/self/mounts"))
    with open("/proc/self/mounts", encoding="utf-8") as file:
        assert file.read() == before
    assert " /var/task " in inside
    assert " /var/task " not in before


def test_the_variables_are_those_that_were_given(confined: Sandbox) -> None:
    """Python sets another where it does not have the locale that is asked for."""
    assert set(run(confined.command("/usr/bin/env"), LANG="xx_XX", A="b=c").split()) == {
        f"PATH={os.defpath}",
        "LANG=xx_XX",
        "A=b=c",
    }


def test_what_can_not_be_started_is_one_line(confined: Sandbox) -> None:
    ended = subprocess.run(confined.command("/no/program"), capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (1, "/no/program can't be started: No such file or directory\n")


def test_without_a_namespace_it_runs_where_it_was_unpacked_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "refuse.py"
    program.write_text("import sys; sys.exit('unshare: Operation not permitted')")
    monkeypatch.setattr(confine, "__file__", str(program))
    path = package(tmp_path / "function.zip", 'pwd; echo "$LAMBDA_TASK_ROOT"')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with shim.testing.emulator(path, output="text", timeout=10) as function:
            result = function.invoke({})
    places = json.loads(result.payload).split()

    assert not result.failed
    assert len({os.path.realpath(place).removesuffix("-0") for place in places}) == 1
    assert [str(warning.message)[:75] for warning in said] == [
        "no mount namespace can be made here (unshare: Operation not permitted): the"
    ]


def test_aws_client_talks_without_its_library_that_is_for_one_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, errors with any words, deadlines, and what the caller sent besides."""
    monkeypatch.setattr(sandbox, "CLIENT", sandbox.CLIENT[:-1])
    program = (
        'read -r line; case $line in *fail*) echo "a \\"é\\" b" >&2; exit 3;; *hang*) sleep 60;; esac; echo "$line"'
    )
    with shim.testing.emulator(package(tmp_path / "function.zip", program), timeout=2) as function:
        result = function.invoke({"a": "é😀"}, client_context={"custom": {"c": "d"}})
        failure = function.invoke("fail")
        late = function.invoke("hang")
        again = function.invoke([])
    told = json.loads(result.payload)

    assert told["event"] == {"a": "é😀"}
    assert told["context"]["client_context"]["custom"] == {"c": "d"}
    assert told["context"]["trace_id"].startswith("Root=1-")
    assert json.loads(failure.payload)["errorType"] == "ExitError"
    assert "é" in json.loads(failure.payload)["errorMessage"]
    assert json.loads(late.payload)["errorType"] == "DeadlineExceeded"
    assert json.loads(again.payload)["context"]["invocation_count"] == 4


def test_without_aws_client_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bootstrap does not need it."""
    monkeypatch.setattr(sandbox, "CLIENT", ("no_such_client", "runtime_client"))
    path = zipped(tmp_path / "function.zip", {"shim.toml": ""})
    with (
        pytest.raises(ImportError, match=r"^no_such_client is not installed: pip install 'lambda-shim\[cli\]'$"),
        shim.testing.emulator(path),
    ):
        pass

    assert Sandbox(str(tmp_path), str(tmp_path), None).starter == ""


def test_a_zip_is_known_by_its_name_or_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    ZipFile(tmp_path / "empty", "w").close()
    zipped(tmp_path / "other", {"a": ""})
    (tmp_path / "program").write_bytes(b"\x7fELF")
    os.mkfifo(tmp_path / "fifo")
    found = [
        name for name in ("folder.zip", "empty", "other", "program", "fifo", "none") if is_zip(f"{tmp_path}/{name}")
    ]

    assert found == ["empty", "other"]
    assert is_zip("none.ZIP")


def test_the_python_of_a_package_is_read_from_its_libraries(tmp_path: Path) -> None:
    assert built_for(str(tmp_path)) == []

    for name in ("x/_speed.cpython-312-aarch64-linux-gnu.so", "x/y.abi3.so", "x/z.cpython-39-x86_64-linux-musl.so.1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert built_for(str(tmp_path)) == [Built((3, 9), "x86_64"), Built((3, 12), "aarch64")]

    (tmp_path / "orjson").mkdir()
    (tmp_path / "orjson" / "orjson.cpython-313-x86_64-linux-gnu.so").touch()

    assert built_for(str(tmp_path)) == [Built((3, 13), "x86_64")]


def test_this_python_is_taken_where_it_will_do() -> None:
    expected = Interpreter(HERE, os.path.realpath(getattr(sys, "_base_executable", sys.executable)), sys.base_prefix)

    assert find("x", []) == find("x", [HERE, (3, 99)]) == expected
    assert expected.home == os.path.realpath(sys.base_prefix)


def test_another_python_is_asked_what_it_is(tmp_path: Path) -> None:
    """A PATH has programs of that name that are none, or only look for one."""
    answers = {
        "none": "exit 127",
        "garbage": "echo hello",
        "older": r"printf 'cpython\0003\00098\000/a/bin/python3.98\000/a\n'",
        "other": r"printf 'pypy\0003\00099\000/a/bin/python3.99\000/a\n'",
        "right": r"printf 'cpython\0003\00099\000/opt/a b/bin/python3.99\000/opt/a b\n'",
    }
    for name, answer in answers.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3.99").write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name / "python3.99").chmod(0o755)
    search = [str(tmp_path / name) for name in answers]

    assert find("x", [(3, 99)], {"PATH": os.pathsep.join(["", "/nowhere", *search])}) == Interpreter(
        (3, 99), "/opt/a b/bin/python3.99", "/opt/a b"
    )
    with pytest.raises(
        InterpreterMissing, match=r"^x was packed for python3\.99, which is not on the PATH; install it"
    ):
        find("x", [(3, 99)], {"PATH": os.pathsep.join(search[:-1])})


def test_a_package_is_unpacked_anew_when_it_changes_and_what_runs_keeps_its_own(tmp_path: Path) -> None:
    path = zipped(tmp_path / "function.zip", {"a": "1"})
    trouble: list[str] = []
    with unpacked(str(path), unpack, watch=trouble.append) as files:
        first = os.path.realpath(files.folder)
        stamp = os.stat(files.files[0]).st_mtime_ns
        zipped(tmp_path / "next", {"a": "2"}).replace(path)
        eventually(lambda: os.path.realpath(files.folder) != first)

        assert [Path(folder, "a").read_text() for folder in (first, files.folder)] == ["1", "2"]
        eventually(lambda: os.stat(files.files[0]).st_mtime_ns != stamp)
        path.write_text("no zip")
        eventually(lambda: trouble)
        place = os.path.dirname(files.folder)

    assert trouble[0].endswith("What was unpacked before is served")
    assert not os.path.exists(place)


def test_a_test_is_served_a_package(tmp_path: Path, bootstrap: Path) -> None:
    path = zipped(tmp_path / "function.zip", {"bootstrap": bootstrap.read_bytes()}, programs=["bootstrap"])
    with shim.testing.emulator(path, "serve", function_env={"MINE": "1"}) as function:
        told = json.loads(function.invoke(b'{"do":"describe"}').payload)

    assert "MINE=1" in told["environment"]
    with pytest.raises(SettingsError), shim.testing.emulator(path, output="text"):
        pass
    with pytest.raises(PackageError), shim.testing.emulator(path, runtime="shim"):
        pass
    with (
        pytest.raises(ExecutableNotFound, match="bootstrap was not found: there is none at the root of"),
        shim.testing.emulator(zipped(tmp_path / "empty.zip", {"shim.toml": ""}), runtime="bootstrap"),
    ):
        pass
