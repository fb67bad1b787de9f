"""How `shim` and its commands take their words, and show their help: Typer's, styled, on a terminal; plain anywhere else."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from shim.cli.display import STDOUT, deliver, styled
from shim.cli.exits import MISTAKE

WORD = "help"
"""`shim help pack` is `shim pack --help`."""
INSTALL = "--install-completion"
EXAMPLE = re.compile(r"\[cyan\](.+?)\[/cyan\](?: (.+))?", re.DOTALL)
"""A paragraph of a docstring: a command, and what it does."""
MARKUP = re.compile(r"\[/?(?:bold|cyan)\]")
WIDTH = 70
"""Columns of a line that stands under another, of 80."""
UNWRAPPED = "\b\n"
"""Before a paragraph that Click is not to fill."""


class Misuse(TyperException):
    """Words that make no sense, in a way that only we know.

    Attributes:
        ctx: the context of the command that they are for.
        instead: what to type in their place, if that is known.
    """

    exit_code = MISTAKE

    def __init__(self, message: str, ctx: Any, instead: str | None = None) -> None:
        super().__init__(message)
        self.ctx = ctx
        self.instead = instead


class Command(TyperCommand):
    """A command."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.said = paragraphs(self.help)

    def get_help(self, ctx: Any) -> str:
        """The help; where it is styled it is shown by that, and nothing of it is left."""
        _dress(self)
        return super().get_help(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options in their panels, as Typer has them where it styles."""
        _write_panels(self, ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The options of the command; none where the program's own words have begun."""
        first = next((param for param in self.params if param.param_type_name == "argument"), None)
        if first is not None and not ctx.allow_interspersed_args and ctx.params.get(first.name):
            return []
        return super().shell_complete(ctx, incomplete)


class Group(TyperGroup):
    """All commands."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.said = paragraphs(self.help)

    def get_help(self, ctx: Any) -> str:
        """The help; where it is styled it is shown by that, and nothing of it is left."""
        _dress(self)
        return super().get_help(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands before the options."""
        self.format_commands(ctx, formatter)
        _write_panels(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Shows the help where there are no words, takes the word `help`, and keeps a copy of what Typer rewrites in place when it installs the completion."""
        if not args and not ctx.resilient_parsing:
            deliver(f"{ctx.get_help()}\n".encode())
            ctx.exit(MISTAKE)
        if args[:1] == [WORD]:
            args = [*args[1:2], "--help"]
        if INSTALL not in args or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        return self._installed(ctx, args)

    def _installed(self, ctx: Any, args: list[str]) -> list[str]:
        from shim.cli.shell_files import Homeless, kept  # noqa: PLC0415 - this is done once

        try:
            with kept():
                return super().parse_args(ctx, args)
        except Homeless:
            sentence = "there is no home folder to install the completion in; set HOME"
        except UnicodeError as error:
            sentence = f"the shell's own file is no text in UTF-8 ({error}); use --show-completion"
        raise Misuse(sentence, ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is named; a file in its place is told what runs it."""
        if args[0] not in self.commands and not ctx.resilient_parsing and os.path.isfile(args[0]):
            import shlex  # noqa: PLC0415 - only after a mistake

            raise Misuse(f"{args[0]!r} is a file, and no command.", ctx, shlex.join(["shim", "invoke", *args]))
        return super().resolve_command(ctx, args)


def paragraphs(text: str | None) -> list[str]:
    """Those of a docstring."""
    return inspect.cleandoc(text or "").split("\n\n")


def examples(said: list[str]) -> list[tuple[str, str]]:
    """The commands in a help text, and what each does."""
    found = map(EXAMPLE.fullmatch, said)
    return [(match[1], match[2] or "") for match in found if match]


def with_markup(said: list[str]) -> str:
    """The paragraphs as Rich takes them."""
    return _laid_out([_example(paragraph, "  [cyan]{}[/cyan]") for paragraph in said])


def without_markup(said: list[str]) -> str:
    """The paragraphs as Click takes them."""
    made = _laid_out([_example(paragraph, "  {}") for paragraph in said]).split("\n\n")
    return MARKUP.sub("", "\n\n".join(UNWRAPPED + part if part.startswith("  ") else part for part in made))


def _example(paragraph: str, command: str) -> str:
    match = EXAMPLE.fullmatch(paragraph)
    if match is None:
        return paragraph
    return "\n      ".join([command.format(match[1]), *textwrap.wrap(match[2] or "", WIDTH)])


def _laid_out(paragraphs: list[str]) -> str:
    """A blank line between two, but not between two examples."""
    text = ""
    for before, paragraph in zip(["", *paragraphs], paragraphs, strict=False):
        both = before.startswith("  ") and paragraph.startswith("  ")
        text += ("\n" if both else "\n\n" if before else "") + paragraph
    return text


def _dress(command: Command | Group) -> None:
    """Makes its help what standard output is for."""
    command.rich_markup_mode = "rich" if styled(STDOUT) else None
    command.help = with_markup(command.said) if command.rich_markup_mode else without_markup(command.said)


def _write_panels(command: Command | Group, ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record: tuple[str, str] | None = param.get_help_record(ctx)
        if record is not None:
            default = "Arguments" if param.param_type_name == "argument" else "Options"
            rows = panels.setdefault(getattr(param, "rich_help_panel", None) or default, [])
            rows.append((_folded(record[0]), record[1].replace("\\[", "[")))
    for title in sorted(panels, key=lambda title: title not in ("Arguments", "Options")):
        with formatter.section(title):
            formatter.write_dl(panels[title])


def _folded(option: str) -> str:
    """An option whose choices are too many for a line."""
    at = option.rfind("|", 0, WIDTH) + 1
    return f"{option[:at]}\n        {option[at:]}" if len(option) > WIDTH and at else option
