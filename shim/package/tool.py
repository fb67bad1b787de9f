"""Other people's programs that help to make a package: run to their end, and quoted where they fail."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from shim.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


CRASH = "ERROR: Exception:"
"""What pip says over a stack trace, whose last line says what happened: a full disk, say."""


def run(command: Sequence[str], failed: str, environ: Mapping[str, str] = os.environ) -> None:
    """Runs it, and keeps what it says to itself.

    Args:
        command: absolute or on the PATH, and its arguments.
        failed: the sentence for where it fails; what it said last is added.
        environ: its environment.

    Raises:
        PackageError: it can't be run, or failed.
    """
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=dict(environ), check=False, errors="replace"
        )
    except OSError as error:
        raise PackageError(f"{failed}: {command[0]} can't be run: {error.strerror}") from None
    if ended.returncode:
        lines = [line.strip() for line in f"{ended.stdout}\n{ended.stderr}".splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:") and line != CRASH]
        said = [*lines, *errors][-1].removeprefix("ERROR: ") if lines else f"it ended with {ended.returncode}"
        raise PackageError(f"{failed}: {said}")
