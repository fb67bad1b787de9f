"""`shim serve` as its users have it, with whole programs behind it, and boto3 and the AWS CLI in front; and with what is no HTTP at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings, strategies as st

from tests.cli.served import serve
from tests.conftest import FIXTURES, missing
from tests.real.programs import compile_crystal_bootstrap, compile_haskell_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

S3_PUT = FIXTURES / "events" / "s3-put.json"
CSV = "name,quantity,price\ntea,2,3.50\ncups,4,1.2\n"


@pytest.fixture
def buckets(tmp_path: Path) -> Path:
    """Where the Haskell program looks for the object that the event names."""
    thing = json.loads(S3_PUT.read_text())["Records"][0]["s3"]
    path = tmp_path / "buckets" / thing["bucket"]["name"] / thing["object"]["key"].replace("+", " ")
    path.parent.mkdir(parents=True)
    path.write_text(CSV)
    return tmp_path / "buckets"


def test_the_haskell_program_answers_boto3_and_the_aws_cli(buckets: Path, tmp_path: Path) -> None:
    """Under AWS's own runtime client, a process for each invocation."""
    options = ("--function-env", f"BUCKETS={buckets}", "--output", "json")
    with serve(*options, str(compile_haskell_csv()), cwd=tmp_path) as served:
        event = S3_PUT.read_bytes()
        answers = [by_boto3(served.url, event), by_aws_cli(served.url, event, tmp_path)]
        refused = by_boto3(served.url, b'{"Records": 1}')

    assert [answer["objects"][0]["rows"] for answer in answers] == [2, 2]
    assert answers[0] == answers[1]
    assert refused["errorType"] == "NoObject"  # the program's own


def test_the_crystal_bootstrap_answers_boto3_and_the_aws_cli(tmp_path: Path) -> None:
    """It speaks the Runtime API itself, and goes on counting."""
    with serve("--runtime", "bootstrap", str(compile_crystal_bootstrap()), cwd=tmp_path) as served:
        event = json.dumps({"do": "echo", "value": "Größe 😀"}).encode()
        answers = [by_boto3(served.url, event), by_aws_cli(served.url, event, tmp_path)]
        failure = by_boto3(served.url, b'{"do": "fail", "type": "BadInput", "message": "no"}')

    assert [(answer["value"], answer["count"]) for answer in answers] == [("Größe 😀", 1), ("Größe 😀", 2)]
    assert (failure["errorType"], failure["errorMessage"]) == ("BadInput", "no")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where a function is served that answers its event."""
    with serve("--output", "text", "cat", cwd=tmp_path_factory.mktemp("served")) as served:
        host, _, port = served.url.removeprefix("http://").partition(":")
        yield host, int(port)


LONG = b"A: (200 kB)"  # what is sent for it: so an example can still be printed

HEADS = st.sampled_from(
    [
        b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n",
        b"POST /2021-11-15/functions/function/response-streaming-invocations HTTP/1.1\r\n",
        b"GET /url/ HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-Amz-Invocation-Type: Event\r\n",
        b"X-Amz-Client-Context: e30=\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"{}",
        b"5\r\n12345\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        LONG,
    ]
)


@settings(max_examples=60)
@given(st.lists(HEADS | st.binary(max_size=30), max_size=8))
def test_what_is_no_http_is_refused_and_the_next_is_answered(address: tuple[str, int], pieces: list[bytes]) -> None:
    """Half requests, two at once, absurd lengths, any bytes: each connection ends, and the server goes on."""
    with socket.create_connection(address, timeout=20) as connection, suppress(ConnectionError):
        connection.sendall(b"".join(b"A: " + b"x" * 200_000 if piece == LONG else piece for piece in pieces))
        with suppress(OSError):  # the server has closed it already
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    good = b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(good)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_many_half_requests_keep_nobody_out(address: tuple[str, int]) -> None:
    """Who never ends his request takes a connection, and nothing else."""
    slow = [socket.create_connection(address, timeout=20) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nContent-Le")
        answers: list[Any] = []
        url = f"http://{address[0]}:{address[1]}"
        callers = [threading.Thread(target=lambda: answers.append(by_boto3(url, b"{}"))) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        for connection in slow:
            connection.close()

    assert len(answers) == 4


def by_boto3(url: str, event: bytes) -> Any:
    """The payload that boto3 gets."""
    client = boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106 - it must have one
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        return json.load(client.invoke(FunctionName="function", Payload=event)["Payload"])
    finally:
        client.close()


def by_aws_cli(url: str, event: bytes, folder: Path) -> Any:
    """The payload that the AWS CLI gets, with none of this machine's settings."""
    if find_spec("awscli") is None:
        missing("the AWS CLI is missing: pip install awscli")
    (folder / "event").write_bytes(event)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    command = [sys.executable, "-m", "awscli", "lambda", "invoke", "--endpoint-url", url, "--function-name", "function"]
    command += ["--payload", "fileb://event", "answer"]
    subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)
    return json.loads((folder / "answer").read_bytes())
