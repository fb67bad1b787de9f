"""The facts of a function as options, with what Lambda itself takes as their checks."""

from __future__ import annotations

import re
from math import isfinite
from typing import Annotated

import typer

FUNCTION = "The function"
"""The panel in which the help shows them."""


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


Name = Annotated[
    str,
    typer.Option(
        envvar="AWS_LAMBDA_FUNCTION_NAME",
        callback=function_name,
        help="The function's name.",
        rich_help_panel=FUNCTION,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(min=1, max=900, callback=finite, help="The function's timeout, in seconds.", rich_help_panel=FUNCTION),
]
Memory = Annotated[
    int,
    typer.Option(
        min=128,
        max=10_240,
        envvar="AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        help="The function's memory in MB: told to the executable, not enforced.",
        rich_help_panel=FUNCTION,
    ),
]
