"""One invocation in a process of its own, whose time begins when its event has been read: `python one_invocation.py SECONDS < EVENT`.

Writes as JSON which error came of it, and how many milliseconds of its time were left then.
"""

from __future__ import annotations

import json
import sys
import time

import shim


class Context:
    """As much of Lambda's context object as `shim` wants."""

    aws_request_id = "an-id"

    def __init__(self, seconds: float) -> None:
        self._end = time.time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Negative once it is over, where Lambda's own would say 0."""
        return int((self._end - time.time()) * 1000)


if __name__ == "__main__":
    handler = shim.handler
    event = json.load(sys.stdin)
    context = Context(float(sys.argv[1]))
    error = None
    try:
        handler(event, context)
    except shim.ShimError as raised:
        error = type(raised).__name__
    json.dump({"error": error, "left_ms": context.get_remaining_time_in_millis()}, sys.stdout)
