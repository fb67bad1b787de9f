"""Where the event comes from: a file, standard input, or the command line itself."""

from __future__ import annotations

import os
import sys

from shim.codecs.line import validated
from shim.errors import EventInvalid

STANDARD_INPUT = "-"
NOTHING = "{}"
"""The event where none is given."""


def read_event(source: str) -> bytes:
    """The event's own bytes, which are valid JSON.

    Args:
        source: `-`, the path of a file, or JSON. What is the path of an existing file is one.

    Raises:
        EventInvalid: it is not there or not JSON; says what was tried.
    """
    if source == STANDARD_INPUT:
        return _checked(_standard_input(), "standard input")
    if os.path.exists(source):
        return _checked(_file(source), f"the file {source}")
    if source.endswith(".json"):
        raise EventInvalid(f"there is no file {source!r}")
    try:
        event = os.fsencode(source)
        validated(event)
    except EventInvalid as error:
        shown = source if len(source) <= 80 else f"{source[:77]}..."
        raise EventInvalid(f"{shown!r} is no file that exists; taken for inline JSON, {error}") from None
    return event


def _checked(event: bytes, place: str) -> bytes:
    try:
        validated(event)
    except EventInvalid as error:
        raise EventInvalid(f"from {place}: {error}") from None
    return event


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise EventInvalid(f"the event file {path} can't be read: {error.strerror}") from error


def _standard_input() -> bytes:
    if sys.stdin is None:  # it was closed by whoever started us
        raise EventInvalid("the event was to come from standard input, which is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise EventInvalid(f"standard input can't be read: {error.strerror}") from error


def read_request(source: str) -> bytes:
    """The bytes of a request that a failed check was sent: JSON, or a line that is none.

    Args:
        source: `-`, the path of a file, or the text. What is the path of an existing file is one. A line feed at the end of a file is no part of it.

    Raises:
        EventInvalid: it is not there, or is more than a line, and no JSON.
    """
    if source == STANDARD_INPUT:
        data = _standard_input()
    else:
        data = _file(source) if os.path.exists(source) else os.fsencode(source)
    data = data.removesuffix(b"\n")
    if b"\n" in data:
        return _checked(data, "a request of several lines")
    return data
