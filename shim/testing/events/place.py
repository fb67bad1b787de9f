"""Where an event comes from, and the small parts that events of all sources have: moments, ids, names."""

from __future__ import annotations

import string
import uuid
from datetime import UTC, datetime
from typing import NamedTuple

from hypothesis import strategies as st

ACCOUNT = "123456789012"
LATEST = 4_102_444_799_999
"""Milliseconds since 1970: the end of the year 2099."""
MOMENTS = st.integers(0, LATEST)
"""Milliseconds since 1970."""
UUIDS = st.integers(0, 2**128 - 1).map(lambda number: str(uuid.UUID(int=number, version=4)))
NAMES = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20)
PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40)
"""Texts of characters that XML has, which is what queues and topics take."""
WHOLE = st.characters(exclude_categories=["Cs"])
"""All characters, and no halves."""


class Place(NamedTuple):
    """A region, and the partition that it is in."""

    region: str
    partition: str

    def arn(self, service: str, resource: str) -> str:
        """That of a resource in the account."""
        return f"arn:{self.partition}:{service}:{self.region}:{ACCOUNT}:{resource}"

    @property
    def domain(self) -> str:
        """Below which the services are."""
        return f"{self.region}.amazonaws.com{'.cn' if self.partition == 'aws-cn' else ''}"


PLACES = st.builds(
    Place._make,
    st.sampled_from(
        [("us-east-1", "aws"), ("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
    ),
)


def iso(moment: int) -> str:
    """As in "1970-01-01T00:00:00.000Z"."""
    return f"{datetime.fromtimestamp(moment // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{moment % 1000:03}Z"
