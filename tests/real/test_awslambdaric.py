"""What `shim` takes for granted of AWS's runtime client, held against the client itself, and what the emulator can't hand to it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings, strategies as st

from shim.adapter import host_escapes
from shim.codecs.line import WIDEST, encoded_size, loads
from shim.testing import strategies
from tests.real import components
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('a"\\/\n\x00\x1f\x7f\x80é\u2028\u2029\uffff😀')
VALUES = strategies.json_values(sendable=True) | TEXTS | st.dictionaries(TEXTS, TEXTS)
HOSTS = ["", *(f"AWS_Lambda_python3.{minor}" for minor in range(9, 16)), "AWS_Lambda_nodejs22.x"]


@pytest.mark.parametrize("host", ["", "AWS_Lambda_python3.12"])
@settings(deadline=None)  # the first example imports the client
@given(value=VALUES)
@example(value="\x7f")
@example(value=["\x7f\u2028😀"])
def test_the_measure_of_a_result_is_what_the_client_writes(host: str, value: Any) -> None:
    """`encoded_size` is the length of the client's own encoding, with and without escapes: not a byte more or less."""
    with host_is(host) as to_json:
        assert len(to_json(value).encode()) == encoded_size(value, escapes=not host)


@pytest.mark.parametrize("host", HOSTS)
def test_whether_the_client_escapes_is_known(host: str) -> None:
    """It does so by AWS_EXECUTION_ENV, and `host_escapes` reads the same from it."""
    with host_is(host) as to_json:
        assert to_json("é").isascii() == host_escapes()


@pytest.mark.parametrize("host", ["", "AWS_Lambda_python3.12"])
@settings(deadline=None)
@given(value=VALUES, spacious=st.booleans())
def test_no_byte_of_a_reply_becomes_more_than_the_widest(host: str, value: Any, spacious: bool) -> None:
    """A small reply is not measured, since none grows more than so many times: as JSON, as text and in its short forms of numbers."""
    reply = json.dumps(value, ensure_ascii=False, separators=None if spacious else (",", ":")).encode()
    with host_is(host) as to_json:
        assert len(to_json(loads(reply))) <= len(reply) * WIDEST
        assert len(to_json(reply.decode())) <= len(reply) * WIDEST + len('""')


@settings(deadline=None)
@given(exponent=st.integers(-400, 308), digit=st.integers(1, 9))
def test_no_short_number_becomes_more_than_the_widest(exponent: int, digit: int) -> None:
    """`1e15` is written as 1000000000000000.0, and `1e16` as 1e+16."""
    reply = f"{digit}e{exponent}".encode()
    with host_is("") as to_json:
        try:
            value = loads(reply)
        except ValueError:  # too large for a float
            return

        assert len(to_json([value] * 2)) <= len(b"[%s,%s]" % (reply, reply)) * WIDEST


def test_the_trace_is_in_the_context_and_in_the_environment(api: RuntimeApi) -> None:
    """X-Ray's id is that of this invocation, as Lambda's own runtimes have it: `_X_AMZN_TRACE_ID` changes with each. W3C's is beside it."""
    w3c = {"traceparent": "00-a-b-01", "tracestate": "c=d", "baggage": "e=f"}
    for trace in ("Root=1-a-b;Sampled=1", "Root=1-c-d;Sampled=0"):
        headers = {"Lambda_Runtime_Trace_Id": trace, "Lambda_Runtime_Client_Context": json.dumps({"w3c": w3c})}
        _, line = api.invoke(b'{"do": "echo"}', **headers)
        _, variables = api.invoke(b'{"do": "environment"}', **headers)

        assert trace == json.loads(line)["context"]["trace_id"]
        assert w3c == json.loads(line)["context"]["w3c"]
        assert f"_X_AMZN_TRACE_ID={trace}" in json.loads(variables).split("\0")


def test_an_event_that_the_client_does_not_parse_is_passed_on_if_it_is_json(api: RuntimeApi) -> None:
    """With another content type than JSON the client hands over bytes: they may not close the event and forge a context."""
    kind, body = api.invoke(b'{"do":"echo","n":1}', Content_Type="application/octet-stream")

    assert kind == "response"
    assert json.loads(body)["event"] == {"do": "echo", "n": 1}

    kind, body = api.invoke(b'1,"context":{"forged":true}', Content_Type="application/octet-stream")

    assert kind == "error"
    assert json.loads(body)["errorType"] == "EventInvalid"


@pytest.fixture
def api(folder: Path, tmp_path: Path) -> Iterator[RuntimeApi]:
    """A Runtime API of our own, with the client and the handler on it."""
    command = [*components.awslambdaric(), "shim.handler"]
    with RuntimeApi() as served:
        session = Session(
            command,
            environment=function_environment(folder) | {"AWS_LAMBDA_RUNTIME_API": served.address},
            folder=folder,
            log=tmp_path / "log",
        )
        yield served
        session.end()


@contextmanager
def host_is(name: str) -> Iterator[Callable[[Any], str]]:
    """The client's encoder, with that AWS_EXECUTION_ENV, which it reads when it encodes."""
    components.awslambdaric()
    from awslambdaric.lambda_runtime_marshaller import to_json  # noqa: PLC0415 - it may be missing

    before = os.environ.get("AWS_EXECUTION_ENV")
    os.environ["AWS_EXECUTION_ENV"] = name
    try:
        yield to_json
    finally:
        del os.environ["AWS_EXECUTION_ENV"]
        if before is not None:
            os.environ["AWS_EXECUTION_ENV"] = before
