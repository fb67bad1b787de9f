"""Shim: event and context → result. The story of one invocation is `Shim._answer`."""

from __future__ import annotations

import os
from itertools import count

from shim.children import sweep
from shim.children.descriptors import open_standard_descriptors, seal_descriptors
from shim.children.diagnosis import describe, examine, resolve
from shim.children.environment import TRACE_ID, child_environment, is_denied
from shim.children.parent import Parent
from shim.codecs.line import LineCodec
from shim.errors import EventInvalid, SettingsError, ShimClosed
from shim.invocation import Invocation, epoch_ms, now
from shim.logs import function_log
from shim.settings import STREAMED, Settings, task_root, unknown_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Protocol, Self, TypeVar

    from shim.invocation import Deadline, LambdaContext
    from shim.metrics import Metrics
    from shim.outcome import Outcome
    from shim.request import Request, Sink

    T = TypeVar("T")

    class Runner(Protocol):
        """How the children live."""

        @property
        def has_work(self) -> bool:
            """Whether there is something that can wait until the answer is out."""

        def start(self) -> Outcome | None:
            """Starts what is started before the first invocation; None where all is well."""

        def run(self, request: Request, deadline: Deadline) -> Outcome:
            """What a child did with the request."""

        def work(self) -> None:
            """Does what could wait."""

        def dismiss(self) -> None:
            """Takes down the children that wait; others are started when they are needed."""

        def close(self) -> None:
            """Takes down the children that wait, for ever."""


SUMS_BYTES = 1024 * 1024
"""How much of SHA256SUMS is read."""
HEX_DIGITS = b"0123456789abcdef"


class Shim:
    """A Lambda handler that runs an executable: `(event, context) → result`. May be called from several threads at once.

    Args:
        executable: the file to run, as the setting `executable`.
        **settings: every other setting by its name; what is not given has its default.

    Raises:
        SettingsError: with every mistake in the settings.
        ExecutableError: the file can't be run, as far as a look at it tells.
    """

    def __init__(self, executable: str, **settings: Any) -> None:
        self._set_up(Settings(executable, **settings))

    @classmethod
    def from_environment(cls, **keywords: Any) -> Self:
        """A Shim from keywords over `SHIM_*` variables over `shim.toml` over defaults, as `shim.handler` is one.

        Raises:
            SettingsError: with every mistake in all of them.
            ExecutableError: the file can't be run, as far as a look at it tells.
        """
        shim = cls.__new__(cls)
        shim._set_up(Settings.from_environment(**keywords))  # noqa: SLF001 - our own class
        for warning in unknown_variables():
            shim._log.note(f"{warning}; it is ignored")  # noqa: SLF001 - our own class
        return shim

    def __call__(self, event: Any, context: LambdaContext | None = None) -> Any:
        """The value that the executable answers to the event.

        Args:
            event: any JSON value, or bytes that are JSON.
            context: Lambda's context object; without one there is no deadline.

        Raises:
            ShimError: the one that tells what went wrong.
        """
        invocation = Invocation(event, context)
        try:
            answer = self._answer(invocation, self._codec.decode)
        except (EventInvalid, ShimClosed):  # nothing was asked of a child
            raise
        except Exception:
            # Now: awslambdaric's frames keep the context of a failure until a garbage collection.
            self.prepare()
            raise
        if self._runner.has_work:
            self._do_afterwards(self._runner.work, context)
        return answer

    def run(self, invocation: Invocation, sink: Sink | None = None) -> bytes:
        """The same, for a runtime that passes bytes through: the JSON of the value, which is the reply's own bytes where it is JSON.

        With output=stream or http the reply goes to the sink while it comes, where one is given, and what is returned is what it lacks: nothing,
        as a rule. A sink that was written to when an error is raised has the beginning of an answer.

        Raises:
            ShimError: the one that tells what went wrong.
        """
        codec = self._codec
        if sink is None or not codec.streams:
            return self._answer(invocation, codec.judge)
        return self._answer(invocation, lambda outcome: codec.conclude(outcome, has_begun=sink.has_begun), sink)

    def prepare(self) -> None:
        """Does what can wait until an answer is out, as the start of the next spare. Who calls `run` calls this then."""
        if self._runner.has_work:
            self._runner.work()

    def _answer(self, invocation: Invocation, read: Callable[[Outcome], T], sink: Sink | None = None) -> T:
        if self._closed:
            raise ShimClosed(f"the Shim for {self.settings.executable} is closed; make a new one")
        deadline = invocation.deadline(self._margin, self._grace)
        self._invocations = next(self._count)
        request = self._codec.encode(invocation, self._invocations, sink)
        if self._metrics is None:
            return read(self._runner.run(request, deadline))
        return self._answer_measured(request, deadline, read, self._metrics)

    def _answer_measured(
        self, request: Request, deadline: Deadline, read: Callable[[Outcome], T], metrics: Metrics
    ) -> T:
        """The same, with a line of metrics in the log after the child's last, whatever comes of it."""
        outcome: Outcome | None = None
        failure: BaseException | None = None
        try:
            outcome = self._runner.run(request, deadline)
            return read(outcome)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._log.say(metrics.line(request, outcome, failure, at=epoch_ms()))
            self._log.settle(self.settings.linger_ms / 1000, deadline.give_up_at)

    def close(self) -> None:
        """Ends it: invocations that run are finished, new ones are refused with ShimClosed, kept children are taken down. May be called twice.

        What still waits for the log is written, as long as the log takes something every second.
        """
        self._closed = True
        self._runner.close()
        self._log.settle(1, now() + 60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Shim {self.settings.executable} ({self.settings.mode}), {state}, invocations: {self._invocations}>"

    def _set_up(self, settings: Settings) -> None:
        """Everything that is done once, at init: the file is found and looked at, and what children inherit is settled."""
        open_standard_descriptors()
        root = os.path.abspath(task_root())
        self.settings = settings
        self._margin, self._grace = settings.margin_ms / 1000, settings.grace_ms / 1000
        folder = _folder(settings, root)
        path, environment = program_of(settings, root=root, folder=folder or ".")
        seal_descriptors()
        sweep.last_pid()  # opens what every invocation reads
        self._log = function_log()
        self._path = path
        self._root = root
        self._metrics = _metrics(settings)
        self._codec = _codec_of(settings)(
            settings,
            executable=path,
            environment=environment,
            tells_trace=not is_denied(TRACE_ID, settings.env_deny),
            escapes=host_escapes(),
            memory=function_memory(),
        )
        self._parent = Parent(
            settings,
            folder=folder,
            log=self._log,
            alone=sweep.alone_on_lambda(),
            looks_at_memory=self._metrics is not None,
        )
        self._runner = _runner(settings, self._parent, self._codec.ahead)
        self._count = count(1)
        self._invocations = 0
        self._closed = False
        self._start()
        if settings.mode != "oneshot" or settings.spare:  # only where children outlive an invocation
            from shim.children.afterwards import Afterwards  # noqa: PLC0415 - see above
            from shim.snapshot import keep_out  # noqa: PLC0415 - likewise

            self._do_afterwards = Afterwards().do
            keep_out(self._runner.dismiss, self._start)

    def _start(self) -> None:
        """Starts what is started before the first invocation.

        Raises:
            ExecutableError: it can't be started, or did not become ready.
        """
        outcome = self._runner.start()
        if outcome is not None:
            self._codec.decode(outcome)

    def _introduce(self, *, streams: bool = False) -> None:
        """Says in the log what runs here, and how. `streams` tells whether the host does."""
        from shim import __version__  # noqa: PLC0415 - it is above this file

        kind = describe(self._path)
        checksum = recorded_checksum(self._path, root=self._root)
        if checksum is not None:
            kind += f", sha256 {checksum}"
        shown = self.settings.shown()
        chosen = f" with {shown}" if shown else ""
        self._log.note(f"{__version__} runs {self.settings.executable} ({kind}){chosen}", level="INFO")
        if self._codec.streams and not streams:
            self._log.note(
                f"output={self.settings.output} is collected here, up to Lambda's 6 MiB, since this runtime can't stream; python -m shim.runtime can"
            )


def program_of(settings: Settings, *, root: str, folder: str) -> tuple[str, dict[bytes, bytes]]:
    """The file to run, and the environment that it gets, for a child in that folder.

    Raises:
        ExecutableError: it can't be run, as far as a look at it tells.
    """
    environment = child_environment(
        os.environb,
        task_root=root,
        env=settings.env,
        deny=settings.env_deny,
        handler=os.path.basename(settings.executable) if settings.mode == "bootstrap" else None,
    )
    search = os.fsdecode(environment[b"PATH"])
    path = resolve(settings.executable, task_root=root, path=search)
    problem = examine(path, executable=settings.executable, search=search, folder=folder)
    if problem is not None:
        raise problem
    return path, environment


def _folder(settings: Settings, root: str) -> str | None:
    """Where children run; None where that is our own current folder.

    Raises:
        SettingsError: it is no folder, this system can't start a child in another folder, or SIGCHLD is ignored.
    """
    mistakes = []
    if sweep.ignores_sigchld():
        mistakes.append(
            "SIGCHLD is ignored in this process, and the kernel then throws every exit code away: leave it at its default"
        )
    folder = os.path.join(root, settings.cwd or "")
    try:
        same = os.path.realpath(folder) == os.getcwd()
    except FileNotFoundError:  # our own is gone
        same = False
    if not os.path.isdir(folder):
        mistakes.append(f"cwd must be a folder, which {folder} is not")
    elif not same:
        from shim.children.elsewhere import can_spawn_elsewhere  # noqa: PLC0415 - it needs ctypes, and is seldom needed

        if not can_spawn_elsewhere():
            mistakes.append(
                "cwd must be the current folder, since this system's C library can't start a child in another (glibc can from 2.29 on)"
            )
    if mistakes:
        raise SettingsError(mistakes)
    return None if same else folder


def _codec_of(settings: Settings) -> type[LineCodec]:
    """What children are told in this mode. Each mode's own is loaded only there."""
    if settings.mode == "bootstrap":
        from shim.codecs.invocation_api import InvocationApiCodec  # noqa: PLC0415 - see above

        return InvocationApiCodec
    if settings.output in STREAMED:
        from shim.codecs.stream import StreamCodec  # noqa: PLC0415 - likewise

        return StreamCodec
    return LineCodec


def _runner(settings: Settings, parent: Parent, ahead: Callable[[], Request]) -> Runner:
    """What runs the requests in this mode. Each mode's own is loaded only there.

    Raises:
        SettingsError: what that needs is not packaged.
    """
    if settings.mode == "oneshot":
        from shim.children.oneshot import OneShot  # noqa: PLC0415 - see above

        return OneShot(parent, settings, ahead)
    from shim.children.pool import Pool  # noqa: PLC0415 - see above

    if settings.mode == "warm":
        return Pool(parent, settings, ahead)
    try:
        from shim.children.bridge import Bridge  # noqa: PLC0415 - see above
    except ModuleNotFoundError as missing:
        raise SettingsError(
            [f"mode=bootstrap needs {missing.name}: package it, too (pip install --target … 'lambda-shim[bootstrap]')"]
        ) from None
    return Pool(parent, settings, ahead, Bridge)


def _metrics(settings: Settings) -> Metrics | None:
    """What makes the line of metrics, where it is asked for."""
    if settings.metrics == "none":
        return None
    from shim.metrics import Metrics  # noqa: PLC0415 - only where it is asked for

    return Metrics(
        settings.executable,
        function_name=os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        function_version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION"),
    )


def recorded_checksum(path: str, *, root: str) -> str | None:
    """The file's SHA-256 as packaging recorded it: a line of SHA256SUMS in the task root, as sha256sum(1) writes it.

    It is not reckoned here: 170 MB take more than a second on a small function.
    """
    sums = os.path.join(root, "SHA256SUMS")
    if not os.path.isfile(sums):  # to open a FIFO would wait for its writer
        return None
    try:
        with open(sums, "rb") as file:
            name = os.fsencode(os.path.relpath(path, root))
            for line in file.read(SUMS_BYTES).splitlines():
                checksum, _, named = line.partition(b" ")
                if named[1:].removeprefix(b"./") == name and len(checksum) == 64 and not checksum.strip(HEX_DIGITS):
                    return checksum.decode()
    except OSError:
        pass  # nothing was recorded
    return None


def host_escapes() -> bool:
    """Whether awslambdaric encodes results as ASCII: it does so on Python 3.11 and older, and where it does not know the runtime."""
    name, _, version = os.environ.get("AWS_EXECUTION_ENV", "").rpartition("python")
    major, _, minor = version.partition(".")
    return not (name == "AWS_Lambda_" and major == "3" and minor.isdecimal() and int(minor) >= 12)


def function_memory() -> int | None:
    """The function's memory in bytes, as Lambda tells it."""
    megabytes = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return int(megabytes) * 1024 * 1024 if megabytes.isascii() and megabytes.isdecimal() else None
