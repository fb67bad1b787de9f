"""Whoever asks the Runtime API for what, over however many connections: each gets its own answer, and each invocation its own body."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.runtime_client import (
    EXTENSION,
    INIT_ERROR,
    NEXT,
    PING,
    Answer,
    Environment,
    Request,
    get,
    identifier,
    parse,
    post,
    post_path,
)
from tests.stateful.runtime_model import MALFORMED, Model, Post, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.runtime_api.connection import Connection

STEPS = int(os.environ.get("RUNTIME_API_STEPS", "40000"))
STEPS_EACH = 40
"""So many steps are one example."""
FREE_LINES = 3
"""There are so many more connections than such on which something waits."""
PICKS = st.integers(0, 999)
CLOSES = st.sampled_from([*[False] * 7, True])
SIZES = st.sampled_from([0, 1, 10, 400, 999, 1000, 1001, 2999, 3000, 3001])
MODES = st.sampled_from([None, "", None, None, None, "streaming", "streaming", "streaming", "Streaming", "buffered"])
ATTEMPTS = st.sampled_from(["none", "none", "right", "right", "stale"])
KINDS = st.sampled_from([*["/response"] * 8, *["/error"] * 3, "init/error"])
BREAKING = st.sampled_from(["ends", "resets", "strange"])
ELSE = {
    "ping": Verdict(200, "", "pong"),
    "no such path": Verdict(404, "NotFound"),
    "no such method": Verdict(405, "MethodNotAllowed"),
}
RULES = [
    "connects", "asks_for_an_invocation", "invokes", "takes_an_invocation", "tries_again", "posts", "begins_a_post", "sends_a_piece", "ends_a_post",
    "breaks_a_post_off", "forgets", "goes_away", "registers", "asks_for_an_event", "reports_a_failure", "sends_behind", "asks_for_else",
]  # fmt: skip
ANSWERS = [
    (200, ""), (202, ""), (400, ""), (400, "InvalidFunctionResponseMode"), (400, "InvalidRequestID"), (400, "TruncatedHTTPRequest"),
    (403, "Extension.InvalidEventType"), (403, "Extension.InvalidExtensionIdentifier"), (403, "Extension.InvalidExtensionName"),
    (403, "Extension.InvalidExtensionState"), (403, "Extension.MissingExtensionIdentifier"), (403, "Extension.MissingHeader"),
    (403, "Extension.RegistrationClosed"), (403, "Extension.UnknownExtensionIdentifier"), (403, "InvalidRequestFormat"),
    (403, "InvalidStateTransition"), (404, ""), (405, ""), (410, "InvokeTimeout"), (413, "RequestEntityTooLarge"),
]  # fmt: skip
"""Each status and errorType, but for the eleventh extension."""
WORDS = ["next", "began", "ended", "too large", "cut", "cut at once", "registered", "failed", "refused"]


BARE = {*ELSE.values(), MALFORMED}
"""What is answered in words, or in none, and not in JSON."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A post that is to be begun."""

    kind: str
    size: int
    mode: str | None
    attempt: str
    is_chunked: bool
    expects: bool
    closes: bool


PLANS = st.builds(Plan, KINDS, SIZES, MODES, ATTEMPTS, st.booleans(), st.booleans(), CLOSES)


@dataclass(slots=True)
class Line:
    """A connection, as the model has it."""

    number: int
    connection: Connection
    request: str = ""
    """What was asked there last."""
    waits: bool = False
    """Whether a request was sent whole, and waits for its answer."""
    closes: bool = False
    """Whether it is over with the answer to what waits or is being posted."""
    post: Post | None = None
    """What is being posted."""
    is_chunked: bool = False
    behind: list[tuple[str, Request]] = field(default_factory=list)
    """What was sent behind a request that waits."""
    due: list[tuple[Verdict, bool]] = field(default_factory=list)
    """The answers that are to come now, and whether 100 Continue comes before each."""
    continued: bool = False
    """Whether it was told to go on with what is being posted."""
    out: bytes = b""
    """What it was told, and is no answer yet."""
    closing: bool = False

    @property
    def is_free(self) -> bool:
        """Whether it takes a request that is answered at once."""
        return not (self.waits or self.post)


class Fired:
    """How often each rule fired, each answer was given, and each event told."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.answers: Counter[tuple[int, str]] = Counter(dict.fromkeys(ANSWERS, 0))
        self.words: Counter[str] = Counter(dict.fromkeys(WORDS, 0))
        self.together: Counter[str] = Counter(dict.fromkeys(["2 wait", "2 run", "2 post", "2 extensions wait"], 0))
        """What went on at the same time."""

    def __str__(self) -> str:
        counted = [*self.rules.items(), *self.words.items(), *self.together.items()]
        rows = [f"{number:7}  {name}" for name, number in counted]
        return "\n".join(rows + [f"{number:7}  {status} {name}" for (status, name), number in self.answers.items()])

    def missing(self) -> list[object]:
        """What was not met, and what should not have been."""
        counters = (self.rules, self.answers, self.words, self.together)
        unmet: list[object] = [what for counted in counters for what, number in counted.items() if not number]
        return unmet + sorted(self.answers.keys() - set(ANSWERS))


class RuntimeApi(RuleBasedStateMachine):
    """A server and its clients, beside the model."""

    def __init__(self, fired: Fired) -> None:
        super().__init__()
        self.fired = fired
        self.environment = Environment()
        self.model = Model()
        self.lines: dict[int, Line] = {}
        self.made = 0
        self.ids: list[str] = []
        self.attempts: dict[str, str | None] = {}
        self.bodies = 0

    @initialize(extensions=st.lists(st.sampled_from([[], ["INVOKE"], ["INVOKE"]]), max_size=3), starts=st.booleans())
    def begin_all(self, extensions: list[list[str]], starts: bool) -> None:
        """Mostly something is registered and asked for already."""
        for number, hears in enumerate(extensions):
            self.connects()
            self.registers(0, f"early {number}", hears)
        if starts:
            self.connects()
            self.takes_an_invocation(0, has_attempt=True)
            self.connects()

    @precondition(lambda self: len(self.free()) < FREE_LINES)
    @rule()
    def connects(self) -> None:
        with self.noted("connects"):
            self.made += 1
            self.lines[self.made] = Line(self.made, self.environment.connect())

    @precondition(lambda self: self.free())
    @rule(pick=PICKS, closes=CLOSES)
    def asks_for_an_invocation(self, pick: int, closes: bool) -> None:
        with self.noted("asks_for_an_invocation"):
            line = self.pick_free(pick)
            self.ask(line, get(NEXT), self.model.next(line.number), closes=closes)

    @precondition(lambda self: self.free() and self.model.state != "InitError")
    @rule(pick=PICKS, has_attempt=st.booleans())
    def takes_an_invocation(self, pick: int, has_attempt: bool) -> None:
        """Somebody asks for one, and so do the extensions for their events: then it is handed out, if none has failed."""
        with self.noted("takes_an_invocation"):
            line = self.pick_free(pick)
            self.ask(line, get(NEXT), self.model.next(line.number))
            for known, extension in self.model.extensions.items():
                if extension.state in ("Registered", "Running"):
                    self.made += 1
                    line = self.lines[self.made] = Line(self.made, self.environment.connect())
                    verdict = self.model.event(known, line.number)
                    self.ask(line, get(f"{EXTENSION}/event/next", Lambda_Extension_Identifier=known), verdict)
            if self.model.waits:
                self.ids.append(f"run-{len(self.ids) + 1}")
                self.hand_out(self.ids[-1], f"attempt of {self.ids[-1]}" if has_attempt else None)

    @precondition(lambda self: self.model.waits)
    @rule(has_attempt=st.booleans())
    def invokes(self, has_attempt: bool) -> None:
        with self.noted("invokes"):
            self.ids.append(f"run-{len(self.ids) + 1}")
            self.hand_out(self.ids[-1], f"attempt of {self.ids[-1]}" if has_attempt else None)

    @precondition(lambda self: self.model.waits and self.over())
    @rule(pick=PICKS)
    def tries_again(self, pick: int) -> None:
        """An invocation that is over is handed out again by the same id, which Lambda does with an asynchronous one."""
        with self.noted("tries_again"):
            over = self.over()
            request_id = over[pick % len(over)]
            self.hand_out(request_id, f"attempt {len(self.attempts) + pick} of {request_id}")

    @precondition(lambda self: self.free())
    @rule(pick=PICKS, plan=PLANS)
    def posts(self, pick: int, plan: Plan) -> None:
        with self.noted("posts"):
            line = self.pick_free(pick)
            body = self.begin(line, pick, plan)
            if line.post is not None:
                self.send(line, body)
                self.end(line)

    @precondition(lambda self: self.free())
    @rule(pick=PICKS, plan=PLANS, sends=st.booleans())
    def begins_a_post(self, pick: int, plan: Plan, sends: bool) -> None:
        with self.noted("begins_a_post"):
            line = self.pick_free(pick)
            body = self.begin(line, pick, plan)
            if line.post is not None and sends:
                self.send(line, body[: plan.size // 2])

    @precondition(lambda self: self.posting())
    @rule(pick=PICKS, size=SIZES)
    def sends_a_piece(self, pick: int, size: int) -> None:
        line = self.pick_posting(pick)
        assert line.post is not None
        if not line.is_chunked:
            size = min(size, line.post.announced - len(line.post.body) - 1)
        if size > 0:
            with self.noted("sends_a_piece"):
                self.send(line, self.body(line.post.request_id, size))

    @precondition(lambda self: self.posting())
    @rule(pick=PICKS)
    def ends_a_post(self, pick: int) -> None:
        with self.noted("ends_a_post"):
            line = self.pick_posting(pick)
            assert line.post is not None
            if not line.is_chunked:
                self.send(line, self.body(line.post.request_id, line.post.announced - len(line.post.body)))
            self.end(line)

    @precondition(lambda self: self.posting())
    @rule(pick=PICKS, how=BREAKING)
    def breaks_a_post_off(self, pick: int, how: str) -> None:
        self.break_off(self.pick_posting(pick), how)

    @precondition(lambda self: self.free())
    @rule(pick=PICKS, plan=PLANS, how=BREAKING)
    def begins_a_post_and_breaks_it_off(self, pick: int, plan: Plan, how: str) -> None:
        self.begins_a_post(pick, plan, sends=True)
        if self.posting():
            self.break_off(self.posting()[-1], how)

    @precondition(lambda self: self.forgettable())
    @rule(pick=PICKS)
    def forgets(self, pick: int) -> None:
        """Not one of which a post is being read: that has its own test."""
        with self.noted("forgets"):
            request_id = self.forgettable()[pick % len(self.forgettable())]
            self.model.forget(request_id)
            self.environment.server.forget(request_id)

    @precondition(lambda self: any(not line.post for line in self.lines.values()))
    @rule(pick=PICKS, resets=st.booleans(), chance=st.integers(0, 3))
    def goes_away(self, pick: int, resets: bool, chance: int) -> None:
        if chance:
            return
        with self.noted("goes_away"):
            lines = [line for line in self.lines.values() if not line.post]
            line = lines[pick % len(lines)]
            self.model.leave(line.number)
            line.waits, line.closing = False, True
            if resets:
                line.connection.close()
            else:
                line.connection.receive(b"")

    @precondition(lambda self: self.free())
    @rule(
        pick=PICKS,
        name=st.sampled_from(["", "one", "two", "three"]),
        hears=st.sampled_from([["INVOKE"], ["INVOKE"], [], ["SHUTDOWN"], ["INVOKE", "invoke"], None]),
    )
    def registers(self, pick: int, name: str, hears: list[str] | None) -> None:
        with self.noted("registers"):
            line = self.pick_free(pick)
            body = b"none" if hears is None else json.dumps({"events": hears}).encode()
            verdict = self.model.register(name, hears, identifier(self.environment.identified + 1))
            self.ask(line, post(f"{EXTENSION}/register", body, Lambda_Extension_Name=name), verdict)

    @precondition(lambda self: self.free() and self.model.extensions)
    @rule(pick=PICKS, which=st.sampled_from(["known", "known", "known", "known", "", "none", identifier(10**9)]))
    def asks_for_an_event(self, pick: int, which: str) -> None:
        with self.noted("asks_for_an_event"):
            if which == "known":
                known = list(self.model.extensions)
                which = known[pick % len(known)] if known else ""
            line = self.pick_free(pick)
            verdict = self.model.event(which, line.number)
            self.ask(line, get(f"{EXTENSION}/event/next", Lambda_Extension_Identifier=which), verdict)

    @precondition(lambda self: self.free() and self.model.extensions)
    @rule(
        pick=PICKS,
        which=st.sampled_from(["known", "known", "known", "", "none", identifier(10**9)]),
        error_type=st.sampled_from(["", "Extension.Bad"]),
        kind=st.sampled_from(["init", "exit"]),
    )
    def reports_a_failure(self, pick: int, which: str, error_type: str, kind: str) -> None:
        """Not an extension that waits: that has its own test."""
        with self.noted("reports_a_failure"):
            if which == "known":
                known = [known for known, extension in self.model.extensions.items() if extension.state != "Ready"]
                which = known[pick % len(known)] if known else ""
            line = self.pick_free(pick)
            verdict = self.model.report(kind, which, error_type)
            headers = {"Lambda_Extension_Identifier": which, "Lambda_Extension_Function_Error_Type": error_type}
            self.ask(line, post(f"{EXTENSION}/{kind}/error", b"{}", **headers), verdict)

    @precondition(lambda self: any(line.waits and not line.closes for line in self.lines.values()))
    @rule(pick=PICKS, what=st.sampled_from(["ping", "next", "response"]))
    def sends_behind(self, pick: int, what: str) -> None:
        """A client does not wait for its answer, and sends on: that is answered after it."""
        with self.noted("sends_behind"):
            lines = [line for line in self.lines.values() if line.waits and not line.closes]
            line = lines[pick % len(lines)]
            request_id = self.id(pick)
            request = get(PING if what == "ping" else NEXT)
            if what == "response":
                request = post(post_path(request_id), self.body(request_id, 20))
            line.behind.append((request_id, request))
            line.connection.receive(request.render())

    @precondition(lambda self: self.free())
    @rule(pick=PICKS, what=st.sampled_from([*ELSE, "no HTTP"]), closes=CLOSES)
    def asks_for_else(self, pick: int, what: str, closes: bool) -> None:
        with self.noted("asks_for_else"):
            line = self.pick_free(pick)
            if what == "no HTTP":
                line.request, line.closing = "what is no HTTP", True
                self.is_due(line, MALFORMED)
                line.connection.receive(b"\0")
            else:
                request = Request("PUT" if what == "no such method" else "GET", NEXT if what != "ping" else PING)
                request = replace(request, path=f"{NEXT}/") if what == "no such path" else request
                self.ask(line, request, ELSE[what], closes=closes)

    @invariant()
    def whoever_waits_is_known(self) -> None:
        assert self.environment.server.waits == self.model.waits
        for line in self.lines.values():
            assert line.connection.reads
        posting = [line.post for line in self.posting() if line.post and line.post.refusal is None]
        self.fired.together["2 wait"] += len(self.model.waiting) > 1
        self.fired.together["2 run"] += len(self.model.runs) > 1
        self.fired.together["2 post"] += len(posting) > 1
        waiting = [extension for extension in self.model.extensions.values() if extension.line is not None]
        self.fired.together["2 extensions wait"] += len(waiting) > 1

    def teardown(self) -> None:
        """All go away: nobody waits, and no post is without its end."""
        for line in self.lines.values():
            line.connection.receive(b"")
        self.environment.told.take(self.environment.server.events)

        assert not self.environment.server.waits
        assert self.environment.told.unfinished == 0

    def free(self) -> list[Line]:
        return [line for line in self.lines.values() if line.is_free]

    def pick_free(self, pick: int) -> Line:
        return self.free()[pick % len(self.free())]

    def pick_posting(self, pick: int) -> Line:
        """Mostly one whose post is taken."""
        taken = [line for line in self.posting() if line.post and line.post.refusal is None]
        lines = taken if taken and pick % 4 else self.posting()
        return lines[pick // 4 % len(lines)]

    def posting(self) -> list[Line]:
        return [line for line in self.lines.values() if line.post is not None]

    def over(self) -> list[str]:
        """The invocations that are over."""
        return [request_id for request_id in self.ids if request_id not in self.model.runs]

    def forgettable(self) -> list[str]:
        """Those that may be forgotten."""
        return [request_id for request_id, run in self.model.runs.items() if run.state == "Running"]

    def id(self, pick: int) -> str:
        """Mostly of one that runs; or one that is over, or that never was."""
        running = list(self.model.runs)
        known = running if running and pick % 4 else [*self.ids[-3:], "foreign"]
        return known[pick // 4 % len(known)]

    def body(self, request_id: str, size: int) -> bytes:
        """A body that no other post has."""
        self.bodies += 1
        return (f"{self.bodies} of {request_id};" * (size // 6 + 1))[:size].encode()

    def begin(self, line: Line, pick: int, plan: Plan) -> bytes:
        """Sends the head of a post, and gives the body that may follow."""
        request_id = "" if plan.kind == "init/error" else self.id(pick)  # "": it is nobody's
        body = self.body(request_id, plan.size)
        told = {"none": None, "right": self.attempts.get(request_id), "stale": "attempt of yesterday"}[plan.attempt]
        headers = {"Content_Type": f"text/{pick}", "Lambda_Runtime_Function_Error_Type": f"Error{pick}"}
        headers |= {} if plan.mode is None else {"Lambda_Runtime_Function_Response_Mode": plan.mode}
        headers |= {} if told is None else {"Lambda_Runtime_Invocation_Id": told}
        path = post_path(request_id, plan.kind[1:]) if request_id else INIT_ERROR
        request = replace(
            post(path, body, **headers),
            chunks=() if plan.is_chunked else None,
            expects=plan.expects,
            closes=plan.closes,
        )
        begun = self.model.begin(
            plan.kind,
            request_id,
            attempt=told,
            mode=plan.mode,
            announced=0 if plan.is_chunked else plan.size,
            content_type=f"text/{pick}",
            error_type=f"Error{pick}",
        )
        line.request, line.is_chunked = f"POST {path}", plan.is_chunked
        if plan.expects and (begun.refusal is not None or begun.is_too_large):
            line.closing = True
            self.is_due(line, self.model.end(begun))
            line.connection.receive(request.head())
            return body
        line.post, line.continued, line.closes = begun, plan.expects, plan.closes
        line.connection.receive(request.head())
        if not plan.is_chunked and not plan.size:
            self.end(line)  # it has no body
        return body

    def send(self, line: Line, data: bytes) -> None:
        """Sends more of a body."""
        if data:
            assert line.post is not None
            line.post.body += data
            line.connection.receive(b"%x\r\n%s\r\n" % (len(data), data) if line.is_chunked else data)

    def end(self, line: Line) -> None:
        """Sends the end of a body, if that is not sent by its last byte."""
        assert line.post is not None
        begun, line.post = line.post, None
        trailers: tuple[str | None, str | None] = (begun.error_type, None)
        if line.is_chunked:
            trailers = ("Function.Late", "bGF0ZQ==") if self.bodies % 3 == 0 else trailers
            lines = ""
            if trailers[1]:
                lines = f"lambda-runtime-function-error-type: {trailers[0]}\r\nLambda-Runtime-Function-Error-Body: {trailers[1]}\r\n"
            line.connection.receive(f"0\r\n{lines}\r\n".encode())
        self.is_due(line, self.model.end(begun, *trailers))
        line.closing, line.closes = line.closes, False

    def break_off(self, line: Line, how: str) -> None:
        """Sends no more of a body."""
        with self.noted("breaks_a_post_off"):
            assert line.post is not None
            verdict = self.model.cut(line.post)
            line.post = None
            if how == "resets":
                line.connection.close()
            else:
                self.is_due(line, verdict)
                line.connection.receive(b"no chunk\r\n" if how == "strange" and line.is_chunked else b"")
            line.closing = True

    def ask(self, line: Line, request: Request, verdict: Verdict | None, *, closes: bool = False) -> None:
        """Sends a request whole, which waits then or has that answer."""
        line.request = f"{request.method} {request.path}"
        if verdict is None:
            line.waits, line.closes = True, closes
        else:
            self.is_due(line, verdict)
            line.closing = closes
        line.connection.receive(replace(request, closes=closes).render())

    def is_due(self, line: Line, verdict: Verdict) -> None:
        """That is the answer to the request that was sent there last."""
        line.due.append((verdict, line.continued))
        line.continued = False
        if verdict.error_type:
            self.model.words.append(("refused", line.request, *verdict[:2]))

    def hand_out(self, request_id: str, attempt: str | None) -> None:
        """Answers a `next` that waits, and the extensions that do."""
        self.attempts[request_id] = attempt
        body = self.body(request_id, 50)
        headers = [("Lambda-Runtime-Invocation-Id", attempt)] if attempt is not None else []
        self.answered(self.model.invoke(request_id, attempt), Verdict(200, "", body.decode()))
        for extension in self.model.extensions.values():
            if extension.hears:
                number = self.model.hear(extension, request_id)
                if number is not None:
                    self.answered(number, Verdict(200, "", f'"requestId":"{request_id}"'))
        self.environment.invoke(request_id, *headers, body=body)

    def answered(self, number: int, verdict: Verdict) -> None:
        """The one that waits on that line is answered, and so is what was sent behind it, until one waits again."""
        line = self.lines[number]
        line.waits = False
        self.is_due(line, verdict)
        line.closing, line.closes = line.closes, False
        while line.behind and not line.waits:
            request_id, request = line.behind.pop(0)
            line.request = f"{request.method} {request.path}"
            after: Verdict | None = ELSE["ping"]
            if request.path == NEXT:
                after = self.model.next(number)
                line.waits = after is None
            elif request.body is not None:
                begun = self.model.begin("/response", request_id, announced=len(request.body))
                begun.body += request.body
                after = self.model.end(begun)
            if after is not None:
                self.is_due(line, after)

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """A rule, after which all that was told and all that went out is what the model says."""
        self.fired.rules[name] += 1
        yield
        told = self.environment.told
        told.take(self.environment.server.events)

        assert told.words == self.model.words
        self.fired.words.update(str(word[0]) for word in told.words)
        told.words.clear()
        self.model.words.clear()
        for line in list(self.lines.values()):
            line.out += line.connection.take()
            answers = parse(line.out)
            line.out = b"" if answers else line.out

            assert bool(line.out) == line.continued
            assert len(answers) == len(line.due), (answers, line.due)
            for answer, (verdict, continued) in zip(answers, line.due, strict=True):
                self.compare(answer, verdict)

                assert answer.continued == continued
            line.due.clear()

            assert line.connection.closing == line.closing
            if line.closing:
                del self.lines[line.number]

    def compare(self, answer: Answer, verdict: Verdict) -> None:
        self.fired.answers[answer.status, answer.error_type] += 1

        assert (answer.status, answer.error_type) == (verdict.status, "" if verdict in BARE else verdict.error_type)
        assert verdict.names in (answer.error.get("errorMessage") or answer.body.decode())


def test_whatever_is_asked_in_whatever_order_the_answers_and_the_events_are_what_the_model_says() -> None:
    fired = Fired()
    run_state_machine_as_test(
        lambda: RuntimeApi(fired),  # type: ignore[arg-type] # it takes what makes one, too
        settings=settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            derandomize=True,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    sys.stdout.write(f"{fired}\n")

    assert fired.missing() == []
