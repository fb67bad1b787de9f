"""The handler under AWS's own runtime client, served by AWS's own emulator. After each failure the same environment serves on.

The environment is the same one as long as the child's `invocation_count` goes on: a handler that has died is started anew, and counts from 1.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shim.errors import MESSAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.conftest import Start
    from tests.real.rie import Rie

    AnswerWith = Callable[..., dict[str, str]]

MEBIBYTE = 1024 * 1024
LIMIT = 6 * MEBIBYTE + 100
"""What AWS's own emulator takes of an encoded result (MaxPayloadSize). One byte more is answered with 413, and ends the runtime client."""


def test_a_result_is_the_value_that_the_executable_wrote(rie: Rie, answer_with: AnswerWith) -> None:
    """Every kind of JSON value arrives as it was written, to the last digit and character."""
    written = '{"text": "aé😀\\u0001\u2028\x7f", "large": 123456789012345678901234567890, "small": 1.5e-07, "rest": [null, true, {}]}'

    assert json.loads(written) == rie.invoke(answer_with(written.encode())).value
    assert rie.count() == 2


def test_an_event_reaches_the_executable_as_the_caller_wrote_it(rie: Rie) -> None:
    """Every kind of JSON value goes into the line as it came, to the last digit and character."""
    event = {"do": "echo", "text": "aé😀\n\x7f\u2028", "large": 2**80, "small": 1.5e-7, "": [None, True, {}]}

    assert event == rie.invoke(event).value["event"]
    assert rie.count() == 2


def test_an_exit_code_is_a_typed_error(rie: Rie, answer_with: AnswerWith) -> None:
    """The caller gets ExitError, and a message with the code and what the executable complained of."""
    answer = rie.invoke(answer_with(b"", code=7, complaint=b"no such table: invoices\n"))

    assert answer.error_type == "ExitError"
    assert "obey ended with exit code 7" in answer.error_message
    assert answer.error_message.endswith("no such table: invoices")
    assert rie.count() == 2


def test_a_failure_that_the_executable_reports_has_its_own_name(rie: Rie, answer_with: AnswerWith) -> None:
    """What it names in errorType and errorMessage is what the caller sees."""
    answer = rie.invoke(answer_with(b'{"errorType":"CsvError","errorMessage":"bad"}', code=1))

    assert answer.error_type == "CsvError"
    assert answer.error_message == "bad"
    assert rie.count() == 2


def test_a_crash_is_an_error_that_names_the_signal(rie: Rie) -> None:
    """The caller gets SignalError, and the environment does not crash with the executable."""
    answer = rie.invoke({"do": "crash"})

    assert answer.error_type == "SignalError"
    assert "SIGSEGV" in answer.error_message
    assert rie.count() == 2


def test_six_megabytes_go_both_ways(rie: Rie) -> None:
    """An event of 6 MB comes back whole: nothing is cut on the way in or out."""
    event = {"do": "echo", "load": "0123456789" * 600_000}
    answer = rie.invoke(event)

    assert len(answer.body) > 6_000_000
    assert event == answer.value["event"]
    assert rie.count() == 2


def test_an_executable_that_does_not_read_its_six_megabytes_may_succeed(rie: Rie, answer_with: AnswerWith) -> None:
    """Its end and the broken pipe are seen at once, or one before the other: it is a success all the same."""
    event = {**answer_with(b'"enough"'), "load": "x" * 6_000_000}
    answers = {rie.invoke(event).body for _ in range(10)}

    assert answers == {b'"enough"'}
    assert rie.count() == 11


def test_a_result_of_just_lambdas_limit_arrives(rie: Rie, answer_with: AnswerWith) -> None:
    """The limit of 6 MiB + 100 B, of the result as the runtime client encodes it, may be used to the last byte."""
    answer = rie.invoke(answer_with(list_of(read=6 * MEBIBYTE, encoded=LIMIT)))

    assert answer.error_type is None
    assert len(answer.body) == LIMIT
    assert rie.count() == 2


def test_a_result_that_is_too_large_only_once_encoded_is_refused(rie: Rie, answer_with: AnswerWith) -> None:
    """One byte more than the limit would end the environment (413): the caller gets OutputTooLarge, with both numbers."""
    answer = rie.invoke(answer_with(list_of(read=6 * MEBIBYTE, encoded=LIMIT + 1)))

    assert answer.error_type == "OutputTooLarge"
    assert str(LIMIT) in answer.error_message
    assert str(LIMIT + 1) in answer.error_message
    assert rie.count() == 2


@pytest.mark.parametrize("letter", ["é", "😀", "\x7f"], ids=["accent", "emoji", "delete"])
def test_a_text_is_measured_as_the_runtime_client_encodes_it(rie: Rie, answer_with: AnswerWith, letter: str) -> None:
    """4 MB are more than Lambda takes where the client escapes each of their characters, and arrive where it does not."""
    text = letter * (4_000_000 // len(letter.encode()))
    answer = rie.invoke(answer_with(json.dumps(text, ensure_ascii=False).encode()))

    if rie.escapes:
        assert answer.error_type == "OutputTooLarge"
        assert str(len(json.dumps(text))) in answer.error_message
    else:
        assert json.dumps(text, ensure_ascii=False).encode() == answer.body
    assert rie.count() == 2


def test_more_output_than_may_be_read_is_refused(rie: Rie, answer_with: AnswerWith) -> None:
    """A byte more than max_output_bytes is OutputTooLarge, whatever the rest would have been."""
    answer = rie.invoke(answer_with(b" " * (6 * MEBIBYTE) + b"1"))

    assert answer.error_type == "OutputTooLarge"
    assert "max_output_bytes" in answer.error_message
    assert rie.count() == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b'{"half": "\\ud800"}', "a lone surrogate"),
        (b'"\\udc00"', "a lone surrogate"),
        (b'{"\\ud83d": 1}', "a lone surrogate"),
        (b"[NaN]", "NaN is no JSON value"),
        (b"[1e999]", "a number too large"),
        (b"[" + b"9" * 5000 + b"]", "more digits than Python takes"),
        (b'{"cut": ', "not one JSON value"),
        (b"{} {}", "not one JSON value"),
        (b'["\xff"]', "not UTF-8"),
        (b"\x00\xff", "not UTF-8"),
    ],
    ids=["surrogate", "low", "key", "nan", "infinity", "digits", "cut", "two", "latin", "binary"],
)
def test_a_reply_that_no_result_can_be_is_refused(rie: Rie, answer_with: AnswerWith, reply: bytes, reason: str) -> None:
    """The caller gets OutputInvalid with the reason, where the runtime client would send what is no JSON, or die of it."""
    answer = rie.invoke(answer_with(reply))

    assert answer.error_type == "OutputInvalid"
    assert reason in answer.error_message
    assert rie.count() == 2


NESTINGS = {"lists": ("[", "0", "]"), "objects": ('{"a": ', "0", "}"), "both": ('[{"a": ', "0", "}]")}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_a_nested_reply_arrives_whole_or_is_refused(rie: Rie, answer_with: AnswerWith, nesting: str) -> None:
    """At every depth the answer is the reply or OutputInvalid: the runtime client never finds out that it can't encode it (MarshalError)."""
    opening, kernel, closing = NESTINGS[nesting]
    asked: list[int] = []
    whole: set[int] = set()
    refused: set[int] = set()

    def ask(depth: int) -> None:
        reply = (opening * depth + kernel + closing * depth).encode()
        answer = rie.invoke(answer_with(reply))
        asked.append(depth)
        if answer.body == reply:
            whole.add(depth)
        else:
            assert answer.error_type == "OutputInvalid", (depth, answer)
            refused.add(depth)

    for levels in (*range(100, 1101, 25), 2_000, 4_000, 8_000, 16_000):  # Python 3.13 takes nearly 10,000
        ask(levels // len(closing))
    while min(refused) - max(whole) > 10:
        ask((min(refused) + max(whole)) // 2)
    for depth in range(max(whole) - 5, min(refused) + 5):  # here part what is taken and what can be sent
        ask(depth)

    assert max(whole) >= 250 // len(closing)
    assert max(whole) + 1 == min(refused)
    assert rie.count() == len(asked) + 1


def test_a_nested_event_reaches_the_executable_or_is_refused(rie: Rie) -> None:
    """At every depth the executable gets the whole event, or the caller an error that says so."""
    calls = 0
    for depth in range(100, 1101, 25):
        nest = "[" * depth + "]" * depth
        answer = rie.invoke(f'{{"do": "echo", "nest": {nest}}}'.encode())
        calls += 1
        if nest.encode() in answer.body:
            continue
        if answer.error_type == "Runtime.UnmarshalError":  # the client's own, before it calls the handler
            calls -= 1
        else:
            assert answer.error_type in {"EventInvalid", "OutputInvalid"}, (depth, answer)

    assert calls > 5
    assert rie.count() == calls + 1


@pytest.mark.parametrize("letter", ["x", "\x01", "\x7f", '"', "é", "😀"], ids=repr)
def test_a_huge_error_message_is_cut(rie: Rie, answer_with: AnswerWith, letter: str) -> None:
    """The runtime client sends the message in a header as well, which no server takes at any size: the caller gets its beginning."""
    message = "no " + letter * (6_000_000 // len(json.dumps(letter)))
    report = json.dumps({"errorType": "CsvError", "errorMessage": message})
    answer = rie.invoke(answer_with(report.encode(), code=1))

    assert answer.error_type == "CsvError"
    assert answer.error_message.startswith(message[: 3 if letter == DELETE else 1000])
    assert len(answer.error_message.encode()) <= MESSAGE_LIMIT
    assert rie.count() == 2


def test_standard_error_of_any_bytes_gets_into_an_error(rie: Rie, answer_with: AnswerWith) -> None:
    """The message ends with what the executable wrote, whatever it wrote: none of it breaks what the runtime client sends."""
    for number in range(256):
        answer = rie.invoke(answer_with(b"", code=7, complaint=b"no <%c>" % number))
        letter = bytes([number]).decode("utf-8", "replace")

        assert answer.error_type == "ExitError", (number, answer)
        assert ("no <" if letter == DELETE else f"no <{letter}>") in answer.error_message, (number, answer)
    assert rie.count() == 257


DELETE = "\x7f"
"""No HTTP header may hold it, and in UTF-8 the client does not escape it, so that something else must stand for it in a message."""


@pytest.mark.parametrize(
    "key",
    ["plain", r"\ud800", r"\u007f", r"\u0000", "é" * 2_500_000],
    ids=["plain", "surrogate", "delete", "nul", "huge"],
)
def test_an_event_that_no_line_can_hold_is_refused(rie: Rie, key: str) -> None:
    """A number that is infinite once read is EventInvalid with its place, whatever the keys on the way to it are."""
    answer = rie.invoke(f'{{"do": "echo", "{key}": 1e999}}'.encode())

    assert answer.error_type == "EventInvalid"
    assert len(answer.error_message.encode()) <= MESSAGE_LIMIT
    assert rie.count() == 2


@pytest.mark.parametrize("cwd", [".", "elsewhere"])
def test_the_executable_has_the_three_standard_descriptors_and_no_other(start: Start, folder: Path, cwd: str) -> None:
    """The runtime client's HTTP library leaves its connection to the Runtime API inheritable. In another folder, spawning is another's work."""
    (folder / "elsewhere").mkdir()
    rie = start({"SHIM_CWD": cwd})
    for _ in range(3):
        answer = rie.invoke({"do": "descriptors"})
        lines = [line.split() for line in answer.value.splitlines() if "->" in line]
        kept = {int(words[-3]): words[-1] for words in lines if not words[-1].startswith("/proc/")}  # its own look

        assert set(kept) == {0, 1, 2}
        assert all(target.startswith("pipe:") for target in kept.values())


def test_the_executable_can_not_take_over_the_functions_part(start: Start) -> None:
    """What would let it take events, or tell it how to run a handler, is in the handler's environment and not in its own."""
    rie = start({"AWS_LAMBDA_EXEC_WRAPPER": "/bin/false", "SHIM_STDERR_TAIL_BYTES": "100", "MINE": "kept"})
    told = rie.invoke({"do": "environment"}).value
    variables = dict(variable.split("=", 1) for variable in told.split("\0") if variable)
    handlers = Path(f"/proc/{rie.client()}/environ").read_bytes().split(b"\0")
    secret = {
        "AWS_LAMBDA_RUNTIME_API",
        "_HANDLER",
        "AWS_LAMBDA_EXEC_WRAPPER",
        "SHIM_EXECUTABLE",
        "SHIM_STDERR_TAIL_BYTES",
    }

    assert secret <= {variable.partition(b"=")[0].decode() for variable in handlers}
    assert secret & variables.keys() == set()
    assert {name for name in variables if name.startswith("SHIM_")} == {"SHIM_CHILD"}
    assert variables["MINE"] == "kept"
    assert variables["PATH"].startswith(f"{variables['LAMBDA_TASK_ROOT']}/bin:{variables['LAMBDA_TASK_ROOT']}:")


def test_the_executable_is_told_all_of_the_context(start: Start) -> None:
    """What Lambda tells about an invocation is in the line, by the names of the Python context object."""
    rie = start()
    client = {name: name.upper() for name in CLIENT_FIELDS}
    sent: dict[str, Any] = {
        "client": client,
        "custom": {"a": "é"},
        "env": {"locale": "de"},
        "w3c": {"traceparent": "00-1"},
    }
    headers = {
        "X_Amz_Client_Context": b64encode(json.dumps(sent).encode()).decode(),
        "X_Amz_Tenant_Id": "a-tenant",
        "X_Amz_Cognito_Identity": json.dumps({"cognitoIdentityId": "an-identity", "cognitoIdentityPoolId": "a-pool"}),
    }
    context = rie.invoke({"do": "echo"}, **headers).value["context"]

    assert context["client_context"] == {"client": client, "custom": {"a": "é"}, "env": {"locale": "de"}}
    assert context["w3c"] == {"traceparent": "00-1"}
    assert context["tenant_id"] == "a-tenant"
    assert context["function_name"] == "real"
    assert context["memory_limit_in_mb"] == "128"
    assert context["identity"] == {"cognito_identity_id": "an-identity", "cognito_identity_pool_id": "a-pool"}
    assert (context["cold_start"], context["invocation_count"]) == (True, 1)

    context = rie.invoke({"do": "echo"}).value["context"]

    assert (context["client_context"], context["identity"], context["tenant_id"]) == (None, None, None)
    assert (context["cold_start"], context["invocation_count"]) == (False, 2)


CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


@pytest.mark.parametrize(
    ("variables", "error", "word"),
    [
        ({"SHIM_MARGIN_MS": "soon", "SHIM_MODE": "cold"}, "SettingsError", "SHIM_MARGIN_MS must be a whole number"),
        ({"SHIM_EXECUTABLE": "bin/nothing"}, "ExecutableNotFound", "bin/nothing was not found"),
        ({"SHIM_EXECUTABLE": "plain"}, "ExecutableNotRunnable", "is not executable"),
    ],
    ids=["settings", "missing", "mode"],
)
def test_a_function_that_can_not_work_says_so_at_init(
    start: Start, folder: Path, variables: dict[str, str], error: str, word: str
) -> None:
    """The init error has the name and the sentence of the mistake, and is not HandlerNotFound."""
    (folder / "plain").touch(0o644)
    answer = start(variables).invoke({"do": "echo"})

    assert error == answer.error_type
    assert word in answer.error_message


def list_of(*, read: int, encoded: int) -> bytes:
    """A JSON list of `read` bytes that a runtime client encodes to `encoded`: it writes a blank after each comma."""
    commas = encoded - read
    return b'["%s"%s]' % (b"a" * (read - 4 - 2 * commas), b",1" * commas)
