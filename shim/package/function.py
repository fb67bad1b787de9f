"""What function a package makes: the settings that it brings, what it runs, and on which kind of runtime."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shim.elf import MAGIC, Elf, ElfInvalid
from shim.errors import PackageError, SettingsError
from shim.package.problem import Problem
from shim.package.targets import INTERPRETERS, RUNTIMES
from shim.package.taskroot import TASK_ROOT, first_bytes
from shim.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shim.package.targets import Target
    from shim.package.taskroot import TaskRoot
    from shim.package.tree import File

SETTINGS_FILE = "shim.toml"
LONGEST = 1024 * 1024
"""Bytes of it that are read. Some hundred are usual, and all are read at every cold start."""
BOOTSTRAP = "bootstrap"
"""What an OS-only runtime starts."""
NATIVE = re.compile(r"\.cpython-3(\d+)-[^/]*\.so$")
"""The end of the name of an extension module that is for one Python only (PEP 3149)."""
LIBRARY = re.compile(r"\.so(\.[^/]*)?$")
"""The end of a library's name: libz.so, libz.so.1.2. Not that of a program that is called merge.sort."""
CONSOLE_SCRIPT = re.compile(rb"#![^\n]*python[^\n]*\n.*^\s*sys\.exit\(", re.DOTALL | re.MULTILINE)
"""As pip's installer writes it (distlib's scripts.py): few lines, of which the last is sys.exit(main())."""
NAMED_LATER = "SHIM_EXECUTABLE", "program"
"""An executable that is not named in the file may be named by this variable, and any will do to check the rest."""


@dataclass(frozen=True, slots=True)
class Function:
    """What is known of it.

    Attributes:
        executables: the names of the files that invocations run, links followed.
        is_custom: whether it is for an OS-only runtime, which has no Python.
        uses_shim: whether `shim` runs the executable.
        python: the version of Python that its modules are for, as "3.13"; None where they are for any, or there are none.
        settings: those of its shim.toml; None where there is none, or it has mistakes.
        library_path: LD_LIBRARY_PATH, as far as it names folders of the package.
        search: folders of PATH that come before the system's.
        is_known: whether the package says what is run.
    """

    executables: tuple[str, ...]
    is_custom: bool
    uses_shim: bool
    python: str | None
    settings: Settings | None
    library_path: str
    search: tuple[str, ...]
    is_known: bool = True

    @property
    def prefers_system(self) -> bool:
        """Whether the system's libraries come before the package's: an OS-only runtime's LD_LIBRARY_PATH begins with /lib64.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        return self.is_custom


def function_of(root: TaskRoot, executables: Sequence[str] | None) -> tuple[Function, list[Problem]]:
    """The function, and what is wrong with how the package describes it.

    Args:
        root: the package.
        executables: what is run, where somebody knows it.
    """
    problems: list[Problem] = []
    settings = None
    described = root.at(SETTINGS_FILE)
    if described is not None:
        settings, named, problems = _described(described)
    else:
        named = BOOTSTRAP if BOOTSTRAP in root and not root.has(f"{TASK_ROOT}/shim") else None
    is_custom = described is None and named == BOOTSTRAP
    env = {} if settings is None else settings.env
    function = Function(
        executables=(),
        is_custom=is_custom,
        uses_shim=described is not None or root.has(f"{TASK_ROOT}/shim/__init__.py"),
        python=None if is_custom else python_of(name for name, _ in root),
        settings=settings,
        library_path=env.get(
            "LD_LIBRARY_PATH", f"{TASK_ROOT}:{TASK_ROOT}/lib" if is_custom else f"{TASK_ROOT}/lib:{TASK_ROOT}"
        ),
        search=_search(env, is_custom=is_custom),
    )
    if settings is not None and settings.cwd is not None:
        place = posixpath.join(TASK_ROOT, settings.cwd)
        if root.name_of(place) is not None and not root.has(place):
            sentence = f"cwd is {settings.cwd!r}, and there is no such folder in the package"
            problems.append(Problem("error", SETTINGS_FILE, sentence, "let it name one that is there, or /tmp"))
    if executables is None and named is not None:
        function, found = _running(root, function, named)
        return function, problems + found
    if executables is None:
        executables = candidates(root)
        function = replace(function, is_known=len(executables) == 1)
    return replace(function, executables=with_launched(root, executables)), problems


def python_of(names: Iterable[str]) -> str | None:
    """The version of Python that orjson, which every function of ours has, was built for."""
    found = (NATIVE.search(name) for name in names if name.startswith("orjson/"))
    return next((f"3.{match[1]}" for match in found if match is not None), None)


def target_for(python: str | None) -> Target:
    """The system of the runtime with that Python; the newer one where it does not matter."""
    return RUNTIMES.get(f"python{python}", RUNTIMES["provided.al2023"])


def candidates(root: TaskRoot, folders: Sequence[str] = ("", "bin")) -> tuple[str, ...]:
    """The names of what looks like programs, in folders where a function has its own."""
    return tuple(name for name, file in root if posixpath.dirname(name) in folders and _looks_run(root, name, file))


def with_launched(root: TaskRoot, names: Sequence[str]) -> tuple[str, ...]:
    """The names, and the programs that a launcher of `shim pack --with-libc` starts in their place."""
    launched = [f"libc/{name}" for name in names]
    return (*names, *(name for name in launched if root.at(name) is not None))


def _looks_run(root: TaskRoot, name: str, file: File) -> bool:
    """A script that is executable, or a program, whether it is or not."""
    try:
        first = first_bytes(file, len(MAGIC))
        if first[:2] == b"#!":
            return bool(file.mode & 0o111) and not is_console_script(file)
        if first != MAGIC or LIBRARY.search(name):
            return False
        return Elf(root.content(f"{TASK_ROOT}/{name}")).is_program
    except (PackageError, OSError, ElfInvalid):
        return False


def is_console_script(file: File) -> bool:
    """Whether pip made it for a command of a Python package, which no function runs: its interpreter is that of the machine where pip ran.

    Raises:
        PackageError: it can't be read.
    """
    return CONSOLE_SCRIPT.match(first_bytes(file, 1024)) is not None


def _search(env: dict[str, str], *, is_custom: bool) -> tuple[str, ...]:
    if "PATH" in env:
        return tuple(posixpath.join(TASK_ROOT, folder) for folder in env["PATH"].split(":"))
    return () if is_custom else (f"{TASK_ROOT}/bin", TASK_ROOT)


def _described(file: File) -> tuple[Settings | None, str | None, list[Problem]]:
    """The settings, the executable and the mistakes of a shim.toml."""
    if not stat.S_ISREG(file.mode):
        return None, None, [Problem("error", SETTINGS_FILE, "it is no file", "package a file of that name, or none")]
    if file.size > LONGEST:
        sentence = f"it has {file.size} bytes, more than any settings"
        return None, None, [Problem("error", SETTINGS_FILE, sentence, "let it hold the settings of shim alone")]
    import tomllib  # noqa: PLC0415 - only where there is a file
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - likewise

    try:
        content = b"".join(file.pieces())
    except PackageError as error:
        return None, None, [Problem("error", SETTINGS_FILE, str(error), "package it again")]
    try:
        named = tomllib.loads(content.decode()).get("executable")
    except (ValueError, RecursionError):
        named = None
    try:
        with TemporaryDirectory(prefix="shim-check-") as folder:
            with open(os.path.join(folder, SETTINGS_FILE), "wb") as copy:
                copy.write(content)
            environ = {} if named is not None else dict([NAMED_LATER])
            settings = Settings.from_environment(environ, folder=folder)
    except SettingsError as error:
        said = [Problem("error", SETTINGS_FILE, mistake, "correct it there") for mistake in error.mistakes]
        return None, named if isinstance(named, str) else None, said
    except RecursionError:
        said = [Problem("error", SETTINGS_FILE, "it is nested too deeply to be read", "correct it there")]
        return None, None, said
    except OSError as error:
        raise PackageError(f"{SETTINGS_FILE} can't be looked at: {error.strerror} ({error.filename})") from None
    return settings, named, []


def _running(root: TaskRoot, function: Function, executable: str) -> tuple[Function, list[Problem]]:
    """The function with its executable, as `shim` will look for it, or why it won't be found."""
    places = [posixpath.join(TASK_ROOT, executable)]
    if "/" not in executable:
        places += [posixpath.join(folder, executable) for folder in function.search]
    for place in places:
        name = root.name_of(place)
        if name and root.at(name) is not None:
            return replace(function, executables=with_launched(root, [name])), []
    where = BOOTSTRAP if function.is_custom else SETTINGS_FILE
    of_system = {path if "/" in executable else path.rpartition("/")[2] for path in INTERPRETERS}
    if executable in of_system or executable.startswith("/var/lang/"):
        return function, []
    if executable.startswith("/") and root.name_of(executable) is None:
        sentence = f"executable is {executable!r}, which is outside of the package, so that nothing is known of it"
        cure = "let a layer bring it, or package it"
        return function, [Problem("warning", where, sentence, cure)]
    if executable != posixpath.basename(executable) and root.has(posixpath.join(TASK_ROOT, executable)):
        sentence, cure = f"executable is {executable!r}, which is a folder", "let it name a file in it"
        return function, [Problem("error", where, sentence, cure)]
    sentence = f"executable is {executable!r}, and there is no such file in the package"
    return function, [Problem("error", where, sentence, _elsewhere(root, executable))]


def _elsewhere(root: TaskRoot, executable: str) -> str:
    own = posixpath.basename(executable)
    for name, _ in root:
        if posixpath.basename(name) == own:
            return f"let executable be {name!r}, where it is"
    return "package it there, or correct executable, a path relative to the package's root"
