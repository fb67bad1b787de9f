"""The byte code of a package's modules. Lambda's /var/task is read-only, so that Python can't keep it there, and would compile them at every cold start.

Byte code has to be that of the runtime's own Python, so an interpreter of that version makes it. The bytes depend on the sources, on their names in the
package and on that interpreter, whose compiler may change a little from 3.X.Y to 3.X.Z, and on nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.problem import Problem
from shim.package.taskroot import TASK_ROOT
from shim.package.tool import run
from shim.package.tree import DATA, File

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAGIC = {"3.11": 3495, "3.12": 3531, "3.13": 3571, "3.14": 3627}
"""The number that the byte code of a Python begins with, the same in all its releases: Include/internal/pycore_magic_number.h in CPython."""
UNCHECKED = 1
"""The flags of byte code that is taken without a look at the source: https://peps.python.org/pep-0552/"""
HEADER = 16
"""Bytes before the code: the number with a line end, the flags, a hash of the source."""
ISOLATED = ("-s", "-S", "-P", "-B", "-X", "utf8", "-W", "ignore")
"""Nothing but the standard library is there, and nothing is said. Not `-I`, which would ignore the next."""
VARIABLES = {"PYTHONHASHSEED": "0"}
"""Those of its variables that count; all other PYTHON* are taken away."""
FULL = errno.ENOSPC, errno.EDQUOT
"""Why an interpreter that works can't write."""
COMPILER = """
import importlib.util, json, marshal, sys

folder, flags = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/places.json", encoding="utf-8") as file:
    places = json.load(file)
for number, place in enumerate(places):
    with open(f"{folder}/{number}.py", "rb") as file:
        source = file.read()
    try:
        code = compile(source, place, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        continue
    # marshal says of each object whether anything else refers to it (FLAG_REF). To what was just loaded nothing does that the compiler has left.
    content = marshal.dumps(marshal.loads(marshal.dumps(code)))
    header = importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + importlib.util.source_hash(source)
    with open(f"{folder}/{number}.pyc", "wb") as file:
        file.write(header + content)
"""
"""What the interpreter is to do: sources that it can't compile have no byte code."""


def compiled(files: Iterable[File], python: str) -> list[File]:
    """The byte code of the modules among the files, as the runtime looks for it. None, where no interpreter of that version is here.

    Args:
        files: those of a package.
        python: the version of its runtime, as "3.13".

    Raises:
        PackageError: a file can't be read.
    """
    modules = sorted((file for file in files if file.name.endswith(".py")), key=lambda file: file.name)
    with TemporaryDirectory(prefix="shim-compile-") as folder:
        try:
            with open(os.path.join(folder, "places.json"), "w", encoding="utf-8") as places:
                json.dump([f"{TASK_ROOT}/{module.name}" for module in modules], places)
            for number, module in enumerate(modules):
                with open(os.path.join(folder, f"{number}.py"), "wb") as copy:
                    copy.writelines(module.pieces())
        except OSError as error:
            raise _full(folder, str(error.strerror)) from None
        for interpreter in _interpreters(python):
            if found := _compiled_by(interpreter, modules, python, folder):
                return found
    return []


def missing(python: str) -> Problem:
    """What it costs to have no byte code."""
    sentence = (
        f"there is no byte code in it, since no python{python} that works is on the PATH: Python compiles shim anew at every cold start,"
        " which takes nearly twice as long (73 ms instead of 42 ms, as measured)"
    )
    return Problem("warning", "", sentence, f"install Python {python}, or let shim run on it")


def _compiled_by(interpreter: str, modules: Sequence[File], python: str, folder: str) -> list[File]:
    """What one interpreter made; nothing, if it fails or is another than its name says: a pre-release, say, or pyenv's for one that is not chosen."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")} | VARIABLES
    try:
        run(
            [interpreter, *ISOLATED, "-c", COMPILER, folder, str(UNCHECKED)],
            f"{interpreter} can't compile",
            environ,
        )
    except PackageError as error:
        for number in FULL:  # no fault of the interpreter's: without its byte code it would be another package
            if (said := os.strerror(number)) in str(error):
                raise _full(folder, said) from None
        return []
    begins = MAGIC[python].to_bytes(2, "little") + b"\r\n" + UNCHECKED.to_bytes(4, "little")
    found = []
    for number, module in enumerate(modules):
        try:
            with open(os.path.join(folder, f"{number}.pyc"), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            continue
        if content[: len(begins)] != begins or len(content) <= HEADER:
            return []
        found.append(File(_place(module.name, python), DATA, len(content), content))
    return found


def _full(folder: str, said: str) -> PackageError:
    return PackageError(f"no byte code can be written to {folder}: {said}; let TMPDIR name a folder with more room")


def _interpreters(python: str) -> Iterator[str]:
    """This one, if it will do, and those that are found by their name."""
    name = f"python{python}"
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python and sys.executable:
        yield sys.executable
    for folder in os.get_exec_path():
        if (found := shutil.which(name, path=folder)) is not None:
            yield os.path.abspath(found)


def _place(name: str, python: str) -> str:
    """Where Python looks for the byte code of a module: https://peps.python.org/pep-3147/"""
    folder, slash, own = name.rpartition("/")
    return f"{folder}{slash}__pycache__/{own.removesuffix('.py')}.cpython-{python.replace('.', '')}.pyc"
