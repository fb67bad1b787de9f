"""Events as AWS's services send them. Each source's function, in the modules beside this one, says what its events have and when.

By which each shape was checked:
- [docs] the pages of AWS's documentation that each names;
- [seen] on AWS: what LocalStack's tests recorded there until November 2025 (tests/aws/services/*/*.snapshot.json);
- [types] aws/aws-lambda-go, events/*.go and events/testdata.

An event shrinks to one record of constants that read well. Within an event all agrees: region and ARN, sums and what they are of, times, ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from shim.testing.events.messages import eventbridge, s3, sns, sqs
from shim.testing.events.requests import alb, apigateway, functionurl, httpapi
from shim.testing.events.streams import dynamodb, kinesis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES: Mapping[str, Callable[[], st.SearchStrategy[dict[str, Any]]]] = {
    "s3": s3,
    "sqs": sqs,
    "sns": sns,
    "kinesis": kinesis,
    "dynamodb": dynamodb,
    "eventbridge": eventbridge,
    "apigateway": apigateway,
    "httpapi": httpapi,
    "functionurl": functionurl,
    "alb": alb,
}


def events(*sources: str) -> st.SearchStrategy[dict[str, Any]]:
    """Events as those sources send them to a function; without arguments, as one of all does. They shrink to one record of plain values.

    | source | what it sends |
    |---|---|
    | s3 | notifications of a bucket |
    | sqs | a batch of messages of a queue, FIFO or not |
    | sns | a message of a topic |
    | kinesis, dynamodb | a batch of a stream's records |
    | eventbridge | an event of a bus, or a schedule's |
    | apigateway | a request to a REST API (payload format 1.0) |
    | httpapi, functionurl | a request to an HTTP API or a function URL (payload format 2.0) |
    | alb | a request to a load balancer, with and without multi-value headers |

    Raises:
        ValueError: there is no such source.
    """
    for source in sources:
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, not {source!r}")
    return st.one_of(*(SOURCES[source]() for source in sources or SOURCES))
