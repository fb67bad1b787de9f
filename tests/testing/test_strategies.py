from __future__ import annotations

import json
import math
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings as examples, strategies as st

import shim
from shim.codecs.line import encoded_size, line
from shim.settings import NAMES, SETTINGS, Settings
from shim.testing import FakeExecutable, LambdaContext, behaviours as doing, strategies

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = examples(
    max_examples=1000, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck)
)
FEW = examples(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def first(drawn: st.SearchStrategy[Any], condition: Callable[[Any], Any] = lambda _: True) -> Any:
    """The smallest that is so."""
    return find(drawn, condition, settings=MANY, random=random.Random(5))  # noqa: S311 - the same at every run


def several(drawn: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many, the same at every run."""
    found: list[Any] = []

    @examples(max_examples=count, database=None, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(drawn)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def scalars(value: Any) -> list[Any]:
    """All scalars in it, and all keys."""
    if isinstance(value, dict):
        return [*value, *(found for member in value.values() for found in scalars(member))]
    if isinstance(value, list):
        return [found for item in value for found in scalars(item)]
    return [value]


def texts(value: Any) -> str:
    return "".join(found for found in scalars(value) if isinstance(found, str))


def depth(value: Any) -> int:
    levels = 0
    while value and isinstance(value, (list, dict)):
        value = value[0] if isinstance(value, list) else next(iter(value.values()))
        levels += 1
    return levels


def keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for member in value.values() for key in keys(member))]
    return [key for item in value for key in keys(item)] if isinstance(value, list) else []


@FEW
@given(strategies.json_values())
def test_a_json_value_is_what_json_makes_of_it(value: object) -> None:
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert json.loads(line(value, {}))["event"] == value


def test_two_halves_that_make_up_a_character_are_that_character() -> None:
    """JSON can't tell them apart."""
    assert strategies._joined("\ud83d\ude00\ude00\ud83d") == "😀\ude00\ud83d"  # noqa: SLF001 - it is drawn too seldom


@FEW
@given(strategies.json_values(sendable=True))
def test_a_sendable_value_is_utf_8_and_a_result(value: object) -> None:
    sent = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

    assert json.loads(sent) == value
    assert encoded_size(value, escapes=False) == len(sent)


CORNERS: dict[str, Callable[[Any], Any]] = {
    "half a character": lambda value: any("\ud800" <= character <= "\udfff" for character in texts(value)),
    "NUL": lambda value: "\0" in texts(value),
    "DEL": lambda value: "\x7f" in texts(value),
    "line separators": lambda value: "\u2028\u2029" in texts(value),
    "an integer beyond 64 bits": lambda value: any(type(one) is int and one >= 2**64 for one in scalars(value)),
    "thousands of digits": lambda value: any(type(one) is int and abs(one) >= 10**4000 for one in scalars(value)),
    "all digits that Python takes": lambda value: 10**4299 in scalars(value),
    "-0.0": lambda value: any(type(one) is float and math.copysign(1, one) < 0 and not one for one in scalars(value)),
    "the smallest float": lambda value: 5e-324 in scalars(value),
    "a float near the largest": lambda value: any(type(one) is float and one >= 1e308 for one in scalars(value)),
    "hundreds of levels": lambda value: depth(value) >= 250,
    "an empty key": lambda value: "" in keys(value),
    "the key id": lambda value: "id" in keys(value),
    "the key event": lambda value: "event" in keys(value),
    "the key context": lambda value: "context" in keys(value),
    "the key errorType": lambda value: "errorType" in keys(value),
    "a text of 4,096": lambda value: any(isinstance(one, str) and len(one) == 4096 for one in scalars(value)),
    "a text of 65,537": lambda value: any(isinstance(one, str) and len(one) == 65_537 for one in scalars(value)),
    "one value many times": lambda value: isinstance(value, list) and len(value) > 20 and value[0] is value[-1],
}


@pytest.fixture(scope="module")
def met() -> set[str]:
    """The corners that were met in 2,000 draws."""
    found: set[str] = set()
    for value in several(strategies.json_values(), 2000):
        found.update(name for name, is_so in CORNERS.items() if name not in found and is_so(value))
    return found


@pytest.mark.parametrize("corner", CORNERS)
def test_json_values_have_this_corner(corner: str, met: set[str]) -> None:
    assert corner in met


@pytest.mark.parametrize(
    ("condition", "smallest"),
    [
        (lambda _: True, None),
        (lambda value: value is not None, False),
        (lambda value: type(value) is int, 0),
        (lambda value: type(value) is float, 0.0),
        (lambda value: isinstance(value, str), ""),
        (lambda value: isinstance(value, list), []),
        (lambda value: isinstance(value, dict), {}),
        (lambda value: isinstance(value, list) and value, [None]),
        (lambda value: isinstance(value, dict) and value, {"": None}),
        (lambda value: type(value) is int and value > 100, 101),
    ],
)
def test_json_values_shrink_to_the_simple(condition: Callable[[Any], Any], smallest: object) -> None:
    found = first(strategies.json_values(), condition)

    assert type(found) is type(smallest)
    assert found == smallest


def test_a_deep_value_shrinks_to_the_least_depth() -> None:
    assert depth(first(strategies.json_values(), lambda value: depth(value) > 100)) == 101


@FEW
@given(strategies.json_values(max_leaves=1))
def test_few_leaves_are_few(value: Any) -> None:
    assert not isinstance(value, dict) or len(value) <= 1


@FEW
@given(strategies.contexts())
def test_a_context_is_one_of_lambda(context: LambdaContext) -> None:
    told = shim.Invocation(None, context).describe(camel=False, count=1)

    assert 59_000 <= context.get_remaining_time_in_millis() <= 900_000
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", told["function_name"])
    assert 128 <= int(told["memory_limit_in_mb"]) <= 10_240
    assert told["tenant_id"] is None or re.fullmatch(r"[A-Za-z0-9._:/=+@ -]{1,256}", told["tenant_id"])
    assert json.loads(line({}, told))["context"] == told


def test_a_context_shrinks_to_the_defaults() -> None:
    told = shim.Invocation(None, first(strategies.contexts(timeout=5))).describe(camel=False, count=1)

    assert told["aws_request_id"] == "00000000-0000-4000-8000-000000000000"
    assert (told["function_name"], told["memory_limit_in_mb"]) == ("function", "128")
    assert (told["client_context"], told["identity"], told["tenant_id"]) == (None, None, None)


def test_a_context_may_have_what_few_have() -> None:
    told = [shim.Invocation(None, made).describe(camel=False, count=1) for made in several(strategies.contexts(), 50)]

    for name in ("client_context", "identity", "tenant_id"):
        assert {one[name] is None for one in told} == {True, False}


@given(strategies.contexts(timeout=2.5))
@FEW
def test_the_time_of_a_context_can_be_said(context: LambdaContext) -> None:
    assert 1_500 <= context.get_remaining_time_in_millis() <= 2_500


@examples(max_examples=200)
@given(strategies.settings())
def test_drawn_settings_are_valid_however_they_are_given(drawn: dict[str, Any]) -> None:
    made = Settings("program", **drawn)
    variables = {
        f"SHIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in drawn.items()
        if value is not None
    }

    assert Settings.from_environment(variables | {"SHIM_EXECUTABLE": "program"}, folder="/nowhere") == made


FIXED: list[dict[str, Any]] = [
    {"mode": "warm", "framing": "envelope"},
    {"mode": "warm", "output": "text"},
    {"mode": "bootstrap", "env": {"A": "b"}},
    {"output": "stream"},
    {"max_age_ms": 5},
    {"max_age_ms": None, "mode": "oneshot"},
    {"grace_ms": 600},
    {"margin_ms": 1},
    {"margin_ms": 200, "spare": 2},
    {"ready": True},
    {"max_children": 2, "context_keys": "camel"},
]


@pytest.mark.parametrize("fixed", FIXED)
def test_what_is_fixed_stays_and_all_is_valid(fixed: dict[str, Any]) -> None:
    @FEW
    @given(strategies.settings(**fixed))
    def hold(drawn: dict[str, Any]) -> None:
        Settings("program", **drawn)

        assert drawn | fixed == drawn

    hold()


@pytest.mark.parametrize(
    "fixed",
    [
        {"mode": "hot"},
        {"mode": "warm", "output": "http"},
        {"mode": "warm", "framing": "envelope", "output": "text"},
        {"mode": "oneshot", "ready": True},
        {"spare": 1, "ready": True},
        {"spare": 0, "max_age_ms": 1},
        {"grace_ms": 9, "margin_ms": 9},
        {"grace_ms": 900_000},
        {"colour": "red"},
    ],
)
def test_what_can_never_be_valid_is_a_mistake_at_once(fixed: dict[str, Any]) -> None:
    with pytest.raises(shim.SettingsError):
        strategies.settings(**fixed)


CHOICES: dict[str, list[Any]] = {
    "mode": ["oneshot", "warm", "bootstrap"],
    "codec": ["line"],
    "output": ["json", "text", "base64", "auto", "stream", "http"],
    "reply_fd": [1, 3],
    "framing": ["line", "envelope"],
    "context_keys": ["snake", "camel"],
    "ready": [False, True],
    "tmp": ["shared", "fresh"],
    "metrics": ["none", "emf"],
}


def test_every_setting_and_every_choice_is_drawn_in_every_mode_that_reads_it() -> None:
    drawn = several(strategies.settings(), 700)
    seen = {(name, value) for one in drawn for name, value in one.items() if name in CHOICES}
    modes = {(name, one.get("mode", "oneshot")) for one in drawn for name in one}

    assert {name for name, _ in modes} == set(NAMES) - {"executable"}
    assert modes - {("mode", mode) for mode in CHOICES["mode"]} == {
        (setting.name, mode)
        for setting in SETTINGS
        for mode in setting.modes
        if setting.name not in ("executable", "mode")
    }
    assert seen == {(name, value) for name, values in CHOICES.items() for value in values}


def test_settings_shrink_to_few() -> None:
    assert first(strategies.settings()) == {}
    assert first(strategies.settings(), lambda drawn: "max_age_ms" in drawn) == {"mode": "warm", "max_age_ms": None}
    narrow = first(strategies.settings(), lambda drawn: drawn.get("margin_ms", 500) < 9)
    assert (narrow["margin_ms"], narrow["grace_ms"]) == (
        1,
        0,
    )  # how much else is left depends on what Hypothesis met first


KINDS = [("oneshot", "line"), ("warm", "line"), ("warm", "envelope")]


@pytest.mark.parametrize(("mode", "framing"), KINDS)
def test_behaviours_are_shown_as_what_makes_them(mode: str, framing: str) -> None:
    @FEW
    @given(strategies.behaviours(mode=mode, framing=framing))
    def hold(drawn: list[doing.Behaviour]) -> None:
        assert eval(repr(drawn), vars(doing)) == drawn  # noqa: S307 - that it can be pasted is the promise

    hold()


@pytest.mark.parametrize(("mode", "framing"), KINDS)
@pytest.mark.parametrize("hangs", [True, False])
def test_only_where_it_may_a_fake_hangs(mode: str, framing: str, hangs: bool) -> None:
    request = line({"a": 1}, {}) if framing == "line" else line({"a": 1}, {}).replace(b"{", b'{"id":"1",', 1)

    def is_stopped(drawn: list[doing.Behaviour]) -> bool:
        made = FakeExecutable.warm(*drawn, framing=framing) if mode == "warm" else FakeExecutable(*drawn)
        keywords = {"mode": "warm", "framing": framing} if mode == "warm" else {"output": "base64"}
        among = made.expected_outcome(keywords, request).among
        return any(
            expected.kind in ("Stopped", "TimedOut") or expected.error == "DeadlineExceeded" for expected in among
        )

    drawn = strategies.behaviours(mode=mode, framing=framing, hangs=hangs)
    if hangs:
        assert is_stopped(first(drawn, is_stopped))
        return

    @examples(max_examples=150)
    @given(drawn)
    def hold(script: list[doing.Behaviour]) -> None:
        assert not is_stopped(script)

    hold()


def test_behaviours_shrink_to_a_good_program() -> None:
    assert first(strategies.behaviours()) == []
    assert first(strategies.behaviours(mode="warm")) == [doing.echoes()]
    assert first(strategies.behaviours(mode="warm", framing="envelope")) == [doing.echoes()]


@pytest.mark.parametrize("wrong", [{"mode": "bootstrap"}, {"framing": "http"}])
def test_behaviours_of_an_unknown_kind_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        strategies.behaviours(**wrong)
