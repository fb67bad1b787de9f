"""Programs by lines are held to the protocol: those in fixtures keep it, and each fault that is planted is found, blamed on its own requirement alone."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import shim
from shim.errors import EventInvalid, ExecutableError, ExecutableNotFound, ExecutableNotRunnable, SettingsError
from shim.settings import Settings
from shim.testing.conform.protocol import REQUIREMENTS, Plan
from shim.testing.conform.request_lines import Lines, members
from shim.testing.conform.verdict import FAILED, NOT_ASKED, PASSED, Verdict, command_of, requirements_of, verdicts
from tests.conftest import FIXTURES
from tests.real import components
from tests.real.programs import PROGRAMS, compile_c_count, compile_crystal_lines, compile_haskell_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MODES: dict[str, dict[str, Any]] = {
    "oneshot": {"mode": "oneshot"},
    "warm": {"mode": "warm"},
    "envelope": {"mode": "warm", "framing": "envelope"},
}
ONESHOT, WARM, ENVELOPE = MODES
KEPT, BY_LINE, EVERY = (WARM, ENVELOPE), (ONESHOT, WARM), tuple(MODES)
PATIENT: dict[str, Any] = {"grace_ms": 600, "margin_ms": 1000}
"""A busy machine takes its part of the grace."""
pytestmark = pytest.mark.usefixtures("subreaper")  # as the command is it
QUICK = Plan(b"{}", examples=20, requests=100, within=2.0, pure=True)
FAULTS = [
    ("leaves", "1.2", EVERY),
    ("leaves-in-group", "1.2", (WARM,)),
    ("leaves-hidden", "1.2", (ONESHOT, WARM)),
    ("ignores-sigterm", "1.3", (ONESHOT,)),
    ("slow-sigterm", "1.3", (WARM,)),
    ("knows-members", "2.2", EVERY),
    ("knows-context", "2.2", BY_LINE),
    ("buffer:4096", "2.3", EVERY),
    ("buffer:65536", "2.3", BY_LINE),
    ("hangs-at:65535", "2.3", (ONESHOT,)),
    ("dies-at:5000", "2.3", (WARM,)),
    (r"dies-on:\u0000", "2.4", EVERY),
    (r"dies-on:\ud800", "2.4", (WARM,)),
    ("deep:200", "2.4", BY_LINE),
    ("big-integer", "2.4", BY_LINE),
    ("hangs-on:null", "2.4", (WARM,)),
    ("silent-on:[", "2.4", EVERY),
    (r"breaks-on:\ud83d", "2.4", BY_LINE),
    ("lazy", "3.2", KEPT),
    ("twice", "3.3", EVERY),
    ("twice-late", "3.3", EVERY),
    ("greets-in-json", "3.3", (ONESHOT,)),
    ("greets-in-json", "3.4", (WARM,)),
    ("greets", "3.4", BY_LINE),
    ("logs", "3.4", BY_LINE),
    ("pads", "3.4", BY_LINE),
    ("one-id", "3.5", (ENVELOPE,)),
    ("first-id", "3.5", (ENVELOPE,)),
    ("request-id", "3.5", (ENVELOPE,)),
    ("remembers", "3.6", KEPT),
    ("counts", "3.6", KEPT),
    ("believes", "4.2", EVERY),
    ("believes-objects", "4.2", EVERY),
    ("silent", "4.2", BY_LINE),
    ("polite", "4.2", EVERY),
    ("skips", "4.2", BY_LINE),
    ("stays", "5.1", BY_LINE),
    ("stays-awhile", "5.1", (WARM,)),
    ("code", "5.1", KEPT),
    ("code-unasked", "5.1", (WARM,)),
    ("once", "5.1", KEPT),
    ("leaks-memory", "5.2", KEPT),
    ("leaks-descriptors", "5.2", (WARM,)),
    ("leaks-processes", "5.2", (WARM,)),
    ("leaks-threads", "5.2", (WARM,)),
    ("dies-after:60", "5.2", KEPT),
]
"""Fault → the number of the requirement that it breaks, and the modes in which it does."""
PLANTED = [(fault, number, mode) for fault, number, modes in FAULTS for mode in modes]


@pytest.fixture(scope="session")
def citizen(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program that has the fault which its argument names."""
    program = tmp_path_factory.mktemp("citizen") / "citizen"
    source = FIXTURES / "executables" / "lines_citizen.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lpthread"], check=True)
    return str(program)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program of a few lines of shell."""

    def make(text: str) -> str:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


def held(
    executable: str, *arguments: str, plan: Plan = QUICK, only: Iterable[str] = (), **settings: Any
) -> dict[str, Verdict]:
    """The number of each requirement → its verdict on that program."""
    command = command_of(Settings(executable, args=arguments, **PATIENT | settings))
    found = verdicts(command, plan, requirements_of(command.settings.mode, list(only)))
    return {verdict.requirement.number: verdict for verdict in found}


def with_fault(citizen: str, fault: str, mode: str, **how: Any) -> dict[str, Verdict]:
    """The verdicts on the program with that fault."""
    return held(citizen, fault, *(["envelope"] if mode == ENVELOPE else []), **MODES[mode], **how)


def failed(found: dict[str, Verdict]) -> list[str]:
    return [number for number, verdict in found.items() if verdict.status == FAILED]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reply_fd", [1, 3])
def test_a_good_one_passes_all(citizen: str, script: Callable[[str], str], mode: str, reply_fd: int) -> None:
    program = citizen if reply_fd == 1 else script(f'echo loud; exec "{citizen}" "$@" >&3')
    found = held(program, "good", *(["envelope"] if mode == ENVELOPE else []), reply_fd=reply_fd, **MODES[mode])
    left_out = {ONESHOT: [], WARM: ["3.5"], ENVELOPE: ["3.4"]}[mode]

    assert {number: verdict.sentence for number, verdict in found.items() if verdict.status == FAILED} == {}
    assert [number for number, verdict in found.items() if verdict.status == NOT_ASKED] == left_out


@pytest.mark.parametrize(("fault", "number", "mode"), PLANTED, ids=map("-".join, PLANTED))
def test_a_fault_breaks_its_own_requirement_alone_and_again(citizen: str, fault: str, number: str, mode: str) -> None:
    """What is told of it is told again, when only the counterexample is sent."""
    found = with_fault(citizen, fault, mode)

    assert failed(found) == [number], {name: found[name].sentence for name in failed(found)}
    requests = found[number].requests
    plan = QUICK if all(request == QUICK.sample for request in requests) else QUICK._replace(replay=requests)
    again = with_fault(citizen, fault, mode, plan=plan, only=[number])

    assert failed(again) == [number]
    if number != "5.2":  # memory is never the same to the byte
        assert again[number] == found[number]


def test_nothing_is_left_of_what_was_held_to_it(citizen: str) -> None:
    for fault in ("leaves", "leaks-processes"):
        with_fault(citizen, fault, WARM, only=["1.2", "5.1", "5.2"])
    running = [name for name in os.listdir("/proc") if name.isdecimal() and _runs(name, citizen)]

    assert running == []


def _runs(pid: str, program: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == program
    except OSError:
        return False


@pytest.mark.parametrize("limit", [4096, 5001, 65_536, 1_000_000])
@pytest.mark.parametrize("fault", ["buffer", "dies-at"])
def test_the_smallest_line_is_one_byte_more_than_it_takes(citizen: str, fault: str, limit: int) -> None:
    found = with_fault(citizen, f"{fault}:{limit}", ONESHOT, only=["2.3"])["2.3"]

    assert found.sentence.endswith(f"to a line of {limit + 1:,} bytes")
    assert len(Lines(camel=False, has_ids=False).of(found.requests[0])[0]) == limit + 1


def test_counterexamples_are_small(citizen: str) -> None:
    def of(fault: str, number: str, mode: str = WARM) -> tuple[bytes, ...]:
        return with_fault(citizen, fault, mode, only=[number])[number].requests

    assert of("deep:77", "2.4") == (b"[" * 78 + b"]" * 78,)
    assert of("knows-members", "2.2") == (b'{"event":{},"shim":1,"new_a":null}',)
    assert of("counts", "3.6") == (b"{}", b"{}")
    assert of("remembers", "3.6")[-2:] == (b'{"odd":0}', b"{}") or len(of("remembers", "3.6")) == 2
    assert of("believes", "4.2") == (b"no JSON",)
    assert of("believes-objects", "4.2") == (b"{",)
    assert of("silent-on:true", "2.4", ONESHOT) == (b"true",)


def test_another_seed_finds_the_same_fault(citizen: str) -> None:
    """And the same seed the same counterexample."""
    found = [
        with_fault(citizen, "silent-on:7", WARM, plan=QUICK._replace(seed=seed, examples=300), only=["2.4"])["2.4"]
        for seed in (1, 2, 2)
    ]

    assert {verdict.status for verdict in found} == {FAILED}
    assert found[1] == found[2]


def test_an_odd_member_of_the_sample_is_tried_where_other_events_are_refused(script: Callable[[str], str]) -> None:
    """A program that takes its own events alone has answered none of the odd ones."""
    program = script(
        "read -r line; case $line in *'\"mine\"'*) ;; *) echo no >&2; exit 1 ;; esac\n"
        "case $line in *'\"odd\":null'*) kill -SEGV $$ ;; esac; echo {}"
    )
    found = held(program, plan=QUICK._replace(sample=b'{"mine":1}'), only=["2.4"])["2.4"]

    assert (found.status, found.requests) == (FAILED, (b'{"mine":1,"odd":null}',))
    assert found.sentence == 'was killed by SIGSEGV, to the event b\'{"mine":1,"odd":null}\''


@pytest.mark.parametrize("output", ["text", "base64", "stream"])
def test_where_any_bytes_are_the_reply_none_is_one_too_many(citizen: str, output: str) -> None:
    found = with_fault(citizen, "logs", ONESHOT, output=output, only=["3.3", "3.4"])

    assert {verdict.status for verdict in found.values()} == {NOT_ASKED}
    assert found["3.4"].sentence == f"with output={output} whatever it writes is its reply"


def test_without_being_told_so_no_program_is_pure(citizen: str) -> None:
    found = with_fault(citizen, "counts", WARM, plan=QUICK._replace(pure=False))

    assert failed(found) == []
    assert found["3.6"].status == NOT_ASKED


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (r'printf "{\"id\":\"%s\"}\n" "$id"', None),  # as Go's omitempty writes null
        (r'printf "{\"id\":7,\"value\":1}\n{\"id\":\"%s\",\"value\":1}\n" "$id"', None),  # a log of measurements
        (r'printf "{\"error\":\"\",\"value\":1,\"id\":\"%s\"}\n" "$id"', None),
        (r'printf "{\"id\":\"%s\",\"value\":\"\\\\ud800\"}\n" "$id"', "wrote a reply that is no valid result: a lone surrogate"),
        (r'printf "{\"id\":\"%s\",\"value\":}\n" "$id"', "wrote a reply that is no valid result: not one JSON value"),
    ],
)  # fmt: skip
def test_an_envelope_is_told_from_the_log_as_shim_tells_it(
    script: Callable[[str], str], reply: str, verdict: str | None
) -> None:
    """Neither is a reply waited for that came, nor a line of the log taken for one."""
    program = script(f'while read -r line; do id=${{line#*\\"id\\":\\"}}; id=${{id%%\\"*}}; {reply}; done')
    if verdict is None:
        found = held(program, **MODES[ENVELOPE], only=["3.3", "3.5"])

        assert {each.status for each in found.values()} == {PASSED}
    else:
        with pytest.raises(ExecutableError, match=verdict):
            held(program, **MODES[ENVELOPE], only=["3.3", "3.5"])


def test_a_slow_one_is_not_taken_for_one_that_does_not_flush(script: Callable[[str], str]) -> None:
    program = script("while read -r line; do sleep 1.3; echo {}; done")
    found = held(program, mode="warm", plan=QUICK._replace(within=10.0), only=["3.2", "3.3"])

    assert {verdict.status for verdict in found.values()} == {PASSED}


def test_a_heap_that_grows_once_is_no_leak(script: Callable[[str], str]) -> None:
    """As those do that are collected, and caches that fill."""
    components.node()
    program = "const kept = []; require('readline').createInterface({input: process.stdin}).on('line', () => {"
    program += "if (kept.length < 150) kept.push(Buffer.alloc(100000, 1)); console.log('{}') })"
    found = held(script(f'exec node -e "{program}"'), mode="warm", only=["5.2"])

    assert found["5.2"].status == PASSED, found["5.2"].sentence


def test_a_line_that_is_read_once_and_cut_at_the_pipes_size_is_found(script: Callable[[str], str]) -> None:
    program = script(
        "dd bs=1000000 count=1 2>/dev/null | tail -c 1 | od -c | grep -q '.n' || { echo cut >&2; exit 1; }; echo {}"
    )
    found = held(program, only=["2.3"])["2.3"]

    assert found.sentence == "ended with exit code 1, saying 'cut', to a line of 65,537 bytes"


@pytest.mark.parametrize("ready", ['{\\"ok\\":true}', "", '{\\"ok\\":false}'])
def test_one_that_says_that_it_is_ready(citizen: str, script: Callable[[str], str], ready: str) -> None:
    program = script(f'echo "{ready}"; exec "{citizen}" good')
    if "true" in ready:
        assert failed(held(program, mode="warm", ready=True, only=["3.3", "3.4", "5.1"])) == []
    else:
        with pytest.raises(ExecutableError, match="where ready = true has it say"):
            held(program, mode="warm", ready=True)


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("echo 'not mine' >&2; exit 3", EventInvalid, "does not accept the event b'{}': it ended with exit code 3, saying 'not mine'; give"),
        ("exit 3", ExecutableError, "it ended with exit code 3 without a word on standard error, or a report as its reply; give an event"),
        ("kill -SEGV $$", ExecutableError, "it was killed by SIGSEGV; give an event that it answers with --event"),
        ("exec sleep 1000", ExecutableError, "it (had not ended|gave no answer within) 500 ms"),
        ("exec 0<&- 1>&- 2>&-; exec sleep 1000", ExecutableError, "it (had not ended 500 ms|closed its reply's descriptor and)"),
        ("exec yes", ExecutableError, r"it wrote more than (6,291,456 bytes \(max_output_bytes\)|10,000 lines)"),
        ("head -c 1000000000 /dev/zero", ExecutableError, r"it wrote more than 6,291,456 bytes \(max_output_bytes\)"),
        ("yes >&2", ExecutableError, "it (had not ended|gave no answer within) 500 ms"),
        ("kill -STOP $$; echo {}", ExecutableError, "it (had not ended|gave no answer within) 500 ms"),
        ("printf '{'; sleep 1000", ExecutableError, "it (had not ended|gave no answer within) 500 ms"),
        ("read line; echo '{\"a\":'", ExecutableError, "it (wrote a reply that is no valid result: not one JSON value|ended with exit code 0)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", [ONESHOT, WARM])
def test_one_that_does_not_answer_the_sample_is_held_to_nothing(
    script: Callable[[str], str], mode: str, text: str, error: type[Exception], sentence: str
) -> None:
    """To refuse it truthfully is its right, and a mistake of who has chosen it; anything else is a fault of the program."""
    with pytest.raises(error, match=sentence) as raised:
        held(script(text), mode=mode, plan=QUICK._replace(within=0.5))

    assert type(raised.value) is error


def test_what_floods_from_behind_is_found(script: Callable[[str], str]) -> None:
    """A process that was left behind writes on and on to its reply."""
    program = script("setsid sh -c 'while :; do echo y; sleep 0.01; done' & read -r line; echo {}")
    found = held(program, plan=QUICK._replace(within=0.5), only=["1.2", "3.4"])

    assert failed(found) == ["1.2", "3.4"]


def test_one_that_can_not_be_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, error in (
        (tmp_path / "gone", ExecutableNotFound),
        (tmp_path, ExecutableNotRunnable),
        (tmp_path / "file", ExecutableNotRunnable),
    ):
        with pytest.raises(error):
            held(str(path))


def test_what_can_not_be_asked_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match=r"--only must be one of 1.2 leaves-nothing, .*, not '9.9'"):
        requirements_of("oneshot", ["9.9"])
    with pytest.raises(SettingsError, match=r"--skip must not be loops with mode=warm: it is asked in bootstrap alone"):
        requirements_of("warm", skip=["loops"])
    with pytest.raises(SettingsError, match="--skip must leave"):
        requirements_of("warm", ["2.3"], ["reads-any-size"])

    assert [requirement.number for requirement in requirements_of("warm", ["5.1", "reads-any-size"])] == ["2.3", "5.1"]
    assert len(requirements_of("oneshot", skip=["1.2"])) == len(requirements_of("oneshot")) - 1


def test_every_requirement_has_a_check_in_its_modes_and_no_other() -> None:
    from shim.testing.conform.lines import LINE_CHECKS  # noqa: PLC0415 - only here

    by_lines = {requirement.number for requirement in REQUIREMENTS if {"oneshot", "warm"} & {*requirement.modes}}

    assert set(LINE_CHECKS) == by_lines


@pytest.mark.parametrize("camel", [False, True])
@pytest.mark.parametrize("request_", [b"{}", b'"\\ud800"', b'{"event":1,"shim":1}', b'{"event":[],"shim":1,"context":{"w3c":null}}'])  # fmt: skip
def test_a_request_is_a_line_as_the_schema_has_it(camel: bool, request_: bytes) -> None:
    """The same at each time, but for the id, which has always as many letters."""
    schema = json.loads((FIXTURES.parent / "shim" / "codecs" / "line.schema.json").read_text())
    lines = Lines(camel=camel, has_ids=True)
    first, second = lines.of(request_), lines.of(request_)

    jsonschema.validate(json.loads(first[0]), schema)
    assert first[0].count(b"\n") == 1
    assert first[1] != second[1]
    assert len(first[0]) == len(second[0])
    assert first[0].replace((first[1] or "").encode(), (second[1] or "").encode()) == second[0]


@pytest.mark.parametrize(
    "text", [b'{"a": 1e400, "b" : [ {"a":2} ], "\\u0061c":"}" }', b"{}", b'{"":""}', b'{"n":%s}' % (b"9" * 5000)]
)
def test_the_members_of_an_object_keep_their_bytes(text: bytes) -> None:
    found = members(text)

    assert list(found) == list(json.loads(text, parse_int=str))
    assert all(value in text for value in found.values())
    assert members(b" [1]") == {}


# Whole programs


def test_the_smallest_good_program_passes(compiler: str, tmp_path: Path) -> None:
    program = compile_c_count(compiler, tmp_path)

    assert {verdict.status for verdict in held(str(program)).values()} == {PASSED}


def test_the_shell_program_passes() -> None:
    plan = QUICK._replace(sample=(FIXTURES / "events" / "s3-put.json").read_bytes(), within=30.0)
    found = held(str(PROGRAMS / "shell-objects" / "objects.sh"), plan=plan)

    assert {verdict.status for verdict in found.values()} == {PASSED}


def test_the_haskell_program_passes(tmp_path: Path) -> None:
    event = (FIXTURES / "events" / "s3-put.json").read_bytes()
    orders = tmp_path / "amzn-s3-demo-bucket" / "orders" / "2026" / "Happy Face.csv"
    orders.parent.mkdir(parents=True)
    orders.write_text("name,quantity,price\ntea,2,3.50\n")
    plan = QUICK._replace(sample=event, within=30.0)
    found = held(str(compile_haskell_csv()), plan=plan, env={"BUCKETS": str(tmp_path)})

    assert {verdict.status for verdict in found.values()} == {PASSED}


def test_the_crystal_program_passes() -> None:
    """It counts, and so is not pure."""
    sample = b'{"id":"o-1","lines":[{"item":"tea","quantity":1,"cents":350}]}'
    plan = QUICK._replace(sample=sample, pure=False, within=30.0)
    found = held(str(compile_crystal_lines()), mode="warm", ready=True, plan=plan)

    assert failed(found) == []


def test_the_program_for_node_passes() -> None:
    components.node()
    plan = QUICK._replace(sample=b'{"text":"tea for two"}', pure=False, within=30.0, examples=10)
    program = str(PROGRAMS / "node-apex" / "main.js")
    found = held(program, mode="warm", framing="envelope", context_keys="camel", plan=plan)

    assert failed(found) == []


def test_pandoc_passes(tmp_path: Path) -> None:
    """Which knows nothing of it. Its reply is any text."""
    reader = PROGRAMS / "pandoc-html" / "event.lua"
    plan = QUICK._replace(sample=b'{"body":"# Tea"}', within=30.0, examples=4)
    found = held(
        str(components.pandoc()),
        f"--from={reader}",
        "--to=html",
        output="text",
        exit_codes={84: "BodyInvalid"},
        plan=plan,
    )

    assert failed(found) == []


def test_a_program_that_passes_does_so_under_shim(citizen: str) -> None:
    """What is asked is what shim does: the program that is good here answers there."""
    with shim.Shim(citizen, args=["good"], mode="warm") as program:
        assert [program({"a": 1}), program(None)] == [{"bytes": 7}, {"bytes": 4}]
