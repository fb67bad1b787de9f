"""`shim conform` as its users run it: what it shows, its exit codes, and the commands by which a failure is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest

from shim.cli.conformity import _expression
from shim.testing.conform.protocol import REQUIREMENTS
from tests.cli.command import environment, screen, shim, shim_on_terminal, start
from tests.conftest import FIXTURES, eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cli.command import Ended

QUICK = ("--examples", "10", "--requests", "50", "--within", "3")
SHAPE = {
    "type": "object",
    "required": ["ok", "executable", "mode", "requirements"],
    "additionalProperties": False,
    "properties": {
        "ok": {"type": "boolean"},
        "executable": {"type": "string"},
        "mode": {"enum": ["oneshot", "warm", "bootstrap"]},
        "requirements": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["number", "name", "says", "status", "sentence", "requests", "repeat"],
                "additionalProperties": False,
                "properties": {
                    "number": {"enum": [requirement.number for requirement in REQUIREMENTS]},
                    "name": {"enum": [requirement.name for requirement in REQUIREMENTS]},
                    "says": {"enum": [requirement.says for requirement in REQUIREMENTS]},
                    "status": {"enum": ["passed", "failed", "not asked"]},
                    "sentence": {"type": ["string", "null"]},
                    "requests": {"type": "array", "items": {"type": "string"}},
                    "repeat": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


@pytest.fixture(scope="session")
def citizen(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program that has the fault which its argument names."""
    program = tmp_path_factory.mktemp("citizen") / "citizen"
    source = FIXTURES / "executables" / "lines_citizen.c"
    subprocess.run([compiler, "-O2", "-o", program, source, "-lpthread"], check=True)
    return str(program)


def conform(*arguments: str, cwd: Path, stdin: bytes = b"") -> Ended:
    return shim("conform", *QUICK, *arguments, cwd=cwd, stdin=stdin)


def test_a_line_for_each_requirement_and_one_for_all(citizen: str, tmp_path: Path) -> None:
    """And nothing is left in the folder where it ran."""
    ended = conform(citizen, "good", cwd=tmp_path)

    assert ended.out.decode().splitlines() == [
        "passed: 1.2 leaves-nothing",
        "passed: 1.3 ends-on-sigterm",
        "passed: 2.2 ignores-the-unknown",
        "passed: 2.3 reads-any-size",
        "passed: 2.4 survives-odd-json",
        "passed: 3.3 answers-once",
        "passed: 3.4 keeps-its-reply-clean",
        "not asked: 3.6 answers-independently, since it need not be so (--pure)",
        "passed: 4.2 refuses-what-is-no-json",
        "passed: 5.1 ends-at-end-of-input",
        f"{citizen}: 9 passed, 1 not asked",
    ]
    assert (ended.err, ended.code) == (b"", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_says_what_it_did_and_how_to_see_it_again(citizen: str, tmp_path: Path) -> None:
    ended = conform("--skip", "5.1", "--only", "2.4", "--only", "5.1", citizen, "silent-on:t'rue", cwd=tmp_path)

    assert (ended.code, ended.out.decode().splitlines()[0]) == (0, "passed: 2.4 survives-odd-json")
    ended = conform("--only", "survives-odd-json", citizen, "silent-on:fal", cwd=tmp_path)

    assert ended.out.decode().splitlines() == [
        (
            "failed: 2.4 survives-odd-json: it ended with exit code 3 without a word on standard error, or a report as its reply,"
            " to the event b'false'"
        ),
        f"    shim conform --only 2.4 --examples 10 --requests 50 --within 3 --request false {citizen} silent-on:fal",
        f"{citizen}: 1 failed",
    ]
    assert (ended.err, ended.code) == (b"", 1)


@pytest.mark.parametrize(
    ("fault", "number", "options"),
    [
        ("leaves", "1.2", []),
        ("slow-sigterm", "1.3", ["--mode", "warm"]),
        ("knows-members", "2.2", ["--mode", "warm", "--framing", "envelope"]),
        ("buffer:4096", "2.3", []),
        ("dies-at:200000", "2.3", ["--mode", "warm"]),
        (r"dies-on:\u0000", "2.4", []),
        ("lazy", "3.2", ["--mode", "warm", "--within", "1"]),
        ("twice", "3.3", []),
        ("greets", "3.4", ["--mode", "warm"]),
        ("first-id", "3.5", ["--mode", "warm", "--framing", "envelope"]),
        ("remembers", "3.6", ["--mode", "warm", "--pure"]),
        ("believes", "4.2", []),
        ("believes-objects", "4.2", []),
        ("code", "5.1", ["--mode", "warm"]),
        ("leaks-descriptors", "5.2", ["--mode", "warm"]),
    ],
)
def test_the_command_that_is_shown_repeats_a_failure(
    citizen: str, tmp_path: Path, fault: str, number: str, options: Sequence[str]
) -> None:
    """As it stands there, in a shell."""
    framing = ["envelope"] if "envelope" in options else []
    first = _object(conform("--json", "--only", number, *options, citizen, fault, *framing, cwd=tmp_path))
    (verdict,) = first["requirements"]
    # The command is not on every machine's PATH under its name.
    commands = [f'shim() {{ {sys.executable} -m shim.cli "$@"; }}', *verdict["repeat"]]
    again = subprocess.run(
        ["/bin/sh", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert verdict["status"] == "failed"
    assert again.stdout.decode().startswith(f"failed: {number} {verdict['name']}: it {verdict['sentence']}\n")
    assert (again.stderr, again.returncode) == (b"", 1)


@pytest.mark.parametrize("name", [b"-x", b"no text \xff\xc3\xa9", b"it's\n50 %\x1b", b"-%d\\0\n1"])
def test_a_program_of_any_name_is_repeated(tmp_path: Path, name: bytes) -> None:
    program = tmp_path / os.fsdecode(name)
    program.write_text("#!/bin/sh\necho {}\n")
    program.chmod(0o755)
    ended = conform("--json", "--only", "4.2", "--", program.name, os.fsdecode(name), cwd=tmp_path)
    (verdict,) = _object(ended)["requirements"]
    shown = subprocess.check_output(["/bin/sh", "-c", f"shim() {{ printf '%s|' \"$@\"; }}; {verdict['repeat'][-1]}"])

    assert shown.endswith(b"|%b|%b|" % (name, name))
    assert (b"|--|" in shown) == name.startswith(b"-")


def _object(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(ended.out)
    jsonschema.validate(found, SHAPE)

    assert found["ok"] == (ended.code == 0)
    return found


def test_json_is_one_object(citizen: str, tmp_path: Path) -> None:
    ended = conform("--json", "--mode", "warm", citizen, "code", cwd=tmp_path)
    found = _object(ended)
    statuses = {each["number"]: each["status"] for each in found["requirements"]}

    assert {number for number, status in statuses.items() if status == "failed"} == {"5.1"}
    assert {number for number, status in statuses.items() if status == "not asked"} == {"3.5", "3.6"}
    assert (ended.out.count(b"\n"), ended.err, ended.code) == (1, b"", 1)


def test_the_sample_may_come_from_a_file_or_from_standard_input(citizen: str, tmp_path: Path) -> None:
    """And is where the failure is repeated: the file itself, or its bytes."""
    (tmp_path / "my event.json").write_text('{"a": 1}')
    (by_file,) = _object(
        conform("--json", "--only", "5.1", "--mode", "warm", "--event", "my event.json", citizen, "code", cwd=tmp_path)
    )["requirements"]
    (by_input,) = _object(
        conform(
            "--json",
            "--only",
            "5.1",
            "--mode",
            "warm",
            "--event",
            "-",
            citizen,
            "code",
            cwd=tmp_path,
            stdin=b'{"b": 2}',
        )
    )["requirements"]

    assert "--event 'my event.json' " in by_file["repeat"][0]
    assert "--event '{\"b\": 2}' " in by_input["repeat"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--only", "2.1", "cat"],
            "SettingsError: the settings have 1 mistake: --only must be one of 1.2 leaves-nothing,",
        ),
        (["--only", "loops", "cat"], "--only must not be loops with mode=oneshot: it is asked in bootstrap alone"),
        (["--skip", "x", "cat"], "--skip must be one of"),
        (["--mode", "cold", "cat"], "--mode must be one of oneshot, warm, bootstrap, not 'cold'"),
        (["--framing", "envelope", "cat"], "must not be set, since mode=oneshot never reads it"),
        (["--event", "{", "cat"], "EventInvalid: '{' is no file that exists"),
        (["--request", "1", "cat"], "--request must be given with --only, and one requirement"),
        (["--request", "a\nb", "--only", "4.2", "cat"], "EventInvalid: from a request of several lines"),
        (["--examples", "0", "cat"], "Invalid value for '--examples'"),
        (["--within", "nan", "cat"], "Invalid value for '--within'"),
        ([], "Missing argument 'EXECUTABLE"),
        (
            ["sh", "-c", "no-such-program"],
            "EventInvalid: sh does not accept the event b'{}': it ended with exit code 127",
        ),
    ],
)
def test_a_mistake_in_what_was_asked(arguments: Sequence[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    ended = shim("conform", *arguments, cwd=tmp_path, variables={"COLUMNS": "200"})

    assert message in ended.err.decode()
    assert (ended.out, ended.code) == (b"", 2)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("bin/gone", "ExecutableNotFound: bin/gone was not found"),
        ("./folder", "ExecutableNotRunnable: ./folder is a folder, not a file"),
        ("./file", "ExecutableNotRunnable: ./file is not executable"),
        (
            "./dies",
            "ExecutableError: ./dies did not answer the event b'{}': it was killed by SIGSEGV; give an event that it answers with",
        ),
        ("./mute", "ExecutableError: ./mute did not answer the event b'{}': it ended with exit code 3 without a word"),
    ],
)
def test_one_that_can_not_be_held_to_anything_has_failed(program: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for name, text in (("dies", "kill -SEGV $$"), ("mute", "exit 3")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    plain = conform(program, cwd=tmp_path)
    as_json = conform("--json", program, cwd=tmp_path)
    found = orjson.loads(as_json.out)

    assert plain.error.startswith(error)
    assert (plain.out, plain.code) == (b"", 1)
    assert (found["ok"], found["errorType"]) == (False, error.partition(":")[0])
    assert (list(found), as_json.err, as_json.code) == (["ok", "errorType", "errorMessage"], b"", 1)


def test_on_a_terminal_a_table_and_commands_that_can_be_pasted(citizen: str) -> None:
    ended = shim_on_terminal("conform", *QUICK, "--only", "2.3", "--only", "4.2", citizen, "buffer:4096", columns=80)
    lines = ended.out.decode().splitlines()
    (command,) = [line for line in lines if "request-1 " in line and "conform" in line]

    assert b"\x1b[" in ended.out
    assert any("reads-any-size" in line and "failed" in line for line in screen(ended.out))
    assert len(command) > 100
    assert [line for line in lines if line.strip().endswith("> request-1\x1b[0m")]
    assert screen(ended.err) == [""]
    assert ended.code == 1


def test_without_colours_nothing_is_shown_of_the_way(citizen: str) -> None:
    ended = shim_on_terminal("conform", *QUICK, "--only", "2.2", citizen, "good", variables={"NO_COLOR": "1"})

    assert (ended.err, ended.code) == (b"", 0)
    assert b"\x1b" not in ended.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("only", ["2.2", "2.4"])
def test_whoever_interrupts_it_finds_nothing_left(citizen: str, number: signal.Signals, only: str) -> None:
    """While Hypothesis makes examples, or while nothing is answered."""
    with start("conform", "--mode", "warm", "--only", only, "--within", "60", citizen, "hangs-on:null") as process:
        eventually(lambda: processes_of(citizen))
        process.send_signal(number)
        code = process.wait(30)
    eventually(lambda: not processes_of(citizen))

    assert code == 128 + number


def test_no_other_command_loads_what_checks() -> None:
    program = "import shim.cli.app, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True).split()

    assert not {name for name in loaded if name.startswith(("hypothesis", "shim.testing.", "shim.cli.conformity"))}


def test_without_hypothesis_it_says_what_is_missing(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None; sys.argv[0] = 'shim'\n"
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name, *a: None if name == 'hypothesis' else find(name, *a)\n"
        "from shim.cli.__main__ import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "conform", "cat"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert ended.stderr == (
        b"The command shim conform needs hypothesis, which is not installed: pip install 'lambda-shim[cli,testing]'\n"
    )
    assert (ended.stdout, ended.returncode) == (b"", 2)


@pytest.mark.parametrize(
    "data", [b"", b"'", b'"', b"\\'\"", bytes(range(256)), b"x" * 40 + b"'" * 40 + b"\\" * 50 + b"a", os.fsencode("ä€")]
)
def test_what_makes_a_request_makes_these_bytes(data: bytes) -> None:
    """Within apostrophes in a shell."""
    made = subprocess.check_output(
        ["/bin/sh", "-c", f"{sys.executable} -c 'import sys; sys.stdout.buffer.write({_expression(data)})'"]
    )

    assert made == data
