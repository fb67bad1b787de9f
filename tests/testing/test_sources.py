"""Events are what AWS's services send: of their shape, and true in themselves."""

from __future__ import annotations

import json
import random
import re
from base64 import b64decode
from functools import cache
from hashlib import md5
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import HealthCheck, Phase, find, given, settings
from jsonschema import Draft202012Validator

import shim
from shim.codecs.line import line
from shim.testing import strategies
from shim.testing.events.messages import S3_NAMES, digest_of_attributes
from tests.conftest import FIXTURES
from tests.testing.shapes import SHAPES

SOME = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
VALIDATORS = {source: Draft202012Validator(shape) for source, shape in SHAPES.items()}


@cache
def smallest(source: str) -> Any:
    return find(
        strategies.events(source),
        lambda _: True,
        settings=settings(
            max_examples=100,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
        random=random.Random(5),  # noqa: S311 - the same at every run
    )


@pytest.mark.parametrize("source", SHAPES)
def test_events_have_the_shape_that_is_documented(source: str) -> None:
    @SOME
    @given(strategies.events(source))
    def hold(event: dict[str, Any]) -> None:
        VALIDATORS[source].validate(event)

        assert json.loads(line(event, {}))["event"] == event
        event.get("Records", [event])[0].clear()  # nothing of it is in the next one

    hold()


def test_what_is_no_such_event_is_told_from_one() -> None:
    real = json.loads((FIXTURES / "events" / "s3-put.json").read_text())
    assert VALIDATORS["s3"].is_valid(real)
    for source in SHAPES:
        assert not VALIDATORS[source].is_valid({"Records": []})
        assert not VALIDATORS[source].is_valid(smallest(source) | {"more": 1})
        assert [other for other in SHAPES if VALIDATORS[other].is_valid(smallest(source)) and other != source] in (
            [],
            ["functionurl"],
            ["httpapi"],
        )


def test_without_a_source_an_event_is_one_of_all() -> None:
    seen: set[str] = set()

    @settings(max_examples=400, database=None, phases=[Phase.generate], derandomize=True)
    @given(strategies.events())
    def draw(event: dict[str, Any]) -> None:
        seen.update(source for source in SHAPES if VALIDATORS[source].is_valid(event))

    draw()

    assert seen == set(SHAPES)


def test_an_unknown_source_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=re.escape("source must be one of s3, sqs, sns, ")) as raised:
        strategies.events("s3", "kafka")

    assert str(raised.value).endswith("alb, not 'kafka'")


def test_the_smallest_event_of_s3_reads_well() -> None:
    assert smallest("s3") == {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "1970-01-01T00:00:00.000Z",
                "eventName": "ObjectCreated:Put",
                "userIdentity": {"principalId": "AWS:AIDACKCEVSQ6C2EXAMPLE"},
                "requestParameters": {"sourceIPAddress": "192.0.2.1"},
                "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "RXhhbXBsZQ=="},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "notification",
                    "bucket": {
                        "name": "bucket",
                        "ownerIdentity": {"principalId": "A3NL1KOZZKEXAMPLE"},
                        "arn": "arn:aws:s3:::bucket",
                    },
                    "object": {
                        "key": "key",
                        "size": 0,
                        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                        "sequencer": "000000000000000000",
                    },
                },
            }
        ]
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sqs", ['"body": "body"', ":queue", '"messageAttributes": {}', '"SentTimestamp": "0"']),
        ("sns", ['"Message": "message"', ":topic", '"Subject": null', '"MessageAttributes": {}']),
        ("kinesis", ['"data": "ZGF0YQ=="', "stream/stream", '"partitionKey": "key"']),
        ("dynamodb", ['"Keys": {"id": {"S": "key"}}, "NewImage": {"id": {"S": "key"}}', '"INSERT"', "table/table"]),
        ("eventbridge", ['"detail-type": "type"', '"source": "com.example"', '"detail": {}', '"resources": []']),
        ("apigateway", ['"httpMethod": "GET"', '"resource": "/"', '"body": null', '"stage": "prod"']),
        ("httpapi", ['"rawPath": "/"', '"routeKey": "$default"', '"isBase64Encoded": false']),
        ("functionurl", ['"rawPath": "/"', '"accountId": "anonymous"']),
        ("alb", ['"queryStringParameters": {}', '"body": ""', '"path": "/"']),
    ],
)
def test_the_smallest_event_is_one_record_of_plain_values(source: str, said: list[str]) -> None:
    event = smallest(source)

    assert len(event.get("Records", [event])) == 1
    for words in (*said, "us-east-1"):
        assert words in json.dumps(event)


@settings(SOME, max_examples=150)
@given(strategies.events("s3"))
def test_s3_says_what_there_is_of_an_object(event: dict[str, Any]) -> None:
    assert len({record["s3"]["bucket"]["arn"] for record in event["Records"]}) == 1
    for record in event["Records"]:
        item, kind = record["s3"]["object"], record["eventName"].partition(":")[0]
        assert unquote_plus(item["key"]).encode()
        assert record["s3"]["bucket"]["arn"].endswith(f":::{record['s3']['bucket']['name']}")
        assert ("size" in item) == (kind in ("ObjectCreated", "ObjectRestore"))
        assert ("eTag" in item) == (record["eventName"] != "ObjectRemoved:Delete")
        assert ("sequencer" in item) == (kind != "ObjectTagging")
        assert ("-" in item.get("eTag", "")) == record["eventName"].endswith("MultipartUpload")
        assert ("glacierEventData" in record) == (record["eventName"] == "ObjectRestore:Completed")
        assert "versionId" in item or "DeleteMarker" not in record["eventName"]


@pytest.mark.parametrize("name", S3_NAMES)
def test_every_kind_of_notification_is_drawn(name: str) -> None:
    with_it = find(
        strategies.events("s3"),
        lambda event: event["Records"][0]["eventName"] == name,
        settings=settings(max_examples=1000, database=None, phases=[Phase.generate]),
    )

    assert VALIDATORS["s3"].is_valid(with_it)


@SOME
@given(strategies.events("sqs"))
def test_sqs_gives_true_sums_and_the_order_of_a_fifo_queue(event: dict[str, Any]) -> None:
    messages = event["Records"]

    assert len({message["messageId"] for message in messages}) == len(messages)
    assert len({message["eventSourceARN"] for message in messages}) == 1
    for message in messages:
        system = message["attributes"]
        assert message["md5OfBody"] == md5(message["body"].encode(), usedforsecurity=False).hexdigest()
        assert int(system["SentTimestamp"]) <= int(system["ApproximateFirstReceiveTimestamp"])
        assert bool(message["messageAttributes"]) == bool(message.get("md5OfMessageAttributes"))
        is_fifo = message["eventSourceARN"].endswith(".fifo")
        for name in ("SequenceNumber", "MessageGroupId", "MessageDeduplicationId"):
            assert (name in system) == is_fifo
        for attribute in message["messageAttributes"].values():
            assert ("binaryValue" in attribute) == attribute["dataType"].startswith("Binary")
            assert ("stringValue" in attribute) != ("binaryValue" in attribute)


def test_the_sum_of_attributes_is_the_one_that_sqs_reckons() -> None:
    """As SQS itself answered to these (elastic/apm-agent-nodejs#2605)."""
    attributes = {
        "City": {"stringValue": "Any City", "dataType": "String"},
        "Greeting": {"binaryValue": "SGVsbG8sIFdvcmxkIQ==", "dataType": "Binary"},
        "Population": {"stringValue": "1250800", "dataType": "Number"},
    }

    assert digest_of_attributes(attributes) == "28eb0e573cf8e8a77e349a2f968eac4a"


@SOME
@given(strategies.events("sns"))
def test_sns_names_its_topic_wherever_it_does(event: dict[str, Any]) -> None:
    (record,) = event["Records"]

    assert record["EventSubscriptionArn"].startswith(record["Sns"]["TopicArn"] + ":")
    assert record["Sns"]["UnsubscribeUrl"].endswith(record["EventSubscriptionArn"])
    assert f"https://sns.{record['Sns']['TopicArn'].split(':')[3]}.amazonaws.com" in record["Sns"]["SigningCertUrl"]
    for attribute in record["Sns"]["MessageAttributes"].values():
        assert attribute["Type"] != "Binary" or b64decode(attribute["Value"], validate=True)
        assert attribute["Type"] != "String.Array" or isinstance(json.loads(attribute["Value"]), list)
        assert attribute["Type"] != "Number" or int(attribute["Value"]) is not None


@SOME
@given(strategies.events("kinesis"))
def test_kinesis_gives_one_shard_in_its_order(event: dict[str, Any]) -> None:
    parts = [record["kinesis"] for record in event["Records"]]

    assert all(int(one["sequenceNumber"]) < int(next_["sequenceNumber"]) for one, next_ in pairwise(parts))
    assert len({record["eventID"].partition(":")[0] for record in event["Records"]}) == 1
    for record, part in zip(event["Records"], parts, strict=True):
        assert record["eventID"].endswith(f":{part['sequenceNumber']}")
        assert b64decode(part["data"], validate=True) is not None
        assert part["partitionKey"].encode()


def restored(value: Any) -> Any:
    """What boto3 is given: bytes, where JSON has base64."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind == "B" and isinstance(inner, str):
            return {kind: b64decode(inner, validate=True)}
        if kind == "BS" and isinstance(inner, list):
            return {kind: [b64decode(one, validate=True) for one in inner]}
        if kind == "L" and isinstance(inner, list):
            return {kind: [restored(one) for one in inner]}
        if kind == "M" and isinstance(inner, dict):
            return {kind: {name: restored(one) for name, one in inner.items()}}
    return value


@SOME
@given(strategies.events("dynamodb"))
def test_dynamodb_has_the_images_of_its_view_which_boto3_reads(event: dict[str, Any]) -> None:
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in event["Records"]]

    assert all(one < another for one, another in pairwise(numbers))
    assert len({record["eventSourceARN"] for record in event["Records"]}) == 1
    for record in event["Records"]:
        change, view = record["dynamodb"], record["dynamodb"]["StreamViewType"]
        assert ("NewImage" in change) == (
            view in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES") and record["eventName"] != "REMOVE"
        )
        assert ("OldImage" in change) == (
            view in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES") and record["eventName"] != "INSERT"
        )
        assert "userIdentity" not in record or record["eventName"] == "REMOVE"
        for image in ("Keys", "NewImage", "OldImage"):
            item = change.get(image, change["Keys"])
            assert item.items() >= change["Keys"].items()
            assert {name: TypeDeserializer().deserialize(restored(value)) for name, value in item.items()}


@SOME
@given(strategies.events("eventbridge"))
def test_eventbridge_has_a_schedule_without_detail_and_no_integer_beyond_64_bits(event: dict[str, Any]) -> None:
    def beyond(text: str) -> int:
        assert -(2**63) <= int(text) < 2**63
        return int(text)

    json.loads(json.dumps(event), parse_int=beyond)

    assert (event["source"] == "aws.events") == (event["detail-type"] == "Scheduled Event")
    assert event["source"] != "aws.events" or event["detail"] == {}
    assert all(arn.split(":")[3] == event["region"] for arn in event["resources"])


@SOME
@given(strategies.events("apigateway"))
def test_a_rest_api_gives_the_last_value_and_all_values(event: dict[str, Any]) -> None:
    context = event["requestContext"]

    for single, multiple in (
        ("headers", "multiValueHeaders"),
        ("queryStringParameters", "multiValueQueryStringParameters"),
    ):
        all_values = event[multiple] or {}
        assert (event[single] or {}) == {name: values[-1] for name, values in all_values.items()}
    assert context["path"] == f"/{context['stage']}{event['path']}"
    assert (event["pathParameters"] is not None) == (event["resource"] == "/{proxy+}")
    assert not event["isBase64Encoded"] or b64decode(event["body"], validate=True)


@SOME
@given(strategies.events("httpapi", "functionurl"))
def test_payload_2_gives_parameters_as_the_query_has_them(event: dict[str, Any]) -> None:
    context = event["requestContext"]
    expected: dict[str, list[str]] = {}
    for name, value in parse_qsl(event["rawQueryString"], keep_blank_values=True):
        expected.setdefault(name, []).append(value)

    assert event.get("queryStringParameters", {}) == {name: ",".join(values) for name, values in expected.items()}
    assert context["routeKey"] == event["routeKey"]
    assert context["domainName"] == event["headers"]["host"]
    assert context["domainName"].split(".")[0] == context["apiId"] == context["domainPrefix"]
    assert context["stage"] == "$default" or event["rawPath"].startswith(f"/{context['stage']}/")
    assert ("pathParameters" in event) == event["routeKey"].endswith("{proxy+}")
    assert "body" in event or not event["isBase64Encoded"]
    assert not event["isBase64Encoded"] or b64decode(event["body"], validate=True)
    if "lambda-url" in context["domainName"]:
        assert event["headers"].get("cookie") == ("; ".join(event["cookies"]) if "cookies" in event else None)
        assert (context["accountId"] == "anonymous") == ("authorizer" not in context)
    else:
        assert "cookie" not in event["headers"]


@SOME
@given(strategies.events("alb"))
def test_a_load_balancer_encodes_what_is_no_text_and_decodes_no_parameter(event: dict[str, Any]) -> None:
    headers = event.get("headers") or {name: values[-1] for name, values in event["multiValueHeaders"].items()}
    parameters = event.get("queryStringParameters", event.get("multiValueQueryStringParameters", {}))
    kind = headers.get("content-type", "").partition(";")[0]

    assert all(re.fullmatch("[A-Za-z0-9._~%-]*", name) for name in parameters)
    if event["body"]:
        assert event["isBase64Encoded"] != (kind.startswith("text/") or kind == "application/json")
    if event["isBase64Encoded"]:
        assert b64decode(event["body"], validate=True)


def test_a_program_that_reads_events_of_s3_finds_what_is_in_them() -> None:
    program = shim.Shim(str(FIXTURES / "programs" / "shell-objects" / "objects.sh"), linger_ms=0)

    def has_sizes(event: dict[str, Any]) -> bool:
        return all("size" in record["s3"]["object"] for record in event["Records"])

    @settings(SOME, max_examples=10)
    @given(strategies.events("s3").filter(has_sizes))
    def hold(event: dict[str, Any]) -> None:
        found = [(record["s3"]["bucket"]["name"], record["s3"]["object"]) for record in event["Records"]]

        assert program(event, None) == {
            "objects": [{"bucket": name, "key": item["key"], "bytes": item["size"]} for name, item in found]
        }

    hold()
