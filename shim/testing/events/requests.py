"""Events that are HTTP requests: of API Gateway, of function URLs, of load balancers. (`sources` says how they are checked.)"""

from __future__ import annotations

import json
import string
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from hypothesis import strategies as st

from shim.local.function_url import event_of
from shim.testing.events.place import ACCOUNT, MOMENTS, NAMES, PLACES, UUIDS, Place

API = "a1b2c3d4e5"
URL = "abcdefghijklmnopqrstuvwxyz012345"
AGENT = "agent"
CLIENT = "192.0.2.1"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"
WITH_BODIES = ("POST", "PUT", "PATCH", "DELETE")
ALB_TEXTS = ("application/json", "application/javascript", "application/xml")
"""What a load balancer sends as text besides text/* [docs]."""
_BODIES: st.SearchStrategy[tuple[str, bytes]] = st.one_of(
    st.just(("", b"")),
    st.text(max_size=40).map(lambda text: ("text/plain; charset=utf-8", text.encode())),
    st.dictionaries(NAMES, st.integers() | NAMES, max_size=3).map(
        lambda value: ("application/json", json.dumps(value).encode())
    ),
    st.dictionaries(NAMES, NAMES, max_size=3).map(
        lambda form: ("application/x-www-form-urlencoded", urlencode(form).encode())
    ),
    st.binary(max_size=40).map(lambda data: ("application/octet-stream", data)),
    st.binary(max_size=40).map(lambda data: ("", data)),
)
_UNRESERVED = string.ascii_letters + string.digits + "-._~"
_VALUES = st.text([chr(code) for code in range(0x20, 0x7F)], max_size=20).map(str.strip)


_PLAIN = st.text(_UNRESERVED, min_size=1, max_size=9).filter(lambda segment: segment.strip("."))
_QUOTED = st.text(min_size=1, max_size=9).map(lambda text: quote(text, safe=""))
_PAIRS = st.lists(
    st.tuples(st.just("name") | st.text(min_size=1, max_size=9), st.just("value") | st.text(max_size=9)), max_size=4
)
_HEADERS = st.lists(st.tuples(st.sampled_from(["Accept", "X-Custom"]) | NAMES.map("X-A{}".format), _VALUES), max_size=3)


class Request(NamedTuple):
    """An HTTP request as a client sent it."""

    place: Place
    method: str
    path: str
    """As in the request line."""
    query: str
    """Likewise, behind the question mark."""
    headers: list[tuple[str, str]]
    """What the client chose, in the spelling of RFC 9110; one may be there several times."""
    cookies: list[str]
    body: bytes
    moment: int
    """Milliseconds since 1970."""
    id: str

    def received(self, host: str) -> list[tuple[str, str]]:
        """Its headers with those that every request has, and those that AWS's front adds."""
        cookies = [("Cookie", "; ".join(self.cookies))] if self.cookies else []
        return [
            ("Host", host),
            ("User-Agent", AGENT),
            *self.headers,
            *cookies,
            ("X-Amzn-Trace-Id", TRACE),
            ("X-Forwarded-For", CLIENT),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ]

    @property
    def content_type(self) -> str:
        """Without its parameters; "" where there is none."""
        return dict(self.headers).get("Content-Type", "").partition(";")[0]


@st.composite
def _requests(draw: st.DrawFn, *, encoded: bool) -> Request:
    """Any request.

    Args:
        draw: of Hypothesis.
        encoded: whether its path may have what must be percent-encoded. Not all sources are known for what they make of it.
    """
    segments = _PLAIN | _QUOTED if encoded else _PLAIN
    pairs = draw(_PAIRS)
    headers = draw(_HEADERS)
    method = draw(st.sampled_from(["GET", "HEAD", "OPTIONS", *WITH_BODIES]))
    kind, body = draw(_BODIES) if method in WITH_BODIES else ("", b"")
    if kind:
        headers.append(("Content-Type", kind))
    spellings = {name.lower(): name for name, _ in reversed(headers)}  # one for each name
    return Request(
        draw(PLACES),
        method,
        "/" + "/".join(draw(st.lists(segments, max_size=3))),
        urlencode(pairs, quote_via=quote),
        [(spellings[name.lower()], value) for name, value in headers],
        draw(st.lists(st.builds("{}={}".format, NAMES, NAMES), max_size=3)),
        body,
        draw(MOMENTS),
        draw(UUIDS),
    )


@st.composite
def apigateway(draw: st.DrawFn) -> dict[str, Any]:
    """A request to a REST API [docs: "Lambda proxy integrations in API Gateway", "Input format"; seen].

    What the request lacks is null: parameters, variables, a body. A repeated header or parameter is there with its last value, and with all
    in the multi-value members. Only a REST API that was told of binary types encodes bodies.
    """
    request = draw(_requests(encoded=True))
    host = f"{API}.execute-api.{request.place.domain}"
    headers = request.received(host)
    pairs = parse_qsl(request.query, keep_blank_values=True)
    is_proxy = request.path != "/" and draw(st.booleans())
    stage = draw(st.just("prod") | NAMES)
    identity: dict[str, Any] = dict.fromkeys(_IDENTITY) | {"sourceIp": CLIENT, "userAgent": AGENT}
    if draw(st.booleans()):
        identity |= {"apiKey": "key", "apiKeyId": "id"}
    resource = "/{proxy+}" if is_proxy else request.path
    context: dict[str, Any] = {
        "resourceId": "abc123",
        "resourcePath": resource,
        "httpMethod": request.method,
        "extendedRequestId": "RXhhbXBsZQ=",
        "requestTime": _clf(request.moment),
        "path": f"/{stage}{request.path}",
        "accountId": ACCOUNT,
        "protocol": "HTTP/1.1",
        "stage": stage,
        "domainPrefix": API,
        "requestTimeEpoch": request.moment,
        "requestId": request.id,
        "identity": identity,
        "domainName": host,
        "deploymentId": "def456",
        "apiId": API,
    }
    authorizer = draw(
        st.none()
        | st.builds(lambda user: {"principalId": user, "integrationLatency": 12}, st.just("user") | NAMES)
        | st.builds(lambda user: {"claims": {"sub": user, "token_use": "id"}}, UUIDS)
    )
    if authorizer is not None:
        context["authorizer"] = authorizer
    text = _text(request.body)
    is_binary = bool(request.body) and (text is None or draw(st.booleans()))
    return {
        "resource": resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _gathered(headers),
        "queryStringParameters": dict(pairs) or None,
        "multiValueQueryStringParameters": _gathered(pairs) or None,
        "pathParameters": {"proxy": request.path[1:]} if is_proxy else None,
        "stageVariables": draw(st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=3)),
        "requestContext": context,
        "body": b64encode(request.body).decode() if is_binary else text or None,
        "isBase64Encoded": is_binary,
    }


_IDENTITY = (
    "cognitoIdentityPoolId",
    "accountId",
    "cognitoIdentityId",
    "caller",
    "sourceIp",
    "principalOrgId",
    "accessKey",
    "cognitoAuthenticationType",
    "cognitoAuthenticationProvider",
    "userArn",
    "userAgent",
    "user",
)


@st.composite
def httpapi(draw: st.DrawFn) -> dict[str, Any]:
    """A request to an HTTP API [docs: "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway"; types].

    What the request lacks is missing. A stage that is not $default begins the path. Repeated headers and parameters are joined by commas;
    cookies are in a member of their own and not in the headers (hattipjs/hattip#159). Paths have nothing that must be encoded.
    """
    request = draw(_requests(encoded=False))
    stage = draw(st.just("$default") | NAMES)
    prefix = "" if stage == "$default" else f"/{stage}"
    is_proxy = request.path != "/" and draw(st.booleans())
    route = f"{draw(st.sampled_from(['ANY', request.method]))} /{{proxy+}}" if is_proxy else "$default"
    event = _payload_2(request._replace(path=prefix + request.path), f"{API}.execute-api.{request.place.domain}")
    event["headers"].pop("cookie", None)
    event["routeKey"] = route
    context = event["requestContext"]
    context |= {"accountId": ACCOUNT, "requestId": "RXhhbXBsZQ=", "routeKey": route, "stage": stage}
    authorizer = draw(
        st.none()
        | st.just({"jwt": {"claims": {"sub": "user"}, "scopes": None}})
        | st.just({"lambda": {"key": "value"}})
        | st.just({"iam": _IAM | {"cognitoIdentity": None, "principalOrgId": None}})
    )
    if authorizer is not None:
        context["authorizer"] = authorizer
    if is_proxy:
        event["pathParameters"] = {"proxy": request.path[1:]}
    if draw(st.booleans()):
        event["stageVariables"] = draw(st.dictionaries(NAMES, NAMES, min_size=1, max_size=3))
    return event


_IAM = {
    "accessKey": "ASIAIOSFODNN7EXAMPLE",
    "accountId": ACCOUNT,
    "callerId": "AIDACKCEVSQ6C2EXAMPLE",
    "userArn": f"arn:aws:iam::{ACCOUNT}:user/user",
    "userId": "AIDACKCEVSQ6C2EXAMPLE",
}


@st.composite
def functionurl(draw: st.DrawFn) -> dict[str, Any]:
    """A request to a function URL, as `shim serve` makes it [docs: "Invoking Lambda function URLs"; seen], with and without IAM."""
    request = draw(_requests(encoded=True))
    event = _payload_2(request, f"{URL}.lambda-url.{request.place.region}.on.aws")
    if draw(st.booleans()):
        event["requestContext"] |= {"accountId": ACCOUNT, "authorizer": {"iam": dict(_IAM)}}
    return event


@st.composite
def alb(draw: st.DrawFn) -> dict[str, Any]:
    """A request to an Application Load Balancer [docs: "Use Lambda functions as targets of an Application Load Balancer"; types].

    Nothing is null: a body that is missing is "". Names of headers are in lower case. Parameters are not decoded. A target group sends either
    the last value of each or, with multi-value headers, lists of all. Health checks have one header. Paths have nothing that must be encoded.
    """
    request = draw(_requests(encoded=False))
    is_check, is_multiple = draw(st.sampled_from([(False, False), (False, True), (True, False), (True, True)]))
    if is_check:
        request = request._replace(method="GET", query="", headers=[], cookies=[], body=b"")
    headers = [("user-agent", "ELB-HealthChecker/2.0")]
    if not is_check:
        host = f"balancer-123456789.{request.place.region}.elb.amazonaws.com"
        headers = [(name.lower(), value) for name, value in request.received(host)]
    pairs: list[tuple[str, str]] = [pair.partition("=")[::2] for pair in request.query.split("&") if pair]
    group = request.place.arn("elasticloadbalancing", "targetgroup/group/6d0ecf831eec9f09")
    event: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": request.method,
        "path": request.path,
    }
    if is_multiple:
        event |= {"multiValueQueryStringParameters": _gathered(pairs), "multiValueHeaders": _gathered(headers)}
    else:
        event |= {"queryStringParameters": dict(pairs), "headers": dict(headers)}
    kind, text = request.content_type, _text(request.body)
    is_text = (kind.startswith("text/") or kind in ALB_TEXTS or not request.body) and text is not None
    return event | {
        "body": text if is_text else b64encode(request.body).decode(),
        "isBase64Encoded": not is_text,
    }


def _payload_2(request: Request, host: str) -> dict[str, Any]:
    """The event in payload format 2.0: the rules are those of function URLs (`shim.local.function_url`)."""
    event: dict[str, Any] = json.loads(
        event_of(
            method=request.method,
            path=request.path,
            raw_query=request.query,
            headers=request.received(host),
            body=request.body,
            domain=host,
            source_ip=CLIENT,
            now=request.moment / 1000,
            request_id=request.id,
        )
    )
    return event


def _text(body: bytes) -> str | None:
    """The body as text, or None where it is none."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """All values of each name, in their order."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _clf(moment: int) -> str:
    """As in "12/Mar/2020:19:03:58 +0000"."""
    at = datetime.fromtimestamp(moment // 1000, UTC)
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{at.day:02}/{months[at.month - 1]}/{at.year:04}:{at:%H:%M:%S} +0000"
