"""Programs that speak the Runtime API themselves, as they are written for Lambda's OS-only runtimes, each served in two ways: by AWS's own emulator
alone, which is what they were written for, and in mode bootstrap under AWS's own runtime client. The caller gets the same from both.

Each counts the invocations that it was given: as long as it goes on counting, it is the same process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from base64 import b64encode
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from tests.conftest import eventually
from tests.real import components
from tests.real.programs import PROGRAMS, compile_crystal_bootstrap, compile_go_bootstrap
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session, ends, processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.real.conftest import Start
    from tests.real.rie import Answer, Rie

SECONDS = 2
"""The timeout of a function here."""
LARGE = 6_000_000
"""Bytes of a text that just fits into an event or a result."""
ECHO = {
    "do": "echo",
    "value": {"text": "aé😀\n\\", "value": "}", "small": 1.5e-7, "large": 2**53 + 1, "rest": [None, True, {}]},
}
"""A good event."""


class Program(NamedTuple):
    """What a test knows of a program that is served."""

    name: str
    build: Callable[[], Path]
    traced: bool
    """Whether it ends with an invocation that has no trace id, as all have at Lambda, and none in the emulator."""
    where: str
    """What the stack trace of its errors has of the place."""


def shell_bootstrap() -> Path:
    """The program for a shell, which is its own source."""
    assert components.curl()
    return PROGRAMS / "shell-bootstrap" / "bootstrap"


CRYSTAL = Program("crystal-bootstrap", compile_crystal_bootstrap, traced=True, where="bootstrap.cr:")
GO = Program("go-bootstrap", compile_go_bootstrap, traced=False, where='"label": "main.handle"')
SHELL = Program("shell-bootstrap", shell_bootstrap, traced=False, where="handle in ")


class Result(NamedTuple):
    """The caller gets at least these members of a JSON object, with these values."""

    members: Mapping[str, object]


class Failure(NamedTuple):
    """The caller gets an error of that type, with these words in its message."""

    error_type: str
    words: Sequence[str]


class Words(NamedTuple):
    """The caller gets that text, which is not JSON, with the status of a success."""

    text: str


class Scenario(NamedTuple):
    """What is asked of every program, and what the caller gets."""

    name: str
    event: Mapping[str, object]
    emulator: Result | Failure | Words
    """From the emulator alone."""
    shim: Result | Failure | None = None
    """From shim; None where it is the same."""
    survives: bool = True
    """Whether the same process takes the next event."""


SCENARIOS = [
    Scenario("result", ECHO, Result({"value": ECHO["value"], "count": 1})),
    Scenario(
        "typed-error",
        {"do": "fail", "type": "BadInput", "message": 'no such "thing": 7 é\n\\'},
        Failure("BadInput", ['no such "thing": 7 é\n\\']),
    ),
    # Of a process that ends the emulator tells the caller its exit code, and nothing that it said.
    Scenario(
        "crash",
        {"do": "crash", "code": 3},
        Failure("Runtime.ExitError", ["Runtime exited with error: exit status 3"]),
        Failure("ExitError", ["exit code 3", "crashing"]),
        survives=False,
    ),
    # The emulator knows no errorType for the end of the time, which shim comes before.
    Scenario(
        "hang",
        {"do": "hang"},
        Words(f"Task timed out after {SECONDS}.00 seconds"),
        Failure("DeadlineExceeded", []),
        survives=False,
    ),
    Scenario("large-in", {"do": "measure", "body": "x" * LARGE}, Result({"length": LARGE})),
    Scenario("large-out", {"do": "grow", "bytes": LARGE}, Result({"body": "x" * LARGE})),
    # The emulator refuses what is posted with 413; that the caller gets its own words is the emulator's way, and not the runtime client's.
    Scenario(
        "too-large-out",
        {"do": "grow", "bytes": LARGE + 1_000_000},
        Failure("Function.ResponseSizeTooLarge", ["6291556 bytes"]),
        Failure("OutputTooLarge", []),
    ),
]


class Serve(Protocol):
    """Serves a program."""

    def __call__(self, variables: Mapping[str, str] = {}, *, by: str = "") -> Rie:
        """With these variables, by "rie" or "shim", or else by the one of them that the test is about."""


@pytest.fixture(params=[CRYSTAL, GO, SHELL], ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Each of the programs."""
    asked: Program = request.param
    return asked


@pytest.fixture(params=["rie", "shim"])
def server(request: pytest.FixtureRequest) -> str:
    """The emulator alone, or shim in it."""
    return str(request.param)


@pytest.fixture
def package(program: Program, folder: Path) -> Path:
    """A deployment package of the program, with its settings."""
    (folder / "bootstrap").symlink_to(program.build())
    (folder / "shim.toml").symlink_to(PROGRAMS / program.name / "shim.toml")
    return folder


@pytest.fixture
def serve(package: Path, program: Program, server: str, start: Start, tmp_path: Path) -> Serve:
    """Serves the program."""

    def begin(variables: Mapping[str, str] = {}, *, by: str = server) -> Rie:
        bootstrap = [str(package / "bootstrap")]
        if program.traced:
            bootstrap = [sys.executable, "-m", "tests.real.traced", *bootstrap]
        environment = {
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(SECONDS),
            "SHIM_EXECUTABLE": "bootstrap",
            "TMPDIR": str(tmp_path),  # what is killed leaves its files there
        }
        return start({**environment, **variables}, bootstrap=bootstrap if by == "rie" else ())

    return begin


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_caller_gets_what_the_program_has_done(
    scenario: Scenario, program: Program, serve: Serve, server: str
) -> None:
    """In every scenario both servers answer as the table says, and the next invocation of the environment is a good one."""
    function = serve()
    expected = scenario.emulator if server == "rie" else scenario.shim or scenario.emulator
    answer = function.invoke(scenario.event)

    check(answer, expected)
    if scenario.name == "typed-error":
        assert program.where in json.dumps(answer.value["stackTrace"])
    if scenario.name == "hang" and server == "shim":
        assert answer.seconds < SECONDS
    check(function.invoke(ECHO), Result({"value": ECHO["value"], "count": 2 if scenario.survives else 1}))


def test_an_init_that_fails_is_told_to_each_caller(program: Program, serve: Serve) -> None:
    """A program that can't begin posts why, and ends: the caller gets that, and not its exit code."""
    function = serve({"BOOTSTRAP_INIT": "fail"})
    for _ in range(2):
        check(function.invoke(ECHO), Failure("NoDatabase", ["the database can't be reached"]))


@pytest.mark.parametrize("server", ["shim"], indirect=True)
@pytest.mark.parametrize(
    ("event", "variables"),
    [({"do": "fail", "type": "Bad.Input", "message": ""}, {}), (ECHO, {"BOOTSTRAP_INIT": "fail"})],
    ids=["invocation", "init"],
)
def test_an_error_is_the_programs_own_to_the_last_frame(
    serve: Serve, event: Mapping[str, object], variables: Mapping[str, str]
) -> None:
    """Its type, its message and its stack trace, of texts or of objects, are from shim what they are from the emulator alone."""
    alone, through = (serve(variables, by=server).invoke(event).value for server in ("rie", "shim"))

    assert alone["stackTrace"] != []
    assert alone == {name: through[name] for name in ("errorType", "errorMessage", "stackTrace")}


@pytest.mark.parametrize("program", [GO], indirect=True, ids=["go-bootstrap"])
def test_several_that_wait_get_each_invocation_once(serve: Serve) -> None:
    """Two goroutines ask at the same time. No invocation is taken twice or lost, and all are answered, by one process."""
    function = serve({"POLLERS": "2"})
    answers = [function.invoke({"do": "echo", "value": number}).value for number in range(1, 11)]

    assert [(answer["value"], answer["count"]) for answer in answers] == [(number, number) for number in range(1, 11)]
    assert len({answer["request_id"] for answer in answers}) == 10


@pytest.mark.parametrize("program", [GO], indirect=True, ids=["go-bootstrap"])
def test_a_program_that_is_registered_as_an_extension_gets_sigterm(serve: Serve, tmp_path: Path) -> None:
    """When its time is over it may still say something, and end by itself."""
    function = serve()
    check(function.invoke(ECHO), Result({"count": 1}))
    function.invoke({"do": "hang"})

    eventually(lambda: logged(tmp_path, "shutting down"))
    assert not logged(tmp_path, "no SIGTERM will come")


@pytest.mark.parametrize("program", [GO], indirect=True, ids=["go-bootstrap"])
@pytest.mark.parametrize("server", ["rie"], indirect=True)
def test_the_end_of_the_environment_is_told_to_a_registered_program(serve: Serve, tmp_path: Path) -> None:
    """The emulator's own end is the environment's."""
    function = serve()
    check(function.invoke(ECHO), Result({"count": 1}))
    os.kill(function.session.pid, signal.SIGTERM)

    eventually(lambda: logged(tmp_path, "shutting down"))


@pytest.mark.parametrize("server", ["shim"], indirect=True)
def test_the_end_of_the_environment_leaves_nothing(serve: Serve, package: Path) -> None:
    """Also where it goes without a word, as Lambda's do: no process of the program's lives on, since nobody answers it any more."""
    function = serve()
    check(function.invoke(ECHO), Result({"count": 1}))
    running = processes_in(package) - {function.session.pid}
    function.session.end()

    assert running != set()
    assert all(ends(pid, within=5) for pid in running)


class Told(NamedTuple):
    """What an invocation has beside its event."""

    headers: Mapping[str, str]
    members: Mapping[str, object]
    """What of it the program answers."""


TOLD = {
    "least": Told(
        {"Lambda_Runtime_Trace_Id": "Root=1-a-c"},
        {"arn": "an-arn", "trace_id": "Root=1-a-c", "client_context": None, "identity": None},
    ),
    "all": Told(
        {
            "Lambda_Runtime_Invoked_Function_Arn": "arn:aws:lambda:eu-central-1:1:function:real:live",
            "Lambda_Runtime_Client_Context": '{"custom": {"a": "b \\" \\u00e9"}, "env": {"locale": "de"}, "client": {"app_title": "t"}}',
            "Lambda_Runtime_Cognito_Identity": '{"cognitoIdentityId": "x", "cognitoIdentityPoolId": "y"}',
        },
        {
            "arn": "arn:aws:lambda:eu-central-1:1:function:real:live",
            "trace_id": "Root=1-a-b",
            "client_context": {"custom": {"a": 'b " é'}, "env": {"locale": "de"}, "client": {"app_title": "t"}},
            "identity": {"cognitoIdentityId": "x", "cognitoIdentityPoolId": "y"},
        },
    ),
}
"""What the emulator never sends, so that it takes another Runtime API."""
OS_ONLY = {"_HANDLER": "bootstrap"}
"""What a runtime of its own has in its environment that Lambda chooses by the function's runtime: it has no AWS_EXECUTION_ENV."""
MANAGED = {
    "_HANDLER": "shim.handler",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
    "SHIM_EXECUTABLE": "bootstrap",
}
"""Likewise what the runtime client for Python has."""


@pytest.fixture
def ask(package: Path, server: str, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Gives the program's answer to that event, which goes out with these headers: it is alone on a Runtime API, or shim is there with it."""
    with RuntimeApi() as api, ExitStack() as until_the_end:
        command, variables = [str(package / "bootstrap")], OS_ONLY
        if server == "shim":
            command, variables = [*components.awslambdaric(), "shim.handler"], MANAGED
        session = Session(
            command,
            environment={
                **function_environment(package),
                **variables,
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "TMPDIR": str(tmp_path),
            },
            folder=package,
            log=tmp_path / "log",
        )
        until_the_end.callback(session.end)

        def answer(event: object, **headers: str) -> dict[str, Any]:
            kind, body = api.invoke(json.dumps(event).encode(), **headers)
            assert kind == "response", body
            value: dict[str, Any] = json.loads(body)
            return value

        yield answer


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_a_program_is_told_all_that_lambda_tells(
    ask: Callable[..., dict[str, Any]], told: Told, program: Program, package: Path
) -> None:
    """The headers of an invocation and the environment of a function are with shim what they are without. The deadline is no later."""
    deadline_ms = int(time.time() * 1000) + 60_000
    answer = ask(
        {"do": "context"},
        Lambda_Runtime_Aws_Request_Id="7-7",
        Lambda_Runtime_Deadline_Ms=str(deadline_ms),
        **told.headers,
    )
    environment = answer.pop("environment")

    assert deadline_ms - 2_000 < answer.pop("deadline_ms") <= deadline_ms
    assert answer == {"request_id": "7-7", **told.members}
    if program is not GO:  # which may have several invocations at once, and keeps no trace id for all
        assert environment["_X_AMZN_TRACE_ID"] == told.members["trace_id"]
    assert environment["_HANDLER"] == OS_ONLY["_HANDLER"]
    assert environment["AWS_EXECUTION_ENV"] is None
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "real"
    assert environment["AWS_LAMBDA_FUNCTION_VERSION"] == "1"
    assert environment["LAMBDA_TASK_ROOT"] == str(package)


def test_the_callers_own_context_reaches_the_program(serve: Serve) -> None:
    """What a caller sends along in Base64 arrives as the JSON that it was, and the name of the function with it."""
    context = {"custom": {"a": "b"}}
    encoded = b64encode(json.dumps(context).encode()).decode()
    answer = serve().invoke({"do": "context"}, X_Amz_Client_Context=encoded).value

    assert answer["client_context"] == context
    assert answer["arn"] == "arn:aws:lambda:us-east-1:012345678912:function:real"


def check(answer: Answer, expected: Result | Failure | Words) -> None:
    """Fails where the caller got something else."""
    match expected:
        case Result(members):
            assert answer.error_type is None, answer
            assert {name: answer.value[name] for name in members} == members
        case Failure(error_type, words):
            assert answer.error_type == error_type, answer
            for word in words:
                assert word in answer.error_message
            assert answer.status == 200 or error_type in {"Runtime.ExitError", "NoDatabase"}
        case Words(text):
            assert (answer.status, answer.body.decode()) == (200, text)


def logged(tmp_path: Path, line: str) -> bool:
    """Whether this is a line of the log."""
    return line in (tmp_path / "log").read_text().splitlines()
