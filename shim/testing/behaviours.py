"""What a fake executable can do, each by a name. A fake does what it is composed of, one after the other, and then ends with code 0.

`FakeExecutable(reads_line(), writes_stderr("oh"), exits(3))` reads its request, says "oh" and fails. Values are frozen, are equal where they do the
same, and their `repr` is the call that makes them: what Hypothesis shows of a counterexample can be pasted into a test.
"""

from __future__ import annotations

import json
import signal as signals
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

REPLY = -1
"""Stands for the descriptor of the fake's reply, whichever that is."""
STDIN, STDOUT, STDERR = 0, 1, 2
LONGEST = 24 * 3600.0
"""Seconds: nobody sleeps longer; who is to hang, hangs."""


class Stage(NamedTuple):
    """What a behaviour must know of the fake of which it is a part."""

    reply_fd: int
    """The descriptor of its replies, 1 or 3."""
    envelope: bool
    """Whether they are envelopes, which bear the id of their request."""


class Behaviour:
    """One thing that a fake executable does. It is made by the functions of this module.

    Args:
        call: what makes it, as Python has it.
        word: what the actor calls it, in a fake that is so.
    """

    __slots__ = ("_call", "_word")

    def __init__(self, call: str, word: Callable[[Stage], str] | str) -> None:
        self._call = call
        self._word = word

    def word(self, stage: Stage) -> str:
        """What the actor (actor.c, actor.py) calls it."""
        return self._word if isinstance(self._word, str) else self._word(stage)

    def __repr__(self) -> str:
        return self._call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Behaviour) and self._call == other._call

    def __hash__(self) -> int:
        return hash(self._call)


def reads_line() -> Behaviour:
    """Reads one line, of which `echoes` speaks from then on. At the end of input, without one, it ends with code 0."""
    return Behaviour("reads_line()", "line")


def reads(size: int) -> Behaviour:
    """Reads so many bytes of standard input, or less at its end."""
    return Behaviour(f"reads({_natural(size, 'size')})", f"read:{size}")


def reads_all() -> Behaviour:
    """Reads standard input to its end."""
    return Behaviour("reads_all()", "read-all")


def copies() -> Behaviour:
    """Writes standard input to standard output, to its end, as cat(1)."""
    return Behaviour("copies()", "copy")


def replies(value: Any, *, then: bytes = b"") -> Behaviour:
    """Writes that JSON value and a line feed as its reply; as an envelope with the id of the line that it has read, where it speaks those.

    Args:
        value: any JSON value.
        then: bytes that it writes at once, behind the line feed.
    """
    return _answering("replies", value, "value", then)


def refuses(error: Any, *, then: bytes = b"") -> Behaviour:
    """The same with an error: as an envelope's `error`; elsewhere as its reply, which is a report where it is such an object.

    Args:
        error: a text, or {"errorType": …, "errorMessage": …}.
        then: bytes that it writes at once, behind the line feed.
    """
    return _answering("refuses", error, "error", then)


def echoes(*, then: bytes = b"") -> Behaviour:
    """Replies with the event of the line that it has read, as its bytes are; as an envelope, where it speaks those.

    Args:
        then: bytes that it writes at once, behind the line feed.
    """
    return Behaviour(
        f"echoes({_then(then)})",
        lambda stage: f"{'answer' if stage.envelope else 'event'}:{stage.reply_fd}{_hex(then)}",
    )


def writes(data: bytes | str, to: int = REPLY) -> Behaviour:
    """Writes these bytes, or this text as UTF-8, to the descriptor of its reply, or to another."""
    encoded = _encoded(data)
    return Behaviour(f"writes({data!r}{_to(to)})", lambda stage: f"write:{_fd(to, stage)}:{encoded.hex()}")


def writes_stderr(data: bytes | str) -> Behaviour:
    """Writes these bytes, or this text as UTF-8, to standard error: the function's log."""
    encoded = _encoded(data)
    return Behaviour(f"writes_stderr({data!r})", f"write:{STDERR}:{encoded.hex()}")


def fills(size: int, to: int = REPLY) -> Behaviour:
    """Writes the letter x so many times, to the descriptor of its reply, or to another."""
    return Behaviour(f"fills({_natural(size, 'size')}{_to(to)})", lambda stage: f"fill:{_fd(to, stage)}:{size}")


def floods(to: int = REPLY) -> Behaviour:
    """Writes the letter x for ever, to the descriptor of its reply, or to another; until nobody reads there."""
    return Behaviour(f"floods({_to(to).removeprefix(', ')})", lambda stage: f"flood:{_fd(to, stage)}")


def sleeps(seconds: float) -> Behaviour:
    """Sleeps so long, from a thousandth of a second to a day."""
    if not 0.001 <= seconds <= LONGEST:
        raise ValueError(
            f"seconds must be from 0.001 to {LONGEST:.0f}, not {seconds!r}; hangs() is what never goes on by itself"
        )
    return Behaviour(f"sleeps({seconds!r})", f"sleep:{round(seconds * 1000)}")


def hangs() -> Behaviour:
    """Does nothing more, for ever."""
    return Behaviour("hangs()", "sleep:0")


def stops() -> Behaviour:
    """Stops itself, as SIGSTOP does; it goes on when somebody continues it."""
    return Behaviour("stops()", "stop")


def exits(code: int) -> Behaviour:
    """Ends with that exit code, 0 to 255."""
    if type(code) is not int:
        raise ValueError(f"an exit code is a whole number, not {code!r}")
    if not 0 <= code <= 255:
        raise ValueError(f"an exit code is from 0 to 255, not {code!r}")
    return Behaviour(f"exits({code})", f"exit:{code}")


def raises_signal(signal: str | int) -> Behaviour:
    """Sends itself that signal ("SIGSEGV")."""
    name, number = _signal(signal)
    return Behaviour(f"raises_signal({name!r})", f"raise:{number}")


def ignores(signal: str | int) -> Behaviour:
    """Ignores that signal from then on, if that can be."""
    name, number = _signal(signal)
    return Behaviour(f"ignores({name!r})", f"ignore:{number}")


def ignores_sigterm() -> Behaviour:
    """Ignores SIGTERM from then on."""
    return Behaviour("ignores_sigterm()", f"ignore:{int(signals.SIGTERM)}")


def awaits(signal: str | int) -> Behaviour:
    """Waits for that signal, which does nothing else then."""
    name, number = _signal(signal)
    return Behaviour(f"awaits({name!r})", f"await:{number}")


def closes(descriptor: int) -> Behaviour:
    """Closes that descriptor: 0, 1, 2 or 3."""
    if _natural(descriptor, "a descriptor") > 3:
        raise ValueError(f"a fake has the descriptors 0 to 3, and not {descriptor}")
    return Behaviour(f"closes({descriptor})", f"close:{descriptor}")


def closes_stdout() -> Behaviour:
    """Closes standard output."""
    return Behaviour("closes_stdout()", f"close:{STDOUT}")


def forks_and_leaves(seconds: float | None = None) -> Behaviour:
    """Leaves a process in its group that holds all descriptors and sleeps, so long or for ever."""
    return Behaviour(f"forks_and_leaves({_shown(seconds)})", f"fork:{_milliseconds(seconds)}")


def leaves(seconds: float | None = None) -> Behaviour:
    """The same in a session of its own: a daemon."""
    return Behaviour(f"leaves({_shown(seconds)})", f"leave:{_milliseconds(seconds)}")


def vanishes(seconds: float | None = None) -> Behaviour:
    """The same with an environment that was wiped and no descriptors: a daemon that hides.

    Elsewhere than on Lambda nobody finds it: let it sleep a short time, or end it where it was left.
    """
    return Behaviour(f"vanishes({_shown(seconds)})", f"vanish:{_milliseconds(seconds)}")


def describes() -> Behaviour:
    """Writes to standard output, as a JSON object, what it was born with.

    Its members are `descriptors`, `signals` (the masks of /proc/PID/status), `pid`, `session`, `group`, `folder`, `arguments`, `environment`.
    """
    return Behaviour("describes()", "describe")


def obeys() -> Behaviour:
    """Serves line after line, until the end of input, and does what each event says: see `FakeExecutable.event`."""
    return Behaviour("obeys()", "serve")


def notes(path: str) -> Behaviour:
    """Appends to that file "PID start", and of each line that is served then "PID begin TOKEN" and "PID end TOKEN", TOKEN being its text "token"."""
    if not path or set(path) & set(' "\0'):
        raise ValueError(f"the file of notes must have a name without blanks, quotes and NUL, unlike {path!r}")
    return Behaviour(f"notes({path!r})", f"note:{path}")


def fails_where(path: str, code: int) -> Behaviour:
    """Ends with that exit code if that file is there."""
    if not path or set(path) & set(' "\0'):
        raise ValueError(f"the file must have a name without blanks, quotes and NUL, unlike {path!r}")
    exits(code)
    return Behaviour(f"fails_where({path!r}, {code})", f"exit-if:{code}:{path}")


def words(behaviours: Sequence[Behaviour], stage: Stage) -> list[str]:
    """What the actor calls them, in a fake that is so."""
    return [behaviour.word(stage) for behaviour in behaviours]


def _answering(name: str, value: Any, member: str, then: bytes) -> Behaviour:
    encoded = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()  # a lone surrogate stays escaped
    shown = _then(then)
    more = f", {shown}" if shown else ""

    def word(stage: Stage) -> str:
        if not stage.envelope:
            return f"write:{stage.reply_fd}:{encoded.hex()}0a{then.hex()}"
        return f"{member}:{stage.reply_fd}:{encoded.hex()}{_hex(then)}"

    return Behaviour(f"{name}({value!r}{more})", word)


def _encoded(data: bytes | str) -> bytes:
    """These bytes; bytes(5) would be five that nobody has given."""
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))


def _then(data: bytes) -> str:
    if not isinstance(data, bytes):
        raise TypeError(f"then must be bytes, not {data!r}")
    return f"then={data!r}" if data else ""


def _hex(data: bytes) -> str:
    return f":{data.hex()}" if data else ""


def _to(descriptor: int) -> str:
    if descriptor not in (REPLY, STDOUT, STDERR, 3):
        raise ValueError(f"a fake writes to 1, 2 or 3, or to its reply, not to {descriptor!r}")
    return "" if descriptor == REPLY else f", to={descriptor}"


def _fd(descriptor: int, stage: Stage) -> int:
    return stage.reply_fd if descriptor == REPLY else descriptor


def _natural(number: int, what: str) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{what} must be a whole number that is not negative, not {number!r}")
    return number


def _signal(signal: str | int) -> tuple[str, int]:
    try:
        found = signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal)
    except (KeyError, ValueError):
        raise ValueError(f'there is no signal {signal!r}; they are spelled as in "SIGTERM"') from None
    return found.name, int(found)


def _shown(seconds: float | None) -> str:
    return "" if seconds is None else repr(seconds)


def _milliseconds(seconds: float | None) -> int:
    if seconds is None:
        return 0
    sleeps(seconds)
    return round(seconds * 1000)
