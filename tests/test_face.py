"""The public face: what `import shim` promises."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import shim
from shim import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIRE_NAMES = {
    "DeadlineExceeded",
    "EventInvalid",
    "ExecutableError",
    "ExecutableNotFound",
    "ExecutableNotRunnable",
    "ExitError",
    "NotReady",
    "OutputInvalid",
    "OutputTooLarge",
    "PackageError",
    "ReplyMissing",
    "ReplyUnexpected",
    "ReportedError",
    "RuntimeApiError",
    "SettingsError",
    "ShimClosed",
    "ShimError",
    "SignalError",
}


def submodules() -> list[str]:
    return [
        module.name
        for module in pkgutil.walk_packages(shim.__path__, "shim.")
        if not module.name.startswith("shim.cli.__main__")
    ]


def test_the_names_of_errors_are_frozen_since_step_functions_match_on_them() -> None:
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert names == WIRE_NAMES
    assert set(shim.__all__) == WIRE_NAMES | {"Shim", "Settings", "Invocation", "handler"}


def test_every_error_is_public_and_a_shim_error() -> None:
    for name in WIRE_NAMES:
        assert getattr(shim, name) is getattr(errors, name)
        assert issubclass(getattr(shim, name), shim.ShimError)


@pytest.fixture
def no_handler_yet() -> Iterator[None]:
    """As after a fresh import: the handler is not built."""
    vars(shim).pop("handler", None)
    yield
    vars(shim).pop("handler", None)


@pytest.mark.usefixtures("no_handler_yet")
def test_the_handler_is_built_once_after_every_submodule_was_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A submodule named like a public name would take its place; importing every one of them shows it."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.setenv("SHIM_EXECUTABLE", "cat")
    for name in submodules():
        importlib.import_module(name)

    handler = importlib.import_module("shim").handler

    assert isinstance(handler, shim.Shim)
    assert importlib.import_module("shim").handler is handler
    assert handler({"a": 1}, None)["event"] == {"a": 1}


def test_no_submodule_bears_a_public_name() -> None:
    assert not {name.rpartition(".")[2] for name in submodules()} & set(shim.__all__)


@pytest.mark.usefixtures("no_handler_yet")
def test_a_bad_setting_is_raised_as_itself_and_not_as_a_missing_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    """awslambdaric takes an AttributeError for a handler that does not exist."""
    monkeypatch.setenv("SHIM_MODE", "no such mode")
    monkeypatch.delenv("SHIM_EXECUTABLE", raising=False)

    with pytest.raises(shim.SettingsError) as raised:
        _ = shim.handler

    assert len(raised.value.mistakes) == 2


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="handlr"):
        _ = shim.handlr


def test_an_invocation_loads_orjson_and_little_else() -> None:
    """A cold start is a feature: what may not be loaded after one invocation."""
    forbidden = [
        "argparse",
        "signal",
        "asyncio",
        "concurrent",
        "ctypes",
        "difflib",
        "fnmatch",
        "hypothesis",
        "http",
        "logging",
        "multiprocessing",
        "psutil",
        "pytest",
        "rich",
        "shlex",
        "socket",
        "subprocess",
        "tempfile",
        "tomllib",
        "typer",
        "typing",
        "zipfile",
    ]
    program = (
        "import sys; before = set(sys.modules)\n"
        "import orjson; beside_orjson = set(sys.modules)\n"
        "import shim; shim.Shim('cat')({'a': 1})\n"
        f"print(sorted(set({forbidden!r}) & (set(sys.modules) - beside_orjson)))"
    )

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert answer.stdout == "[]\n"


def test_the_version_is_that_of_the_distribution() -> None:
    assert shim.__version__ == importlib.metadata.version("lambda-shim")
