"""A function's folder, and execution environments that end with the test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.real import components
from tests.real.rie import Rie
from tests.real.session import kill, left_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.real.quota import Quota

ENVIRONMENTS = {"ascii": "", "utf8": "AWS_Lambda_python3.12"}
"""AWS_EXECUTION_ENV, by which the runtime client chooses how it encodes: as ASCII up to Python 3.11, as UTF-8 from 3.12 on."""


class Start(Protocol):
    """Starts an execution environment."""

    def __call__(
        self,
        variables: Mapping[str, str] = {},
        *,
        quota: Quota | None = None,
        under: Sequence[str] = (),
        bootstrap: Sequence[str] = (),
    ) -> Rie:
        """With these variables, under that quota and under that command: the function alone, not the emulator, which has no part of a
        function's share or of what its sandbox lacks. A bootstrap is started in place of the runtime client with our handler.
        """


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The deployment package of a function whose executable does what its event asks for. No process may be left in it."""
    root = tmp_path / "task"
    root.mkdir()
    shutil.copy(Path(__file__).with_name("obey"), root)
    (root / "obey").chmod(0o755)
    yield root
    left = left_in(root)
    for pid in left:
        kill(pid)

    assert left == set()


@pytest.fixture
def answer_with(folder: Path) -> Callable[..., dict[str, str]]:
    """Puts a reply, an exit code and text for standard error where the executable finds them, and gives the event that asks for them."""

    def put(reply: bytes, *, code: int = 0, complaint: bytes = b"") -> dict[str, str]:
        (folder / "reply").write_bytes(reply)
        (folder / "code").write_text(str(code))
        (folder / "complaint").write_bytes(complaint)
        return {"do": "reply"}

    return put


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts execution environments, and ends them with the test."""
    program = components.rie()
    command = [*components.awslambdaric(), "shim.handler"]
    started: list[Rie] = []
    log = tmp_path / "log"

    def begin(
        variables: Mapping[str, str] = {},
        *,
        quota: Quota | None = None,
        under: Sequence[str] = (),
        bootstrap: Sequence[str] = (),
    ) -> Rie:
        function = [*under, *(bootstrap or command)]
        begun = Rie(
            program,
            quota.limits(function) if quota else function,
            folder=folder,
            variables=variables,
            log=log,
        )
        started.append(begun)
        return begun

    yield begin
    for environment in started:
        environment.session.end()
    if log.exists():  # shown where the test has failed
        sys.stdout.write(log.read_text(errors="replace")[-10_000:])


@pytest.fixture(params=ENVIRONMENTS)
def rie(request: pytest.FixtureRequest, start: Start) -> Rie:
    """An execution environment, of either encoding."""
    return start({"AWS_EXECUTION_ENV": ENVIRONMENTS[request.param]})
