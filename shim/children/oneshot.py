"""Mode `oneshot`: one child for each invocation. Its request is all of its standard input, its reply all that it writes, its end the end."""

from __future__ import annotations

import os

from shim.children.diagnosis import explain, no_tmp
from shim.children.process import EMPTYING, Child, has_pidfd, late, reap_late
from shim.errors import ShimError
from shim.invocation import SHORTEST, Deadline, now
from shim.logs import Log, StandardError
from shim.outcome import Exited, NotStarted, Overflowed, Signaled, Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from shim.outcome import Facts, Outcome
    from shim.request import Request
    from shim.settings import Settings


class OneShot:
    """Starts a child for a request, attends to it, and ends it with all that it left behind. Several threads may run at once.

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
        self._name = settings.executable
        self._folder = folder
        self._log = log
        self._alone = alone
        self._reply_fd = settings.reply_fd
        self._linger = settings.linger_ms / 1000
        self._tail_bytes = settings.stderr_tail_bytes
        self._fresh_tmp = settings.tmp == "fresh"
        self._stream = "stdout+stderr" if settings.reply_fd == 3 else "stderr"
        self._memory = None
        if looks_at_memory:
            from shim.children.memory import Memory  # noqa: PLC0415 - only where it is asked for

            self._memory = Memory
        self._pidfds = has_pidfd()

    def run(self, request: Request, deadline: Deadline) -> Outcome:
        """What the child did with the request. Nothing of it is left afterwards."""
        if deadline.lambda_at is not None and deadline.lambda_at - now() < SHORTEST:
            return NotStarted(None)
        if self._fresh_tmp:
            return self._run_with_fresh_tmp(request, deadline)
        return self._run(request, request.environment, deadline, self._stderr(request))

    def _stderr(self, request: Request) -> StandardError:
        """Where a child's standard error goes."""
        add = self._log.of_child(request_id=request.request_id, stream=self._stream)
        return StandardError(add, self._tail_bytes)

    def _run_with_fresh_tmp(self, request: Request, deadline: Deadline) -> Outcome:
        from shim.children import temporary  # noqa: PLC0415 - only where it is asked for

        try:
            folder = temporary.make()
        except OSError as refusal:
            return NotStarted(no_tmp(refusal, executable=self._name))
        try:
            environment = {**request.environment, b"TMPDIR": os.fsencode(folder)}
            return self._run(request, environment, deadline, self._stderr(request))
        finally:
            temporary.remove(folder, until=deadline.give_up_at)
            if os.path.lexists(folder):
                self._log.note(
                    f"{folder}, the temporary files of an invocation, could not be removed in time",
                    request_id=request.request_id,
                )

    def _run(
        self, request: Request, environment: Mapping[bytes, bytes], deadline: Deadline, stderr: StandardError
    ) -> Outcome:
        if late:
            reap_late()
        memory = self._memory() if self._memory else None
        child = Child(framing=request.framing, stderr=stderr, log=self._log, memory=memory)
        try:
            try:
                child.spawn(
                    request.arguments,
                    environment,
                    folder=self._folder,
                    reply_fd=self._reply_fd,
                    pidfds=self._pidfds,
                )
            except OSError as refusal:
                child.close()
                return NotStarted(explain(refusal, request, executable=self._name, folder=self._folder))
            child.send(request.stdin)
            while not (child.gone or request.framing.overflowed) and child.attend(deadline.stop_at):
                pass
            stopped = None if child.gone else child.stop(deadline.grace, deadline.give_up_at)
            held = stopped is None and self._linger_for(child, deadline)
            status, usage, swept = child.end(alone=self._alone, give_up_at=deadline.give_up_at)
        except ChildProcessError as error:
            child.close()
            raise _unknown(
                self._name,
                "this process ignores SIGCHLD or another part of it waits for any child;"
                " let it wait for its own children only, and leave SIGCHLD at its default",
            ) from error
        except BaseException:
            child.destroy(alone=self._alone)
            raise
        duration = now() - child.started
        if held or swept:
            self._note(request, held=held, swept=swept)
        self._log.settle(self._linger, deadline.give_up_at)
        facts: Facts = {
            "reply": request.framing.reply,
            "duration": duration,
            "stderr_tail": stderr.tail,
            "usage": usage,
            "swept": swept,
            "spawn": child.spawn_seconds,
        }
        outcome = self._ending(request, status, stopped, facts)
        if isinstance(outcome, Exited) and outcome.code and not (child.read_something or outcome.reply):
            return self._ask_the_loader(request, outcome, deadline) or outcome
        return outcome

    def _ending(self, request: Request, status: int | None, stopped: str | None, facts: Facts) -> Outcome:
        framing = request.framing
        if framing.overflowed:
            return Overflowed(size=len(framing.reply), limit=framing.limit, **facts)
        if stopped is not None:
            return Stopped(stopped, **facts)
        if status is None:
            raise _unknown(self._name, "a debugger holds it")
        if os.WIFSIGNALED(status):
            return Signaled(signal_name(os.WTERMSIG(status)), core_dumped=os.WCOREDUMP(status), **facts)
        return Exited(os.WEXITSTATUS(status), **facts)

    def _ask_the_loader(self, request: Request, outcome: Exited, deadline: Deadline) -> NotStarted | None:
        """A child that read and answered nothing may not have begun at all: then, why not."""
        from shim.children import loader  # noqa: PLC0415 - only after a failure

        question = loader.question(request, outcome, folder=self._folder)
        until = now() + loader.PATIENCE if deadline.stop_at is None else min(deadline.stop_at, now() + loader.PATIENCE)
        if question is None or until - now() < SHORTEST:
            return None
        limit = Deadline(until, remaining=until - now(), margin=loader.PATIENCE, grace=0)
        answer = self._run(question, question.environment, limit, StandardError(lambda _: None, loader.MUCH))
        refusal = loader.refusal(request, outcome, answer, executable=self._name)
        return None if refusal is None else NotStarted(refusal)

    def _linger_for(self, child: Child, deadline: Deadline) -> bool:
        """Waits a little where the child has gone and somebody still holds its pipes: output of `exec > >(sed …)` comes after the exit.

        Returns:
            Whether they are still held.
        """
        held = child.pipes_open
        if not held:
            return False
        until = now() + self._linger
        if deadline.stop_at is not None:
            until = min(until, deadline.stop_at)
        while child.pipes_open and child.attend(until):
            pass
        turns = EMPTYING  # what is in them is read: then an end of file shows, if they are not held
        while turns and child.pipes_open and now() < deadline.give_up_at:
            child.attend(now())
            turns -= 1
        return child.pipes_open

    def _note(self, request: Request, *, held: bool, swept: int) -> None:
        """Says in the log what the child left behind."""
        if held:
            self._log.note(
                f"a process that {self._name} left behind still held its output {self._linger * 1000:.0f} ms (linger_ms)"
                " after its end; what it wrote from then on was not read",
                request_id=request.request_id,
            )
        if swept:
            self._log.note(
                f"{self._name} left {swept} process{'es' if swept > 1 else ''} behind, which were killed",
                request_id=request.request_id,
            )


def signal_name(number: int) -> str:
    """The signal's name; those for real-time use have none of their own but SIGRTMIN+n."""
    import signal  # noqa: PLC0415 - only after a failure

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _unknown(executable: str, why: str) -> ShimError:
    return ShimError(f"how {executable} ended is not known, since {why}")
