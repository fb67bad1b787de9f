"""What stands in for Lambda on this machine: the context, the variables, the lines of the log."""

from __future__ import annotations

import re
import time
import uuid

from awslambdaric.lambda_context import LambdaContext as TheirContext

import shim
from shim.local.context import CognitoIdentity, LambdaContext
from shim.local.environment import function_environment
from shim.local.report import end_line, report_line, start_line


def test_the_context_has_everything_that_awslambdarics_has() -> None:
    theirs = TheirContext("id", None, None, 0)
    names = {name for name in dir(theirs) if not name.startswith("_")} | {"_epoch_deadline_time_in_ms"}

    assert names <= set(dir(LambdaContext()))


def test_the_context_is_lambdas_for_an_unpublished_function() -> None:
    context = LambdaContext(memory=256, name="orders", region="eu-west-1")

    assert uuid.UUID(context.aws_request_id).version == 4
    assert context.aws_request_id != LambdaContext().aws_request_id
    assert context.function_version == "$LATEST"
    assert context.memory_limit_in_mb == "256"
    assert context.invoked_function_arn == "arn:aws:lambda:eu-west-1:012345678912:function:orders"
    assert context.log_group_name == "/aws/lambda/orders"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", context.log_stream_name)
    assert (context.tenant_id, context.client_context, context.w3c()) == (None, None, {})
    assert repr(context.identity) == "CognitoIdentity(None, None)"


def test_what_is_given_to_the_context_is_kept() -> None:
    identity = CognitoIdentity("who", "pool")
    context = LambdaContext(request_id="r", log_group_name="g", log_stream_name="s", tenant_id="t", identity=identity)
    described = shim.Invocation({}, context).describe(camel=False, count=1)

    assert (described["aws_request_id"], described["log_group_name"], described["log_stream_name"]) == ("r", "g", "s")
    assert described["tenant_id"] == "t"
    assert described["identity"] == {"cognito_identity_id": "who", "cognito_identity_pool_id": "pool"}


def test_the_remaining_time_counts_from_the_making_of_the_context_and_ends_at_nothing() -> None:
    before = time.time()
    context = LambdaContext(timeout=900)

    assert 899_000 < context.get_remaining_time_in_millis() <= 900_000
    assert int((before + 900) * 1000) <= context._epoch_deadline_time_in_ms <= int((time.time() + 900) * 1000)  # noqa: SLF001 - it is what is tested
    assert LambdaContext(timeout=-1).get_remaining_time_in_millis() == 0
    assert repr(context).startswith(f"<LambdaContext of function, request {context.aws_request_id}, ")


def test_name_and_memory_are_set_always_and_the_rest_where_it_is_not() -> None:
    fresh = function_environment({}, name="orders", memory=256, folder="/here")
    kept = function_environment(dict.fromkeys(fresh, "theirs"), name="orders", memory=256, folder="/here")

    assert set(fresh) == {
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_REGION",
        "LAMBDA_TASK_ROOT",
    }
    assert fresh["LAMBDA_TASK_ROOT"] == "/here"
    assert kept == {"AWS_LAMBDA_FUNCTION_NAME": "orders", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}


def test_the_lines_of_the_log_are_lambdas() -> None:
    assert start_line("id", "$LATEST") == "START RequestId: id Version: $LATEST"
    assert end_line("id") == "END RequestId: id"
    assert report_line("id", duration=0.25006, init=0.10077, memory=1024, peak=350, peak_is_bound=False) == (
        "REPORT RequestId: id\tDuration: 250.06 ms\tBilled Duration: 351 ms\tMemory Size: 1024 MB"
        "\tMax Memory Used: 350 MB\tInit Duration: 100.77 ms"
    )


def test_a_peak_that_is_not_known_is_a_bound() -> None:
    line = report_line("id", duration=1, init=0, memory=128, peak=30, peak_is_bound=True)

    assert "\tMax Memory Used: under 30 MB\t" in line
