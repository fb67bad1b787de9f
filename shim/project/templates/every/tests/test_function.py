"""What the function promises, asked of the built program as Lambda would ask it. Run it in the project's folder, after the build."""

import base64
import json
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from hypothesis import given, settings
from shim import ReportedError, Shim
from shim.testing import LambdaContext, strategies

EVENTS = Path(__file__).parents[1] / "events"
PROGRAM = Path("build/{{name}}")


@pytest.fixture(scope="module")
def function():
    """The function, with the settings of shim.toml: an event in, an answer out."""
    if not PROGRAM.exists():
        pytest.fail(f"there is no {PROGRAM} here: build it first, in the project's folder, as its README.md says", pytrace=False)
    with Shim.from_environment(executable=str(PROGRAM)) as program:
        yield lambda event: program(event, LambdaContext(timeout=10))


def sample(name):
    return json.loads((EVENTS / name).read_text())


def test_it_tells_what_came_into_a_bucket(function):
    assert function(sample("s3-put.json")) == {
        "objects": [{"bucket": "amzn-s3-demo-bucket", "key": "orders/2026/Happy Face.csv", "bytes": 1024}],
        "bytes": 1024,
    }


@settings(deadline=None, max_examples=50)
@given(strategies.events("s3"))
def test_it_tells_of_every_object_once(function, event):
    answer = function(event)
    told = [(each["bucket"], each["key"], each["bytes"]) for each in answer["objects"]]

    assert told == [
        (each["s3"]["bucket"]["name"], unquote_plus(each["s3"]["object"]["key"]), each["s3"]["object"].get("size", 0))
        for each in event["Records"]
    ]
    assert answer["bytes"] == sum(bytes_ for _, _, bytes_ in told)


def test_it_counts_a_text_as_wc_does(function):
    answer = function(sample("web.json"))

    assert answer["statusCode"] == 200
    assert answer["headers"] == {"content-type": "application/json"}
    assert json.loads(answer["body"]) == {"lines": 2, "words": 10, "bytes": 56}


@settings(deadline=None, max_examples=50)
@given(strategies.events("functionurl", "httpapi"))
def test_it_counts_every_text(function, event):
    body = event.get("body") or ""
    text = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()

    assert json.loads(function(event)["body"]) == {
        "lines": text.count(b"\n"),
        "words": len(text.split()),
        "bytes": len(text),
    }


@settings(deadline=None, max_examples=20)
@given(strategies.events("sqs", "sns", "eventbridge"))
def test_it_refuses_every_other_event(function, event):
    with pytest.raises(ReportedError) as refused:
        function(event)

    assert type(refused.value).__name__ == "EventUnknown"
