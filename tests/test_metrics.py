"""Metrics: one line an invocation, as CloudWatch's published schema asks for it, whatever came of it; and its numbers are true."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import shim
from shim.children.process import Child
from shim.logs import Log
from shim.metrics import Metrics
from shim.outcome import Exited, Usage
from shim.request import EndOfFile, Request
from shim.testing import LambdaContext, capture
from tests.conftest import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shim.testing.captured import Captured

SCHEMA = json.loads((FIXTURES / "emf.schema.json").read_text())
UNITS = {
    "duration_ms": "Milliseconds",
    "spawn_ms": "Milliseconds",
    "cpu_ms": "Milliseconds",
    "max_rss_bytes": "Bytes",
    "request_bytes": "Bytes",
    "reply_bytes": "Bytes",
    "exit_code": "None",
    "processes_swept": "Count",
}
OF_A_CHILD = UNITS.keys() - {"max_rss_bytes", "exit_code"}
MB = 1024 * 1024


class Invoked:
    """What one invocation gave, and left in the log."""

    def __init__(self, result: Any, error: BaseException | None, log: Captured, request_id: str) -> None:
        self.result = result
        self.error = error
        self.lines = log.lines
        self.request_id = request_id
        self._all_metrics = log.metrics

    @property
    def metrics(self) -> dict[str, Any]:
        """The one line of metrics, which is the last of the log, held against the schema and what the schema does not say."""
        (root,) = self._all_metrics
        assert root == json.loads(self.lines[-1])
        jsonschema.Draft7Validator(SCHEMA).validate(root)
        (directive,) = root["_aws"]["CloudWatchMetrics"]
        metrics = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
        assert len(metrics) == len(directive["Metrics"]) <= 100
        assert metrics == {name: UNITS[name] for name in metrics}
        assert metrics.keys() == UNITS.keys() & root.keys()
        assert all(type(root[name]) in (int, float) and root[name] >= 0 for name in metrics)
        assert all(isinstance(root[name], str) for names in directive["Dimensions"] for name in names)
        assert abs(root["_aws"]["Timestamp"] / 1000 - os.stat("/proc/self/fd").st_ctime) < 3600
        return root


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Invoked]:
    """One invocation with metrics="emf", and its log."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")

    def run(
        executable: str,
        *args: str,
        event: object = None,
        timeout: float = 20,
        level: str | None = None,
        before: Callable[[], object] = lambda: None,
        **settings: Any,
    ) -> Invoked:
        with capture(log_format="JSON" if level else "Text", log_level=level) as log:
            runner = shim.Shim(executable, args=args, **{"metrics": "emf", **settings})
            before()
            context = LambdaContext(timeout=timeout)
            result = error = None
            try:
                result = runner(event, context)
            except BaseException as raised:
                error = raised
        return Invoked(result, error, log, context.aws_request_id)

    return run


def test_the_published_schema_is_one_and_refuses_what_is_wrong() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)

    assert "docs.aws.amazon.com" in SCHEMA["$comment"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(
            {"_aws": {"Timestamp": 1, "CloudWatchMetrics": [{"Namespace": "x"}]}}
        )


@pytest.mark.parametrize(
    ("script", "settings", "error", "known"),
    [
        ("echo 1", {}, None, {"exit_code": 0, "reply_bytes": 2, "processes_swept": 0}),
        ("echo; exit 3", {}, "ExitError", {"exit_code": 3, "reply_bytes": 1}),
        ("exit 3", {"exit_codes": {"3": "ok"}}, None, {"exit_code": 3}),
        ("exit 3", {"exit_codes": {"3": "BadInput"}}, "BadInput", {"exit_code": 3}),
        ("""echo '{"errorType": "Mine", "errorMessage": ""}'; exit 1""", {}, "Mine", {"exit_code": 1}),
        ("kill -SEGV $$", {}, "SignalError", {"signal": "SIGSEGV"}),
        ("sleep 60", {"timeout": 0.4}, "DeadlineExceeded", {"signal": "SIGTERM"}),
        ("trap '' TERM; while :; do :; done", {"timeout": 0.4}, "DeadlineExceeded", {"signal": "SIGKILL"}),
        ("yes", {"max_output_bytes": 1000}, "OutputTooLarge", {"reply_bytes": 1001}),
        ("echo 1 2", {"output": "json"}, "OutputInvalid", {"exit_code": 0, "reply_bytes": 4}),
        ("true", {"output": "json"}, "ReplyMissing", {"exit_code": 0, "reply_bytes": 0}),
        ("sleep 60 & sleep 60 & echo 1", {"linger_ms": 0}, None, {"processes_swept": 2}),
        ("echo 1", {"tmp": "fresh"}, None, {"exit_code": 0}),
    ],
)
@pytest.mark.parametrize("level", [None, "FATAL"])
def test_every_outcome_of_a_child_has_one_line(
    script: str,
    settings: dict[str, Any],
    error: str | None,
    known: dict[str, Any],
    level: str | None,
    invoke: Callable[..., Invoked],
) -> None:
    """After the child's last line, in both formats of the log; no level keeps it back."""
    invoked = invoke("sh", "-c", f"echo log >&2; {script}", level=level, **settings)
    metrics = invoked.metrics

    assert (type(invoked.error).__name__ if invoked.error else None) == error
    assert metrics.get("errorType") == error
    assert metrics.items() >= known.items()
    assert metrics.keys() >= OF_A_CHILD
    assert ("exit_code" in metrics, "signal" in metrics) == (
        "signal" not in known and error != "OutputTooLarge",
        "signal" in known,
    )
    assert (
        metrics.items()
        >= {
            "function_name": "orders",
            "function_version": "$LATEST",
            "executable": "sh",
            "requestId": invoked.request_id,
        }.items()
    )
    if level is None:
        assert invoked.lines[0] == "log"


def test_what_was_not_started_has_a_line_with_what_is_known(invoke: Callable[..., Invoked], tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    gone = invoke(str(program), before=program.unlink)
    late = invoke("true", timeout=0.05)

    for invoked, error in ((gone, "ExecutableNotFound"), (late, "DeadlineExceeded")):
        metrics = invoked.metrics
        assert type(invoked.error).__name__ == metrics["errorType"] == error
        assert metrics.keys() & UNITS.keys() == {"request_bytes"}
        assert "signal" not in metrics


def test_an_end_that_nobody_knows_has_a_line(invoke: Callable[..., Invoked], monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another part of the process waits for any child."""
    end = Child.end

    def lose(child: Child, **options: Any) -> None:
        end(child, **options)
        raise ChildProcessError

    invoked = invoke("true", before=lambda: monkeypatch.setattr(Child, "end", lose))

    assert invoked.metrics["errorType"] == "ShimError"


def test_what_did_not_reach_the_executable_has_none(invoke: Callable[..., Invoked]) -> None:
    assert isinstance(invoke("cat", event=float("nan")).error, shim.EventInvalid)
    assert invoke("cat", event=float("nan")).lines == []


def test_without_the_setting_there_is_none_and_nothing_is_loaded_for_it(invoke: Callable[..., Invoked]) -> None:
    assert invoke("sh", "-c", "echo log >&2", metrics="none").lines == ["log"]


def test_the_sizes_are_those_of_the_request_and_the_reply(invoke: Callable[..., Invoked]) -> None:
    invoked = invoke("wc", "-c", event={"load": "é" * 100_000}, output="json")

    assert invoked.metrics["request_bytes"] == invoked.result
    assert invoked.metrics["reply_bytes"] == len(f"{invoked.result}\n")


def test_the_times_are_those_of_the_child(invoke: Callable[..., Invoked]) -> None:
    slept = invoke("sleep", "0.2").metrics
    busy = invoke("timeout", "0.4", "sh", "-c", "while :; do :; done", exit_codes={"124": "ok"}).metrics

    assert 200 <= slept["duration_ms"] < 5000
    assert slept["cpu_ms"] < 100
    assert 100 < busy["cpu_ms"] <= busy["duration_ms"] + 50
    for metrics in (slept, busy):
        assert 0 < metrics["spawn_ms"] < min(metrics["duration_ms"], 150)


def test_the_peak_of_a_small_child_is_its_own_and_not_ours(invoke: Callable[..., Invoked], actor: str) -> None:
    """The kernel counts ours for it, so it is looked at when its reply begins."""
    ours = b"1" * (150 * MB)
    small = invoke(actor, "write:1:31", "sleep:100").metrics["max_rss_bytes"]
    del ours

    assert 100_000 < small < 20 * MB


def test_the_peak_of_a_child_that_is_larger_than_we_are_is_the_kernels(invoke: Callable[..., Invoked]) -> None:
    large = invoke("python3", "-c", f"x = b'1' * {500 * MB}; del x; print(1)").metrics["max_rss_bytes"]

    assert 500 * MB <= large < 700 * MB


def test_the_peak_of_a_child_that_is_stopped_is_the_larger_of_two_looks(invoke: Callable[..., Invoked]) -> None:
    ours = b"1" * (150 * MB)
    program = f"import os, time; os.write(1, b'1'); x = b'1' * {60 * MB}; time.sleep(60)"
    grown = invoke("python3", "-c", program, timeout=2).metrics
    del ours

    assert grown["errorType"] == "DeadlineExceeded"
    assert 60 * MB <= grown["max_rss_bytes"] < 120 * MB


def test_a_peak_that_nobody_knows_is_left_out() -> None:
    usage = Usage(user=0.1234567, system=0.2, peak=5 * MB, ours=lambda: 6 * MB)
    outcome = Exited(0, reply=b"", duration=1.5, stderr_tail="", usage=usage, swept=0, spawn=0.001)
    request = Request(b"123", arguments=[], environment={}, framing=EndOfFile(1))
    maker = Metrics("bin/\udc80", function_name=None, function_version=None)
    root = json.loads(maker.line(request, outcome, None, at=1))

    assert root == {
        "_aws": {
            "Timestamp": 1,
            "CloudWatchMetrics": [
                {
                    "Namespace": "shim",
                    "Dimensions": [[]],
                    "Metrics": [
                        {"Name": name, "Unit": unit} for name, unit in UNITS.items() if name != "max_rss_bytes"
                    ],
                }
            ],
        },
        "executable": "bin/?",
        "duration_ms": 1500.0,
        "spawn_ms": 1.0,
        "cpu_ms": 323.457,
        "request_bytes": 3,
        "reply_bytes": 0,
        "exit_code": 0,
        "processes_swept": 0,
    }
    usage.saw(3 * MB, ours=6 * MB)
    assert json.loads(maker.line(request, outcome, None, at=1))["max_rss_bytes"] == 3 * MB


def test_the_line_is_in_the_log_though_its_reader_is_stalled(actor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for it where a child's flood was dropped; it comes out whole, on a line of its own, when the log is read again."""
    read, write = os.pipe()
    log = Log(write)
    monkeypatch.setattr("shim.adapter.function_log", lambda: log)
    runner = shim.Shim(actor, args=["fill:2:3000000"], metrics="emf", linger_ms=1)
    runner({}, LambdaContext(timeout=20))
    os.set_blocking(read, False)
    received = bytearray()
    while log.descriptor is not None:
        received += os.read(read, 65_536)
        log.push()
    received += os.read(read, 65_536)
    os.close(read)
    os.close(write)
    lines = received.splitlines()

    assert b"bytes were dropped" in lines[-2]
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(lines[-1]))
