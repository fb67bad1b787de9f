"""The fixtures and the marker that pytest has where this project is installed.

Every run of pytest loads this file, whether it uses it or not: so it imports nothing but pytest and what Python has loaded anyway, and a fixture
loads what it needs when it is used.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shim import Shim
    from shim.invocation import LambdaContext as AnyContext
    from shim.testing.behaviours import Behaviour
    from shim.testing.executables import FakeExecutable
    from shim.testing.invoking import LambdaContext

TIMEOUT = 60.0
"""Seconds that an invocation has: enough for a busy machine, and one that hangs ends."""
MARKER = "real_component"


class ShimInvoke:
    """What the fixture `shim_invoke` is."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    def __call__(
        self,
        executable: str | os.PathLike[str],
        event: Any = None,
        *,
        context: AnyContext | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Any:
        """The value that the executable answers to the event, through a Shim of its own, which is closed then.

        Args:
            executable: a path, a name on PATH, or what `fake_executable` made.
            event: any JSON value, or bytes that are JSON.
            context: Lambda's context object; a new one where none is given.
            timeout: seconds that the new one has; 60 where none are given.
            settings: those of shim (`args=["-x"]`, `output="json"`).

        Raises:
            ShimError: the one that tells what went wrong.
            ValueError: a timeout is given beside a context, which has its own deadline; or it is none.
        """
        if context is None:
            from shim.testing.invoking import LambdaContext  # noqa: PLC0415 - see above

            context = LambdaContext(timeout=TIMEOUT if timeout is None else timeout)
        elif timeout is not None:
            raise ValueError(f"timeout={timeout!r} can't be given beside a context, which has its own deadline")
        with _shim(executable, settings) as program:
            return program(event, context)

    def shim(self, executable: str | os.PathLike[str], **settings: Any) -> Shim:
        """A Shim that may be called many times, as one with `mode="warm"` is. It is closed after the test.

        Args:
            executable: as above.
            settings: as above.

        Raises:
            SettingsError: with every mistake in the settings.
            ExecutableError: the file can't be run, as far as a look at it tells.
        """
        return self._held.enter_context(_shim(executable, settings))


class WrittenFake:
    """A fake executable as a file: wherever a path is taken, it is one."""

    def __init__(self, fake: FakeExecutable, path: Path) -> None:
        self.fake = fake
        """What it is composed of; its `expected_outcome` tells what must come of it."""
        self.path = path
        """Where the file is, alone in its folder: with that folder first on PATH it stands for the program of its name."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<{self.fake!r} at {self.path}>"


class FakeWriter:
    """What the fixture `fake_executable` is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, *parts: Behaviour | FakeExecutable, name: str = "fake", **settings: Any) -> WrittenFake:
        """Writes an executable that does these things, one after the other, and then ends with code 0.

        Args:
            parts: behaviours, as `shim.testing.exits(3)` is one; or one FakeExecutable, which is composed already.
            name: the file's.
            settings: `reply_fd` and `framing`, as `shim.testing.FakeExecutable` takes them beside behaviours.

        Raises:
            ValueError: one of them makes no sense.
            TypeError: a part is no behaviour.
        """
        from shim.testing.executables import FakeExecutable  # noqa: PLC0415 - see above

        if not name or "/" in name or name in (".", ".."):
            raise ValueError(f"name must be that of a file, without a folder, not {name!r}")
        if len(parts) == 1 and isinstance(parts[0], FakeExecutable) and not settings:
            fake = parts[0]
        else:
            fake = FakeExecutable(*parts, **settings)  # type: ignore[arg-type] # which refuses what is no behaviour
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir(parents=True)
        return WrittenFake(fake, fake.write_to(folder / name))


@pytest.fixture
def shim_invoke() -> Iterator[ShimInvoke]:
    """Runs an executable once, as a Lambda function would, and gives its answer, or raises the ShimError that tells what went wrong.

    shim_invoke("bin/program", {"any": "JSON"}, args=["-x"], output="json"): the executable is a path, a name on PATH, or what fake_executable made;
    every setting of shim is a keyword. The invocation has 60 seconds, or timeout=…, or a context of your own with context=…. No process is left, but for one that hides
    (shim.testing.vanishes).

    shim_invoke.shim(executable, mode="warm", …) is a Shim that may be called many times, and is closed after the test.
    """
    with ExitStack() as held:
        yield ShimInvoke(held)


@pytest.fixture
def fake_executable(tmp_path: Path) -> FakeWriter:
    """Writes an executable that does what you say, below tmp_path.

    fake_executable(reads_line(), replies({"a": 1})): such behaviours are in shim.testing. What it gives is a path, has one as .path, and the
    FakeExecutable as .fake. A FakeExecutable in their place is written as it is, as one that serves many requests:
    fake_executable(FakeExecutable.warm(echoes())). With name=… the file stands for the program of that name, where its folder is first on PATH.
    """
    return FakeWriter(tmp_path / "fake_executables")


@pytest.fixture
def lambda_context() -> LambdaContext:
    """Lambda's context object, with a deadline 60 seconds from now that can be set and moved.

    lambda_context.move_deadline(-59), .expire(), .deadline_ms = …. For a context with a name, a client context or another timeout there is the
    class, shim.testing.LambdaContext(timeout=3, name="orders").
    """
    from shim.testing.invoking import LambdaContext  # noqa: PLC0415 - see above

    return LambdaContext(timeout=TIMEOUT)


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line(
        "markers",
        f'{MARKER}("program", …): the test runs these programs, each a name on PATH or a path. Where one is missing, it is skipped; with CI=true in '
        "the environment it fails.",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skips a test that needs what is not here."""
    problem = None if _in_ci() else _missing(item)
    if problem is not None:
        item.add_marker(pytest.mark.skip(reason=problem))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails a test that needs what must be here, before its fixtures are made; and one whose marker says nothing."""
    problem = _misuse(item) or (_missing(item) if _in_ci() else None)
    if problem is not None:
        pytest.fail(problem, pytrace=False)


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _misuse(item: pytest.Item) -> str | None:
    """What is wrong with a marker of the test's, as a sentence."""
    for mark in item.iter_markers(MARKER):
        if mark.kwargs or not mark.args or not all(isinstance(name, str) and name for name in mark.args):
            given = ", ".join([*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())])
            return f'{MARKER} takes names of programs, as in pytest.mark.{MARKER}("pandoc"), and not ({given})'
    return None


def _missing(item: pytest.Item) -> str | None:
    """Which of the programs that the test needs are not here, as a sentence."""
    if _misuse(item):
        return None
    names = dict.fromkeys(name for mark in item.iter_markers(MARKER) for name in mark.args)
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return None
    *others, last = missing
    listed = f"{', '.join(others)} and {last}, which are" if others else f"{last}, which is"
    return f"needs the real {listed} not here: install {'them' if others else 'it'}"


def _shim(executable: str | os.PathLike[str], settings: dict[str, Any]) -> Shim:
    from shim import Shim  # noqa: PLC0415 - see above

    return Shim(os.fspath(executable), **settings)
