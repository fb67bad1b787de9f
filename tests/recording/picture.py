"""A film of a terminal as one SVG that plays by itself: CSS alone moves it, and nothing is loaded.

What is drawn without the animation is the last frame: so it is what those see who want no motion, or whose viewer knows no CSS. Each line is text,
and as wide as its columns whatever the font is.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .terminal import Film, Line, Run, Typing

COLUMN = 8.4
"""The width of a column, as in most fonts of that size."""
SIZE = 14
ROW = 16
"""The height of a row: so little that the lines of frames meet."""
BASE = 12.5
"""Where in it the letters stand."""
BAR = 32
"""The height of the window's upper edge."""
EDGE = 12
"""What is free beside the text, and below."""
REST = 4
"""Seconds that the last frame stays before all begins anew."""
INSTANT = 0.01
"""Seconds between two things that happen one after the other. (Between two keyframes everything goes in the steps of the keys.)"""
COLORS = {
    "default": "#e6edf3",
    "text": "#e6edf3",
    "window": "#161b22",
    "black": "#484f58",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
    "white": "#b1bac4",
    "brightblack": "#8b949e",
    "brightred": "#ffa198",
    "brightgreen": "#a5f0b0",
    "brightbrown": "#f2cc60",
    "brightblue": "#a5d6ff",
    "brightmagenta": "#e2c5ff",
    "bfightmagenta": "#e2c5ff",  # pyte calls it so as a background
    "brightcyan": "#8ae9ef",
    "brightwhite": "#ffffff",
}
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML can't hold."""
GONE = ' opacity="0"'
"""Of what is not there at the end."""
HIDDEN, SEEN = "opacity:0", "opacity:1"


def draw(film: Film, title: str, description: str) -> str:
    """The SVG.

    Args:
        film: what it plays.
        title: what it is, for those who can't see it.
        description: what happens in it, likewise.
    """
    timeline = _Timeline(film.seconds + REST)
    above = film.scrolls[-1].rows if film.scrolls else 0
    scrolled = timeline.play([(0, _moved(0, 0)), *((scroll.at, _moved(0, -scroll.rows)) for scroll in film.scrolls)])
    played = [
        *_lines(film.lines, timeline),
        *(cover for typing in film.typings for cover in _covers(typing, timeline)),
        _cursor(film.typings, timeline),
    ]
    width, height = film.columns * COLUMN + 2 * EDGE, film.rows * ROW + BAR + EDGE
    size = f'width="{_number(width)}" height="{_number(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_number(width)} {_number(height)}" role="img" aria-labelledby="title desc" xml:space="preserve">',
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="desc">{_text(description)}</desc>',
        "<style>",
        f"text{{font:{SIZE}px ui-monospace,monospace;fill:{COLORS['default']};white-space:pre}}",
        *timeline.rules(),
        "</style>",
        f'<rect x=".5" y=".5" width="{_number(width - 1)}" height="{_number(height - 1)}" rx="8" fill="{COLORS["window"]}" stroke="{COLORS["black"]}"/>',
        *(
            f'<circle cx="{x}" cy="17" r="6" fill="{COLORS[color]}"/>'
            for x, color in ((20, "red"), (40, "brown"), (60, "green"))
        ),
        f'<svg x="{EDGE}" y="{BAR}" width="{_number(film.columns * COLUMN)}" height="{film.rows * ROW}">',
        f'<g transform="translate(0,{-ROW * above})"{scrolled}>',
        *played,
        "</g>",
        "</svg>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Timeline:
    """What happens when, in turns of so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._names: dict[str, str] = {}

    def play(self, moments: Iterable[tuple[float, str]]) -> str:
        """The attribute of an element that has these properties from these moments on."""
        keyframes = "".join(f"{_number(100 * at / self._seconds)}%{{{properties}}}" for at, properties in moments)
        return f' class="{self._names.setdefault(keyframes, f"k{len(self._names)}")}"'

    def rules(self) -> Iterator[str]:
        """The style sheet of all that is played."""
        yield f"[class]{{animation:{_number(self._seconds)}s step-end infinite}}"
        for keyframes, name in self._names.items():
            yield f".{name}{{animation-name:{name}}}@keyframes {name}{{{keyframes}}}"
        yield "@media(prefers-reduced-motion:reduce){[class]{animation:none!important}}"


def _lines(lines: Iterable[Line], timeline: _Timeline) -> Iterator[str]:
    """Those that come and go together are one group."""
    for (since, until), together in groupby(lines, key=lambda line: (line.since, line.until)):
        moments = [(0.0, HIDDEN)] if since else []
        moments.append((since, SEEN))
        if until is not None:
            moments.append((until, HIDDEN))
        yield f"<g{GONE if until is not None else ''}{timeline.play(moments)}>"
        for line in together:
            yield from _line(line)
        yield "</g>"


def _line(line: Line) -> Iterator[str]:
    """A wide character is a text of its own: a font may give it another width than two columns."""
    for run in line.runs:
        if run.style.background != "default":
            yield _rectangle(run.column, line.row, run.columns, _color(run.style.background))
    for _, together in groupby(line.runs, key=lambda run: run.column if run.is_wide else None):
        runs = list(together)
        x, y = _number(runs[0].column * COLUMN), _number(line.row * ROW + BASE)
        width = _number(sum(run.columns for run in runs) * COLUMN)
        spans = "".join(map(_span, runs))
        yield f'<text x="{x}" y="{y}" textLength="{width}" lengthAdjust="spacingAndGlyphs">{spans}</text>'


def _span(run: Run) -> str:
    style = run.style
    attributes = {
        "fill": "" if style.color == "default" else _color(style.color),
        "font-weight": "bold" if style.bold else "",
        "font-style": "italic" if style.italics else "",
        "text-decoration": " ".join(
            name for name, has in (("underline", style.underscore), ("line-through", style.strikethrough)) if has
        ),
    }
    said = "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
    return f"<tspan{said}>{_text(run.text)}</tspan>" if said else _text(run.text)


def _covers(typing: Typing, timeline: _Timeline) -> Iterator[str]:
    """What is not typed yet lies under a piece of the window, which goes to the right, key by key."""
    for row, column, length, first, last in typing.pieces:
        if length:
            moments = [(0.0, HIDDEN)] if typing.prompt else []
            moments.append((typing.prompt, SEEN))
            moments.append((first, f"{SEEN};{_moved(0, 0)};{_keys(length)}"))
            moments.append((last - INSTANT, f"{SEEN};{_moved(length, 0)}"))
            moments.append((last, HIDDEN))
            cover = _rectangle(column, row, length, COLORS["window"])
            yield f'<g pointer-events="none"{GONE}{timeline.play(moments)}>{cover}</g>'


def _cursor(typings: Sequence[Typing], timeline: _Timeline) -> str:
    """It is where the next key goes, and nowhere while a command runs."""
    moments = [(0.0, HIDDEN)] if typings[0].prompt else []
    for typing in typings:
        row, column, *_ = typing.pieces[0]
        moments.append((typing.prompt, f"{SEEN};{_moved(column, row)}"))
        for row, column, length, first, last in typing.pieces:
            if length:
                moments.append((first, f"{SEEN};{_moved(column, row)};{_keys(length)}"))
                moments.append((last - INSTANT, f"{SEEN};{_moved(column + length, row)}"))
        if typing.entered is not None:
            moments.append((typing.entered, f"{HIDDEN};{_moved(column + length, row)}"))
    at_the_end = typings[-1].pieces[-1]
    place = f"translate({_number(at_the_end.column * COLUMN)},{at_the_end.row * ROW})"
    cursor = _rectangle(0, 0, 1, COLORS["brightblack"])
    return f'<g pointer-events="none" transform="{place}"{timeline.play(moments)}>{cursor}</g>'


def _keys(number: int) -> str:
    return f"animation-timing-function:steps({number})"


def _rectangle(column: int, row: int, columns: int, fill: str) -> str:
    return f'<rect x="{_number(column * COLUMN)}" y="{row * ROW}" width="{_number(columns * COLUMN)}" height="{ROW}" fill="{fill}"/>'


def _color(name: str) -> str:
    return COLORS.get(name) or f"#{name}"


def _moved(columns: int, rows: int) -> str:
    return f"transform:translate({_number(columns * COLUMN)}px,{rows * ROW}px)"


def _text(text: str) -> str:
    return escape(FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))


def _number(value: float) -> str:
    """With two digits behind the point at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
