"""The options: every setting of shim has one, each is checked by the setting's own rule, and each beats all other spellings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from shim.cli.options import spelled
from shim.settings import NAMES
from tests.cli.command import shim

if TYPE_CHECKING:
    from pathlib import Path


def test_every_setting_has_an_option_but_the_executable_which_stands_there_itself() -> None:
    shown = shim("invoke", "--help", variables={"COLUMNS": "200"}).out.decode().split()

    for name in NAMES:
        assert (spelled(name) in shown) == (name != "executable"), name
        assert (f"SHIM_{name.upper()}" in " ".join(shown)) == (name != "executable"), name


@pytest.mark.parametrize(
    ("options", "program", "result"),
    [
        (["--output", "text"], "echo 1", "1\n"),
        (["--output", "base64"], "printf abc", "YWJj"),
        (["--exit-codes", '{"3": "ok"}'], "echo 1; exit 3", 1),
        (["--env", '{"GREETING": "hello there"}'], "echo $GREETING", "hello there\n"),
        (["--env-deny", '["SECRET_*"]'], "echo \"'$SECRET_ONE'\"", "''\n"),
        (["--reply-fd", "3"], "echo lost; echo 2 >&3", 2),
        (["--cwd", "/"], "pwd", "/\n"),
        (["--margin-ms", "100", "--grace-ms", "50", "--linger-ms", "0"], "echo 3", 3),
    ],
)
def test_an_option_is_its_setting(options: list[str], program: str, result: object) -> None:
    ended = shim("invoke", *options, "sh", "-c", program, variables={"SECRET_ONE": "secret"})

    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == result


def test_a_name_in_exit_codes_is_the_error() -> None:
    ended = shim("invoke", "--exit-codes", '{"65": "Orders.Bad"}', "sh", "-c", "exit 65")

    assert ended.error.startswith("Orders.Bad: sh ended with exit code 65")
    assert ended.code == 1


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (["--margin-ms", "soon"], "--margin-ms must be a whole number of milliseconds from 1 to 900000, not 'soon'"),
        (["--margin-ms", "-1"], "--margin-ms must be a whole number of milliseconds from 1 to 900000, not '-1'"),
        (["--output", "xml"], "--output must be one of json, text, base64, auto, stream, http, not 'xml'"),
        (["--exit-codes", "{1: 2"], "--exit-codes must be JSON (Expecting property name enclosed in double quotes"),
        (["--env", "[]"], "--env must be a map of names to texts, not '[]'"),
        (["--args", "'open"], "--args must be a list of texts, or one text that is quoted as for a shell"),
        (["--cwd", "/no/such"], "cwd must be a folder, which /no/such is not"),
        (["--grace-ms", "700"], "grace_ms (700) must be less than margin_ms (500)"),
    ],
)
def test_a_bad_value_is_a_settings_error_that_names_its_option(options: list[str], mistake: str) -> None:
    ended = shim("invoke", *options, "true")

    assert len(ended.told) == 1
    assert ended.error.startswith(f"SettingsError: the settings have 1 mistake: {mistake}")
    assert (ended.out, ended.code) == (b"", 2)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "shim.toml").write_text("tmp = 3\n")
    ended = shim(
        "invoke", "--output", "xml", "--linger-ms", "x", "true", cwd=tmp_path, variables={"SHIM_GRACE_MS": "much"}
    )

    assert ended.error.startswith("SettingsError: the settings have 4 mistakes: --output must be")
    for spelling in ("--linger-ms must be", "SHIM_GRACE_MS must be", "tmp in shim.toml must be"):
        assert spelling in ended.error
    assert ended.code == 2


def test_options_beat_variables_which_beat_the_file(tmp_path: Path) -> None:
    (tmp_path / "shim.toml").write_text('output = "base64"\nargs = ["from the file"]\n')
    variable = {"SHIM_OUTPUT": "json"}

    def result(*arguments: str, variables: dict[str, str] | None = None) -> object:
        return json.loads(shim("invoke", *arguments, cwd=tmp_path, variables=variables or {}).out)

    assert result("printf") == "ZnJvbSB0aGUgZmlsZQ=="
    assert result("printf", "1", variables=variable) == 1
    assert result("--output", "text", "printf", "1", variables=variable) == "1"
    assert result("--args", '["2"]', "printf", variables=variable) == 2
    assert result("--args", "[]", "--output", "text", "echo", variables=variable) == "\n"


def test_arguments_can_be_given_only_once() -> None:
    ended = shim("invoke", "--args", "[]", "echo", "1")

    assert ended.error == (
        "SettingsError: the settings have 1 mistake:"
        " --args must not be given beside ARGS, which stand after EXECUTABLE and mean the same"
    )
    assert ended.code == 2


def test_an_unknown_variable_is_a_warning_in_the_log() -> None:
    ended = shim("invoke", "true", variables={"SHIM_OUTPUTS": "json"})

    assert ended.lines[0] == "shim: SHIM_OUTPUTS is no setting (did you mean SHIM_OUTPUT?); it is ignored"
    assert ended.code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["invoke", "--outputs", "json", "true"], "--outputs"),
        (["invoke", "--timeout", "0.5", "true"], "--timeout"),
        (["invoke", "--timeout", "901", "true"], "--timeout"),
        (["invoke", "--timeout", "nan", "true"], "--timeout"),
        (["invoke", "--timeout", "soon", "true"], "--timeout"),
        (["invoke", "--memory", "127", "true"], "--memory"),
        (["invoke", "--name", "a b", "true"], "1 to 64 letters"),
        (["invoke"], "EXECUTABLE"),
        (["envoke"], "envoke"),
    ],
)
def test_a_wrong_option_is_a_mistake(arguments: list[str], said: str) -> None:
    ended = shim(*arguments, variables={"COLUMNS": "200"})

    assert said in ended.err.decode()
    assert b"Traceback" not in ended.err
    assert (ended.out, ended.code) == (b"", 2)


def test_a_memory_in_the_environment_is_checked_as_the_option_is() -> None:
    ended = shim("invoke", "true", variables={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "much"})

    assert "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" in ended.err.decode()
    assert ended.code == 2
