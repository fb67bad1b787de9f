"""`shim pack`: executables, their libraries, and `shim` with what it needs, as one zip that is the same whenever it is made."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from shim.children.diagnosis import MACHINES
from shim.elf import MAGIC, Elf, ElfInvalid
from shim.errors import PackageError, SettingsError
from shim.package import archive, bytecode, wheels
from shim.package.carried import carried, needs_of
from shim.package.contents import judge_upload
from shim.package.libc import FOLDER as LIBC_FOLDER, with_libc
from shim.package.manifest import settings_file, sums_file
from shim.package.own import WRAPPER, own_files
from shim.package.problem import Problem
from shim.package.sources import Include, executable, included
from shim.package.targets import RUNTIMES
from shim.package.taskroot import TASK_ROOT
from shim.package.tool import run
from shim.package.tree import PROGRAM, File, refuse_collisions
from shim.settings import STREAMED, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from shim.package.targets import Target

ARCHITECTURES = ("x86_64", "arm64")
NEWEST = "python3.13"
BOOTSTRAP = "bootstrap"
"""The file that an OS-only runtime starts."""
HANDLER = "shim.handler"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be packed.

    Attributes:
        executables: their paths; the first is the one that invocations run.
        output: the path of the zip.
        includes: what else goes in.
        runtime: a key of `targets.RUNTIMES`.
        architecture: of the function; None: the executables', or this machine's where they have none.
        settings: those of shim, but for the executable.
        own_runtime: whether our own runtime takes the place of AWS's.
        wheels: a folder with wheels of the packages that shim needs; None: pip finds them.
        with_libc: whether programs bring their own loader and libc.
        upx: whether they are compressed with UPX.
        force: whether it is packed with errors too.
    """

    executables: Sequence[str]
    output: str
    includes: Sequence[Include] = ()
    runtime: str = NEWEST
    architecture: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    own_runtime: bool = False
    wheels: str | None = None
    with_libc: bool = False
    upx: bool = False
    force: bool = False

    @property
    def python(self) -> str | None:
        """The version of the runtime's Python; None for an OS-only runtime."""
        name, _, version = self.runtime.partition("python")
        return None if name else version

    @property
    def target(self) -> Target:
        """The system that the runtime runs on."""
        return RUNTIMES[self.runtime]


class Packed(NamedTuple):
    """What was made.

    Attributes:
        architecture: of the function.
        handler: that the function must have; None where it does not matter.
        variables: that it must have.
        files: how many there are.
        unpacked: bytes of all files.
        zipped: bytes of the zip.
        problems: what is wrong with it, or costs something.
    """

    architecture: str
    handler: str | None
    variables: Mapping[str, str]
    files: int
    unpacked: int
    zipped: int
    problems: Sequence[Problem]


def pack(
    order: Order,
    *,
    judge: Callable[[Sequence[File]], list[Problem]] = lambda _files: [],
    watch: Callable[[int, int], None] = lambda _done, _all: None,
) -> Packed:
    """Makes the zip.

    Args:
        order: what is to be packed.
        judge: says what is wrong with the files of a package.
        watch: is told how many bytes of how many are done, again and again.

    Raises:
        SettingsError: the settings have mistakes, or what was asked for does not go together.
        PackageError: something can't be packed, or the judge found an error.
    """
    _refuse_contradictions(order)
    _refuse_to_replace(order)
    architecture = architecture_of(order.executables, order.architecture)
    with ExitStack() as held:
        workshop = held.enter_context(TemporaryDirectory(prefix="shim-pack-"))
        programs = _programs(order)
        files = _with_libraries(order, architecture, programs)
        warnings = list(_warnings(order, files))
        if order.upx:
            files = [_compressed(file, workshop) if file.name in programs else file for file in files]
        if order.python is not None:
            ours = _of_shim(order, architecture, programs, workshop, held)
            faster = bytecode.compiled(ours, order.python)
            warnings += [] if faster else [bytecode.missing(order.python)]
            files += [*ours, *faster]
        refuse_collisions(files)
        sums = {file.name: archive.checksum(file) for file in files}
        if order.python is not None:
            files.append(sums_file(sums))
            refuse_collisions(files)
        problems = judge(files)
        if not order.force:
            _refuse(problems, is_with_libc=order.with_libc)
        unpacked = sum(file.size for file in files)
        zipped = archive.write(files, order.output, sums=sums, step=_counted(unpacked, watch))
    return Packed(
        architecture,
        None if order.python is None else HANDLER,
        {"AWS_LAMBDA_EXEC_WRAPPER": f"{TASK_ROOT}/{WRAPPER}"} if order.own_runtime else {},
        len(files),
        unpacked,
        zipped,
        [*problems, *warnings, *judge_upload(zipped)],
    )


def architecture_of(executables: Sequence[str], asked: str | None = None) -> str:
    """The architecture of a function with these executables: that of their code. Scripts have none, and then it is what was asked for, or this machine's.

    Raises:
        PackageError: they do not go together, or Lambda does not have it.
    """
    found: dict[str, str] = {}
    for path in filter(os.path.isfile, executables):  # what is none is refused where it is packed
        content = File(path, PROGRAM, os.path.getsize(path), path).read()
        try:
            if content[: len(MAGIC)] == MAGIC:
                found.setdefault(Elf(content).machine, path)
        except ElfInvalid as error:
            raise PackageError(f"{path} can't be packed: {error}; build it again") from None
    for machine, path in found.items():
        if machine not in ARCHITECTURES:
            raise PackageError(
                f"{path} is a program for {machine}, on which Lambda runs nothing; build it for x86_64 or arm64"
            )
        if asked not in (None, machine):
            raise PackageError(
                f"{path} is a program for {machine}; build it for {asked}, or let --architecture be {machine}"
            )
    if len(found) > 1:
        both = " and ".join(f"{path} is for {machine}" for machine, path in found.items())
        raise PackageError(f"{both}, and a function has one architecture; build all for the same")
    here = os.uname().machine
    architecture = next(iter(found), None) or asked or MACHINES.get(here, here)
    if architecture not in ARCHITECTURES:
        raise PackageError(
            f"this machine is {architecture}, on which Lambda runs nothing; say --architecture x86_64 or arm64"
        )
    return architecture


def _refuse_contradictions(order: Order) -> None:
    """Also makes the settings, which checks them."""
    mistakes = []
    if order.python is None:
        given = {
            "own_runtime": order.own_runtime,
            "wheels": order.wheels is not None,
            **dict.fromkeys(order.settings, True),
        }
        mistakes = [
            f"--{name.replace('_', '-')} must not be given with --runtime {order.runtime}, which has no Python and no shim"
            for name, is_given in given.items()
            if is_given
        ]
    if order.with_libc and order.upx:
        mistakes.append("--upx must not be given with --with-libc, since a loader can't load what UPX has compressed")
    if mistakes:
        raise SettingsError(mistakes)
    Settings(executable="program", **order.settings)


def _refuse_to_replace(order: Order) -> None:
    """An option that was forgotten before a name, as in `-o program`, would cost the program itself."""
    output = os.path.realpath(order.output)
    for path in (*order.executables, *(include.source for include in order.includes)):
        if os.path.realpath(path) == output:
            raise PackageError(
                f"{order.output} can't be written: it is packed itself, and would be replaced; name another with -o"
            )


def _programs(order: Order) -> dict[str, File]:
    """The executables by their names in the package, which stand at its root; the first is `bootstrap` where that is what is run."""
    first = BOOTSTRAP if order.python is None else None
    files = [executable(path, None if number else first) for number, path in enumerate(order.executables)]
    refuse_collisions(files)
    return {file.name: file for file in files}


def _with_libraries(order: Order, architecture: str, programs: Mapping[str, File]) -> list[File]:
    """The executables, what is included, and the libraries of both that the target lacks."""
    found = [included(include, order.executables, order.output) for include in order.includes]
    extra = [file for files in found for file in files]
    needs = {file.name: needs_of(file) for file in (*programs.values(), *extra)}
    files: dict[tuple[str, object], File] = {}
    for file in programs.values():
        need = needs.pop(file.name) if order.with_libc else None
        for part in [file] if need is None else with_libc(file, need):
            files[part.name, part.source] = part  # what two programs need is there once
    packed = [*files.values(), *extra]
    wanted = [need for need in needs.values() if need is not None and need.elf.machine == architecture]
    return packed + carried(wanted, packed, order.target)


def _of_shim(
    order: Order, architecture: str, programs: Mapping[str, File], workshop: str, held: ExitStack
) -> list[File]:
    """`shim`, the packages that it needs, and its settings."""
    into = os.path.join(workshop, "wheels")
    os.mkdir(into)
    paths = wheels.find_wheels(
        wheels.requirements(for_bootstrap=order.settings.get("mode") == "bootstrap", are_here=order.wheels is not None),
        wheels.platforms(architecture, order.target.glibc[1]),
        str(order.python),
        into,
        order.wheels,
    )
    files = [file for path in paths for file in wheels.installed_files(path, held)]
    files += own_files(with_runtime=order.own_runtime)
    return [*files, settings_file({"executable": next(iter(programs)), **order.settings})]


def _compressed(file: File, workshop: str) -> File:
    """The program as UPX makes it; a script, and what is compressed already, as it is."""
    content = file.read()
    if content[: len(MAGIC)] != MAGIC or Elf(content).is_packed:
        return file
    upx = shutil.which("upx")
    if upx is None:
        raise PackageError(
            "--upx needs the tool upx, which is not on the PATH; install it (https://upx.github.io), or leave --upx out"
        )
    smaller = os.path.join(workshop, f"{file.name}.upx")
    run(
        [upx, "-qq", "-o", smaller, os.path.abspath(file.origin)],
        f"{file.origin} can't be compressed; leave --upx out. upx says",
    )
    return File(file.name, PROGRAM, os.path.getsize(smaller), smaller)


def _warnings(order: Order, files: Sequence[File]) -> list[Problem]:
    found = []
    if order.with_libc and not any(file.name.startswith(f"{LIBC_FOLDER}/") for file in files):
        sentence = "--with-libc changes nothing, since no EXECUTABLE is loaded dynamically"
        cure = "give programs as EXECUTABLEs that --include takes along" if order.includes else "leave it out"
        found.append(Problem("warning", "", sentence, cure))
    if order.settings.get("output") in STREAMED and not order.own_runtime:
        sentence = f"with AWS's own runtime for Python, output={order.settings['output']} is collected, up to 6 MiB, and not streamed"
        found.append(Problem("warning", "shim.toml", sentence, "pack it with --own-runtime"))
    return found


def _refuse(problems: Sequence[Problem], *, is_with_libc: bool) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        said = "; ".join(
            f"{one.place}: {one.sentence} ({one.cure})" if one.place else f"{one.sentence} ({one.cure})"
            for one in errors
        )
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        if is_with_libc and any("--with-libc" in one.cure for one in errors):
            said += ". --with-libc is for EXECUTABLEs alone: give such a program as one, instead of with --include"
        raise PackageError(
            f"the package would have {count}: {said}. Nothing was written; --force writes it all the same"
        )


def _counted(whole: int, watch: Callable[[int, int], None]) -> Callable[[int], None]:
    done = 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        watch(done, whole)

    return step
