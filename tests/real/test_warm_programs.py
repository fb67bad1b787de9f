"""Whole programs in mode warm, as people would write them or have them, under AWS's own runtime client: alone on a Runtime API, and in AWS's emulator;
and under our own runtime, alone.

Each has its settings in a `shim.toml` of its own, and counts what it has done: as long as it goes on counting, it is the same process.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from tests.conftest import eventually
from tests.real import components
from tests.real.programs import PROGRAMS, compile_crystal_lines
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session, ends, processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.real.conftest import Start

SECONDS = 2
"""The timeout of a function here."""
LATE = 1.7
"""Seconds after which a program would answer that is stopped before: a quarter of its time is kept back."""


class Program(NamedTuple):
    """What a test knows of a program that is served."""

    name: str
    event: Callable[[int], dict[str, Any]]
    """A good event. No two numbers have the same answer."""
    answer: Callable[[int], dict[str, Any]]
    """The answer to it, but for the count."""
    counter: str
    """The member of its answers that counts them."""
    pause: str
    """The member of an event that makes it wait so many milliseconds."""
    malformed: object
    """An event that it does not survive."""
    complaint: str
    """What it says then."""


CRYSTAL_LINES = Program(
    "crystal-lines",
    event=lambda number: {
        "id": f"o-{number}",
        "lines": [{"item": "tea", "quantity": number, "cents": 350}, {"item": "Größe 😀", "quantity": 1, "cents": 5}],
    },
    answer=lambda number: {
        "order": f"o-{number}",
        "pieces": number + 1,
        "total": f"{(number * 350 + 5) // 100}.{(number * 350 + 5) % 100:02}",
    },
    counter="taken",
    pause="hold_ms",
    malformed={"id": "o-1"},
    complaint="Missing JSON attribute: lines",
)
NODE_APEX = Program(
    "node-apex",
    event=lambda number: {"text": "tea für 😀 " * number + f"all{number}"},
    answer=lambda number: {"words": number * 3 + 1, "longest": f"all{number}"},
    counter="counted",
    pause="pause_ms",
    malformed={"text": 5},
    complaint="TypeError",
)


class Function:
    """A function that is served in one execution environment.

    Args:
        invoke: gives the value that the caller gets for an event.
        session: what the environment consists of, besides the program.
        folder: the function's, in which all of its processes run.
        log: the file that takes the function's log.
    """

    def __init__(self, invoke: Callable[[object], Any], *, session: Session, folder: Path, log: Path) -> None:
        self.invoke = invoke
        self.session = session
        self._folder = folder
        self._log = log

    def child(self) -> int:
        """The process number of the one child that there is."""
        (pid,) = processes_in(self._folder) - self.session.members()
        return pid

    def logged(self, pattern: str) -> re.Match[str]:
        """The one line of the log that is this, once it is there."""
        whole_line = re.compile(rf"^{pattern}$", re.MULTILINE)

        def found() -> list[re.Match[str]]:
            return list(whole_line.finditer(self._log.read_text()))

        eventually(found)
        (match,) = found()
        return match


class Serve(Protocol):
    """Serves a function."""

    def __call__(self, name: str, executable: Path, variables: Mapping[str, str] = {}) -> Function:
        """With the settings of the program of that name, which is that file, and with these variables."""


@pytest.fixture(params=["awslambdaric", "rie", "shim"])
def serve(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Serve]:
    """Serves a function in one of the three, until the test's end. An error is posted as one, and nothing else is."""
    in_emulator: Start | None = request.getfixturevalue("start") if request.param == "rie" else None
    log = tmp_path / "log"
    with ExitStack() as until_the_end:

        def begin(name: str, executable: Path, variables: Mapping[str, str] = {}) -> Function:
            (folder / "bin").mkdir()
            (folder / "bin" / executable.name).symlink_to(executable)
            (folder / "shim.toml").symlink_to(PROGRAMS / name / "shim.toml")
            all_variables = {
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(SECONDS),
                "SHIM_EXECUTABLE": f"bin/{executable.name}",
                **variables,
            }
            if in_emulator is not None:
                rie = in_emulator(all_variables)
                return Function(lambda event: rie.invoke(event).value, session=rie.session, folder=folder, log=log)
            api = until_the_end.enter_context(RuntimeApi())
            ours = [sys.executable, "-m", "shim.runtime"]
            session = Session(
                ours if request.param == "shim" else [*components.awslambdaric(), "shim.handler"],
                environment=function_environment(folder) | all_variables | {"AWS_LAMBDA_RUNTIME_API": api.address},
                folder=folder,
                log=log,
            )
            until_the_end.callback(session.end)

            def invoke(event: object) -> Any:
                deadline_ms = int((time.time() + SECONDS) * 1000)
                kind, body = api.invoke(json.dumps(event).encode(), Lambda_Runtime_Deadline_Ms=str(deadline_ms))
                value = json.loads(body)
                assert (kind == "error") == (isinstance(value, dict) and "errorType" in value)
                return value

            return Function(invoke, session=session, folder=folder, log=log)

        yield begin


@pytest.fixture(scope="session")
def crystal_lines() -> Path:
    """The compiled program that sums up orders."""
    return compile_crystal_lines()


@pytest.fixture
def orders(serve: Serve, crystal_lines: Path) -> Function:
    """A function that is the program in Crystal."""
    return serve("crystal-lines", crystal_lines)


@pytest.fixture
def main_js() -> Path:
    """The program for Node.js."""
    assert components.node()
    return PROGRAMS / "node-apex" / "main.js"


@pytest.fixture
def words(serve: Serve, main_js: Path) -> Function:
    """A function that is the program for Node.js."""
    return serve("node-apex", main_js)


@pytest.fixture(params=[CRYSTAL_LINES, NODE_APEX], ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Either of the programs."""
    asked: Program = request.param
    return asked


@pytest.fixture
def function(request: pytest.FixtureRequest, program: Program, serve: Serve) -> Function:
    """A function that is this program."""
    executable: Path = request.getfixturevalue("crystal_lines" if program is CRYSTAL_LINES else "main_js")
    return serve(program.name, executable)


def test_one_process_gives_each_invocation_its_own_answer(function: Function, program: Program) -> None:
    """It is started once, and counts all the invocations of its environment."""
    children = set()
    for number in range(1, 11):
        assert function.invoke(program.event(number)) == answer(program, number, count=number)
        children.add(function.child())

    assert len(children) == 1


def test_a_crash_is_an_error_and_the_next_invocation_has_a_new_process(function: Function, program: Program) -> None:
    """The caller gets the exit code and what the program complained of; the runtime stays the same."""
    assert function.invoke(program.event(1)) == answer(program, 1, count=1)
    first, environment = function.child(), function.session.members()
    error_type, message = error(function.invoke(program.malformed))

    assert error_type == "ExitError"
    assert "exit code 1" in message
    assert program.complaint in message
    assert [function.invoke(program.event(number)) for number in (2, 3)] == [
        answer(program, 2, count=1),
        answer(program, 3, count=2),
    ]
    assert function.child() != first
    assert function.session.members() == environment


def test_a_reply_that_comes_after_the_deadline_is_no_answer(function: Function, program: Program) -> None:
    """The program is stopped before Lambda's own end. Until its reply would have come, and after that, all get their own answers."""
    assert function.invoke(program.event(1)) == answer(program, 1, count=1)
    first, environment = function.child(), function.session.members()
    begun = time.monotonic()
    error_type, _ = error(function.invoke(program.event(2) | {program.pause: int(LATE * 1000)}))
    stopped = time.monotonic() - begun

    assert error_type == "DeadlineExceeded"
    assert stopped < SECONDS
    assert ends(first, within=0)
    count = 0
    while count < 3 or time.monotonic() < begun + LATE + 0.3:
        count += 1
        number = count % 10 + 1
        assert function.invoke(program.event(number)) == answer(program, number, count=count)
    assert function.session.members() == environment


def test_when_the_environment_ends_its_process_ends(function: Function, program: Program) -> None:
    """Also where it goes without a word, as Lambda's do: the end of its input tells the program."""
    assert function.invoke(program.event(1)) == answer(program, 1, count=1)
    child = function.child()
    function.session.end()

    assert ends(child, within=5)


def test_an_order_that_can_not_be_taken_is_answered_with_its_reason(orders: Function) -> None:
    """In the framing of lines every line is a result, also that of a refusal; what the program has to tell besides is in the log."""
    tea = {"item": "tea", "quantity": -1, "cents": 350}

    assert orders.invoke({"id": "a", "lines": []}) == {"order": "a", "error": "the order has no lines"}
    assert orders.invoke({"id": "b", "lines": [tea]}) == {"order": "b", "error": "the quantity of tea is -1"}
    assert orders.invoke(CRYSTAL_LINES.event(1)) == answer(CRYSTAL_LINES, 1, count=1)
    assert orders.logged("order b has 1 lines").start() > orders.logged("order a has 0 lines").start()


def test_an_error_in_an_envelope_is_an_error_of_the_function(words: Function) -> None:
    """A text is the message of a ReportedError, and an object has a type of its own. The process serves on."""
    assert words.invoke(NODE_APEX.event(1)) == answer(NODE_APEX, 1, count=1)
    first = words.child()

    assert error(words.invoke({"text": ""})) == ("ReportedError", "the text is empty")
    assert error(words.invoke({"text": "x" * 1001})) == ("TextTooLong", "the text has more than 1000 characters")
    assert words.invoke(NODE_APEX.event(2)) == answer(NODE_APEX, 2, count=2)
    assert words.child() == first


def test_what_an_enveloping_program_writes_besides_is_its_log(words: Function) -> None:
    """Its lines stand in the log as it wrote them, those in JSON too, and in no answer. The context has the names that Node.js has."""
    assert words.invoke({"text": "seven 7"}) == {"words": 2, "longest": "seven", "counted": 1}
    begun = words.logged(r"(\S+) in real: 7 characters")
    counting = words.logged(re.escape(f'{{"id":"{begun[1]}","level":"info","message":"counting"}}'))

    assert begun[1] != "undefined"
    assert begun.end() + 1 == counting.start()


def test_an_envelope_with_nothing_in_it_is_null(words: Function) -> None:
    """JavaScript leaves a value out that is undefined, as Go does with nil."""
    assert words.invoke({"ping": True}) is None
    assert words.invoke(NODE_APEX.event(1)) == answer(NODE_APEX, 1, count=1)


@pytest.mark.parametrize("serve", ["rie"], indirect=True)
def test_a_program_that_does_not_say_that_it_is_ready_is_told_of_at_init(serve: Serve, main_js: Path) -> None:
    """Where `ready` asks for it, the init fails with the name and the cure, and nothing is left of the program."""
    words = serve("node-apex", main_js, {"SHIM_READY": "true", "SHIM_READY_WITHIN_MS": "300"})
    error_type, message = error(words.invoke(NODE_APEX.event(1)))

    assert error_type == "NotReady"
    assert "SHIM_READY_WITHIN_MS" in message


def answer(program: Program, number: int, *, count: int) -> dict[str, Any]:
    """What the program answers to its good event of that number, if it is its so manieth."""
    return {**program.answer(number), program.counter: count}


def error(value: dict[str, Any]) -> tuple[str, str]:
    """The two names that every error of a function has."""
    return value["errorType"], value["errorMessage"]
