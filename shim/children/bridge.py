"""Mode `bootstrap`: a kept child that speaks the Runtime API itself. It finds it at a port of its own, served in the same poll as its pipes.

Between two invocations nobody serves it: what it sends then waits in the kernel, as all waits where Lambda freezes the environment.
"""

from __future__ import annotations

import _socket as socket  # the enums that `socket` puts around it cost a cold start 2 ms
import select
from typing import TYPE_CHECKING
from uuid import uuid4

from shim.children import sweep
from shim.children.conversation import Conversation, NoChild, tail_of
from shim.children.environment import RUNTIME_API
from shim.children.kept import Kept
from shim.children.peer import Peer
from shim.children.process import Child
from shim.errors import ExecutableNotRunnable, seconds
from shim.invocation import now
from shim.outcome import Ended, Exited, Refused, Replied, Signaled, Told, Unanswered, ending
from shim.runtime_api import events, messages
from shim.runtime_api.server import Server

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from typing import Any

    from shim.invocation import Deadline
    from shim.outcome import Outcome
    from shim.request import Posted, Request
else:
    import _signal as signal  # likewise, 0.3 ms

BACKLOG = 128
"""Connections that may wait to be accepted: between two invocations nobody does that."""
MOST_COMPLAINTS = 20
"""How many requests of one child are told of in the log, that broke the protocol."""
LONGEST_SHOWN = 200
"""Characters of each that are shown there."""
ASKS = "GET http://$AWS_LAMBDA_RUNTIME_API" + messages.NEXT
FOR_A_BOOTSTRAP = f"make it ask for one ({ASKS}); a program that does not speak the Runtime API wants another SHIM_MODE"
FOR_A_SLOW_ONE = f"{FOR_A_BOOTSTRAP}; one that takes long to begin, a higher SHIM_READY_WITHIN_MS"
GOES_ON = f"make it post a response or an error for each invocation, and then ask for the next ({ASKS}), until SIGTERM"


class Bootstrap(Kept):
    """A child that finds the Runtime API at AWS_LAMBDA_RUNTIME_API. It is ready when it first asks for an invocation."""

    ready = False
    framing: Posted  # type: ignore[assignment] # the codec makes requests for this mode
    complain: Callable[[str], None]
    """Takes what it did wrong, as the predicate of a sentence."""
    no_connection: Callable[[OSError], ExecutableNotRunnable]
    """The error for one that has so many connections that no other can be accepted."""
    _listener: socket.socket | None = None
    _request_id = ""
    _told = False
    _poster: Peer | None = None
    _knocks = False
    _complaints = 0

    def spawn(self, arguments: list[str], environment: Mapping[bytes, bytes], **how: Any) -> None:
        """As every child, with a Runtime API of its own.

        Raises:
            OSError: as every child; or there is no port left.
        """
        self._peers: dict[int, Peer] = {}
        self._server = Server(
            registration={
                key: environment.get(variable, b"").decode("utf-8", "replace")
                for key, variable in (
                    ("functionName", b"AWS_LAMBDA_FUNCTION_NAME"),
                    ("functionVersion", b"AWS_LAMBDA_FUNCTION_VERSION"),
                    ("handler", b"_HANDLER"),
                )
            },
            identify=lambda: str(uuid4()),
            limit=self.framing.limit,
            stream_limit=self.framing.limit,
        )
        self._listener = listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        address = b"127.0.0.1:%d" % listener.getsockname()[1]
        Child.spawn(self, arguments, {**environment, RUNTIME_API: address}, **how)  # it is not asked by a pipe
        self._close(self._stdin)
        self._poll.register(listener.fileno(), select.POLLIN)

    def attend(self, until: float | None) -> bool:
        """As every child. Who is new is accepted last: what the others have sent was sent before."""
        in_time = super().attend(until)
        if self._knocks and self._listener is not None:
            self._knocks = False
            self._accept(self._listener)
        return in_time

    def is_idle(self) -> bool:
        """Whether it waits for an invocation, after all that it has sent meanwhile was taken."""
        self.attend(now())
        return self.ready and self.waits and not self.gone

    @property
    def waits(self) -> bool:
        """Whether it waits for an invocation."""
        return self._server.waits

    def comes_for_one(self, linger: float, deadline: Deadline) -> None:
        """Waits until it asks for an invocation; and a little longer where only a `next` waits that was passed over at the last one.

        Nobody may hear that any more: a client that gave up a connection asks over another, but after its last answer it may not yet have done so.
        """
        while not (self.waits or self.gone) and self.attend(deadline.stop_at):
            pass
        until = deadline.before(now() + linger)
        while self.waits and not (self._server.is_sure or self.gone) and self.attend(until):
            pass

    @property
    def missing(self) -> str:
        """What it has to do so that it can get an invocation: "had not …"."""
        if self._server.laggards:
            return f"asked for the next event of its extension {self._server.laggards[0]!r} (GET {messages.EXTENSION_NEXT})"
        return f"asked for {'its next' if self.ready else 'its first'} invocation"

    @property
    def is_settled(self) -> bool:  # type: ignore[override] # of a child that is asked by a pipe it is a constant
        """Whether it waits again, as Lambda waits for that before it freezes it."""
        return self.waits

    @property
    def has_answered(self) -> bool:
        """Whether it has answered its invocation, or can't any more."""
        framing = self.framing
        return framing.complete or bool(framing.breach)

    @property
    def has_heard(self) -> bool:
        """Whether it has answered, and was told what became of that."""
        return self.has_answered and not (self._poster and self._poster.unsent)

    def expect(self, request: Request) -> None:
        """What it posts from now on is the answer to that request, which it has not got yet."""
        self.framing = request.framing  # type: ignore[assignment] # the codec makes requests for this mode
        self._told = False

    def invoke(self, request: Request) -> None:
        """Hands it the invocation for which it waits."""
        self._told = True
        self.uses += 1
        self._request_id = dict(request.headers)[messages.REQUEST_ID]
        self._server.invoke(self._request_id, request.headers, request.body)
        for peer in tuple(self._peers.values()):
            self._serve(peer)

    def forget(self) -> None:
        """Its time is over: an answer that comes now is refused, so that it is not taken for accepted."""
        self._server.forget(self._request_id)

    def hear_the_rest(self, until: float) -> None:
        """Takes what a child that has gone had sent before, and answers what somebody may still wait for."""
        self.attend(now())  # accepts who came last
        while self._peers and not self.has_heard and self.attend(until):
            pass

    def leave(self) -> None:
        """SIGTERM, as Lambda ends a runtime that has registered for it; not while it works on an invocation."""
        if not (self.gone or self.over or (self._told and not self.has_answered)):
            sweep.kill_group(self.pid, signal.SIGTERM)

    def abandon(self) -> None:
        """Closes our ends, the listening one too."""
        super().abandon()
        if self._listener is not None:
            self._listener.close()
            for peer in self._peers.values():
                peer.socket.close()
            self._peers.clear()

    def _has_read(self) -> bool:
        """Whether it may have read something of its invocation: it was handed out."""
        return self._told

    def _close(self, descriptor: int) -> None:
        """As every child, and forgets the number, which a connection may get that is accepted later."""
        super()._close(descriptor)
        if descriptor == self._stdin:
            self._stdin = -1
        elif descriptor == self._reply:
            self._reply = -1
        elif descriptor == self._stderr:
            self._stderr = -1

    def _attend_to(self, descriptor: int, event: int) -> None:
        if self._listener is not None and descriptor == self._listener.fileno():
            self._knocks = True
            return
        peer = self._peers.get(descriptor)
        if peer is None:
            return  # it was closed in the same turn
        if peer.reads:
            peer.receive()
        elif event & (select.POLLHUP | select.POLLERR):
            peer.connection.close()
        self._serve(peer)

    def _accept(self, listener: socket.socket) -> None:
        """Accepts everybody who waits, and hears what they have said already."""
        for _turn in range(BACKLOG):
            try:
                descriptor, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what `socket.accept` is made of
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue  # it has gone again
            except OSError as refusal:
                raise self.no_connection(refusal) from None
            peer = self._peers[descriptor] = Peer(descriptor, self._server.connect())
            self._poll.register(descriptor, select.POLLIN)
            peer.receive()
            self._serve(peer)

    def _serve(self, peer: Peer) -> None:
        """Sends what is to go out, and takes note of what has happened."""
        peer.send()
        happened = self._server.events
        had_answered = self.has_answered
        while happened:
            self._take_note(happened.pop(0))
        if self.has_answered and not had_answered:
            self._poster = peer
        descriptor = peer.socket.fileno()
        if peer.connection.closing and not peer.unsent:
            del self._peers[descriptor]
            self._poll.unregister(descriptor)
            peer.socket.close()
        else:
            wanted = (select.POLLIN if peer.reads else 0) | (select.POLLOUT if peer.unsent else 0)
            self._poll.register(descriptor, wanted)

    def _take_note(self, event: events.Event) -> None:
        framing = self.framing
        match event:
            case events.Piece():
                framing.feed(event.data)
            case events.Ended(post=post) if post.failed and post.kind == messages.RESPONSE:
                framing.fail(post.error_type, post.trailing_error)
            case events.Ended(post=post) if post.failed:
                framing.fail(post.error_type)
            case events.Ended():
                framing.end()
            case events.TooLarge():
                framing.refused_size = event.size
                framing.breach = f"posted {event.size} bytes"
            case events.Cut():
                framing.breach = event.how
            case events.Refused(answer=answer) if self._complaints < MOST_COMPLAINTS:
                self._complaints += 1
                shown = event.request[:LONGEST_SHOWN]
                self.complain(f"sent {shown}, which was refused with {answer.status} {answer.error_type}")
            case events.ExtensionFailed():
                self.complain(f"says that its extension {event.name} can't go on: {event.error_type}")
            case _:
                pass


class Bridge(Conversation):
    """How bootstraps are asked, one invocation at a time each.

    Once a `next` was answered, its invocation is never handed out again.
    """

    _cure_of_success = GOES_ON

    def make(self, ahead: Request) -> Kept:
        """A bootstrap that is not started yet."""
        child = self._parent.make(Bootstrap, ahead)
        child.complain = lambda sentence: self.note(sentence, None)
        child.no_connection = self._no_connection
        return child

    def ask(self, child: Bootstrap, request: Request, deadline: Deadline) -> Outcome:  # type: ignore[override] # see make
        """What the child did with the request: it has answered, or is over."""
        child.expect(request)
        if self._parent.tags_lines or not child.stderr.silent:
            child.stderr.begin(self._parent.lines_to(request), anew=child.uses > 0)
        child.asked = max(child.started, deadline.began)
        child.comes_for_one(self._parent.linger, deadline)
        if child.waits and not child.gone:
            child.invoke(request)
        elif not child.gone:
            self.note(f"had not {child.missing} when the time of this invocation was over", request)
        while not (child.has_heard or child.gone) and child.attend(deadline.stop_at):
            pass
        if child.framing.breach and not child.framing.refused_size:
            # The end of one that was killed shows first at its connections.
            child.dies_within(self._parent.linger, deadline)
        if child.gone:
            child.hear_the_rest(now() + self._parent.linger)
        if not child.has_answered or (child.gone and not child.framing.complete):
            child.forget()
            return self.end(child, request, deadline)
        if self._parent.log.descriptor is not None:
            self._parent.log.settle(self._parent.linger, deadline.give_up_at)
        return _answer(child)

    def _no_connection(self, refusal: OSError) -> ExecutableNotRunnable:
        happened = f"was stopped, since a connection that it made could not be accepted: {refusal.strerror}"
        return ExecutableNotRunnable(
            happened,
            executable=self._parent.name,
            cure="make it use few connections, and close those that it does not need",
        )

    def is_unfit(self, child: Kept, request: Request, deadline: Deadline) -> str | None:
        """Why it can't be asked again, or None."""
        child.attend(now())
        if child.gone:
            return f"{ending(self.end(child, request, deadline))} while nothing was asked of it"
        return None

    def await_ready(self, child: Bootstrap, request: Request, deadline: Deadline) -> None:  # type: ignore[override] # see make
        """Waits until it asks for its first invocation, within its own time and the invocation's.

        Raises:
            NoChild: it does not; or it has posted an init error.
        """
        until = child.started + self._ready_within
        is_last = deadline.stop_at is not None and deadline.stop_at < until
        end = deadline.stop_at if is_last else until
        while not (child.waits or child.has_answered or child.gone) and child.attend(end):
            pass
        framing = child.framing
        if child.has_answered:
            child.dies_within(self._parent.linger, deadline)  # as one does that can't begin
        if child.gone:
            child.hear_the_rest(now() + self._parent.linger)
        if child.waits and not framing.complete and not child.gone:
            child.ready = True
            return
        late = not (child.gone or child.has_answered)
        outcome = self.end(child, request, deadline)
        if framing.complete and isinstance(outcome, Told):
            raise NoChild(Refused(framing.error_type, framing.reply, outcome.duration, outcome.stderr_tail))
        if (
            (late and is_last)
            or not isinstance(outcome, Ended)
            or (not late and isinstance(outcome, (Exited, Signaled)))
        ):
            raise NoChild(outcome)
        how = f"{framing.breach or ending(outcome)} before it asked for its first invocation"
        if late:
            how = f"had not {child.missing} {seconds(self._ready_within)} (SHIM_READY_WITHIN_MS) after its start"
        raise self._not_ready(how, outcome, cure=FOR_A_SLOW_ONE if late else FOR_A_BOOTSTRAP)


def _answer(child: Bootstrap) -> Replied | Refused | Unanswered:
    """What a child that has answered did. It waits for the next invocation, or has gone."""
    framing = child.framing
    tail, duration = tail_of(child), now() - child.asked
    if framing.breach:
        size, limit = framing.refused_size, framing.limit
        return Unanswered(framing.breach, size=size, limit=limit, duration=duration, stderr_tail=tail)
    if framing.failed:
        return Refused(framing.error_type, framing.reply, duration, tail)
    return Replied(framing.reply, duration, tail)
