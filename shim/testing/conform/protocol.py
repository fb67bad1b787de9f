"""What the protocol asks of a program: the clauses that a program itself can break, by their numbers in the README."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shim.settings import Settings

    Check: TypeAlias = Callable[["Command", "Plan"], None]
    """Holds a program to one requirement; raises Broken where it breaks it."""

ONESHOT, WARM, BOOTSTRAP = "oneshot", "warm", "bootstrap"
BY_LINES = (ONESHOT, WARM)
KEPT = (WARM, BOOTSTRAP)
ALL = (ONESHOT, WARM, BOOTSTRAP)


class Requirement(NamedTuple):
    """One thing that a good program does."""

    number: str
    """That of its clause in the README."""
    name: str
    """By which it is chosen on a command line."""
    says: str
    """What the program does, as the predicate of a sentence."""
    modes: tuple[str, ...]
    """The modes in which it is asked."""


REQUIREMENTS = (
    Requirement("1.2", "leaves-nothing", "leaves no process behind when it ends", ALL),
    Requirement("1.3", "ends-on-sigterm", "ends in time when it gets SIGTERM", ALL),
    Requirement("2.2", "ignores-the-unknown", "takes a request with members that it does not know", BY_LINES),
    Requirement("2.3", "reads-any-size", "takes a request of any size", ALL),
    Requirement("2.4", "survives-odd-json", "answers any JSON value, or fails truthfully", ALL),
    Requirement("3.2", "flushes-each-reply", "answers a request before the next one comes", (WARM,)),
    Requirement("3.3", "answers-once", "answers once", ALL),
    Requirement("3.4", "keeps-its-reply-clean", "writes nothing but its reply where its reply goes", BY_LINES),
    Requirement("3.5", "echoes-ids", "answers with the id of the request", KEPT),
    Requirement("3.6", "answers-independently", "answers the same to the same request, whatever came before", ALL),
    Requirement("4.2", "refuses-what-is-no-json", "fails truthfully where the request is no JSON", ALL),
    Requirement("5.1", "ends-at-end-of-input", "ends at the end of its input", BY_LINES),
    Requirement("5.2", "does-not-grow", "is as large after 1,000 requests as before", KEPT),
    Requirement("6.1", "loops", "asks for the next invocation when it has answered one", (BOOTSTRAP,)),
    Requirement("6.2", "reports-errors", "posts its failures as errors", (BOOTSTRAP,)),
    Requirement("6.3", "survives-odd-headers", "takes headers in any case and order, and those that it does not know", (BOOTSTRAP,)),
)  # fmt: skip


class Broken(Exception):
    """A program broke a requirement.

    Args:
        sentence: what it did, as the predicate of a sentence, with the data.
        requests: what it was sent until then, each as the JSON of an event, or as a line that is none.
    """

    def __init__(self, sentence: str, requests: Sequence[bytes] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.requests = tuple(requests)


class Command(NamedTuple):
    """The program that is held to the requirements, and how it is run."""

    path: str
    """The file to run, absolute."""
    folder: str
    """Where it runs."""
    environment: Mapping[bytes, bytes]
    """As shim would give it, but for SHIM_CHILD, and for the Runtime API's address of a bootstrap."""
    settings: Settings
    """All of them: executable, args, mode, framing, reply_fd, output, grace_ms …"""

    @property
    def arguments(self) -> list[str]:
        """What it is started with: the file, which is its argument 0 as well, and the others."""
        return [self.path, *self.settings.args]

    @property
    def grace(self) -> float:
        """Seconds that shim gives it to end when it is asked to. A busy machine takes its part of them, so let the quickest of several ends count."""
        return self.settings.grace_ms / 1000


class Manner(NamedTuple):
    """How a program by lines answers the sample, so that one fault does not show in every requirement."""

    is_clean: bool = True
    """Whether it answers once, with nothing besides, and with the right id. Else its answers are picked out of what it writes."""
    is_lazy: bool = False
    """warm: whether it answers only when its input ends."""
    greets: bool = False
    """warm: whether it writes something before it is asked."""
    lingers: bool = False
    """oneshot: whether it goes on after its reply."""


class Plan(NamedTuple):
    """How a program is held to a requirement."""

    sample: bytes
    """The JSON of an event that the program accepts."""
    examples: int = 50
    """How many examples are made at most, where they are made."""
    requests: int = 1000
    """How many requests a kept program gets that must not grow."""
    within: float = 10.0
    """Seconds that one answer may take, and a start."""
    seed: int = 0
    """Of the examples: with the same seed they are the same."""
    pure: bool = False
    """Whether the same request must have the same answer."""
    replay: tuple[bytes, ...] | None = None
    """Where a counterexample is repeated, its requests, in their order, and no others are made; as `Broken.requests` has them."""
    failing: bytes | None = None
    """The JSON of an event that the program must fail, where one is known. Read of a bootstrap only."""
    manner: Manner | None = None
    """Of a program by lines, where it is known already."""


class NotAsked(Exception):
    """A requirement can't be asked of this program; the text says why, as the end of the sentence "not asked, since …"."""
