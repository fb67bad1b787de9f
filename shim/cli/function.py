"""An executable as a Lambda function on this machine: built once, invoked as often as is asked, and measured."""

from __future__ import annotations

import os
import resource
from time import perf_counter

from shim.adapter import Shim
from shim.invocation import Invocation
from shim.local.context import LambdaContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Measured:
    """What is known of the function and its last invocation, as far as it came; None is not known."""

    __slots__ = ("duration", "init", "peak", "request_id")

    def __init__(self) -> None:
        self.init: float | None = None
        """Seconds in which the handler was built."""
        self.request_id: str | None = None
        self.duration: float | None = None
        """Seconds of the invocation."""
        self.peak: int | None = None
        """Bytes of memory that the executable had at most."""


class Function:
    """The handler, built as at a cold start; to be closed.

    Args:
        settings: those of the command line.
        timeout: seconds that each invocation has.
        memory: MB, told to the executable.
        measured: where the figures are kept.

    Raises:
        ShimError: it can't be built.
    """

    def __init__(self, settings: Mapping[str, object], *, timeout: float, memory: int, measured: Measured) -> None:
        self._timeout = timeout
        self._memory = memory
        self._measured = measured
        before = perf_counter()
        self._shim = Shim.from_environment(**settings)
        measured.init = perf_counter() - before

    def context(self) -> LambdaContext:
        """The context of one more invocation: its request id is new, and its time begins now."""
        return LambdaContext(
            timeout=self._timeout,
            memory=self._memory,
            name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            region=os.environ["AWS_REGION"],
            log_group_name=os.environ["AWS_LAMBDA_LOG_GROUP_NAME"],
            log_stream_name=os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
        )

    def invoke(self, event: bytes, context: LambdaContext) -> bytes:
        """The JSON of the result.

        Raises:
            ShimError: the invocation failed.
        """
        self._measured.request_id = context.aws_request_id
        started = perf_counter()
        try:
            return self._shim.run(Invocation(event, context))
        finally:
            self._measured.duration = perf_counter() - started

    def close(self) -> None:
        """Everything that was logged is out when it returns."""
        self._shim.close()


def peak() -> tuple[int, bool]:
    """The most memory that an executable had, in bytes, and whether that is only known to be the most that it can have been.

    A spawned child begins with our own peak: until it runs its own program it shares our memory, and the kernel folds that peak into its
    ru_maxrss. So the figure is its own only where it is above ours; else it is known that it stayed under ours.
    """
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(ours, theirs) * 1024, theirs <= ours  # Linux counts KB
