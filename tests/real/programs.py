"""The programs in fixtures/programs that have to be compiled, and a machine on which a library is missing."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.conftest import FIXTURES
from tests.real import components
from tests.real.install import RIE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAMS = FIXTURES / "programs"


def compile_haskell_csv() -> Path:
    """The compiled haskell-csv."""
    compiler = components.haskell()
    sources = sorted((PROGRAMS / "haskell-csv").glob("*.hs"))

    def build(folder: str, program: Path) -> None:
        command = [compiler, "-v0", "-O", "-Wall", "-outputdir", folder, "-o", str(program)]
        subprocess.run([*command, *map(str, sources)], check=True)

    return _built_once("haskell-csv", sources, build)


def compile_crystal_lines() -> Path:
    """The compiled crystal-lines."""
    return _compile_crystal("crystal-lines", "orders.cr")


def compile_crystal_bootstrap() -> Path:
    """The compiled crystal-bootstrap. Without OpenSSL, since the Runtime API has no TLS."""
    return _compile_crystal("crystal-bootstrap", "bootstrap.cr", "-Dwithout_openssl")


def compile_go_bootstrap() -> Path:
    """The compiled go-bootstrap."""
    compiler = components.go()
    folder = PROGRAMS / "go-bootstrap"

    def build(cache: str, program: Path) -> None:
        command = [compiler, "build", "-trimpath", "-buildvcs=false", "-o", str(program), "."]
        places = {"GOCACHE": cache, "GOPATH": cache, "GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"}
        _run(command, folder=folder, variables=places)

    return _built_once("go-bootstrap", [folder / "go.mod", folder / "main.go"], build)


def _compile_crystal(name: str, source: str, *flags: str) -> Path:
    """The compiled program of that folder."""
    compiler = components.crystal()
    path = PROGRAMS / name / source

    def build(cache: str, program: Path) -> None:
        command = [compiler, "build", "--release", "--static", "--error-on-warnings", *flags]
        # What the linker says of glibc in static programs is for those that ask for names of hosts.
        _run([*command, "-o", str(program), str(path)], folder=path.parent, variables={"CRYSTAL_CACHE_DIR": cache})

    return _built_once(name, [path], build)


def _run(command: Sequence[str], *, folder: Path, variables: Mapping[str, str]) -> None:
    """Runs a compiler, and shows what it says where it fails."""
    built = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if built.returncode != 0:
        raise ChildProcessError(built.stdout.decode(errors="replace"))


def _built_once(name: str, sources: Sequence[Path], build: Callable[[str, Path], None]) -> Path:
    """The program that `build` makes, with a folder for what it needs besides.

    It is kept beside the emulator under its sources' fingerprint: to build it takes seconds, and it is the same until they change.
    """
    fingerprint = sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    program = RIE.with_name(fingerprint) / name
    program.parent.mkdir(parents=True, exist_ok=True)
    with program.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the processes that test at once builds, the others wait
        if not program.exists():
            with TemporaryDirectory(dir=program.parent) as folder:
                unfinished = Path(folder, "program")
                build(folder, unfinished)
                unfinished.replace(program)
    return program


def compile_c_count(compiler: str, folder: Path) -> Path:
    """The compiled c-count, in that folder."""
    program = folder / "count"
    source = PROGRAMS / "c-count" / "count.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


def without(library: str, program: Path, folder: Path) -> list[str]:
    """The command that starts another on this machine as it would be without that library, which the program needs.

    In a mount namespace the library's folder is covered by one with links to all else that is in it, made in `folder`.
    """
    namespace = components.mount_namespace()
    (path,) = re.findall(rf"^\s*{re.escape(library)} => (\S+)", dependencies(program), re.MULTILINE)
    libraries = Path(path).parent.resolve()
    originals, others = folder / "originals", folder / "others"
    originals.mkdir()
    others.mkdir()
    for entry in libraries.iterdir():
        if entry.name != library:
            (others / entry.name).symlink_to(originals / entry.name)
    cover = 'mount --bind "$1" "$2" && mount --bind "$3" "$1" && shift 3 && exec "$@"'
    return [*namespace, "/bin/sh", "-c", cover, "cover", str(libraries), str(originals), str(others)]


def dependencies(program: Path, *, under: list[str] | None = None) -> str:
    """What the loader says of the libraries that a program needs."""
    command = [*(under or []), "ldd", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
