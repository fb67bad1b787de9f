"""What Lambda itself takes as the facts of a function, as the checks of options."""

from __future__ import annotations

import re
from math import isfinite

import typer


def finite(seconds: float) -> float:
    """A number of seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    if not isfinite(seconds):  # NaN is neither under the least nor over the most
        raise typer.BadParameter("must be a number of seconds")
    return seconds


def function_name(name: str) -> str:
    """A function's name.

    Raises:
        typer.BadParameter: Lambda does not take it (CreateFunction, FunctionName).
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise typer.BadParameter("must be 1 to 64 letters, digits, hyphens and underscores")
    return name
