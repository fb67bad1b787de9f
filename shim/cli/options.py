"""The settings of shim as options of a command, made from `shim.settings.SETTINGS`: a new setting has its option by being there."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shim.errors import SettingsError
from shim.settings import SETTINGS, Mistake, Setting, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PANEL = "Settings of shim (over SHIM_* variables, over shim.toml)"
ONE_OF = "one of "
"""How the words of a check begin that takes certain values only."""
POSITIONAL = "executable"
"""The one setting that is no option, since it stands on the command line itself."""


Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARGS", help="Its arguments, whatever they look like. None: --args, SHIM_ARGS, shim.toml."),
]
"""What follows EXECUTABLE on a command line."""


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each setting, which it gets as keywords: the text, or None where it was not given.

    Typer reads a command's parameters from its signature, so the `**settings` at the end of the signature are replaced by the options.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = [part for part in signature.parameters.values() if part.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(setting))
        for setting in SETTINGS
        if setting.name != POSITIONAL
    ]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # inspect reads it
    command.__annotations__ = {part.name: part.annotation for part in parameters}
    return command


def spelled(name: str) -> str:
    """The option of a setting: `margin_ms` → `--margin-ms`."""
    return "--" + name.replace("_", "-")


def keywords(
    executable: str | None,
    arguments: Sequence[str],
    given: Mapping[str, str | None],
    *,
    environ: Mapping[str, str] = os.environ,
    folder: str | None = None,
) -> dict[str, Any]:
    """The settings that stand on a command line, as values.

    The check of each is the setting's own. It is made here already, so that a mistake bears the option's name; the Shim makes it again.

    Args:
        executable: the setting of that name; None leaves it to the variable and the file.
        arguments: the setting `args`, if there are any; none leaves it to the option, the variable and the file.
        given: the text of each option, or None where it was not given.
        environ: where the variables are.
        folder: where the file is; None: in the task root.

    Raises:
        SettingsError: with every mistake in the options, and in the variables and the file that they beat.
    """
    values: dict[str, Any] = {} if executable is None else {POSITIONAL: executable}
    mistakes = []
    if arguments:
        values["args"] = list(arguments)
        if given.get("args") is not None:
            mistakes.append("--args must not be given beside ARGS, which stand after EXECUTABLE and mean the same")
    for setting in SETTINGS:
        text = given.get(setting.name)
        if text is None or setting.name in values:
            continue
        try:
            value = setting.parse(text)
            setting.check(value)
        except Mistake as mistake:
            shown = repr(text) if len(text) <= 80 else f"{text[:77]!r}..."
            mistakes.append(f"{spelled(setting.name)} must be {mistake}, not {shown}")
        else:
            values[setting.name] = value
    if mistakes:
        try:
            Settings.from_environment(environ, folder=folder, **values)
        except SettingsError as error:
            mistakes += error.mistakes
        raise SettingsError(mistakes)
    return values


def _annotation(setting: Setting) -> object:
    default = "" if setting.default in (None, (), {}) else f" (default: {setting.default})"
    help_text = f"{_wanted(setting)}{default}; also SHIM_{setting.name.upper()}"
    option = typer.Option(
        spelled(setting.name),
        metavar="VALUE",
        help=help_text.replace("[", r"\["),  # Rich takes a bracket for markup
        rich_help_panel=PANEL,
        show_default=False,
        autocompletion=_completion(setting),
    )
    return Annotated[str | None, option]


def _completion(setting: Setting) -> Callable[[], list[str]] | None:
    """What a shell may complete its value to; None where it can be anything."""
    wanted = _wanted(setting)
    if wanted == "true or false":
        return lambda: ["true", "false"]
    if wanted.startswith(ONE_OF):
        return lambda: wanted.removeprefix(ONE_OF).split(", ")
    return None


def _wanted(setting: Setting) -> str:
    """What the setting must be, in the words of its own check."""
    try:
        setting.check(object())
    except Mistake as mistake:
        return str(mistake)
    return "any value"
