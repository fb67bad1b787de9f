"""Whole programs, as people would write or wrap them, under AWS's own runtime client: alone on a Runtime API, and in AWS's emulator."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote_plus

import pytest

import shim
from shim import Shim
from tests.conftest import FIXTURES
from tests.real import components
from tests.real.programs import PROGRAMS, compile_c_count, compile_haskell_csv, dependencies, without
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.real.conftest import Start

    Invoke = Callable[[object], Any]

BUCKET = "amzn-s3-demo-bucket"
"""The bucket that the event in fixtures names."""

HEADER = "name,quantity,price\n"


class Serve(Protocol):
    """Serves a function."""

    def __call__(self, program: Path, variables: Mapping[str, str] = {}, *, under: Sequence[str] = ()) -> Invoke:
        """With that program in its `bin` and these variables, under that command. What invokes it gives the value that the caller gets."""


@pytest.fixture(params=["awslambdaric", "rie"])
def serve(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Serve]:
    """Serves a function in either of the two, until the test's end. An error is posted as one, and nothing else is."""
    in_emulator: Start | None = request.getfixturevalue("start") if request.param == "rie" else None
    (folder / "bin").mkdir()
    with ExitStack() as until_the_end:

        def begin(program: Path, variables: Mapping[str, str] = {}, *, under: Sequence[str] = ()) -> Invoke:
            (folder / "bin" / program.name).symlink_to(program)
            all_variables = {"SHIM_EXECUTABLE": f"bin/{program.name}", **variables}
            if in_emulator is not None:
                rie = in_emulator(all_variables, under=under)
                return lambda event: rie.invoke(event).value
            api = until_the_end.enter_context(RuntimeApi())
            session = Session(
                [*under, *components.awslambdaric(), "shim.handler"],
                environment=function_environment(folder) | all_variables | {"AWS_LAMBDA_RUNTIME_API": api.address},
                folder=folder,
                log=tmp_path / "log",
            )
            until_the_end.callback(session.end)

            def invoke(event: object) -> Any:
                kind, body = api.invoke(json.dumps(event).encode())
                value = json.loads(body)
                assert (kind == "error") == (isinstance(value, dict) and "errorType" in value)
                return value

            return invoke

        yield begin


@pytest.fixture(scope="session")
def haskell_csv() -> Path:
    """The compiled program that sums up the orders in a CSV file."""
    return compile_haskell_csv()


@pytest.fixture(scope="session")
def c_count(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program that measures its line."""
    return compile_c_count(compiler, tmp_path_factory.mktemp("c-count"))


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str | bytes], dict[str, Any]]:
    """Puts an object of that key into the bucket, and gives the event by which S3 tells of it."""

    def put_object(key: str, content: str | bytes) -> dict[str, Any]:
        path = tmp_path / "buckets" / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return s3_put(quote_plus(key, safe="/"))

    return put_object


def s3_put(key: str | None = None) -> dict[str, Any]:
    """The event in fixtures; or the same of an object with that key, as it is encoded in events."""
    event: dict[str, Any] = json.loads((FIXTURES / "events" / "s3-put.json").read_text())
    if key is not None:
        event["Records"][0]["s3"]["object"]["key"] = key
    return event


def test_a_haskell_program_gives_a_good_a_bad_and_a_missing_object_their_own_answers(
    haskell_csv: Path, serve: Serve, put: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """It reads the event with aeson, finds the object by its decoded key, whatever the locale, and answers with JSON or with a named error."""
    invoke = serve(haskell_csv, {"BUCKETS": str(tmp_path / "buckets"), "LC_ALL": "C", "SHIM_OUTPUT": "json"})
    put("orders/2026/Happy Face.csv", HEADER + "tea,2,3.50\ncups,4,1.2\n")
    odd = put("Größe 1+1 😀.csv", '\ufeff"name",quantity,price\r\n"a ""cup"",\r\nlarge",12345678901234567890,0.01')
    bad = put("bad.csv", HEADER + '"two\nlines",1,2.00\ntea,many,3.50\n')
    missing = s3_put("orders/none.csv")
    answers = [invoke(event) for event in (s3_put(), odd, bad, missing)]

    assert answers[0] == summary("orders/2026/Happy Face.csv", rows=2, quantity=6, total="11.80")
    assert answers[1] == summary(
        "Größe 1+1 😀.csv", rows=1, quantity=12345678901234567890, total="123456789012345678.90"
    )
    assert error(answers[2]) == (
        "CsvInvalid",
        f"s3://{BUCKET}/bad.csv, line 4: the quantity is no whole number: many",
    )
    assert error(answers[3]) == ("ObjectMissing", f"there is no s3://{BUCKET}/orders/none.csv")
    assert invoke(s3_put()) == answers[0]


def test_a_haskell_program_without_libgmp_says_which_library_is_missing(
    haskell_csv: Path, serve: Serve, tmp_path: Path
) -> None:
    """On a machine that has no libgmp the caller is told its name, and not only an exit code."""
    machine = without("libgmp.so.10", haskell_csv, tmp_path)
    invoke = serve(haskell_csv, {"BUCKETS": str(tmp_path)}, under=machine)

    assert "libgmp.so.10 => not found" in dependencies(haskell_csv, under=machine)
    for _ in range(2):
        error_type, message = error(invoke(s3_put()))

        assert error_type == "ExecutableNotRunnable"
        assert "libgmp.so.10" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the header is not name,quantity,price"),
        (HEADER + "tea,1\n", "line 2: the number of its fields is 2, not 3"),
        (HEADER + "tea,1,2\n\n", "line 3: the number of its fields is 1, not 3"),
        (HEADER + ",1,2\n", "line 2: the name is empty"),
        (HEADER + "tea,-1,2\n", "line 2: the quantity is no whole number: -1"),
        (HEADER + "tea,1,2.555\n", "line 2: the price is no number with at most two decimals: 2.555"),
        (HEADER + 'tea,1,2\n"tea', "line 3: unexpected end of file, expecting a closing quote"),
        (HEADER + '"tea"s,1,2\n', "line 2: unexpected 's', expecting \",\" or end of line"),
        (HEADER.encode() + b"tea,1,2\n\xff,1,2\n", "line 3: it is not UTF-8"),
    ],
)
def test_the_haskell_program_names_the_line_of_a_mistake(
    haskell_csv: Path, put: Callable[..., dict[str, Any]], tmp_path: Path, content: str | bytes, message: str
) -> None:
    program = Shim(str(haskell_csv), env={"BUCKETS": str(tmp_path / "buckets")})
    with pytest.raises(shim.ReportedError) as raised:
        program(put("bad.csv", content), None)

    assert type(raised.value).__name__ == "CsvInvalid"
    assert str(raised.value) == f"s3://{BUCKET}/bad.csv, {message}"


@pytest.mark.parametrize("key", ["..%2Fother%2Fsecret", "%2Fetc%2Fpasswd", "a%00b", "./orders"])
def test_the_haskell_program_does_not_leave_the_bucket(haskell_csv: Path, tmp_path: Path, key: str) -> None:
    secret = tmp_path / "other" / "secret"
    secret.parent.mkdir()
    secret.write_text(HEADER)
    with pytest.raises(shim.ReportedError) as raised:
        Shim(str(haskell_csv), env={"BUCKETS": str(tmp_path)})(s3_put(key), None)

    assert type(raised.value).__name__ == "ObjectMissing"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "parsing event failed, expected Object, but encountered Null"),
        ({}, 'key "Records" not found'),
        ({"Records": []}, "unexpected empty list"),
        (s3_put("100%"), "a % without two hexadecimal digits"),
        (s3_put("%ff"), "it is not UTF-8 once decoded"),
    ],
)
def test_the_haskell_program_says_why_an_event_names_no_object(haskell_csv: Path, event: object, reason: str) -> None:
    with pytest.raises(shim.ReportedError, match=reason) as raised:
        Shim(str(haskell_csv))(event, None)

    assert type(raised.value).__name__ == "NoObject"


def test_a_c_program_answers_with_the_length_of_its_line(c_count: Path, serve: Serve) -> None:
    """Of two lines that differ in nothing but some letters of the event, it tells the difference in bytes and in characters."""
    invoke = serve(c_count, {"SHIM_OUTPUT": "json"})
    invoke({})  # the line of a cold start is another
    short, long = invoke({"text": "....."}), invoke({"text": 'a"é€😀'})

    assert long["bytes"] - short["bytes"] == 1 + 2 + 2 + 3 + 4 - 5
    assert long["characters"] - short["characters"] == 1


@pytest.mark.parametrize(
    ("line", "output", "complaint"),
    [
        (b"", "/dev/null", "standard input ended before its line did"),
        (b'{"event": null}', "/dev/null", "standard input ended before its line did"),
        (b'{"event": null}\n', "/dev/full", "standard output: No space left on device"),
    ],
)
def test_a_c_program_that_got_no_line_or_could_not_answer_fails(
    c_count: Path, line: bytes, output: str, complaint: str
) -> None:
    """A good citizen never ends with 0 where its answer has not been written."""
    with open(output, "wb") as target:
        answer = subprocess.run([c_count], input=line, stdout=target, stderr=subprocess.PIPE, check=False, timeout=60)

    assert (answer.returncode, answer.stderr.decode()) == (1, f"count: {complaint}\n")


def test_pandoc_answers_with_text(serve: Serve, folder: Path) -> None:
    """A program that knows nothing of Lambda is wrapped by its arguments: a reader in Lua tells it what of the line is its document."""
    (folder / "event.lua").symlink_to(PROGRAMS / "pandoc-html" / "event.lua")
    invoke = serve(
        components.pandoc(),
        {
            "SHIM_ARGS": "--from=event.lua --to=html",
            "SHIM_OUTPUT": "text",
            "SHIM_EXIT_CODES": '{"84": "BodyInvalid"}',
        },
    )

    assert invoke({"body": "# Tee & Größe\n\n*zwei* 😀"}) == (
        '<h1 id="tee-größe">Tee &amp; Größe</h1>\n<p><em>zwei</em> 😀</p>\n'
    )
    for event in ({}, None, ["body"], {"body": 1}):
        error_type, message = error(invoke(event))

        assert error_type == "BodyInvalid"
        assert "the event has no body that is a text" in message
    assert invoke({"body": "fine"}) == "<p>fine</p>\n"


def summary(key: str, **sums: object) -> dict[str, Any]:
    """The answer of the Haskell program to an event with that one object."""
    return {"objects": [{"bucket": BUCKET, "key": key, **sums}]}


def error(value: dict[str, Any]) -> tuple[str, str]:
    """The two names that every error of a function has."""
    return value["errorType"], value["errorMessage"]
