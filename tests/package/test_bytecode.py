"""Byte code in packages: it is the runtime's, it is the same each time, and it is what a function starts from."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim.errors import PackageError
from shim.package import bytecode
from shim.package.archive import unpack
from shim.package.bytecode import HEADER, MAGIC, compiled, missing
from shim.package.own import own_files
from shim.package.pack import Order, Packed, pack
from shim.package.sources import Include
from shim.package.targets import RUNTIMES
from shim.package.tree import DATA, File
from tests.package.wheelhouse import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PYTHON = f"3.{sys.version_info.minor}"
TAG = f"cpython-3{sys.version_info.minor}"
OTHER = next(version for version in MAGIC if version != PYTHON)
KEYS = ", ".join(f"'k {number}'" for number in range(40))
SETS = f"def f(x):\n    'A text.'\n    assert x\n    return x in {{{KEYS}}}\n"


def module(name: str, source: str | bytes) -> File:
    content = source.encode() if isinstance(source, str) else source
    return File(name, DATA, len(content), content)


MODULES = [module("a/sets.py", SETS), module("a/b/__init__.py", "x = (1.5, 'a b', b'c d')\n"), module("top.py", "")]


def content(file: File) -> bytes:
    return b"".join(file.pieces())


def command(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_each_python_of_a_runtime_has_its_number() -> None:
    assert {f"python{version}" for version in MAGIC} == {name for name in RUNTIMES if name.startswith("python")}
    assert int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little") == MAGIC[PYTHON]


def test_it_is_where_and_how_python_looks_for_it() -> None:
    """Never compared with the source, which has neither a time nor a size that counts; and known by its place in the function."""
    text = module("a/text.txt", "no module")
    made = {file.name: file for file in compiled([text, *MODULES], PYTHON)}

    assert set(made) == {
        f"a/__pycache__/sets.{TAG}.pyc",
        f"a/b/__pycache__/__init__.{TAG}.pyc",
        f"__pycache__/top.{TAG}.pyc",
    }
    for source in MODULES:
        file = made[importlib.util.cache_from_source(source.name)]
        whole = content(file)
        place = f"/var/task/{source.name}"

        assert (file.mode, file.size) == (DATA, len(whole))
        assert whole[:HEADER] == importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + importlib.util.source_hash(content(source))
        code = marshal.loads(whole[HEADER:])  # noqa: S302 - it is our own
        assert code == compile(content(source), place, "exec", dont_inherit=True, optimize=0)
        assert code.co_filename == place


KEEPS = """
import builtins
kept, made = [], builtins.compile
def compile(*arguments, **options):
    code = made(*arguments, **options)
    kept.append([code.co_consts, *code.co_consts, *(item for one in code.co_consts if hasattr(one, "co_consts") for item in one.co_consts)])
    return code
"""
CIRCUMSTANCES: dict[str, tuple[str, dict[str, str]]] = {
    "again": ("", {}),
    "another seed of hashes": ("", {"PYTHONHASHSEED": "7"}),
    "another locale": ("", {"LC_ALL": "de_DE.ISO-8859-1", "TZ": "Asia/Tokyo"}),
    "much is loaded": ("import argparse, asyncio, dataclasses, email, http.server, unittest\n", {}),
    "another order": ("enumerate = lambda items, old=enumerate: reversed(list(old(items)))\n", {}),
    "somebody keeps the constants": (KEEPS, {}),
}


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_it_is_the_same_each_time(circumstance: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = [*MODULES, *own_files(with_runtime=True)]
    before = [(file.name, content(file)) for file in compiled(modules, PYTHON)]
    more, variables = CIRCUMSTANCES[circumstance]
    monkeypatch.setattr(bytecode, "COMPILER", more + bytecode.COMPILER)
    monkeypatch.setattr(bytecode, "VARIABLES", bytecode.VARIABLES | variables)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert [(file.name, content(file)) for file in compiled(modules[::-1], PYTHON)] == before


def test_nothing_of_this_machine_s_python_changes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables, modules in the current folder, or sitecustomize."""
    before = [content(file) for file in compiled(MODULES, PYTHON)]
    for name in ("marshal", "json", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    for name, text in {"PATH": str(tmp_path), "OPTIMIZE": "2", "VERBOSE": "1", "HASHSEED": "5", "STARTUP": "x"}.items():
        monkeypatch.setenv(f"PYTHON{name}", text)

    assert [content(file) for file in compiled(MODULES, PYTHON)] == before
    assert not list(tmp_path.glob("__pycache__"))


def test_a_module_that_can_not_be_compiled_has_none() -> None:
    broken = [module("py2.py", "print 'x'"), module("null.py", b"x = 1\0"), module("latin.py", b"x = '\xff'")]

    assert compiled([*broken, *MODULES], PYTHON) == compiled(MODULES, PYTHON)
    assert compiled(broken, PYTHON) == []


def test_a_module_that_can_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"^'x.py' can't be read: No such file or directory$"):
        compiled([File("x.py", DATA, 1, str(tmp_path / "gone"))], PYTHON)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Lets PATH have folders with what is called by the name of an interpreter, which is not the one that runs."""
    monkeypatch.setattr(sys, "executable", "")

    def name(*texts: str, python: str = PYTHON) -> None:
        for number, text in enumerate(texts):
            command(tmp_path / f"bin{number}" / f"python{python}", text)
        monkeypatch.setenv("PATH", os.pathsep.join(f"{tmp_path}/bin{number}" for number in range(len(texts))))

    return name


THIS = f'exec "{sys.executable}" "$@"'


def test_the_first_interpreter_on_the_path_that_works_is_taken(named: Callable[..., None]) -> None:
    """pyenv has a command for each version that it knows, whether it is chosen or not."""
    named(THIS)
    before = compiled(MODULES, PYTHON)
    named('echo "pyenv: command not found" >&2; exit 127', THIS)

    assert compiled(MODULES, PYTHON) == before
    assert len(before) == len(MODULES)


@pytest.mark.parametrize("texts", [(), ("exit 1",), ("exit 0",), ('for f; do :; done; echo > "$7/0.pyc"',)])
def test_without_one_that_works_there_is_none(texts: Sequence[str], named: Callable[..., None]) -> None:
    named(*texts)

    assert compiled(MODULES, PYTHON) == []


def test_one_of_another_version_than_it_is_called_is_not_taken(named: Callable[..., None]) -> None:
    named(THIS, python=OTHER)

    assert compiled(MODULES, OTHER) == []


# In a package.


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Packed, Path]]:
    """Packs a script, with wheels that are empty, and unpacks it."""

    def make(**order: Any) -> tuple[Packed, Path]:
        wheels = str(fill(tmp_path / "wheels", "orjson", "psutil"))
        command(tmp_path / "program", "echo '\"said\"'")
        options = {"runtime": f"python{PYTHON}", "wheels": wheels} | order
        packed = pack(Order([str(tmp_path / "program")], str(tmp_path / "made.zip"), **options))
        unpack(str(tmp_path / "made.zip"), str(tmp_path / "there"))
        return packed, tmp_path / "there"

    return make


def test_every_module_of_shim_and_of_what_it_needs_has_its_byte_code(made: Callable[..., tuple[Packed, Path]]) -> None:
    """And SHA256SUMS has it."""
    packed, folder = made(own_runtime=True)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    modules = {name for name in names if name.endswith(".py")}
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    byte_code = {name for name in names if name.endswith(".pyc")}

    assert byte_code == {importlib.util.cache_from_source(name) for name in modules}
    assert {"psutil/data.py", "orjson/__init__.py", "shim/runtime/__main__.py"} <= modules
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names - {"SHA256SUMS"}} == sums
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in byte_code} == {0o644}
    assert (packed.files, packed.problems) == (len(names), [])
    assert packed.unpacked == sum((folder / name).stat().st_size for name in names)


def test_an_author_s_own_modules_are_left_as_they_are(made: Callable[..., tuple[Packed, Path]], tmp_path: Path) -> None:
    """They may be for another Python, and are edited where they run."""
    (tmp_path / "tool.py").write_text("print(7)")
    _, folder = made(includes=[Include(str(tmp_path / "tool.py"), "data/tool.py")])

    assert os.listdir(folder / "data") == ["tool.py"]


def test_byte_code_that_an_author_includes_for_it_is_refused(
    made: Callable[..., tuple[Packed, Path]], tmp_path: Path
) -> None:
    name = f"shim/__pycache__/__init__.{TAG}.pyc"
    (tmp_path / "stale").touch()
    with pytest.raises(PackageError, match=r"^two files would be 'shim/__pycache__/__init__"):
        made(includes=[Include(str(tmp_path / "stale"), name)])


def test_where_none_can_be_made_a_warning_says_what_it_costs(
    made: Callable[..., tuple[Packed, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "bin" / f"python{OTHER}", "exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    packed, folder = made(runtime=f"python{OTHER}")

    assert packed.problems == [missing(OTHER)]
    assert missing("3.13") == (
        "warning",
        "",
        (
            "there is no byte code in it, since no python3.13 that works is on the PATH: Python compiles shim anew at every cold start, "
            "which takes nearly twice as long (73 ms instead of 42 ms, as measured)"
        ),
        "install Python 3.13, or let shim run on it",
    )
    assert not list(folder.rglob("*.pyc"))


def test_a_custom_runtime_has_none(made: Callable[..., tuple[Packed, Path]]) -> None:
    packed, folder = made(runtime="provided.al2023", wheels=None)

    assert (packed.problems, os.listdir(folder)) == ([], ["bootstrap"])


def run(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What an interpreter does in which shim is the package's, and everything else this one's."""
    others = [path for path in sys.path if "site-packages" in path]
    start = f"import sys; sys.path[:0] = [{str(folder)!r}]; sys.path += {others!r}\n"
    environment = {"PATH": "/usr/bin:/bin", "LAMBDA_TASK_ROOT": str(folder)}
    return subprocess.run(
        [sys.executable, "-I", "-S", *options, "-c", start + code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """The task root of one without empty wheels, to be run with this interpreter's."""
    command(tmp_path / "program", "echo '\"said\"'")
    order = Order([str(tmp_path / "program")], str(tmp_path / "made.zip"), runtime=f"python{PYTHON}", own_runtime=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shim.package.wheels.find_wheels", lambda *_arguments: [])
        pack(order)
    unpack(str(tmp_path / "made.zip"), str(tmp_path / "there"))
    return tmp_path / "there"


def test_a_function_starts_from_it(function: Path) -> None:
    """From nothing else: the sources would fail, and have other times and sizes."""
    for path in (function / "shim").rglob("*.py"):
        path.write_text("raise SystemExit(9)")
    before = sorted(function.rglob("*"))
    ended = run(function, "import shim; print(shim.handler({}, None), shim.adapter.__file__)", "-v")
    looked = [line for line in ended.stderr.splitlines() if line.startswith(("# code object", "# wrote", "# bytecode"))]
    of_ours = [line for line in looked if str(function) in line]

    assert ended.stdout == f"said {function}/shim/adapter.py\n"
    assert f"# code object from '{function}/shim/__pycache__/adapter.{TAG}.pyc'" in of_ours
    assert all(line.startswith("# code object from") and line.endswith(".pyc'") for line in of_ours)
    assert sorted(function.rglob("*")) == before


def test_our_own_runtime_starts_from_it(function: Path) -> None:
    for path in (function / "shim").rglob("*.py"):
        path.write_text("raise SystemExit(9)")
    ended = subprocess.run(
        [sys.executable, "-v", str(function / "shim" / "runtime")],
        env={"PATH": "/usr/bin:/bin", "LAMBDA_TASK_ROOT": str(function)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"# code object from '{function}/shim/runtime/__pycache__/__main__.{TAG}.pyc'" in ended.stderr
    assert ended.returncode != 9, "it had begun, and missed the Runtime API"


def test_a_traceback_shows_the_source_where_it_is(function: Path) -> None:
    code = "import shim, traceback\ntry: shim.Shim('/gone')({}, None)\nexcept Exception: print(traceback.format_exc())"
    shown = run(function, code).stdout.splitlines()
    lines = (function / "shim" / "adapter.py").read_text().splitlines()
    at = next(number for number, line in enumerate(shown) if f'"{function}/shim/adapter.py", line ' in line)
    number = int(shown[at].split("line ")[1].split(",")[0])

    assert shown[at + 1].strip() == lines[number - 1].strip()
    assert not [line for line in shown if "/var/task" in line]


def test_byte_code_that_is_installed_beside_the_sources_is_not_taken(
    made: Callable[..., tuple[Packed, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bears times, and may be older than they are."""
    _, folder = made()
    before = (tmp_path / "made.zip").read_bytes()
    folder.rename(tmp_path / "installed")
    for path in (tmp_path / "installed" / "shim").rglob("*.pyc"):
        path.write_bytes(b"stale")
    monkeypatch.setattr(shim, "__file__", f"{tmp_path}/installed/shim/__init__.py")
    made()

    assert (tmp_path / "made.zip").read_bytes() == before


def test_a_full_disk_is_no_fault_of_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its byte code it would be another package than on a machine with room, and nobody would know why."""
    command(tmp_path / "bin" / "python3.99", "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with pytest.raises(PackageError, match=r"no byte code can be written to .*: No space left on device; let TMPDIR"):
        compiled(MODULES, "3.99")
