"""The Extensions API, as far as runtimes use it: one that registers as an extension of its own process gets SIGTERM before the end.

Such internal extensions are told of INVOKE, where they ask for it, and never of SHUTDOWN (AWS's developer guide, "Using the Lambda Extensions
API"; RIE core/internalagent.go).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from shim.runtime_api import messages
from shim.runtime_api.events import ExtensionFailed, Registered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shim.runtime_api.connection import Connection
    from shim.runtime_api.events import Event
    from shim.runtime_api.messages import Answer

LONGEST_BODY = 64 * 1024
"""Bytes of what an extension says of itself."""
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Extension:
    """One that has registered: its name, the events that it asked for, its call while that waits, and an event that came while it did not."""

    __slots__ = ("call", "hears", "missed", "name")

    def __init__(self, name: str, hears: tuple[str, ...]) -> None:
        self.name = name
        self.hears = hears
        self.call: EventCall | None = None
        self.missed: bytes | None = None


class Extensions:
    """The extensions of one execution environment.

    Args:
        registration: what each is told when it registers: `functionName`, `functionVersion`, `handler`, and `accountId` where it asks for that.
        identify: makes a UUID.
        tell: takes what happens.
    """

    def __init__(
        self, registration: Mapping[str, str], identify: Callable[[], str], tell: Callable[[Event], None]
    ) -> None:
        self.are_complete = False
        """Whether the init is over, and no other may register."""
        self.identify = identify
        self._registration = registration
        self._tell = tell
        self._known: dict[str, Extension] = {}

    def register(self, name: str, body: bytes, features: str) -> Answer:
        """Registers one that sends that body, or refuses it."""
        if not name:
            return messages.NAME_MISSING
        try:
            events = orjson.loads(body).get("events") or []
        except (ValueError, AttributeError):
            return messages.REGISTRATION_INVALID
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            return messages.REGISTRATION_INVALID
        for event in events:
            if event != messages.INVOKE:
                return messages.event_invalid(event)
        if self.are_complete:
            return messages.REGISTRATION_CLOSED
        if any(extension.name == name for extension in self._known.values()):
            return messages.NAME_TAKEN
        if len(self._known) >= messages.MOST_EXTENSIONS:
            return messages.TOO_MANY_EXTENSIONS
        identifier = self.identify()
        extension = self._known[identifier] = Extension(name, tuple(dict.fromkeys(events)))
        self._tell(Registered(name, extension.hears))
        asked = {feature.strip() for feature in features.split(",")}
        told = {key: value for key, value in self._registration.items() if key != messages.ACCOUNT_ID or key in asked}
        return messages.Answer(200, orjson.dumps(told) + b"\n", headers=((messages.EXTENSION_IDENTIFIER, identifier),))

    def fail(self, extension: Extension, error_type: str) -> Answer:
        """One says that it can't go on."""
        if not error_type:
            return messages.ERROR_TYPE_MISSING
        self._tell(ExtensionFailed(extension.name, error_type))
        return messages.ACCEPTED

    def find(self, headers: Mapping[str, str]) -> Extension | Answer:
        """Whose request it is, or the answer to it, if nobody's."""
        identifier = headers.get(messages.EXTENSION_IDENTIFIER.lower(), "")
        if not identifier:
            return messages.IDENTIFIER_MISSING
        if not UUID.fullmatch(identifier):
            return messages.IDENTIFIER_INVALID
        return self._known.get(identifier.lower()) or messages.identifier_unknown(identifier)

    def invoke(self, headers: Mapping[str, str]) -> list[Connection]:
        """Tells those that asked for it of an invocation with these headers. Returns the connections over which something goes out."""
        event: dict[str, object] = {
            "eventType": messages.INVOKE,
            "deadlineMs": int(headers.get(messages.DEADLINE_MS, 0)),
            "requestId": headers.get(messages.REQUEST_ID, ""),
            "invokedFunctionArn": headers.get(messages.FUNCTION_ARN, ""),
        }
        if messages.TRACE_ID in headers:
            event["tracing"] = {"type": "X-Amzn-Trace-Id", "value": headers[messages.TRACE_ID]}
        told = []
        for extension in self._known.values():
            if messages.INVOKE in extension.hears:
                extension.missed = orjson.dumps(event)
                call = extension.call
                if call is not None:
                    extension.call = None
                    told.append(call.connection)
                    call.connection.answer(call.event(extension))
        return told


class RegisterCall:
    """A process of the environment registers as an extension."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, headers: Mapping[str, str]) -> None:
        self._extensions = extensions
        self._headers = headers
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of its body, if that is not too long to be JSON of an extension."""
        if len(self._body) <= LONGEST_BODY:
            self._body += data

    def finish(self, _: Mapping[str, str]) -> Answer:
        """It is registered, or refused."""
        name = self._headers.get(messages.EXTENSION_NAME.lower(), "")
        features = self._headers.get(messages.EXTENSION_FEATURES.lower(), "")
        body = self._body if len(self._body) <= LONGEST_BODY else b""
        return self._extensions.register(name, bytes(body), features)

    def cut(self) -> None:
        """It is not registered."""


class EventCall:
    """An extension waits for its next event."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, connection: Connection, headers: Mapping[str, str]) -> None:
        self.connection = connection
        self._extensions = extensions
        self._found = extensions.find(headers)

    def feed(self, data: bytes) -> None:
        """Throws it away: there is nothing to say in it."""

    def finish(self, _: Mapping[str, str]) -> Answer | None:
        """It waits, unless there is an event already."""
        extension = self._found
        if not isinstance(extension, Extension):
            return extension
        if extension.missed is not None:
            return self.event(extension)
        extension.call = self
        return None

    def event(self, extension: Extension) -> Answer:
        """The answer that is the event."""
        body, extension.missed = extension.missed or b"", None
        return messages.Answer(200, body, headers=((messages.EXTENSION_EVENT_IDENTIFIER, self._extensions.identify()),))

    def cut(self) -> None:
        """It waits no more."""
        if isinstance(self._found, Extension) and self._found.call is self:
            self._found.call = None


class ReportCall:
    """An extension says that it can't go on."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, headers: Mapping[str, str]) -> None:
        self._extensions = extensions
        self._headers = headers

    def feed(self, data: bytes) -> None:
        """Throws it away: its type says enough."""

    def finish(self, _: Mapping[str, str]) -> Answer:
        """It is taken note of, or refused."""
        found = self._extensions.find(self._headers)
        if not isinstance(found, Extension):
            return found
        return self._extensions.fail(found, self._headers.get(messages.EXTENSION_ERROR_TYPE.lower(), ""))

    def cut(self) -> None:
        """It said nothing."""
