"""What is done to something that keeps children, whatever its program is: it is opened, asked, frozen, has its child killed, and is closed.

`WarmModel` adds what is asked.
"""

from __future__ import annotations

import gc
import signal
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hypothesis import HealthCheck, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shim.adapter import Shim
from shim.errors import ShimError
from shim.testing.asked import Answer, Asked, hold
from shim.testing.invoking import LambdaContext
from shim.testing.kept_child import Choice, Model, Predicted, State
from shim.testing.processes import ENDED, Marked, eventually, signal_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    class Runner(Protocol):
        """What keeps children: it is called from one thread."""

        def __call__(self, event: Any, context: Any) -> Any:
            """The answer to the event."""

        def close(self) -> object:
            """Ends it, and all that it has started."""


EXAMPLES, STEPS = 25, 30
"""How many examples a `TestCase` makes, of how many steps."""
TOO_SHORT = 0.09
"""Seconds: with so little time nothing is asked of a child."""
CHOICES = st.builds(
    Choice,
    framing=st.sampled_from(["line", "envelope"]),
    reply_fd=st.sampled_from([1, 3]),
    max_uses=st.sampled_from([None, 1, 3]),
    ready=st.booleans(),
)
CONTEXTS = st.sampled_from(["dropped", "dropped", "kept", "none"])
"""What the caller does with an invocation's context; without one there is no deadline."""
INTERFERING = {"continue": signal.SIGCONT, "kill": signal.SIGKILL}
"""What may be done to a frozen child while it is asked."""


def is_open(machine: Any) -> bool:
    """Whether there is somebody to ask."""
    return not machine.model.closed


def is_frozen(machine: Any) -> bool:
    """Whether the one to ask is frozen."""
    return machine.model.state is State.FROZEN


class Keeping(RuleBasedStateMachine):
    """Something that keeps children, called by one thread, beside the model of it."""

    executable: str | None = None
    """The program that is kept; None is a fake, which does what each event says."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """With which the runner is started."""
    choices: st.SearchStrategy[Choice] = CHOICES
    """How a runner of fakes is started."""
    far: float = 10.0
    """Seconds that an invocation has that needs few of them."""
    short: float = 0.6
    """Seconds that one has which needs them all: each costs them. Of these, `shim` keeps a quarter back."""
    overtime: float = 1.0
    """Seconds that the runner may need to answer when an invocation's time is over: on a busy machine, and where it keeps none back."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        quiet = list(HealthCheck)  # an example takes as long as its children take
        cls.TestCase.settings = hypothesis_settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=quiet
        )

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="warm-model-")
        self.processes = Marked(self.folder.name)
        self.model = Model(Choice())
        self.runner: Runner | None = None
        self.contexts: list[tuple[LambdaContext | None, Model | None]] = []
        """Those that are kept, and the model that has work when they are dropped."""
        self.asked = 0
        """How many invocations this runner has had."""
        self.failed = False
        """Whether the last invocation failed."""
        self.troubled = False
        """Whether something was found already."""
        self._inside = False
        self._numbers = count(1)

    def start(self, executable: str, **settings: Any) -> Runner:
        """Makes the runner: here a `Shim`. Another one is made by a method of this name, or is its class (`start = Keeper`).

        Args:
            executable: the path of the program.
            settings: shim's, by their names: those of `choices` or of `settings`, and more.
        """
        return Shim(executable, **settings)

    def told(self, error: Exception) -> str | None:
        """The name of that error, as shim calls it; None where it only says that something went wrong. A runner with errors of its own may say which is which."""
        return type(error).__name__ if isinstance(error, ShimError) else None

    def is_called(self, error: Exception | None, name: str | None) -> bool:
        """Whether that is the error of that name, as far as the runner tells."""
        return error is not None and name is not None and self.told(error) in (name, None)

    @initialize(choice=st.runner().flatmap(lambda machine: machine.ways()))
    def begins(self, choice: Choice) -> None:
        """The first runner is made."""
        self.opens(choice)

    @precondition(lambda self: self.model.closed)
    @rule(choice=st.runner().flatmap(lambda machine: machine.ways()))
    def opens(self, choice: Choice) -> None:
        """A runner is made."""
        with self.step("opens"):
            self.model = Model(choice, broken=self.model.broken)
            self.asked = 0
            predicted = self.model.begin()
            executable, settings = self.program(choice)
            try:
                self.runner = self.start(executable, **settings)
            except Exception as error:
                if not self.is_called(error, predicted.error):
                    raise
            else:
                hold(predicted.error is None, f"it started, and must fail with {predicted.error}")

    @precondition(lambda self: self.model.lives)
    @rule()
    def kills_it(self) -> None:
        """The child is killed, while nothing is asked of it."""
        with self.step("kills_it"):
            signal_all(self.living(), signal.SIGKILL, *ENDED)
            self.model.kill()

    @precondition(lambda self: self.model.lives and not self.model.is_frozen)
    @rule()
    def freezes_it(self) -> None:
        """All is frozen, as Lambda does between two invocations."""
        with self.step("freezes_it"):
            signal_all(self.living(), signal.SIGSTOP, "T", *ENDED)
            self.model.freeze(on=True)

    @precondition(lambda self: self.model.is_frozen)
    @rule()
    def continues_it(self) -> None:
        """It goes on, before anything is asked."""
        with self.step("continues_it"):
            signal_all(self.living(), signal.SIGCONT)
            self.model.freeze(on=False)

    @precondition(is_frozen)
    @rule(what=st.runner().flatmap(lambda machine: machine.asks()))
    def is_killed_when_it_is_asked(self, what: Any) -> None:
        """It is killed when the request is on its way, and it has read nothing of it."""
        self.invoke(what, meanwhile="kill")

    @precondition(is_frozen)
    @rule(what=st.runner().flatmap(lambda machine: machine.asks()))
    def stays_frozen_when_it_is_asked(self, what: Any) -> None:
        """It does not go on."""
        self.invoke(what, meanwhile="leave")

    @precondition(is_open)
    @rule(context=st.sampled_from(["dropped", "kept"]))
    def comes_too_late(self, context: str) -> None:
        """A request for which there is no time left."""
        with self.step("comes_too_late", dropping=context == "dropped"):
            asked = self.harmless()
            asked.timeout = TOO_SHORT
            answer = self.ask(asked)
            self.is_too_late(asked, answer)

    @precondition(lambda self: self.contexts)
    @rule(which=st.integers(0, 5))
    def drops_a_context(self, which: int) -> None:
        """The host forgets an invocation, after its answer."""
        self.drop(-1 - which % len(self.contexts))

    @precondition(lambda self: self.contexts)
    @rule()
    def collects_contexts(self) -> None:
        """The garbage collector finds all that were kept: then nothing may be done that could wait."""
        with self.step("collects_contexts"):
            cycle: list[Any] = [self.contexts]
            cycle.append(cycle)
            del cycle
            self.contexts = []
            gc.collect(0)

    @precondition(is_open)
    @rule(choice=st.runner().flatmap(lambda machine: machine.ways()))
    def is_closed_and_opened_again(self, choice: Choice) -> None:
        """It is closed, and a second time, which does nothing; and another one is made."""
        self.closes()
        self.closes()
        if self.contexts:
            self.drop(0)
        self.opens(choice)

    def closes(self) -> None:
        """It is closed, and refuses what comes then."""
        with self.step("closes"):
            if self.runner is None:
                return  # none could be made until now
            self.model.close()
            self.runner.close()
            self.contexts = [(context, None) for context, _ in self.contexts]
            error = self.call(self.harmless(), LambdaContext(timeout=self.far)).error
            hold(error is not None, "it answered after it was closed")
            hold(self.is_called(error, "ShimClosed"), f"after it was closed it failed with {error!r}")

    def teardown(self) -> None:
        """Nothing is left, or this has failed."""
        self.contexts.clear()
        try:
            if self.runner is not None:
                self.runner.close()
            if not self.troubled:
                self.nothing_is_left()
        finally:
            self.processes.end()
            self.folder.cleanup()

    def ways(self) -> st.SearchStrategy[Choice]:
        """How a runner may be made."""
        raise NotImplementedError

    def program(self, choice: Choice) -> tuple[str, dict[str, Any]]:
        """The executable, and the settings with which a runner is made."""
        raise NotImplementedError

    def asks(self) -> st.SearchStrategy[Any]:
        """What may be asked of one that is frozen."""
        raise NotImplementedError

    def asking(self, what: Any, context: str, **how: Any) -> Asked:
        """The invocation that asks that."""
        raise NotImplementedError

    def harmless(self) -> Asked:
        """An invocation that is refused, since it comes too late or after the end."""
        raise NotImplementedError

    def compare(self, predicted: Predicted, asked: Asked, answer: Answer) -> None:
        """A reply is this very request's; an error is the predicted one."""
        raise NotImplementedError

    def is_too_late(self, asked: Asked, answer: Answer) -> None:
        """It must fail; or have its own reply, where the runner asked for one all the same."""
        late = answer.error is not None
        self.compare(Predicted("DeadlineExceeded" if late else None), asked, answer)

    def has_begun(self, pid: int) -> bool:
        """Whether that process has come as far as to its first request, as far as that can be known."""
        return pid > 0

    def moved(self, name: str, before: State, after: State) -> None:
        """A rule has led from the one state to the other: for who counts."""

    def look_around(self) -> None:
        """After each step: only what may live does."""
        if self.model.closed:
            self.nothing_is_left()
            return
        pids = self.processes.leaders()
        hold(len(pids) <= 1, f"{len(pids)} processes live, where one request is asked after the other: {pids}")

    def nothing_is_left(self) -> None:
        """After its end nothing of it lives, and none of its processes waits for somebody to take note of its end."""
        eventually(lambda: not self.processes.living(), "after close() none of its processes lives", within=1)
        zombies = self.processes.zombies()
        hold(not zombies, f"after close() nobody has taken note of the end of {zombies} (waitpid)")

    def living(self) -> list[int]:
        """All processes of it, when the one of them that is asked has come as far as to its first request."""
        pids = self.processes.living()
        if pids:
            eventually(lambda: any(map(self.has_begun, pids)), "the program has come as far as to its first request")
        return pids

    def invoke(self, what: Any, *, context: str = "kept", meanwhile: str = "nothing", **how: Any) -> None:
        """Asks that, and compares what comes of it with what must.

        Args:
            what: is asked.
            context: what is done with it: see CONTEXTS.
            meanwhile: what is done to one that is frozen: "kill" or "leave"; else it is continued.
            how: what belongs to `what`.
        """
        if meanwhile == "leave" and context == "none":
            context = "kept"  # without a deadline it would wait for ever
        asked = self.asking(what, context, **how)
        act = asked.act
        if act.waits:
            context = "kept"
        if meanwhile in ("kill", "leave"):
            asked.stays = []
        elif asked.was is State.FROZEN:
            meanwhile = "continue"  # as Lambda does
        is_overdue = act.overdue or meanwhile == "leave"
        asked.timeout = None if context == "none" else self.short if is_overdue else self.far
        with self.step("invokes", dropping=context != "kept"):
            asked.meanwhile = meanwhile
            asked.frozen = self.living() if meanwhile in INTERFERING else []
            predicted = self.model.ask(act, meanwhile)
            answer = self.ask(asked)
            self.compare(predicted, asked, answer)

    def ask(self, asked: Asked) -> Answer:
        """Calls the runner, and keeps the context."""
        self.asked += 1
        timeout = asked.timeout
        context = None if timeout is None else LambdaContext(timeout=timeout, request_id=asked.token)
        began = time.monotonic()
        answer = self.call(asked, context)
        took = time.monotonic() - began
        self.failed = answer.error is not None
        self.contexts.append((context, self.model if self.model.has_work and not self.failed else None))
        in_time = took < (timeout or self.far) + self.overtime
        had = f"{timeout or self.far} s, and {self.overtime} s of overtime"
        hold(in_time, f"{asked.story}, was over after {took:.3f} s, and had {had}")
        return answer

    def call(self, asked: Asked, context: LambdaContext | None) -> Answer:
        """What the runner does with the event. Where it waits for ever, what it waits for is killed at last."""
        number = INTERFERING.get(asked.meanwhile, 0)
        continued = asked.act.continued and asked.meanwhile != "leave"
        limit = (asked.timeout or self.far) + self.overtime + 1
        with self.processes.beside(asked.frozen, number, continued=continued, limit=limit):
            try:
                return Answer(self.runner(asked.event, context) if self.runner is not None else None)
            except Exception as error:
                return Answer(error=error)

    @contextmanager
    def step(self, name: str, *, dropping: bool = False, looks: bool = True) -> Iterator[None]:
        """Around what a rule does: afterwards it is looked at what is there.

        Args:
            name: of what is done.
            dropping: whether the last context is dropped then.
            looks: whether it is looked.
        """
        before = self.model.state
        outermost, self._inside = not self._inside, True
        try:
            yield
            self.moved(name, before, self.model.state)
            if self.failed:  # then the host may keep the context for long, and nothing waits for its end
                self.failed = False
                with self.step("works_at_once"):
                    self.model.work()
            if dropping:
                self.drop(-1)
            if outermost and looks:
                self.look_around()
        except BaseException:
            self.troubled = True
            raise
        finally:
            if outermost:
                self._inside = False

    def drop(self, index: int) -> None:
        """Drops a context, which is when the work is done that could wait."""
        with self.step("drops_a_context"):
            if self.contexts[index][1] is self.model:
                self.model.work()
            del self.contexts[index]

    def token(self) -> str:
        """A text that no other request has."""
        return f"t{next(self._numbers)}"

    def path(self, name: str) -> str:
        """A new file's, in the folder of this machine."""
        return str(Path(self.folder.name, f"{name}-{next(self._numbers)}"))
