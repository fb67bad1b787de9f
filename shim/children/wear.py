"""When a healthy child has served enough."""

from __future__ import annotations

from shim.errors import seconds
from shim.invocation import FOREVER, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.children.process import Child
    from shim.settings import Settings


class Wear:
    """The limits of one Shim's children: `max_uses`, `max_age_ms` and `max_rss_bytes`."""

    __slots__ = ("_max_age", "_max_rss", "_max_uses", "is_limited")

    def __init__(self, settings: Settings) -> None:
        self.is_limited = (settings.max_uses, settings.max_age_ms, settings.max_rss_bytes) != (None, None, None)
        self._max_uses = settings.max_uses or FOREVER
        self._max_age = settings.max_age_ms / 1000 if settings.max_age_ms else FOREVER
        self._max_rss = settings.max_rss_bytes
        if self._max_rss is not None:
            import psutil  # noqa: F401, PLC0415 - it takes long to load, which is better done at init

    def is_reached(self, child: Child, uses: int = 0) -> bool:
        """Whether it must not be asked again; its memory is looked at in `why` only, since that takes longer."""
        return uses >= self._max_uses or now() - child.started >= self._max_age

    def why(self, child: Child, uses: int = 0) -> str | None:
        """Why it is to be replaced, as the predicate of a sentence, or None."""
        if uses >= self._max_uses:
            return f"has served max_uses={uses}"
        age = now() - child.started
        if age >= self._max_age:
            return f"is {seconds(age)} old (max_age_ms)"
        if self._max_rss is not None:
            from shim.children.memory import tree_rss  # noqa: PLC0415 - only where it is asked for

            rss = tree_rss(child.pid)
            if rss > self._max_rss:
                return f"takes {rss} bytes of memory with its descendants, more than {self._max_rss} (max_rss_bytes)"
        return None
