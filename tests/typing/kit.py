"""The testing kit as a typed user's tests use it. mypy reads this; nobody runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import shim
from shim.testing import (
    Behaviour,
    Expectation,
    Expected,
    FakeExecutable,
    LambdaContext,
    WarmModel,
    awaits,
    capture,
    closes,
    closes_stdout,
    copies,
    describes,
    echoes,
    emulator,
    exits,
    fails_where,
    fills,
    floods,
    forks_and_leaves,
    hangs,
    ignores,
    ignores_sigterm,
    leaves,
    notes,
    obeys,
    raises_signal,
    reads,
    reads_all,
    reads_line,
    refuses,
    replies,
    sleeps,
    stops,
    strategies,
    vanishes,
    writes,
    writes_stderr,
)

if TYPE_CHECKING:
    from pathlib import Path

    from shim.pytest_plugin import FakeWriter, ShimInvoke, WrittenFake

ALL: list[Behaviour] = [
    awaits("SIGTERM"),
    closes(2),
    closes_stdout(),
    copies(),
    describes(),
    echoes(then=b"more\n"),
    exits(3),
    fails_where("there", 3),
    fills(10, to=2),
    floods(),
    forks_and_leaves(),
    hangs(),
    ignores("SIGINT"),
    ignores_sigterm(),
    leaves(0.5),
    notes("a-file"),
    obeys(),
    raises_signal(11),
    reads(10),
    reads_all(),
    reads_line(),
    refuses({"errorType": "Mine", "errorMessage": "no"}),
    replies({"any": ["JSON", None]}),
    sleeps(0.5),
    stops(),
    vanishes(),
    writes(b"bytes"),
    writes_stderr("text"),
]


def use_fakes(folder: Path) -> None:
    fake: FakeExecutable = FakeExecutable(*ALL, reply_fd=3)
    kept = FakeExecutable.warm(echoes(), on={3: [exits(7)]}, framing="envelope")
    path: Path = fake.write_to(folder / "fake")
    expectation: Expectation = kept.expected_outcome({"mode": "warm"}, b"{}\n", number=3)
    errors: frozenset[str | None] = expectation.errors
    among: tuple[Expected, ...] = expectation.among
    print(path, errors, among, fake == kept)


def use_a_context() -> None:
    context = LambdaContext(
        timeout=3, ticks=False, name="orders", client_context={"custom": {"a": 1}}, identity_id="id"
    )
    deadline: int = context.deadline_ms
    context.deadline_ms = deadline + 1000
    context.move_deadline(-0.5)
    context.expire()
    left: int = context.get_remaining_time_in_millis()
    print(left, context.aws_request_id, context.identity.cognito_identity_id)
    shim.Shim("bin/program")({}, context)


def use_a_capture() -> None:
    with capture(log_format="JSON", log_level="WARN") as captured:
        shim.Shim("bin/program", metrics="emf")({})
        until_now: list[str] = captured.lines
    text: str = captured.text
    data: bytes = captured.data
    records: list[dict[str, Any]] = captured.records
    metrics: list[dict[str, Any]] = captured.metrics
    own: list[str] = captured.notes
    print(until_now, text, data, records, metrics, own)


def use_an_emulator() -> None:
    with emulator("bin/program", "-x", runtime="shim", timeout=5, mode="warm") as function:
        payload: bytes = function.invoke({"any": "JSON"}).payload
        url: str = function.url
        log: list[str] = function.log
    print(payload, url, log)


@given(
    event=strategies.events("sqs", "sns"),
    value=strategies.json_values(sendable=True),
    context=strategies.contexts(timeout=5),
    settings=strategies.settings(mode="warm"),
    does=strategies.behaviours(mode="oneshot", hangs=False),
)
def test_any(
    event: dict[str, Any], value: Any, context: LambdaContext, settings: dict[str, Any], does: list[Behaviour]
) -> None:
    print(event, value, context.deadline_ms, settings, FakeExecutable(*does))


class Orders(WarmModel):
    executable = "bin/orders"
    settings = {"framing": "envelope"}  # noqa: RUF012 - as in the model's own example
    events = st.builds(dict, id=st.integers(), cents=st.integers(0))
    pure = True

    def answer(self, event: Any) -> Any:
        return {"id": event["id"]}


TestOrders = Orders.TestCase


@pytest.mark.real_component("pandoc")
def test_with_the_plugin(
    shim_invoke: ShimInvoke, fake_executable: FakeWriter, lambda_context: LambdaContext, tmp_path: Path
) -> None:
    fake: WrittenFake = fake_executable(reads_line(), replies(1), name="pandoc", reply_fd=3)
    composed: FakeExecutable = fake_executable(FakeExecutable.warm(echoes())).fake
    result: Any = shim_invoke(fake, {"any": "JSON"}, context=lambda_context, args=["-x"], output="json")
    again: Any = shim_invoke(tmp_path / "program", timeout=0.5)
    again = shim_invoke("cat", b"{}")
    program: shim.Shim = shim_invoke.shim(fake.path, mode="warm")
    print(composed, result, again, program(None))
