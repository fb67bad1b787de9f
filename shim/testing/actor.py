"""The actor in Python, for machines without a C compiler: it does the words that the top of actor.c lists, as that does them.

This is a program, which imports nothing of the package: `python -IS actor.py WORD …`. A fake executable is this file with a list of its words
in the last line, where `sys.argv[1:]` is: it does not read its arguments. All of it is compiled and loaded whenever it starts, so it is short
and imports little: not `signal` (3 ms) or `os` (1 ms), but what they are made of, and no `__future__`.

It differs in one thing: it cannot know whether it was born with SIGPIPE or SIGXFSZ ignored, as Python ignores both when it starts. They are at
their defaults here.
"""

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import signal
    from collections.abc import Callable, Sequence
    from os import _exit as exit_with
    from typing import NoReturn
else:
    import _signal as signal
    import posix as os
    from posix import _exit as exit_with

ENCODING = sys.getfilesystemencoding()
BLOCK = 65_536
CHUNK = 4096
LONG = 1_000_000_000
"""Seconds: for ever, where a process can't wait for signals."""


class Actor:
    """What a script knows from one word to the next.

    Args:
        script: its words.
    """

    def __init__(self, script: "Sequence[str]") -> None:
        self.script = script
        self.next = 0
        self.input = bytearray()
        """What was read of standard input, from the line on that is being served."""
        self.served = 0
        """The bytes of that line, as far as it was read, without its line feed."""
        self.has_line = False
        self.noted: str | None = None

    def run(self) -> None:
        """Does the words up to the last one."""
        while self.next < len(self.script):
            self.next += 1
            self.act(self.script[self.next - 1])

    def act(self, word: str) -> None:  # noqa: C901, PLR0912, PLR0915 - a case for each word, in the order of actor.c
        """Does that word."""
        name, _, behind = word.partition(":")
        first, _, rest = behind.partition(":")
        number = number_of(first)
        match name:
            case "read":
                take(number)
            case "read-all":
                take(-1)
            case "write":
                put(number, bytes_of(rest))
            case "fill":
                fill(number, number_of(rest))
            case "flood":
                fill(number, -1)
            case "copy":
                copy()
            case "close":
                attempt(os.close, number)
            case "sleep":
                nap(number)
            case "exit":
                exit_with(number)
            case "exit-if":
                if os.access(rest, os.F_OK):
                    exit_with(number)
            case "raise":
                attempt(os.kill, os.getpid(), number)
            case "ignore":
                attempt(signal.signal, number, signal.SIG_IGN)
            case "await":
                wait_for(number)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "fork":
                leave_behind(number, own_session=False, wiped=False)
            case "leave":
                leave_behind(number, own_session=True, wiped=False)
            case "vanish":
                leave_behind(number, own_session=True, wiped=True)
            case "describe":
                put(1, described())
            case "serve":
                self.serve()
            case "line":
                self.take_line()
            case "again" if 0 <= number < self.next:
                self.next = number
            case "reply":
                put(number, self.line() + b"\n" + bytes_of(rest))
            case "event":
                put(number, self.event() + b"\n" + bytes_of(rest))
            case "answer":
                put(number, self.envelope(b"value", self.event()) + bytes_of(rest))
            case "refuse":
                put(number, self.envelope(b"error", self.event()) + bytes_of(rest))
            case "value" | "error":
                value, _, more = rest.partition(":")
                put(number, self.envelope(name.encode(), bytes_of(value)) + bytes_of(more))
            case "note":
                self.noted = behind
                self.note(b"start")
            case _:
                exit_with(99)

    def serve(self) -> None:
        """Does what each line says, until the end of input."""
        self.served = 0
        while self.read_line():
            self.act_all(self.text_of(b'"do":', self.served) or b"")
            self.drop_line()

    def take_line(self) -> None:
        """Goes on to the next line, or ends where there is none."""
        if self.has_line:
            self.drop_line()
        if not self.read_line():
            exit_with(0)
        self.has_line = True

    def drop_line(self) -> None:
        """Its line has been served."""
        self.note_token(b"end")
        del self.input[: self.served + 1]
        self.served = 0

    def read_line(self) -> bool:
        """Reads until there is a whole line; False at the end of input."""
        has_begun = False
        while True:
            end = self.input.find(b"\n", self.served)
            self.served = len(self.input) if end < 0 else end
            early = None if end >= 0 or has_begun else self.text_of(b'"early":', CHUNK)
            if not has_begun and (end >= 0 or early is not None):
                has_begun = True
                self.note_token(b"begin")
                self.act_all(early or b"")
            if end >= 0:
                return True
            got = get(CHUNK)
            if not got:
                return False
            self.input += got

    def act_all(self, words: bytes) -> None:
        """Does the words of a line."""
        for word in filter(None, words.decode(ENCODING, "surrogateescape").split(" ")):
            self.act(word)

    def text_of(self, name: bytes, within: int) -> bytes | None:
        """The text that is the value of that name, which ends with its colon, in the first bytes of the line; or None."""
        _, _, value = self.input[: min(within, self.served)].partition(name)
        text, quote, _ = value.lstrip(b" ")[1:].partition(b'"')
        return bytes(text) if quote and value.lstrip(b" ").startswith(b'"') else None

    def line(self) -> bytes:
        """The line that is being served."""
        return bytes(self.input[: self.served])

    def event(self) -> bytes:
        """Its event, as its bytes are."""
        line = self.line()
        event = line.partition(b'"event":')[2].lstrip(b" ")
        return event[: length_of(event)]

    def envelope(self, name: bytes, value: bytes) -> bytes:
        """A line with its id and that value under that name."""
        return b'{"id":"%b","%b":%b}\n' % (self.text_of(b'"id":', self.served) or b"", name, value)

    def note_token(self, what: bytes) -> None:
        """Notes that of the line."""
        self.note(what, self.text_of(b'"token":', self.served) or b"")

    def note(self, what: bytes, token: bytes = b"") -> None:
        """Appends a line to the file of notes, if there is one."""
        if self.noted is None:
            return
        file = os.open(self.noted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if not put(file, b"%d %b%b%b\n" % (os.getpid(), what, b" " if token else b"", token)):
            exit_with(98)
        os.close(file)


def number_of(text: str) -> int:
    """The number that a word has there; 0 where it has none."""
    try:
        return int(text)
    except ValueError:
        return 0


def bytes_of(text: str) -> bytes:
    """The bytes of pairs of hexadecimal digits, up to a colon."""
    return bytes.fromhex(text.partition(":")[0])


def attempt(call: "Callable[..., object]", *arguments: object) -> None:
    """Calls it. That it fails is no failure of ours."""
    try:
        call(*arguments)
    except (OSError, ValueError):
        pass


def put(descriptor: int, data: bytes) -> bool:
    """Writes all of it. A reader that has gone is no failure of ours: the action ends there, and this is False."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        return False
    return True


def get(size: int) -> bytes:
    """Reads so many bytes of standard input, or less; none at its end, or where it can't be read."""
    try:
        return os.read(0, size)
    except OSError:
        return b""


def take(count: int) -> None:
    """Reads so many bytes; all of them if that is negative."""
    while count != 0:
        got = get(BLOCK if count < 0 else min(count, BLOCK))
        if not got:
            return
        if count > 0:
            count -= len(got)


def copy() -> None:
    """Writes to standard output what standard input brings."""
    while data := get(BLOCK):
        if not put(1, data):
            return


def fill(descriptor: int, count: int) -> None:
    """Writes so many times the letter x; for ever if that is negative."""
    block = b"x" * BLOCK
    while count != 0:
        length = BLOCK if count < 0 else min(count, BLOCK)
        if not put(descriptor, block[:length]):
            return
        if count > 0:
            count -= length


def nap(ms: int) -> None:
    """Sleeps; 0 is for ever."""
    while ms == 0:
        signal.pause()
    if ms > 0:
        time.sleep(ms / 1000)


def wait_for(number: int) -> None:
    """Waits for that signal, which does nothing else then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    signal.sigwait([number])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


def leave_behind(ms: int, *, own_session: bool, wiped: bool) -> None:
    """Leaves a process that sleeps. One that is to vanish has vanished when this returns."""
    ours, theirs = os.pipe()  # its end of file tells us that
    if os.fork() > 0:
        os.close(theirs)
        if wiped:
            os.read(ours, 1)
        os.close(ours)
        return
    if own_session:
        os.setsid()
        if os.fork() > 0:
            exit_with(0)  # so that the one that stays is an orphan at once
    if wiped:
        os.closerange(0, theirs)
        os.closerange(theirs + 1, 64)
        # It does not run this file again, which may be a fake's. Its path stands there for those who look for its processes.
        sleep = f"import time; time.sleep({ms / 1000 or LONG})"
        attempt(os.execve, sys.executable, [sys.executable, "-IS", "-c", sleep, sys.argv[0]], {})
        exit_with(97)
    os.close(ours)
    os.close(theirs)
    nap(ms)
    exit_with(0)


def described() -> bytes:
    """As JSON, what this process was born with."""
    descriptors = ",".join(str(descriptor) for descriptor in range(1024) if is_open(descriptor))
    signals = ",".join(
        f'"{line[:6]}":"{line[8:24]}"'
        for line in contents("/proc/self/status").decode("latin-1").splitlines()
        if line.startswith("Sig") and not line.startswith("SigQ")
    )
    try:
        folder = os.getcwdb()
    except OSError:
        folder = b""
    arguments = json_texts([argument.encode(ENCODING, "surrogateescape") for argument in sys.argv])
    # os.environ has neither their order nor those without a "=", and Python may have set LC_CTYPE.
    environment = json_texts(contents("/proc/self/environ").split(b"\0")[:-1])
    return (
        f'{{"descriptors":[{descriptors}],"signals":{{{signals}}},"pid":{os.getpid()},"session":{os.getsid(0)},"group":{os.getpgrp()},'
        f'"folder":{json_text(folder)},"arguments":{arguments},"environment":{environment}}}'
    ).encode()


def is_open(descriptor: int) -> bool:
    """Whether there is such a descriptor."""
    try:
        os.get_inheritable(descriptor)
    except OSError:
        return False
    return True


def contents(path: str) -> bytes:
    """All of a file."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def json_texts(texts: "Sequence[bytes]") -> str:
    """A JSON list of texts."""
    return "[" + ",".join(map(json_text, texts)) + "]"


def json_text(text: bytes) -> str:
    """A JSON text, with a byte a character: Latin-1."""
    escaped = text.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in escaped) + '"'


def length_of(text: bytes) -> int:
    """The length of the JSON value with which that text begins."""
    depth = at = 0
    while at < len(text):
        match text[at : at + 1]:
            case b'"':
                at = end_of_text(text, at + 1)
            case b"{" | b"[":
                depth += 1
            case b"," | b"}" if depth == 0:
                return at
            case b"}" | b"]":
                depth -= 1
        at += 1
    return len(text)


def end_of_text(text: bytes, at: int) -> int:
    """Where the closing quote is, from there on."""
    quote = -1
    while True:
        if quote < at:
            quote = text.find(b'"', at)
        escape = text.find(b"\\", at, quote) if quote >= 0 else -1
        if escape < 0:
            return quote if quote >= 0 else len(text)
        at = escape + 2


def act_all_of(words: "Sequence[str]") -> "NoReturn":
    """Does these words, and ends; with code 98 if a system call failed."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        Actor(words).run()
    except BaseException:
        exit_with(98)
    exit_with(0)


if __name__ == "__main__":
    act_all_of(sys.argv[1:])
