"""The context of a test's invocation: Lambda's, with a deadline that can be set and moved."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from shim.local import context as local
from shim.local.context import DEFAULT_NAME, REGION, CognitoIdentity

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TIMEOUT = 366 * 24 * 60 * 60
"""Seconds. Lambda's own longest is 900, and a debugger may take longer."""
LATEST_DEADLINE = 2**53
"""Milliseconds since 1970, in the year 287396: later ones are no exact number in JavaScript."""
CLIENT_MEMBERS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
CONTEXT_MEMBERS = ("client", "custom", "env")


class LambdaContext(local.LambdaContext):
    """Lambda's context object, with all that awslambdaric's has, and a deadline `timeout` seconds from now that can be set and moved.

    An invocation that runs keeps the deadline with which it began.

    Args:
        timeout: seconds, from 0 on; Lambda's own default is 3.
        ticks: whether its clock runs. If not, the same time is left whenever it is asked, until the deadline is moved.
        memory: the function's, in MB. The attribute is a text, as in Lambda.
        name: the function's.
        request_id: a new UUID where none is given.
        region: where the function is said to be.
        log_group_name: what follows from the name, where none is given.
        log_stream_name: a new one, where none is given.
        tenant_id: as the caller gave it.
        client_context: as the caller gave it, in the names of its JSON: `{"client": {"app_title": …}, "custom": {…}, "env": {…}}`, each of which
            may lack; or an object with these attributes.
        identity_id: of the Cognito user who called.
        identity_pool_id: of the pool that knows him.

    Raises:
        ValueError: one of them makes no sense.
    """

    def __init__(  # noqa: PLR0913 - each is a fact that a test may want to choose
        self,
        *,
        timeout: float = 3.0,
        ticks: bool = True,
        memory: int = 128,
        name: str = DEFAULT_NAME,
        request_id: str | None = None,
        region: str = REGION,
        log_group_name: str | None = None,
        log_stream_name: str | None = None,
        tenant_id: str | None = None,
        client_context: Mapping[str, Any] | Any = None,
        identity_id: str | None = None,
        identity_pool_id: str | None = None,
    ) -> None:
        if not _is_number(timeout) or not 0 <= timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"timeout must be seconds from 0 to {LONGEST_TIMEOUT}, a year, not {timeout!r}")
        if type(memory) is not int or memory < 1:
            raise ValueError(f"memory must be a whole number of MB from 1 on, not {memory!r}")
        given = {"request_id": request_id, "log_group_name": log_group_name, "log_stream_name": log_stream_name}
        for what, text in {"name": name, "region": region, **given}.items():
            if not (isinstance(text, str) and text) and not (text is None and what in given):
                raise ValueError(f"{what} must be a text that is not empty, not {text!r}")
        super().__init__(
            timeout=timeout,
            memory=memory,
            name=name,
            request_id=request_id,
            region=region,
            log_group_name=log_group_name,
            log_stream_name=log_stream_name,
            tenant_id=tenant_id,
            client_context=_client_context(client_context),
            identity=CognitoIdentity(identity_id, identity_pool_id),
        )
        self._stopped_at = None if ticks else self._epoch_deadline_time_in_ms - int(timeout * 1000)

    @property
    def deadline_ms(self) -> int:
        """The instant at which Lambda would end the invocation, in milliseconds since 1970, as the executable is told it. It can be set.

        Raises:
            ValueError: what it is set to is no such instant.
        """
        return self._epoch_deadline_time_in_ms

    @deadline_ms.setter
    def deadline_ms(self, instant: int) -> None:
        if type(instant) is not int or not 0 <= instant <= LATEST_DEADLINE:
            raise ValueError(
                f"deadline_ms must be a whole number of milliseconds since 1970, 0 to 2**53, not {instant!r}"
            )
        self._epoch_deadline_time_in_ms = instant

    def move_deadline(self, seconds: float) -> None:
        """Moves the deadline by so many seconds: away, or nearer where they are less than 0.

        Raises:
            ValueError: that is no number of seconds, or leads to no instant.
        """
        if not _is_number(seconds) or abs(seconds) > LONGEST_TIMEOUT:
            raise ValueError(
                f"the deadline can be moved by up to {LONGEST_TIMEOUT} seconds, a year, not by {seconds!r}"
            )
        self.deadline_ms += round(seconds * 1000)

    def expire(self) -> None:
        """Moves the deadline to this instant: no time is left."""
        self.deadline_ms = self._now_ms()

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, not less than 0."""
        return max(0, self._epoch_deadline_time_in_ms - self._now_ms())

    def _now_ms(self) -> int:
        return int(time.time() * 1000) if self._stopped_at is None else self._stopped_at


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _client_context(given: Any) -> Any:
    """An object with the three attributes that awslambdaric's has.

    Raises:
        ValueError: it has a member that Lambda's has not.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        lacking = [name for name in CONTEXT_MEMBERS if not hasattr(given, name)]
        if lacking:
            raise ValueError(
                f"client_context must be a dict, or an object with {_listed(CONTEXT_MEMBERS)}; {given!r} lacks {lacking[0]}"
            )
        return given
    client = given.get("client")
    for what, members, known in (
        ("client_context", given, CONTEXT_MEMBERS),
        ('"client" of client_context', client or {}, CLIENT_MEMBERS),
    ):
        if not isinstance(members, dict) or not members.keys() <= set(known):
            raise ValueError(f"{what} must be a dict with nothing but {_listed(known)}, not {members!r}")
    return SimpleNamespace(
        client=None if client is None else SimpleNamespace(**dict.fromkeys(CLIENT_MEMBERS) | client),
        custom=given.get("custom"),
        env=given.get("env"),
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
