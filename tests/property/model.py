"""What an executable that acts a script must lead to, by a small model. It knows `shim` by the names of its errors only.

One word of the script after the other is acted; the state is what has been written so far, what is open, and which signals are ignored.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}  # ignored by default: signal(7)
ORPHANS_DO_NOT_STOP = {
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
}  # discarded in an orphaned process group: setpgid(2)


@dataclass
class Prediction:
    """The error's name, or None for success; what it carries; and what reached the reply and the log."""

    error: str | None = None
    code: int | None = None
    signal: str | None = None
    reply: bytes = b""
    log: bytes = b""


@dataclass
class State:
    reply_fd: int
    limit: int
    reply: bytearray = field(default_factory=bytearray)
    log: bytearray = field(default_factory=bytearray)
    closed: set[int] = field(default_factory=set)
    ignored: set[int] = field(default_factory=set)
    stopping: bool = False
    """Whether its time is over: it hangs, or was stopped, and goes on for the grace only if it ignores SIGTERM."""

    def put(self, descriptor: int, data: bytes) -> None:
        if descriptor in self.closed or self.stopping:
            return
        if descriptor == self.reply_fd:
            self.reply += data
        elif descriptor in (1, 2):
            self.log += data

    def reaches_us(self, descriptor: int) -> bool:
        there = {1, 2} | ({3} if self.reply_fd == 3 else set())
        return descriptor in there - self.closed


def predict(script: list[str], *, reply_fd: int, limit: int) -> Prediction:
    """The one outcome of a script, in which sleeps are short or for ever, and the deadline is far for all but those that hang."""
    state = State(reply_fd, limit)
    prediction = _act(script, state)
    prediction.reply, prediction.log = bytes(state.reply), bytes(state.log)
    return prediction


def _act(script: list[str], state: State) -> Prediction:  # noqa: C901 - a case for each word of the actor
    for word in script:
        action, _, rest = word.partition(":")
        number = int(rest.partition(":")[0] or 0)
        if action in ("write", "fill"):
            text = rest.partition(":")[2]
            state.put(number, bytes.fromhex(text) if action == "write" else b"x" * int(text))
        elif action == "close":
            state.closed.add(number)
        elif action == "ignore":
            state.ignored |= {number} - {signal.SIGKILL, signal.SIGSTOP}  # which nobody can ignore: signal(7)
        elif action == "flood" and state.reaches_us(number):
            if number == state.reply_fd:
                return Prediction("OutputTooLarge")
            return _hang(state)
        elif action == "sleep" and number == 0:
            return _hang(state)
        elif action == "exit":
            return _overflow(state) or (Prediction() if number == 0 else Prediction("ExitError", code=number))
        elif action == "raise":
            if number in HARMLESS | ORPHANS_DO_NOT_STOP or number in state.ignored:
                continue
            if number == signal.SIGSTOP:
                return _hang(state)
            return _overflow(state) or Prediction("SignalError", signal=signal.Signals(number).name)
        if overflow := _overflow(state):
            return overflow
    return _overflow(state) or Prediction()


def _overflow(state: State) -> Prediction | None:
    return Prediction("OutputTooLarge") if len(state.reply) > state.limit else None


def _hang(state: State) -> Prediction:
    overflow = _overflow(state)
    return overflow or Prediction("DeadlineExceeded", signal=None if signal.SIGTERM in state.ignored else "SIGTERM")
