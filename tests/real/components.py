"""The real components that these tests need: where they are looked for, and what becomes of a test where one is missing."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tests.conftest import missing
from tests.real.install import RIE
from tests.real.quota import Quota

if TYPE_CHECKING:
    from pathlib import Path


def rie() -> Path:
    """AWS's Runtime Interface Emulator, which serves a function on this machine."""
    if not os.access(RIE, os.X_OK):
        missing("AWS's Runtime Interface Emulator is missing: run python -m tests.real.install")
    return RIE


def awslambdaric() -> list[str]:
    """The command that starts AWS's runtime interface client for Python, which wants a handler's name as its argument."""
    if find_spec("awslambdaric") is None:
        missing("AWS's runtime interface client is missing: pip install awslambdaric")
    return [sys.executable, "-m", "awslambdaric"]


def quota() -> Quota:
    """The CPU share of the smallest function."""
    try:
        return Quota()
    except OSError as refusal:
        missing(str(refusal))
