"""The two files by which a package knows itself: shim.toml, how it is run, and SHA256SUMS, what its files are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shim.errors import SettingsError
from shim.package.tree import DATA, File

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SETTINGS_FILE = "shim.toml"
SUMS_FILE = "SHA256SUMS"


def settings_file(settings: Mapping[str, object]) -> File:
    """The settings in TOML (https://toml.io/en/v1.0.0), in their order.

    Raises:
        SettingsError: one holds bytes that are no UTF-8, which TOML can't say.
    """
    lines = [f"{name} = {_toml(value)}\n" for name, value in settings.items()]
    mistakes = []
    for name, line in zip(settings, lines, strict=True):
        try:
            line.encode()
        except UnicodeEncodeError:
            mistakes.append(f"{name} must be UTF-8 throughout, since {SETTINGS_FILE} is, unlike {settings[name]!r}")
    if mistakes:
        raise SettingsError(mistakes)
    content = "".join(lines).encode()
    return File(SETTINGS_FILE, DATA, len(content), content)


def sums_file(sums: Mapping[str, str]) -> File:
    """The checksums as sha256sum(1) writes and checks them, those of the package's root first: there stands what a function asks for when it starts."""
    lines = [_sum_line(name, sums[name]) for name in sorted(sums, key=lambda name: ("/" in name, name))]
    content = "".join(lines).encode()
    return File(SUMS_FILE, DATA, len(content), content)


def _sum_line(name: str, checksum: str) -> str:
    r"""A name with a line feed, a carriage return or a backslash has them as \n, \r and \\, and one more backslash in front of its line (coreutils' manual)."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{checksum}  {escaped}\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(name))} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        items: Sequence[object] = value
        return "[" + ", ".join(map(_toml, items)) + "]"
    # JSON's texts, numbers and booleans are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
