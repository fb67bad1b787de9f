"""The processes of one execution environment, found, measured, stopped and killed, wherever they went."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

import pytest

from shim.local import tree as trees
from shim.local.context import log_stream
from shim.local.tree import MARK, Tree
from tests.conftest import eventually
from tests.local.served import states_in
from tests.real.session import ends, processes_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Grow(Protocol):
    """Starts a tree."""

    def __call__(self, *command: str | Path, count: int = 1) -> Tree:
        """With that command, and waits until it has so many processes."""


@pytest.fixture
def grow(folder: Path) -> Iterator[Grow]:
    """Starts trees, and waits for their roots in the end."""
    roots: list[subprocess.Popen[bytes]] = []

    def begin(*command: str | Path, count: int = 1) -> Tree:
        mark = log_stream()  # others may test at the same time
        environment = {"PATH": os.environ["PATH"], MARK: mark}
        before = len(processes_in(folder))
        root = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
        roots.append(root)
        eventually(lambda: len(processes_in(folder)) >= before + count)
        return Tree(root.pid, mark)

    yield begin
    for root in roots:
        root.kill()
        root.wait()


SHELL = ("/bin/sh", "-c")


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("sleep 600 & sleep 600", 3),
        ("setsid sleep 600 & exec sleep 600", 2),
        ("(sleep 600 &) ; exec sleep 600", 2),
        ("(setsid sleep 600 &) ; exec sleep 600", 2),
        ("(env -i sleep 600 &) ; exec sleep 600", 2),  # in the session of the root
        ("(setsid sh -c 'env -i sleep 600 & sleep 600' &) ; exec sleep 600", 3),
        ("trap '' TERM INT HUP; (trap '' TERM; sleep 600) & sleep 600", 3),
        ("kill -STOP $$", 1),
        ("for i in $(seq 100); do (setsid sleep 600 &); done; exec sleep 600", 101),
    ],
    ids=["children", "session", "orphan", "orphan session", "wiped orphan", "wiped child", "deaf", "stopped", "many"],
)
def test_all_of_a_tree_is_killed(grow: Grow, folder: Path, script: str, count: int) -> None:
    """And nothing else: the tree of another stays."""
    other = grow("sleep", "600")
    tree = grow(*SHELL, script, count=count)
    tree.kill()

    assert len(processes_in(folder)) == 1
    other.kill()
    assert processes_in(folder) == set()


def test_what_was_seen_below_is_known_for_ever(grow: Grow, folder: Path) -> None:
    """Though it left its session, wiped its environment and lost its parents since."""
    tree = grow(
        *SHELL, "sh -c 'env -i setsid sleep 600 & while [ ! -e gone ]; do sleep 0.01; done'; exec sleep 600", count=4
    )
    tree.look()
    (folder / "gone").touch()
    eventually(lambda: len(processes_in(folder)) == 2)
    tree.look()
    tree.kill()

    assert processes_in(folder) == set()


def test_what_left_without_a_trace_is_out_of_reach(grow: Grow, folder: Path) -> None:
    """It was never looked at while it had a parent, and has neither session nor mark: nobody can tell whose it is."""
    tree = grow(*SHELL, "(env -i setsid sleep 1 &); exec sleep 600", count=2)
    eventually(lambda: sum(leads_a_session(pid) for pid in processes_in(folder)) == 2)
    tree.kill()
    (left,) = processes_in(folder)

    assert ends(left, within=5)


def leads_a_session(pid: int) -> bool:
    """Whether it has one of its own."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def test_a_process_whose_first_thread_has_ended_is_no_corpse(grow: Grow, folder: Path) -> None:
    """The kernel shows it as a zombie while its other threads live on."""
    program = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start();"
        " ctypes.CDLL(None).pthread_exit(None)"
    )
    tree = grow(*SHELL, f'{sys.executable} -S -c "{program}" & sleep 600', count=1)
    eventually(lambda: b"Z" in states_of_children(tree))
    tree.look()
    tree.kill()

    assert set(states_of_children(tree)) <= {b"Z"}
    assert set(threads_of_children(tree)) <= {1}


def states_of_children(tree: Tree) -> list[bytes]:
    """Of all but the root; a zombie has no folder that could be looked at."""
    return [look.state for look in trees._looks() if look.session == tree._root and look.pid != tree._root]  # noqa: SLF001


def threads_of_children(tree: Tree) -> list[int]:
    return [look.threads for look in trees._looks() if look.session == tree._root and look.pid != tree._root]  # noqa: SLF001


def test_all_of_a_tree_stops_and_goes_on(grow: Grow, folder: Path) -> None:
    """Again and again; where nothing of it is left nothing happens."""
    tree = grow(*SHELL, "(setsid sleep 600 &); sleep 600 & exec sleep 600", count=3)
    for _ in range(20):
        tree.stop()
        assert states_in(folder) == ["T"] * 3
        tree.go_on()
        eventually(lambda: "T" not in states_in(folder))
    tree.stop()
    tree.kill()
    assert processes_in(folder) == set()

    tree.stop()
    tree.go_on()
    tree.look()


def test_who_waits_for_one_that_was_stopped_is_not_waited_for(grow: Grow, folder: Path) -> None:
    """A process that has called vfork sleeps in the kernel until its child is another program."""
    program = "import subprocess, sys; [subprocess.run(['/bin/true']) for _ in iter(int, 1)]"
    tree = grow(sys.executable, "-S", "-c", program)
    for _ in range(20):
        began = time.monotonic()
        tree.stop()
        assert time.monotonic() - began < 2
        assert set(states_in(folder)) <= {"T", "D"}
        tree.go_on()
    tree.kill()


def test_the_memory_is_the_sum_of_all_at_once_at_its_peak(grow: Grow, folder: Path) -> None:
    """Of those as well that are in sessions of their own."""
    use = f"{sys.executable} -S -c \"x = b'x' * 40_000_000; import time; time.sleep(600)\""
    tree = grow(*SHELL, f"{use} & setsid {use} & exec sleep 600", count=3)

    def shows() -> bool:
        tree.look()
        return tree.peak > 80_000_000

    eventually(shows)
    peak = tree.peak
    tree.kill()
    tree.look()

    assert tree.peak == peak < 150_000_000


def test_a_number_that_became_anothers_is_not_signalled(grow: Grow, folder: Path) -> None:
    """A process is known by its birth as well."""
    tree = grow("sleep", "600")
    stranger = subprocess.Popen(["sleep", "600"], cwd=folder)
    tree._seen[stranger.pid] = 1  # noqa: SLF001 - as if another had had that number
    tree.stop()
    tree.kill()

    assert processes_in(folder) == {stranger.pid}
    assert states_in(folder) == ["S"]
    stranger.kill()
    stranger.wait()


def test_what_becomes_another_program_again_and_again_is_killed(grow: Grow, folder: Path) -> None:
    """In the midst of execve its environment can't be read, so that for moments nobody can tell whose it is."""
    program = folder / "program"
    program.write_text('#!/bin/sh\nexec "$0"\n')
    program.chmod(0o755)
    tree = grow(*SHELL, f"(setsid {program} &); exec sleep 600", count=2)
    looks = []
    for _ in range(50):
        tree._seen.clear()  # noqa: SLF001 - as if it was never seen before
        looks.append(tree._find(lambda _look: None))  # noqa: SLF001
    tree.kill()

    assert processes_in(folder) == set()
    assert all(len(found) >= 2 or not sure for found, sure in looks)


def test_the_newest_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel has begun again to count, those with greater numbers than the last are the oldest."""
    others = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    older, last, oldest = sorted(other.pid for other in others)
    monkeypatch.setattr(trees, "last_pid", lambda: last)
    looked = [look.pid for look in trees._looks()]  # noqa: SLF001
    for other in others:
        other.kill()
        other.wait()

    assert looked.index(last) < looked.index(older) < looked.index(1) < looked.index(oldest)


def test_what_is_started_while_is_looked_is_looked_at_before_the_rest() -> None:
    """Its threads are no processes."""
    looks = trees._looks()  # noqa: SLF001
    next(looks)
    program = (
        "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start();"
        " print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        threads = {int(name) for name in os.listdir(f"/proc/{started.pid}/task")}
        looked = [look.pid for look in looks]
        started.kill()

    assert len(threads) == 2
    assert threads & set(looked) == {started.pid}
    assert looked.index(started.pid) < looked.index(1)


def test_a_tree_that_is_gone_is_killed_without_harm(grow: Grow) -> None:
    """Also where its root has been waited for."""
    tree = grow("sleep", "600")
    tree.kill()
    tree.kill()
