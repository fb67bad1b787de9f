"""The text of a JSON value, laid out anew piece by piece: no number, key or escape is altered, as parsing and encoding again would do.

Pure. The text must be valid JSON already.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]|[^\s\[\]{},:"]++')
"""A text, a mark, or a number, true, false or null. The quantifiers give nothing back: a text may have megabytes."""

UNSEEN = re.compile("[\x7f-\x9f]")
"""What JSON takes raw and a terminal may obey (U+009B begins a control sequence)."""

OPENING = ("{", "[")
CLOSING = ("}", "]")
WORDS = {"true": "json.bool_true", "false": "json.bool_false", "null": "json.null"}
INDENT = "  "


def compact(text: str) -> str:
    """The same value without white space, and so on one line."""
    return "".join(TOKEN.findall(text))


def indented(text: str) -> Iterator[tuple[str, str]]:
    """The same value for a person: pieces of text, each with the name of its style in Rich's theme."""
    pieces = TOKEN.findall(text)
    depth = 0
    previous = ""
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        if piece in CLOSING:
            depth -= 1
            if previous not in OPENING:
                yield "\n" + INDENT * depth, ""
        yield visible(piece), _style(piece, following)
        if piece == ":":
            yield " ", ""
        elif piece == ",":
            yield "\n" + INDENT * depth, ""
        elif piece in OPENING:
            depth += 1
            if following not in CLOSING:
                yield "\n" + INDENT * depth, ""
        previous = piece


def visible(piece: str) -> str:
    """The piece with its control characters escaped, which is the same JSON."""
    return UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", piece)


def _style(piece: str, following: str) -> str:
    if piece.startswith('"'):
        return "json.key" if following == ":" else "json.str"
    if piece in OPENING or piece in CLOSING:
        return "json.brace"
    return WORDS.get(piece, "" if piece in ":," else "json.number")
