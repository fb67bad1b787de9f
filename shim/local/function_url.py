"""Lambda function URLs: an HTTP request as an event, and a function's result as an HTTP response, in payload format 2.0. Pure.

Sources, by which each rule is marked:
- [docs] https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html, and the format that it refers to:
  https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html;
- [seen] on AWS: LocalStack's tests that were run against it in November 2025 (tests/aws/services/lambda_/test_lambda.py, TestLambdaURL);
- [types] which bodies were text on AWS: ministackorg/ministack#766, floci-io/floci#2172, LeanerCloud/CUDly#1483;
- [ours] where none says anything. There, what might not work on AWS does not work here: 502 rather than a guess.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from shim.codecs.line import loads
from shim.codecs.stream import is_header_name, is_header_value
from shim.request import DELIMITER, head_of as head_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

JSON = "application/json"
BYTES = "application/octet-stream"

HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
)
"""Headers that belong to a connection (RFC 9110, 7.6.1): an event does not have them [seen], and a response has the server's."""
TEXTS = frozenset(["application/json", "application/xml", "application/javascript", "application/graphql"])
"""What is text besides text/* [types]. Everything else is base64: forms as well, and requests that do not say what they send. Whether
+json and +xml are was not seen; a program that heeds isBase64Encoded, as base64 makes it, is right on AWS either way."""
BODILESS = (204, 304)
"""The statuses whose responses have no body (RFC 9110, 15.3.5 and 15.4.5)."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response, to be framed by the server: it has neither Content-Length nor Transfer-Encoding."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case, values in latin-1."""
    body: bytes
    problem: str = ""
    """Why the status is 502, for the one who wrote the function: AWS does not tell, and a client is not told."""


class _Malformed(ValueError):
    """A result that is no response."""


def event_of(  # noqa: PLR0913 - a request has so many parts
    *,
    method: str,
    path: str,
    raw_query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    domain: str,
    source_ip: str,
    now: float,
    request_id: str,
) -> bytes:
    """The event of a request, as JSON. What a request lacks, the event lacks [seen]: cookies, queryStringParameters, body; and with
    authorization NONE authentication and authorizer, which are null in [docs].

    Args:
        method: of the request line.
        path: of the request line, still percent-encoded. So it is in rawPath (middleapi/standard-server#93); http.path is decoded [seen].
        raw_query: what follows the question mark.
        headers: as received, and what Lambda's own front adds, such as x-forwarded-for.
        body: whole, and not chunked any more.
        domain: without a port; its first label is the id of the URL.
        source_ip: of the client's end of the connection.
        now: seconds since the epoch.
        request_id: of the invocation.
    """
    fields = _joined(headers)
    event: dict[str, Any] = {"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": raw_query}
    cookies = [cookie.strip() for cookie in fields.get("cookie", "").split(";") if cookie.strip()]
    if cookies:
        event["cookies"] = cookies
    event["headers"] = fields
    if parameters := _gathered(parse_qsl(raw_query, keep_blank_values=True)):
        event["queryStringParameters"] = parameters
    url_id = domain.partition(".")[0]
    event["requestContext"] = {
        "accountId": "anonymous",
        "apiId": url_id,
        "domainName": domain,
        "domainPrefix": url_id,
        "http": {
            "method": method,
            "path": unquote(path),
            "protocol": "HTTP/1.1",
            "sourceIp": source_ip,
            "userAgent": fields.get("user-agent", ""),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": _time(now),
        "timeEpoch": int(now * 1000),
    }
    text = _as_text(body, fields.get("content-type", ""))
    if body:
        event["body"] = b64encode(body).decode() if text is None else text
    event["isBase64Encoded"] = text is None
    return _dumps(event)


def answer_of(result: bytes) -> HttpAnswer:
    """The response that a function's result is. An object with a statusCode says what it is; any other JSON is the body of a 200 [docs],
    a text without its quotes [seen; in docs with them]; what can't be mapped is a 502.
    """
    try:
        value = loads(result)
        if isinstance(value, dict) and "statusCode" in value:
            return _mapped(value)
    except ValueError as error:
        return error_answer(f"the result is no response: {error}")
    return HttpAnswer(200, [("content-type", JSON)], value.encode() if isinstance(value, str) else result)


def error_answer(problem: str = "") -> HttpAnswer:
    """The response to a function error, as a timeout is one, and to a result that is no response [seen: status and body]. Its content
    type was not seen; it is what all other responses have that do not name theirs.
    """
    return HttpAnswer(502, [("content-type", JSON)], b"Internal Server Error", problem)


def split_prelude(data: bytes | bytearray) -> tuple[dict[str, Any], bytes] | None:
    """The prelude of a streamed response, and what came of its body; or None when more of it must come first.

    Raises:
        ValueError: it is no prelude.
    """
    head = head_in(data)
    if head is None:
        return None
    prelude = loads(head)
    if not isinstance(prelude, dict):
        raise ValueError("the prelude is no JSON object")  # noqa: TRY004 - of what was received, not of an argument
    return prelude, bytes(data[len(head) + len(DELIMITER) :])


def head_of(prelude: Mapping[str, Any] | None = None) -> HttpAnswer:
    """The head of a streamed response: what its prelude says, else 200 and bytes of no known type (ministackorg/ministack, lambda_svc.py)."""
    try:
        return _mapped({"statusCode": 200, **(prelude or {}), "body": None, "isBase64Encoded": False}, default=BYTES)
    except ValueError as error:
        return error_answer(f"the prelude is no head of a response: {error}")


def _mapped(fields: Mapping[str, Any], default: str = JSON) -> HttpAnswer:
    """The response that the object describes [docs]; raises _Malformed."""
    status = _status(fields["statusCode"])
    headers = {"content-type": default, **_headers(fields.get("headers"))}
    cookies = [("set-cookie", _value("a cookie", cookie)) for cookie in _list("cookies", fields.get("cookies"))]
    body = _body(fields.get("body"), encoded=fields.get("isBase64Encoded"))
    return HttpAnswer(status, [*headers.items(), *cookies], b"" if status in BODILESS else body)


def _status(code: object) -> int:
    """The status, which may be a text of digits [seen]. A response of 1xx is not the last one (RFC 9110, 15.2)."""
    if isinstance(code, str) and re.fullmatch("[0-9]{3}", code):
        code = int(code)
    if type(code) is not int or not 200 <= code <= 599:
        raise _Malformed(f"statusCode is {_excerpt(code)}, no integer from 200 to 599")
    return code


def _headers(headers: object) -> dict[str, str]:
    """The headers, save those that are the server's. Of names that are the same but for their case the last is taken."""
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise _Malformed(f"headers is {_excerpt(headers)}, no object")
    taken = {}
    for name, value in headers.items():
        if not is_header_name(name):
            raise _Malformed(f"headers has {_excerpt(name)}, which is no name of a header")
        if name.lower() not in HOP_BY_HOP and name.lower() != "content-length":
            taken[name.lower()] = _value(f"the header {name}", value)
    return taken


def _value(what: str, value: object) -> str:
    """A header's value, as HTTP can carry it (RFC 9110, 5.5). A number and a boolean are spelled as in JSON [ours]."""
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if not isinstance(value, str):
        raise _Malformed(f"{what} is {_excerpt(value)}, no text")
    if not is_header_value(value):
        raise _Malformed(f"{what} is {_excerpt(value)}, with a character that a header can't have")
    return value.strip(" \t")


def _list(name: str, value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Malformed(f"{name} is {_excerpt(value)}, no list")
    return value


def _body(body: object, *, encoded: object) -> bytes:
    """The body: a text, or the JSON of any other value [seen for an object]; none where it is null or missing [ours]."""
    if encoded is not None and not isinstance(encoded, bool):
        raise _Malformed(f"isBase64Encoded is {_excerpt(encoded)}, no boolean")
    if body is None:
        return b""
    if not encoded:
        return body.encode() if isinstance(body, str) else _dumps(body)
    if not isinstance(body, str):
        raise _Malformed(f"body is {_excerpt(body)}, which can't be base64")
    try:
        return b64decode(body, validate=True)
    except ValueError as error:
        raise _Malformed(f"body is no base64: {error}") from None


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each header once, in lower case. Repeated ones are joined with commas [docs], but cookies as RFC 9113, 8.2.3 has it: a comma may
    be part of one. The header `cookie` stays beside the event's cookies (aws/aws-lambda-rust-runtime#586).
    """
    joined: dict[str, str] = {}
    for name, value in headers:
        field = name.lower()
        if field not in HOP_BY_HOP:
            joined[field] = f"{joined[field]}{'; ' if field == 'cookie' else ','}{value}" if field in joined else value
    return joined


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each parameter once, its values joined with commas [docs]."""
    gathered: dict[str, str] = {}
    for name, value in pairs:
        gathered[name] = f"{gathered[name]},{value}" if name in gathered else value
    return gathered


def _as_text(body: bytes, content_type: str) -> str | None:
    """The body as text, or None where it is to be base64: for its type, for a charset that is not UTF-8 [types], or for bytes that are not."""
    kind, _, parameters = content_type.lower().partition(";")
    charset = re.search(r'(?:^|;)\s*charset\s*=\s*"?([^\s";]*)', parameters)
    if not body:
        return ""
    if not kind.startswith("text/") and kind.strip() not in TEXTS:
        return None
    if charset is not None and charset[1] not in ("utf-8", "utf8"):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _time(now: float) -> str:
    """As in "12/Mar/2020:19:03:58 +0000", whatever the locale is."""
    at = datetime.fromtimestamp(int(now * 1000) // 1000, UTC)
    return f"{at.day:02}/{MONTHS[at.month - 1]}/{at.year:04}:{at:%H:%M:%S} +0000"


def _dumps(value: object) -> bytes:
    """The value as JSON in UTF-8, every digit kept. Half a character, which UTF-8 does not have, becomes a question mark."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    except RecursionError:
        raise _Malformed("nested too deep") from None


def _excerpt(value: object) -> str:
    """The value, as far as a sentence bears it."""
    said = ascii(value)
    return said if len(said) <= 80 else f"{said[:77]}..."
