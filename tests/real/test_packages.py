"""Packages that `shim pack` makes of real programs, on systems that have less than this one: an older Debian, with an older glibc, and arm64."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shim.elf import Elf
from shim.package.archive import unpack
from tests.cli.command import Ended, shim
from tests.conftest import FIXTURES, missing
from tests.real import components
from tests.real.install import RIE
from tests.real.oldroot import GLIBC, OldRoot
from tests.real.programs import (
    PROGRAMS,
    compile_c_count,
    compile_crystal_bootstrap,
    compile_crystal_lines,
    compile_go_bootstrap,
    compile_haskell_csv,
)
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RUNTIME = f"python3.{sys.version_info.minor}"
"""That of this Python, which runs in the older Debian too."""
S3_PUT = FIXTURES / "events" / "s3-put.json"
ECHO = {"do": "echo", "value": {"text": "Größe 😀", "large": 2**53 + 1}}
FAIL = {"do": "fail", "type": "BadInput", "message": "no é"}
BUCKETS = '{"BUCKETS": "data"}'


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Packs for that runtime, and gives the zip's path."""

    def make(*words: str | Path, runtime: str = RUNTIME) -> Path:
        path = tmp_path / "function.zip"
        ended = shim("pack", "-o", str(path), "--runtime", runtime, *map(str, words), cwd=tmp_path)

        assert ended.code == 0, ended.err
        return path

    return make


@pytest.fixture
def placed(tmp_path: Path) -> Callable[[Path], OldRoot]:
    """Puts a package into the older Debian."""
    return lambda package: OldRoot(package, tmp_path / "placed")


@pytest.fixture
def c_count(compiler: str, tmp_path: Path) -> Path:
    """The compiled program that measures its line."""
    return compile_c_count(compiler, tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """The event of an object, which is in the folder `data`."""
    event: dict[str, Any] = json.loads(S3_PUT.read_text())
    thing = event["Records"][0]["s3"]
    file = tmp_path / "data" / thing["bucket"]["name"] / urllib.parse.unquote_plus(thing["object"]["key"])
    file.parent.mkdir(parents=True)
    file.write_text("name,quantity,price\ntea,2,3.50\n")
    return event


def needed_glibc(program: Path) -> str:
    """The newest version of glibc that the program needs: "GLIBC_2.34". There is no test where the old root has it."""
    wanted = [version for versions in Elf(program.read_bytes()).versions.values() for version in versions]
    numbers = [tuple(map(int, one.removeprefix("GLIBC_").split("."))) for one in wanted if one.startswith("GLIBC_2")]
    if max(numbers) <= GLIBC:
        missing("what is compiled on this machine needs no newer glibc")
    return "GLIBC_" + ".".join(map(str, max(numbers)))


def names_in(package: Path, folder: str) -> set[str]:
    """The names of the files in that folder of the package."""
    listed = subprocess.run(["unzip", "-Z1", str(package)], capture_output=True, text=True, check=True).stdout
    return {name.removeprefix(f"{folder}/") for name in listed.splitlines() if name.startswith(f"{folder}/")}


def check(package: Path, *words: str) -> tuple[Ended, dict[str, Any]]:
    """What `shim check` says of it."""
    ended = shim("check", "--json", *words, str(package))
    return ended, json.loads(ended.out)


def is_fine(package: Path) -> bool:
    """Whether `shim check` finds nothing wrong with it."""
    ended, verdict = check(package)
    return (ended.code, verdict["ok"], verdict["problems"]) == (0, True, [])


def wrong_on_al2(package: Path) -> dict[str, dict[str, str]]:
    """What `shim check` finds wrong with it for Amazon Linux 2, whose glibc is older than the old root's, by its place.

    But for the sentence that packages for a newer Python than 3.11 get there, about orjson.
    """
    ended, verdict = check(package, "--target", "al2")
    problems = {one["place"]: one for one in verdict["problems"] if one["place"] != "orjson"}

    assert ended.code == (1 if verdict["errors"] else 0)
    return problems


def unpacked(package: Path, folder: Path) -> Path:
    """The folder with the package's files."""
    unpack(str(package), str(folder / "task"))
    return folder / "task"


def emulated() -> list[str]:
    """The command that starts a program for arm64 here."""
    if os.uname().machine == "aarch64":
        return []
    if shutil.which("qemu-aarch64-static") is None:
        missing("programs for arm64 can't be run here: on Debian, apt-get install qemu-user-static")
    return ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]


@contextmanager
def served(command: Callable[[str], Sequence[str]], folder: Path) -> Iterator[RuntimeApi]:
    """A Runtime API, from which a bootstrap takes its events.

    Args:
        command: what starts that, by the address.
        folder: for its log.
    """
    with RuntimeApi() as api:
        log = folder / "log"
        session = Session(command(api.address), environment=os.environ, folder=folder, log=log)
        try:
            yield api
        finally:
            session.end()
            sys.stdout.write(log.read_text(errors="replace"))  # shown where the test has failed


def asks_for_both(api: RuntimeApi) -> None:
    """A result and an error come, of the same process."""
    results = [
        api.invoke(json.dumps(event).encode(), Lambda_Runtime_Aws_Request_Id=f"id-{number}")
        for number, event in enumerate((ECHO, FAIL, ECHO))
    ]
    first, error, second = (json.loads(body) for _, body in results)

    assert [kind for kind, _ in results] == ["response", "error", "response"]
    assert [(one["value"], one["count"]) for one in (first, second)] == [(ECHO["value"], 1), (ECHO["value"], 3)]
    assert (error["errorType"], error["errorMessage"]) == ("BadInput", "no é")


def test_the_older_debian_has_an_older_glibc_and_nothing_to_build_with(
    placed: Callable[[Path], OldRoot], pack: Callable[..., Path], tmp_path: Path
) -> None:
    """Nor does anything of this machine's, or a way to write to the package."""
    (tmp_path / "program").write_text("#!/bin/sh\ncommand -v python3 >&2 || touch new 2>&1 || pwd\n")
    root = placed(pack("--output", "text", "program"))
    (answer,) = root.invoke({})
    first_line = root.run("ldd", "--version").partition("\n")[0]

    assert first_line.endswith(" {}.{}".format(*GLIBC))
    for tool in ("cc", "gcc", "ld", "make", "python3", "ghc", "crystal", "go"):
        assert root.run("sh", "-c", f"command -v {tool} || echo none") == "none\n"
    assert answer.result == "touch: cannot touch 'new': Read-only file system\n/var/task\n"


def test_a_c_program_that_needs_a_newer_glibc_says_so_and_brings_its_own(
    c_count: Path, placed: Callable[[Path], OldRoot], pack: Callable[..., Path], tmp_path: Path
) -> None:
    version = needed_glibc(c_count)
    plain = pack("--output", "json", "--force", c_count)
    wrong = wrong_on_al2(plain)
    (refusal,) = placed(plain).invoke({})

    assert refusal.error == "ExecutableNotRunnable"
    assert refusal.message.startswith(f"count was not started: it needs {version}, and this system has ")
    assert wrong.keys() == {"count"}
    assert wrong["count"]["severity"] == "error"
    assert f"it needs glibc {version.removeprefix('GLIBC_')} " in wrong["count"]["sentence"]
    assert "shim pack --with-libc" in wrong["count"]["cure"]

    refused = shim("pack", "-o", "refused.zip", "--runtime", "python3.11", str(c_count), cwd=tmp_path)

    assert refused.code == 1
    assert f"count: it needs glibc {version.removeprefix('GLIBC_')} " in refused.error
    assert not (tmp_path / "refused.zip").exists()

    whole = pack("--output", "json", "--with-libc", c_count)
    shutil.rmtree(tmp_path / "placed")
    first, short, long = (one.result for one in placed(whole).invoke({}, {"text": "....."}, {"text": 'a"é€😀'}))

    assert is_fine(whole)
    assert wrong_on_al2(whole) == {}
    assert first.keys() == {"bytes", "characters"}
    assert long["bytes"] - short["bytes"] == 1 + 2 + 2 + 3 + 4 - 5
    assert long["characters"] - short["characters"] == 1


def test_a_haskell_program_that_needs_a_newer_glibc_says_so_and_brings_its_own(
    data: dict[str, Any], placed: Callable[[Path], OldRoot], pack: Callable[..., Path], tmp_path: Path
) -> None:
    """Its other libraries are in lib/ where glibc is not, and beside glibc where it is."""
    program = compile_haskell_csv()
    version = needed_glibc(program)
    options = ["--output", "json", "--include", "data", "--env", BUCKETS]
    plain = pack(*options, "--force", program)
    wrong = wrong_on_al2(plain)[program.name]
    (refusal,) = placed(plain).invoke(data)

    assert {"libffi.so.8", "libgmp.so.10"} <= names_in(plain, "lib")
    assert refusal.error == "ExecutableNotRunnable"
    assert f"{program.name} was not started: it needs " in refusal.message
    assert version in refusal.message
    assert wrong["severity"] == "error"
    assert f"it needs glibc {version.removeprefix('GLIBC_')} " in wrong["sentence"]
    assert "shim pack --with-libc" in wrong["cure"]

    whole = pack(*options, "--with-libc", program)
    shutil.rmtree(tmp_path / "placed")
    good, bad = placed(whole).invoke(data, {})

    assert is_fine(whole)
    assert wrong_on_al2(whole) == {}
    assert names_in(whole, "lib") == set()
    assert good.result["objects"][0]["total"] == "7.00"
    assert (bad.error, bad.message) == (
        "NoObject",
        'the event names no S3 object: Error in $.event: key "Records" not found',
    )


def test_a_library_that_the_system_lacks_is_in_the_package(
    compiler: str, placed: Callable[[Path], OldRoot], pack: Callable[..., Path], tmp_path: Path
) -> None:
    """A program whose glibc is old enough: only what starts C programs is newer, and so it starts by itself."""
    (tmp_path / "tally.c").write_text("int tally(void) { return 42; }")
    (tmp_path / "program.c").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\nint tally(void);\n"
        "void _start(void) { while (getchar() != '\\n'); printf(\"%d\\n\", tally()); exit(fflush(stdout)); }\n"
    )
    align = ["-mstackrealign"] if Elf(Path(sys.executable).read_bytes()).machine == "x86_64" else []
    shared = ["-shared", "-fPIC", "-Wl,-soname,libtally.so.1", "-o", "libtally.so.1", "tally.c"]
    own_start = ["-nostartfiles", *align, "-Wl,-rpath," + str(tmp_path), "-o", "program", "program.c", "libtally.so.1"]
    for arguments in (shared, own_start):
        subprocess.run([compiler, "-O1", *arguments], cwd=tmp_path, check=True)
    package = pack("--output", "json", "program")
    root = placed(package)

    assert is_fine(package)
    assert names_in(package, "lib") == {"libtally.so.1"}
    assert [one.result for one in root.invoke({})] == [42]
    (root.task / "lib" / "libtally.so.1").unlink()
    (refusal,) = root.invoke({})
    assert refusal.error == "ExecutableNotRunnable"
    assert "did not find libtally.so.1" in refusal.message


def test_a_static_crystal_program_is_kept(placed: Callable[[Path], OldRoot], pack: Callable[..., Path]) -> None:
    package = pack("--mode", "warm", "--ready", "true", compile_crystal_lines())
    order = {"id": "o-1", "lines": [{"item": "Größe 😀", "quantity": 2, "cents": 350}]}
    first, second, none = placed(package).invoke(order, order, {})

    assert is_fine(package)
    assert wrong_on_al2(package) == {}
    assert (first.result["total"], first.result["taken"], second.result["taken"]) == ("7.00", 1, 2)
    assert "Missing JSON attribute" in none.message


@pytest.mark.parametrize("build", [compile_go_bootstrap, compile_crystal_bootstrap])
def test_a_static_bootstrap_serves_by_itself(
    build: Callable[[], Path], placed: Callable[[Path], OldRoot], pack: Callable[..., Path], tmp_path: Path
) -> None:
    package = pack(build(), runtime="provided.al2023")
    root = placed(package)

    def command(address: str) -> list[str]:
        return root.command("/var/task/bootstrap", variables={"AWS_LAMBDA_RUNTIME_API": address})

    with served(command, tmp_path) as api:
        asks_for_both(api)

    assert is_fine(package)


def test_a_go_bootstrap_serves_a_python_runtime(placed: Callable[[Path], OldRoot], pack: Callable[..., Path]) -> None:
    package = pack("--mode", "bootstrap", compile_go_bootstrap())
    first, error, second = placed(package).invoke(ECHO, FAIL, ECHO)

    assert is_fine(package)
    assert wrong_on_al2(package) == {}
    assert (first.result["value"], first.result["count"]) == (ECHO["value"], 1)
    assert (error.error, error.message) == ("BadInput", "no é")
    assert (second.result["value"], second.result["count"]) == (ECHO["value"], 3)


@pytest.mark.parametrize("link", ["-static", "-dynamic"])
def test_a_c_program_for_arm64(link: str, pack: Callable[..., Path], tmp_path: Path) -> None:
    """Its architecture is found out, and the wheels are for it."""
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        missing(
            "there is no compiler for arm64: on Debian, apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
        )
    flags = [link] if link == "-static" else []
    source = PROGRAMS / "c-count" / "count.c"
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", *flags, "-o", tmp_path / "count", source], check=True)
    package = pack("--output", "json", "count", runtime="python3.13")
    task = unpacked(package, tmp_path)
    answer = subprocess.run(
        [*emulated(), str(task / "count")],
        input='{"event": "é"}\n'.encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert is_fine(package)
    assert check(package)[1]["architecture"] == "arm64"
    assert {machine for path in task.rglob("*.so*") for machine in [Elf(path.read_bytes()).machine]} == {"arm64"}
    assert len(list(task.glob("orjson/*.so"))) == 1
    assert json.loads(answer.stdout) == {"bytes": 15, "characters": 14}


def test_a_go_bootstrap_for_arm64(pack: Callable[..., Path], tmp_path: Path) -> None:
    program = tmp_path / "go-bootstrap"
    cache = str(RIE.with_name("go-arm64"))  # to compile Go's own library takes most of the time
    places = {"GOCACHE": cache, "GOPATH": cache}
    built = subprocess.run(
        [components.go(), "build", "-trimpath", "-buildvcs=false", "-o", program, "."],
        cwd=PROGRAMS / "go-bootstrap",
        env={"PATH": "/usr/bin:/bin", "GOARCH": "arm64", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", **places},
        capture_output=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    package = pack(program, runtime="provided.al2023")
    task = unpacked(package, tmp_path)

    def command(address: str) -> list[str]:
        return ["env", f"AWS_LAMBDA_RUNTIME_API={address}", *emulated(), str(task / "bootstrap")]

    assert is_fine(package)
    assert check(package)[1]["architecture"] == "arm64"
    with served(command, tmp_path) as api:
        asks_for_both(api)


def test_programs_of_two_architectures_are_refused(c_count: Path, tmp_path: Path) -> None:
    other = bytearray(c_count.read_bytes())
    other[18:20] = (183 if Elf(bytes(other)).machine == "x86_64" else 62).to_bytes(2, "little")
    (tmp_path / "other").write_bytes(other)
    ended = shim("pack", str(c_count), "other", cwd=tmp_path)

    assert ended.code == 1
    assert "a function has one architecture" in ended.error
    assert not (tmp_path / "function.zip").exists()
