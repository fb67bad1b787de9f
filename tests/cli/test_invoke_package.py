"""`shim invoke function.zip`: a package is run as it would be deployed, and the command tells of it as of an executable."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import pytest

from tests.cli.command import COMMAND, environment, shim
from tests.cli.served import UNIGNORED
from tests.cli.test_invoke import END, REPORT, START
from tests.conftest import eventually, processes_of
from tests.local.zips import package, zipped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.command import Ended

MACHINE = os.uname().machine
OTHER = {"x86_64": ("aarch64", "arm64"), "aarch64": ("x86_64", "x86_64")}[MACHINE]


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """An empty folder for all that is unpacked, in which nothing may be left."""
    folder = tmp_path / "places"
    folder.mkdir()
    return folder


def invoke(places: Path, *arguments: str, **variables: str) -> Ended:
    """Runs `shim invoke`, and looks whether anything is left."""
    ended = shim("invoke", *arguments, variables={"TMPDIR": str(places), **variables})

    assert list(places.iterdir()) == []
    assert b"Traceback" not in ended.err.replace(b"\rTraceback", b""), ended.err
    return ended


def said(ended: Ended) -> list[str]:
    """The log without what says that there is no sandbox, and what `shim` in the package introduces itself with."""
    return [line for line in ended.lines if not line.startswith("shim: ")]


def test_the_result_the_log_and_the_report_are_those_of_an_executable(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", 'read -r line; echo said >&2; echo "$line"')
    ended = invoke(
        places,
        "--name",
        "orders",
        "--memory",
        "256",
        "--timeout",
        "20",
        "--event",
        '{"n": 12345678901234567890}',
        str(path),
    )
    told = json.loads(ended.out)
    first, own, last, report = said(ended)
    ids = [pattern.fullmatch(line) for pattern, line in ((START, first), (END, last), (REPORT, report))]

    assert ended.code == 0
    assert told["event"] == {"n": 12345678901234567890}
    assert told["context"]["function_name"] == "orders"
    assert own == "said"
    assert {match[1] for match in ids if match} == {told["context"]["aws_request_id"]}
    assert ids[2] is not None
    assert ids[2][2] == "256"


def test_the_environment_is_lambdas_and_nothing_of_ours(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", "env", 'output = "text"')
    ended = invoke(places, str(path), OURS="x", AWS_PROFILE="mine", PYTHONPATH="/nowhere", SHIM_OUTPUT="json")
    variables = dict(line.partition("=")[::2] for line in json.loads(ended.out).splitlines())

    assert ended.code == 0, ended.err
    assert not {"OURS", "AWS_PROFILE", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "USER"} & set(variables)
    assert variables["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python3.{sys.version_info.minor}"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["TZ"] == ":UTC"
    assert os.path.basename(sys.prefix) not in variables["PATH"].split(":")


def test_a_failure_is_one_line_and_exit_code_1(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", "echo why >&2; exit 3")
    ended = invoke(places, str(path))

    assert re.fullmatch(r"ExitError: program ended with exit code 3 after \d+ ms", ended.error)
    assert REPORT.fullmatch(ended.lines[-2])
    assert (ended.out, ended.code) == (b"", 1)


def test_its_own_error_bears_its_own_name(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", """echo '{"errorType": "Orders.Gone", "errorMessage": "none"}'; exit 1""")

    assert invoke(places, str(path)).error == "Orders.Gone: none"


def test_json_is_that_of_an_executable(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", 'read -r line; case $line in *bad*) exit 3;; esac; echo "[1, 2.50]"')
    good, bad = invoke(places, "--json", str(path)), invoke(places, "--json", "--event", '"bad"', str(path))
    success, failure = json.loads(good.out), json.loads(bad.out)
    expected = json.loads(shim("invoke", "--json", "echo", "1").out)

    assert (good.code, bad.code) == (0, 1)
    assert success.keys() == expected.keys()
    assert (success["ok"], success["result"]) == (True, [1, 2.5])
    assert all(success[name] > 0 for name in ("duration_ms", "init_ms", "max_memory_bytes"))
    assert (failure["ok"], failure["errorType"]) == (False, "ExitError")
    assert failure["errorMessage"].startswith("program ended with exit code 3 after ")


def test_it_is_invoked_as_often_as_is_asked_in_one_execution_environment(tmp_path: Path, places: Path) -> None:
    program = "read -r line; echo said >&2; [ -e /tmp/$PPID ] && exit 7; touch /tmp/$PPID; echo 1"
    path = package(tmp_path / "function.zip", program)
    ended = invoke(places, "--json", "--repeat", "3", str(path))
    summary = json.loads(ended.out)

    assert summary["outcomes"] == {"ok": 1, "ExitError": 2}
    assert said(ended)[0] == "said"
    assert not any(START.match(line) or REPORT.match(line) for line in ended.lines)
    assert ended.code == 1


def test_options_and_arguments_go_over_the_packages_settings(tmp_path: Path, places: Path) -> None:
    path = package(tmp_path / "function.zip", 'printf "%s|" "$@"', 'args = ["packed"]\noutput = "json"')

    assert invoke(places, "--output", "text", str(path), "a b", "--json").out == b'"a b|--json|"\n'
    assert invoke(places, "--output", "text", str(path)).out == b'"packed|"\n'


def test_a_hanging_function_is_stopped_before_its_timeout(tmp_path: Path, places: Path) -> None:
    ended = invoke(places, "--timeout", "1", str(package(tmp_path / "function.zip", "sleep 600")))

    assert ended.error.startswith("DeadlineExceeded: program was still running after ")
    assert ended.code == 1


@pytest.mark.parametrize(
    ("settings", "options", "error"),
    [
        ('output = "xml"', [], "SettingsError: the settings have 1 mistake: output in shim.toml must be one of "),
        ("", ["--output", "xml"], "SettingsError: the settings have 1 mistake: --output must be one of "),
        ("", ["--event", "{"], "EventInvalid: "),
    ],
)
def test_a_mistake_is_exit_code_2(tmp_path: Path, places: Path, settings: str, options: list[str], error: str) -> None:
    ended = invoke(places, *options, str(package(tmp_path / "function.zip", "echo 1", settings)))

    assert ended.error.startswith(error)
    assert (ended.out, ended.code) == (b"", 2)


def test_it_is_run_by_the_shim_that_is_in_it(tmp_path: Path, places: Path) -> None:
    """And awslambdaric hands it what it would hand it there."""
    own = {"shim/__init__.py": "def handler(event, context):\n    return [event, __file__, context.function_name]\n"}
    ended = invoke(places, "--event", "[1]", str(package(tmp_path / "function.zip", "exit 1", more=own)))
    event, file, name = json.loads(ended.out)

    assert (event, name) == ([1], "function")
    assert file.endswith("/task/shim/__init__.py")


@pytest.mark.parametrize("module", ["psutil", "orjson", "pytest", "typer", "shim.cli"])
def test_what_is_not_in_it_is_not_there_though_it_is_installed_here(tmp_path: Path, places: Path, module: str) -> None:
    own = {"shim/__init__.py": f"import {module}\ndef handler(event, context):\n    return 1\n"}
    ended = invoke(places, str(package(tmp_path / "function.zip", "exit 1", without=module, more=own)))

    assert ended.error.startswith("Runtime.ImportModuleError: Unable to import module 'shim': No module named ")
    assert ended.code == 1


def test_our_own_runtime_runs_it_where_it_was_packed(tmp_path: Path, places: Path) -> None:
    """It streams bytes, which are shown as they are; as JSON they are base64."""
    path = package(tmp_path / "function.zip", r"printf 'a\377\000'", 'output = "stream"', own_runtime=True)

    assert invoke(places, str(path)).out == b"a\xff\0"
    assert json.loads(invoke(places, "--json", str(path)).out)["result"] == "Yf8A"


def test_a_package_for_an_os_only_runtime_runs_its_bootstrap(tmp_path: Path, places: Path, bootstrap: Path) -> None:
    path = zipped(tmp_path / "function.zip", {"bootstrap": bootstrap.read_bytes()}, programs=["bootstrap"])
    ended = invoke(places, "--event", '{"do":"describe"}', str(path), "serve", OURS="x")
    failed = invoke(places, "--event", '{"do":"exit:3"}', str(path), "serve")
    mistaken = invoke(places, "--output", "text", str(path))
    told: dict[str, Any] = json.loads(ended.out)
    names = {line.partition("=")[0] for line in told["environment"]}

    assert told["event"] == {"do": "describe"}
    assert not {"OURS", "AWS_EXECUTION_ENV", "HOME", "LC_CTYPE"} & names
    assert "_HANDLER=bootstrap" in told["environment"]
    assert told["descriptors"] == [0, 1, 2]
    assert failed.error.startswith("Runtime.ExitError: ")
    assert (ended.code, failed.code, mistaken.code) == (0, 1, 2)
    assert f"--output must not be given with {path}, whose bootstrap never reads it" in mistaken.error


def test_a_bootstrap_that_may_not_be_run_is_told_before_it_is(tmp_path: Path, places: Path) -> None:
    ended = invoke(places, str(zipped(tmp_path / "function.zip", {"bootstrap": "#!/bin/sh\n"})))

    assert ended.error.startswith("ExecutableNotRunnable: bootstrap is not executable (its mode is -rw-r--r--)")
    assert (len(ended.told), ended.code) == (1, 1)


def hostile(path: Path, name: str, content: str = "", mode: int = 0o100644) -> Path:
    with ZipFile(path, "w") as archive:
        info = ZipInfo(name)
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [
        ("../outside", "", 0o100644),
        ("/etc/outside", "", 0o100644),
        ("link", "/etc/passwd", 0o120777),
        ("x", "", 0o010644),
    ],
)
def test_a_hostile_package_is_one_sentence(tmp_path: Path, places: Path, name: str, content: str, mode: int) -> None:
    ended = invoke(places, str(hostile(tmp_path / "function.zip", name, content, mode)))

    assert ended.error.startswith(f"PackageError: {tmp_path}/function.zip can't be unpacked: ")
    assert (len(ended.told), ended.out, ended.code) == (1, b"", 1)


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 and no more", b"\x7fELF"])
def test_what_is_no_zip_is_one_sentence(tmp_path: Path, places: Path, content: bytes | None) -> None:
    path = tmp_path / "function.zip"
    if content is not None:
        path.write_bytes(content)
    ended = invoke(places, "--json", str(path))

    assert json.loads(ended.out)["errorType"] == "PackageError"
    assert (ended.lines, ended.code) == ([], 1)


def test_a_python_that_is_not_here_is_one_sentence_with_its_cure(tmp_path: Path, places: Path) -> None:
    path = zipped(tmp_path / "function.zip", {f"orjson/orjson.cpython-399-{MACHINE}-linux-gnu.so": ""})
    ended = invoke(places, str(path))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert ended.err.decode() == (
        f"PackageError: {path} was packed for python3.99, which is not on the PATH; install it, or pack for this one:"
        f" shim pack --runtime python{here}\n"
    )
    assert ended.code == 2


def test_another_architecture_is_one_sentence(tmp_path: Path, places: Path) -> None:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    kernels, lambdas = OTHER
    path = zipped(tmp_path / "function.zip", {f"orjson/orjson.cpython-{version}-{kernels}-linux-gnu.so": ""})
    ended = invoke(places, str(path))

    assert ended.error.startswith(f"PackageError: {path} was packed for {lambdas}, and this machine is ")
    assert (len(ended.told), ended.code) == (1, 1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_leaves_nothing(tmp_path: Path, places: Path, number: signal.Signals, code: int) -> None:
    """No process, no folder, no mount and no word; not even of what left its session and its environment."""
    mark = f"60{os.getpid()}"
    path = package(tmp_path / "function.zip", f"setsid env -i sleep {mark} & echo begun >&2; sleep {mark}")
    words = ["invoke", "--timeout", "600", str(path)]
    mounts = _mounts()
    with subprocess.Popen(
        [sys.executable, "-c", UNIGNORED, *COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment({"TMPDIR": str(places)}),
    ) as command:
        assert command.stderr is not None
        eventually(lambda: command.stderr and command.stderr.readline() == b"begun\n")
        command.send_signal(number)
        _, err = command.communicate(timeout=30)

    assert command.returncode == code
    assert err == b""
    assert list(places.iterdir()) == []
    assert _mounts() == mounts
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], check=False, stdout=subprocess.DEVNULL).returncode == 1


def _mounts() -> str:
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return file.read()


def test_a_zip_may_have_the_longest_name_there_is(tmp_path: Path, places: Path) -> None:
    path = tmp_path / ("z" * 251 + ".zip")
    ended = invoke(places, str(zipped(path, {"bootstrap": "#!/bin/sh\n"})))

    assert ended.error.startswith("ExecutableNotRunnable: bootstrap is not executable")


def test_processes_of_others_that_are_born_meanwhile_live_on(tmp_path: Path, places: Path) -> None:
    """On Lambda every new orphan is the function's. Here it may be anybody's, in a sandbox as well."""
    path = package(tmp_path / "function.zip", "sleep 600 >&- 2>&- & sleep 1; echo 1")
    shutil.copy("/bin/sleep", tmp_path / "stranger")
    command = [*COMMAND, "invoke", "--timeout", "20", str(path)]
    born = 0
    with subprocess.Popen(
        command, env=environment({"TMPDIR": str(places)}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None:
            subprocess.run(["sh", "-c", f"setsid {tmp_path}/stranger 600 >&- 2>&- <&- &"], check=True)
            born += 1
            time.sleep(0.05)  # so that some are born at the right time
        log = process.stderr.read() if process.stderr else b""
    strangers = processes_of(str(tmp_path / "stranger"))
    for pid in strangers:
        os.kill(pid, signal.SIGKILL)

    assert process.returncode == 0, log
    assert b"left 1 process behind" in log
    assert len(strangers) == born
