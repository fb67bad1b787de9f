"""The runtime, started by a test, and ended with it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.stub import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Starts one, with what Runtime takes behind its folder."""
    with ExitStack() as stack:

        def begin(*program: str, **rest: Any) -> Runtime:
            return stack.enter_context(Runtime(tmp_path, *program, **rest))

        yield begin
