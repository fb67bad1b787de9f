"""Events whose records are messages: notifications of S3, batches of SQS, what SNS and EventBridge send. (`sources` says how they are checked.)"""

from __future__ import annotations

import json
import string
from base64 import b64decode, b64encode
from hashlib import md5
from typing import Any
from urllib.parse import quote_plus

from hypothesis import strategies as st

from shim.testing.events.place import ACCOUNT, MOMENTS, NAMES, PLACES, PRINTABLE, UUIDS, WHOLE, Place, iso


@st.composite
def s3(draw: st.DrawFn) -> dict[str, Any]:
    """What a bucket's notification says [docs: "Event message structure", Amazon S3 User Guide; seen].

    An object that was removed has neither size nor eTag, but a delete marker has the eTag of nothing. Only a versioned bucket has versionIds.
    Tags and lists of access have no sequencer. The key is encoded as a form is, but for its slashes.
    """
    place = draw(PLACES)
    bucket = draw(st.just("bucket") | st.text(string.ascii_lowercase + string.digits, min_size=3, max_size=63))
    record = _s3_record(place, bucket)
    return {"Records": draw(st.lists(record, min_size=1, max_size=3))}


S3_NAMES = (
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "ObjectRestore:Completed",
    "ObjectTagging:Put",
)
_KEYS = st.one_of(
    st.just("key"),
    st.sampled_from(["folder/red flower.jpg", "a+b@c=d", "ü(1)%.txt", "//", "."]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100),
).map(lambda key: quote_plus(key, safe="/"))


@st.composite
def _s3_record(draw: st.DrawFn, place: Place, bucket: str) -> dict[str, Any]:
    name = draw(st.sampled_from(S3_NAMES))
    size, sequencer = (
        draw(st.integers(0, 5 * 1024**4)),
        draw(st.integers(0, 2**64 - 1)),
    )  # for all: so it shrinks to the first name
    item: dict[str, Any] = {"key": draw(_KEYS)}
    digest = _digest(str(size) if size else "")
    if name.startswith(("ObjectCreated", "ObjectRestore")):
        item["size"] = size
        item["eTag"] = f"{digest}-{draw(st.integers(1, 10_000))}" if name.endswith("MultipartUpload") else digest
    elif name != "ObjectRemoved:Delete":
        item["eTag"] = _digest("") if name.startswith("ObjectRemoved") else digest
    if draw(st.booleans()) or name.endswith("MarkerCreated"):
        item["versionId"] = draw(st.just("version") | st.text(string.ascii_letters + string.digits + "._", min_size=32, max_size=32))  # fmt: skip
    if not name.startswith("ObjectTagging"):
        item["sequencer"] = f"{sequencer:018X}"
    record: dict[str, Any] = {
        "eventVersion": "2.3" if name.startswith("ObjectTagging") else "2.1",
        "eventSource": "aws:s3",
        "awsRegion": place.region,
        "eventTime": iso(draw(MOMENTS)),
        "eventName": name,
        "userIdentity": {"principalId": "AWS:AIDACKCEVSQ6C2EXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "RXhhbXBsZQ=="},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": draw(st.just("notification") | NAMES),
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKEXAMPLE"},
                "arn": f"arn:{place.partition}:s3:::{bucket}",
            },
            "object": item,
        },
    }
    if name == "ObjectRestore:Completed":
        record["glacierEventData"] = {
            "restoreEventData": {
                "lifecycleRestorationExpiryTime": iso(draw(MOMENTS)),
                "lifecycleRestoreStorageClass": draw(st.sampled_from(["GLACIER", "DEEP_ARCHIVE"])),
            }
        }
    return record


@st.composite
def sqs(draw: st.DrawFn) -> dict[str, Any]:
    """A batch of messages of one queue [docs: "Using Lambda with Amazon SQS" and "Message metadata"; seen].

    Values of attributes are texts, numbers and times in milliseconds too. md5OfMessageAttributes is there where there are such, else it is
    missing or null. Only a FIFO queue has groups, deduplication ids and sequence numbers.
    """
    place, is_fifo = draw(PLACES), draw(st.booleans())
    arn = place.arn("sqs", draw(st.just("queue") | NAMES) + (".fifo" if is_fifo else ""))
    messages = _sqs_message(place, arn, is_fifo=is_fifo)
    return {"Records": draw(st.lists(messages, min_size=1, max_size=5, unique_by=lambda message: message["messageId"]))}


_BODIES = (
    st.just("body")
    | PRINTABLE.filter(bool)
    | st.dictionaries(NAMES, st.integers() | NAMES, max_size=3).map(json.dumps)
    | st.sampled_from(["two\nlines\t", "é" * 4096, '{"Records":[]}'])
)


@st.composite
def _sqs_message(draw: st.DrawFn, place: Place, arn: str, *, is_fifo: bool) -> dict[str, Any]:
    sent = draw(MOMENTS)
    system = {
        "ApproximateReceiveCount": str(draw(st.integers(1, 1000))),
        "SentTimestamp": str(sent),
        "SenderId": "AIDACKCEVSQ6C2EXAMPLE",
        "ApproximateFirstReceiveTimestamp": str(sent + draw(st.integers(0, 1_209_600_000))),
    }
    if is_fifo:
        system["SequenceNumber"] = str(18849496460467696128 + draw(st.integers(0, 10**12)))
        system["MessageGroupId"] = draw(st.just("group") | NAMES)
        system["MessageDeduplicationId"] = draw(st.just("deduplication") | NAMES)
    if draw(st.booleans()):
        system["AWSTraceHeader"] = "Root=1-5759e988-bd862e3fe1be46a994272793"
    if draw(st.booleans()):
        system["DeadLetterQueueSourceArn"] = place.arn("sqs", "source" + (".fifo" if is_fifo else ""))
    body = draw(_BODIES)
    attributes = draw(st.dictionaries(NAMES, _sqs_attributes(), max_size=3))
    message: dict[str, Any] = {
        "messageId": draw(UUIDS),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a==",
        "body": body,
        "attributes": system,
        "messageAttributes": attributes,
    }
    if attributes:
        message["md5OfMessageAttributes"] = digest_of_attributes(attributes)
    elif draw(st.booleans()):
        message["md5OfMessageAttributes"] = None
    return message | {
        "md5OfBody": _digest(body),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": place.region,
    }


@st.composite
def _sqs_attributes(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["String", "Number", "Binary"]))
    if kind == "Binary":
        value = {"binaryValue": b64encode(draw(st.binary(min_size=1, max_size=20))).decode()}
    else:
        value = {"stringValue": draw(st.integers().map(str) if kind == "Number" else PRINTABLE.filter(bool))}
    kind += draw(st.sampled_from(["", ".custom"]))
    return value | {"stringListValues": [], "binaryListValues": [], "dataType": kind}


def digest_of_attributes(attributes: dict[str, dict[str, Any]]) -> str:
    """As "Message metadata" in the SQS Developer Guide has it: by name, each part behind its length, and a byte that says text or binary."""
    whole = b""
    for name, attribute in sorted(attributes.items()):
        is_binary = "binaryValue" in attribute
        value = b64decode(attribute["binaryValue"]) if is_binary else attribute["stringValue"].encode()
        for part in (name.encode(), attribute["dataType"].encode()):
            whole += len(part).to_bytes(4, "big") + part
        whole += (b"\2" if is_binary else b"\1") + len(value).to_bytes(4, "big") + value
    return md5(whole, usedforsecurity=False).hexdigest()


_SNS_ATTRIBUTES = (
    st.builds(lambda value: {"Type": "String", "Value": value}, st.just("value") | PRINTABLE.filter(bool))
    | st.builds(lambda value: {"Type": "Number", "Value": str(value)}, st.integers())
    | st.builds(lambda value: {"Type": "Binary", "Value": b64encode(value).decode()}, st.binary(min_size=1))
    | st.builds(lambda value: {"Type": "String.Array", "Value": json.dumps(value)}, st.lists(NAMES, max_size=3))
)


@st.composite
def sns(draw: st.DrawFn) -> dict[str, Any]:
    """A message of a topic, always one [docs: "Using Lambda with Amazon SNS"; seen: Subject is null where there is none]."""
    place, topic = draw(PLACES), draw(st.just("topic") | NAMES)
    arn = place.arn("sns", topic)
    subscription = f"{arn}:{draw(UUIDS)}"
    host = f"https://sns.{place.domain}"
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": subscription,
                "Sns": {
                    "Type": "Notification",
                    "MessageId": draw(UUIDS),
                    "TopicArn": arn,
                    "Subject": draw(st.none() | st.just("subject") | NAMES),
                    "Message": draw(st.just("message") | _BODIES),
                    "Timestamp": iso(draw(MOMENTS)),
                    "SignatureVersion": draw(st.sampled_from(["1", "2"])),
                    "Signature": "RXhhbXBsZQ==",
                    "SigningCertUrl": f"{host}/SimpleNotificationService-ac565b8b1a6c5d002d285f9598aa1d9b.pem",
                    "UnsubscribeUrl": f"{host}/?Action=Unsubscribe&SubscriptionArn={subscription}",
                    "MessageAttributes": draw(st.dictionaries(NAMES, _SNS_ATTRIBUTES, max_size=3)),
                },
            }
        ]
    }


_TEXTS = st.text(WHOLE, max_size=20)
_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9)
_DETAILS = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=9,
)


@st.composite
def eventbridge(draw: st.DrawFn) -> dict[str, Any]:
    """An event of a bus: a custom one, or a rule's schedule [docs: "Event structure reference", Amazon EventBridge; seen].

    The time has no fraction. Integers in the detail have 64 bits at most, as PutEvents takes them.
    """
    place = draw(PLACES)
    event: dict[str, Any] = {
        "version": "0",
        "id": draw(UUIDS),
        "detail-type": draw(st.just("type") | NAMES),
        "source": draw(st.just("com.example") | NAMES.filter(_is_no_services)),
        "account": ACCOUNT,
        "time": iso(draw(MOMENTS))[:19] + "Z",
        "region": place.region,
        "resources": draw(st.sampled_from([[], [place.arn("dynamodb", "table/table")]])),
        "detail": draw(st.dictionaries(_TEXTS, _DETAILS, max_size=3)),
    }
    if draw(st.booleans()):
        rule = place.arn("events", f"rule/{draw(st.just('rule') | NAMES)}")
        event |= {"detail-type": "Scheduled Event", "source": "aws.events", "resources": [rule], "detail": {}}
    if draw(st.booleans()):
        event["replay-name"] = draw(st.just("replay") | NAMES)
    return event


def _is_no_services(source: str) -> bool:
    return not source.startswith("aws")


def _digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
