"""The public face as a typed user writes it. mypy reads this; nobody runs it."""

from __future__ import annotations

from typing import Any

import shim
from shim import Invocation, Settings, Shim


class Context:
    """The least that a context must be."""

    aws_request_id = "id"

    def get_remaining_time_in_millis(self) -> int:
        return 1000


def use() -> None:
    settings: Settings = Settings("bin/program", args=["-x"], output="json", margin_ms=100)
    margin: int = settings.margin_ms
    metrics: str = settings.metrics
    codes: dict[int, str] = settings.exit_codes
    with Shim("bin/program", reply_fd=3) as program:
        result: Any = program({"a": 1}, Context())
        without: Any = program(None)
        answer: bytes = program.run(Invocation(b"{}", Context()))
    same: Shim = Shim.from_environment(output="text")
    handler: Shim = shim.handler
    print(margin, metrics, codes, result, without, answer, same, handler)
    try:
        handler({})
    except shim.ExitError as error:
        code: int = error.exit_code
        tail: str = error.stderr_tail
        print(code, tail)
    except shim.SignalError as error:
        name: str = error.signal
        duration: float | None = error.duration
        print(name, duration)
