"""Events whose records are parts of a stream: Kinesis, and the streams of DynamoDB's tables. (`sources` says how they are checked.)"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, NamedTuple

from hypothesis import strategies as st

from shim.testing.events.place import ACCOUNT, LATEST, MOMENTS, NAMES, PLACES, WHOLE, iso

FIRST_OF_SHARD = 49590338271490256608559692538361571095921575989136588898
"""A sequence number of Kinesis, with as many digits as they have."""
FIRST_OF_TABLE = 100000000000000000001
"""A sequence number of DynamoDB Streams, which has at least 21 digits (API_streams_StreamRecord)."""
VIEWS = ("NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY")


def _of(kind: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A value as DynamoDB has it (API_streams_AttributeValue): {"S": "text"}."""
    return values.map(lambda value: {kind: value})


_BINARY = st.binary(min_size=1, max_size=20).map(lambda data: b64encode(data).decode())
_NUMBERS = st.integers(1 - 10**38, 10**38 - 1).map(str) | st.sampled_from(["3.14159", "-0.5", "0.00000000000000000001"])
_TEXTS = st.text(WHOLE, max_size=20)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "S": _TEXTS,
    "N": _NUMBERS,
    "BOOL": st.booleans(),
    "NULL": st.just(value=True),
    "B": st.binary(max_size=20).map(lambda data: b64encode(data).decode()),
    "SS": st.lists(_TEXTS.filter(bool), min_size=1, max_size=3, unique=True),
    "NS": st.lists(_NUMBERS, min_size=1, max_size=3, unique=True),
    "BS": st.lists(_BINARY, min_size=1, max_size=3, unique=True),
}
"""Numbers are texts of up to 38 digits, sets are not empty."""
_VALUES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(*(_of(kind, values) for kind, values in _SCALARS.items())),
    lambda inner: (
        _of("L", st.lists(inner, max_size=3)) | _of("M", st.dictionaries(_TEXTS.filter(bool), inner, max_size=3))
    ),
    max_leaves=6,
)
_ATTRIBUTES = st.dictionaries(NAMES, _VALUES, max_size=3)
_KEYS = {
    "S": _of("S", st.just("key") | _TEXTS.filter(bool)),
    "N": _of("N", _NUMBERS),
    "B": _of("B", _BINARY),
}
"""A key is a text, a number or bytes, and is not empty."""
_PARTITION_KEYS = st.just("key") | st.text(WHOLE, min_size=1, max_size=256)
_DATA = st.just(b"data") | st.binary(max_size=100) | NAMES.map(lambda name: json.dumps({"name": name}).encode())


@st.composite
def kinesis(draw: st.DrawFn) -> dict[str, Any]:
    """A batch of one shard, in its order [docs: "Using Lambda to process records from Amazon Kinesis Data Streams"; seen].

    The data are base64, the time of arrival is seconds as a number with a fraction.
    """
    place, stream = draw(PLACES), draw(st.just("stream") | NAMES)
    shard = f"shardId-{draw(st.integers(0, 10**6)):012}"
    drawn = draw(st.lists(st.tuples(st.integers(0, 10**12), _PARTITION_KEYS, _DATA, MOMENTS), min_size=1, max_size=5))
    records, number = [], FIRST_OF_SHARD - 1
    for gap, key, data, moment in drawn:
        number += 1 + gap
        records.append(
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": key,
                    "sequenceNumber": str(number),
                    "data": b64encode(data).decode(),
                    "approximateArrivalTimestamp": moment / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": f"arn:{place.partition}:iam::{ACCOUNT}:role/role",
                "awsRegion": place.region,
                "eventSourceARN": place.arn("kinesis", f"stream/{stream}"),
            }
        )
    return {"Records": records}


@st.composite
def dynamodb(draw: st.DrawFn) -> dict[str, Any]:
    """Changes of one table's items, in their order [docs: "Using Lambda with Amazon DynamoDB", API_streams_Record and StreamRecord; seen].

    Which images there are follows from the table's view and from what was done. Times are whole seconds, as a number. Only what a time to
    live removed has a userIdentity.
    """
    place, table, view = draw(PLACES), draw(st.just("table") | NAMES), draw(st.sampled_from(VIEWS))
    label = iso(draw(MOMENTS))[:-1]  # when the stream was made
    arn = place.arn("dynamodb", f"table/{table}/stream/{label}")
    schema = {"id": draw(st.sampled_from("SNB")), "range": draw(st.sampled_from(["", "S", "N", "B"]))}
    records, number = [], FIRST_OF_TABLE - 1
    for change in draw(st.lists(_CHANGES, min_size=1, max_size=4)):
        number += 1 + change.gap
        keys = {name: change.keys[kind] for name, kind in schema.items() if kind}
        said: dict[str, Any] = {"ApproximateCreationDateTime": change.seconds, "Keys": keys}
        if "NEW" in view and change.name != "REMOVE":
            said["NewImage"] = keys | change.after | keys
        if "OLD" in view and change.name != "INSERT":
            said["OldImage"] = keys | change.before | keys
        said |= {"SequenceNumber": str(number), "SizeBytes": change.size, "StreamViewType": view}
        record = {
            "eventID": f"{change.id:032x}",
            "eventName": change.name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": place.region,
            "dynamodb": said,
            "eventSourceARN": arn,
        }
        if change.has_expired and change.name == "REMOVE":
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        records.append(record)
    return {"Records": records}


class _Change(NamedTuple):
    """One change, with more than its record says: what is drawn is the same whatever it is, so that it shrinks well."""

    name: str
    id: int
    gap: int
    """How many sequence numbers were left out before its own."""
    seconds: float
    keys: dict[str, dict[str, Any]]
    """One of each type."""
    before: dict[str, Any]
    after: dict[str, Any]
    size: int
    has_expired: bool


_CHANGES = st.builds(
    _Change,
    name=st.sampled_from(["INSERT", "MODIFY", "REMOVE"]),
    id=st.integers(0, 2**128 - 1),
    gap=st.integers(0, 10**12),
    seconds=st.integers(0, LATEST // 1000) | st.integers(0, LATEST // 1000).map(float),
    keys=st.fixed_dictionaries(_KEYS),
    before=_ATTRIBUTES,
    after=_ATTRIBUTES,
    size=st.integers(1, 819_200),
    has_expired=st.booleans(),
)
