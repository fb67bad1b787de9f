"""`shim new`: a small project that is a whole function already, from the templates beside this file.

A project is made of four folders of them: what all have, what its mode has, what its language has, and what both together have. No file is in two
of them. What stands in double braces is replaced, in contents and in names; a name that begins with `dot-` begins with a dot in the project.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from shim.errors import PackageError

TEMPLATES = Path(__file__).with_name("templates")
LANGUAGES = ("shell", "c", "crystal", "go", "haskell", "rust")
MODES = ("oneshot", "warm", "bootstrap")
RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
NAME = re.compile("[A-Za-z][A-Za-z0-9-]{1,39}")
"""What a function, a CloudFormation stack, a Serverless service and a crate may all be called."""
BRACES = re.compile(r"\{\{(\w+)\}\}")
FACTS = {"language.toml", "mode.toml"}
"""What is told of a template, and is no part of the project."""
COMPILED = "__pycache__"
"""pip compiles every Python file that it installs."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is to be made.

    Attributes:
        name: of the function, and of its folder; matches NAME.
        language: one of LANGUAGES.
        mode: one of MODES.
        runtime: the function's, one of RUNTIMES.
        architecture: x86_64 or arm64.
    """

    name: str
    language: str
    mode: str
    runtime: str
    architecture: str

    @property
    def facts(self) -> dict[str, Any]:
        """What is told of the language and of the mode, for this project: each a text, or a list of texts."""
        language = _read(TEMPLATES / self.language / "language.toml")
        told = {name: value for name, value in language.items() if name not in MODES}
        told |= _read(TEMPLATES / "modes" / self.mode / "mode.toml") | language.get(self.mode, {})
        own = {name: getattr(self, name) for name in self.__slots__}
        told = {name: _filled(value, own) if isinstance(value, str) else value for name, value in told.items()}
        packing = ["shim pack --runtime", self.runtime, told["pack"], f"build/{self.name}", told.get("tools")]
        return {**own, **told, "pack": " ".join(filter(None, packing))}

    @property
    def folders(self) -> list[Path]:
        """Where its templates are."""
        of_language = TEMPLATES / self.language
        return [TEMPLATES / "every", TEMPLATES / "modes" / self.mode, of_language / "every", of_language / self.mode]


class Made(NamedTuple):
    """What was made.

    Attributes:
        files: their paths in the project's folder, sorted.
        build: the lines of sh that make the executable.
        source: the file that one changes first.
        title: the language, as one writes it.
        needs: what building and running it needs, in words.
        debian: Debian's packages that have it, separated by blanks.
    """

    files: list[str]
    build: list[str]
    source: str
    title: str
    needs: str
    debian: str


def make(project: Project, folder: str) -> Made:
    """Makes the project, whole or not at all.

    Args:
        project: what is to be made.
        folder: which becomes the project's, and is not there yet, or empty.

    Raises:
        PackageError: something is there already, or can't be written.
    """
    facts = project.facts
    texts = {name: _text(value) for name, value in facts.items()}
    place = os.path.abspath(folder)
    unfinished = None
    try:
        unfinished = Path(mkdtemp(dir=os.path.dirname(place), prefix=f".{os.path.basename(place)}-"))
        for templates in project.folders:
            _copy(templates, unfinished, texts)
        unfinished.chmod(0o777 & ~_umask())
        unfinished.rename(place)
    except OSError as refusal:
        raise _refused(folder, refusal) from None
    finally:
        if unfinished is not None and unfinished.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
    files = sorted(str(path.relative_to(place)) for path in Path(place).rglob("*") if path.is_file())
    build = [line for line in facts["build"].splitlines() if not line.startswith("#")]
    return Made(files, build, facts["source"], facts["title"], facts["needs"], texts["debian"])


def _refused(folder: str, refusal: OSError) -> PackageError:
    if os.path.lexists(folder):
        return PackageError(f"{folder} is there already; give another name, or remove it")
    return PackageError(f"{folder} can't be made: {refusal.strerror}")


def _copy(templates: Path, to: Path, facts: dict[str, str]) -> None:
    for path in sorted(templates.rglob("*")):
        inside = path.relative_to(templates)
        if path.is_dir() or COMPILED in inside.parts or inside.name in FACTS:
            continue
        parts = [re.sub("^dot-", ".", _filled(part, facts)) for part in inside.parts]
        target = to.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(_filled(path.read_text(encoding="utf-8"), facts))
        if path.stat().st_mode & 0o111:
            target.chmod(0o777 & ~_umask())


def _filled(text: str, facts: dict[str, str]) -> str:
    return BRACES.sub(lambda found: facts[found[1]], text)


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
