"""A Lambda function on this machine, of an executable or of a deployment package: built once, invoked as often as is asked, and measured."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from time import perf_counter

import typer

from shim.adapter import Shim
from shim.cli.display import STDERR, say, write
from shim.cli.exits import MISTAKE
from shim.cli.options import keywords
from shim.errors import PackageError
from shim.invocation import Invocation
from shim.local.context import LambdaContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from shim.errors import ShimError
    from shim.local.deployment import Deployment, Facts
    from shim.local.function import Function as Served

INHERITED = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
"""The most that a child had which this process did not start itself, in KB: it lasts through exec(2)."""


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
        self.streams = self._shim.settings.output == "stream"
        """Whether a result is bytes, and not JSON."""

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


class PackagedFunction:
    """The function of a deployment package, in an execution environment of its own; to be closed by its block.

    Args:
        function: as the emulator takes it.
        measured: where the figures are kept.
        with_platform: whether Lambda's own lines are in the log.
    """

    def __init__(self, function: Served, measured: Measured, *, with_platform: bool) -> None:
        from shim.local.caller import Caller  # noqa: PLC0415 - it loads asyncio, which an executable does not need

        self._measured = measured
        self._caller = Caller(function, _log, with_platform=with_platform)

    def __enter__(self) -> Self:
        self._caller.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._caller.__exit__(kind, error, trace)

    def invoke(self, event: bytes) -> bytes:
        """What the caller gets.

        Raises:
            ShimError: the invocation failed.
        """
        from shim.local.function import Invocation as Asked  # noqa: PLC0415 - see above

        asked, measured = Asked(event), self._measured
        measured.request_id = asked.request_id
        try:
            return self._caller.ask(asked).payload
        finally:
            report = self._caller.report
            measured.duration = report and report.duration
            measured.peak = report and report.peak
            if report is not None and report.init is not None:
                measured.init = report.init


@contextmanager
def packaged(  # noqa: PLR0913 - each is something that stands on the command line
    archive: str,
    arguments: Sequence[str],
    facts: Facts,
    given: Mapping[str, str | None],
    tell: Callable[[ShimError], None],
    *,
    runtime: str | None = None,
    watch: bool = False,
) -> Iterator[Deployment]:
    """The function of a zip, which is unpacked for as long as the block lasts.

    Args:
        archive: the path of the zip.
        arguments: the executable's.
        facts: about the function.
        given: the settings, as `keywords` takes them.
        tell: shows an error.
        runtime: the one that was asked for.
        watch: whether it is unpacked anew when it changes.

    Raises:
        ShimError: it can't be run.
        typer.Exit: this machine lacks what runs it, and that was said.
    """
    from shim.local.interpreter import InterpreterMissing  # noqa: PLC0415 - an executable needs none of these
    from shim.local.packaged import with_package  # noqa: PLC0415 - likewise
    from shim.local.unpacked import unpacked  # noqa: PLC0415 - likewise
    from shim.package.archive import unpack  # noqa: PLC0415 - likewise

    # Only those of the command line are looked at: the package's own `shim` judges the rest.
    keywords(None, arguments, given, environ={"SHIM_EXECUTABLE": "program"}, folder=os.path.dirname(__file__))
    settings = {name: text for name, text in given.items() if text is not None}
    with unpacked(archive, unpack, watch=_note if watch else None) as package:
        try:
            deployment, sentence = with_package(package, arguments, facts, settings, runtime=runtime)
        except InterpreterMissing as error:
            tell(PackageError(str(error)))
            raise typer.Exit(MISTAKE) from None
        except ImportError as error:
            say(f"A package for Python is run by AWS's runtime client, but {error}")
            raise typer.Exit(MISTAKE) from None
        if sentence:
            _note(sentence)
        yield deployment


def _note(sentence: str) -> None:
    say(f"shim: {sentence}")


def _log(line: bytes) -> None:
    try:
        write(STDERR, line + b"\n")
    except OSError:
        return  # nobody reads it any more; the result may still be wanted


def peak() -> tuple[int, bool]:
    """The most memory that an executable had, in bytes, and whether that is only known to be the most that it can have been.

    A spawned child begins with our own peak: until it runs its own program it shares our memory, and the kernel folds that peak into its
    ru_maxrss. So the figure is its own only where it is above ours; else it is known that it stayed under ours. The same holds for the children
    that this process had before it was ours: a shell that runs its last command in its own place leaves us theirs.
    """
    ours = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, INHERITED)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(ours, theirs) * 1024, theirs <= ours  # Linux counts KB
