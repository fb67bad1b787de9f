"""`shim serve`: the command as its users have it, from the first line to the last process."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.cli.command import COMMAND, LONGEST, environment, shim
from tests.cli.served import marked, serve
from tests.conftest import FIXTURES, eventually, missing

if TYPE_CHECKING:
    from collections.abc import Callable

SHELL = FIXTURES / "programs" / "shell-bootstrap"
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
HANDLER = """
import json, os, subprocess, sys, time

def handler(event, context):
    do = event.get("do", "show")
    if do == "show":
        return {
            "environment": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "argv": sys.argv,
            "name": context.function_name, "memory": context.memory_limit_in_mb,
            "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn,
        }
    if do == "sleep":
        print("sleeping", flush=True)
        time.sleep(event["seconds"])
        return "slept"
    if do == "crash":
        print("crashing", flush=True)
        os._exit(3)
    if do == "fail":
        raise ValueError("no price")
    if do == "spawn":
        mark = event["mark"]
        code = f"import os, time; {event.get('then', 'pass')}; time.sleep(600) # {mark}"
        env = {} if event.get("wiped") else None
        process = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
        if event.get("hang"):
            time.sleep(600)
        return process.pid
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment package with a Python handler."""
    (tmp_path / "app.py").write_text(HANDLER)
    return tmp_path


def script(path: Path, text: str) -> Path:
    """A program, replaced at once as compilers do it."""
    new = path.with_suffix(".new")
    new.write_text(f"#!/bin/sh\n{text}\n")
    new.chmod(0o755)
    new.rename(path)
    return path


def test_an_executable_is_served_and_the_log_comes_on_standard_error(tmp_path: Path) -> None:
    script(tmp_path / "program", 'read -r line; echo "reading $1" >&2; echo \'{"answer": 42}\'')
    with serve("./program", "first", cwd=tmp_path) as served:
        answer = served.post({"key": "value"})
        assert served.end() == 130

    assert (answer.status, answer.error, answer.value) == (200, None, {"answer": 42})
    assert served.out == []
    assert served.err[0] == f"serving function at {served.url}"
    assert f"function URL: {served.url}/url/" in served.err
    log = served.err[served.err.index(next(line for line in served.err if line.startswith("[1] START "))) :]
    assert log[1] == "[1] reading first"
    assert log[2].startswith("[1] END RequestId: ")
    assert log[3].startswith("[1] REPORT RequestId: ")
    assert log[4].startswith("shim: SIGINT: ending after 1 invocation, 0 errors, p50 ")
    assert len(log) == 5


def test_json_is_an_object_for_all_that_happens(folder: Path) -> None:
    with serve("--json", "--handler", "app.handler", ".", cwd=folder) as served:
        served.post({"do": "sleep", "seconds": 0})
        failed = served.post({"do": "fail"})
        assert served.end(signal.SIGTERM) == 143

    start, *between, stop = served.objects
    assert start | {"timestamp": ""} == {
        "event": "start",
        "timestamp": "",
        "url": served.url,
        "function_url": f"{served.url}/url/",
        "name": "function",
        "runtime": "awslambdaric",
        "handler": "app.handler",
        "program": "app.handler",
        "folder": str(folder),
        "timeout_ms": 3000.0,
        "memory_mb": 128,
    }
    assert {"event": "log", "environment": 1, "message": "sleeping"}.items() <= between[1].items()
    first, second = (data for data in between if data["event"] == "invocation")
    assert (first["ok"], first["payload"], first["cold_start"], first["errorType"]) == (True, "slept", True, None)
    assert (second["ok"], second["cold_start"], second["environment"]) == (False, False, 1)
    assert second["payload"] == failed.value
    assert failed.value["errorType"] == "ValueError"
    assert any(data.get("message") == f"END RequestId: {second['requestId']}" for data in between)
    assert stop | {"timestamp": ""} == {
        "event": "stop",
        "timestamp": "",
        "signal": "SIGTERM",
        "invocations": 2,
        "errors": 1,
        "unfinished": 0,
    }
    assert served.err == []


def test_the_three_commands_that_it_shows_can_be_pasted(tmp_path: Path) -> None:
    if find_spec("boto3") is None:
        missing("boto3 is missing: pip install boto3")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with serve("cat", cwd=tmp_path) as served:
        assert served.url
        commands = [line for line in served.err if line.startswith(("curl", "echo", "python3"))]
        answers = []
        for command in commands:
            tool = re.search(r"curl|aws|python3", command)
            assert tool
            if shutil.which(tool[0], path=path) is None:
                missing(f"there is no {tool[0]}")
            answers.append(
                subprocess.run(
                    ["sh", "-c", command],
                    env=environment({"PATH": path}),
                    stdout=subprocess.PIPE,
                    check=True,
                    timeout=LONGEST,
                    text=True,
                ).stdout
            )

    assert [json.JSONDecoder().raw_decode(answer)[0]["event"] for answer in answers] == [{"key": "value"}] * 3


def test_every_fact_reaches_the_function(folder: Path) -> None:
    leftovers = {
        "AWS_LAMBDA_RUNTIME_API": "x:1",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "SHIM_CHILD": "1",
        "PYTHONSAFEPATH": "1",
    }
    ours = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_DEFAULT_REGION": "eu-north-1", "TZ": "Asia/Tokyo"}
    options = ["--handler", "app.handler", "--name", "orders", "--timeout", "77", "--memory", "512"]
    variables = [
        "--function-env",
        "TABLE=a=b",
        "--function-env",
        "EMPTY=",
        "--function-env",
        "AWS_LAMBDA_LOG_FORMAT=JSON",
    ]
    with serve("--json", *options, *variables, str(folder), cwd=FIXTURES, variables=leftovers | ours) as served:
        served.name = "orders"
        shown = served.post({}).value
    found = shown["environment"]

    assert (shown["name"], shown["memory"], shown["cwd"]) == ("orders", "512", str(folder))
    assert shown["arn"] == "arn:aws:lambda:eu-north-1:012345678912:function:orders"
    assert 76_000 < shown["left"] <= 77_000
    expected = {
        "_HANDLER": "app.handler",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
        "AWS_REGION": "eu-north-1",
        "EMPTY": "",
        "LAMBDA_TASK_ROOT": str(folder),
        "TABLE": "a=b",
        "TZ": ":UTC",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert re.fullmatch(r"127\.0\.0\.1:\d+", found["AWS_LAMBDA_RUNTIME_API"])
    assert not {"SHIM_CHILD", "AWS_LAMBDA_MAX_CONCURRENCY", "PYTHONSAFEPATH"} & found.keys()


@pytest.mark.parametrize(
    ("options", "program", "result"),
    [
        (["--output", "text"], "echo 1", "1\n"),
        (["--exit-codes", '{"3": "ok"}'], "echo 1; exit 3", 1),
        (["--env", '{"GREETING": "hello there"}'], "echo $GREETING", "hello there\n"),
        (["--mode", "warm"], "while read -r line; do echo 7; done", 7),
        (["--args", '["2"]'], 'echo "${1-none}"', 2),
    ],
)
def test_a_setting_is_an_option(options: list[str], program: str, result: object, tmp_path: Path) -> None:
    script(tmp_path / "program", program)
    with serve("--json", *options, "./program", cwd=tmp_path) as served:
        assert served.post({}).value == result


def test_the_arguments_are_the_executables_whatever_they_look_like(tmp_path: Path) -> None:
    with serve("printf", '["%s", "%s"]', "--port", "ä b", cwd=tmp_path) as served:
        assert served.post({}).value == ["--port", "ä b"]


def test_a_folder_with_a_shim_toml_is_a_deployment_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "bin").mkdir(parents=True)
    script(package / "bin" / "program", "pwd")
    (package / "shim.toml").write_text('executable = "bin/program"\noutput = "text"\n')
    with serve("package", cwd=tmp_path) as served:
        assert served.post({}).value == f"{package}\n"


def test_a_bootstrap_is_served_as_it_is(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        missing("there is no curl")
    shown = []
    for target in (str(SHELL), str(SHELL / "bootstrap")):
        with serve("--runtime", "bootstrap", target, cwd=tmp_path) as served:
            assert served.post({"do": "echo", "value": [1, {"a": "b"}]}).value["value"] == [1, {"a": "b"}]
            shown.append(served.post({"do": "context"}).value["environment"])

    assert [found["_HANDLER"] for found in shown] == ["bootstrap", "bootstrap"]
    assert [found["AWS_EXECUTION_ENV"] for found in shown] == [None, None]
    assert [found["LAMBDA_TASK_ROOT"] for found in shown] == [str(SHELL), str(tmp_path)]


def test_a_bootstrap_has_its_arguments_its_handler_and_its_libraries(folder: Path) -> None:
    """Here it is awslambdaric itself, started by a program of ours."""
    program = folder / "program"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m awslambdaric "$_HANDLER" "$@"\n')
    program.chmod(0o755)
    with serve("--runtime", "bootstrap", "--handler", "app.handler", "./program", "--one", "two", cwd=folder) as served:
        shown = served.post({}).value

    assert shown["argv"][-2:] == ["--one", "two"]
    assert shown["environment"]["LD_LIBRARY_PATH"].split(":")[:2] == [str(folder), f"{folder}/lib"]
    assert "AWS_EXECUTION_ENV" not in shown["environment"]


def test_several_at_once_in_one_environment(folder: Path) -> None:
    options = ["--at-once", "3", "--concurrency", "1", "--timeout", "20"]
    with serve("--json", *options, "--handler", "app.handler", ".", cwd=folder) as served:
        shown = served.post({}).value["environment"]
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(lambda _: served.post({"do": "sleep", "seconds": 1}), range(3)))

    assert (shown["AWS_LAMBDA_MAX_CONCURRENCY"], shown["AWS_LAMBDA_INITIALIZATION_TYPE"]) == (
        "3",
        "lambda-managed-instances",
    )
    assert [answer.value for answer in answers] == ["slept"] * 3
    assert {data["environment"] for data in served.of("invocation")} == {1}


def test_beyond_the_concurrency_callers_are_throttled(folder: Path) -> None:
    with serve("--json", "--concurrency", "1", "--handler", "app.handler", ".", cwd=folder) as served:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(served.post, {"do": "sleep", "seconds": 2})
            eventually(lambda: any(data["message"] == "sleeping" for data in served.of("log")))
            second = served.post({})
        assert (first.result().value, second.status) == ("slept", 429)


def test_what_hangs_is_killed_with_all_that_it_started(folder: Path) -> None:
    mark = f"{folder}-hang"
    with serve("--json", "--timeout", "1", "--handler", "app.handler", ".", cwd=folder) as served:
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(served.post, {"do": "spawn", "mark": mark, "hang": True})
            eventually(lambda: marked(mark))
            answer = waiting.result()
        assert "Task timed out after 1.00 seconds" in answer.value["errorMessage"]
        assert answer.error == "Unhandled"
        eventually(lambda: not marked(mark))
        assert served.post({}).status == 200

    assert [data["environment"] for data in served.of("invocation")] == [1, 2]


def test_after_a_crash_the_next_one_is_good(folder: Path) -> None:
    with serve("--json", "--handler", "app.handler", ".", cwd=folder) as served:
        crashed = served.post({"do": "crash"})
        good = served.post({})

    assert crashed.value["errorType"] == "Runtime.ExitError"
    assert crashed.error == "Unhandled"
    assert (good.status, good.error) == (200, None)


def test_frozen_between_two_invocations(folder: Path) -> None:
    mark = f"{folder}-frozen"
    with serve("--json", "--freeze", "--handler", "app.handler", ".", cwd=folder) as served:
        served.post({"do": "spawn", "mark": mark})
        eventually(
            lambda: (
                len(served.descendants()) == 2
                and all(process.status() == psutil.STATUS_STOPPED for process in served.descendants())
            )
        )
        assert served.post({"do": "sleep", "seconds": 0}).value == "slept"
        assert served.end() == 130
    assert marked(mark) == []


@pytest.mark.parametrize("target", ["./program", "."])
def test_a_change_on_disk_is_another_function(target: str, tmp_path: Path) -> None:
    script(tmp_path / "program", "echo 1")
    (tmp_path / "shim.toml").write_text('executable = "program"\n')
    with serve("--json", "--watch", target, cwd=tmp_path) as served:
        assert served.post({}).value == 1

        def is_seen() -> bool:
            script(tmp_path / "program", "echo 2")  # again and again: when it begins to watch is not told
            return bool(served.of("renewed"))

        eventually(is_seen)
        assert served.post({}).value == 2
        assert str(tmp_path / "program") in served.of("renewed")[0]["files"]

    assert [data["environment"] for data in served.of("invocation")] == [1, 2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_and_leaves_nothing(number: int, code: int, folder: Path) -> None:
    """Not even what left its session and wiped its environment, and not what fell to the server while it served."""
    mark = f"{folder}-left"
    with serve("--json", "--timeout", "60", "--handler", "app.handler", ".", cwd=folder) as served:
        served.post({"do": "spawn", "mark": mark, "wiped": True, "then": "os.fork() and os._exit(0); os.setsid()"})
        eventually(lambda: marked(mark))
        served.post({"do": "crash"})
        with ThreadPoolExecutor(1) as threads:
            cut = threads.submit(_outcome, lambda: served.post({"do": "sleep", "seconds": 60}))
            eventually(lambda: any(data["message"] == "sleeping" for data in served.of("log")))
            below = served.descendants()
            began = time.monotonic()
            assert served.end(number) == code
            assert time.monotonic() - began < 10
            cut.result()
        assert served.of("stop")[0]["unfinished"] == 1

    assert below
    assert not [process for process in below if process.is_running()]
    assert marked(mark) == []
    host, port = served.url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def _outcome(call: Callable[[], object]) -> object:
    """What a caller has of it whose server ends."""
    try:
        return call()
    except OSError as error:
        return error


def test_a_second_ctrl_c_ends_it_at_once(folder: Path) -> None:
    mark = f"{folder}-second"
    with serve("--json", "--handler", "app.handler", ".", cwd=folder) as served:
        for _ in range(3):
            served.post({"do": "spawn", "mark": mark})
        below = served.descendants()
        assert len(marked(mark)) == 3
        served.send(signal.SIGINT)
        time.sleep(0.02)
        with suppress(ProcessLookupError):
            served.send(signal.SIGINT)
        assert served.ended() == 130

    assert not [process for process in below if process.is_running()]
    assert marked(mark) == []


def test_orphans_that_end_do_not_stay_zombies(folder: Path) -> None:
    mark = f"{folder}-zombie"
    with serve("--json", "--handler", "app.handler", ".", cwd=folder) as served:
        for _ in range(5):
            served.post({"do": "spawn", "mark": mark, "then": "os.fork() and os._exit(0); os._exit(0)"})
        eventually(lambda: len(psutil.Process(served.process.pid).children()) == 1)


IMMORTAL = """#!{python}
# A runtime that has registered as an extension, and so gets SIGTERM, which it ignores.
import http.client, json, os, signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def call(method, path, body=None, headers={{}}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.headers, answer.read()
told, _ = call("POST", "/2020-01-01/extension/register", '{{"events": []}}', {{"Lambda-Extension-Name": "own"}})
own = {{"Lambda-Extension-Identifier": told["Lambda-Extension-Identifier"]}}
threading.Thread(target=call, args=("GET", "/2020-01-01/extension/event/next", None, own), daemon=True).start()
while True:
    told, _ = call("GET", "/2018-06-01/runtime/invocation/next")
    call("POST", f"/2018-06-01/runtime/invocation/{{told['Lambda-Runtime-Aws-Request-Id']}}/response", "1")
"""


def test_a_second_ctrl_c_does_not_wait_for_what_ignores_sigterm(tmp_path: Path) -> None:
    program = tmp_path / "bootstrap"
    program.write_text(IMMORTAL.format(python=sys.executable))
    program.chmod(0o755)

    def seconds_to_end(*, again: bool) -> float:
        with serve("--json", "--runtime", "bootstrap", ".", cwd=tmp_path) as served:
            assert served.post({}).value == 1
            below = served.descendants()
            began = time.monotonic()
            served.send(signal.SIGINT)
            eventually(lambda: served.of("stop"))
            if again:
                served.send(signal.SIGINT)
            assert served.ended() == 130
            seconds = time.monotonic() - began
        assert not [process for process in below if process.is_running()]
        return seconds

    assert seconds_to_end(again=False) >= 0.5 > seconds_to_end(again=True)


def test_what_is_to_run_later_is_retried_and_then_a_dead_letter(folder: Path) -> None:
    letters = folder / "letters.jsonl"
    options = ["--retry-scale", "0.001", "--dead-letters", str(letters), "--handler", "app.handler"]
    with serve("--json", *options, ".", cwd=folder) as served:
        accepted = served.post({"do": "fail"}, {"X-Amz-Invocation-Type": "Event"})
        eventually(lambda: letters.exists() and letters.read_text().endswith("\n"), within=LONGEST)
    letter = json.loads(letters.read_text())

    assert (accepted.status, accepted.body) == (202, b"")
    assert [data["ok"] for data in served.of("invocation")] == [False] * 3
    assert len({data["requestId"] for data in served.of("invocation")}) == 1
    assert (letter["event"], letter["attempts"]) == ({"do": "fail"}, 3)


def test_the_function_url_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    with serve("--json", "cat", cwd=tmp_path) as served:
        assert served.url
        url = served.of("start")[0]["function_url"]
        with urllib.request.urlopen(f"{url}orders?id=1", timeout=LONGEST) as response:  # noqa: S310 - our own server
            told = json.load(response)

    assert (told["event"]["rawPath"], told["event"]["queryStringParameters"]) == ("/orders", {"id": "1"})


def test_an_answer_on_a_kept_connection_waits_for_no_acknowledgement(folder: Path) -> None:
    """The head and the body of an answer are two packets: Nagle's algorithm would hold the second back for 40 ms."""
    waited = []
    with serve("--handler", "app.handler", ".", cwd=folder) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=LONGEST)
        for _ in range(10):
            connection.request("POST", "/2015-03-31/functions/function/invocations", "{}")
            response = connection.getresponse()
            began = time.monotonic()
            response.read()
            waited.append(time.monotonic() - began)
        connection.close()

    assert min(waited[1:]) < 0.02


def test_an_error_is_shown_beside_the_log(folder: Path) -> None:
    with serve("--timeout", "1", "--handler", "app.handler", ".", cwd=folder) as served:
        for event in ({"do": "fail"}, {"do": "crash"}, {"do": "sleep", "seconds": 9}):
            served.post(event)
        served.end()
    said = [line for line in served.err if line.startswith("shim: [")]

    assert said[0] == "shim: [1] ValueError: no price"
    assert re.fullmatch(r"shim: \[1\] Runtime\.ExitError: RequestId: \S+ Error: .* exit status 3", said[1])
    assert re.fullmatch(
        r"shim: \[2\] Sandbox\.Timedout: RequestId: \S+ Error: Task timed out after 1\.00 s\w+", said[2]
    )


def test_a_port_that_is_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = shim("serve", "--port", str(port), "true", cwd=tmp_path)

    assert ended.lines == [
        f"OSError: port {port} of 127.0.0.1 can't be had: Address already in use; name another one, or 0 for any that is free",
        "Try: shim serve --port 0 true",
    ]
    assert (ended.out, ended.code) == (b"", 2)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["no-such-program"], "ExecutableNotFound: no-such-program was not found in ", 1),
        (["./not/here"], "ExecutableNotFound: ./not/here was not found: there is no ", 1),
        (["plain"], "ExecutableNotRunnable: plain is not executable", 1),
        (["--runtime", "bootstrap", "no-such-program"], "ExecutableNotFound: no-such-program was not found in ", 1),
        (["--runtime", "bootstrap", "plain"], "ExecutableNotRunnable: plain is not executable", 1),
        (["--runtime", "bootstrap", "."], "ExecutableNotFound: bootstrap was not found: there is no ", 1),
        (["."], "SettingsError: the settings have 1 mistake: executable is missing", 2),
        (["--output", "xml", "true"], "SettingsError: the settings have 1 mistake: --output must be one of", 2),
        (["--handler", "app", "."], "SettingsError: the settings have 1 mistake: --handler must be MODULE.NAME", 2),
        (["--handler", "app.f", "none.py"], "SettingsError: the settings have 1 mistake: there is no none.py in", 2),
        (["--cwd", "nowhere", "true"], "SettingsError: the settings have 1 mistake: cwd must be a folder", 2),
        (
            ["--runtime", "bootstrap", "--output", "text", "true"],
            "SettingsError: the settings have 1 mistake: --output must not be given with --runtime bootstrap",
            2,
        ),
    ],
)
def test_what_can_not_be_served_is_told_at_once(arguments: list[str], said: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    ended = shim("serve", "--port", "0", *arguments, cwd=tmp_path)

    assert len(ended.told) == 1
    assert ended.error.startswith(said)
    assert (ended.out, ended.code) == (b"", code)


def test_with_json_that_is_an_object_too(tmp_path: Path) -> None:
    ended = shim("serve", "--json", "no-such-program", cwd=tmp_path)

    assert json.loads(ended.out)["event"] == "error"
    assert json.loads(ended.out)["errorType"] == "ExecutableNotFound"
    assert (ended.err, ended.code) == (b"", 1)


@pytest.mark.parametrize(
    "options",
    [
        ["--function-env", "NAME"],
        ["--function-env", "=value"],
        ["--function-env", "AWS_LAMBDA_RUNTIME_API=x"],
        ["--timeout", "nan"],
        ["--at-once", "0"],
        ["--port", "70000"],
        ["--runtime", "node"],
        ["--retry-scale", "-1"],
        ["--dead-letters", "/no/such/folder/file"],
        ["--name", "a b"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_a_mistake(options: list[str]) -> None:
    ended = shim("serve", *options, "true", variables={"COLUMNS": "200"})

    assert options[0] in ended.err.decode()
    assert (ended.out, ended.code) == (b"", 2)


@pytest.mark.parametrize("package", ["awslambdaric", "uvicorn", "watchfiles"])
def test_a_missing_package_is_one_sentence(package: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    ended = shim("serve", "--watch", "true", variables={"PYTHONPATH": str(tmp_path)})

    assert ended.lines == [
        f"The command shim serve needs {package}, which is not installed: pip install 'lambda-shim[cli]'"
    ]
    assert ended.code == 2


def test_the_other_commands_load_none_of_it() -> None:
    program = "import shim.cli.app, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True).split()

    assert not {"asyncio", "uvicorn", "watchfiles", "psutil", "shim.local.emulator"} & set(loaded)


def test_when_nobody_takes_the_objects_any_more_it_ends(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--json", "--handler", "app.handler", "."],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(),
    ) as process:
        assert process.stdout
        assert process.stderr
        url = json.loads(process.stdout.readline())["url"]
        process.stdout.close()
        with suppress(subprocess.CalledProcessError):
            _curl(url)
        error = process.stderr.read()

    assert error == b"OSError: the result could not be written to standard output: Broken pipe\n"
    assert process.returncode == 1


class Terminal:
    """`shim serve` on a terminal."""

    def __init__(self, *arguments: str, cwd: Path, variables: dict[str, str]) -> None:
        self.shown = b""
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=environment({"TERM": "xterm-256color", "COLUMNS": "100", **variables}),
        )
        os.close(theirs)
        os.set_blocking(self._terminal, False)

    def shows(self, pattern: bytes) -> re.Match[bytes] | None:
        """Whether that is shown by now, escape sequences aside."""
        with suppress(BlockingIOError, OSError):
            while data := os.read(self._terminal, 65_536):
                self.shown += data
        return re.search(pattern, ESCAPE.sub(b"", self.shown))

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """Waits until that is shown."""
        eventually(lambda: self.shows(pattern), within=LONGEST)
        match = self.shows(pattern)
        assert match
        return match

    def end(self, number: int) -> int:
        """Ends it."""
        self.process.send_signal(number)
        eventually(lambda: self.shows(b"$never") or self.process.poll() is not None, within=LONGEST)
        self.shows(b"")
        os.close(self._terminal)
        return self.process.wait(LONGEST)


def _curl(url: str) -> Any:
    return json.loads(
        subprocess.check_output(["curl", "-sd", "{}", f"{url}/2015-03-31/functions/function/invocations"])
    )


def test_on_a_terminal_there_are_a_panel_and_a_live_line(tmp_path: Path) -> None:
    script(tmp_path / "program", "echo said >&2; echo 5")
    terminal = Terminal("./program", cwd=tmp_path, variables={})
    url = terminal.wait_for(rb"Invoke API +(http://127\.0\.0\.1:\d+) ")[1].decode()
    terminal.wait_for("0 invocations · 0 errors · 0 running · p50 - · p99 -".encode())
    assert _curl(url) == 5
    terminal.wait_for(rb"1 invocation \xc2\xb7 0 errors \xc2\xb7 0 running \xc2\xb7 p50 \d+\.\d\d ms")
    assert terminal.end(signal.SIGINT) == 130
    plain = ESCAPE.sub(b"", terminal.shown).decode()

    assert "╭─ shim serves function ─" in plain
    assert f'curl -d \'{{"key": "value"}}\' {url}/2015-03-31/functions/function/invocations\r\n' in plain
    assert b"\x1b[36m[1]\x1b[0m said\r\n" in terminal.shown
    assert "[1] said\r\n" in plain
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")


def test_no_color_leaves_no_escape(tmp_path: Path) -> None:
    terminal = Terminal("true", cwd=tmp_path, variables={"NO_COLOR": "1"})
    url = terminal.wait_for(rb"Invoke API +(http://127\.0\.0\.1:\d+) ")[1].decode()
    assert _curl(url) is None
    terminal.wait_for(rb"\[1\] REPORT")

    assert terminal.end(signal.SIGTERM) == 143
    assert b"\x1b" not in terminal.shown


def test_who_does_not_read_stops_no_invocation(folder: Path) -> None:
    """Standard error is a pipe that nobody empties."""
    reading, writing = os.pipe()
    script(folder / "program", "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo 1")
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--name", "function", "./program"],
        stdin=subprocess.DEVNULL,
        stderr=writing,
        cwd=folder,
        env=environment(),
    )
    os.close(writing)
    with open(reading, "rb") as lines:
        url = lines.readline().decode().rpartition(" ")[2].strip()
        assert [_curl(url) for _ in range(5)] == [1] * 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST) == 143
