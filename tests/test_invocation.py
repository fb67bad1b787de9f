"""What the child is told of the context, and the time that it has."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, strategies as st

from shim import Invocation
from shim.codecs.line import line
from shim.invocation import Deadline
from shim.local.context import LambdaContext

SCHEMA = json.loads(files("shim.codecs").joinpath("line.schema.json").read_text())
CLIENT = SimpleNamespace(
    client=SimpleNamespace(
        installation_id="i", app_title="t", app_version_name="n", app_version_code="c", app_package_name="p"
    ),
    custom={"any": [1, None]},
    env={"locale": "de"},
)
IDENTITY = SimpleNamespace(cognito_identity_id="id", cognito_identity_pool_id="pool")


def full_context() -> LambdaContext:
    context: Any = LambdaContext(timeout=3, memory=256, name="f", request_id="r-1")
    context.client_context = CLIENT
    context.identity = IDENTITY
    context.tenant_id = "tenant"
    context.w3c = lambda: {"traceparent": "00-1"}
    return context  # type: ignore[no-any-return]


def told(context: Any, *, camel: bool = False, count: int = 1) -> Any:
    return json.loads(line({"e": 1}, Invocation({"e": 1}, context).describe(camel=camel, count=count)))


@pytest.mark.parametrize("camel", [False, True])
@pytest.mark.parametrize("context", [None, full_context(), LambdaContext(timeout=1)])
def test_every_line_is_valid_by_the_schema_that_is_packaged(context: object, camel: bool) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(told(context, camel=camel), SCHEMA)


def test_the_schema_refuses_what_is_no_such_line() -> None:
    good = told(full_context())
    changes: list[dict[str, object]] = [
        {"shim": 2},
        {"shim": True},
        {"more": 1},
        {"context": {}},
        {"context": {**good["context"], "x": 1}},
    ]
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, SCHEMA)


def test_the_context_has_all_that_awslambdarics_has_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2")
    context = full_context()
    message = told(context, count=7)

    assert message == {
        "event": {"e": 1},
        "shim": 1,
        "context": {
            "aws_request_id": "r-1",
            "log_group_name": context.log_group_name,
            "log_stream_name": context.log_stream_name,
            "function_name": "f",
            "function_version": "$LATEST",
            "invoked_function_arn": context.invoked_function_arn,
            "memory_limit_in_mb": "256",
            "tenant_id": "tenant",
            "client_context": {
                "client": vars(CLIENT.client),
                "custom": {"any": [1, None]},
                "env": {"locale": "de"},
            },
            "identity": {"cognito_identity_id": "id", "cognito_identity_pool_id": "pool"},
            "w3c": {"traceparent": "00-1"},
            "trace_id": "Root=1-2",
            "deadline_ms": context._epoch_deadline_time_in_ms,  # noqa: SLF001 - where awslambdaric has it
            "cold_start": False,
            "invocation_count": 7,
        },
    }


def test_camel_keys_are_those_of_the_nodejs_runtime() -> None:
    context = told(full_context(), camel=True)["context"]

    assert context["awsRequestId"] == "r-1"
    assert context["memoryLimitInMB"] == "256"
    assert context["identity"] == {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}
    assert context["clientContext"]["client"]["installation_id"] == "i"
    assert context["coldStart"] is True


def test_a_context_object_of_another_kind_gives_what_it_has() -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 5000, aws_request_id="only this")
    before = time.time() * 1000 + 5000
    described = told(context)["context"]

    assert described["aws_request_id"] == "only this"
    assert described["function_name"] is None
    assert before - 5 <= described["deadline_ms"] <= before + 1000


@given(
    remaining=st.floats(0, 900),
    margin=st.floats(0.001, 900),
    grace=st.floats(0, 900),
)
def test_there_is_always_time_to_kill_and_to_report(remaining: float, margin: float, grace: float) -> None:
    """stop, grace, kill, give up, report: in this order, before Lambda's own deadline; and never more than a quarter is kept back."""
    deadline = Deadline(0, remaining=remaining, margin=margin, grace=grace)

    assert deadline.stop_at is not None
    assert deadline.stop_at + deadline.grace <= deadline.give_up_at <= remaining
    assert remaining - deadline.stop_at <= min(margin, remaining / 4) + 1e-9
    assert deadline.grace <= grace


def test_the_usual_deadline_is_as_documented() -> None:
    deadline = Deadline(90.0, remaining=10.0, margin=0.5, grace=0.2)

    assert (deadline.stop_at, deadline.grace, deadline.give_up_at) == (99.5, 0.2, 99.9)
