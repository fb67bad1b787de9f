"""The loop of our own runtime: the next invocation, the Shim, the answer. What comes is handed on as bytes, and so is what goes."""

from __future__ import annotations

from shim.children.sweep import on_lambda
from shim.errors import RuntimeApiError
from shim.invocation import Invocation
from shim.runtime.context import Context
from shim.runtime.failure import Failure
from shim.runtime_api import messages
from shim.settings import STREAMED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from shim.adapter import Shim
    from shim.logs import Log
    from shim.runtime.client import Call, Client

CONTENT_TYPES = dict(zip(STREAMED, (messages.BYTES, messages.HTTP_INTEGRATION), strict=True))
_TRACE_ID = messages.TRACE_ID.lower()


class Loop:
    """Serves a Shim, one invocation after the other.

    Args:
        client: where invocations come from.
        shim: what answers them.
        log: the function's.
    """

    def __init__(self, client: Client, shim: Shim, log: Log) -> None:
        self._client = client
        self._shim = shim
        self._log = log
        self._margin, self._grace = shim.settings.margin_ms / 1000, shim.settings.grace_ms / 1000
        self._content_type = CONTENT_TYPES.get(shim.settings.output)
        self._is_checked = on_lambda()
        """Whether every event is JSON: Lambda's own front door refuses what is not."""

    def run(self) -> NoReturn:
        """Serves for ever.

        Raises:
            RuntimeApiError: it can't go on.
        """
        while True:
            self._serve(self._client.next())
            self._shim.prepare()

    def _serve(self, call: Call) -> None:
        """One invocation, from the event to the answer's end."""
        stream = self._client.stream(call, self._content_type) if self._content_type else None
        failure = None
        answer = b""
        until = 0.0
        try:
            invocation = Invocation(
                call.event,
                Context(call.headers),
                trace_id=call.headers.get(_TRACE_ID),
                is_valid=self._is_checked,
            )
            if stream is not None:
                until = invocation.deadline(self._margin, self._grace).give_up_at
            answer = self._shim.run(invocation, stream)
        except RuntimeApiError as broken:
            self._note(call, f"{broken}: {self._client.verdict() or 'it was content with less'}")
            return
        except Exception as error:
            failure = Failure(error, call.request_id)
            self._log.tell_failure(failure.error_type, failure.message, failure.stack_trace, call.request_id)
        if stream is not None and (stream.has_begun or failure is None):
            self._note(call, self._client.end(stream, answer, failure, until))
        elif failure is not None:
            self._note(call, self._client.fail(call, failure))
        else:
            self._note(call, self._client.respond(call, answer))

    def _note(self, call: Call, refusal: str | None) -> None:
        """Says in the log that an answer was refused: the next invocation is another one's."""
        if refusal is not None:
            self._log.note(refusal, request_id=call.request_id)
