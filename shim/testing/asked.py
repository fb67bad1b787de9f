"""One invocation of a state machine: what was asked, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shim.testing.kept_child import Act, State


def hold(so: object, sentence: str) -> None:
    """Fails with that sentence where it is not so."""
    if not so:
        raise AssertionError(sentence)


@dataclass
class Answer:
    """What an invocation came to."""

    value: Any = None
    error: Exception | None = None


@dataclass
class Asked:
    """One invocation."""

    story: str
    """What was asked, for a sentence."""
    name: str
    """The act, if a fake was asked."""
    event: Any
    token: str
    """Its request id, and no other's."""
    act: Act
    was: State
    """What was there to ask."""
    stays: list[int] = field(default_factory=list)
    """The process that was there, if it must still be there afterwards."""
    timeout: float | None = None
    """Seconds until its deadline, or None where it has no context."""
    meanwhile: str = "nothing"
    """What is done to those that are frozen."""
    frozen: list[int] = field(default_factory=list)
