"""Settings: three spellings, one check, every mistake at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from shim import Settings, SettingsError
from shim.settings import NAMES, SETTINGS, unknown_variables

if TYPE_CHECKING:
    from pathlib import Path

SPELLINGS: list[tuple[str, object, str, str, object]] = [
    ("executable", "bin/a b", "bin/a b", "'bin/a b'", "bin/a b"),
    ("args", ["-x", "a b"], '["-x", "a b"]', '["-x", "a b"]', ("-x", "a b")),
    ("args", "-x 'a b'", "-x 'a b'", "\"-x 'a b'\"", ("-x", "a b")),
    ("args", "", "", "''", ()),
    ("mode", "warm", "warm", "'warm'", "warm"),
    ("spare", 2, "2", "2", 2),
    ("codec", "line", "line", "'line'", "line"),
    ("output", "base64", "base64", "'base64'", "base64"),
    ("reply_fd", 3, "3", "3", 3),
    ("framing", "envelope", "envelope", "'envelope'", "envelope"),
    ("context_keys", "camel", "camel", "'camel'", "camel"),
    ("ready", True, "true", "true", True),
    ("ready_within_ms", 100, "100", "100", 100),
    ("margin_ms", 900, "900", "900", 900),
    ("grace_ms", 0, "0", "0", 0),
    ("linger_ms", 7, "7", "7", 7),
    ("max_output_bytes", 1, "1", "1", 1),
    ("stderr_tail_bytes", 0, "0", "0", 0),
    (
        "exit_codes",
        {"1": "ok", "65": "BadInput"},
        '{"1": "ok", "65": "BadInput"}',
        "{1 = 'ok', 65 = 'BadInput'}",
        {1: "ok", 65: "BadInput"},
    ),
    ("env", {"A": "b=c"}, '{"A": "b=c"}', "{A = 'b=c'}", {"A": "b=c"}),
    ("env_deny", ["AWS_*"], '["AWS_*"]', "['AWS_*']", ("AWS_*",)),
    ("cwd", "/tmp", "/tmp", "'/tmp'", "/tmp"),
    ("tmp", "fresh", "fresh", "'fresh'", "fresh"),
    ("metrics", "emf", "emf", "'emf'", "emf"),
    ("max_children", 1, "1", "1", 1),
    ("max_uses", 1000, "1000", "1000", 1000),
    ("max_age_ms", 60_000, "60000", "60_000", 60_000),
    ("max_rss_bytes", 10**9, "1000000000", "1_000_000_000", 10**9),
]

WARM = {"framing", "ready", "ready_within_ms", "max_children", "max_uses", "max_age_ms", "max_rss_bytes"}
"""What mode oneshot does not read, but for the age of spares."""


def rest_of(name: str) -> dict[str, Any]:
    """What must be set besides, for that setting to be no mistake."""
    rest = {"executable": "x"} | ({"mode": "warm"} if name in WARM else {})
    rest.pop(name, None)
    return rest


BAD: list[tuple[str, object, str]] = [
    ("executable", "", ""),
    ("executable", "a\0b", "a\0b"),
    ("args", ["a", 1], '["a", 1]'),
    ("args", {"a": 1}, '["a'),
    ("args", "'unclosed", "'unclosed"),
    ("mode", "two-shot", "two-shot"),
    ("codec", "cgi", "cgi"),
    ("output", True, "true"),
    ("reply_fd", 2, "2"),
    ("reply_fd", True, "true"),
    ("reply_fd", 3.0, "3.0"),
    ("args", ["\ud800"], '["\\ud800"]'),
    ("env", {"A": "\ud800"}, '{"A": "\\ud800"}'),
    ("context_keys", "kebab", "kebab"),
    ("margin_ms", 0, "0"),
    ("margin_ms", 1.5, "1.5"),
    ("margin_ms", "500", "5e2"),
    ("margin_ms", None, ""),
    ("grace_ms", -1, "-1"),
    ("linger_ms", 10**30, str(10**30)),
    ("max_output_bytes", 0, "6 MB"),
    ("stderr_tail_bytes", 10**9, "1_000"),
    ("exit_codes", {"0": "ok"}, '{"0": "ok"}'),
    ("exit_codes", {"256": "ok"}, '{"256": "ok"}'),
    ("exit_codes", {"1": "States.Timeout"}, '{"1": "States.Timeout"}'),
    ("exit_codes", {"1": "no name"}, '{"1": "no name"}'),
    ("exit_codes", {"01": "A", "1": "B"}, '{"01": "A", "1": "B"}'),
    ("exit_codes", [1], "[1]"),
    ("env", {"A=B": "c"}, '{"A=B": "c"}'),
    ("env", {"A": 1}, '{"A": 1}'),
    ("env", {"SHIM_CHILD": "x"}, '{"SHIM_CHILD": "x"}'),
    ("env_deny", [""], '[""]'),
    ("env_deny", "AWS_*", "AWS_*"),
    ("cwd", 1, ""),
    ("tmp", "private", "private"),
    ("metrics", "prometheus", "prometheus"),
    ("spare", -1, "one"),
    ("framing", "lines", "lines"),
    ("ready", 1, "True"),
    ("ready_within_ms", 0, "soon"),
    ("max_children", 0, "0"),
    ("max_uses", 0, "unlimited"),
    ("max_age_ms", 1.5, "1.5"),
    ("max_rss_bytes", 1, "512 MB"),
]


@pytest.mark.parametrize(("name", "keyword", "variable", "toml", "value"), SPELLINGS)
def test_the_three_spellings_of_a_setting_mean_the_same(
    name: str, keyword: object, variable: str, toml: str, value: object, tmp_path: Path
) -> None:
    rest = rest_of(name)
    (tmp_path / "shim.toml").write_text(f"{name} = {toml}\n")

    settings = [
        Settings(**{**rest, name: keyword}),
        Settings.from_environment({f"SHIM_{name.upper()}": variable}, folder="/nowhere", **rest),
        Settings.from_environment({}, folder=str(tmp_path), **rest),
    ]

    assert [getattr(one, name) for one in settings] == [value] * 3


@pytest.mark.parametrize(("name", "keyword", "variable"), BAD)
def test_a_bad_value_is_a_mistake_that_names_the_setting_and_the_value(
    name: str, keyword: object, variable: str
) -> None:
    rest = rest_of(name)
    with pytest.raises(SettingsError) as by_keyword:
        Settings(**{**rest, name: keyword})
    with pytest.raises(SettingsError) as by_variable:
        Settings.from_environment({f"SHIM_{name.upper()}": variable}, folder="/nowhere", **rest)

    assert [mistake.split()[0] for mistake in by_keyword.value.mistakes] == [name]
    assert [mistake.split()[0] for mistake in by_variable.value.mistakes] == [f"SHIM_{name.upper()}"]
    assert "must be" in str(by_keyword.value)


def test_every_setting_is_tried_above_with_good_and_bad_values() -> None:
    assert {row[0] for row in SPELLINGS} == {row[0] for row in BAD} == set(NAMES)


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"framing": "line"}, "framing must not be set, since mode=oneshot never reads it"),
        ({"mode": "warm", "tmp": "fresh"}, "tmp must not be set, since mode=warm never reads it"),
        ({"mode": "warm", "spare": 1}, "spare must not be set, since mode=warm never reads it"),
        ({"max_age_ms": 5}, "max_age_ms must not be set, since mode=oneshot reads it for spares only, and spare is 0"),
        (
            {"mode": "warm", "framing": "envelope", "output": "text"},
            "output must be json, since with framing=envelope every reply is",
        ),
    ],
)
def test_a_setting_that_would_not_be_read_is_a_mistake(given: dict[str, Any], mistake: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings("x", **given)

    assert raised.value.mistakes == (mistake,)


def test_output_is_json_in_mode_warm_where_it_is_not_given() -> None:
    assert Settings("x").output == "auto"
    assert Settings("x", mode="warm").output == "json"
    assert Settings("x", mode="warm", output="auto").output == "auto"
    assert Settings("x", spare=1, max_age_ms=5).max_age_ms == 5


def test_all_mistakes_are_told_at_once_whatever_they_were_spelled_in(tmp_path: Path) -> None:
    (tmp_path / "shim.toml").write_text("margin_ms = -1\nmarign_ms = 5\n")
    environment = {"SHIM_REPLY_FD": "two", "SHIM_GRACE": "1", "SHIM_CHILD": "1"}

    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(environment, folder=str(tmp_path), output="xml")

    text = str(raised.value)
    assert text.startswith("the settings have 6 mistakes: ")
    for part in (
        "margin_ms in shim.toml must be",
        "marign_ms in shim.toml is no setting (did you mean margin_ms?)",
        "SHIM_REPLY_FD must be one of 1, 3, not 'two'",
        "output must be",
        "executable is missing",
        "SHIM_GRACE is no setting (did you mean SHIM_GRACE_MS?)",
    ):
        assert part in text


def test_an_unknown_variable_alone_is_only_a_warning() -> None:
    environment = {"SHIM_EXECUTABLE": "x", "SHIM_OUTPTU": "json", "SHIM_CHILD": "1"}

    assert Settings.from_environment(environment, folder="/nowhere").output == "auto"
    assert unknown_variables(environment) == ["SHIM_OUTPTU is no setting (did you mean SHIM_OUTPUT?)"]


def test_keywords_beat_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    (tmp_path / "shim.toml").write_text("executable = 'f'\noutput = 'text'\ntmp = 'fresh'\nlinger_ms = 1\n")
    environment = {"SHIM_OUTPUT": "json", "SHIM_TMP": "shared"}

    settings = Settings.from_environment(environment, folder=str(tmp_path), output="base64")

    assert (settings.executable, settings.output, settings.tmp, settings.linger_ms) == ("f", "base64", "shared", 1)
    assert settings.margin_ms == 500


@pytest.mark.parametrize("content", [b"margin_ms = ", b"\xff\xfe", b"executable = 'a'\nexecutable = 'b'"])
def test_a_file_that_is_no_toml_is_a_mistake(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "shim.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=r"shim\.toml is not valid TOML"):
        Settings.from_environment({"SHIM_EXECUTABLE": "x"}, folder=str(tmp_path))


def test_a_file_that_can_not_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "shim.toml").mkdir()

    with pytest.raises(SettingsError, match=r"shim\.toml can't be read"):
        Settings.from_environment({"SHIM_EXECUTABLE": "x"}, folder=str(tmp_path))


def test_the_grace_is_part_of_the_margin() -> None:
    with pytest.raises(SettingsError, match=r"grace_ms \(200\) must be less than margin_ms \(200\)"):
        Settings("x", margin_ms=200)


def test_settings_are_frozen_equal_by_value_and_their_repr_makes_them_again() -> None:
    settings = Settings("x", args=["a"], exit_codes={3: "Three"})

    with pytest.raises(AttributeError, match="frozen"):
        settings.output = "json"
    with pytest.raises(AttributeError, match="frozen"):
        del settings.output
    settings.exit_codes[4] = "ok"
    assert Settings("y").exit_codes == {}
    del settings.exit_codes[4]
    assert eval(repr(settings), {"Settings": Settings}) == settings  # noqa: S307 - our own repr
    assert settings != Settings("x")
    assert len({settings, Settings("x", args=["a"], exit_codes={3: "Three"})}) == 1


@given(st.dictionaries(st.sampled_from([f"SHIM_{name.upper()}" for name in NAMES]), st.text()))
def test_any_environment_gives_settings_or_one_settings_error(environment: dict[str, str]) -> None:
    """No bad value becomes a default: what is accepted is what was written."""
    try:
        settings = Settings.from_environment(environment, folder="/nowhere")
    except SettingsError:
        return

    for setting in SETTINGS:
        text = environment.get(f"SHIM_{setting.name.upper()}")
        value = getattr(settings, setting.name)
        if text is None:
            assert value == ("json" if setting.name == "output" and settings.mode == "warm" else setting.default)
        elif isinstance(value, bool):
            assert text == str(value).lower()
        elif isinstance(value, int):
            assert value == int(text)
        elif isinstance(value, str):
            assert value == text
