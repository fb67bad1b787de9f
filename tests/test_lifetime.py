"""Kept children and the life of the process that keeps them: they end with it, belong to it alone, and survive its being frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDINGS = {
    "input": "",
    "input, SIGTERM": "signal.signal(signal.SIGTERM, lambda *_: (note('SIGTERM'), os._exit(0)))",
    "input, SIGTERM, SIGKILL": "signal.signal(signal.SIGTERM, lambda *_: note('SIGTERM'))",
}
"""What a child notes that is taken down by the ladder, and how it behaves. It notes no SIGKILL: it does not end by anything else."""
CHILD = f"""#!{sys.executable} -IS
import json, os, signal, sys
signal.alarm(60)  # whatever becomes of its test
def note(name):
    with open(__file__ + ".ended", "a") as file: file.write(f"{{name}}\\n")
ENDING
while line := sys.stdin.readline():
    event = json.loads(line)["event"]
    if event == "hang": open(__file__ + ".hangs", "w").close()
    else: print(json.dumps({{"pid": os.getpid(), "event": event}}), flush=True)
note("input")
while STAYS: signal.pause()
"""
HOST = """
import json, os, signal, sys
import shim
def ask(event=None): return program(event)["pid"]
def say(value): print(json.dumps(value), flush=True)
def wait(): sys.stdin.readline()
program = shim.Shim(sys.argv[1], mode="warm")
"""
"""The beginning of a process that keeps a child."""
HEARING = "from shim.children import lifetime\nlifetime.HEARS_SIGTERM = True\n"
"""What makes it one to which Lambda sends SIGTERM, whatever its Python."""


class Host:
    """A process that keeps a child, which says a line at a time."""

    def __init__(self, program: Path, text: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", text, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def heard(self) -> Any:
        """The next line that it says, as JSON."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline() or "null")

    def go_on(self) -> None:
        """Lets it go on from where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        """How it ended."""
        return self.process.wait(timeout=20)

    def close(self) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a child that ends so."""

    def make(ending: str = "input") -> Path:
        program = tmp_path / "child"
        program.write_text(CHILD.replace("ENDING", ENDINGS[ending]).replace("STAYS", str(bool(ENDINGS[ending]))))
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def host(child: Callable[[str], Path]) -> Iterator[Callable[..., Host]]:
    """Starts a process that keeps such a child, and does that."""
    hosts: list[Host] = []

    def start(text: str, *, ending: str = "input", before: str = "") -> Host:
        hosts.append(Host(child(ending), before + HOST + text))
        return hosts[-1]

    yield start
    for started in hosts:
        started.close()


def how_it_ended(folder: Path) -> list[str]:
    path = folder / "child.ended"
    return path.read_text().splitlines() if path.exists() else []


def is_dead(pid: int) -> bool:
    """Whether it has ended; it may be a zombie still, which its new parent takes when it gets to it."""
    try:
        return state(pid) == "Z"
    except FileNotFoundError:
        return True


def state(pid: int) -> str:
    """One letter, as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def noted(ending: str) -> list[str]:
    return [step for step in ending.split(", ") if step != "SIGKILL"]


# The end


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("end", "status"), [("", 0), ("sys.exit(3)", 3), ("1 / 0", 1), ("del program", 0)])
def test_the_interpreters_end_takes_the_children_down_by_the_ladder(
    end: str, status: int, ending: str, host: Callable[..., Host], tmp_path: Path
) -> None:
    process = host(f"say(ask())\nsys.stderr = None\n{end}", ending=ending)
    pid = process.heard()

    assert process.ended() == status
    assert is_dead(pid)
    assert how_it_ended(tmp_path) == noted(ending)


def test_several_children_are_told_to_end_at_the_same_time(host: Callable[..., Host], tmp_path: Path) -> None:
    process = host(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Barrier\n"
        "programs = [shim.Shim(sys.argv[1], mode='warm') for _ in range(3)]\n"
        "say([program(1)['pid'] for program in programs])\n",
    )
    pids = process.heard()

    assert process.ended() == 0
    assert all(map(is_dead, pids))
    assert how_it_ended(tmp_path) == ["input"] * 4


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreters_end_takes_a_child_down_that_another_thread_asks(
    ending: str, host: Callable[..., Host], tmp_path: Path
) -> None:
    process = host(
        "import threading\n"
        "say(ask())\n"
        "threading.Thread(target=lambda: ask('hang'), daemon=True).start()\n"
        "while not os.path.exists(sys.argv[1] + '.hangs'): pass\n",
        ending=ending,
    )
    pid = process.heard()

    assert process.ended() == 0
    assert is_dead(pid)
    assert how_it_ended(tmp_path) == noted(ending)


def test_a_process_that_is_killed_ends_the_input_of_its_children(host: Callable[..., Host], tmp_path: Path) -> None:
    process = host("say(ask())\nwait()")
    pid = process.heard()
    process.process.kill()
    process.ended()
    eventually(lambda: is_dead(pid))

    assert how_it_ended(tmp_path) == ["input"]


# SIGTERM


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("waiting", ["wait()", "while True: pass", "ask('hang')"])
def test_sigterm_takes_the_children_down_and_the_process_dies_of_it(
    waiting: str, ending: str, host: Callable[..., Host], tmp_path: Path
) -> None:
    process = host(f"say(ask())\n{waiting}", ending=ending, before=HEARING)
    pid = process.heard()
    process.process.terminate()

    assert process.ended() == -signal.SIGTERM
    assert is_dead(pid)
    assert how_it_ended(tmp_path) == noted(ending)


def test_sigterm_is_left_alone_where_lambda_sends_none(host: Callable[..., Host]) -> None:
    """It does so to Python 3.12 and later."""
    process = host("say(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)")

    assert process.heard() == (sys.version_info < (3, 12))


@pytest.mark.parametrize("before", [True, False])
def test_a_host_with_a_handler_of_its_own_for_sigterm_keeps_it(
    before: bool, host: Callable[..., Host], tmp_path: Path
) -> None:
    handler = "def handler(*_): say(17); sys.exit(4)\nsignal.signal(signal.SIGTERM, handler)\n"
    shim = "program = shim.Shim(sys.argv[1], mode='warm')\n"
    process = host("program.close()\n" + (handler + shim if before else shim + handler) + "say(ask())\nwait()")
    pid = process.heard()
    process.process.terminate()

    assert process.heard() == 17
    assert process.ended() == 4  # and the interpreter's end takes the child down
    assert is_dead(pid)
    assert how_it_ended(tmp_path)[-1] == "input"


def test_a_shim_that_is_made_in_another_thread_can_be_used(host: Callable[..., Host]) -> None:
    """Only the main thread may handle signals."""
    process = host(
        "import threading\n"
        "def make(): say(shim.Shim(sys.argv[1], mode='warm')(1)['event'])\n"
        "program.close()\n"
        "thread = threading.Thread(target=make); thread.start(); thread.join()\n"
    )

    assert process.heard() == 1
    assert process.ended() == 0


# Forks

FORKS = """
def pipes(pid):
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try: found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError: pass  # what lists the folder
    return found
first = ask()
before = pipes(first)
forked = os.fork()
if not forked:
    say([sorted(before & pipes("self")), ask(), ask()])
    sys.exit(5)
_, status = os.waitpid(forked, 0)
say([os.waitstatus_to_exitcode(status), first, ask(), ask()])
wait()
"""


@pytest.fixture
def forked(host: Callable[..., Host]) -> tuple[Host, list[Any], list[Any]]:
    """A process that has forked another after its first invocation, and what both say."""
    process = host(FORKS)
    first, second = process.heard(), process.heard()
    return process, first, second


def test_a_forked_process_has_a_child_of_its_own(forked: tuple[Host, list[Any], list[Any]]) -> None:
    _, (_, once, again), (status, first, later, last) = forked

    assert status == 5
    assert once == again != first
    assert later == last == first


def test_a_forked_process_holds_no_descriptor_of_the_others_child(forked: tuple[Host, list[Any], list[Any]]) -> None:
    """Else its end of input would not come when the other closes it."""
    _, (held, _, _), _ = forked

    assert held == []


def test_a_forked_processs_end_takes_its_own_child_down_and_no_other(
    forked: tuple[Host, list[Any], list[Any]], tmp_path: Path
) -> None:
    process, (_, own, _), (_, first, _, _) = forked

    assert is_dead(own)
    assert not is_dead(first)
    assert how_it_ended(tmp_path) == ["input"]
    process.go_on()
    assert process.ended() == 0
    assert is_dead(first)
    assert how_it_ended(tmp_path) == ["input"] * 2


def test_a_fork_while_a_child_is_asked_leaves_both_well(host: Callable[..., Host]) -> None:
    """As where another thread forks: the one that asks gets its answer, and the forked process can ask, too."""
    process = host(
        "first = ask()\n"
        "import threading, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "event = 'x' * 3_000_000\n"
        "answers = []\n"
        "thread = threading.Thread(target=lambda: answers.append(program(event)))\n"
        "thread.start()\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    signal.alarm(15)\n"
        "    os._exit(0 if ask() != first else 1)\n"
        "_, status = os.waitpid(forked, 0)\n"
        "thread.join()\n"
        "say([os.waitstatus_to_exitcode(status), first == answers[0]['pid'], len(answers[0]['event'])])\n"
    )

    assert process.heard() == [0, True, 3_000_000]


# Freeze and thaw


def stopped(pids: list[int]) -> bool:
    return all(state(pid) == "T" for pid in pids)


def freeze(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: stopped(pids))


def thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


ANSWERS = "while True:\n    say(ask())\n    wait()\n"


def test_a_child_that_was_frozen_and_thawed_with_its_process_is_kept(host: Callable[..., Host]) -> None:
    process = host(ANSWERS)
    pid = process.heard()
    for _ in range(3):
        both = [process.process.pid, pid]
        freeze(both)
        thaw(both)
        process.go_on()

        assert process.heard() == pid


def test_a_child_that_thaws_after_its_process_is_waited_for(host: Callable[..., Host]) -> None:
    process = host(ANSWERS)
    pid = process.heard()
    freeze([pid, process.process.pid])
    thaw([process.process.pid])
    process.go_on()
    eventually(lambda: state(process.process.pid) == "S")
    thaw([pid])

    assert process.heard() == pid


def test_a_child_that_did_not_survive_the_freeze_is_replaced(host: Callable[..., Host]) -> None:
    process = host(ANSWERS)
    pid = process.heard()
    freeze([process.process.pid, pid])
    os.kill(pid, signal.SIGKILL)
    thaw([process.process.pid])
    eventually(lambda: state(pid) == "Z")
    process.go_on()
    second = process.heard()
    process.go_on()

    assert second == process.heard() != pid
