"""The README's messages are the messages there are: each is brought about for real."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.local.context import LambdaContext
from tests.test_diagnosis import compiled, elf_hash, write
from tests.test_readme import causes, table

from .conftest import missing

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = {
    "ExitError": "echo why >&2; exit 3",
    "SignalError": "kill -SEGV $$",
    "DeadlineExceeded": "sleep 60",
    "OutputInvalid": "printf '{\"a\": 1}\\nlog line'",
    "OutputTooLarge": "head -c 3500000 /dev/zero | tr '\\0' '\\1'",
    "ReplyMissing": "read -r line",
    "ReportedError": 'echo \'{"errorType": "CsvInvalid", "errorMessage": "line 3 has no price"}\'; exit 1',
    "its own abort": "kill -ABRT $$",
    "nobody reads": "kill -PIPE $$",
    "CPU time": "kill -XCPU $$",
    "a forbidden call": "kill -SYS $$",
    "GHC in need": "echo 'program: c_poll: permission denied (Operation not permitted)' >&2; exit 1",
}
FILES = {
    "no execute bit": (b"#!/bin/sh\n", 0o644),
    "an empty file": (b"", 0o755),
    "no program at all": (b"echo hi\n", 0o755),
    "CR line ends": (b"#!/bin/sh\r\n", 0o755),
    "no interpreter": (b"#!/usr/bin/python9\n", 0o755),
}


def raised(act: Callable[[], object]) -> str:
    with pytest.raises(shim.ShimError) as caught:
        act()
    return str(caught.value)


def run(root: Path, executable: str = "bin/program", **settings: Any) -> str:
    """The message of that program's error, in a package of its own; the core dump, that some systems write, left out."""
    os.environ["LAMBDA_TASK_ROOT"] = str(root)
    said = raised(lambda: Shim(executable, **settings)({}, LambdaContext(timeout=1)))
    return said.replace(str(root), "/var/task").replace(" (core dumped)", "").replace("/private", "")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose bin/ is empty."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    return tmp_path


def matches(example: str, message: str) -> bool:
    """Whether the message is the example, whatever its sizes and times are, and whatever the example leaves out with …"""
    parts = re.split(r"(…|\d+(?= ms| MB| bytes|; check the build))", example)
    pattern = "".join(
        {"…": ".*"}.get(part, r"\d+") if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )
    return re.fullmatch(pattern, message, re.DOTALL) is not None


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_script_that_fails_so_gives_that_message(what: str, package: Path) -> None:
    write(package / "bin" / "program", b"#!/bin/sh\n" + SCRIPTS[what].encode())
    example = {**{name: row[0] for name, row in table("Errors").items()}, **causes()}[what]
    settings = {"output": "json"} if what == "ReplyMissing" else {}

    assert matches(example, run(package, **settings)), run(package, **settings)


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_so_gives_that_message(what: str, package: Path) -> None:
    content, mode = FILES[what]
    write(package / "bin" / "program", content, mode)

    assert matches(causes()[what], run(package)), run(package)


def test_a_missing_program_gives_that_message(package: Path) -> None:
    assert matches(table("Errors")["ExecutableNotFound"][0], run(package))
    assert matches(
        causes()["not on the PATH"].replace("program was", "no-such-program was"), run(package, "no-such-program")
    )
    (package / "bin" / "program").mkdir()
    assert matches(causes()["a folder"], run(package))


def test_a_program_that_is_not_for_here_gives_that_message(actor: str, compiler: str, package: Path) -> None:
    content = bytearray(Path(actor).read_bytes())
    write(package / "bin" / "program", bytes(content[:9000]))
    assert matches(causes()["a half copy"], run(package))
    content[18:20] = (0x3E if os.uname().machine == "aarch64" else 0xB7).to_bytes(2, "little")
    write(package / "bin" / "program", bytes(content))
    assert matches(causes()["another architecture"], run(package))
    assert matches(table("Errors")["ExecutableNotRunnable"][0], run(package))
    compiled(compiler, package / "bin", "-Wl,--dynamic-linker=/lib/ld-musl-none.so.1")
    assert matches(causes()["no loader"], run(package))


def test_what_the_loader_misses_gives_that_message(compiler: str, package: Path) -> None:
    (package / "not.c").write_text("int not_here(void) { return 0; }")
    library = str(package / "libnot.so.10")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,libnot.so.10", "-o", library, str(package / "not.c")], check=True
    )
    compiled(compiler, package / "bin", library, source="int not_here(void); int main(void) { return not_here(); }")
    os.unlink(library)
    assert matches(causes()["no library"].replace("libgmp", "libnot"), run(package))

    program = Path(compiled(compiler, package / "bin", source='#include <stdio.h>\nint main(void) { puts("x"); }'))
    version = next((name for name in (b"GLIBC_2.34", b"GLIBC_2.17") if name in program.read_bytes()), None)
    if version is None:
        missing("the compiler's C library is not glibc")
    content = program.read_bytes().replace(version, b"GLIBC_9.99")
    program.write_bytes(
        content.replace(elf_hash(version).to_bytes(4, "little"), elf_hash(b"GLIBC_9.99").to_bytes(4, "little"))
    )
    assert matches(causes()["an old glibc"], run(package))


def test_too_little_memory_gives_that_message(package: Path) -> None:
    """In a process whose own peak is small: started by a shell, since it would begin with the peak of this one."""
    take = "import os; x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096]); os.kill(os.getpid(), 9)"
    write(package / "bin" / "program", f'#!/bin/sh\nexec {sys.executable} -S -c "{take}"\n'.encode())
    host = "import shim\ntry: shim.Shim('bin/program')({})\nexcept shim.SignalError as error: print(error, end='')\n"
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", host]
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "160"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    assert matches(causes()["too little memory"], said), said


def test_what_is_wrong_before_a_program_runs_gives_that_message() -> None:
    rows = table("Errors")
    closed = Shim("cat")
    closed.close()

    assert rows["SettingsError"][0] == raised(
        lambda: shim.Settings.from_environment({"SHIM_OUTPUT": "xml", "SHIM_EXECUTABLE": "x"}, folder="/nowhere")
    )
    assert rows["EventInvalid"][0] == raised(lambda: Shim("cat")({"a": [1, float("nan")]}))
    assert rows["ShimClosed"][0] == raised(lambda: closed({})).replace("cat", "bin/program")


KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "NotReady": ("sleep 600", {"ready": True, "ready_within_ms": 1000}),
    "ReplyUnexpected": ('read -r line; printf \'{"a": 1}\\n{"b": 2}\\n\'; read -r line', {}),
}


@pytest.mark.parametrize("what", KEPT)
def test_a_kept_script_that_does_so_gives_that_message(what: str, package: Path) -> None:
    script, settings = KEPT[what]
    write(package / "bin" / "program", b"#!/bin/sh\n" + script.encode())
    said = run(package, mode="warm", **settings)

    assert matches(table("Errors")[what][0], said), said


def test_a_package_with_a_link_to_nothing_gives_that_message(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "x").symlink_to("gone")
    command = [sys.executable, "-m", "shim.cli", "pack", "--include", "bin", sys.executable]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    said = " ".join(answer.stderr.split()).removeprefix("PackageError: ").replace(str(folder), "bin")
    assert matches(table("Errors")["PackageError"][0], said), said
    assert answer.returncode == 1


def test_a_runtime_whose_api_is_silent_gives_that_message(tmp_path: Path) -> None:
    program = tmp_path / "program"
    write(program, b"#!/bin/sh\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        variables = {"AWS_LAMBDA_RUNTIME_API": address, "SHIM_EXECUTABLE": str(program)}
        command = [sys.executable, "-m", "shim.runtime"]
        runtime = subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True)
        with server.accept()[0] as connection:
            connection.recv(65_536)
        _, said = runtime.communicate(timeout=60)

    assert table("Errors")["RuntimeApiError"][0] in said
    assert runtime.returncode == 1


def test_each_message_of_the_tables_is_brought_about_here() -> None:
    here = Path(__file__).read_text()

    assert [what for what in [*causes(), *table("Errors")] if f'"{what}"' not in here] == []
