"""Children that wait, under AWS's own runtime client and ours: when the next is started, that none is in a snapshot, and whose it is in each process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shim import Shim
from tests.conftest import eventually
from tests.real import components
from tests.real.conftest import ENVIRONMENTS
from tests.real.rie import function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = """#!/bin/sh
if [ -e mute ]; then exec sleep 600; fi
if [ "$SAYS" ]; then echo '{"ok":true}'; fi
while read -r line; do
    case $line in
    '{"event":"fail"'*) exit 3 ;;
    '{"event":"babble"'*) echo no JSON; continue ;;
    '{"event":"meet"'*) # waits until two have met
        echo "$$" >> met
        while [ "$(sort -u met | wc -l)" -lt 2 ]; do sleep 0.01; done ;;
    esac
    echo "{\\"pid\\": $$, \\"parent\\": $PPID}"
done
"""
"""Serves one line, or one after the other, and says which process it is."""
SPARE = {"SHIM_SPARE": "1", "SHIM_OUTPUT": "json"}
WARM = {"SHIM_MODE": "warm"}
ONE_USE = {**WARM, "SHIM_MAX_USES": "1"}
ROUNDS = 12
COLLECTED = """
import faulthandler, gc, sys
faulthandler.dump_traceback_later(10, exit=True)
from shim import Shim
from shim.local.context import LambdaContext
program, other = Shim(sys.argv[1], mode="warm", max_uses=1), Shim(sys.argv[1])
def handle_event_request():
    context = LambdaContext(timeout=10)
    try:
        program("babble", context)
    except Exception:
        kind, value, traceback = sys.exc_info()
class Poll:
    def __init__(self, poll):
        self.poll_itself = poll
    def poll(self, timeout):
        gc.collect()
        return self.poll_itself.poll(timeout)
gc.disable()
handle_event_request()
log = program._log
log._poll = Poll(log._poll)
other(None)
program.close()
"""
"""A host that keeps a context in a cycle, as awslambdaric does, and a garbage collection that comes while the log is written: an automatic one
may come at any allocation there."""


class Function:
    """A function with AWS's runtime client on a Runtime API of our own, which freezes it when it asks for the next event, as Lambda does.

    Args:
        until_the_end: takes what is to be ended.
        folder: the deployment package.
        log: takes what the function writes.
        runtime: the module that it is.
        freezes: whether it is frozen.
        **variables: its own, beside those that every function here has.
    """

    def __init__(
        self,
        until_the_end: ExitStack,
        folder: Path,
        log: Path,
        *,
        runtime: str = "awslambdaric",
        freezes: bool = True,
        **variables: str,
    ) -> None:
        self.children: dict[str, list[set[int]]] = {}
        """The children that were there at each request to the Runtime API, by what was asked."""
        self._freezes = freezes
        self._frozen: set[int] = set()
        self.api = until_the_end.enter_context(RuntimeApi(self._look))
        self._session: Session | None = None
        program = folder / "program"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        environment = function_environment(folder) | {"SHIM_EXECUTABLE": "program"} | variables
        self._session = Session(
            [*components.awslambdaric()[:-1], runtime, "shim.handler"],
            environment=environment | {"AWS_LAMBDA_RUNTIME_API": self.api.address},
            folder=folder,
            log=log,
        )
        until_the_end.callback(self._session.end)
        until_the_end.callback(self._thaw)

    @property
    def session(self) -> Session:
        """The function's processes; the leader is the runtime client."""
        assert self._session is not None
        return self._session

    def invoke(self, event: object = None) -> Any:
        """The value that the function answers, or its error."""
        self.await_next()
        self._thaw()
        _, body = self.api.invoke(json.dumps(event).encode())
        return json.loads(body)

    def await_next(self) -> None:
        """Returns when all events were answered, and the next is asked for."""
        answered = sum(len(self.children.get(kind, [])) for kind in ("response", "error"))
        eventually(lambda: len(self.children.get("next", [])) == answered + 1, within=30)

    def _look(self, kind: str) -> None:
        eventually(lambda: self._session)  # a request may come before we know whose it is
        children = children_of(self.session.pid)
        if kind == "next" and self._freezes:
            self._frozen = {self.session.pid, *children}
            for pid in self._frozen:
                os.kill(pid, signal.SIGSTOP)
        self.children.setdefault(kind, []).append(children)

    def _thaw(self) -> None:
        for pid in self._frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue


def children_of(parent: int) -> set[int]:
    """The processes that live and whose parent this is."""
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in b"ZX":
            found.add(int(name))
    return found


@pytest.fixture
def begin(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Function]]:
    """Starts a function with these variables, and ends it with the test."""
    with ExitStack() as until_the_end:

        def start(*, freezes: bool = True, **variables: str) -> Function:
            return Function(until_the_end, folder, tmp_path / "log", freezes=freezes, **variables)

        yield start


@pytest.fixture(params=[*ENVIRONMENTS, "ours"])
def host(request: pytest.FixtureRequest) -> dict[str, str]:
    """AWS_EXECUTION_ENV, by which AWS's client chooses whether a thread of its own asks for the next event: from Python 3.12 on. Or our own runtime."""
    if request.param == "ours":
        return {"runtime": "shim.runtime"}
    return {"AWS_EXECUTION_ENV": ENVIRONMENTS[request.param]}


def test_every_invocation_has_a_spare_that_was_started_after_the_answer_before(
    begin: Callable[..., Function], host: dict[str, str]
) -> None:
    """The answer does not wait for it, and it is there before the next event is asked for, when all is frozen."""
    function = begin(**SPARE, **host)
    served = [function.invoke()["pid"] for _ in range(ROUNDS)]
    function.await_next()

    assert function.children["response"] == [set()] * ROUNDS
    assert function.children["next"][:ROUNDS] == [{pid} for pid in served]
    assert len(set(served)) == ROUNDS
    assert len(function.children["next"][ROUNDS]) == 1


def test_every_invocation_after_one_that_failed_has_a_spare_too(
    begin: Callable[..., Function], host: dict[str, str]
) -> None:
    """The client keeps the context of a failed one, in a cycle with the error's traceback, until the garbage collector finds it."""
    function = begin(**SPARE, **host)
    served = []
    for _ in range(ROUNDS):
        assert function.invoke("fail")["errorType"] == "ExitError"
        served.append(function.invoke()["pid"])

    assert function.children["next"][1 : 2 * ROUNDS : 2] == [{pid} for pid in served]


def test_a_child_that_has_served_enough_is_replaced_after_the_answer(
    begin: Callable[..., Function], host: dict[str, str]
) -> None:
    """The next one is there before the next event is asked for, and the answer waits for neither."""
    function = begin(**ONE_USE, **host)
    served = [function.invoke()["pid"] for _ in range(ROUNDS)]

    assert function.children["response"] == [{pid} for pid in served]
    assert function.children["next"][:ROUNDS] == [{pid} for pid in served]
    assert len(set(served)) == ROUNDS


def test_a_kept_child_that_failed_is_replaced_before_the_next_event_is_asked_for(
    begin: Callable[..., Function], host: dict[str, str]
) -> None:
    function = begin(**WARM, **host)
    served = []
    for _ in range(ROUNDS):
        assert function.invoke("fail")["errorType"] == "ExitError"
        served.append(function.invoke()["pid"])

    assert function.children["next"][1 : 2 * ROUNDS : 2] == [{pid} for pid in served]
    assert max(map(len, function.children["next"])) == 1


@pytest.mark.parametrize("mode", [SPARE, WARM, {**WARM, "SHIM_READY": "true", "SAYS": "1"}])
def test_no_child_lives_in_a_snapshot_and_one_after_each_restore(
    mode: dict[str, str], begin: Callable[..., Function], host: dict[str, str]
) -> None:
    function = begin(**mode, **host, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    function.api.await_snapshot()

    assert function.children == {"restore/next": [set()]}
    function.api.restore()
    first = function.invoke()["pid"]
    assert function.children["next"][0] == {first}
    second = function.invoke()["pid"]
    assert function.children["next"][1] == {second}
    assert (first == second) == ("SHIM_SPARE" not in mode)


def test_a_child_that_is_not_ready_after_the_restore_fails_the_restore(
    begin: Callable[..., Function], folder: Path, host: dict[str, str]
) -> None:
    """Lambda then starts another environment. Nothing of this one is left."""
    waits = {"SHIM_READY": "true", "SAYS": "1", "SHIM_READY_WITHIN_MS": "300"}
    function = begin(**WARM, **waits, **host, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    function.api.await_snapshot()
    (folder / "mute").touch()
    function.api.restore()
    kind, body = function.api.receive()

    assert kind == "restore/error"
    assert json.loads(body)["errorType"] == "NotReady"
    assert (
        'had not written its line {"ok":true} 300 ms (SHIM_READY_WITHIN_MS) after its start'
        in json.loads(body)["errorMessage"]
    )
    eventually(lambda: function.session.ended)
    assert "next" not in function.children


@pytest.mark.parametrize("mode", [WARM, SPARE])
def test_each_of_several_invocations_at_once_has_children_of_its_own(
    mode: dict[str, str], begin: Callable[..., Function], host: dict[str, str]
) -> None:
    """With AWS_LAMBDA_MAX_CONCURRENCY AWS's client forks so many processes, and each asks for events; ours has so many threads."""
    function = begin(**mode, **host, AWS_LAMBDA_MAX_CONCURRENCY="2", freezes=False)
    for _ in range(2):
        function.api.send(b'"meet"')
    met = [json.loads(function.api.receive()[1]) for _ in range(2)]
    others = [json.loads(function.api.invoke(b"null")[1]) for _ in range(ROUNDS)]
    parents = {answer["parent"] for answer in met}

    assert len({answer["pid"] for answer in met}) == 2
    if "runtime" in host:
        assert parents == {function.session.pid}
    else:
        assert len(parents) == 2
        assert parents == children_of(function.session.pid)
    assert {answer["parent"] for answer in others} <= parents
    if mode is WARM:
        assert {(answer["parent"], answer["pid"]) for answer in others} <= {
            (answer["parent"], answer["pid"]) for answer in met
        }
    else:
        assert len({answer["pid"] for answer in met + others}) == ROUNDS + 2


@pytest.mark.parametrize("mode", ["oneshot", "warm"])
def test_a_restore_starts_no_child_of_a_shim_that_was_closed(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    components.awslambdaric()
    registered: list[tuple[Any, ...]] = []
    monkeypatch.setattr("snapshot_restore_py.register_after_restore", lambda *hook: registered.append(hook))
    program = folder / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    with Shim(str(program), mode=mode, output="json", **({"spare": 1} if mode == "oneshot" else {})) as made:
        pass
    before = children_of(os.getpid())
    for function, *arguments in registered:
        function(*arguments)

    assert len(registered) == 1
    assert children_of(os.getpid()) - before == set()
    del made


def test_the_garbage_collector_may_drop_a_context_while_the_log_is_written(folder: Path) -> None:
    """What waits for the context may not wait for the log's turn then, which it would do for ever."""
    program = folder / "program"
    program.write_text(PROGRAM.replace("do\n", "do echo a line of the log >&2\n", 1))
    program.chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-c", COLLECTED, str(program)], capture_output=True, text=True, timeout=60, check=False
    )

    assert "Timeout" not in ended.stderr
    assert ended.returncode == 0
