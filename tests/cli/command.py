"""The real command, run as a user runs it: a process of its own, in a pipe or on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
COMMAND = (sys.executable, "-m", "shim.cli")
NONE: Mapping[str, str] = MappingProxyType({})
LONGEST = 60
"""Seconds after which a command that hangs fails its test."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        """Those of standard error."""
        return self.err.decode().splitlines()

    @property
    def error(self) -> str:
        """The last line of standard error, where an error stands."""
        return self.lines[-1]


def environment(variables: Mapping[str, str] = NONE) -> dict[str, str]:
    """Ours without what would change a command, and with these variables."""
    foreign = ("SHIM_", "AWS_", "LAMBDA_", "_X_AMZN", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_", "PY")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | dict(variables)


def shim(
    *arguments: str,
    stdin: bytes = b"",
    stdout: BinaryIO | int = subprocess.PIPE,
    cwd: Path = HERE,
    variables: Mapping[str, str] = NONE,
) -> Ended:
    """Runs `shim` with its three streams in pipes, or standard output elsewhere."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(variables),
        timeout=LONGEST,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout or b"", ended.stderr)


def shim_on_terminal(*arguments: str, variables: Mapping[str, str] = NONE) -> Ended:
    """Runs `shim` with standard output and standard error on a terminal each."""
    out, theirs_out = pty.openpty()
    err, theirs_err = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs_out,
        stderr=theirs_err,
        cwd=HERE,
        env=environment({"TERM": "xterm-256color", **variables}),
    ) as process:
        os.close(theirs_out)
        os.close(theirs_err)
        shown = {out: b"", err: b""}
        waiting = {out, err}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], LONGEST)
            assert ready, "the command hangs"
            for terminal in ready:
                try:
                    data = os.read(terminal, 65_536)
                except OSError:  # EIO: nobody holds the other end any more
                    data = b""
                shown[terminal] += data
                if not data:
                    waiting.discard(terminal)
        code = process.wait(LONGEST)
    os.close(out)
    os.close(err)
    return Ended(code, shown[out].replace(b"\r\n", b"\n"), shown[err].replace(b"\r\n", b"\n"))


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Starts `shim`, to be signalled, with no signal ignored: a shell ignores SIGINT for what it runs in the background."""
    numbers = [signal.SIGINT.value, signal.SIGTERM.value, signal.SIGHUP.value]
    program = (
        f"import os, signal, sys\nfor number in {numbers}: signal.signal(number, signal.SIG_DFL)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
        env=environment(),
    )
