"""What is done for every child, however it lives: its start, its end, and the outcome that its end is."""

from __future__ import annotations

import os

from shim.children.diagnosis import explain, no_tmp
from shim.children.process import EMPTYING, Child
from shim.children.reaper import has_pidfd, late, reap_late
from shim.errors import ShimError
from shim.invocation import SHORTEST, Deadline, now
from shim.logs import Log, StandardError
from shim.outcome import Exited, NotStarted, Overflowed, Signaled, Stopped
from shim.request import Line, Streamed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from shim.outcome import Facts, Outcome
    from shim.request import EndOfFile, Framing, Request
    from shim.settings import Settings

    C = TypeVar("C", bound=Child)


class Parent:
    """Starts children and brings them to their end. Several threads may use it at once.

    Args:
        settings: what is asked for.
        folder: where children run, or None for our own current folder.
        log: takes their standard error.
        alone: whether every orphan in this system is ours (`sweep.alone_on_lambda`).
        looks_at_memory: whether an outcome tells the child's peak memory where only a look at the living child does.
    """

    def __init__(
        self, settings: Settings, *, folder: str | None, log: Log, alone: bool, looks_at_memory: bool = False
    ) -> None:
        self.name = settings.executable
        self.log = log
        self.linger = settings.linger_ms / 1000
        self._folder = folder
        self._alone = alone
        self._reply_fd = settings.reply_fd if settings.mode != "bootstrap" else None
        self._tail_bytes = settings.stderr_tail_bytes
        mixed = self._reply_fd != 1 or settings.framing == "envelope"
        self.tags_lines = log.tags_lines
        """Whether a line in the log bears its invocation's id."""
        self._stream = "stdout+stderr" if mixed else "stderr"
        self._memory = None
        if looks_at_memory:
            from shim.children.memory import Memory  # noqa: PLC0415 - only where it is asked for

            self._memory = Memory
        self._fresh_tmp = settings.tmp == "fresh"
        if self._fresh_tmp:
            from shim.children import temporary  # noqa: PLC0415 - only where it is asked for

            try:  # at init, where no interrupt leaves the files by which Python finds out where it may write
                temporary.place()
            except OSError:
                pass  # each invocation tells its caller
        self._pidfds = has_pidfd()

    def lines_to(self, request: Request) -> Callable[[bytes | bytearray], None]:
        """What takes the lines of the log that a child writes for that request."""
        return self.log.of_child(request_id=request.request_id, stream=self._stream)

    def make(self, kind: type[C], request: Request) -> C:
        """A child for that request, which is not started yet."""
        memory = self._memory() if self._memory else None
        stderr = StandardError(self.lines_to(request), self._tail_bytes)
        return kind(framing=request.framing, stderr=stderr, log=self.log, memory=memory)

    def start(self, child: Child, request: Request, *, reply_fd: int | None = None) -> None:
        """Starts it as the request says, with its reply where the settings want it, or there.

        Raises:
            ExecutableError: the kernel refuses, or there is no place for its temporary files.
        """
        if late:
            reap_late()
        environment = request.environment
        if self._fresh_tmp:
            from shim.children import temporary  # noqa: PLC0415 - only where it is asked for

            try:
                child.tmp = temporary.place()
                temporary.make(child.tmp)
            except OSError as refusal:
                raise no_tmp(refusal, executable=self.name) from None
            environment = {**environment, b"TMPDIR": os.fsencode(child.tmp)}
        try:
            child.spawn(
                request.arguments,
                environment,
                folder=self._folder,
                reply_fd=reply_fd or self._reply_fd,
                pidfds=self._pidfds,
            )
        except OSError as refusal:
            child.close()
            self._remove_tmp(child, request, until=now() + 1)
            raise explain(refusal, request, executable=self.name, folder=self._folder) from None

    def destroy(self, child: Child) -> None:
        """Kills the child and what it left behind, whatever its state."""
        try:
            if not child.over:
                child.destroy(alone=self._alone)
        finally:
            self._remove_tmp(child, None, until=now() + 1)

    def _remove_tmp(self, child: Child, request: Request | None, *, until: float) -> None:
        folder = child.tmp
        if folder is None:
            return
        from shim.children import temporary  # noqa: PLC0415 - only where it is asked for

        is_gone = temporary.remove(folder, until=until)
        child.tmp = None  # now: an interrupt before has it removed by who destroys the child
        if not is_gone:
            why = "in time" if now() > until else "since this user may not, or something is mounted there"
            self.log.note(
                f"{folder}*, the temporary files of an invocation, could not all be removed {why}",
                request_id=request.request_id if request else None,
            )

    def end(self, child: Child, request: Request, deadline: Deadline, *, grace: float | None = None) -> Outcome:
        """Stops the child, if it has not gone by itself, and ends it: nothing of it is left. Returns what it did.

        Args:
            child: one that was started.
            request: what it was told.
            deadline: the invocation's.
            grace: seconds between SIGTERM and SIGKILL in place of the deadline's.

        Raises:
            ShimError: how it ended can't be known.
        """
        framing = child.framing
        stalled = _is_held_back(child)
        try:
            stopped = (
                None if child.gone else child.stop(deadline.grace if grace is None else grace, deadline.give_up_at)
            )
            held = self._linger_for(child, deadline) if stopped is None else None
            status, usage, swept = child.end(alone=self._alone, give_up_at=deadline.give_up_at)
            self._remove_tmp(child, request, until=deadline.give_up_at)
        except ChildProcessError as error:
            raise self.lost(child, request, deadline) from error
        duration = now() - child.asked
        if held is not None or swept:
            self._note(request, held=held, swept=swept)
        self.log.settle(self.linger, deadline.give_up_at)
        facts: Facts = {
            "reply": framing.reply,
            "duration": duration,
            "stderr_tail": child.stderr.tail,
            "usage": usage,
            "swept": swept,
            "spawn": child.spawn_seconds,
        }
        outcome = self._ending(framing, status, stopped, facts, stalled=stalled)
        if isinstance(outcome, Exited) and outcome.code and not (child.read_something or _size_of(framing)):
            return self._ask_the_loader(request, outcome, deadline) or outcome
        return outcome

    def lost(self, child: Child | None, request: Request, deadline: Deadline) -> ShimError:
        """The error for a child that somebody else has reaped."""
        if child is not None:
            child.close()
            self._remove_tmp(child, request, until=deadline.give_up_at)
        return _unknown(
            self.name,
            "this process ignores SIGCHLD or another part of it waits for any child;"
            " let it wait for its own children only, and leave SIGCHLD at its default",
        )

    def _ending(
        self, framing: EndOfFile | Framing, status: int | None, stopped: str | None, facts: Facts, *, stalled: bool
    ) -> Outcome:
        if framing.overflowed:
            return Overflowed(size=_size_of(framing), limit=framing.limit, **facts)
        if stopped is not None:
            by_line = isinstance(framing, Line) and not framing.complete
            return Stopped(stopped, by_line=by_line, stalled=stalled, **facts)
        if status is None:
            raise _unknown(self.name, "a debugger holds it")
        if os.WIFSIGNALED(status):
            return Signaled(signal_name(os.WTERMSIG(status)), core_dumped=os.WCOREDUMP(status), **facts)
        return Exited(os.WEXITSTATUS(status), **facts)

    def _ask_the_loader(self, request: Request, outcome: Exited, deadline: Deadline) -> NotStarted | None:
        """A child that read and answered nothing may not have begun at all: then, why not."""
        from shim.children import loader  # noqa: PLC0415 - only after a failure

        question = loader.question(request, outcome, folder=self._folder)
        until = deadline.before(now() + loader.PATIENCE)
        if question is None or until - now() < SHORTEST:
            return None
        child = Child(
            framing=question.framing, stderr=StandardError(lambda _: None, loader.MUCH), log=self.log, memory=None
        )
        try:
            self.start(child, question, reply_fd=1)
            child.send(question.body)
            while not (child.gone or child.framing.overflowed) and child.attend(until):
                pass
            answer = self.end(
                child, question, Deadline(now(), remaining=until - now(), margin=loader.PATIENCE, grace=0)
            )
        except ShimError:
            return None
        except BaseException:
            self.destroy(child)
            raise
        refusal = loader.refusal(request, outcome, answer, executable=self.name)
        return None if refusal is None else NotStarted(refusal)

    def _linger_for(self, child: Child, deadline: Deadline) -> float | None:
        """Waits a little where the child has gone and somebody still holds its pipes: output of `exec > >(sed …)` comes after the exit.

        Returns:
            None where they are not held any more, else the seconds after which they still were.
        """
        held = child.pipes_open
        if not held:
            return None
        left = self.linger
        while child.pipes_open and left > 0 and (deadline.stop_at is None or now() < deadline.stop_at):
            began, waits = now(), _is_held_back(child)
            until = deadline.stop_at if waits else began + left
            child.attend(until if deadline.stop_at is None or until is None else min(until, deadline.stop_at))
            if not waits:  # the time in which we hold it back is not its own
                left -= now() - began
        turns = EMPTYING  # what is in them is read: then an end of file shows, if they are not held
        while turns and child.pipes_open and now() < deadline.give_up_at:
            child.attend(now())
            turns -= 1
        held = child.pipes_open
        return self.linger - max(0, left) if held else None

    def _note(self, request: Request, *, held: float | None, swept: int) -> None:
        """Says in the log what the child left behind."""
        if held is not None:
            self.log.note(
                f"a process that {self.name} left behind still held its output {held * 1000:.0f} ms (linger_ms)"
                " after its end; what it wrote from then on was not read",
                request_id=request.request_id,
            )
        if swept:
            self.log.note(
                f"{self.name} left {swept} process{'es' if swept > 1 else ''} behind, which {'were' if swept > 1 else 'was'} killed",
                request_id=request.request_id,
            )


def _is_held_back(child: Child) -> bool:
    """Whether its reply is not read, since its caller takes no more."""
    return child.sink is not None and child.sink.is_full


def _size_of(framing: EndOfFile | Framing) -> int:
    """How many bytes of a reply came, those too that were handed on."""
    return framing.size if isinstance(framing, Streamed) else len(framing.reply)


def signal_name(number: int) -> str:
    """The signal's name; those for real-time use have none of their own but SIGRTMIN+n."""
    import signal  # noqa: PLC0415 - only after a failure

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _unknown(executable: str, why: str) -> ShimError:
    return ShimError(f"how {executable} ended is not known, since {why}")
