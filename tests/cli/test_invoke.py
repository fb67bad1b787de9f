"""`shim invoke` with real programs: what it prints where, and how it exits."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.command import COMMAND, HERE, NONE, environment, shim, start
from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUEST_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
START = re.compile(rf"START RequestId: ({REQUEST_ID}) Version: \$LATEST")
END = re.compile(rf"END RequestId: ({REQUEST_ID})")
REPORT = re.compile(
    rf"REPORT RequestId: ({REQUEST_ID})\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: (\d+) MB"
    r"\tMax Memory Used: (under )?(\d+) MB\tInit Duration: \d+\.\d\d ms"
)


def script(folder: Path, text: str) -> str:
    """A program of our own, as its path."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def told(*arguments: str, variables: Mapping[str, str] = NONE) -> Any:
    """What an executable is told: the line that it reads."""
    ended = shim("invoke", *arguments, "cat", variables=variables)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_the_result_is_standard_output_and_nothing_else_is() -> None:
    ended = shim("invoke", "sh", "-c", """echo "said" >&2; printf '{ "a" : [1, 2.50] }\\n\\n'""")

    assert ended.out == b'{"a":[1,2.50]}\n'
    assert ended.code == 0


def test_the_log_is_lambdas_lines_around_the_executables_own() -> None:
    ended = shim("invoke", "--memory", "256", "sh", "-c", "echo one >&2; printf two >&2")
    first, *own, last, report = ended.lines
    ids = [pattern.fullmatch(line) for pattern, line in ((START, first), (END, last), (REPORT, report))]

    assert own == ["one", "two"]
    assert all(ids), ended.lines
    assert len({match[1] for match in ids if match}) == 1
    assert ids[2] is not None
    assert ids[2][2] == "256"


def test_a_peak_of_memory_that_hides_below_our_own_is_said_to_be_under_it() -> None:
    small = REPORT.fullmatch(shim("invoke", "true").lines[-1])
    large = REPORT.fullmatch(
        shim("invoke", "--timeout", "30", "sh", "-c", "head -c 200000000 /dev/zero | tail -c 1000000000 | wc -c").lines[
            -1
        ]
    )

    assert small is not None
    assert small[3] == "under "
    assert large is not None
    assert large[3] is None
    assert int(large[4]) > 190


def test_the_memory_of_what_ran_before_in_this_process_is_not_the_executables() -> None:
    """A shell runs the last of its commands in its own place, and leaves it what its other children took."""
    large = f'{sys.executable} -c "bytearray(200_000_000)"'
    command = f"{large} && exec {shlex.join([*COMMAND, 'invoke', 'true'])}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment())
    report = REPORT.fullmatch(ended.stderr.splitlines()[-1])

    assert report is not None
    assert report[3] == "under "


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("exit 3", r"ExitError: sh ended with exit code 3 after \d+ ms"),
        ("kill -SEGV $$", r"SignalError: sh was killed by SIGSEGV( \(core dumped\))? after \d+ ms.*"),
        ("echo '{'", r"OutputInvalid: sh .*"),
        (
            """printf %s '{"errorType":"Orders.Gone","errorMessage":"two\\nlines"}'; exit 1""",
            r"Orders\.Gone: two\\nlines",
        ),
        ("echo why >&2; exit 4", r"ExitError: sh ended with exit code 4 after \d+ ms"),
    ],
)
def test_a_failed_executable_is_one_line_and_exit_code_1(program: str, error: str) -> None:
    ended = shim("invoke", "sh", "-c", program)

    assert re.fullmatch(error, ended.error), ended.error
    assert END.fullmatch(ended.told[-3])
    assert REPORT.fullmatch(ended.told[-2])
    assert (ended.out, ended.code) == (b"", 1)


def test_the_end_of_standard_error_is_shown_once_since_it_was_shown_live() -> None:
    ended = shim("invoke", "sh", "-c", "echo reason >&2; exit 1")

    assert ended.err.count(b"reason") == 1


def test_a_hanging_executable_is_stopped_before_its_timeout() -> None:
    ended = shim("invoke", "--timeout", "1", "sh", "-c", "echo waits >&2; sleep 600")

    assert ended.error.startswith("DeadlineExceeded: sh ")
    assert "waits" in ended.lines
    assert (ended.out, ended.code) == (b"", 1)


@pytest.mark.parametrize("executable", ["no-such-program", "./no-such-program", "/no/such/program"])
def test_a_missing_executable_has_no_request_and_exit_code_1(executable: str) -> None:
    ended = shim("invoke", executable)

    assert len(ended.told) == 1
    assert ended.error.startswith(f"ExecutableNotFound: {executable} was not found")
    assert (ended.out, ended.code) == (b"", 1)


def test_a_file_without_its_execute_bit_is_the_executables_fault(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    ended = shim("invoke", "program", cwd=tmp_path)

    assert ended.error.startswith("ExecutableNotRunnable: program ")
    assert ended.code == 1


def test_an_executable_is_looked_for_in_the_task_root_then_in_the_current_folder_then_on_path(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    script(root, "echo '\"in the root\"'")
    script(tmp_path, "echo '\"here\"'")

    assert shim("invoke", "program", cwd=tmp_path, variables={"LAMBDA_TASK_ROOT": str(root)}).out == b'"in the root"\n'
    assert shim("invoke", "program", cwd=tmp_path).out == b'"here"\n'
    assert shim("invoke", "echo", "7", cwd=tmp_path).out == b"7\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--timeout", "5", "--debug"],
        ["--", "--event", "-"],
        ["", " ", "-", "*", "$HOME", "a b", "ä"],
        ["--no-such-option=1", "-x"],
    ],
)
def test_all_after_the_executable_is_its_own(tmp_path: Path, arguments: list[str]) -> None:
    program = script(tmp_path, 'for word in "$@"; do printf "[%s]" "$word" >&2; done')
    ended = shim("invoke", program, *arguments)

    assert ended.lines[1] == "".join(f"[{word}]" for word in arguments)
    assert ended.code == 0


def test_a_double_dash_before_the_executable_ends_our_options() -> None:
    assert shim("invoke", "--output", "text", "--", "echo", "--event").out == b'"--event\\n"\n'


@pytest.mark.parametrize(
    "number", ["123456789012345678901234567890", "9223372036854775808", "1.10", "1e5", "-0", "0.1000000000000000055"]
)
def test_a_number_keeps_every_digit_both_ways(number: str) -> None:
    ended = shim("invoke", "--event", f'{{"n": {number}}}', "cat")
    answered = shim("invoke", "--output", "json", "echo", f'{{"n": {number}}}')

    assert f'{{"event":{{"n":{number}}},'.encode() in ended.out
    assert answered.out == f'{{"n":{number}}}\n'.encode()


def test_the_context_and_the_environment_are_lambdas() -> None:
    told_line = told("--name", "orders", "--memory", "512", "--timeout", "20.5", "--event", "[1]")
    context = told_line["context"]
    variables = dict(
        line.partition("=")[::2] for line in json.loads(shim("invoke", "--name", "orders", "env").out).splitlines()
    )

    assert told_line["event"] == [1]
    assert context["function_name"] == variables["AWS_LAMBDA_FUNCTION_NAME"] == "orders"
    assert context["memory_limit_in_mb"] == "512"
    assert context["function_version"] == variables["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert context["log_group_name"] == variables["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/orders"
    assert context["invoked_function_arn"] == "arn:aws:lambda:us-east-1:012345678912:function:orders"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["LAMBDA_TASK_ROOT"] == str(HERE)


def test_what_the_user_has_set_stays_but_where_an_option_says_otherwise() -> None:
    own = {
        "AWS_LAMBDA_FUNCTION_NAME": "theirs",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/their/group",
        "AWS_REGION": "eu-central-1",
    }
    kept = told(variables=own)["context"]
    beaten = told("--name", "ours", "--memory", "256", variables=own)["context"]

    assert (kept["function_name"], kept["memory_limit_in_mb"]) == ("theirs", "1024")
    assert kept["log_group_name"] == beaten["log_group_name"] == "/their/group"
    assert kept["invoked_function_arn"] == "arn:aws:lambda:eu-central-1:012345678912:function:theirs"
    assert (beaten["function_name"], beaten["memory_limit_in_mb"]) == ("ours", "256")


def test_a_default_region_is_not_overruled() -> None:
    assert ":eu-west-3:" in told(variables={"AWS_DEFAULT_REGION": "eu-west-3"})["context"]["invoked_function_arn"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_a_signal_kills_the_child_too_and_leaves_no_traceback(
    number: signal.Signals, code: int, actor: str, left_behind: Callable[[], list[int]]
) -> None:
    """The child leads a session of its own, so that a terminal's Ctrl-C does not reach it: we must kill it."""
    with start("invoke", "--timeout", "600", "sh", "-c", f"{actor} sleep:600000 & echo $$ >&2; wait") as command:
        assert command.stderr is not None
        assert command.stderr.readline().startswith(b"START ")
        child = int(command.stderr.readline())
        eventually(left_behind)
        command.send_signal(number)
        out, err = command.communicate(timeout=30)

        assert command.returncode == code
        assert out == b""
        assert b"Traceback" not in err
        assert not Path(f"/proc/{child}").exists()
        eventually(lambda: not left_behind())


def test_an_orphan_that_left_everything_is_killed_since_the_command_is_subreaper(
    actor: str, left_behind: Callable[[], list[int]], tmp_path: Path
) -> None:
    """It is in a session of its own and its environment is empty; the program ends once it runs."""
    orphan = f"setsid env -i sh -c ': > {tmp_path}/ready; exec {actor} sleep:600000' >/dev/null 2>&1 </dev/null &"
    ended = shim("invoke", "sh", "-c", f"mkfifo {tmp_path}/ready; {orphan} read line < {tmp_path}/ready; :")

    assert ended.code == 0, ended.err
    assert "shim: sh left 1 process behind, which was killed" in ended.lines
    assert left_behind() == []


@pytest.mark.parametrize("options", [[], ["--json"], ["--repeat", "2"]], ids=str)
def test_a_result_that_nobody_takes_is_a_failure(options: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = shim("invoke", *options, "true", stdout=full)

    assert ended.error == "OSError: the result could not be written to standard output: No space left on device"
    assert ended.code == 1


@pytest.mark.parametrize("options", [[], ["--json"], ["--repeat", "2"]], ids=str)
def test_a_closed_standard_output_is_a_failure_too(options: list[str]) -> None:
    """What is opened next has its number, and would take the result unseen."""
    command = " ".join(shlex.quote(word) for word in [*COMMAND, "invoke", *options, "echo", "1"])
    ended = subprocess.run(
        ["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, env=environment(), cwd=HERE, check=False
    )

    assert ended.stderr.splitlines()[-1] == b"OSError: the result could not be written to standard output: it is closed"
    assert ended.returncode == 1
