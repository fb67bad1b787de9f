"""The server's side of the Runtime API of one execution environment, without I/O: bytes in; bytes out and events, for whoever drives it.

The driver makes a `Server`, tells it of each connection (`connect`) and of what comes over it (`Connection.receive`), writes what is to go out
(`Connection.take`), and takes what has happened (`Server.events`) after each. It hands an invocation to a `next` that waits with
`Server.invoke`. Bodies come in pieces and are kept by nobody here, so that a response of any length passes in bounded memory.

Here is what the calls mean; how they are spelled in HTTP is in connection.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shim.runtime_api import messages
from shim.runtime_api.connection import Connection
from shim.runtime_api.events import Began, Cut, NextWaits, Piece, Refused
from shim.runtime_api.extensions import EventCall, Extensions, RegisterCall, ReportCall
from shim.runtime_api.post import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shim.runtime_api.connection import Call
    from shim.runtime_api.events import Event, PostEvent
    from shim.runtime_api.messages import Answer


class Server:
    """The Runtime API of one execution environment.

    Several `next`s may wait at a time, and several invocations run: how many, the driver decides, by when it calls `invoke`.

    Args:
        registration: what an extension is told when it registers: `functionName`, `functionVersion`, `handler`.
        identify: makes a UUID for each extension and each of its events.
        limit: the most bytes of a response that is not streamed, and of an error.
        stream_limit: the most bytes of one that is.
    """

    def __init__(
        self,
        *,
        registration: Mapping[str, str],
        identify: Callable[[], str],
        limit: int = messages.MAX_PAYLOAD_SIZE,
        stream_limit: int = messages.MAX_PAYLOAD_SIZE,
    ) -> None:
        self.events: list[Event] = []
        """What has happened; who takes it empties it."""
        self.state = messages.STARTED
        """What the runtime does. It is in its init until it first asks for an invocation."""
        self._limit = limit
        self._stream_limit = stream_limit
        self._extensions = Extensions(registration, identify, self.events.append)
        self._waiting: list[NextCall] = []
        self._runs: dict[str, Run] = {}
        self._answered: str | None = None
        """The last invocation that was answered, or can't be any more."""

    @property
    def waits(self) -> bool:
        """Whether an invocation can be handed out: a `next` waits, and so does every extension (RIE rapid/handlers.go, AwaitAgentsReady)."""
        return bool(self._waiting) and not self.laggards

    @property
    def is_sure(self) -> bool:
        """Whether a `next` waits that came after the last invocation. One that was there before, and was passed over, may be nobody's any more."""
        return not all(call.was_passed_over for call in self._waiting)

    @property
    def laggards(self) -> list[str]:
        """The names of the extensions that are waited for: those that do not wait for their next event."""
        return self._extensions.laggards()

    def connect(self) -> Connection:
        """A client has connected."""
        return Connection(self.call, self.refuse)

    def invoke(self, request_id: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Answers a `next` that waits with an invocation, and the extensions that wait for one.

        Of several that wait the last is answered, unlike Lambda: it is the surest to be still there. A client that has waited too long may ask
        anew, and leave its first connection open.

        Args:
            request_id: by which the runtime answers.
            headers: all that tell about it, the request id among them, but for the type and the length of the body.
            body: the event.
        """
        named = dict(headers)
        call = self._waiting.pop()
        for other in self._waiting:
            other.was_passed_over = True
        self._runs[request_id] = Run(named.get(messages.INVOCATION_ID))
        self.state = messages.RUNNING
        self._extensions.are_complete = True
        call.connection.answer(messages.Answer(200, body, headers=tuple(headers)))
        self._extensions.invoke(named)

    def forget(self, request_id: str) -> None:
        """That invocation is over without an answer: one that comes later is refused."""
        run = self._runs.get(request_id)
        if run is None:
            return
        if run.post is not None:
            run.post.expire()
        else:
            del self._runs[request_id]
            self._has_ended(request_id)

    def call(self, connection: Connection, method: str, path: str, headers: Mapping[str, str]) -> Call:
        """What a request asks for.

        Args:
            connection: over which it is answered.
            method: in upper case.
            path: without what follows a question mark.
            headers: their names in lower case.
        """
        route = _route(path)
        if route is None:
            return Settled(messages.NOT_FOUND)
        allowed, kind, request_id = route
        if method != allowed:
            return Settled(messages.not_allowed(method, allowed))
        if kind == messages.NEXT:
            return NextCall(self, connection)
        if kind in (messages.RESPONSE, messages.ERROR, messages.INIT_ERROR):
            post = self._begin(kind, request_id, headers)
            return post if isinstance(post, Post) else Settled(post)
        if kind == messages.EXTENSION_REGISTER:
            call: Call = RegisterCall(self._extensions, headers)
        elif kind == messages.EXTENSION_NEXT:
            call = EventCall(self._extensions, connection, headers)
        elif kind in _REPORTS:
            call = ReportCall(self._extensions, headers, _REPORTS[kind])
        else:
            call = Settled(_CONSTANT[kind])
        return call

    def refuse(self, request: str, answer: Answer) -> None:
        """A request broke the protocol, and gets this answer."""
        self.events.append(Refused(request, answer))

    def wait(self, call: NextCall) -> Answer | None:
        """A `next` waits from now on, or is refused with that answer."""
        if self.state == messages.INIT_FAILED:
            return messages.bad_transition(self.state, messages.READY)
        if not self._runs:
            self.state = messages.READY
            self._answered = None  # only until then it is remembered (RIE rapidcore/server.go, Release)
        self._waiting.append(call)
        self.events.append(NextWaits())
        return None

    def give_up(self, call: NextCall) -> None:
        """Who asked for an invocation has gone."""
        if call in self._waiting:
            self._waiting.remove(call)

    def _tell(self, post: Post, event: PostEvent) -> None:
        """Something comes of a post. When it is over its invocation is, whatever it was: Lambda takes no second one."""
        run = self._runs.get(post.request_id)
        if post.request_id and (run is None or run.post is not post):
            return  # its invocation is over, or is tried again
        self.events.append(event)
        if post.request_id and not isinstance(event, Piece):
            self._runs.pop(post.request_id, None)
            self._has_ended(post.request_id)

    def _has_ended(self, request_id: str) -> None:
        self._answered = request_id
        if not self._runs:
            self.state = messages.READY if self._waiting else messages.RESPONSE_SENT

    def _begin(self, kind: str, request_id: str, headers: Mapping[str, str]) -> Post | Answer:
        """A post begins, or is refused with that answer. The checks are in the order of Lambda's own (RIE rapi/middleware, rapi/handler)."""
        wanted = _WANTED[kind]
        if kind == messages.INIT_ERROR:
            if self.state != messages.STARTED:
                return messages.bad_transition(self.state, wanted)
            self.state = wanted
        else:
            run = self._runs.get(request_id)
            attempt = headers.get(messages.INVOCATION_ID.lower())
            if attempt is not None and (run is None or run.invocation_id != attempt):
                return messages.INVOKE_TIMEOUT
            if run is None:
                is_late = request_id == self._answered
                return messages.bad_transition(self.state, wanted) if is_late else messages.INVALID_REQUEST_ID
            if run.state != messages.RUNNING:
                return messages.bad_transition(run.state, wanted)
            run.state = wanted
        mode = headers.get(messages.RESPONSE_MODE.lower(), "")
        is_streamed = kind == messages.RESPONSE and mode == messages.STREAMING
        limit = self._stream_limit if is_streamed else self._limit
        post = Post(kind, request_id, headers, limit=limit, tell=self._tell)
        if request_id:
            self._runs[request_id].post = post
        if kind == messages.RESPONSE and mode and not is_streamed:
            self._tell(post, Cut(post, f"asked for the response mode {mode!r}, which the Runtime API does not have"))
            return messages.INVALID_RESPONSE_MODE
        self.events.append(Began(post))
        return post


class Run:
    """An invocation that a runtime has got and not answered."""

    __slots__ = ("invocation_id", "post", "state")

    def __init__(self, invocation_id: str | None) -> None:
        self.invocation_id = invocation_id
        self.post: Post | None = None
        self.state = messages.RUNNING


class Settled:
    """A call whose answer is known from the beginning, whatever its body."""

    __slots__ = ("answer",)

    def __init__(self, answer: Answer) -> None:
        self.answer: Answer | None = answer

    def feed(self, data: bytes) -> None:
        """Throws it away."""

    def finish(self, _: Mapping[str, str]) -> Answer | None:
        """The answer."""
        return self.answer

    def cut(self) -> None:
        """Nobody needs to know."""


class NextCall:
    """A runtime asks for an invocation."""

    __slots__ = ("_server", "connection", "was_passed_over")
    answer: Answer | None = None

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self.connection = connection
        self.was_passed_over = False

    def feed(self, data: bytes) -> None:
        """Throws it away: there is nothing to say in it."""

    def finish(self, _: Mapping[str, str]) -> Answer | None:
        """It waits."""
        return self._server.wait(self)

    def cut(self) -> None:
        """It waits no more."""
        self._server.give_up(self)


_WANTED = {
    messages.RESPONSE: messages.RESPONDING,
    messages.ERROR: messages.FAILING,
    messages.INIT_ERROR: messages.INIT_FAILED,
}
_REPORTS = {
    messages.EXTENSION_INIT_ERROR: messages.INIT_FAILED,
    messages.EXTENSION_EXIT_ERROR: messages.EXIT_FAILED,
}
_CONSTANT = {
    messages.PING: messages.PONG,
    messages.LOGS: messages.LOGS_NOT_SUPPORTED,
    messages.TELEMETRY: messages.TELEMETRY_NOT_SUPPORTED,
}
_METHODS = {
    messages.NEXT: "GET",
    messages.INIT_ERROR: "POST",
    messages.PING: "GET",
    messages.EXTENSION_REGISTER: "POST",
    messages.EXTENSION_NEXT: "GET",
    messages.EXTENSION_INIT_ERROR: "POST",
    messages.EXTENSION_EXIT_ERROR: "POST",
    messages.LOGS: "PUT",
    messages.TELEMETRY: "PUT",
}


def _route(path: str) -> tuple[str, str, str] | None:
    """The method that a path takes, what it asks for, and the request id in it; None where there is no such path."""
    method = _METHODS.get(path)
    if method is not None:
        return method, path, ""
    if path.startswith(messages.INVOCATION):
        request_id, slash, kind = path[len(messages.INVOCATION) :].partition("/")
        if slash + kind in (messages.RESPONSE, messages.ERROR):
            return "POST", slash + kind, request_id
    return None
