"""What a person names to be run. This file imports nothing that an executable does not need."""

from __future__ import annotations

import os

ENDING = ".zip"
BEGINNINGS = (b"PK\3\4", b"PK\5\6")
"""Of an archive, and of an empty one."""


def is_zip(path: str) -> bool:
    """Whether that names a zip, and neither a folder nor a program."""
    if os.path.isdir(path):
        return False
    if path.lower().endswith(ENDING):
        return True
    try:
        if not os.path.isfile(path):  # to open a FIFO would wait for its writer
            return False
        with open(path, "rb") as file:
            return file.read(4) in BEGINNINGS
    except OSError:
        return False
