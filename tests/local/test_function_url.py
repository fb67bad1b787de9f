"""Function URLs: requests as events, results as responses."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, strategies as st

from shim.local.function_url import (
    HttpAnswer,
    answer_of,
    error_answer,
    event_of,
    head_of,
    split_prelude,
)
from shim.request import DELIMITER, LONGEST_HEAD
from shim.testing import strategies

FAILED = (502, [("content-type", "application/json")], b"Internal Server Error")
ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates and NUL as well
JSON_VALUES = strategies.json_values(max_leaves=9)
FIELDS = st.sampled_from(["statusCode", "headers", "cookies", "body", "isBase64Encoded"])


def event(*, headers: list[tuple[str, str]] | None = None, body: bytes = b"", **parts: Any) -> dict[str, Any]:
    """The event of a request that is this one where nothing else is said."""
    request: dict[str, Any] = {
        "method": "POST",
        "path": "/my/path",
        "raw_query": "",
        "domain": "abc123.lambda-url.us-west-2.on.aws",
        "source_ip": "123.123.123.123",
        "now": 1583348638.39,
        "request_id": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
    }
    event: dict[str, Any] = orjson.loads(event_of(headers=headers or [], body=body, **(request | parts)))
    return event


def parts(answer: HttpAnswer) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, answer.headers, answer.body


def mapped(**fields: Any) -> HttpAnswer:
    return answer_of(json.dumps({"statusCode": 200, **fields}).encode())


def sendable(answer: HttpAnswer) -> bool:
    """Whether a server can send it."""
    for name, value in answer.headers:
        assert name == name.lower()
        assert not {"\r", "\n", "\0"} & set(name + value)
        assert (name + value).encode("latin-1")
    return 200 <= answer.status <= 599 and bool(answer.problem) == (answer.status == 502 and parts(answer) == FAILED)


def test_the_event_is_the_one_of_the_documentation() -> None:
    """Save what function URLs without authorization leave out, as seen on AWS."""
    headers = [("Header1", "value1"), ("Header2", "value1"), ("header2", "value2")]
    headers += [("Cookie", "cookie1; cookie2"), ("User-Agent", "agent"), ("Content-Type", "text/plain")]

    assert event(
        raw_query="parameter1=value1&parameter1=value2&parameter2=value",
        headers=headers,
        body=b"Hello from client!",
    ) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path",
        "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
        "cookies": ["cookie1", "cookie2"],
        "headers": {
            "header1": "value1",
            "header2": "value1,value2",
            "cookie": "cookie1; cookie2",
            "user-agent": "agent",
            "content-type": "text/plain",
        },
        "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc123",
            "domainName": "abc123.lambda-url.us-west-2.on.aws",
            "domainPrefix": "abc123",
            "http": {
                "method": "POST",
                "path": "/my/path",
                "protocol": "HTTP/1.1",
                "sourceIp": "123.123.123.123",
                "userAgent": "agent",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "body": "Hello from client!",
        "isBase64Encoded": False,
    }


def test_what_a_request_lacks_the_event_lacks() -> None:
    made = event()

    assert not {"cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"} & set(made)
    assert made["isBase64Encoded"] is False
    assert made["headers"] == {}
    assert made["requestContext"]["http"]["userAgent"] == ""
    assert not {"authentication", "authorizer"} & set(made["requestContext"])


def test_the_raw_path_stays_encoded_and_the_other_is_decoded() -> None:
    """So it was seen on AWS, with this path and this query."""
    made = event(path="/pa2%25Fth/1", raw_query="q=query&multiQuery=foo&multiQuery=%2Fbar&flag&plus=a+b")

    assert made["rawPath"] == "/pa2%25Fth/1"
    assert made["requestContext"]["http"]["path"] == "/pa2%Fth/1"
    assert made["queryStringParameters"] == {"q": "query", "multiQuery": "foo,/bar", "flag": "", "plus": "a b"}


def test_cookies_of_several_headers_are_in_one_list_and_in_one_header() -> None:
    made = event(
        headers=[("cookie", "a=1,2; b=2 ;"), ("Cookie", "c=3"), ("Connection", "keep-alive"), ("TE", "trailers")]
    )

    assert made["cookies"] == ["a=1,2", "b=2", "c=3"]
    assert made["headers"] == {"cookie": "a=1,2; b=2 ;; c=3"}


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", True),
        ("text/html; charset=utf-8", True),
        ("TEXT/PLAIN; CHARSET=UTF-8", True),
        ('text/csv; header=present; charset="utf-8"', True),
        ("application/json", True),
        ("application/json ;charset=utf8", True),
        ("application/xml", True),
        ("application/javascript", True),
        ("application/graphql", True),
        ("text/plain; charset=iso-8859-1", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("application/problem+json", False),
        ("application/octet-stream", False),
        ("image/svg+xml", False),
        ("application/jsonp", False),
        ("", False),
    ],
)
def test_what_is_text_is_what_was_text_on_aws(content_type: str, text: bool) -> None:
    made = event(headers=[("Content-Type", content_type)] if content_type else [], body='{"é": 1}'.encode())

    assert made["isBase64Encoded"] is not text
    assert made["body"] == ('{"é": 1}' if text else "eyLDqSI6IDF9")


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["text/plain", "application/json", "image/png", ""]))
@example(b"\xff", "text/plain")
@example(b"\xed\xa0\x80", "application/json")
@example(b"\xef\xbb\xbf\0\x7f\r\n", "text/plain")
def test_every_body_can_be_had_back_byte_by_byte(body: bytes, content_type: str) -> None:
    made = event(headers=[("content-type", content_type)], body=body)

    assert (base64.b64decode(made["body"]) if made["isBase64Encoded"] else made["body"].encode()) == body


@given(
    ANY_TEXT,
    ANY_TEXT | st.text("a=&%+;20F", max_size=20),
    st.lists(st.tuples(ANY_TEXT | st.sampled_from(["Cookie", "Content-Type"]), ANY_TEXT), max_size=6),
    st.binary(max_size=40),
    st.floats(0, 4e9),
)
@example("%ff/\udcff", "%ff=%00&=&&a", [("\udcff", "\udcff")], b"", 0.0)
def test_every_request_is_an_event_that_is_json(
    path: str, raw_query: str, headers: list[tuple[str, str]], body: bytes, now: float
) -> None:
    made = event(path=path, raw_query=raw_query, headers=headers, body=body, now=now)

    assert ("body" in made) == bool(body)
    assert len(made["requestContext"]["time"]) == 26


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        (b'{\n  "message": "Hello, world!"\n}', 200, [], b'{\n  "message": "Hello, world!"\n}'),
        (b'["hello",3,true]', 200, [], b'["hello",3,true]'),
        (b'"hello"', 200, [], b"hello"),
        (b'"\\u00e9"', 200, [], "é".encode()),
        (b"3", 200, [], b"3"),
        (b"3.1", 200, [], b"3.1"),
        (b"true", 200, [], b"true"),
        (b"null", 200, [], b"null"),
        (b'{"headers":{"a":"b"},"body":"c"}', 200, [], b'{"headers":{"a":"b"},"body":"c"}'),
        (b'{"statusCode":200,"body":"body123"}', 200, [], b"body123"),
        (b'{"statusCode":"418","body":"i\'m a teapot"}', 418, [], b"i'm a teapot"),
        (b'{"statusCode":200,"body":{"a":[1,12345678901234567890123]}}', 200, [], b'{"a":[1,12345678901234567890123]}'),
        (b'{"statusCode":201}', 201, [], b""),
        (b'{"statusCode":200,"headers":null,"cookies":null,"body":null,"isBase64Encoded":null}', 200, [], b""),
        (b'{"statusCode":200,"body":"AP8=","isBase64Encoded":true}', 200, [], b"\0\xff"),
        (b'{"statusCode":204,"body":"no"}', 204, [], b""),
        (b'{"statusCode":302,"headers":{"Location":"/x"}}', 302, [("location", "/x")], b""),
    ],
)
def test_results_are_the_responses_seen_on_aws(
    result: bytes, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert answer_of(result) == HttpAnswer(status, [("content-type", "application/json"), *headers], body)


def test_the_response_with_cookies_is_the_one_of_the_documentation() -> None:
    answer = mapped(
        statusCode=201,
        headers={"Content-Type": "text/json", "My-Custom-Header": "Custom Value"},
        body='{ "message": "Hello, world!" }',
        cookies=["Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Cookie_2=Value2; Max-Age=78000"],
        isBase64Encoded=False,
    )

    assert parts(answer) == (
        201,
        [
            ("content-type", "text/json"),
            ("my-custom-header", "Custom Value"),
            ("set-cookie", "Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT"),
            ("set-cookie", "Cookie_2=Value2; Max-Age=78000"),
        ],
        b'{ "message": "Hello, world!" }',
    )


def test_headers_that_are_the_servers_are_left_out_and_the_last_of_two_is_taken() -> None:
    headers = {"Content-Length": "9", "Transfer-Encoding": "chunked", "Connection": "close", "X": "1", "x": " 2\t"}

    assert mapped(headers=headers | {"Y": True, "Z": 1.5}).headers == [
        ("content-type", "application/json"),
        ("x", "2"),
        ("y", "true"),
        ("z", "1.5"),
    ]


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (b"", "not one JSON value"),
        (b"<html>", "not one JSON value"),
        (b'{"a": NaN}', "NaN is no JSON value"),
        (b"\xff", "not UTF-8"),
        (b'"\\ud800"', "a lone surrogate"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"statusCode":null}', "statusCode is None, no integer from 200 to 599"),
        (b'{"statusCode":true}', "statusCode is True"),
        (b'{"statusCode":200.0}', "statusCode is 200.0"),
        (b'{"statusCode":"OK"}', "statusCode is 'OK'"),
        (b'{"statusCode":"0200"}', "statusCode is '0200'"),
        ('{"statusCode":"\uff12\uff10\uff10"}'.encode(), "statusCode is '\\uff12"),
        (b'{"statusCode":101}', "statusCode is 101"),
        (b'{"statusCode":600}', "statusCode is 600"),
        (b'{"statusCode":200,"headers":[]}', "headers is [], no object"),
        (b'{"statusCode":200,"headers":{"a b":"c"}}', "'a b', which is no name of a header"),
        (b'{"statusCode":200,"headers":{"":"c"}}', "'', which is no name"),
        (b'{"statusCode":200,"headers":{"a\\n":"c"}}', "'a\\n', which is no name"),
        (b'{"statusCode":200,"headers":{"a":"b\\r\\nc: d"}}', "the header a is 'b\\r\\nc: d', with a character"),
        (b'{"statusCode":200,"headers":{"a":"b\\n"}}', "the header a is 'b\\n', with a character"),
        ('{"statusCode":200,"headers":{"a":"€"}}'.encode(), "with a character"),
        (b'{"statusCode":200,"headers":{"a":["b"]}}', "the header a is ['b'], no text"),
        (b'{"statusCode":200,"headers":{"a":null}}', "the header a is None, no text"),
        (b'{"statusCode":200,"cookies":"a=1"}', "cookies is 'a=1', no list"),
        (b'{"statusCode":200,"cookies":[{}]}', "a cookie is {}, no text"),
        (b'{"statusCode":200,"cookies":["a\\u0000"]}', "a cookie is 'a\\x00', with a character"),
        (b'{"statusCode":200,"body":"a","isBase64Encoded":true}', "body is no base64"),
        (b'{"statusCode":200,"body":"YQ==\\n","isBase64Encoded":true}', "body is no base64"),
        ('{"statusCode":200,"body":"é","isBase64Encoded":true}'.encode(), "body is no base64"),
        (b'{"statusCode":200,"body":{},"isBase64Encoded":true}', "body is {}, which can't be base64"),
        (b'{"statusCode":200,"isBase64Encoded":"true"}', "isBase64Encoded is 'true', no boolean"),
        (b'{"statusCode":200,"isBase64Encoded":1}', "isBase64Encoded is 1, no boolean"),
        (b'{"statusCode":"' + b"x" * 999 + b'"}', "xxx..., no integer"),
    ],
)
def test_what_is_no_response_is_a_502_that_says_why_to_us_alone(result: bytes, problem: str) -> None:
    answer = answer_of(result)

    assert parts(answer) == FAILED
    assert answer.problem.startswith("the result is no response: ")
    assert problem in answer.problem
    assert len(answer.problem) < 250


def test_a_function_error_is_a_502() -> None:
    assert error_answer() == HttpAnswer(*FAILED)


@given(st.binary(max_size=60))
@example(b'{"statusCode":200,"body":' + b"[" * 1020 + b"]" * 1020 + b"}")
@example(b'{"statusCode":200,"body":' + b"[" * 5000 + b"]" * 5000 + b"}")
def test_any_bytes_give_a_response_that_can_be_sent(result: bytes) -> None:
    assert sendable(answer_of(result))


@given(st.dictionaries(FIELDS, JSON_VALUES | st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3) | st.lists(ANY_TEXT)))
def test_any_fields_give_a_response_that_can_be_sent(fields: dict[str, Any]) -> None:
    assert sendable(mapped(**fields))
    assert sendable(head_of(fields))


@given(st.binary(max_size=80))
def test_every_body_in_base64_is_sent_byte_by_byte(body: bytes) -> None:
    assert mapped(body=base64.b64encode(body).decode(), isBase64Encoded=True).body == body


@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.lists(st.integers()) | st.text(max_size=9), max_size=3),
    st.binary(max_size=20),
)
def test_a_prelude_is_waited_for_byte_by_byte_and_then_split_from_the_body(
    prelude: dict[str, Any], body: bytes
) -> None:
    head = json.dumps(prelude, ensure_ascii=False).encode()
    sent = head + DELIMITER + body
    complete = len(head) + len(DELIMITER)

    assert [split_prelude(sent[:size]) for size in range(complete)] == [None] * complete
    for size in range(complete, len(sent) + 1):
        assert split_prelude(bytearray(sent[:size])) == (json.loads(head), body[: size - complete])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{}\0\0body", "its head has a NUL at byte 2 that is not one of the 8 after it"),
        (b"{}" + bytes(7) + b"b", "a NUL at byte 2"),
        (bytes(8), "not one JSON value"),
        (b"[]" + bytes(8), "the prelude is no JSON object"),
        (b"{" + bytes(8), "not one JSON value"),
        (b"x" * (LONGEST_HEAD + 1), "no end of its head in the first 262144 bytes"),
    ],
)
def test_what_is_no_prelude_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        split_prelude(data)


@given(st.binary(max_size=40) | st.lists(st.sampled_from([b"{", b"}", b"\0", bytes(8), b'"a"', b":1"])).map(b"".join))
def test_any_bytes_are_a_prelude_or_the_beginning_of_one_or_refused(data: bytes) -> None:
    try:
        split = split_prelude(data)
    except ValueError:
        return

    assert split is None or data.endswith(DELIMITER + split[1])


def test_the_head_of_a_stream_is_its_preludes_or_that_of_mere_bytes() -> None:
    prelude = {
        "statusCode": 201,
        "headers": {"Content-Type": "text/html"},
        "cookies": ["a=1"],
        "body": "not a part of it",
    }

    assert parts(head_of(prelude)) == (201, [("content-type", "text/html"), ("set-cookie", "a=1")], b"")
    assert parts(head_of({})) == parts(head_of()) == (200, [("content-type", "application/octet-stream")], b"")
    assert parts(head_of({"statusCode": "no"})) == FAILED
    assert head_of({"statusCode": "no"}).problem.startswith("the prelude is no head of a response: statusCode is 'no'")
