"""The codec `line`: one JSON line in, a reply in JSON, text or bytes out, and no value altered on the way.

orjson does the work. Where it would alter a value silently or can't hold it, a cheap test of the bytes finds that out and the standard
library's json, which is slower and exact, takes over (exact.py):
- out, orjson writes NaN and infinity as null, and refuses lone surrogates, integers beyond 64 bits and more than 254 levels;
- in, orjson turns integers beyond 64 bits into floats.
"""

from __future__ import annotations

import json
import sys

import orjson

from shim.codecs.ending import BYTES, Unfit, facts, success
from shim.errors import EventInvalid, OutputInvalid, OutputTooLarge, ReplyMissing
from shim.outcome import Replied
from shim.request import EndOfFile, Envelope, Line, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from shim.invocation import Invocation
    from shim.outcome import Outcome, Told
    from shim.request import Framing, Sink
    from shim.settings import Settings

PROTOCOL = 1
"""The version of the line, which it carries as `"shim": 1`. Its JSON Schema is beside this file: line.schema.json."""

LAMBDA_LIMIT = 6 * 1024 * 1024 + 100
"""Bytes of an encoded answer that Lambda takes (the Runtime API's MaxPayloadSize)."""

WIDEST = 6
"""How many bytes of encoded answer one byte of a reply can become at most: a control character in a text becomes \\u0001."""

DEEP = 250
"""Brackets from which on it is worth looking whether they are too many levels for the host's encoder."""

BYTES_PER_LOOK = 4096
"""A search for "null" takes 0.5 ns a byte, a look at a value 0.1 µs: a large event of few values, as one with a body in base64, is looked at."""

PIECE = 64 * 1024
"""Characters of a text that are encoded at a time, only to be counted: all at once would take its memory once more."""

STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

TOO_DEEP = Unfit("nested too deep to be encoded again", "make it nest its values less deep")

_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_MANY_DIGITS = b"0" * 19  # 2**63 has 19 digits


class LineCodec:
    """Invocation → Request, and Outcome → value (`decode`) or the bytes of that value (`judge`).

    Args:
        settings: what is asked for.
        executable: its path; the child's own name for itself.
        environment: what the child gets, without what changes from one invocation to the next.
        tells_trace: whether the environment gets the invocation's _X_AMZN_TRACE_ID.
        escapes: whether the host encodes a result as ASCII, with every other character escaped.
        memory: the function's, in bytes, or None where it is not known.
    """

    streams = False
    """Whether a reply may go to a sink."""
    _empty = ("wrote an empty line", "")
    """What a kept child did whose reply is empty, as the predicate of a sentence, and what to do about that, where lines want something else."""

    def __init__(  # noqa: PLR0913 - what the settings do not say
        self,
        settings: Settings,
        *,
        executable: str,
        environment: Mapping[bytes, bytes],
        tells_trace: bool,
        escapes: bool,
        memory: int | None,
    ) -> None:
        self._name = settings.executable
        self._arguments = [executable, *settings.args]
        self._environment = environment
        self._tells_trace = tells_trace
        self._escapes = escapes
        self._memory = memory
        self._camel = settings.context_keys == "camel"
        self._output = settings.output
        self._limit = settings.max_output_bytes
        self._framing = settings.framing if settings.mode == "warm" else "end of file"
        self._exit_codes = settings.exit_codes

    def encode(self, invocation: Invocation, count: int, sink: Sink | None = None) -> Request:
        """The line `{"event": …, "context": …, "shim": 1}` and what else the child is told. With a sink its reply goes there.

        Raises:
            EventInvalid: the event holds what JSON can't hold, or is bytes that are not JSON.
        """
        context = invocation.describe(camel=self._camel, count=count)
        environment = self._environment
        whose = None
        if self._framing == "line":
            framing: EndOfFile | Framing = Line(self._limit)
        elif self._framing == "envelope":
            whose = (
                f"{invocation.request_id or 'invocation'}-{count}"  # Lambda's is the same when it tries an event again
            )
            framing = Envelope(self._limit, id=whose, parse=loads)
        else:
            framing = self._whole(sink)
            if invocation.trace_id is not None and self._tells_trace:
                environment = {
                    **environment,
                    b"_X_AMZN_TRACE_ID": invocation.trace_id.encode("utf-8", "surrogateescape"),
                }
        return Request(
            line(invocation.event, context, whose=whose, is_valid=invocation.is_valid),
            arguments=self._arguments,
            environment=environment,
            framing=framing,
            request_id=invocation.request_id,
            sink=sink,
        )

    def _whole(self, sink: Sink | None) -> EndOfFile:  # noqa: ARG002 - see stream.py
        """The framing of a child that is asked once, and whose reply goes there."""
        return EndOfFile(self._limit)

    def ahead(self) -> Request:
        """What a child is told that is started before its first request: all but that. Whatever it writes until then is no answer."""
        framing: EndOfFile | Framing
        if self._framing == "line":
            framing = Line(self._limit, asked=False)
        elif self._framing == "envelope":
            framing = Envelope(self._limit, id=None, parse=loads)
        else:
            framing = EndOfFile(self._limit)
        return Request(b"", arguments=self._arguments, environment=self._environment, framing=framing)

    def decode(self, outcome: Outcome) -> Any:
        """The value that the child answered.

        Raises:
            ShimError: the child failed, or its reply is not what `output` asks for, or is too large for Lambda as the host encodes it.
        """
        ended = outcome if isinstance(outcome, Replied) else self._success(outcome)
        value, _ = self._value(ended)
        if len(ended.reply) * WIDEST > LAMBDA_LIMIT or (
            isinstance(value, (dict, list)) and ended.reply.count(b"[") + ended.reply.count(b"{") > DEEP
        ):
            self._hold_against_limit(value, ended)
        return value

    def judge(self, outcome: Outcome) -> bytes:
        """The same value as the bytes of its JSON: the reply's own bytes, where it is JSON.

        Raises:
            ShimError: as `decode`.
        """
        ended = outcome if isinstance(outcome, Replied) else self._success(outcome)
        value, is_json = self._value(ended)
        answer = bytes(ended.reply).strip() if is_json else self._encoded(value, ended)
        if len(answer) > LAMBDA_LIMIT:
            raise self._too_large(len(answer), ended)
        return answer

    def conclude(self, outcome: Outcome, *, has_begun: bool) -> bytes:  # noqa: ARG002 - see stream.py
        """What of a reply that goes to a sink is still to be handed on: here all of it, for nothing was."""
        return self.judge(outcome)

    def _success(self, outcome: Outcome) -> Told:
        return success(outcome, executable=self._name, exit_codes=self._exit_codes, memory=self._memory)

    def _value(self, ended: Told) -> tuple[Any, bool]:
        """The value that the reply stands for by the rule of `output`, and whether the reply is its JSON."""
        reply = ended.reply
        if isinstance(ended, Replied) and ended.message is not None:
            return ended.message["value"], False
        if self._output == "base64":
            from base64 import b64encode  # noqa: PLC0415 - only where it is asked for

            return b64encode(reply).decode(), False
        if self._output == "text":
            return self._text(ended), False
        if not reply.strip(b" \t\r\n"):  # what JSON calls white space
            if self._output == "json":
                how, cure = self._empty if isinstance(ended, Replied) else (None, "")
                raise ReplyMissing(how=how, cure=cure, **facts(ended, self._name))
            return (None if not reply else self._text(ended)), False
        try:
            return loads(reply), True
        except Unfit as unfit:
            if self._output == "json" or unfit.parses or reply.lstrip(b" \t\r\n")[:1] in (b"{", b"["):
                raise self._invalid(unfit, ended) from None
            return self._text(ended), False

    def _text(self, ended: Told) -> str:
        try:
            return str(ended.reply, "utf-8")
        except UnicodeDecodeError as error:
            raise self._invalid(Unfit(f"not UTF-8 ({error.reason})", BYTES, offset=error.start), ended) from None

    def _encoded(self, value: Any, ended: Told) -> bytes:
        """A value as JSON, which orjson has not for every integer and every depth."""
        try:
            return orjson.dumps(value)
        except TypeError:
            try:
                return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
            except RecursionError:
                raise self._invalid(TOO_DEEP, ended) from None

    def _hold_against_limit(self, value: Any, ended: Told) -> None:
        try:
            size = encoded_size(value, escapes=self._escapes)
        except RecursionError:
            raise self._invalid(TOO_DEEP, ended) from None
        if size > LAMBDA_LIMIT:
            raise self._too_large(size, ended)

    def _too_large(self, size: int, ended: Told) -> OutputTooLarge:
        return OutputTooLarge(size=size, limit=LAMBDA_LIMIT, encoded=True, **facts(ended, self._name))

    def _invalid(self, unfit: Unfit, ended: Told) -> OutputInvalid:
        common = facts(ended, self._name)
        return OutputInvalid(reason=unfit.reason, offset=unfit.offset, cure=unfit.cure, reply=ended.reply, **common)


def line(event: object, context: Mapping[str, object], *, whose: str | None = None, is_valid: bool = False) -> bytes:
    """The request: one line of JSON with one line feed, at its end. First comes the `id` by which a reply says `whose` it is, where there is one.

    An event of bytes is JSON already, of which somebody may have made sure (`is_valid`), and goes in as it is, its line feeds made blanks: in
    valid JSON a raw one can only be white space. An event of values may hold what JSON has: dict with text keys, list, text, number, true,
    false and null. Besides, a tuple is written as a list, a UUID as its text and a member of an Enum as its value, since orjson does so and no
    runtime hands them over.

    Raises:
        EventInvalid: there is no JSON for it.
    """
    message: dict[str, object] = {"event": event, "context": context, "shim": PROTOCOL}
    if whose is not None:
        message = {"id": whose, **message}
    if is_json := isinstance(event, (bytes, bytearray)):
        checked = bytes(event) if is_valid else validated(bytes(event))
        message["event"] = orjson.Fragment(checked.replace(b"\n", b" "))
    try:
        encoded = orjson.dumps(message, option=STRICT | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        from shim.codecs.exact import dumps_exactly  # noqa: PLC0415 - most functions never need it

        if not is_json:
            message["event"] = orjson.Fragment(dumps_exactly("event", event))
        message["context"] = orjson.Fragment(dumps_exactly("context", context))
        return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
    # Each null is a None of the context's own, or what orjson makes of NaN, or a None or a text further inside, which is worth a look.
    nulls_of = encoded
    if is_json or (len(encoded) >= BYTES_PER_LOOK and surely_finite(event, looks=len(encoded) // BYTES_PER_LOOK)):
        event = None
        nulls_of = orjson.dumps(context, option=STRICT)
    if nulls_of.count(b"null") != list(context.values()).count(None):
        from shim.codecs.exact import refuse_what_json_lacks  # noqa: PLC0415 - most functions never need it

        refuse_what_json_lacks("context", context)
        refuse_what_json_lacks("event", event)
    return encoded


def validated(event: bytes) -> bytes:
    """The bytes of an event, if they are one JSON value.

    Raises:
        EventInvalid: they are not. Unchecked, bytes could close the event and forge a context.
    """
    try:
        orjson.loads(event)
    except orjson.JSONDecodeError:
        try:  # to its end, whatever its numbers and escapes mean
            from shim.codecs.exact import read  # noqa: PLC0415 - most functions never need it

            read(event, parse_int=str, parse_float=str)
        except Unfit as unfit:
            where = "" if unfit.offset is None else f" at byte {unfit.offset}"
            raise EventInvalid(f"the event is bytes that are not valid JSON: {unfit.reason}{where}") from None
    return event


def surely_finite(value: object, *, looks: int) -> bool:
    """Whether no number inside is NaN or infinite. Gives up, and says False, where that takes more than so many looks."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is dict or kind is list:
            looks -= len(item)
            if looks < 0:
                return False
            waiting.extend(item.values() if kind is dict else item)
        elif kind is float:
            if not abs(item) <= sys.float_info.max:  # NaN is not, either
                return False
        elif item is not None and kind is not str and kind is not bool and kind is not int:
            return False
    return True


def loads(reply: bytes | bytearray) -> Any:
    """The one JSON value that the bytes are, every digit of its integers kept.

    Raises:
        Unfit: they are not one, or it can't be a result.
    """
    if _MANY_DIGITS not in reply.translate(_DIGITS):
        try:
            return orjson.loads(reply)
        except orjson.JSONDecodeError:
            pass  # what it does not take may be JSON all the same
    from shim.codecs.exact import loads_exactly  # noqa: PLC0415 - most functions never need it

    return loads_exactly(reply)


def encoded_size(value: Any, *, escapes: bool) -> int:
    """The bytes of a result as awslambdaric encodes it: simplejson with ", " and ": ", in ASCII or not (lambda_runtime_marshaller.py).

    Raises:
        RecursionError: it is nested too deep for that.
    """
    if type(value) is str and (value.isascii() or not escapes):
        return 2 + sum(
            _size_within_quotes(value[at : at + PIECE], escapes=escapes) for at in range(0, len(value), PIECE)
        )
    encoded = json.dumps(value, ensure_ascii=escapes)
    return len(encoded) if escapes else len(encoded.encode())


def _size_within_quotes(text: str, *, escapes: bool) -> int:
    """What orjson writes for a text is what simplejson writes, but for DEL, which is escaped where every other character is."""
    return len(orjson.dumps(text)) - 2 + (5 * text.count("\x7f") if escapes and "\x7f" in text else 0)
