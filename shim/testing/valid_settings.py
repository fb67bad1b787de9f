"""Settings that are valid together: every rule of `shim.settings` holds."""

from __future__ import annotations

import shlex
import string
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from shim.errors import SettingsError
from shim.settings import LONGEST_TIME, MEBIBYTE, MODES, SETTINGS, STREAMED, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
READ_IN = {setting.name: setting.modes for setting in SETTINGS}

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_NAMES = st.text(string.ascii_uppercase + "_", min_size=1, max_size=9) | _TEXTS.filter(
    lambda name: name not in ("", "SHIM_CHILD") and "=" not in name
)
_ERROR_NAMES = st.builds(
    str.__add__,
    st.sampled_from(string.ascii_letters + "_"),
    st.text(string.ascii_letters + string.digits + "_.", max_size=20),
).filter(lambda name: not name.startswith("States."))
_CODES = st.integers(1, 255)


def _times(low: int) -> st.SearchStrategy[int]:
    return st.integers(low, LONGEST_TIME)


_VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "args": st.lists(_TEXTS, max_size=3) | st.lists(_TEXTS, max_size=3).map(shlex.join),
    "spare": st.integers(0, 100),
    "codec": st.just("line"),
    "output": st.sampled_from(["json", "text", "base64", "auto", *STREAMED]),
    "reply_fd": st.sampled_from([1, 3]),
    "framing": st.sampled_from(["line", "envelope"]),
    "context_keys": st.sampled_from(["snake", "camel"]),
    "ready": st.booleans(),
    "ready_within_ms": _times(1),
    "margin_ms": _times(1),
    "grace_ms": _times(0),
    "linger_ms": _times(0),
    "max_output_bytes": st.integers(1, 1024 * MEBIBYTE),
    "stderr_tail_bytes": st.integers(0, 32_768),
    "exit_codes": st.dictionaries(_CODES, st.just("ok") | _ERROR_NAMES, max_size=3)
    | st.dictionaries(_CODES.map(str), st.just("ok") | _ERROR_NAMES, max_size=3),
    "env": st.dictionaries(_NAMES, _TEXTS, max_size=3),
    "env_deny": st.lists(st.sampled_from(["AWS_*", "*_SECRET", "HOME"]) | _TEXTS.filter(bool), max_size=3),
    "cwd": st.sampled_from([".", "/"]) | _TEXTS.filter(bool),
    "tmp": st.sampled_from(["shared", "fresh"]),
    "metrics": st.sampled_from(["none", "emf"]),
    "max_children": st.integers(1, 1000),
    "max_uses": st.none() | st.integers(1, 1_000_000_000),
    "max_age_ms": st.none() | st.integers(1, 1_000_000_000),
    "max_rss_bytes": st.none() | st.integers(MEBIBYTE, 1024 * 1024 * MEBIBYTE),
}
"""Each setting by itself, but for `executable` and `mode`."""


def settings(*, mode: str | None = None, **fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Keywords that `Settings`, `Shim` and `shim.testing.emulator` take together, but for `executable`. It shrinks to {}.

    They are a dictionary and no `Settings`, since what was chosen tells more than what it and the defaults lead to: it can be taken further,
    spelled as variables (SHIM_MODE) or as a shim.toml, and shrinks to the few that matter.

    Args:
        mode: "oneshot", "warm" or "bootstrap"; None: any that the others allow.
        fixed: settings that each draw has.

    Raises:
        SettingsError: these contradict each other.
    """
    if mode is not None:
        fixed["mode"] = mode
    modes = [fixed["mode"]] if "mode" in fixed else [choice for choice in MODES if _is_valid({**fixed, "mode": choice})]
    if not modes or "mode" in fixed:
        Settings("program", **_completed(fixed))
    return _drawn(modes, fixed)


@st.composite
def _drawn(draw: st.DrawFn, modes: list[str], fixed: dict[str, Any]) -> dict[str, Any]:
    mode, is_said = draw(st.sampled_from(modes)), draw(st.booleans())
    drawn: dict[str, Any] = {"mode": mode} if is_said or mode != "oneshot" else {}
    drawn |= fixed
    # The same are drawn whatever the mode is, so that Hypothesis can alter the mode alone.
    for name, value in draw(st.fixed_dictionaries({}, optional=_VALUES)).items():
        if name not in fixed and mode in READ_IN[name]:
            drawn[name] = value
    _agree(draw, mode, drawn, fixed)
    return drawn


def _agree(draw: st.DrawFn, mode: str, drawn: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Alters what was drawn where it contradicts itself."""
    if mode != "oneshot" and drawn.get("output") in STREAMED:
        del drawn["output"]
    if mode == "bootstrap":
        drawn.get("env", {}).pop("AWS_LAMBDA_RUNTIME_API", None)
    if drawn.get("framing") == "envelope" and drawn.get("output", "json") != "json":
        if "output" not in fixed:
            del drawn["output"]
        else:
            drawn["framing"] = "line"
    if "max_age_ms" in drawn and mode == "oneshot" and not drawn.get("spare"):
        if "max_age_ms" not in fixed:
            del drawn["max_age_ms"]
        else:
            drawn["spare"] = draw(st.integers(1, 100))
    margin, grace = drawn.get("margin_ms", DEFAULTS["margin_ms"]), drawn.get("grace_ms", DEFAULTS["grace_ms"])
    if grace >= margin:
        if "grace_ms" not in fixed:
            drawn["grace_ms"] = draw(st.integers(0, margin - 1))
        else:
            drawn["margin_ms"] = draw(st.integers(grace + 1, LONGEST_TIME))


def _completed(fixed: dict[str, Any]) -> dict[str, Any]:
    """These, and what else must be set for them to be valid, wherever that is possible."""
    whole = dict(fixed)
    if "max_age_ms" in whole and whole.get("mode", "oneshot") == "oneshot":
        whole.setdefault("spare", 1)
    margin, grace = whole.get("margin_ms"), whole.get("grace_ms")
    if grace is None and type(margin) is int and margin <= DEFAULTS["grace_ms"]:  # type: ignore[operator]
        whole["grace_ms"] = 0
    if margin is None and type(grace) is int and grace >= DEFAULTS["margin_ms"]:  # type: ignore[operator]
        whole["margin_ms"] = LONGEST_TIME
    return whole


def _is_valid(fixed: dict[str, Any]) -> bool:
    try:
        Settings("program", **_completed(fixed))
    except SettingsError:
        return False
    return True
