"""An error on a terminal: a panel with its type, what happened and the cure, and the end of the executable's standard error.

All of it is text, however much it looks like Rich's markup or a terminal's control sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from shim.cli.display import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

RED = "bold red"
FRAME = "red"
BESIDE_TITLE = 6
"""The columns that a panel needs beside its title: two corners, a dash and a blank at each side."""


def error_panel(kind: str, message: str, tail: str, *, columns: int) -> Panel:
    """The panel.

    Args:
        kind: the error's type. Where the terminal is too narrow for it as a title it is the first line, so that it is whole.
        message: what happened; its lines stay lines.
        tail: the last of the executable's standard error, or "".
        columns: the terminal's width.
    """
    fits = len(kind) + BESIDE_TITLE <= columns
    parts: list[RenderableType] = [] if fits else [Text(kind, RED)]
    parts.append(Text(visible(message, keep="\n\t")))
    if tail:
        parts.append(Rule(Text("the end of its standard error", "dim"), align="left", style=FRAME))
        parts.append(Text(visible(tail, keep="\n\t")))
    title = Text(kind, RED) if fits else None
    return Panel(Group(*parts), title=title, title_align="left", border_style=FRAME)
