"""A program under test that speaks the Runtime API: started, asked, watched and ended, as mode bootstrap does it, and with what it did told in full.

All of it is one poll in one thread, and nothing is waited for without an end.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from shim.children import sweep
from shim.children.environment import RUNTIME_API
from shim.children.peer import Peer
from shim.children.reaper import has_pidfd
from shim.testing.conform.descendants import PATIENCE, Descendants
from shim.testing.conform.protocol import Broken
from shim.testing.conform.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shim.runtime_api.connection import Connection
    from shim.testing.conform.protocol import Command

BACKLOG = 128
MOST_PEERS = 200
"""Connections that are served at a time; the others wait to be accepted."""
TAIL = 2000
"""Bytes of the log that are kept: the last ones."""
PIECE = 65_536
LAST_WORDS = 0.1
"""Seconds for what it sent before its end."""
TICK = 0.005
"""Seconds between two looks at whether it has ended, where the kernel does not tell."""
PAUSE = 0.002
"""Seconds between two pieces of an answer, in which the program can read the first."""


class End(NamedTuple):
    """How a process ended: with an exit code, or by a signal."""

    code: int | None
    signal: str | None

    @property
    def told(self) -> str:
        """The predicate of a sentence."""
        return f"ended with exit code {self.code}" if self.signal is None else f"was ended by {self.signal}"


class Candidate:
    """One process of the program, with a Runtime API of its own at a port of its own. To be closed by its block, after which nothing of it is left.

    Raises:
        Broken: the kernel does not start it.
    """

    def __init__(self, command: Command) -> None:
        self.end: End | None = None
        """How it ended, once that was seen."""
        self.log = b""
        """The end of what it wrote to standard output and standard error."""
        self.logged = 0
        """Bytes of that, in all, without white space at their ends."""
        environment = command.environment
        self.api = Witness(
            {
                "functionName": environment.get(b"AWS_LAMBDA_FUNCTION_NAME", b"function").decode("utf-8", "replace"),
                "functionVersion": "$LATEST",
                "handler": environment.get(b"_HANDLER", b"").decode("utf-8", "replace"),
            }
        )
        self.descendants = Descendants()
        self._poll = select.poll()
        self._peers: dict[int, Peer] = {}
        self._unfinished: Peer | None = None
        """Who gets the next piece of an answer."""
        self._pidfd = -1
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._log, log = os.pipe()
        os.set_blocking(self._log, False)
        host, port = self._listener.getsockname()
        own = {RUNTIME_API: f"{host}:{port}".encode(), sweep.MARK: uuid4().hex.encode()}
        try:
            self._process = subprocess.Popen(
                command.arguments,
                executable=command.path,
                cwd=command.folder,
                env={**environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as refusal:
            self._listener.close()
            os.close(self._log)
            raise Broken(f"can't be started: {refusal.strerror}") from None
        finally:
            os.close(log)
        self.pid = self.descendants.root = self._process.pid
        try:
            if has_pidfd():
                self._pidfd = os.pidfd_open(self.pid)
                self._poll.register(self._pidfd, select.POLLIN)
            self._poll.register(self._log, select.POLLIN)
            self._poll.register(self._listener.fileno(), select.POLLIN)
        except BaseException:
            self.close()
            raise

    @property
    def said(self) -> str:
        """The last words of its log, for a sentence: "; its log says …", or "" where there are none."""
        words = self.log.decode("utf-8", "replace").strip()
        return f"; its log ends with {words[-200:]!r}" if words else ""

    def attend(self, seconds: float, until: Callable[[], object]) -> bool:
        """Serves it until that is so, or it has ended, or the time is over; returns whether that is so."""
        deadline = time.monotonic() + seconds
        while not until() and self.end is None:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._turn(left)
        return bool(until())

    def hear_the_rest(self) -> None:
        """Takes what has come already: of one that has ended it is all that will be taken."""
        until = time.monotonic() + LAST_WORDS  # others may hold its connections open, and go on and on
        while self._turn(0) and time.monotonic() < until:
            pass

    def send(self, connection: Connection, head: bytes, cuts: Sequence[int]) -> None:
        """Sends the answer that waits to go out over that connection, with that head in place of its own.

        Args:
            connection: of the `next` that is answered.
            head: as it is to be.
            cuts: where to cut the answer into pieces, each of which can be read before the next one comes: so many bytes behind the end of the
                head, or before it.
        """
        answer = head + connection.take().partition(b"\r\n\r\n")[2]
        peer = next((peer for peer in self._peers.values() if peer.connection is connection), None)
        inside = {len(head) + cut for cut in cuts if 0 < len(head) + cut < len(answer)}
        places = [0, *sorted(inside), len(answer)]
        for start, end in pairwise(places):
            if peer is None or self.end is not None:
                return
            peer.unsent = memoryview(bytes(peer.unsent) + answer[start:end])
            self._unfinished = peer if end < len(answer) else None
            self._serve(peer)
            if end < len(answer):
                self.attend(PAUSE, lambda: False)
        for other in tuple(self._peers.values()):  # an extension has got its event
            self._serve(other)

    def hang_up(self) -> None:
        """The Runtime API has gone, and does not come back."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            self._poll.register(listener.fileno(), 0)  # whether it was before or not
            self._poll.unregister(listener.fileno())
            listener.close()
        for peer in tuple(self._peers.values()):
            peer.connection.close()
            self._drop(peer)

    def terminate(self) -> None:
        """SIGTERM to it and its group, as mode bootstrap sends it."""
        sweep.kill_group(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """Kills it, and whatever it has started."""
        sweep.kill_group(self.pid)  # which it leads until it is reaped
        try:
            self.descendants.kill()
        finally:
            with suppress(subprocess.TimeoutExpired):  # another user's, which we can't kill
                self._process.wait(PATIENCE)
            self.hang_up()
            os.close(self._log)
            if self._pidfd >= 0:
                os.close(self._pidfd)

    def _turn(self, seconds: float) -> bool:
        """Waits for something to happen, and serves whoever it is; whether anything did."""
        ready = self._poll.poll(ceil((seconds if self._pidfd >= 0 else min(seconds, TICK)) * 1000))
        for descriptor, event in ready:
            if descriptor == self._log:
                self._read_log()
            elif descriptor == self._pidfd:
                self._poll.unregister(descriptor)
            elif self._listener is not None and descriptor == self._listener.fileno():
                self._accept(self._listener)
            elif peer := self._peers.get(descriptor):
                if peer.reads:
                    peer.receive()
                elif event & (select.POLLHUP | select.POLLERR):
                    peer.connection.close()
                self._serve(peer)
        status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if status is not None:
            number = status.si_status
            self.end = End(number, None) if status.si_code == os.CLD_EXITED else End(None, _name(number))
        return bool(ready)

    def _read_log(self) -> None:
        try:
            data = os.read(self._log, PIECE)
        except BlockingIOError:
            return
        if not data:
            self._poll.unregister(self._log)
        self.log = (self.log + data)[-TAIL:]
        self.logged += len(data.strip())

    def _accept(self, listener: socket.socket) -> None:
        """Accepts who waits, and looks at the others again before there are too many."""
        while len(self._peers) < MOST_PEERS:
            try:
                accepted, _ = listener.accept()
            except OSError:  # nobody waits, or has gone again
                return
            peer = Peer(accepted.detach(), self.api.connect())
            self._peers[peer.socket.fileno()] = peer
            self._serve(peer)
        self._poll.modify(listener.fileno(), 0)

    def _serve(self, peer: Peer) -> None:
        """Sends what is to go out."""
        descriptor = peer.socket.fileno()
        if descriptor not in self._peers:
            return
        peer.send()
        self.api.events.clear()
        if peer.connection.closing and not peer.unsent and peer is not self._unfinished:
            self._drop(peer)
        else:
            wanted = (select.POLLIN if peer.reads else 0) | (select.POLLOUT if peer.unsent else 0)
            self._poll.register(descriptor, wanted)

    def _drop(self, peer: Peer) -> None:
        descriptor = peer.socket.fileno()
        del self._peers[descriptor]
        self._poll.unregister(descriptor)
        peer.socket.close()
        if self._listener is not None:
            self._poll.modify(self._listener.fileno(), select.POLLIN)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
