"""The context of a test's invocation: awslambdaric's in all that can be seen of it, and its deadline goes where it is told to."""

from __future__ import annotations

import time
from typing import Any

import pytest
from awslambdaric.lambda_context import LambdaContext as Theirs

import shim
from shim import Invocation
from shim.testing.invoking import LambdaContext

SEEN = (
    "aws_request_id",
    "client_context",
    "function_name",
    "function_version",
    "identity",
    "invoked_function_arn",
    "log_group_name",
    "log_stream_name",
    "memory_limit_in_mb",
    "tenant_id",
)


def deadline_of(context: LambdaContext) -> int:
    """The deadline as the executable is told it."""
    deadline: int = Invocation({}, context).describe(camel=False, count=1)["deadline_ms"]
    return deadline


def test_it_has_all_that_awslambdarics_has() -> None:
    client_context = {
        "client": {
            "installation_id": "an-id",
            "app_title": "a title",
            "app_version_name": "a name",
            "app_version_code": "a code",
            "app_package_name": "a package",
        },
        "custom": {"a": 1},
        "env": {"locale": "de"},
    }
    identity = {"cognitoIdentityId": "who", "cognitoIdentityPoolId": "where"}
    theirs = Theirs("id", client_context, identity, int(time.time() * 1000) + 5000, "arn", "tenant")
    ours = LambdaContext(
        timeout=5,
        request_id="id",
        tenant_id="tenant",
        client_context=client_context,
        identity_id="who",
        identity_pool_id="where",
    )
    as_seen = [Invocation({}, context).describe(camel=True, count=1) for context in (theirs, ours)]

    assert {name for name in dir(theirs) if not name.startswith("_")} <= set(dir(ours))
    assert {name: as_seen[0][name] for name in ("clientContext", "identity", "awsRequestId", "tenantId")} == {
        name: as_seen[1][name] for name in ("clientContext", "identity", "awsRequestId", "tenantId")
    }
    assert abs(as_seen[0]["deadlineMs"] - as_seen[1]["deadlineMs"]) < 60_000


def test_what_is_not_given_is_as_on_lambda() -> None:
    context, another = LambdaContext(), LambdaContext()

    assert context.function_version == "$LATEST"
    assert context.invoked_function_arn.endswith(f":function:{context.function_name}")
    assert context.log_group_name == f"/aws/lambda/{context.function_name}"
    assert context.memory_limit_in_mb == "128"
    assert context.aws_request_id != another.aws_request_id
    assert context.client_context is None
    assert all(hasattr(context, name) for name in SEEN)
    assert 0 < context.get_remaining_time_in_millis() <= 3000


def test_the_deadline_can_be_set_and_moved_and_the_executable_is_told_it() -> None:
    context = LambdaContext(timeout=100)
    begun_with = context.deadline_ms
    told = [deadline_of(context)]
    context.move_deadline(-90)
    told.append(deadline_of(context))
    context.move_deadline(0.25)
    told.append(deadline_of(context))

    assert told == [begun_with, begun_with - 90_000, begun_with - 89_750]
    assert 0 < context.get_remaining_time_in_millis() <= 10_250
    context.deadline_ms = 1
    assert (deadline_of(context), context.get_remaining_time_in_millis()) == (1, 0)
    context.deadline_ms = int(time.time() * 1000) + 50_000
    assert 40_000 < context.get_remaining_time_in_millis() <= 50_000


def test_no_time_is_left_when_it_has_expired() -> None:
    context = LambdaContext(timeout=100)
    context.expire()

    assert context.get_remaining_time_in_millis() == 0
    with pytest.raises(shim.DeadlineExceeded):
        shim.Shim("cat")({}, context)
    context.move_deadline(100)
    assert shim.Shim("cat")({"a": 1}, context)["event"] == {"a": 1}


def test_a_clock_that_does_not_run_has_the_same_time_left_until_the_deadline_is_moved() -> None:
    context = LambdaContext(timeout=2.5, ticks=False)
    begun_with = context.deadline_ms
    eventually_later = time.time() + 0.003
    while time.time() < eventually_later:
        pass

    assert context.get_remaining_time_in_millis() == 2500
    assert deadline_of(context) == context.deadline_ms == begun_with
    context.move_deadline(-1)
    assert context.get_remaining_time_in_millis() == 1500
    context.expire()
    assert context.get_remaining_time_in_millis() == 0
    context.deadline_ms = begun_with
    assert context.get_remaining_time_in_millis() == 2500


def test_a_client_context_may_lack_members_and_may_be_an_object() -> None:
    class Given:
        client = None
        custom = {"a": 1}  # noqa: RUF012 - it is read only
        env = None

    described = [
        Invocation({}, LambdaContext(client_context=given)).describe(camel=False, count=1)["client_context"]
        for given in ({}, {"client": {"app_title": "t"}}, Given())
    ]

    client = LambdaContext(client_context={"client": {}}).client_context.client
    assert client.installation_id is client.app_package_name is None
    assert described[0] == {"client": None, "custom": None, "env": None}
    assert described[1]["client"]["app_title"] == "t"
    assert described[1]["client"]["installation_id"] is None
    assert described[2] == {"client": None, "custom": {"a": 1}, "env": None}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": 10**12}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"memory": 0}, "memory"),
        ({"memory": 128.5}, "memory"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"region": ""}, "region"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": 7}, "request_id"),
        ({"log_group_name": ""}, "log_group_name"),
        ({"client_context": {"Custom": {}}}, "client_context"),
        ({"client_context": {"client": {"appTitle": "t"}}}, "client_context"),
        ({"client_context": {"client": ["a list"]}}, "client_context"),
        ({"client_context": "a text"}, "client_context"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LambdaContext(**arguments)


@pytest.mark.parametrize("instant", [-1, 1.5, True, 2**53 + 1, "1", None])
def test_a_deadline_that_is_no_instant_is_refused_and_changes_nothing(instant: Any) -> None:
    context = LambdaContext()
    before = context.deadline_ms

    with pytest.raises(ValueError, match="milliseconds since 1970"):
        context.deadline_ms = instant
    assert context.deadline_ms == before


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 10**12, True, "1", -(10**12)])
def test_a_move_by_no_number_of_seconds_is_refused_and_moves_nothing(seconds: Any) -> None:
    context = LambdaContext()
    before = context.deadline_ms

    with pytest.raises(ValueError, match="can be moved by"):
        context.move_deadline(seconds)
    assert context.deadline_ms == before
