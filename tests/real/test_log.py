"""The function's log under AWS's own runtime client, in Lambda's JSON format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.conftest import eventually
from tests.real import components
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = (
    b"one\n"
    b'{"level":"error","n":12345678901234567890123,"requestId":"its own"}\n'
    b'{"level":"debug","why":"not heard"}\n'
    b"\0\xff\n"
    b"last"
)


def test_every_line_is_a_record_that_a_reader_of_the_log_can_parse(
    folder: Path, tmp_path: Path, answer_with: Callable[..., dict[str, str]]
) -> None:
    """From the first line to the line of metrics: the child's, our notes, of two invocations, each with its id."""
    variables = {
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "SHIM_METRICS": "emf",
        "SHIM_UNKNOWN": "x",
    }
    event = json.dumps(answer_with(b"{}", complaint=LINES), separators=(",", ":")).encode()
    log = tmp_path / "log"
    with RuntimeApi() as api:
        session = Session(
            [*components.awslambdaric(), "shim.handler"],
            environment=function_environment(folder) | variables | {"AWS_LAMBDA_RUNTIME_API": api.address},
            folder=folder,
            log=log,
        )
        try:
            for number in (1, 2):
                kind, _ = api.invoke(event, Lambda_Runtime_Aws_Request_Id=f"id-{number}")
                assert kind == "response"
            eventually(lambda: log.read_bytes().count(b'"_aws"') == 2)
        finally:
            session.end()
    records: list[dict[str, Any]] = [json.loads(line) for line in log.read_bytes().splitlines()]
    warning, first, *invocations = [record for record in records if {"level", "_aws"} & record.keys()]

    assert len(records) == 2 + 2 * 5
    assert (warning["level"], warning["logger"]) == ("WARN", "shim")
    assert "SHIM_UNKNOWN is no setting" in warning["message"]
    assert (first["level"], first["logger"]) == ("INFO", "shim")
    assert " runs obey (" in first["message"]
    for number, of_it in ((1, invocations[:5]), (2, invocations[5:])):
        one, spliced, odd, last, metrics = of_it
        assert [record.get("message") for record in of_it] == ["one", None, "\0\ufffd", "last", None]
        assert {record["requestId"] for record in (one, odd, last, metrics)} == {f"id-{number}"}
        assert {record["stream"] for record in (one, spliced, odd, last)} == {"stderr"}
        assert {record["level"] for record in (one, odd, last)} == {"INFO"}
        assert (spliced["level"], spliced["n"], spliced["requestId"]) == ("error", 12345678901234567890123, "its own")
        assert (metrics["function_name"], metrics["exit_code"]) == ("real", 0)
