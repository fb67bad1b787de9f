"""The house: imports run downwards only, and what is pure stays pure."""

from __future__ import annotations

import ast
from pathlib import Path

import shim

PACKAGE = Path(shim.__file__).parent
LADDER = [
    {"cli", "pytest_plugin"},
    {"testing"},
    {"project", "package", "local"},
    {"runtime"},
    {"adapter"},
    {"snapshot"},
    {"children", "codecs"},
    {"runtime_api", "logs", "metrics"},
    {"settings", "invocation", "request", "outcome", "records"},
    {"elf", "errors"},
]
PURE = ["codecs/", "request.py", "outcome.py", "errors.py", "metrics.py", "records.py", "runtime_api/", "elf.py"]
THE_MACHINE = {"os", "subprocess", "socket", "select", "time", "threading", "pathlib", "signal", "fcntl"}
DRAWERS = {"utils", "util", "common", "base", "helpers", "manager", "misc"}


def sources() -> list[Path]:
    """All modules: templates are files of projects."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rung(name: str) -> int:
    return next(index for index, names in enumerate(LADDER) if name in names)


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_imports_run_downwards_only_and_none_within_a_rung_but_inside_one_folder() -> None:
    broken = []
    modules = {place(path) for path in sources()}
    for path in sources():
        if place(path) == "__init__":
            continue
        for name in imports(path):
            package, target = [*name.split("."), ""][:2]
            if package != "shim" or target not in modules:
                continue  # not ours, or the public face, from above it
            inside = place(path) == target and (PACKAGE / target).is_dir()
            if not inside and rung(place(path)) >= rung(target):
                broken.append(f"{path.relative_to(PACKAGE)} imports {name}")

    assert broken == []


def test_the_testing_kit_is_loaded_by_nobody_who_does_not_test() -> None:
    """By `shim conform`, and by the plugin of pytest only when a fixture is used."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in sources()
        if place(path) != "testing" and any(name.startswith("shim.testing") for name in imports(path))
    }
    plugin = ast.parse((PACKAGE / "pytest_plugin.py").read_text())
    at_once = [
        node.module for node in plugin.body if isinstance(node, ast.ImportFrom) and str(node.module).startswith("shim")
    ]

    assert users == {"cli/conform.py", "cli/conformity.py", "pytest_plugin.py"}
    assert at_once == []


def test_what_is_pure_imports_nothing_of_the_machine() -> None:
    pure = [path for path in sources() if str(path.relative_to(PACKAGE)).startswith(tuple(PURE))]
    broken = [(path.name, name) for path in pure for name in imports(path) if name.split(".")[0] in THE_MACHINE]

    assert pure
    assert broken == []


def test_a_file_is_one_noun_and_no_drawer() -> None:
    for path in sources():
        assert path.stem not in DRAWERS
        assert len(path.read_text().splitlines()) <= 400, path


def test_only_children_start_processes_and_only_the_command_line_prints() -> None:
    for path in sources():
        if place(path) in {"cli", "testing", "local"}:
            continue
        names = {name.split(".")[0] for name in imports(path)}

        assert "subprocess" not in names or path == PACKAGE / "package" / "tool.py", path  # pip and upx are no children
        assert not any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "exit"}
            for node in ast.walk(ast.parse(path.read_text()))
        ), path
