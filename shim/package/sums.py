"""The checksums that a package has of its own files, in SHA256SUMS, held against the files."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.ground import warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.package.problem import Problem
    from shim.package.taskroot import TaskRoot

SUMS_FILE = "SHA256SUMS"
LONGEST = 16 * 1024 * 1024
LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
"""As sha256sum(1) writes it; a backslash in front says that the name has escapes."""
ESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def judge_sums(root: TaskRoot) -> Iterator[Problem]:
    """Files that are not what they were when the sums were made. The function runs all the same, and says the wrong sum in its log."""
    sums = root.at(SUMS_FILE)
    if sums is None or sums.size > LONGEST or not stat.S_ISREG(sums.mode):
        return
    try:
        lines = b"".join(sums.pieces()).decode("utf-8", "surrogateescape").split("\n")
    except PackageError as unreadable:
        yield warning(SUMS_FILE, str(unreadable), "package it again")
        return
    known: dict[str, str] = {}
    for line in filter(None, lines):
        parts = LINE.fullmatch(line.removesuffix("\r"))
        if parts is None:
            sentence = f"it has a line that is no checksum and name: {line[:80]!r}"
            yield warning(SUMS_FILE, sentence, "make it anew: sha256sum FILES > SHA256SUMS")
            return
        name = parts[3].removeprefix("./")
        if parts[1]:
            name = re.sub(r"\\[\\nr]", lambda escape: ESCAPED[escape[0]], name)
        yield from _judge_one(root, name, parts[2].lower(), known)


def _judge_one(root: TaskRoot, name: str, expected: str, known: dict[str, str]) -> Iterator[Problem]:
    """`known`: the sums of files that were read before, since a small package may name a large file a thousand times."""
    file = root.at(name)
    from shim.package.archive import checksum  # noqa: PLC0415 - it loads what only some packages need

    cure = "package it again, as a whole, or make SHA256SUMS anew"
    if file is None or not stat.S_ISREG(file.mode):
        yield warning(name, f"{SUMS_FILE} names it, and it is not in the package", cure)
        return
    try:
        found = known[name] if name in known else known.setdefault(name, checksum(file))
    except PackageError as unreadable:
        yield warning(name, str(unreadable), "package it again")
        return
    if found != expected:
        yield warning(
            name,
            f"it is not the file that {SUMS_FILE} was made of: its SHA-256 is {found[:12]}…, and {expected[:12]}… stands there",
            cure,
        )
