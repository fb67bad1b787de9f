"""The clients that people have, against our Invoke API: boto3, the AWS CLI and curl; with AWS's own runtime client and a bootstrap behind it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from shim.local.emulator import Emulator
from shim.local.invoke_server import InvokeServer
from tests.conftest import eventually, missing
from tests.local.canned import function, streamer
from tests.real import components
from tests.real.programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.local.emulator import Record
    from shim.local.function import Function

SHELL = PROGRAMS / "shell-bootstrap"
LARGEST = 6_291_456
JSON = "Content-Type: application/json"


class Serving:
    """A server on a thread of its own, as clients that block need it."""

    def __init__(self, function: Function, **options: Any) -> None:
        self.url = ""
        self.records: list[Record] = []
        self.emulator: Emulator | None = None
        self.dead_letters = Path(options.get("dead_letters", os.devnull))
        self._function = function
        self._options = options
        self._clients: list[Any] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with (
            Emulator(self._function, concurrency=2, seen=self.records.append) as emulator,
            InvokeServer(emulator, **self._options) as server,
        ):
            self.emulator, self.url = emulator, server.url
            self._ready.set()
            await self._over.wait()

    def client(self, **options: Any) -> Any:
        """boto3's client, whose connections are closed with the server."""
        client = boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106 - it must have one
            config=Config(retries={"total_max_attempts": 1}, **options),
        )
        self._clients.append(client)
        return client


def shell(**rest: Any) -> Function:
    components.curl()
    return function(str(SHELL / "bootstrap"), folder=SHELL, **rest)


def runtime_client() -> Function:
    """AWS's own runtime client with our handler, which serves the same bootstrap."""
    components.curl()
    variables = {"SHIM_EXECUTABLE": "bootstrap", "SHIM_MODE": "bootstrap", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}
    command = [*components.awslambdaric(), "shim.handler"]
    return function(*command, folder=SHELL, variables=variables, timeout=5)


@pytest.fixture(scope="module", params=["bootstrap", "awslambdaric"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    dead = tmp_path_factory.mktemp("dead") / "letters"
    made = shell(timeout=5) if request.param == "bootstrap" else runtime_client()
    with Serving(made, dead_letters=str(dead), retry_scale=0.0001) as serving:
        yield serving


@pytest.fixture(scope="module")
def streaming() -> Iterator[Serving]:
    with Serving(streamer(timeout=10)) as serving:
        yield serving


def awscli(serving: Serving, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the AWS CLI, with none of this machine's settings."""
    if find_spec("awscli") is None:
        missing("the AWS CLI is missing: pip install awscli")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    command = [sys.executable, "-m", "awscli", "lambda", "invoke", "--endpoint-url", serving.url, *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def curl(*arguments: str, data: bytes | None = None) -> bytes:
    components.curl()
    return subprocess.run(["curl", "-sS", *arguments], input=data, capture_output=True, check=True).stdout


def test_boto3_invokes_it(serving: Serving) -> None:
    client = serving.client()
    event = {"do": "echo", "value": {"ü": [1, None, "\U0001f600"]}}
    answer = client.invoke(FunctionName="f", Payload=json.dumps(event), LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()

    assert (answer["StatusCode"], answer["ExecutedVersion"], "FunctionError" in answer) == (200, "$LATEST", False)
    assert json.load(answer["Payload"])["value"] == event["value"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert log.startswith("START RequestId: ")
    assert f"REPORT RequestId: {request_id}\tDuration: " in log


def test_boto3_knows_each_error(serving: Serving) -> None:
    client = serving.client()
    crash = client.invoke(FunctionName="f", Payload=b'{"do":"fail","type":"A.B","message":"m"}')
    with pytest.raises(client.exceptions.ResourceNotFoundException, match=r"Function not found: arn:aws:.*:function:g"):
        client.invoke(FunctionName="g")
    with pytest.raises(client.exceptions.InvalidRequestContentException, match="Could not parse request body into"):
        client.invoke(FunctionName="f", Payload=b"{")
    with pytest.raises(ClientError, match=r"RequestEntityTooLargeException.*must be smaller than 6291456 bytes"):
        client.invoke(FunctionName="f", Payload=b'"' + b"a" * LARGEST + b'"')
    with pytest.raises(client.exceptions.InvalidRequestContentException, match="must be a valid Base64-encoded JSON"):
        client.invoke(FunctionName="f", ClientContext="nope")

    assert (crash["StatusCode"], crash["FunctionError"]) == (200, "Unhandled")
    assert json.load(crash["Payload"])["errorType"] == "A.B"


def test_boto3_says_who_calls(serving: Serving) -> None:
    context = base64.b64encode(json.dumps({"custom": {"a": "ü"}}).encode()).decode()
    name = "arn:aws:lambda:eu-west-1:111111111111:function:f:$LATEST"
    answer = serving.client().invoke(FunctionName=name, Payload=b'{"do":"context"}', ClientContext=context)
    said = json.load(answer["Payload"])

    assert said["client_context"]["custom"] == {"a": "ü"}
    assert said["request_id"] == answer["ResponseMetadata"]["RequestId"]


def test_the_largest_event_goes_in_and_out(serving: Serving) -> None:
    text = "x" * (LARGEST - 200)
    payload = json.dumps({"do": "measure", "value": text}).encode()
    answer = serving.client().invoke(FunctionName="f", Payload=payload)

    assert json.load(answer["Payload"]) == {"length": len(text)}


def test_boto3_has_events_run_later(serving: Serving) -> None:
    client = serving.client()
    good = client.invoke(FunctionName="f", InvocationType="Event", Payload=b'{"do":"echo","value":5}')
    bad = client.invoke(FunctionName="f", InvocationType="Event", Payload=b'{"do":"fail","type":"T","message":"m"}')
    dry = client.invoke(FunctionName="f", InvocationType="DryRun")
    ids = [answer["ResponseMetadata"]["RequestId"] for answer in (good, bad, dry)]

    assert [answer["StatusCode"] for answer in (good, bad, dry)] == [202, 202, 204]
    eventually(lambda: [record.result.request_id for record in serving.records].count(ids[1]) == 3)
    seen = [record.result.request_id for record in serving.records]
    assert [seen.count(request_id) for request_id in ids] == [1, 3, 0]
    eventually(lambda: ids[1] in serving.dead_letters.read_text())
    assert ids[0] not in serving.dead_letters.read_text()
    with pytest.raises(ClientError, match="byte payload is too large for the Event invocation type"):
        client.invoke(FunctionName="f", InvocationType="Event", Payload=b'"' + b"a" * 1_048_576 + b'"')


def test_boto3_is_told_that_all_are_busy() -> None:
    with Serving(shell(timeout=2)) as serving, ThreadPoolExecutor() as pool:
        client = serving.client()
        hanging = [pool.submit(client.invoke, FunctionName="f", Payload=b'{"do":"hang"}') for _ in range(2)]

        eventually(lambda: serving.emulator is not None and serving.emulator.busy == 2)
        with pytest.raises(client.exceptions.TooManyRequestsException) as refusal:
            client.invoke(FunctionName="f")
        late = [json.load(each.result()["Payload"]) for each in hanging]

    assert refusal.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert refusal.value.response["retryAfterSeconds"] == "1"
    assert [answer["errorType"] for answer in late] == ["Sandbox.Timedout"] * 2


def test_the_aws_cli_invokes_it(serving: Serving, tmp_path: Path) -> None:
    event = '{"do":"echo","value":"ü"}'
    done = awscli(serving, "--function-name", "f", "--payload", event, "--log-type", "Tail", "out", folder=tmp_path)
    told = json.loads(done.stdout)
    later = awscli(serving, "--function-name", "f", "--invocation-type", "Event", "out2", folder=tmp_path)
    refused = awscli(serving, "--function-name", "g:v", "out3", folder=tmp_path)

    assert (done.returncode, told["StatusCode"], told["ExecutedVersion"]) == (0, 200, "$LATEST")
    assert json.loads((tmp_path / "out").read_bytes())["value"] == "ü"
    assert b"REPORT RequestId" in base64.b64decode(told["LogResult"])
    assert (json.loads(later.stdout), (tmp_path / "out2").read_bytes()) == ({"StatusCode": 202}, b"")
    assert refused.returncode != 0
    assert (
        "(ResourceNotFoundException) when calling the Invoke operation: Function not found: arn:aws" in refused.stderr
    )


def test_curl_invokes_it(serving: Serving) -> None:
    path = f"{serving.url}/2015-03-31/functions/f/invocations"
    text = "a" * 2_000_000
    whole = curl(path, "--data-binary", "@-", data=json.dumps({"do": "echo", "value": text}).encode())
    chunked = curl(
        *(path, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "--data-binary", "@-"),
        data=b'{"do":"echo","value":7}',
    )

    assert json.loads(whole)["value"] == text
    assert json.loads(chunked)["value"] == 7


def test_curl_need_not_send_what_is_refused(serving: Serving) -> None:
    path = f"{serving.url}/2015-03-31/functions/f/invocations"
    said = curl(
        *(path, "-H", "Expect: 100-continue", "--expect100-timeout", "10", "--data-binary", "@-", "-o", "/dev/null"),
        *("-w", "%{http_code} %{size_upload}"),
        data=b"a" * (LARGEST + 1),
    )

    assert said == b"413 0"


def test_one_connection_serves_all_kinds_of_requests(serving: Serving) -> None:
    path = f"{serving.url}/2015-03-31/functions/f/invocations"
    next_one = ["--next", "-sS", "-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
    said = curl(
        *next_one[2:],
        *(path, "-d", '{"do":"echo","value":1}', *next_one),
        *(path, "-d", "{", *next_one),
        *(path, "-I", *next_one),
        *(path, "-X", "POST", "-H", "X-Amz-Invocation-Type: DryRun", *next_one),
        f"{serving.url}/",
    )

    assert said.decode().split("\n")[:-1] == ["200 1", "400 0", "405 0", "204 0", "200 0"]


def test_boto3_reads_a_stream(streaming: Serving) -> None:
    client = streaming.client()
    event = {"do": "stream", "pieces": ["ab", "c"]}
    answer = client.invoke_with_response_stream(FunctionName="f", Payload=json.dumps(event), LogType="Tail")
    *chunks, last = answer["EventStream"]
    failing = client.invoke_with_response_stream(FunctionName="f", Payload=b'{"do":"quit"}')
    *_, cut = failing["EventStream"]
    dry = client.invoke_with_response_stream(FunctionName="f", InvocationType="DryRun")
    for each in (answer, failing, dry):
        each["EventStream"].close()

    assert (answer["StatusCode"], answer["ExecutedVersion"], dry["StatusCode"]) == (200, "$LATEST", 204)
    assert b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks) == b"abc"
    assert b"REPORT RequestId" in base64.b64decode(last["InvokeComplete"]["LogResult"])
    assert cut["InvokeComplete"]["ErrorCode"] == "Unhandled"
    assert json.loads(cut["InvokeComplete"]["ErrorDetails"])["errorType"].startswith("Runtime.")


def test_curl_talks_to_the_function_url(streaming: Serving, tmp_path: Path) -> None:
    prelude = json.dumps({"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=d"]}) + "\0" * 8
    kind = "application/vnd.awslambda.http-integration-response"
    event = json.dumps({"do": "stream", "type": kind, "pieces": [prelude, "hello ", "world"]})
    said = curl(f"{streaming.url}/url/x", "-H", JSON, "-d", event, "-D", str(tmp_path / "head"))
    head = (tmp_path / "head").read_text().lower()
    plain = json.loads(curl(f"{streaming.url}/url/a?b=c", "-b", "d=e"))["event"]["web"]
    cut = subprocess.run(
        ["curl", "-sS", f"{streaming.url}/url/", "-H", JSON, "-d", '{"do":"quit"}'], capture_output=True, check=False
    )

    assert said == b"hello world"
    assert head.startswith("http/1.1 201")
    assert "x-a: b" in head
    assert "set-cookie: c=d" in head
    assert (plain["rawPath"], plain["queryStringParameters"], plain["cookies"]) == ("/a", {"b": "c"}, ["d=e"])
    assert cut.returncode == 18  # the transfer was closed with data outstanding
