"""What the Runtime API of one execution environment answers, told once more, without HTTP and without a look at how it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

WANTED = {"/response": "InvocationResponse", "/error": "InvocationErrorResponse", "init/error": "InitError"}
"""The state that each post leads to."""


class Verdict(NamedTuple):
    """The status of an answer, what is wrong with the request, "" where nothing is, and what the answer has to name."""

    status: int
    error_type: str = ""
    names: str = ""


ACCEPTED = Verdict(202)
MALFORMED = Verdict(400, "Malformed")
TRUNCATED = Verdict(400, "TruncatedHTTPRequest")


def _transition(before: str, after: str) -> Verdict:
    """The refusal of what a state does not allow."""
    return Verdict(403, "InvalidStateTransition", f"from {before} to {after} ")


@dataclass(slots=True)
class Run:
    """An invocation that is handed out and not over."""

    attempt: str | None
    state: str = "Running"


@dataclass(slots=True)
class Extension:
    """One that has registered."""

    name: str
    hears: bool
    state: str = "Registered"
    missed: str | None = None
    """The invocation of which it is told when it next asks."""
    line: int | None = None
    """Where it waits."""


@dataclass(slots=True)
class Post:
    """One that was begun."""

    kind: str
    request_id: str
    limit: int
    announced: int
    error_type: str | None = None
    refusal: Verdict | None = None
    """Its answer, where it is not taken at all."""
    body: bytearray = field(default_factory=bytearray)

    @property
    def size(self) -> int:
        """Of its body, as far as is known."""
        return max(len(self.body), self.announced)

    @property
    def is_too_large(self) -> bool:
        """Whether it is known that its body is too long."""
        return self.size > self.limit

    @property
    def name(self) -> str:
        """How the server calls its kind."""
        return self.kind if self.request_id else "/2018-06-01/runtime/init/error"


class Model:
    """The states of the runtime, of its invocations and of its extensions. `words` are told as tests.runtime_client.Told has them."""

    def __init__(self, limit: int = 1000, stream_limit: int = 3000) -> None:
        self.state = "Started"
        self.runs: dict[str, Run] = {}
        self.waiting: list[int] = []
        """The lines on which a `next` waits, in the order in which they began to."""
        self.answered: str | None = None
        self.extensions: dict[str, Extension] = {}
        self.complete = False
        self.words: list[tuple[object, ...]] = []
        self._limits = (limit, stream_limit)

    @property
    def waits(self) -> bool:
        """Whether an invocation can be handed out: somebody asks for one, and each extension for its event."""
        return bool(self.waiting) and all(extension.state == "Ready" for extension in self.extensions.values())

    def next(self, line: int) -> Verdict | None:
        """Somebody asks for an invocation: None, if it waits."""
        if self.state == "InitError":
            return _transition("InitError", "Ready")
        if not self.runs:
            self.state = "Ready"
            self.answered = None
        self.waiting.append(line)
        self.words.append(("next",))
        return None

    def invoke(self, request_id: str, attempt: str | None) -> int:
        """An invocation is handed out, on the line that is given back."""
        self.runs[request_id] = Run(attempt)
        self.state = "Running"
        self.complete = True
        return self.waiting.pop()

    def hear(self, extension: Extension, request_id: str) -> int | None:
        """An extension hears of an invocation, on the line that is given back, or later."""
        line, extension.line = extension.line, None
        extension.missed = request_id if line is None else None
        if line is not None:
            extension.state = "Running"
        return line

    def begin(
        self,
        kind: str,
        request_id: str,
        *,
        attempt: str | None = None,
        mode: str | None = None,
        announced: int = 0,
        content_type: str | None = None,
        error_type: str | None = None,
    ) -> Post:
        """A post begins."""
        streams = kind == "/response" and mode == "streaming"
        post = Post(kind, request_id, self._limits[streams], announced, error_type)
        post.refusal = self._refusal(kind, request_id, attempt)
        if post.refusal is None:
            if request_id:
                self.runs[request_id].state = WANTED[kind]
            else:
                self.state = "InitError"
            if kind == "/response" and mode not in (None, "", "streaming"):
                how = f"asked for the response mode {mode!r}, which the Runtime API does not have"
                self.words.append(("cut at once", post.name, request_id, how))
                self._is_over(request_id)
                post.refusal = Verdict(400, "InvalidFunctionResponseMode")
        if post.refusal is None:
            self.words.append(("began", post.name, request_id, content_type))
        return post

    def end(self, post: Post, error_type: str | None = None, error_body: str | None = None) -> Verdict:
        """It has come whole."""
        if post.refusal is not None:
            return post.refusal
        if post.is_too_large:
            self.words.append(("too large", post.name, post.request_id, post.size))
            verdict = Verdict(413, "RequestEntityTooLarge", f"({post.limit} bytes)")
        else:
            self.words.append(("ended", post.name, post.request_id, bytes(post.body), error_type, error_body))
            verdict = ACCEPTED
        self._is_over(post.request_id)
        return verdict

    def cut(self, post: Post) -> Verdict:
        """It breaks off."""
        if post.refusal is not None:
            return MALFORMED
        if post.is_too_large:
            self.words.append(("too large", post.name, post.request_id, post.size))
        else:
            self.words.append(("cut", post.name, post.request_id, bytes(post.body)))
        self._is_over(post.request_id)
        return TRUNCATED

    def forget(self, request_id: str) -> None:
        """Nobody wants the answer any more."""
        if request_id in self.runs:
            self._is_over(request_id)

    def register(self, name: str, hears: list[str] | None, identifier: str) -> Verdict:
        """An extension registers for these events; None stands for a body that says nothing of them."""
        if not name:
            return Verdict(403, "Extension.InvalidExtensionName")
        if hears is None:
            return Verdict(403, "InvalidRequestFormat")
        if (strange := next((event for event in hears if event != "INVOKE"), None)) is not None:
            return Verdict(403, "Extension.InvalidEventType", strange)
        if self.complete:
            return Verdict(403, "Extension.RegistrationClosed")
        if len(self.extensions) >= 10:
            return Verdict(403, "Extension.TooManyExtensions")
        if name in {extension.name for extension in self.extensions.values()}:
            return Verdict(403, "Extension.InvalidExtensionState", "already registered")
        self.extensions[identifier] = Extension(name, "INVOKE" in hears)
        self.words.append(("registered", name, tuple(dict.fromkeys(hears))))
        return Verdict(200)

    def event(self, identifier: str, line: int) -> Verdict | None:
        """An extension asks for its next event: None, if it waits."""
        refusal = _misnamed(identifier)
        if refusal is not None:
            return refusal
        extension = self.extensions.get(identifier)
        if extension is None:
            return Verdict(403, "Extension.UnknownExtensionIdentifier", identifier)
        if extension.state not in ("Registered", "Running"):
            return _transition_of(identifier, extension.state, "Ready")
        if extension.missed is None:
            extension.line = line
            extension.state = "Ready"
            return None
        missed, extension.missed = extension.missed, None
        extension.state = "Running"
        return Verdict(200, "", f'"requestId":"{missed}"')

    def report(self, kind: str, identifier: str, error_type: str) -> Verdict:
        """An extension says that it failed: in its "init", or at its "exit"."""
        refusal = _misnamed(identifier)
        if refusal is not None:
            return refusal
        if not error_type:
            return Verdict(403, "Extension.MissingHeader")
        extension = self.extensions.get(identifier)
        if extension is None:
            return Verdict(403, "Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
        before = extension.state
        if kind == "init" and before not in ("Registered", "InitError"):
            return _transition_of(identifier, before, "InitError")
        if kind == "exit" and before == "InitError":
            return _transition_of(identifier, before, "Exited")
        extension.state = "InitError" if kind == "init" else "ExitError"
        self.words.append(("failed", extension.name, error_type))
        return ACCEPTED

    def leave(self, line: int) -> None:
        """Who waits on that line has gone."""
        if line in self.waiting:
            self.waiting.remove(line)
        for extension in self.extensions.values():
            if extension.line == line:
                extension.line = None
                extension.state = "Running"

    def _refusal(self, kind: str, request_id: str, attempt: str | None) -> Verdict | None:
        wanted = WANTED[kind]
        if not request_id:
            return None if self.state == "Started" else _transition(self.state, wanted)
        run = self.runs.get(request_id)
        if attempt is not None and (run is None or run.attempt != attempt):
            return Verdict(410, "InvokeTimeout")
        if run is not None:
            return None if run.state == "Running" else _transition(run.state, wanted)
        return _transition(self.state, wanted) if request_id == self.answered else Verdict(400, "InvalidRequestID")

    def _is_over(self, request_id: str) -> None:
        if not request_id:
            return
        self.runs.pop(request_id, None)
        self.answered = request_id
        if not self.runs:
            self.state = "Ready" if self.waiting else "RuntimeResponseSentState"


def _misnamed(identifier: str) -> Verdict | None:
    if not identifier:
        return Verdict(403, "Extension.MissingExtensionIdentifier")
    return None if len(identifier) == 36 else Verdict(403, "Extension.InvalidExtensionIdentifier")


def _transition_of(identifier: str, before: str, after: str) -> Verdict:
    return Verdict(
        403, "Extension.InvalidExtensionState", f"from {before} to {after} failed for extension {identifier}"
    )
