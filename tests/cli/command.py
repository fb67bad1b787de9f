"""The real command, run as a user runs it: a process of its own, in a pipe or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from shim.cli.ending import TRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        """The last line of standard error, where an error stands, but for the command to try next."""
        return self.told[-1]

    @property
    def told(self) -> list[str]:
        """The lines without the command to try next."""
        return [line for line in self.lines if not line.startswith(TRY)]

    @property
    def advice(self) -> str | None:
        """The command to try next, on the last line of all."""
        return self.lines[-1].removeprefix(TRY) if self.lines and self.lines[-1].startswith(TRY) else None


def environment(variables: Mapping[str, str] = NONE) -> dict[str, str]:
    """Ours without what would change a command, and with these variables."""
    foreign = ("SHIM_", "AWS_", "LAMBDA_", "_X_AMZN", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_", "PY")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | dict(variables)


def type_in(text: str, folder: Path, *, within: float = LONGEST, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it in bash, which stops at the first command that fails; `shim` and `python3` are this Python's."""
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment({"PATH": places, **variables}),
        timeout=within,
    )


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


def shim_on_terminal(
    *arguments: str, variables: Mapping[str, str] = NONE, columns: int = 0, interrupt_at: bytes | None = None
) -> Ended:
    """Runs `shim` with standard output and standard error on a terminal each.

    Args:
        arguments: those of the command.
        variables: of the environment.
        columns: the terminals' width; 0 where they do not say.
        interrupt_at: what, once it stands on standard error, is answered with Ctrl-C.
    """
    out, theirs_out = pty.openpty()
    err, theirs_err = pty.openpty()
    for terminal in (out, err):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40 if columns else 0, columns, 0, 0))
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
        try:
            shown = _watched(process, out, err, interrupt_at)
            code = process.wait(LONGEST)
        finally:
            process.terminate()  # where it hangs
    os.close(out)
    os.close(err)
    return Ended(code, shown[out].replace(b"\r\n", b"\n"), shown[err].replace(b"\r\n", b"\n"))


def _watched(process: subprocess.Popen[bytes], out: int, err: int, interrupt_at: bytes | None) -> dict[int, bytes]:
    """What comes on two terminals until nobody writes there any more."""
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
        if interrupt_at is not None and interrupt_at in shown[err]:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    return shown


STEP = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+")


def screen(shown: bytes) -> list[str]:
    """What stands on a terminal after it was sent this, without the blanks at the ends of lines: no more of a terminal than Rich's live displays use."""
    lines, row, column = [""], 0, 0
    for step in STEP.finditer(shown.decode()):
        if step[2] == "A":
            row -= int(step[1])
        elif step[2] == "K":
            assert step[1] == "2"
            lines[row] = ""
        elif step[2] is not None:
            assert step[2] == "m" or step[1] == "?25", f"{step[0]!r} is not known here"
        elif step[0] == "\r":
            column = 0
        elif step[0] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + step[0] + lines[row][column + len(step[0]) :]
            column += len(step[0])
    return "\n".join(line.rstrip() for line in lines).rstrip("\n").split("\n")


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts `shim`, to be signalled, with no signal ignored: a shell ignores SIGINT for what it runs in the background.

    At the end it is ended, if a failed test has left it running.
    """
    numbers = [signal.SIGINT.value, signal.SIGTERM.value, signal.SIGHUP.value]
    program = (
        f"import os, signal, sys\nfor number in {numbers}: signal.signal(number, signal.SIG_DFL)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
