"""`shim check`: everything that is wrong with a deployment package, before it is uploaded. Nothing of it is run."""

from __future__ import annotations

import posixpath
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from shim.elf import MAGIC, Elf, ElfInvalid
from shim.errors import PackageError
from shim.package.binaries import judge_glibc, judge_library
from shim.package.contents import (
    folder_that_holds_all,
    judge_kinds,
    judge_members,
    judge_modes,
    judge_names,
    judge_sizes,
    parts_of,
    stands_below,
)
from shim.package.dependencies import OF_SHIM, judge_dependencies, judge_handler
from shim.package.function import LIBRARY, candidates, function_of, is_console_script, target_for
from shim.package.ground import Ground, warning
from shim.package.programs import judge_executable
from shim.package.sums import judge_sums
from shim.package.targets import LOADERS
from shim.package.taskroot import TASK_ROOT, TaskRoot, first_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shim.package.function import Function
    from shim.package.problem import Problem
    from shim.package.targets import Target
    from shim.package.tree import File

OF_PROGRAMS = ("", "bin")
"""Folders where a function has its programs. A program elsewhere that is not executable may well be data."""
ALIKE = 3
"""Files with the same problem that are listed one by one; of more, the first stands for all."""


class Verdict(NamedTuple):
    """What is said of a package.

    Attributes:
        problems: the errors, then the warnings.
        target: the system that it was judged for.
        architecture: that it was judged for; None where nothing tells, since it has only scripts.
        executables: the names of the files that invocations run.
        python: the version of Python that it is for; None where that does not matter.
    """

    problems: list[Problem]
    target: Target
    architecture: str | None
    executables: Sequence[str]
    python: str | None


def check(  # noqa: PLR0913 - each stands for itself
    files: Sequence[File],
    *,
    target: Target | None = None,
    architecture: str | None = None,
    executables: Sequence[str] | None = None,
    zipped: int | None = None,
    sums: bool = True,
) -> list[Problem]:
    """Everything that is wrong with a package, the errors first. See `judge`."""
    return judge(
        files, target=target, architecture=architecture, executables=executables, zipped=zipped, sums=sums
    ).problems


def judge(  # noqa: PLR0913 - each stands for itself
    files: Sequence[File],
    *,
    target: Target | None = None,
    architecture: str | None = None,
    executables: Sequence[str] | None = None,
    zipped: int | None = None,
    handler: str | None = None,
    sums: bool = True,
) -> Verdict:
    """Judges the files of a package, as they will be in /var/task.

    Args:
        files: of the package. Folders may be among them, with their modes.
        target: the system; None: that of the Python which it is for, or else the newest.
        architecture: of the function, in Lambda's spelling; None: that of its executable.
        executables: the names of what invocations run; None: what its shim.toml or a bootstrap says, or the one program that it has.
        zipped: the zip's size, where there is one.
        handler: the function's, where it is known.
        sums: whether SHA256SUMS is held against the files.

    Raises:
        PackageError: nothing can be said, since this machine lets us do nothing.
    """
    folder = None if executables is not None else folder_that_holds_all(files, _below)
    if folder is not None:
        files = [replace(file, name=_inside(file.name, folder)) for file in files if _inside(file.name, folder)]
    root = TaskRoot(files)
    function, problems = function_of(root, executables)
    ground = Ground(
        root, target or target_for(function.python), architecture or _architecture(root, function), function
    )
    problems += judge_names(files)
    problems += judge_members(files)
    problems += _judge_executables(ground)
    problems += judge_dependencies(ground)
    problems += [] if handler is None else judge_handler(handler, ground)
    problems += _judge_others(ground)
    problems += judge_kinds(ground)
    ground.needed.update(name for name, _ in root if function.uses_shim and OF_SHIM.match(name))
    problems += judge_modes(files, ground)
    problems += judge_sizes(files, zipped)
    problems += judge_sums(root) if sums else []
    if folder is not None:
        what = "everything"
        problems = [stands_below(folder, what), *(_placed_in(folder, problem) for problem in problems)]
    return Verdict(
        _in_order(problems), ground.target, ground.architecture, function.executables, ground.function.python
    )


def _judge_executables(ground: Ground) -> Iterator[Problem]:
    """What invocations run: errors, but where nobody knows which of several that is."""
    function = ground.function
    for name in function.executables:
        found = judge_executable(name, ground)
        yield from found if function.is_known else map(_softened, found)
    if not function.is_known:
        what = "holds several programs" if function.executables else "holds no program at its root or in bin/"
        sentence = f"the package {what}, and neither a shim.toml nor a bootstrap, so that it is not known what the function runs"
        cure = 'let a shim.toml at its root say it (executable = "bin/program"), or the variable SHIM_EXECUTABLE'
        yield warning("", sentence, cure)
    starts = any(_loads_glibc(name, ground) for name in function.executables)
    yield from judge_glibc(ground, matters=starts)


def _loads_glibc(name: str, ground: Ground) -> bool:
    """Whether a program of the target's, or this one, loads glibc to run it: all but what is static."""
    file = ground.root.at(name)
    try:
        if file is None or first_bytes(file, len(MAGIC)) != MAGIC:
            return True
        return Elf(ground.root.content(f"{TASK_ROOT}/{name}")).interpreter is not None
    except (ElfInvalid, OSError, PackageError):
        return False


def _judge_others(ground: Ground) -> Iterator[Problem]:
    """The programs, scripts and libraries that nothing was seen to need. Who runs or loads one will see: warnings, but for what `shim` imports."""
    apart = replace(ground, needed=set(ground.needed))
    for name, file in ground.root:
        if name in apart.needed or not stat.S_ISREG(file.mode):
            continue
        try:
            first = first_bytes(file, len(MAGIC))
        except PackageError as unreadable:
            yield warning(name, str(unreadable), "package it again")
            continue
        if first == MAGIC:
            is_imported = ground.function.uses_shim and name.startswith("orjson/")
            if not _is_program(name, ground):
                found = judge_library(name, apart)
                yield from found if is_imported else map(_softened, found)
            elif file.mode & 0o111 or not file.mode & 0o777 or posixpath.dirname(name) in OF_PROGRAMS:
                yield from map(_softened, judge_executable(name, apart))
        elif first[:2] == b"#!" and file.mode & 0o111 and not is_console_script(file):
            yield from map(_softened, judge_executable(name, apart))


def _is_program(name: str, ground: Ground) -> bool:
    if LIBRARY.search(name):
        return False
    try:
        return Elf(ground.root.content(f"{TASK_ROOT}/{name}")).is_program
    except (ElfInvalid, OSError):
        return False


def _architecture(root: TaskRoot, function: Function) -> str | None:
    """That of what is run; of a script, that of orjson, which runs beside it."""
    modules = [name for name, _ in root if name.startswith("orjson/") and name.endswith(".so")]
    for name in (*function.executables, *modules):
        try:
            machine = Elf(root.content(f"{TASK_ROOT}/{name}")).machine
        except (ElfInvalid, OSError):
            continue
        if machine in LOADERS:
            return machine
    return None


def _below(root: TaskRoot) -> bool:
    """Whether there is a program where a package would have its own, if it were in one folder."""
    tops = {parts_of(name)[0] for name, _ in root}
    return any(candidates(root, (top, f"{top}/bin")) for top in tops)


def _inside(name: str, folder: str) -> str:
    """The name in the folder; "" for what is beside it."""
    first, *rest = parts_of(name) or [""]
    return "/".join(rest) if first == folder else ""


def _placed_in(folder: str, problem: Problem) -> Problem:
    return problem._replace(place=f"{folder}/{problem.place}") if problem.place else problem


def _softened(problem: Problem) -> Problem:
    return problem._replace(severity="warning")


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The errors first; what many files have in common once."""
    alike: dict[tuple[str, str, str], list[Problem]] = {}
    said = dict.fromkeys(problems)
    for problem in said:
        if problem.severity == "warning" and problem._replace(severity="error") in said:
            continue
        alike.setdefault((problem.severity, problem.sentence, problem.cure), []).append(problem)
    merged: list[Problem] = []
    for same in alike.values():
        if len(same) <= ALIKE:
            merged += same
            continue
        others = f"; so it is with {len(same) - 1} other files, as {same[1].place}"
        merged.append(same[0]._replace(sentence=same[0].sentence + others))
    return sorted(merged, key=lambda problem: problem.severity != "error")
