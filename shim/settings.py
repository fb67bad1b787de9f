"""The settings: one name in three spellings, one check for all of them, every mistake reported at once.

`Settings(args=["-x"])`, `SHIM_ARGS='["-x"]'` and `args = ["-x"]` in `shim.toml` mean the same. Only this file reads `SHIM_*` and `shim.toml`.
A new setting is a line in `SETTINGS`, an annotation in `Settings` and a row in the README.
"""

from __future__ import annotations

import json
import os

from shim.errors import SettingsError, is_error_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self

MEBIBYTE = 1024 * 1024
LONGEST_TIME = 900_000  # milliseconds: of the longest timeout that a function may have
MODES = ("oneshot", "warm", "bootstrap")
BY_LINE, KEPT = MODES[:2], MODES[1:]
STREAMED = ("stream", "http")  # the values of `output` with which a reply goes to the caller while it is written
LONGEST_SHOWN = 500  # characters: of one value that the log shows


class Mistake(ValueError):
    """What a setting must be, as the end of the sentence "NAME must be …"."""


def _can_be_passed(value: object) -> bool:
    """Whether it is a text that the kernel takes as an argument, a path or a variable."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False  # a lone surrogate that stands for no byte
    return True


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not _can_be_passed(value):
        raise Mistake("a text that is not empty and holds neither NUL nor half a character")
    return value


def _arguments(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex  # noqa: PLC0415 - only where it is asked for: a cold start is a feature

        try:
            value = shlex.split(value)
        except ValueError as error:
            raise Mistake(f"a list of texts, or one text that is quoted as for a shell ({error})") from None
    if not isinstance(value, (list, tuple)) or not all(map(_can_be_passed, value)):
        raise Mistake("a list of texts without NUL or half a character, or one text that is quoted as for a shell")
    return tuple(value)


def _one_of(*choices: object) -> Callable[[object], Any]:
    def check(value: object) -> object:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise Mistake(f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else str(choices[0]))
        return value

    return check


def _number(low: int, high: int, unit: str) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Mistake(f"a whole number of {unit} from {low} to {high}")
        return value

    return check


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise Mistake("true or false")
    return value


def _exit_codes(value: object) -> dict[int, str]:
    name_of = "an error name ([A-Za-z_][A-Za-z0-9_.]{0,127}, not States.…)"
    wanted = f'a map of exit codes from 1 to 255 to "ok" or to {name_of}'
    if not isinstance(value, dict):
        raise Mistake(wanted)
    codes = {}
    for code, name in value.items():
        number = int(code) if isinstance(code, str) and code.isascii() and code.isdecimal() and len(code) < 4 else code
        if type(number) is not int or not 1 <= number <= 255 or number in codes:
            raise Mistake(wanted)
        if not isinstance(name, str) or not is_error_name(name):
            raise Mistake(wanted)
        codes[number] = name
    return codes


def _environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Mistake("a map of names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or not _can_be_passed(name):
            raise Mistake(f"a map whose names are not empty and hold no '=', NUL or half a character, unlike {name!r}")
        if not _can_be_passed(text):
            raise Mistake(f"a map of names to texts without NUL or half a character, unlike the value of {name}")
        if name == "SHIM_CHILD":
            raise Mistake("a map without SHIM_CHILD, by which processes that were left behind are found")
    return dict(value)


def _globs(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise Mistake('a list of names, in which * and ? stand for any text and any character, like ["AWS_*"]')
    return tuple(value)


class Setting:
    """One setting: its default, its check, how the text of an environment variable becomes its value, and the modes that read it."""

    __slots__ = ("check", "default", "modes", "name", "parse")

    def __init__(
        self,
        name: str,
        default: object,
        check: Callable[[object], object],
        parse: Callable[[str], object] = str,
        modes: tuple[str, ...] = MODES,
    ) -> None:
        self.name = name
        self.default = default
        self.check = check
        self.parse = parse
        self.modes = modes


def _parse_number(text: str) -> object:
    return int(text) if text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20 else text


def _parse_switch(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(f"JSON ({error})") from None


def _parse_arguments(text: str) -> object:
    return _parse_json(text) if text.lstrip().startswith("[") else text


_REQUIRED = object()
SETTINGS = (
    Setting("executable", _REQUIRED, _text),
    Setting("args", (), _arguments, _parse_arguments),
    Setting("mode", "oneshot", _one_of(*MODES)),
    Setting("spare", 0, _number(0, 100, "children"), _parse_number, modes=("oneshot",)),
    Setting("codec", "line", _one_of("line"), modes=BY_LINE),
    Setting("output", "auto", _one_of("json", "text", "base64", "auto", *STREAMED)),
    Setting("reply_fd", 1, _one_of(1, 3), _parse_number, modes=BY_LINE),
    Setting("framing", "line", _one_of("line", "envelope"), modes=("warm",)),
    Setting("context_keys", "snake", _one_of("snake", "camel"), modes=BY_LINE),
    Setting("ready", False, _switch, _parse_switch, modes=("warm",)),
    Setting("ready_within_ms", 9000, _number(1, LONGEST_TIME, "milliseconds"), _parse_number, modes=KEPT),
    Setting("margin_ms", 500, _number(1, LONGEST_TIME, "milliseconds"), _parse_number),
    Setting("grace_ms", 200, _number(0, LONGEST_TIME, "milliseconds"), _parse_number),
    Setting("linger_ms", 50, _number(0, LONGEST_TIME, "milliseconds"), _parse_number),
    Setting("max_output_bytes", 6 * MEBIBYTE, _number(1, 1024 * MEBIBYTE, "bytes"), _parse_number),
    Setting("stderr_tail_bytes", 4096, _number(0, 32_768, "bytes"), _parse_number),
    Setting("exit_codes", {}, _exit_codes, _parse_json),
    Setting("env", {}, _environment, _parse_json),
    Setting("env_deny", (), _globs, _parse_json),
    Setting("cwd", None, _text),
    Setting("tmp", "shared", _one_of("shared", "fresh"), modes=("oneshot",)),
    Setting("metrics", "none", _one_of("none", "emf")),
    Setting("max_children", 4, _number(1, 1000, "children"), _parse_number, modes=KEPT),
    Setting("max_uses", None, _number(1, 1_000_000_000, "uses"), _parse_number, modes=KEPT),
    Setting("max_age_ms", None, _number(1, 1_000_000_000, "milliseconds"), _parse_number),
    Setting("max_rss_bytes", None, _number(MEBIBYTE, 1024 * 1024 * MEBIBYTE, "bytes"), _parse_number, modes=KEPT),
)
NAMES = tuple(setting.name for setting in SETTINGS)


class Settings:
    """How an executable is run. Frozen; times are in milliseconds and sizes in bytes, as their names say.

    Raises:
        SettingsError: with every mistake in the keywords.
    """

    __slots__ = NAMES

    executable: str
    """A path, relative to LAMBDA_TASK_ROOT; a bare name is also looked up on the child's PATH."""
    args: tuple[str, ...]
    mode: str
    spare: int
    codec: str
    output: str
    """Where it is not given, it is `json` in mode warm, else `auto`."""
    reply_fd: int
    framing: str
    context_keys: str
    ready: bool
    ready_within_ms: int
    margin_ms: int
    grace_ms: int
    linger_ms: int
    max_output_bytes: int
    stderr_tail_bytes: int
    exit_codes: dict[int, str]
    env: dict[str, str]
    env_deny: tuple[str, ...]
    cwd: str | None
    """The child's folder, relative to LAMBDA_TASK_ROOT; None means LAMBDA_TASK_ROOT itself."""
    tmp: str
    metrics: str
    max_children: int
    max_uses: int | None
    max_age_ms: int | None
    max_rss_bytes: int | None

    def __init__(self, executable: str | None = None, **settings: Any) -> None:
        if executable is not None:
            settings["executable"] = executable
        self._check({name: (name, value) for name, value in settings.items()}, [])

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, folder: str | None = None, **keywords: Any
    ) -> Self:
        """The settings from keywords over `SHIM_*` variables over the `shim.toml` in `folder` over defaults.

        Raises:
            SettingsError: with every mistake in all three.
        """
        mistakes: list[str] = []
        given = from_file(folder or task_root(environ), mistakes)
        given |= _from_variables(environ, mistakes) | {name: (name, value) for name, value in keywords.items()}
        settings = cls.__new__(cls)
        settings._check(given, mistakes, unknown_variables(environ))  # noqa: SLF001 - our own class
        return settings

    def _check(self, given: dict[str, tuple[str, Any]], mistakes: list[str], unknown: list[str] | None = None) -> None:
        """Sets every attribute from `given` (name → its spelling there, value), or raises all mistakes at once."""
        mistakes += [f"{given[name][0]} is no setting{nearest(name)}" for name in given if name not in NAMES]
        for setting in SETTINGS:
            spelling, value = given.get(setting.name, (setting.name, setting.default))
            if value is _REQUIRED:
                if not any(mistake.startswith("SHIM_EXECUTABLE ") for mistake in mistakes):
                    mistakes.append(
                        "executable is missing: say which file to run, for example SHIM_EXECUTABLE=bin/program"
                    )
                continue
            if value is not setting.default:
                try:
                    value = setting.check(value)
                except Mistake as mistake:
                    mistakes.append(f"{spelling} must be {mistake}, not {_shown(value)}")
                    continue
            object.__setattr__(self, setting.name, dict(value) if isinstance(value, dict) else value)
        if not mistakes:
            if self.mode == "warm" and "output" not in given:
                object.__setattr__(self, "output", "json")
            if self.output in STREAMED and "max_output_bytes" not in given:
                object.__setattr__(self, "max_output_bytes", 200 * MEBIBYTE)  # Lambda's limit of a streamed response
            mistakes += self._contradictions({name: spelling for name, (spelling, _) in given.items()})
        if mistakes:
            raise SettingsError(mistakes + (unknown or []))

    def _contradictions(self, given: dict[str, str]) -> list[str]:
        """The mistakes that several settings make together; `given` has the names of those that were, with their spelling there."""
        mistakes = [
            f"{given[setting.name]} must not be set, since mode={self.mode} never reads it"
            for setting in SETTINGS
            if setting.name in given and self.mode not in setting.modes
        ]
        if self.mode == "oneshot" and not self.spare and "max_age_ms" in given:
            mistakes.append(
                f"{given['max_age_ms']} must not be set, since mode=oneshot reads it for spares only, and spare is 0"
            )
        if self.mode != "oneshot" and self.output in STREAMED:
            mistakes.append(f"{given['output']} must not be {self.output}, which mode=oneshot alone can do")
        if self.mode == "bootstrap" and "AWS_LAMBDA_RUNTIME_API" in self.env:
            mistakes.append(f"{given['env']} must not have AWS_LAMBDA_RUNTIME_API, which mode=bootstrap gives")
        if self.mode == "warm" and self.framing == "envelope" and self.output != "json":
            mistakes.append(f"{given['output']} must be json, since with framing=envelope every reply is")
        if self.grace_ms >= self.margin_ms:
            mistakes.append(
                f"grace_ms ({self.grace_ms}) must be less than margin_ms ({self.margin_ms}), the time that it is a part of"
            )
        return mistakes

    def __setattr__(self, name: str, *_: object) -> None:
        raise AttributeError(f"Settings are frozen: {name} can't be changed")

    __delattr__ = __setattr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in NAMES)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        """The call that makes equal settings: what is not default."""
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in self._changed())})"

    def shown(self) -> str:
        """What is not default, but for the executable, as the log shows it: each value in JSON, of `env` the names alone."""
        return ", ".join(f"{name}={self._as_shown(name)}" for name in self._changed() if name != "executable")

    def _changed(self) -> list[str]:
        """The names of the settings that are not default."""
        return [setting.name for setting in SETTINGS if getattr(self, setting.name) != setting.default]

    def _as_shown(self, name: str) -> str:
        if name == "args":  # they may hold secrets, too
            return f"[{len(self.args)}]"
        if name == "env":  # its values may be secrets
            return "{" + ", ".join(f"{json.dumps(variable)}: …" for variable in self.env) + "}"
        text = json.dumps(getattr(self, name), ensure_ascii=False)
        return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def task_root(environ: Mapping[str, str] = os.environ) -> str:
    """The folder of the deployment package: LAMBDA_TASK_ROOT, or the current folder where that is unset."""
    root = environ.get("LAMBDA_TASK_ROOT")
    if root:
        return root
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise SettingsError(["LAMBDA_TASK_ROOT must be set, since the current folder is gone"]) from None


def _from_variables(environ: Mapping[str, str], mistakes: list[str]) -> dict[str, tuple[str, Any]]:
    given = {}
    for setting in SETTINGS:
        variable = f"SHIM_{setting.name.upper()}"
        if (text := environ.get(variable)) is not None:
            try:
                given[setting.name] = (variable, setting.parse(text))
            except Mistake as mistake:
                mistakes.append(f"{variable} must be {mistake}, not {_shown(text)}")
    return given


def from_file(folder: str, mistakes: list[str]) -> dict[str, tuple[str, Any]]:
    """What the `shim.toml` there says, unchecked: name → its spelling, value. Adds to the mistakes where it can't be read."""
    path = os.path.join(folder, "shim.toml")
    if os.path.lexists(path) and not os.path.isfile(path):  # to open a FIFO would wait for its writer
        mistakes.append("shim.toml can't be read: it is no file")
        return {}
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            mistakes.append(f"shim.toml can't be read: {error.strerror}")
        return {}
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:
        mistakes.append(f"shim.toml is not valid TOML: {error}")
        return {}
    return {name: (f"{name} in shim.toml", value) for name, value in table.items()}


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each `SHIM_*` variable that names no setting.

    They are a warning, since a function's variables may be updated before its code. Two are ours.
    """
    known = {f"SHIM_{name.upper()}" for name in NAMES} | {"SHIM_CHILD", "SHIM_EMULATED"}
    strangers = sorted(name for name in environ if name.startswith("SHIM_") and name not in known)
    return [f"{name} is no setting{nearest(name.removeprefix('SHIM_').lower(), 'SHIM_')}" for name in strangers]


def nearest(name: str, prefix: str = "") -> str:
    """A word on the setting that was probably meant, or ""."""
    import difflib  # noqa: PLC0415 - only where a name is wrong

    matches = difflib.get_close_matches(name, NAMES, n=1)
    return f" (did you mean {prefix}{matches[0].upper() if prefix else matches[0]}?)" if matches else ""


def _shown(value: object) -> str:
    return text if len(text := repr(value)) <= 80 else f"{text[:77]}..."
