"""What a person expects of a command: help that teaches, completion, no colour where none is wanted, errors that name the next command, and no stack trace for a mistake."""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import shlex
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import orjson
import pytest
import typer
from typer.exceptions import TyperException

from shim.cli.advice import advice, words
from shim.cli.app import app
from shim.cli.ending import Refused, of_machine
from shim.cli.help import examples
from shim.cli.shell_files import kept
from shim.errors import (
    EventInvalid,
    ExecutableNotFound,
    ExecutableNotRunnable,
    ExitError,
    OutputInvalid,
    PackageError,
    ReplyMissing,
    SettingsError,
)
from shim.testing.conform.protocol import REQUIREMENTS
from tests.cli.command import COMMAND, LONGEST, Ended, environment, shim, shim_on_terminal
from tests.real import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = ["new", "invoke", "conform", "check", "pack", "serve"]
"""In the order in which one needs them."""
GROUP: Any = typer.main.get_command(app)
BOXES = re.compile("[\u2500-\u257f]")
TYPED = [
    (name, line)
    for name, command in {"": GROUP, **GROUP.commands}.items()
    for line, _ in examples(command.said)
    if not line.startswith("cd ")
]
"""Every example of every help text but the shell's own command, with the command whose help it is."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with all that the examples speak of, and what is wrong with it in `broken`."""
    for name in ("bin/program", "build/hello", "bootstrap", "program", "package/bootstrap", "pandoc"):
        _program(tmp_path / name)
    for name in ("events/order.json", "events/web.json", "batch.json"):
        _write(tmp_path / name, '{"Records": [{}]}')
    _write(tmp_path / "models/one", "1")
    with ZipFile(tmp_path / "function.zip", "w") as made:
        made.write(tmp_path / "bootstrap", "bootstrap")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _program(path: Path, content: str = "#!/bin/sh\nread -r line\necho '{}'\n") -> None:
    _write(path, content)
    path.chmod(0o755)


def ours(line: str) -> list[str]:
    """The words after `shim` in a line, which may have a pipe before it and one after it."""
    (part,) = (
        part
        for part in re.split(r" (?:\|(?=(?:[^']*'[^']*')*[^']*$)) ", f" {line} ")
        if part.strip().startswith("shim ")
    )
    return shlex.split(part)[1:]


def parsed(arguments: list[str]) -> Any:
    """The context of the command that they are for: its words are taken, and nothing is run."""
    root = GROUP.make_context("shim", list(arguments))
    name, command, rest = GROUP.resolve_command(root, [*root._protected_args, *root.args])  # noqa: SLF001 - Typer's own way
    return command.make_context(name, rest, parent=root)


# Help


def test_the_help_lists_the_commands_in_the_order_in_which_one_needs_them() -> None:
    ended = shim("--help")
    lines = ended.out.decode().partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()

    assert [line.split()[0] for line in lines] == COMMANDS
    assert all(len(line) <= 70 for line in lines)
    assert (ended.err, ended.code) == (b"", 0)


def test_shim_alone_is_the_help_and_a_mistake() -> None:
    alone, asked = shim(), shim("--help")

    assert alone.out.rstrip() == asked.out.rstrip()
    assert (alone.err, alone.code) == (b"", 2)


@pytest.mark.parametrize("arguments", [["-h"], ["help"]])
def test_other_ways_to_ask_for_it(arguments: list[str]) -> None:
    assert shim(*arguments).out == shim("--help").out
    assert shim(*arguments, "check").out == (shim("check", "--help").out if arguments == ["help"] else shim("-h").out)


@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_pipe_it_is_plain_and_fits_a_terminal(command: str) -> None:
    shown = shim(command, "-h", variables={"FORCE_COLOR": "1", "GITHUB_ACTIONS": "1", "COLUMNS": "80"}).out.decode()

    assert "\x1b" not in shown
    assert not BOXES.search(shown)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    for line, what in examples(GROUP.commands[command].said):
        assert f"\n    {line}\n        " in shown
        assert f"{line} {what} " in " ".join(shown.split())
    assert "\\[" not in shown
    assert "[cyan]" not in shown


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_on_a_terminal_without_colour_it_is_the_same(variables: dict[str, str]) -> None:
    shown = shim_on_terminal("pack", "--help", variables={**variables, "FORCE_COLOR": "1"}, columns=80)

    assert shown.out == shim("pack", "--help").out
    assert shown.err == b""


def test_on_a_terminal_it_is_styled() -> None:
    shown = shim_on_terminal("pack", "--help", columns=80)
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", shown.out).decode()

    assert shown.out != text.encode()
    assert BOXES.search(text)
    for line, what in examples(GROUP.commands["pack"].said):
        assert line in text
        assert what.split(",")[0] in text


@pytest.mark.parametrize(("command", "line"), TYPED)
def test_every_example_can_be_typed(command: str, line: str, folder: Path) -> None:
    """Its options exist, and take the values that they have there."""
    arguments = ours(line)

    assert not command or arguments[0] == command
    assert parsed(arguments).info_name == arguments[0]
    assert len(f"    {line}") <= 80


def test_there_are_examples_of_every_command() -> None:
    assert {name for name, _ in TYPED} == {"", *COMMANDS}
    assert {ours(line)[0] for name, line in TYPED if not name} == set(COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        line
        for name, line in TYPED
        if name in {"invoke", "check"} and not re.search(r"jq|--repeat|invoke .*\.zip", line)
    ],
)
def test_examples_do_what_they_say(line: str, folder: Path) -> None:
    ended = shim(*ours(line), cwd=folder)

    assert ended.code in ({0} if "check" not in line else {0, 1}), ended.err
    assert ended.out


def test_the_walk_of_the_help_leads_from_nothing_to_a_function(tmp_path: Path) -> None:
    """Its first steps; those of each language, with conform and pack, are taken by the tests of projects."""
    components.jq()
    lines = [line for line, _ in examples(GROUP.said)]
    assert lines[1] == "cd hello"
    assert lines[-1].startswith("shim serve ")
    ended = shim(*ours(lines[0]), cwd=tmp_path)
    hello = tmp_path / "hello"
    missing = shim(*ours(lines[2]), cwd=hello)

    assert (ended.code, missing.code) == (0, 1)
    assert missing.advice is not None
    for command in ("pack", "check"):
        assert shim(command, "build/hello", cwd=hello).advice == missing.advice
    subprocess.run(["sh", "-ec", missing.advice], cwd=hello, check=True)  # it is told how to build it
    for line in (lines[2], lines[4]):
        ended = shim(*ours(line), cwd=hello)
        assert ended.code == 0, (line, ended.out, ended.err)


def test_a_name_that_is_nearly_a_commands() -> None:
    ended = shim("envoke", "true")

    assert "Error: No such command 'envoke'. Did you mean 'invoke'?" in ended.told
    assert (ended.out, ended.advice, ended.code) == (b"", "shim --help", 2)


def test_a_file_in_place_of_a_command(folder: Path) -> None:
    ended = shim("bin/program", "an argument", cwd=folder)

    assert ended.error == "Error: 'bin/program' is a file, and no command."
    assert (ended.advice, ended.code) == ("shim invoke bin/program 'an argument'", 2)


# Completion


@pytest.fixture
def typing(folder: Path) -> Iterator[Any]:
    """A real bash on a terminal, which has loaded the completion: what it makes of a line and a press of the tab key."""
    _program(folder / "path" / "shim", f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    ours_end, theirs = pty.openpty()
    variables = {"PATH": f"{folder}/path:{os.environ['PATH']}", "PS1": "$ ", "HOME": str(folder), "TERM": "dumb"}
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment(variables),
        start_new_session=True,
    ) as process:
        os.close(theirs)

        def until(wanted: str) -> str:
            shown = ""
            while not re.search(wanted, shown):
                ready, _, _ = select.select([ours_end], [], [], LONGEST)
                assert ready, shown
                shown += os.read(ours_end, 65_536).decode()
            return shown

        def press(line: str, wanted: str) -> str:
            os.write(ours_end, b"\x15")  # what was typed before goes
            os.write(ours_end, line.encode() + b"\t")
            return until(wanted)

        try:
            os.write(
                ours_end, b'bind "set enable-bracketed-paste off"; eval "$(shim --show-completion)"; echo load"ed"\n'
            )
            until("loaded")
            yield press
        finally:
            os.close(ours_end)
            process.kill()


def test_a_real_bash_completes(typing: Any) -> None:
    typing("shim inv", "shim invoke ")
    typing("shim conform --only reads-", "--only reads-any-size ")
    typing("shim pack --runtime provided.al2", "al2023|provided.al2")
    typing("shim invoke --context-keys ca", "--context-keys camel ")
    typing("shim invoke bin/pro", "bin/program ")
    typing("shim serve --event events/or", "events/order.json ")


def completed(*typed: str) -> list[str]:
    """What bash is told; the last word is being typed."""
    variables = {
        "COMP_WORDS": "\n".join(["shim", *typed]),
        "COMP_CWORD": str(len(typed)),
        "_SHIM_COMPLETE": "complete_bash",
    }
    ended = shim(variables=variables)

    assert (ended.err, ended.code) == (b"", 0)
    return ended.out.decode().split()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([""], COMMANDS),
        (["invoke", "--mode", ""], ["oneshot", "warm", "bootstrap"]),
        (["serve", "--output", "b"], ["base64"]),
        (["pack", "--ready", ""], ["true", "false"]),
        (["conform", "--framing", ""], ["line", "envelope"]),
        (["conform", "--skip", ""], [requirement.name for requirement in REQUIREMENTS]),
        (["new", "x", "--language", "c"], ["c", "crystal"]),
        (["check", "--target", ""], ["al2023", "al2"]),
        (["pack", "--architecture", "a"], ["arm64"]),
        (["serve", "--runtime", "s"], ["shim"]),
        (["invoke", "--even"], ["--event"]),
        (["invoke", "--event", ""], []),  # the shell's own: files
        (["invoke", ""], []),
        (["invoke", "program", "--ev"], []),  # the program's own words
        (["nothing", "--even"], []),
    ],
    ids=str,
)
def test_what_can_be_said_is_completed(typed: list[str], told: list[str]) -> None:
    assert completed(*typed) == told


def test_a_completion_that_makes_no_sense_writes_nothing_into_the_line() -> None:
    for variables in ({"COMP_WORDS": "shim", "COMP_CWORD": "soon"}, {}):
        ended = shim(variables={"_SHIM_COMPLETE": "complete_bash", **variables})

        assert (ended.out, ended.err, ended.code) == (b"", b"", 1)


def test_completion_loads_nothing_that_only_some_commands_need() -> None:
    program = "import sys, shim.cli.app\ntry: shim.cli.app.run()\nexcept SystemExit: pass\nprint(*sys.modules)"
    for words_typed in ("shim\ninv", "shim\nconform\n--only\n"):
        variables = {"COMP_WORDS": words_typed, "COMP_CWORD": "1", "_SHIM_COMPLETE": "complete_bash"}
        loaded = subprocess.check_output([sys.executable, "-c", program], env=environment(variables), text=True).split()

        assert not {"rich", "asyncio", "psutil", "hypothesis", "shim.package", "uvicorn"} & set(loaded)


def test_the_completion_is_installed_once_and_the_shells_own_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'\n")
    script = f"{shlex.join(COMMAND)} --install-completion; exit $?"
    for _ in range(2):
        ended = subprocess.run(
            ["bash", "-c", script],
            env=environment({"HOME": str(tmp_path)}),
            capture_output=True,
            check=True,
            timeout=LONGEST,
        )
        assert ended.stderr == b""
    lines = (tmp_path / ".bashrc").read_text().split("\n")

    assert lines[0] == "alias ll='ls -l'"
    assert [line for line in lines if "shim.sh" in line] == [f"source '{tmp_path}/.bash_completions/shim.sh'"]
    assert sorted(os.listdir(tmp_path)) == [".bash_completions", ".bashrc"]


def test_a_shells_own_file_survives_a_failure_in_the_middle_of_rewriting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "bashrc").write_text("alias ll='ls -l'\n")
    (tmp_path / "dotfiles" / "bashrc").chmod(0o600)
    (tmp_path / ".bashrc").symlink_to("dotfiles/bashrc")

    def rewrite() -> None:
        with kept():
            (tmp_path / ".bashrc").write_text("")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        rewrite()

    assert (tmp_path / ".bashrc").read_text() == "alias ll='ls -l'\n"
    assert stat.S_IMODE((tmp_path / ".bashrc").stat().st_mode) == 0o600
    assert (tmp_path / ".bashrc").is_symlink()
    assert os.listdir(tmp_path / "dotfiles") == ["bashrc"]


@pytest.mark.parametrize(
    ("content", "before", "said"),
    [
        (b"alias\xff=ls\n", "", "Error: the shell's own file is no text in UTF-8"),
        (b"alias l=ls\n", "ulimit -f 0; trap '' XFSZ; ", "OSError: "),
    ],
)
def test_a_completion_that_can_not_be_installed_leaves_all_as_it_was(
    content: bytes, before: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / ".bashrc").write_bytes(content)
    script = f"{before}{shlex.join(COMMAND)} --install-completion; exit $?"
    ended = subprocess.run(
        ["bash", "-c", script],
        env=environment({"HOME": str(tmp_path)}),
        capture_output=True,
        check=False,
        timeout=LONGEST,
    )

    assert said in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
    assert ended.returncode in {1, 2}
    assert (tmp_path / ".bashrc").read_bytes() == content
    assert os.listdir(tmp_path) == [".bashrc"]


# No colour where none is wanted

SHOWN = [
    ["--version"],
    ["--help"],
    ["--nothing"],
    ["invoke", "bin/program"],
    ["invoke", "--repeat", "3", "bin/program"],
    ["invoke", "--json", "bin/program"],
    ["invoke", "gone"],
    ["invoke", "sh", "-c", "exit 3"],
    ["check", "bootstrap"],
    ["check", "package"],
    ["check", "\x1b[2Jgone"],
    ["conform", "--only", "1.2", "--only", "2.2", "--examples", "1", "bin/program"],
    ["pack", "--runtime", "provided.al2023", "-o", "made.zip", "bootstrap"],
    ["pack", "gone"],
    ["serve", "--port", "0", "gone"],
    ["new", "made", "--language", "shell"],
    ["new", "made", "--language", "\x1b[2J"],
]


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_what_forces_colour_does_not_get_it_into_a_pipe(arguments: list[str], folder: Path) -> None:
    forcing = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "GITHUB_ACTIONS": "1", "PY_COLORS": "1"}
    ended = shim(*arguments, cwd=folder, variables=forcing)

    assert b"\x1b" not in ended.out + ended.err
    assert not BOXES.search((ended.out + ended.err).decode())
    if "--json" in arguments:
        assert orjson.loads(ended.out)["ok"]


@pytest.mark.parametrize("arguments", SHOWN, ids=" ".join)
def test_no_color_leaves_no_escape_on_a_terminal(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cli.command.HERE", folder)
    ended = shim_on_terminal(*arguments, variables={"NO_COLOR": "1", "FORCE_COLOR": "1"})

    assert b"\x1b" not in ended.out + ended.err
    assert ended.out + ended.err


# The next command


FACTS: Any = {"executable": "p", "duration": 1.0, "stderr_tail": ""}


def no_json() -> OutputInvalid:
    return OutputInvalid(reason="no JSON", reply=b"x", offset=None, cure="", **FACTS)


def silent() -> ReplyMissing:
    return ReplyMissing(**FACTS)


def too_new() -> PackageError:
    return PackageError(
        "the package would have 1 error: it needs glibc 2.38 (…, or pack it with shim pack --with-libc)"
    )


@pytest.mark.parametrize(
    ("line", "error", "told"),
    [
        ("invoke bin/program", ExecutableNotRunnable("x", executable="p"), "shim check bin/program"),
        ("serve bin/program a b", ExecutableNotFound("x", executable="p"), "shim check bin/program"),
        ("invoke function.zip", PackageError("x"), "shim check function.zip"),
        ("invoke hello", ExecutableNotFound("x", executable="p"), "shim invoke build/hello"),
        (
            "serve --watch --port 9 --output text hello -x",
            ExecutableNotFound("x", executable="p"),
            "shim serve --port 9 --watch --output text build/hello -x",
        ),
        ("invoke gone", ExecutableNotFound("x", executable="p"), None),
        ("invoke bin/program 'a b'", no_json(), "shim conform bin/program 'a b'"),
        (
            "invoke --event events/web.json --timeout 5 --mode warm --framing line --json bin/program",
            silent(),
            "shim conform --event events/web.json --mode warm --framing line bin/program",
        ),
        ("invoke function.zip", no_json(), None),
        ("serve --watch --port 9000 package", Refused("taken", port="0"), "shim serve --port 0 --watch package"),
        ("serve --dead-letters batch.json package", Refused("full"), None),
        ("pack --include models program", too_new(), "shim pack --include models --with-libc program"),
        ("pack --with-libc program", too_new(), None),
        ("pack program", PackageError("x"), None),
        (
            "invoke --event nothing.json bin/program",
            EventInvalid("x"),
            "shim invoke --event events/order.json bin/program",
        ),
        (
            "conform --event events/order.json bin/program",
            EventInvalid("x"),
            "shim conform --event events/web.json bin/program",
        ),
        ("invoke bin/program", ExitError(exit_code=3, **FACTS), None),
        (
            "invoke --output text bin/program --timeout=9 --event '{}'",
            ExitError(exit_code=3, **FACTS),
            "shim invoke --output text --timeout=9 --event '{}' bin/program",
        ),
        ("invoke bin/program --its-own", ExitError(exit_code=3, **FACTS), None),
        ("pack --output text build/program more", PackageError("x"), "shim pack --output text bin/program more"),
        ("invoke --mode x bin/program", SettingsError(["x"]), None),
        ("invoke bin/program", of_machine(OSError(28, "full")), None),
    ],
)
def test_an_error_names_the_next_command(line: str, error: Exception, told: str | None, folder: Path) -> None:
    """Which can be typed."""
    context = parsed(shlex.split(line))
    made = advice(error, context)

    assert made == told
    if made is not None:
        assert parsed(ours(made))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"README.md": "# x\n\n```sh\nmkdir build\ncc -o build/x x.c\n\nshim invoke x\n```\n"},
            "mkdir build && cc -o build/x x.c",
        ),
        ({"README.md": "```sh\nshim invoke x\n```\n", "go.mod": ""}, "go build -o build/ ./..."),
        ({"README.md": "```sh\nmake\n```\nthen\n```sh\nshim x\n```\n"}, None),
        ({"Cargo.toml": "", "README.md": "no block"}, "cargo build --release"),
        ({}, None),
    ],
)
def test_a_program_that_was_not_built_yet_is_answered_with_what_builds_it(
    files: dict[str, str], told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)

    assert advice(ExecutableNotFound("x", executable="p"), parsed(["invoke", "build/x"])) == told
    assert advice(PackageError("x"), parsed(["pack", "build/x"])) == told
    assert advice(ExecutableNotFound("x", executable="p"), parsed(["invoke", "jq"])) is None


def test_a_readme_that_is_none_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("README.md")

    assert advice(ExecutableNotFound("x", executable="p"), parsed(["invoke", "build/x"])) is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("invoke", "shim invoke build/hello"),
        ("pack -o x.zip", "shim pack build/hello"),
        ("invoke --nothing", "shim invoke --help"),
        ("check --target x program", "shim check --help"),
        ("new", "shim new --help"),
        ("bin/program", "shim invoke bin/program"),
    ],
)
def test_words_that_make_no_sense_are_answered_with_some_that_do(line: str, told: str, folder: Path) -> None:
    with pytest.raises(TyperException) as raised:
        parsed(shlex.split(line))

    assert words(raised.value, getattr(raised.value, "ctx", None)) == told


def test_the_next_command_stands_under_the_error_and_not_in_json(folder: Path) -> None:
    (folder / "plain").write_text("#!/bin/sh\n")
    ended = shim("invoke", "plain", cwd=folder)
    as_json = shim("invoke", "--json", "plain", cwd=folder)

    assert (len(ended.lines), ended.advice) == (2, "shim check plain")
    assert ended.lines[1] == "Try: shim check plain"
    assert b"shim check" not in as_json.out + as_json.err
    assert (ended.code, as_json.code) == (1, 1)


def test_on_a_terminal_it_stands_under_the_panel_and_is_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cli.command.HERE", folder)
    (folder / "pl\x1b[2Jain").write_text("#!/bin/sh\n")
    ended = shim_on_terminal("invoke", "pl\x1b[2Jain", columns=60)

    assert "╰──" in ended.err.splitlines()[-2].decode()
    assert ended.err.splitlines()[-1] == rb"Try: shim check 'pl\x1b[2Jain'"


# No stack trace for a mistake


def in_surroundings(before: str, *arguments: str, after: str = "", cwd: Path, timeout: float = LONGEST) -> Ended:
    """Runs `shim` as a shell does that has prepared the surroundings."""
    ended = subprocess.run(
        ["bash", "-c", f'{before} "$@" {after}', "bash", *COMMAND, *arguments],
        capture_output=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env=environment({"HOME": str(cwd)}),
        timeout=timeout,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


GONE = "mkdir gone; cd gone; rmdir ../gone;"
FULL, CLOSED = ">/dev/full", ">&-"
NOT_WRITTEN = "OSError: the result could not be written to standard output: "


@pytest.mark.parametrize(
    ("before", "arguments", "after", "said", "code"),
    [
        ("", ["--version"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["--version"], CLOSED, f"{NOT_WRITTEN}it is closed", 1),
        ("", ["--help"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["pack", "--help"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", [], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", [], CLOSED, f"{NOT_WRITTEN}it is closed", 1),
        ("", ["--show-completion"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["invoke", "--json", "bin/program"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["invoke", "--json", "gone"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["check", "program"], CLOSED, f"{NOT_WRITTEN}it is closed", 1),
        ("", ["new", "made", "--language", "shell"], FULL, f"{NOT_WRITTEN}No space left on device", 1),
        ("", ["invoke", "bin/program"], "2>&-", None, 0),
        ("", ["invoke", "gone"], "2>/dev/full", None, 1),
        ("", ["invoke", "bin/program"], "<&- >&- 2>&-", None, 1),
        ("", ["invoke", "--event", "-", "bin/program"], "<&-", "EventInvalid: ", 2),
        (GONE, ["invoke", "/bin/true"], "", "OSError: the current folder is not there any more", 1),
        (GONE, ["conform", "/bin/true"], "", "OSError: the current folder is not there any more", 1),
        (GONE, ["serve", "--port", "0", "true"], "", "SettingsError: ", 2),
        (GONE, ["pack", "true"], "", "", 1),
        (GONE, ["new", "made", "--language", "shell"], "", "", 1),
        (GONE, ["--nothing"], "", "Error: No such option: --nothing", 2),
        ("ulimit -n 6;", ["invoke", "bin/program"], "", "", 1),
        ("ulimit -n 6;", ["conform", "bin/program"], "", "OSError: ", 1),
        ("ulimit -n 10;", ["invoke", "function.zip"], "", "", 1),
        ("ulimit -n 20;", ["invoke", "bin/program"], "", None, 0),
        ("ulimit -f 0; trap '' XFSZ;", ["conform", "bin/program"], "", "OSError: ", 1),
        ("ulimit -f 0; trap '' XFSZ;", ["pack", "--runtime", "provided.al2023", "bootstrap"], "", "", 1),
        ("ulimit -f 0; trap '' XFSZ;", ["new", "made", "--language", "shell"], "", "", 1),
        ("ulimit -v 2000000;", ["invoke", "--event", "huge", "bin/program"], "", "MemoryError: ", 1),
        ("unset HOME;", ["invoke", "bin/program"], "", None, 0),
        ("export TMPDIR=/no/such;", ["conform", "--only", "1.2", "bin/program"], "", None, 0),
        ("", ["check", "huge"], "", None, 1),  # a hole
        ("", ["check", "/proc/self/mem"], "", "PackageError: ", 1),
        ("", ["check", "half.zip"], "", "PackageError: half.zip is no zip archive", 1),
        ("", ["invoke", "half.zip"], "", "PackageError: half.zip is no zip archive", 1),
        ("", ["serve", "--port", "0", "half.zip"], "", "PackageError: half.zip is no zip archive", 1),
        ("", ["check", "fifo"], "", "PackageError: fifo is no file and no folder", 1),
        (
            "",
            ["invoke", "--event", "models", "bin/program"],
            "",
            "EventInvalid: the event file models can't be read",
            2,
        ),
        ("cd wrong;", ["invoke", "../bin/program"], "", "SettingsError: the settings have 2 mistakes", 2),
        ("cd wrong;", ["pack", "../bin/program"], "", "SettingsError: the settings have 2 mistakes", 2),
        (
            "export SHIM_MARGIN_MS=soon;",
            ["conform", "bin/program"],
            "",
            "SettingsError: the settings have 1 mistake",
            2,
        ),
        ("export AWS_LAMBDA_FUNCTION_NAME='a b';", ["invoke", "true"], "", "Error: Invalid value for '--name'", 2),
    ],
    ids=str,
)
def test_hostile_surroundings_are_a_sentence(  # one clear one, and an exit code that is documented
    before: str, arguments: list[str], after: str, said: str | None, code: int, folder: Path
) -> None:
    with open(folder / "huge", "wb") as huge:
        huge.truncate(8 << 30)
    (folder / "half.zip").write_bytes((folder / "function.zip").read_bytes()[:50])
    os.mkfifo(folder / "fifo")
    _write(folder / "wrong" / "shim.toml", 'mode = 3\nnothing = "x"\n')
    ended = in_surroundings(before, *arguments, after=after, cwd=folder)

    assert b"Traceback" not in ended.out + ended.err
    assert b"Exception ignored" not in ended.err
    assert ended.code == code, ended.err
    if said is not None:
        assert re.match(r"[A-Z][\w.]+: ", ended.error)
        assert ended.error.startswith(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody who may do less")
@pytest.mark.parametrize(
    "arguments",
    [["new", "made", "--language", "shell"], ["pack", "--runtime", "provided.al2023", "bootstrap"]],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_written_is_a_sentence(arguments: list[str], folder: Path) -> None:
    """Here root, who may all, does without what makes it so."""
    folder.chmod(0o555)
    ended = in_surroundings("exec setpriv --bounding-set=-all --inh-caps=-all --reuid=0", *arguments, cwd=folder)
    folder.chmod(0o755)
    if b"Operation not permitted" in ended.err:
        pytest.skip("this system does not let root do without")

    assert b"Traceback" not in ended.err
    assert "Permission denied" in ended.error or ended.code == 0


@pytest.mark.parametrize(
    ("loading", "arguments"),
    [
        ("typer", ["--version"]),
        ("shim.cli.app", ["--version"]),
        ("shim.cli.serve", ["invoke", "true"]),
        ("typer.completion", ["invoke", "true"]),
        ("shim.cli.advice", ["invoke", "gone"]),
        ("shim.package.check", ["check", "bin/program"]),
        ("shim.package.pack", ["pack", "bin/program"]),
        ("shim.project.new", ["new", "made", "--language", "shell"]),
        ("hypothesis", ["conform", "bin/program"]),
        ("asyncio", ["serve", "--port", "0", "bin/program"]),
    ],
)
def test_ctrl_c_at_any_moment_is_no_stack_trace(loading: str, arguments: list[str], folder: Path) -> None:
    """It comes while that is loaded."""
    (folder / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {loading!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    ended = shim(*arguments, cwd=folder, variables={"PYTHONPATH": str(folder)})

    assert b"Traceback" not in ended.out + ended.err
    assert ended.code == 130, ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "gone"],
        ["conform", "gone"],
        ["check", "half.zip"],
        ["pack", "gone"],
        ["serve", "--port", "0", "gone"],
        ["new", "models/..", "--language", "shell"],
        ["check", "gone"],
    ],
    ids=" ".join,
)
def test_debug_shows_the_stack_trace_at_both_places_and_nothing_else_does(arguments: list[str], folder: Path) -> None:
    (folder / "half.zip").write_bytes((folder / "function.zip").read_bytes()[:50])
    command, *rest = arguments
    without = shim(command, *rest, cwd=folder)

    assert b"Traceback" not in without.err
    for place in (["--debug", command], [command, "--debug"]):
        ended = shim(*place, *rest, cwd=folder)

        assert ended.lines[0] == "Traceback (most recent call last):"
        assert ended.error == without.error
        assert (ended.advice, ended.code) == (without.advice, without.code)
