"""The plugin of pytest, from the wheel, in a project of somebody else's: who does not use it is not bothered, and who does gets what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
OUTSIDE = ("PYTHON", "PYTEST", "SHIM", "AWS", "CI", "COV")
"""How variables begin of which a stranger has none."""


class Run(NamedTuple):
    """What one run of pytest came to."""

    code: int
    outcomes: dict[str, str]
    """Of each test, by its name: passed, failure, error or skipped."""
    reasons: dict[str, str]
    """What is said of those that did not pass."""
    text: str


class Project:
    """A folder with somebody's tests, and the Python that runs them."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder
        self.write("pytest.ini", "[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(text))

    def pytest(self, *options: str, **variables: str) -> Run:
        report = self.folder / "report.xml"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
        ended = subprocess.run(
            [self.python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *options],
            cwd=self.folder,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        outcomes, reasons = {}, {}
        for case in ET.parse(report).getroot().iter("testcase") if report.exists() else []:  # noqa: S314 - pytest wrote it
            name = case.get("name", "")
            told = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            outcomes[name] = "passed" if told is None else told.tag
            if told is not None:
                reasons[name] = f"{told.get('message')}\n{told.text}"
        report.unlink(missing_ok=True)
        return Run(ended.returncode, outcomes, reasons, ended.stdout)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project, as it is distributed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120)
    (made,) = folder.glob("lambda_shim-*.whl")
    return made


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A Python with the wheel, pytest and these, and nothing else."""

    def make(requirement: str) -> Path:
        folder = tmp_path_factory.mktemp("python")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
        python = folder / "bin" / "python"
        pip = [*PIP, "--python", str(python), "install"]
        subprocess.run([*pip, requirement.format(wheel), "pytest>=8.2"], check=True, timeout=120)
        return python

    return make


@pytest.fixture(scope="session")
def without_extras(install: Callable[..., Path]) -> Path:
    return install("lambda-shim @ file://{}")


@pytest.fixture(scope="session")
def with_extra(install: Callable[..., Path]) -> Path:
    return install("lambda-shim[testing] @ file://{}")


@pytest.fixture
def stranger(without_extras: Path, tmp_path: Path) -> Project:
    """The project of somebody who has this installed, without extras."""
    return Project(without_extras, tmp_path)


@pytest.fixture
def user(with_extra: Path, tmp_path: Path) -> Project:
    """The project of somebody who uses the testing kit."""
    return Project(with_extra, tmp_path)


def test_a_suite_that_does_not_use_it_runs_clean_and_loads_nothing_of_the_kit(stranger: Project) -> None:
    """Its own fixtures and markers win, whatever their names."""
    stranger.write(
        "conftest.py",
        """
        import pytest

        @pytest.fixture
        def lambda_context():
            return "my own"

        def pytest_configure(config):
            config.addinivalue_line("markers", "slow: takes long")
        """,
    )
    stranger.write(
        "test_mine.py",
        """
        import importlib.util, sys
        import pytest

        HEAVY = ("hypothesis", "h11", "psutil", "typer", "rich", "boto3", "asyncio", "shim.testing", "shim.local", "shim.cli")

        def test_nothing_heavy_is_loaded():
            assert [name for name in sys.modules if name.startswith(HEAVY)] == []
            assert "shim.pytest_plugin" in sys.modules
            assert importlib.util.find_spec("hypothesis") is None

        @pytest.mark.slow
        def test_my_fixture_is_mine(lambda_context, tmp_path):
            assert lambda_context == "my own"

        @pytest.mark.parametrize("number", [1, 2])
        def test_of_a_table(number):
            assert number
        """,
    )
    run = stranger.pytest()

    assert (run.code, set(run.outcomes.values()), len(run.outcomes)) == (0, {"passed"}, 4), run.text
    assert "warning" not in run.text


def test_a_misspelled_marker_is_still_an_error(stranger: Project) -> None:
    stranger.write("test_mine.py", "import pytest\n\n@pytest.mark.real_componet('sh')\ndef test_it(): pass\n")

    assert "'real_componet' not found in `markers`" in stranger.pytest().text


def test_the_fixtures_need_no_extra_and_what_does_says_so_in_a_sentence(stranger: Project) -> None:
    stranger.write(
        "test_mine.py",
        """
        import pytest
        from shim.testing import LambdaContext, capture, exits, reads_line, replies

        def test_the_fixtures(shim_invoke, fake_executable, lambda_context):
            fake = fake_executable(reads_line(), replies({"a": 1}))
            assert shim_invoke(fake, {}, context=lambda_context) == {"a": 1}

        def test_what_needs_it():
            with pytest.raises(ImportError) as raised:
                from shim.testing import strategies
            assert str(raised.value) == "shim.testing.strategies needs hypothesis: pip install 'lambda-shim[testing]'"
        """,
    )
    run = stranger.pytest()

    assert run.outcomes == {"test_the_fixtures": "passed", "test_what_needs_it": "passed"}, run.text


SUITE = """
import os, sys
import pytest
import shim
from hypothesis import given, settings, HealthCheck
from shim.testing import (
    FakeExecutable, LambdaContext, capture, echoes, exits, hangs, reads_line, replies, strategies, writes_stderr
)

@given(event=strategies.json_values(sendable=True))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_is_answered(event, shim_invoke):
    assert shim_invoke("cat", event, output="json")["event"] == event

def test_an_executable_is_run_once(shim_invoke, fake_executable):
    fake = fake_executable(reads_line(), replies({"ok": True}))
    assert shim_invoke(fake, {"a": 1}) == {"ok": True}
    assert shim_invoke(str(fake.path), {"a": 1}, output="json") == {"ok": True}

def test_a_failure_is_its_error(shim_invoke, fake_executable):
    with pytest.raises(shim.ExitError) as raised:
        shim_invoke(fake_executable(reads_line(), writes_stderr("oh"), exits(3)))
    assert (raised.value.exit_code, raised.value.stderr_tail) == (3, "oh")

def test_a_failure_that_is_not_expected(shim_invoke, fake_executable):
    shim_invoke(fake_executable(reads_line(), exits(3)))

def test_a_deadline_of_its_own(shim_invoke, fake_executable, lambda_context):
    fake = fake_executable(reads_line(), hangs())
    with pytest.raises(shim.DeadlineExceeded):
        shim_invoke(fake, timeout=0.3)
    lambda_context.move_deadline(-59.7)
    with pytest.raises(shim.DeadlineExceeded):
        shim_invoke(fake, context=lambda_context)
    with pytest.raises(ValueError, match="beside a context"):
        shim_invoke(fake, context=lambda_context, timeout=1)
    with pytest.raises(ValueError, match="timeout must be"):
        shim_invoke(fake, timeout=-1)

def test_the_context_is_lambdas_and_has_a_minute(lambda_context):
    assert isinstance(lambda_context, LambdaContext)
    assert 50_000 < lambda_context.get_remaining_time_in_millis() <= 60_000

kept = []

def has_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True

def test_a_kept_one_serves_many(shim_invoke, fake_executable):
    fake = fake_executable(FakeExecutable.warm(echoes()))
    program = shim_invoke.shim(fake, mode="warm")
    assert [program({"n": n}) for n in range(3)] == [{"n": n} for n in range(3)]
    kept.append(program)

def test_and_is_closed_after_its_test():
    with pytest.raises(shim.ShimClosed):
        kept.pop()({})
    assert not has_children()

def test_a_kept_one_that_is_run_once_is_not_kept(shim_invoke, fake_executable):
    assert shim_invoke(fake_executable(FakeExecutable.warm(echoes())), 1, mode="warm") == 1
    assert not has_children()

def test_fakes_are_files_of_their_own_below_tmp_path(fake_executable, tmp_path, monkeypatch, shim_invoke):
    one, two = fake_executable(exits(1), name="pandoc"), fake_executable(replies(2), name="pandoc")
    assert one.path != two.path
    assert tmp_path in one.path.parents and tmp_path in two.path.parents
    assert (os.fspath(one), one.path.name, one.fake) == (str(one.path), "pandoc", FakeExecutable(exits(1)))
    monkeypatch.setenv("PATH", str(two.path.parent), prepend=os.pathsep)
    assert shim_invoke("pandoc") == 2

@pytest.mark.parametrize("name", ["", "a/b", "/a", ".", ".."])
def test_a_name_of_no_file(name, fake_executable):
    with pytest.raises(ValueError, match="name must be"):
        fake_executable(exits(1), name=name)

def test_what_is_no_behaviour(fake_executable):
    with pytest.raises(TypeError, match="composed of behaviours"):
        fake_executable("exits(1)")

def test_a_setting_that_there_is_not(shim_invoke):
    with pytest.raises(shim.SettingsError, match="no_such"):
        shim_invoke("cat", no_such=1)

def test_its_log_can_be_captured(shim_invoke, fake_executable):
    with capture() as captured:
        shim_invoke(fake_executable(reads_line(), writes_stderr("oh"), replies(1)), metrics="emf")
    assert captured.lines[0] == "oh"
    assert captured.metrics[0]["exit_code"] == 0

@pytest.fixture(scope="module")
def made_for_nothing():
    pytest.fail("a fixture was made for a test that needs what is not here")

@pytest.mark.real_component("sh")
@pytest.mark.real_component(sys.executable, "cat")
def test_of_components_that_are_here(): pass

@pytest.mark.real_component("sh", "no-such-program")
def test_of_one_that_is_missing(made_for_nothing): pass

@pytest.mark.real_component("no-such-program")
class TestOfTwo:
    @pytest.mark.real_component("nor-this")
    def test_that_are_missing(self, made_for_nothing): pass
"""
WRONG = """
import pytest

@pytest.mark.real_component
def test_without_a_name(): pass

@pytest.mark.real_component(name="sh")
def test_with_a_keyword(): pass

@pytest.mark.real_component("sh", reason="why not")
def test_with_a_reason(): pass

@pytest.mark.real_component("sh", 3)
def test_with_a_number(): pass

@pytest.mark.real_component("")
def test_with_an_empty_name(): pass
"""
MISSING = {
    "test_of_one_that_is_missing": "needs the real no-such-program, which is not here: install it",
    "test_that_are_missing": "needs the real nor-this and no-such-program, which are not here: install them",
}


def test_a_suite_that_uses_the_fixtures_and_the_marker_passes_fails_and_skips_as_it_says(user: Project) -> None:
    user.write("test_kit.py", SUITE)
    run = user.pytest("-rs")
    others = {name: outcome for name, outcome in run.outcomes.items() if outcome != "passed"}

    assert others == dict.fromkeys(MISSING, "skipped") | {"test_a_failure_that_is_not_expected": "failure"}, run.text
    assert len(run.outcomes) == SUITE.count("def test_") + 4
    assert "ExitError" in run.reasons["test_a_failure_that_is_not_expected"]
    for name, sentence in MISSING.items():
        assert run.reasons[name].startswith(sentence)
    assert "test_kit.py" in run.reasons["test_of_one_that_is_missing"]
    assert run.code == 1


@pytest.mark.parametrize(("value", "outcome"), [("true", "error"), ("false", "skipped"), ("", "skipped")])
def test_what_is_missing_fails_where_all_must_be_there(value: str, outcome: str, user: Project) -> None:
    user.write("test_kit.py", SUITE)
    run = user.pytest("-k", "missing or that_are_here", CI=value)

    assert run.outcomes == dict.fromkeys(MISSING, outcome) | {"test_of_components_that_are_here": "passed"}, run.text
    for name, sentence in MISSING.items():
        assert sentence in run.reasons[name]
        assert "Traceback" not in run.reasons[name]


@pytest.mark.parametrize("variables", [{}, {"CI": "true"}])
def test_a_marker_that_names_no_program_is_an_error_that_says_how_it_is_used(
    variables: dict[str, str], user: Project
) -> None:
    user.write("test_wrong.py", WRONG)
    run = user.pytest(**variables)

    assert set(run.outcomes.values()) == {"error"}, run.text
    assert len(run.outcomes) == 5
    for name, given in (
        ("test_with_a_reason", "('sh', reason='why not')"),
        ("test_without_a_name", "()"),
        ("test_with_a_keyword", "(name='sh')"),
        ("test_with_a_number", "('sh', 3)"),
        ("test_with_an_empty_name", "('')"),
    ):
        wanted = f'real_component takes names of programs, as in pytest.mark.real_component("pandoc"), and not {given}'
        assert wanted in run.reasons[name]


def test_pytest_tells_what_there_is(user: Project) -> None:
    fixtures = user.pytest("--fixtures").text
    markers = user.pytest("--markers").text

    for name in ("shim_invoke", "fake_executable", "lambda_context"):
        assert f"{name} -- " in fixtures
    assert "no docstring available" not in fixtures.partition("shim.pytest_plugin")[2]
    assert '@pytest.mark.real_component("program", …): the test runs these programs' in markers
