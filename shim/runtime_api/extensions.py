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
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Extension:
    """One that has registered: by what it is known, the events that it asked for, what it does, and what it does not know yet."""

    __slots__ = ("call", "hears", "identifier", "missed", "name", "state")

    def __init__(self, name: str, identifier: str, hears: tuple[str, ...]) -> None:
        self.name = name
        self.identifier = identifier
        self.hears = hears
        self.state = messages.REGISTERED
        self.call: EventCall | None = None
        """Its call for the next event, while that waits."""
        self.missed: bytes | None = None
        """The last event that came while it did not wait."""


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
        """Registers one that sends that body, or refuses it. The checks are in the order of Lambda's own (RIE rapi/handler/agentregister.go)."""
        if not name:
            return messages.NAME_MISSING
        events = _events(body)
        if isinstance(events, messages.Answer):
            return events
        for event in events:
            if event != messages.INVOKE:
                return messages.event_invalid(event)
        if self.are_complete:
            return messages.REGISTRATION_CLOSED
        if len(self._known) >= messages.MOST_EXTENSIONS:
            return messages.TOO_MANY_EXTENSIONS
        if any(extension.name == name for extension in self._known.values()):
            return messages.NAME_TAKEN
        identifier = self.identify()
        extension = self._known[identifier] = Extension(name, identifier, tuple(dict.fromkeys(events)))
        self._tell(Registered(name, extension.hears))
        asked = {feature.strip() for feature in features.split(",")}
        told = {key: value for key, value in self._registration.items() if key != messages.ACCOUNT_ID or key in asked}
        return messages.Answer(200, orjson.dumps(told) + b"\n", headers=((messages.EXTENSION_IDENTIFIER, identifier),))

    def wait(self, headers: Mapping[str, str], call: EventCall) -> Answer | None:
        """One waits for its next event; the answer where there is one, or it may not wait."""
        identifier = _identifier(headers)
        if isinstance(identifier, messages.Answer):
            return identifier
        extension = self._known.get(identifier)
        if extension is None:
            return messages.identifier_unknown(identifier)
        if extension.state not in (messages.REGISTERED, messages.RUNNING):
            return messages.bad_extension_transition(extension.state, messages.READY, identifier)
        extension.state = messages.READY
        extension.call = call
        return None if extension.missed is None else self._event(extension)

    def laggards(self) -> list[str]:
        """The names of those that do not wait for their next event."""
        return [extension.name for extension in self._known.values() if extension.state != messages.READY]

    def give_up(self, call: EventCall) -> None:
        """Who waited for an event has gone."""
        for extension in self._known.values():
            if extension.call is call:
                extension.call = None
                if extension.state == messages.READY:
                    extension.state = messages.RUNNING

    def fail(self, headers: Mapping[str, str], wanted: str) -> Answer:
        """One says that it can't begin (`messages.INIT_FAILED`) or go on (`EXIT_FAILED`)."""
        identifier = _identifier(headers)
        if isinstance(identifier, messages.Answer):
            return identifier
        error_type = headers.get(messages.EXTENSION_ERROR_TYPE.lower(), "")
        if not error_type:
            return messages.ERROR_TYPE_MISSING
        extension = self._known.get(identifier)
        if extension is None:
            return messages.REPORTER_UNKNOWN
        allowed = {messages.REGISTERED, wanted}
        if wanted == messages.EXIT_FAILED:
            allowed |= {messages.READY, messages.RUNNING}
        if extension.state not in allowed:
            shown = messages.EXITED if wanted == messages.EXIT_FAILED else wanted
            return messages.bad_extension_transition(extension.state, shown, identifier)
        extension.state = wanted
        self._tell(ExtensionFailed(extension.name, error_type))
        return messages.ACCEPTED

    def invoke(self, headers: Mapping[str, str]) -> None:
        """Tells those that asked for it of an invocation with these headers."""
        event: dict[str, object] = {
            "eventType": messages.INVOKE,
            "deadlineMs": int(headers.get(messages.DEADLINE_MS, 0)),
            "requestId": headers.get(messages.REQUEST_ID, ""),
            "invokedFunctionArn": headers.get(messages.FUNCTION_ARN, ""),
        }
        if headers.get(messages.TRACE_ID):
            event["tracing"] = {"type": "X-Amzn-Trace-Id", "value": headers[messages.TRACE_ID]}
        for extension in tuple(self._known.values()):
            if messages.INVOKE in extension.hears:
                extension.missed = orjson.dumps(event)
                if extension.call is not None and extension.state == messages.READY:
                    extension.call.connection.answer(self._event(extension))

    def _event(self, extension: Extension) -> Answer:
        """The answer that is the event which it does not know yet."""
        body, extension.missed = extension.missed or b"", None
        extension.call = None
        extension.state = messages.RUNNING
        return messages.Answer(200, body, headers=((messages.EXTENSION_EVENT_IDENTIFIER, self.identify()),))


class RegisterCall:
    """A process of the environment registers as an extension."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, headers: Mapping[str, str]) -> None:
        self._extensions = extensions
        self._headers = headers
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of its body, if that is not too long to be an extension's."""
        if len(self._body) <= LONGEST_BODY:
            self._body += data

    def finish(self, _: Mapping[str, str]) -> Answer:
        """It is registered, or refused."""
        name = self._headers.get(messages.EXTENSION_NAME.lower(), "")
        features = self._headers.get(messages.EXTENSION_FEATURES.lower(), "")
        body = bytes(self._body) if len(self._body) <= LONGEST_BODY else b""
        return self._extensions.register(name, body, features)

    def cut(self) -> None:
        """It is not registered."""


class EventCall:
    """An extension waits for its next event."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, connection: Connection, headers: Mapping[str, str]) -> None:
        self.connection = connection
        self._extensions = extensions
        self._headers = headers

    def feed(self, data: bytes) -> None:
        """Throws it away: there is nothing to say in it."""

    def finish(self, _: Mapping[str, str]) -> Answer | None:
        """It waits, unless there is an event already."""
        return self._extensions.wait(self._headers, self)

    def cut(self) -> None:
        """It waits no more."""
        self._extensions.give_up(self)


class ReportCall:
    """An extension says that it can't begin, or go on."""

    answer: Answer | None = None

    def __init__(self, extensions: Extensions, headers: Mapping[str, str], wanted: str) -> None:
        self._extensions = extensions
        self._headers = headers
        self._wanted = wanted

    def feed(self, data: bytes) -> None:
        """Throws it away: its type says enough."""

    def finish(self, _: Mapping[str, str]) -> Answer:
        """It is taken note of, or refused."""
        return self._extensions.fail(self._headers, self._wanted)

    def cut(self) -> None:
        """It said nothing."""


def _identifier(headers: Mapping[str, str]) -> str | Answer:
    """By what an extension says that it is known, or the answer to it, if it says nothing of the kind."""
    identifier = headers.get(messages.EXTENSION_IDENTIFIER.lower(), "").lower()
    if not identifier:
        return messages.IDENTIFIER_MISSING
    return identifier if UUID.fullmatch(identifier) else messages.IDENTIFIER_INVALID


def _events(body: bytes) -> list[str] | Answer:
    """The events that an extension asks for, or the answer to what is no registration."""
    try:
        registration = orjson.loads(body)
        if registration is None:
            return []
        events, keys = registration.get("events") or [], registration.get("configurationKeys")
    except (ValueError, AttributeError):
        return messages.REGISTRATION_INVALID
    if keys:
        return messages.CONFIGURATION_DEPRECATED
    events = ["" if event is None else event for event in events] if isinstance(events, list) else events
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        return messages.REGISTRATION_INVALID
    return events
