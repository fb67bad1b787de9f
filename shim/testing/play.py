"""How it is reckoned what must come of a fake executable: by what it does, and by rules that know nothing of how `shim` drives a child.

One word of the actor's after the other is played; the state is what it has read and written so far, what is open, and which signals are ignored.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from shim.errors import is_error_name
from shim.testing.expectation import Expectation, Expected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.settings import Settings

HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
"""Ignored by default: signal(7)."""
ORPHANS_DO_NOT_STOP = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
"""Discarded in an orphaned process group, which that of a leader of a session is: setpgid(2)."""
NEVER_IGNORED = {signal.SIGKILL, signal.SIGSTOP}
"""signal(7)."""
BY_US = frozenset({"SIGTERM"})
BY_US_IN_THE_END = frozenset({"SIGTERM", "SIGKILL"})
"""Where SIGTERM may come before the child ignores it, or may be the last that it needs."""
MEMBERS = {"errorType", "errorMessage", "stackTrace"}
"""Of an error as Lambda's own runtimes post it."""
REPORT = b'{"errorType"'
"""How the reply of a child begins that may be about to fail (README, "Warm")."""
FOREIGN = Expected("Misbehaved", "ReplyUnexpected")
NO_REPLY = Expected("Misbehaved", "ReplyMissing")


class _Over(Exception):
    def __init__(self, *among: Expected, name: str = "") -> None:
        self.expectation = Expectation(among, name)


def expectation(script: Sequence[str], settings: Settings, request: bytes, *, number: int) -> Expectation:
    """What must come of the `number`-th request to a child that acts this script, where it was asked the same before.

    Sleeps are short, and the deadline is far for all but those that hang.

    Raises:
        ValueError: it is over before.
    """
    play = _Kept(settings, request, number) if settings.mode == "warm" else _Once(settings, request)
    try:
        play.perform(script)
    except _Over as over:
        return over.expectation
    raise AssertionError("a play has an end")


class _Play:
    """What is common to all: standard input, what is open, and which signals are ignored."""

    def __init__(self, settings: Settings, request: bytes) -> None:
        self.settings = settings
        self.request = request
        self.unread = request
        self.line = b""
        self.stderr = bytearray()
        self.closed: set[int] = set()
        self.ignored: set[int] = set()
        self.unsure = False
        """Whether it wrote what can't be foreseen."""

    def perform(self, script: Sequence[str]) -> None:
        position = 0
        while position < len(script):
            word = script[position]
            position += 1
            if word.startswith("again:"):
                position = int(word[6:])
            elif word == "serve":
                self.serve()
            else:
                self.act(word)
        self.exit(0)

    def serve(self) -> None:
        while True:
            self.take_line()
            found = _text(self.line, b'"do":')
            for word in found.decode().split():
                self.act(word)

    def act(self, word: str) -> None:  # noqa: C901, PLR0912 - a case for each word of the actor
        action, _, rest = word.partition(":")
        first, _, more = rest.partition(":")
        number = int(first) if first.lstrip("-").isdecimal() else 0
        match action:
            case "line":
                self.take_line()
            case "read":
                self.unread = self.unread[number:]
            case "read-all":
                self.unread = b""
            case "copy":
                self.put(1, self.unread)
                self.unread = b""
            case "write":
                self.put(number, bytes.fromhex(more))
            case "fill":
                self.put(number, b"x" * int(more))
            case "reply" | "event" | "answer" | "refuse" | "value" | "error":
                self.put(number, self.answer(action, more))
            case "close":
                self.closed.add(number)
                self.unread = self.unread if number else b""
                self.has_closed(number)
            case "ignore":
                self.ignored |= {number} - NEVER_IGNORED
            case "flood":
                self.flood(number)
            case "sleep" | "stop" | "await" if number == 0 or action != "sleep":
                self.hang(answers_sigterm=action != "await" and signal.SIGTERM not in self.ignored)
            case "exit":
                self.exit(number)
            case "raise":
                self.kill(number)
            case "describe":
                self.unsure = True

    def answer(self, action: str, more: str) -> bytes:
        event = _event(self.line)
        first, _, second = more.partition(":")
        behind = bytes.fromhex(second if action in ("value", "error") else more)
        if action in ("reply", "event"):
            return (self.line if action == "reply" else event) + b"\n" + behind
        member = {"answer": b"value", "refuse": b"error"}.get(action, action.encode())
        value = bytes.fromhex(first) if action in ("value", "error") else event
        identity = _text(self.line, b'"id":')
        return b'{"id":"' + identity + b'","' + member + b'":' + value + b"}\n" + behind

    def kill(self, number: int) -> None:
        if number in HARMLESS | ORPHANS_DO_NOT_STOP or number in self.ignored:
            return
        if number == signal.SIGSTOP:
            self.hang(answers_sigterm=signal.SIGTERM not in self.ignored)
        self.end("Signaled", "SignalError", signals=frozenset({signal.Signals(number).name}))

    def flood(self, descriptor: int) -> None:
        there = {1, 2} | {self.settings.reply_fd}
        if descriptor not in there - self.closed:
            return  # the first write fails
        self.put(descriptor, b"x" * (self.settings.max_output_bytes + 1))
        self.unsure = True
        self.hang(answers_sigterm=signal.SIGTERM not in self.ignored)

    def hang(self, *, answers_sigterm: bool) -> None:
        raise _Over(Expected("Stopped", "DeadlineExceeded", signals=BY_US if answers_sigterm else BY_US_IN_THE_END))

    def exit(self, code: int) -> None:
        raise NotImplementedError

    def end(self, kind: str, error: str | None, **facts: Any) -> None:
        raise NotImplementedError

    def put(self, descriptor: int, data: bytes) -> None:
        raise NotImplementedError

    def take_line(self) -> None:
        raise NotImplementedError

    def has_closed(self, descriptor: int) -> None:
        """A kept child that closes its reply's descriptor can't reply any more."""


class _Once(_Play):
    """A one-shot child: its reply is all that it writes."""

    def __init__(self, settings: Settings, request: bytes) -> None:
        super().__init__(settings, request)
        self.reply = bytearray()

    def take_line(self) -> None:
        line, found, rest = self.unread.partition(b"\n")
        if not found:
            self.exit(0)
        self.line, self.unread = line, rest

    def put(self, descriptor: int, data: bytes) -> None:
        if descriptor in self.closed:
            return
        if descriptor == self.settings.reply_fd:
            self.reply += data
            if len(self.reply) > self.settings.max_output_bytes:
                raise _Over(Expected("Overflowed", "OutputTooLarge"))
        elif descriptor in (1, 2):
            self.stderr += data  # with reply_fd=3 standard output goes its way

    def hang(self, *, answers_sigterm: bool) -> None:
        stderr = None if self.unsure else bytes(self.stderr)
        signals = BY_US if answers_sigterm else BY_US_IN_THE_END
        raise _Over(Expected("Stopped", "DeadlineExceeded", signals=signals, stderr=stderr))

    def exit(self, code: int) -> None:
        name = "ok" if code == 0 else self.settings.exit_codes.get(code) or _name_in(bytes(self.reply), "ExitError")
        self.end("Exited", None if name == "ok" else name, code=code)

    def end(self, kind: str, error: str | None, **facts: Any) -> None:
        expected = Expected(kind, error, **facts)
        if not self.unsure:
            expected = expected._replace(reply=bytes(self.reply), stderr=bytes(self.stderr))
        raise _Over(expected)


class _Kept(_Play):
    """A warm child: its reply is one line, or one envelope."""

    def __init__(self, settings: Settings, request: bytes, number: int) -> None:
        super().__init__(settings, request)
        self.number = number
        self.asked = 0
        """How many requests it has taken."""
        self.written = bytearray()
        """What it wrote of a line, as its reply."""
        self.replied: Expected | None = None
        """The outcome, as soon as there is a reply; what comes behind it may change it."""
        self.or_else: Expected | None = None
        """What it may come to as well, which depends on when it is looked at, and why."""
        self.why = ""
        self.input_ends = False
        """Whether its input was closed to see how it ends."""

    def take_line(self) -> None:
        if self.input_ends:
            self.exit(0)
        if self.asked == self.number:
            self.hang(answers_sigterm=signal.SIGTERM not in self.ignored)
        self.asked += 1
        self.line = self.request.rstrip(b"\n")
        self.written.clear()

    def put(self, descriptor: int, data: bytes) -> None:
        if descriptor in self.closed or not data or descriptor != self.settings.reply_fd:
            return
        if self.asked == 0:
            self.greet(data)
        elif self.asked == self.number:
            self.write(data)

    def greet(self, data: bytes) -> None:
        if not self.settings.ready or data.strip() != b'{"ok":true}':
            raise _Over(FOREIGN)

    def write(self, data: bytes) -> None:
        if self.replied is not None:
            if self.settings.framing == "envelope" and b'"id"' not in data:
                return  # it is log
            self.or_else, self.why = FOREIGN, "what is written behind a reply comes with it, or later"
            return
        self.written += data
        line, found, rest = bytes(self.written).partition(b"\n")
        most = self.settings.max_output_bytes  # also of a line that is log: what it is, is known at its end
        while found and len(line) <= most and self.settings.framing == "envelope" and not self.is_reply(line):
            self.written[:] = rest
            line, found, rest = rest.partition(b"\n")
        if len(line) > most:
            raise _Over(Expected("Overflowed", "OutputTooLarge"))
        if not found:
            return
        if rest and (self.settings.framing == "line" or self.is_reply(rest.partition(b"\n")[0])):
            raise _Over(FOREIGN)
        if self.settings.framing == "envelope" and "error" in (message := json.loads(line)):
            error = _name_in(json.dumps(message["error"]).encode(), "ReportedError")
            self.replied = Expected("Refused", error, reply=line)
        else:
            self.replied = Expected("Replied", None, reply=line)
        self.input_ends = self.settings.framing == "line" and line.startswith(REPORT)

    def is_reply(self, line: bytes) -> bool:
        try:
            message = json.loads(line)
        except ValueError:
            return False
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            return False
        if ("value" in message) == ("error" in message):
            return False
        if message["id"].encode() != _text(self.line, b'"id":'):
            raise _Over(FOREIGN)
        return True

    def has_closed(self, descriptor: int) -> None:
        if descriptor == self.settings.reply_fd and self.asked == self.number and self.replied is None:
            self.or_else, self.why = NO_REPLY, "that it can't reply any more may be seen before its end"

    def hang(self, *, answers_sigterm: bool) -> None:
        if self.asked != self.number:
            raise ValueError(f"it hangs before its request {self.number}")
        if self.replied is not None:
            self.be_over(self.replied)
        if self.or_else is not None:
            raise _Over(self.or_else)
        super().hang(answers_sigterm=answers_sigterm)

    def exit(self, code: int) -> None:
        report = b"" if self.replied is None else self.replied.reply or b""
        name = "ok" if code == 0 else self.settings.exit_codes.get(code) or _name_in(report, "ExitError")
        if self.replied is not None and name == "ok":
            self.be_over(self.replied)
        if name == "ok":
            raise _Over(NO_REPLY)
        self.end("Exited", name, code=code)

    def end(self, kind: str, error: str | None, **facts: Any) -> None:
        if self.asked < self.number:
            raise ValueError(f"it ends before its request {self.number}")
        if self.replied is not None and not self.input_ends:
            self.be_over(self.replied)
        self.be_over(Expected(kind, error, **facts))

    def be_over(self, expected: Expected) -> None:
        if self.or_else is not None:
            raise _Over(expected, self.or_else, name=self.why)
        raise _Over(expected)


def _name_in(report: bytes, otherwise: str) -> str:
    """The name of the error that a child reports, where that is one as Lambda's own runtimes post it."""
    try:
        found = json.loads(report)
    except ValueError:
        return otherwise
    if not isinstance(found, dict) or not {"errorType", "errorMessage"} <= set(found) <= MEMBERS:
        return otherwise
    name, trace = found["errorType"], found.get("stackTrace", [])
    texts = [name, found["errorMessage"], *(trace if isinstance(trace, list) else [trace, None])]
    return name if all(isinstance(text, str) for text in texts) and is_error_name(name) else otherwise


def _text(line: bytes, name: bytes) -> bytes:
    """The text that is the value of that name, which ends with its colon; nothing where there is none."""
    value = line.partition(name)[2].lstrip(b" ")
    return value[1:].partition(b'"')[0] if value.startswith(b'"') else b""


def _event(line: bytes) -> bytes:
    """The event's bytes in a request; nothing where it has none."""
    event = line.partition(b'"event":')[2].lstrip(b" ")
    depth, quoted, position = 0, False, 0
    while position < len(event):
        byte = event[position : position + 1]
        if quoted and byte == b"\\":
            position += 1
        elif byte == b'"':
            quoted = not quoted
        elif not quoted and byte in b"{[":
            depth += 1
        elif not quoted and depth == 0 and byte in b",}":
            break
        elif not quoted and byte in b"}]":
            depth -= 1
        position += 1
    return event[:position]
