"""What the executables of a soak do, and what must come of it: known from the script alone, by the testing kit."""

from __future__ import annotations

import os
import shutil
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shim import Shim, ShimError
from shim.children import sweep
from shim.testing import Expected, LambdaContext
from shim.testing.play import expectation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .stage import Stage

NEAR, FAR = 0.6, 60.0
"""Seconds that an invocation has: one that hangs is stopped when a quarter of them is left, the others end long before."""
LIMIT = 2_000_000
"""Bytes that a reply may have."""
TAIL = 4096
"""Bytes of standard error that an error carries."""
LONG = 600_000
"""Milliseconds that a process which is left behind would live: longer than any soak."""


class Role(NamedTuple):
    """An executable that does the same at every invocation, in one Shim, and what must come of it."""

    script: str
    shim: Shim
    expected: Expected
    value: object = None
    """What it answers."""
    echoes: bool = False
    """Whether it answers its request instead."""
    timeout: float = FAR
    adopts: bool = False
    """Whether we must be the subreaper, since what is left behind is out of reach otherwise."""

    def play(self, event: str, stage: Stage) -> str:
        """One invocation; returns what is wrong with what came of it, or nothing."""
        context = LambdaContext(timeout=self.timeout)
        with _subreaper(on=self.adopts):
            try:
                wrong = self._wrong_answer(self.shim(event, context), event, context)
            except ShimError as error:
                wrong = self._wrong_error(error)
        logged = stage.take_log()
        if not logged.startswith(self.expected.stderr or b""):
            wrong = wrong or f"{logged[:60]!r} in the log"
        if _has_child():
            wrong = wrong or "a child is left, of this invocation or of one before"
        return wrong and f"{self.script[:60]}: {wrong}"

    def _wrong_answer(self, answer: Any, event: str, context: LambdaContext) -> str:
        if self.expected.error is not None:
            return f"an answer where {self.expected.error} was expected"
        if self.echoes:
            right = (answer["event"], answer["context"]["aws_request_id"]) == (event, context.aws_request_id)
        else:
            right = answer == self.value
        return "" if right else f"{str(answer)[:60]!r} was answered"

    def _wrong_error(self, error: ShimError) -> str:
        name, data = type(error).__name__, vars(error)
        told = (name, data.get("exit_code"), data.get("stderr_tail"))
        tail = (self.expected.stderr or b"")[-TAIL:].decode().rstrip("\n")
        wanted = (self.expected.error, self.expected.code, tail)
        by = data.get("signal")
        if told == wanted and by in (self.expected.signals or {None}):
            return ""
        return f"{str((*told, by))[:100]} where {str((*wanted, *self.expected.signals))[:100]} was expected"


class Cast(NamedTuple):
    """All roles, by how often they play."""

    usual: list[list[Role]]
    """Sorts of roles, with `weights`."""
    weights: list[int]
    crashes: list[Role]
    hangs: list[Role]

    def all(self) -> list[Role]:
        """Each role once."""
        return [*(role for sort in self.usual for role in sort), *self.crashes, *self.hangs]

    def draw(self, number: int, random: Random) -> Role:
        """The role of that invocation: a hang each 1,000th, a crash each 100th, else one of the usual."""
        if number % 1000 == 0:
            return random.choice(self.hangs)
        if number % 100 == 0:
            return random.choice(self.crashes)
        (sort,) = random.choices(self.usual, self.weights)
        return random.choice(sort)


def draw_size(random: Random) -> int:
    """Bytes from 10 to 1 MB, each order of magnitude as often as another."""
    return int(10 ** random.uniform(1, 6))


def draw_event(number: int, size: int) -> str:
    """A text that is that many bytes of JSON, and no other invocation's."""
    return f"{number:08}".ljust(size - 2, "x")


def assemble(stage: Stage, random: Random) -> Cast:
    """The cast of a soak: some scripts are drawn, others are the ones that leave most behind."""
    return Cast(
        usual=[_echoes(stage), _replies(stage, random), _strays(stage), _litterers()],
        weights=[8, 8, 2, 2],
        crashes=_crashes(stage),
        hangs=_hangs(stage),
    )


def _acting(stage: Stage, script: str, *, timeout: float = FAR, **settings: Any) -> Role:
    """A role of the actor, with what the model predicts."""
    words = script.split()
    settings = {"output": "text", "max_output_bytes": LIMIT, **settings}
    shim = Shim(stage.actor, args=words, **settings)
    (expected,) = expectation(words, shim.settings, b"", number=1).among
    reply = expected.reply or b""
    return Role(
        script,
        shim,
        expected,
        b64encode(reply).decode() if settings["output"] == "base64" else reply.decode(),
        echoes="copy" in words,
        timeout=timeout,
        adopts="vanish" in script,
    )


def _echoes(stage: Stage) -> list[Role]:
    scripts = ["copy", "write:2:6c6f670a copy", "sleep:1 copy", "copy fill:2:100000"]
    return [_acting(stage, script, output="json") for script in scripts]


def _replies(stage: Stage, random: Random) -> list[Role]:
    """Replies whose size has nothing to do with that of the event, which is read before, after, in part or never."""
    roles = []
    for _ in range(24):
        reads = random.choice([[], ["read:100"], ["read-all"], ["close:0"]])
        logs = random.choice([[], [], [f"fill:2:{draw_size(random) // 10}"]])
        words = [f"fill:1:{draw_size(random)}", *reads, *logs]
        random.shuffle(words)
        roles.append(_acting(stage, " ".join(words), output=random.choice(["text", "base64"])))
    digits = b"1" * 20  # more than orjson reads exactly
    number = _acting(stage, f"write:1:{digits.hex()}", output="auto")._replace(value=int(digits))
    return [*roles, number, _acting(stage, "fill:1:1000 fill:3:10000", reply_fd=3)]


def _strays(stage: Stage) -> list[Role]:
    """Processes are left behind: in the group, in a session of their own, with nothing that tells whose they are."""
    scripts = [
        f"write:1:6f6b fork:{LONG}",
        f"write:1:6f6b leave:{LONG} leave:{LONG}",
        f"write:1:6f6b close:1 close:2 fork:{LONG} leave:{LONG}",
        f"write:1:6f6b vanish:{LONG}",
    ]
    return [_acting(stage, script, linger_ms=2) for script in scripts]


def _crashes(stage: Stage) -> list[Role]:
    signals = [_acting(stage, f"write:1:6f6b fill:2:5000 raise:{number}") for number in (4, 6, 7, 8, 9, 11)]
    codes = [_acting(stage, f"read-all write:2:776879 exit:{code}") for code in (1, 2, 42, 127, 255)]
    stray = _acting(stage, f"fork:{LONG} leave:{LONG} fill:1:100000 raise:11", linger_ms=2)
    flood = _acting(stage, "flood:1")
    return [*signals, *codes, stray, flood, _reporter(stage), _gone(stage), _in_fresh("exit 3", code=3)]


def _hangs(stage: Stage) -> list[Role]:
    scripts = [
        "sleep:0",
        "ignore:15 sleep:0",
        "close:0 close:1 close:2 sleep:0",
        f"read-all fill:1:100000 fill:2:9000 ignore:15 fork:{LONG} leave:{LONG} sleep:0",
        "raise:19",  # SIGSTOP
    ]
    return [*(_acting(stage, script, timeout=NEAR) for script in scripts), _in_fresh("sleep 600", hangs=True)]


def _reporter(stage: Stage) -> Role:
    """It says in its own words what went wrong."""
    reply = b'{"errorType": "BadInput", "errorMessage": "line 3"}'
    return _acting(stage, f"write:1:{reply.hex()} exit:1")


def _gone(stage: Stage) -> Role:
    """It is no longer there when it is to start."""
    path = shutil.copy(stage.actor, stage.folder / "gone")
    shim = Shim(str(path))
    Path(path).unlink()
    return Role("gone", shim, Expected("NotStarted", "ExecutableNotFound"))


def _litterers() -> list[Role]:
    return [_in_fresh("exec cat")]


def _in_fresh(end: str, *, code: int | None = None, hangs: bool = False) -> Role:
    """A shell that finds an empty TMPDIR, litters it, and ends like that: it answers its request where it neither fails nor hangs."""
    script = 'test -z "$(ls -A "$TMPDIR")" || exit 9; mkdir -p "$TMPDIR/a/b"; echo c >"$TMPDIR/a/b/c"; ' + end
    expected = Expected("Exited", None, 0)
    if hangs:
        expected = Expected("Stopped", "DeadlineExceeded", signals=frozenset({"SIGTERM"}))
    elif code is not None:
        expected = Expected("Exited", "ExitError", code)
    shim = Shim("/bin/sh", args=["-c", script], tmp="fresh", output="json", max_output_bytes=LIMIT)
    return Role(script, shim, expected, echoes=True, timeout=NEAR if hangs else FAR)


@contextmanager
def _subreaper(*, on: bool) -> Iterator[None]:
    if on:
        sweep.set_subreaper(on=True)
    yield
    if on:
        sweep.set_subreaper(on=False)


def _has_child() -> bool:
    """Whether a child of ours lives or is a zombie. It is asked each time, since the subreaper reaps every zombie that it finds."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
