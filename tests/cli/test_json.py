"""`shim invoke --json`: one object on standard output, of a result as of an error."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from shim import errors
from shim.cli.jsonobject import DATA
from tests.cli.command import COMMAND, HERE, Ended, environment, screen, shim, shim_on_terminal
from tests.conftest import ROOT

FIGURES = ["requestId", "duration_ms", "init_ms", "max_memory_bytes"]
EXECUTABLES = ["executable", "cure", "stderr_tail"]
ERROR = ["ok", "errorType", "errorMessage", *FIGURES]


def answer(ended: Ended) -> Any:
    """The one object, read by a strict parser."""
    assert ended.out.endswith(b"}\n")
    return orjson.loads(ended.out)


def test_a_result_stands_in_it_byte_for_byte() -> None:
    reply = '{ "n": 123456789012345678901234567890,\n\t"x": [1.10, -0, 1e400], "n": 1, "t": "\\ud83d\\ude00\\/" }'
    ended = shim("invoke", "--json", "--output", "auto", "echo", reply.replace("1e400", "1e5"))

    assert ended.out.startswith(b'{"ok":true,"result":' + reply.replace("1e400", "1e5").encode() + b',"requestId":"')
    assert list(answer(ended)) == ["ok", "result", *FIGURES]
    assert ended.code == 0


@pytest.mark.parametrize(
    ("options", "program", "result"),
    [
        ([], ":", None),
        ([], "echo 18446744073709551616", 18446744073709551616),
        (["--output", "text"], "printf 'ä\\n\"\\0'", 'ä\n"\0'),
        (["--output", "base64"], "printf '\\377'", "/w=="),
        (["--exit-codes", '{"3": "ok"}'], "echo '{\"ok\": false}'; exit 3", {"ok": False}),
    ],
)
def test_a_result_is_the_value(options: list[str], program: str, result: object) -> None:
    ended = shim("invoke", "--json", *options, "sh", "-c", program)
    found = json.loads(ended.out)  # orjson makes a float of so large an integer

    assert (found["ok"], found["result"]) == (True, result)
    assert ended.code == 0


def test_the_figures_are_the_reports() -> None:
    ended = shim("invoke", "--json", "sh", "-c", "echo said >&2; echo 1")
    found = answer(ended)
    report = re.fullmatch(
        r"REPORT RequestId: (\S+)\tDuration: (\S+) ms\t.*\tMax Memory Used: under \d+ MB\tInit Duration: (\S+) ms",
        ended.lines[-1],
    )

    assert report is not None
    assert ended.lines[1:2] == ["said"]
    assert found["requestId"] == report[1]
    assert found["duration_ms"] == pytest.approx(float(report[2]), abs=0.01)
    assert found["init_ms"] == pytest.approx(float(report[3]), abs=0.01)
    assert found["max_memory_bytes"] is None


def test_memory_that_is_known_is_said_in_bytes() -> None:
    found = answer(
        shim(
            "invoke",
            "--json",
            "--timeout",
            "30",
            "sh",
            "-c",
            "head -c 200000000 /dev/zero | tail -c 1000000000 >/dev/null; echo 1",
        )
    )

    assert 200_000_000 < found["max_memory_bytes"] < 400_000_000


@pytest.mark.parametrize(
    ("options", "program", "kind", "data"),
    [
        ([], "echo why >&2; exit 3", "ExitError", {"exit_code": 3, "stderr_tail": "why"}),
        (["--exit-codes", '{"3": "Orders.Bad"}'], "exit 3", "Orders.Bad", {"exit_code": 3, "stderr_tail": ""}),
        ([], "ulimit -c 0; kill -SEGV $$", "SignalError", {"signal": "SIGSEGV", "core_dumped": False}),
        (["--timeout", "1"], "echo waits >&2; sleep 600", "DeadlineExceeded", {"stderr_tail": "waits"}),
        (["--output", "json"], ":", "ReplyMissing", {}),
        (["--max-output-bytes", "9"], "echo 1234567890", "OutputTooLarge", {"limit_bytes": 9}),
        ([], "printf '[1,\\377]'", "OutputInvalid", {"offset_bytes": 3, "excerpt": "[1,\\xff]"}),
        ([], """printf '["\\\\ud800"]'""", "OutputInvalid", {"excerpt": '["\\ud800"]'}),
        (
            [],
            """printf '{"errorType": "Bad", "errorMessage": "[b]\\\\n\\\\u0000", "stackTrace": ["one"]}'; exit 1""",
            "Bad",
            {"exit_code": 1, "stackTrace": ["one"], "errorMessage": "[b]\n\0"},
        ),
    ],
)
def test_an_error_is_what_lambdas_caller_gets_with_its_data(
    options: list[str], program: str, kind: str, data: dict[str, object]
) -> None:
    ended = shim("invoke", "--json", *options, "sh", "-c", program)
    found = answer(ended)

    assert found | {"ok": False, "errorType": kind, "executable": "sh"} | data == found
    assert list(found)[: len(ERROR)] == ERROR
    assert set(EXECUTABLES) <= found.keys()
    assert found["requestId"]
    assert found["duration_ms"] > 0
    assert "REPORT RequestId: " in ended.error  # no line of the error follows
    assert ended.code == 1


def test_the_message_is_lambdas_with_the_end_of_standard_error() -> None:
    found = answer(shim("invoke", "--json", "sh", "-c", "echo why >&2; exit 3"))

    assert found["errorMessage"].endswith(" ms. Its standard error ends with:\nwhy")


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["no-such-program"], "ExecutableNotFound", 1),
        (["--output", "xml", "true"], "SettingsError", 2),
        (["--event", "{", "true"], "EventInvalid", 2),
        (["--repeat", "3", "--output", "xml", "true"], "SettingsError", 2),
        (["--repeat", "3", "no-such-program"], "ExecutableNotFound", 1),
    ],
)
def test_what_fails_before_an_invocation_is_an_object_too(arguments: list[str], kind: str, code: int) -> None:
    ended = shim("invoke", "--json", *arguments)
    found = answer(ended)

    assert (found["ok"], found["errorType"]) == (False, kind)
    assert (found["requestId"], found["duration_ms"]) == (None, None)
    assert (ended.err, ended.code) == (b"", code)


def test_mistakes_are_a_list() -> None:
    found = answer(shim("invoke", "--json", "--output", "xml", "--linger-ms", "x", "true"))

    assert [mistake.split()[0] for mistake in found["mistakes"]] == ["--output", "--linger-ms"]


def test_a_wrong_option_is_said_as_ever() -> None:
    ended = shim("invoke", "--json", "--no-such-option", "true")

    assert b"--no-such-option" in ended.err
    assert (ended.out, ended.code) == (b"", 2)


def test_a_name_that_is_not_utf8_makes_no_lone_surrogate() -> None:
    command = [os.fsencode(word) for word in COMMAND]
    out = subprocess.run(
        [*command, b"invoke", b"--json", b"/no/\xff"], stdout=subprocess.PIPE, env=environment(), cwd=HERE, check=False
    ).stdout

    assert orjson.loads(out)["executable"] == "/no/?"


def test_on_a_terminal_it_is_indented_and_there_is_no_panel() -> None:
    ended = shim_on_terminal("invoke", "--json", "sh", "-c", "exit 3")

    assert json.loads("\n".join(screen(ended.out)))["errorType"] == "ExitError"
    assert "╭" not in ended.err.decode()
    assert screen(ended.err)[-1].startswith("REPORT ")


def test_debug_goes_to_standard_error() -> None:
    ended = shim("invoke", "--json", "--debug", "false")

    assert answer(ended)["errorType"] == "ExitError"
    assert b"Traceback" in ended.err


def test_every_attribute_of_an_error_has_its_key() -> None:
    """But for `duration`: duration_ms is the invocation's. And for what our own runtime alone raises."""
    tree = ast.parse(Path(errors.__file__).read_text())
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }

    assert attributes - {"args", "duration", "is_silent"} == DATA.keys()


def test_every_key_stands_in_the_readme() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## The command\n")[2].partition("\n## ")[0]
    keys = {*ERROR, "result", "invocations", "outcomes", "examples", *(key for key, _ in DATA.values())}

    assert [key for key in keys if f"`{key}`" not in section] == []
