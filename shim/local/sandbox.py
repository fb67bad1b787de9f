"""Where a deployment package is run: in the folders of Lambda's sandbox, or, where this machine lets nobody make those, where it was unpacked."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shim.local import confine, harness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.local.interpreter import Interpreter

CLIENT = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client")
"""AWS's runtime client for Python, and what it needs."""
HARNESS = "bootstrap.py"
"""Its name in Lambda's own /var/runtime."""
PROGRAMS = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
"""Lambda's PATH, but for its beginning; likewise below (github.com/aws/aws-lambda-base-images)."""
FLAGS = ("-S", "-s", "-P", "-B")
"""Without what is installed in that Python, or for its user; what is imported is the package's, and is not written to."""


class Sandbox:
    """The folders, as what runs there sees them.

    Args:
        package: the unpacked package.
        runtime: an empty folder outside of it, for what runs it.
        interpreter: its Python; None where it needs none.

    Raises:
        ImportError: AWS's runtime client is not installed.
    """

    def __init__(self, package: str, runtime: str, interpreter: Interpreter | None) -> None:
        language = "" if interpreter is None else interpreter.home
        if interpreter is not None:
            _fill(runtime)
        self._confined = (sys.executable, "-I", "-S", "-B", confine.__file__, package, runtime, language)
        self.refusal = _refusal(self._confined)
        """Why it is run where it was unpacked; "" where it is not."""
        is_confined = not self.refusal
        self.task = confine.TASK if is_confined else package
        self.runtime = confine.RUNTIME if is_confined else runtime
        self._language = confine.LANGUAGE if is_confined and language else language
        self._python = ""
        self.starter = ""
        """The path of a program that is the package's Python, with the flags that keep all else from it."""
        if interpreter is not None:
            self._python = interpreter.path
            if language:
                self._python = os.path.join(self._language, os.path.relpath(interpreter.path, language))
            self.starter = os.path.join(self.runtime, interpreter.name)
            _write_starter(os.path.join(runtime, interpreter.name), self._python)

    def command(self, *words: str) -> tuple[str, ...]:
        """What starts that program in there."""
        return words if self.refusal else (*self._confined, *words)

    def python(self, *words: str) -> tuple[str, ...]:
        """What starts the package's Python in there."""
        return self.command(self._python, *FLAGS, *words)

    @property
    def harness(self) -> str:
        """The path of what runs a handler by AWS's runtime client."""
        return os.path.join(self.runtime, HARNESS)

    def variables(self) -> dict[str, str]:
        """What a function's environment has of them, and nothing of ours."""
        language = self._language
        libraries = [f"{language}/lib"] if language else []
        libraries += ["/lib64", "/usr/lib64", self.runtime, f"{self.runtime}/lib", self.task, f"{self.task}/lib"]
        return {
            "PATH": f"{language}/bin:{PROGRAMS}" if language else PROGRAMS,
            "LD_LIBRARY_PATH": ":".join([*libraries, "/opt/lib"]),
            "LANG": "en_US.UTF-8",
        }


def _refusal(confined: Sequence[str]) -> str:
    """Why there can't be such a sandbox here."""
    try:
        ended = subprocess.run(confined, stdin=subprocess.DEVNULL, capture_output=True, check=False, errors="replace")
    except OSError as refusal:
        return f"{refusal.filename}: {refusal.strerror}"
    if not ended.returncode:
        return ""
    return (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]


def _fill(runtime: str) -> None:
    """Copies what runs a handler: where it is installed are packages that are none of the function's, and what lies in /tmp is not seen there."""
    for name in CLIENT:
        found = find_spec(name)
        if found is None or found.origin is None:
            if name == CLIENT[-1]:
                continue  # another way is found
            raise ImportError(f"{name} is not installed: pip install 'lambda-shim[cli]'", name=name)
        if found.submodule_search_locations:
            shutil.copytree(
                os.path.dirname(found.origin),
                os.path.join(runtime, name),
                ignore=shutil.ignore_patterns("__pycache__", "tests"),
            )
        else:
            shutil.copy(found.origin, runtime)
    shutil.copy(harness.__file__, os.path.join(runtime, HARNESS))


def _write_starter(path: str, python: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f'#!/bin/sh\nexec {shlex.quote(python)} {" ".join(FLAGS)} "$@"\n')
    os.chmod(path, 0o755)  # noqa: S103 - as programs are
