"""`shim.testing.emulator`, as somebody's test uses it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import shim.testing
from shim import ExecutableNotFound, SettingsError
from shim.local.emulator import Throttled
from tests.local.served import event, hexed

if TYPE_CHECKING:
    from pathlib import Path

INVOCATIONS = "/2015-03-31/functions/function/invocations"


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's folder is the current one; and no thread is left in the end."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LAMBDA_TASK_ROOT", raising=False)


def test_a_bootstrap_is_served_to_a_test(bootstrap: Path) -> None:
    """With HTTP and without; what it logged and what came of it is there to be looked at."""
    before = threading.active_count()
    with shim.testing.emulator(bootstrap, "serve", runtime="bootstrap", function_env={"MINE": "1"}) as function:
        result = function.invoke(event(f"say:2:{hexed('héllo')} describe").event)
        request = urllib.request.Request(function.url + INVOCATIONS, data=b'{"a": 1}')  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            answer = json.load(response)
        failure = function.invoke(b'{"do":"exit:3"}')

    value = json.loads(result.payload)
    assert "MINE=1" in value["environment"]
    assert (answer["event"], answer["count"]) == ({"a": 1}, 2)
    assert failure.error_type == "Runtime.ExitError"
    assert [record.result for record in function.records][0::2] == [result, failure]
    assert "héllo" in function.log
    assert threading.active_count() == before


def test_an_executable_is_served_by_our_handler(actor: str) -> None:
    """As at Lambda: AWS's own client, and shim's settings."""
    with shim.testing.emulator(actor, "copy", output="text", env={"A": "b"}, timeout=10) as function:
        result = function.invoke({"a": "é"}, client_context={"custom": {"c": "d"}})

    request = json.loads(json.loads(result.payload))
    assert request["event"] == {"a": "é"}
    assert request["context"]["client_context"]["custom"] == {"c": "d"}
    assert any(line.startswith("REPORT ") for line in function.log)


def test_a_function_that_has_changed_is_served_anew(bootstrap: Path) -> None:
    """And its environments are frozen, where that is asked for."""
    with shim.testing.emulator(bootstrap, "serve", runtime="bootstrap", freeze=True) as function:
        counts = [json.loads(function.invoke({}).payload)["count"] for _ in range(2)]
        function.renew()
        counts.append(json.loads(function.invoke({}).payload)["count"])

    assert counts == [1, 2, 1]


def test_threads_may_invoke_at_the_same_time(bootstrap: Path) -> None:
    """As many as there may be environments; others are throttled."""
    with (
        shim.testing.emulator(bootstrap, "serve", runtime="bootstrap", concurrency=2) as function,
        ThreadPoolExecutor(3) as pool,
    ):
        futures = [pool.submit(function.invoke, event("sleep:300 answer").event) for _ in range(3)]
        errors = [future.exception() for future in futures]

    assert [type(error) for error in errors if error] == [Throttled]


def test_what_runs_at_the_end_is_ended(bootstrap: Path) -> None:
    """Nobody has to wait for it."""
    with (
        ThreadPoolExecutor(1) as pool,
        shim.testing.emulator(bootstrap, "serve", runtime="bootstrap", timeout=60) as function,
    ):
        future = pool.submit(function.invoke, event("leave:0 sleep:0").event)
        while not function.log:
            assert not future.done()

    assert future.result().error_type == "Runtime.ExitError"


def test_an_error_of_the_test_is_its_own(bootstrap: Path) -> None:
    """And the block ends as it should."""

    def fail() -> None:
        with shim.testing.emulator(bootstrap, "serve", runtime="bootstrap") as function:
            function.invoke({})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_mistakes_are_found_before_anything_is_started(bootstrap: Path) -> None:
    """As those of a Shim are."""
    with pytest.raises(SettingsError, match="mod is no setting"), shim.testing.emulator("cat", mod="warm"):
        pass
    with pytest.raises(SettingsError, match="mode"), shim.testing.emulator("cat", mode="cold"):
        pass
    with pytest.raises(SettingsError, match="mode"), shim.testing.emulator(bootstrap, runtime="bootstrap", mode="warm"):
        pass
    with pytest.raises(ExecutableNotFound), shim.testing.emulator("no-such-program"):
        pass
    with pytest.raises(ValueError, match="runtime"), shim.testing.emulator("cat", runtime="node"):  # type: ignore[arg-type]
        pass


def test_the_kit_loads_nothing_that_is_not_asked_for() -> None:
    """A test that only wants the actor pays for no more."""
    program = "import sys, shim.testing; print(sorted({'asyncio', 'h11', 'psutil', 'uvicorn', 'subprocess'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert answer.stdout == "[]\n"
    with pytest.raises(AttributeError, match="emulater"):
        _ = shim.testing.emulater
