"""What kept children of a soak are asked to do, and what must come of it. Each request says itself what its child does with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from shim import Shim, ShimError
from shim.local.context import LambdaContext

from .roles import FAR, LIMIT, NEAR

if TYPE_CHECKING:
    from random import Random

    from .stage import Stage


class Kept(NamedTuple):
    """Something that is asked of a kept child."""

    do: str
    """The words of the actor."""
    shim: Shim
    error: str | None = None
    """The error that must come of it, or None for the event as its answer."""
    timeout: float = FAR

    def play(self, event: str, stage: Stage) -> str:
        """One invocation; returns what is wrong with what came of it, or nothing."""
        asked = {"do": self.do, "token": event[:8], "pad": event}
        context = LambdaContext(timeout=self.timeout)
        wrong = ""
        try:
            answer = self.shim(asked, context)
        except ShimError as error:
            if type(error).__name__ != self.error:
                wrong = f"{type(error).__name__} came: {error}"
        else:
            wrong = self._wrong_answer(answer, asked, context)
        stage.take_log()
        if not wrong and _has_zombie():
            wrong = "a zombie is left, of this invocation or of one before"
        return wrong and f"{self.do}: {wrong[:200]}"

    def _wrong_answer(self, answer: Any, asked: dict[str, str], context: LambdaContext) -> str:
        if self.error is not None:
            return f"an answer where {self.error} was expected"
        if self.shim.settings.framing == "line":
            right = answer["event"] == asked and answer["context"]["aws_request_id"] == context.aws_request_id
        else:
            right = answer == asked
        return "" if right else f"{str(answer)[:60]!r} was answered"


class KeptCast(NamedTuple):
    """All that is asked, by how often."""

    usual: list[Kept]
    crashes: list[Kept]
    strange: list[Kept]
    hangs: list[Kept]

    def all(self) -> list[Kept]:
        """Each once."""
        return [*self.usual, *self.crashes, *self.strange, *self.hangs]

    def draw(self, number: int, random: Random) -> Kept:
        """What is asked in that invocation: a crash each 1,000th, a breach of the protocol as often, a hang each 10,000th."""
        if number % 10_000 == 9_000:
            return random.choice(self.hangs)
        if number % 1000 == 0:
            return random.choice(self.crashes)
        if number % 1000 == 500:
            return random.choice(self.strange)
        return random.choice(self.usual)


def assemble_kept(stage: Stage, random: Random) -> KeptCast:
    """Two Shims, by line and by envelope, each with its child, and what is asked of them."""
    line = Shim(stage.actor, args=["serve"], mode="warm", max_output_bytes=LIMIT)
    envelope = Shim(stage.actor, args=["serve"], mode="warm", framing="envelope", max_output_bytes=LIMIT)
    return KeptCast(
        usual=[
            Kept("reply:1", line),
            Kept("write:2:6c6f670a reply:1", line),
            Kept("answer:1", envelope),
            Kept("write:1:6c6f670a answer:1 write:1:6c6f670a", envelope),
        ],
        crashes=[
            *(Kept(do, shim, "ExitError") for do in ("exit:3", "write:1:6f6b exit:3") for shim in (line, envelope)),
            *(Kept(do, shim, "SignalError") for do in ("raise:11", "fill:2:5000 raise:9") for shim in (line, envelope)),
        ],
        strange=[
            Kept("reply:1:22780a", line, "ReplyUnexpected"),
            Kept("exit:0", line, "ReplyMissing"),
            Kept("close:1", line, "ReplyMissing"),
            Kept("fill:1:3000000", line, "OutputTooLarge"),
            Kept("write:1:7b226964223a2278222c2276616c7565223a317d0a", envelope, "ReplyUnexpected"),
            Kept("exit:0", envelope, "ReplyMissing"),
        ],
        hangs=[
            Kept(do, shim, "DeadlineExceeded", NEAR)
            for do in ("sleep:0", "ignore:15 sleep:0")
            for shim in (line, envelope)
        ],
    )


def _has_zombie() -> bool:
    """Whether a child of ours has ended and was not reaped."""
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
