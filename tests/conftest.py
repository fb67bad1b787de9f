"""What all tests share: the actor, a context with a deadline, and the check that nothing of an executable is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest

from shim.children import sweep
from shim.logs import Log
from shim.testing.executables import compile_actor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"

HEAVY = {
    "test_conform",
    "test_conform_bootstrap",
    "test_packages",
    "test_packages_invoked",
    "test_pack",
    "test_chain",
    "test_check",
    "test_deploy",
    "test_elf",
    "test_invoke_package",
    "test_pytest_plugin",
}
"""The tests, besides those of packages, that keep a machine busy."""

# A busy machine decides how long an example takes, and that says nothing.
hypothesis.settings.register_profile("shim", deadline=None)
hypothesis.settings.load_profile("shim")


@pytest.fixture(scope="session")
def compiler() -> str:
    """The C compiler."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        missing("there is no C compiler (cc, gcc or clang)")
    return found


def missing(what: str) -> NoReturn:
    """A component that is not here fails a test where all must be (CI=true), and skips it elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def actor(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled actor; its path is this test process's alone, so that its processes can be told from all others."""
    assert compiler
    return str(compile_actor(tmp_path_factory.mktemp("actor")))


@pytest.fixture(scope="session")
def bootstrap(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled bootstrap, which does what its arguments say over the Runtime API."""
    program = tmp_path_factory.mktemp("bootstrap") / "bootstrap"
    command = [compiler, "-O2", "-o", str(program), str(FIXTURES / "executables" / "bootstrap.c")]
    if subprocess.run([*command, "-static"], check=False, capture_output=True).returncode != 0:
        subprocess.run(command, check=True)
    return program


@pytest.fixture
def left_behind(actor: str) -> Callable[[], list[int]]:
    """The processes, zombies too, that run the actor or are children of this process, and were not there before the test."""
    before = set(processes_of(actor))

    def look() -> list[int]:
        return [pid for pid in processes_of(actor) if pid not in before]

    return look


@pytest.fixture
def interrupted() -> Iterator[Callable[[Callable[[], object], float], None]]:
    """Does something, and interrupts it after so many seconds if it is not done by then, as Ctrl-C does."""
    armed: list[bool] = []

    def interrupt(number: int, frame: object) -> None:
        if armed:
            raise KeyboardInterrupt

    def do(act: Callable[[], object], after: float) -> None:
        try:
            armed.append(True)
            signal.setitimer(signal.ITIMER_REAL, after)
            act()
            armed.clear()
        except KeyboardInterrupt:
            armed.clear()

    before = signal.signal(signal.SIGALRM, interrupt)
    yield do
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function's log goes nowhere: for floods, which the test runner would keep in memory."""
    with open(os.devnull, "wb") as nowhere:
        log = Log(nowhere.fileno())
        monkeypatch.setattr("shim.adapter.function_log", lambda: log)
        yield


@pytest.fixture
def subreaper() -> Iterator[None]:
    """This process is the subreaper: every orphan among its descendants falls to it, and is in reach."""
    sweep.set_subreaper(on=True)
    yield
    sweep.set_subreaper(on=False)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Runs one thing beside the test."""
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A FIFO: who reads it waits until it is written to."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def processes_of(executable: str) -> list[int]:
    """Every process whose program is that file, and every zombie of ours that bears its name: a zombie has no file any more."""
    found = []
    comm = os.path.basename(executable)[:15].encode()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            named, _, rest = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")
            state, parent = rest.split()[:2]
            is_zombie = state == b"Z" and int(parent) == os.getpid() and named.partition(b"(")[2] == comm
            if is_zombie or os.readlink(f"/proc/{name}/exe") == executable:
                found.append(int(name))
        except OSError:
            continue
    return found


def children() -> set[int]:
    """The processes, zombies too, that are ours at the moment: a test before may have left one that has not ended."""
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                found.add(int(name))
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def _gives_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """What builds and packs gives way to tests of deadlines, which run beside it. Only root may take that back."""
    is_heavy = request.node.path.parent.name == "package" or request.node.path.stem in HEAVY
    if not is_heavy or os.geteuid() != 0:
        yield
        return
    os.setpriority(os.PRIO_PROCESS, 0, 10)
    yield
    os.setpriority(os.PRIO_PROCESS, 0, 0)


def eventually(condition: Callable[[], object], *, within: float = 10) -> None:
    """Waits for what another process does, and fails if it does not come."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            pytest.fail("what was waited for did not come")
        time.sleep(0.005)


def descriptors() -> set[int]:
    """Our own open descriptors."""
    return {int(name) for name in os.listdir("/proc/self/fd")} - {-1}
