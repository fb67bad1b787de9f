"""What a program by lines did with a request, and whether that is an answer or a truthful failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from shim.codecs.ending import reported
from shim.codecs.line import LineCodec, loads
from shim.codecs.stream import StreamCodec
from shim.errors import OutputInvalid, ShimError
from shim.outcome import Exited, Replied, Usage
from shim.request import BLANKS, Envelope
from shim.settings import STREAMED
from shim.testing.conform.request_lines import ID

if TYPE_CHECKING:
    from shim.settings import Settings
    from shim.testing.conform.subject import Subject

ANSWERED = "answered"
FAILED = "failed"
"""Truthfully: with an exit code that is not 0, and words or a report."""
FAULTY = "faulty"
"""Neither: killed, silent, or with a reply that is none."""
HUNG = "hung"
LONGEST_SHOWN = 60
"""Bytes of what a program wrote that a sentence shows."""


class Conduct(NamedTuple):
    """What a program did with a request."""

    kind: str
    """ANSWERED, FAILED, FAULTY or HUNG."""
    how: str
    """The same as the predicate of a sentence, with the data."""
    value: bytes = b""
    """The JSON of its answer, the same for the same value."""

    @property
    def is_truthful(self) -> bool:
        """Whether it is an answer or a failure that is told."""
        return self.kind in (ANSWERED, FAILED)


class Judge:
    """Tells an answer from what is none, by the rule of `output`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codec = (StreamCodec if settings.output in STREAMED else LineCodec)(
            settings, executable=settings.executable, environment={}, tells_trace=False, escapes=False, memory=None
        )

    @property
    def counts(self) -> bool:
        """Whether one answer can be told from two: not where any bytes are one."""
        return self._settings.output in ("json", "auto")

    def of_reply(self, reply: bytes, *, is_clean: bool) -> Conduct:
        """A whole reply of a program that succeeded, or one line of a kept one.

        Args:
            reply: what it wrote.
            is_clean: whether all of it must be the answer; else the first value in it is.
        """
        if not is_clean and self.counts:
            found, _ = values_in(reply)
            if found:
                return Conduct(ANSWERED, f"answered {shown(reply)}", canonical(found[0]))
        kept = self._settings.mode == "warm"
        outcome = Replied(reply, 0, "") if kept else _exited(reply)
        try:
            value = self._codec.decode(outcome)
        except OutputInvalid as error:
            return Conduct(FAULTY, f"wrote a reply that is no valid result: {error.reason}, near {error.excerpt!r}")
        except ShimError as error:
            return Conduct(FAULTY, f"wrote no reply that is a result: {type(error).__name__}")
        return Conduct(ANSWERED, f"answered {shown(reply)}", canonical(value))

    def of_end(self, subject: Subject, reply: bytes) -> Conduct | None:
        """A program that has ended otherwise than with success; None where it has succeeded."""
        status, names = subject.status, self._settings.exit_codes
        if status is None or status == 0 or names.get(status) == "ok":
            return None
        if status < 0:
            return Conduct(FAULTY, subject.ending)
        if status in names or reported(reply.strip(BLANKS)) is not None or subject.has_spoken:
            return Conduct(FAILED, f"{subject.ending}{said(subject.words)}")
        return Conduct(FAULTY, f"{subject.ending} without a word on standard error, or a report as its reply")


def _exited(reply: bytes) -> Exited:
    usage = Usage(user=0, system=0, peak=0, ours=lambda: 0)
    return Exited(0, reply=reply, duration=0, stderr_tail="", usage=usage, swept=0, spawn=0)


def values_in(reply: bytes) -> tuple[list[Any], bytes]:
    """The JSON values that stand in a reply, each alone on its lines, and the first of what is none of them."""
    values, noise = [], b""
    lines = reply.split(b"\n")
    at = 0
    while at < len(lines):
        if not lines[at].strip(BLANKS):
            at += 1
            continue
        # A value may be written over several lines: the fewest that are one.
        opens = lines[at].lstrip(BLANKS)[:1] in (b"{", b"[")
        for end in range(at + 1, len(lines) + 1 if opens else at + 2):
            try:
                values.append(loads(b"\n".join(lines[at:end])))
            except ValueError:
                continue
            at = end
            break
        else:
            noise = noise or lines[at]
            at += 1
    return values, noise


def envelope_of(line: bytes) -> tuple[object, dict[str, Any] | None] | None:
    """Whose reply a line is, and its object, with `value` or `error`, or None where it can't be parsed; None where the line is log.

    It is told by what tells it in shim: what is a reply here alone would be held against a good program.
    """
    asked = ID.search(line)
    framing = Envelope(len(line), id=None if asked is None else asked.group().decode(), parse=loads)
    if framing.feed(line + b"\n"):
        return None
    if framing.complete:
        return framing.id, framing.message
    message = loads(line)
    return message["id"], message


def canonical(value: Any) -> bytes:
    """The same bytes for the same JSON value, or for the same stream."""
    if isinstance(value, bytes):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def shown(data: bytes) -> str:
    """Bytes in a sentence."""
    return repr(data) if len(data) <= LONGEST_SHOWN else f"{data[:LONGEST_SHOWN]!r}… ({len(data):,} bytes)"


def said(words: bytes) -> str:
    """What a program said, as the end of a sentence."""
    last = [line for line in words.decode("utf-8", "replace").splitlines() if line.strip()]
    return f", saying {last[-1].strip()[:LONGEST_SHOWN]!r}" if last else ""
