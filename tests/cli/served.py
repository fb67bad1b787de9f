"""A running `shim serve`, as its users have it: a process of its own, and HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from tests.cli.command import COMMAND, LONGEST, NONE, environment
from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

UNIGNORED = (
    "import os, signal, sys\n"
    f"for number in {[signal.SIGINT.value, signal.SIGTERM.value, signal.SIGHUP.value]}: signal.signal(number, signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""A shell ignores SIGINT for what it runs in the background."""


class Answer(NamedTuple):
    """What a caller got."""

    status: int
    error: str | None
    body: bytes

    @property
    def value(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Served:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self.name = "function"
        self._threads = [
            Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        lines.extend(line.decode().rstrip("\n") for line in stream)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What `--json` has printed by now."""
        return [json.loads(line) for line in list(self.out)]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The objects of one kind."""
        return [data for data in self.objects if data["event"] == event]

    @property
    def url(self) -> str:
        """Where it is, once it says so."""
        eventually(lambda: self.process.poll() is not None or self.out or len(self.err) > 8, within=LONGEST)
        if self.out:
            return str(self.of("start")[0]["url"])
        return next(line.rpartition(" ")[2] for line in self.err if line.startswith("serving "))

    def post(self, event: object, headers: Mapping[str, str] = NONE) -> Answer:
        """Invokes the function."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}/2015-03-31/functions/{self.name}/invocations",
            data=json.dumps(event).encode(),
            headers=dict(headers),
        )
        try:
            with urllib.request.urlopen(request, timeout=LONGEST) as response:  # noqa: S310 - likewise
                return Answer(response.status, response.headers["X-Amz-Function-Error"], response.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, refusal.headers["X-Amz-Function-Error"], refusal.read())

    def descendants(self) -> list[psutil.Process]:
        """All processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def send(self, number: int) -> None:
        """Sends a signal to the server itself."""
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGINT) -> int:
        """Ends it; all that it has printed is there then."""
        self.send(number)
        return self.ended()

    def ended(self) -> int:
        """Waits for its end."""
        code = self.process.wait(LONGEST)
        for thread in self._threads:
            thread.join(LONGEST)
        return code


@contextmanager
def serve(*arguments: str, cwd: Path, variables: Mapping[str, str] = NONE) -> Iterator[Served]:
    """Starts `shim serve` on a free port. At the end it is ended, if it still runs, and all that it has printed is there."""
    with subprocess.Popen(
        [sys.executable, "-c", UNIGNORED, *COMMAND, "serve", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(variables),
    ) as process:
        served = Served(process)
        try:
            yield served
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            served.ended()


def marked(mark: str) -> list[int]:
    """The processes in whose command line that stands; zombies have none."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(mark in part for part in process.info["cmdline"] or ())
    ]
