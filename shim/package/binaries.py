"""One ELF file of a package: whether its loader would take it, with its libraries and their versions."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from shim.elf import ET_CORE, ET_REL, Elf, ElfInvalid
from shim.package.ground import BUILD_AGAIN, error, warning
from shim.package.libraries import closure
from shim.package.loaders import MUSL_ITSELF, PAGE
from shim.package.targets import GLIBC_FAMILY, LOADERS, RUNTIMES
from shim.package.taskroot import TASK_ROOT
from shim.package.versions import judge_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.package.ground import Ground
    from shim.package.libraries import Closure, Library
    from shim.package.problem import Problem

NOWHERE = "is nowhere"
"""How `Library.trouble` begins where the loader would go on to the system's folders."""
OF_PYTHON = re.compile(r"libpython3(?:\.(\d+))?\.so(\.1\.0)?")
"""Python's own library, which its runtimes have in /var/lang/lib, each that of its own version."""
USUAL = {
    "x86_64": (LOADERS["x86_64"], f"/usr{LOADERS['x86_64']}"),
    "arm64": (
        LOADERS["arm64"],
        f"/usr{LOADERS['arm64']}",
        "/lib64/ld-linux-aarch64.so.1",
        "/usr/lib64/ld-linux-aarch64.so.1",
    ),
}
"""The paths under which glibc's loader is there: /lib and /lib64 are links into /usr."""

GLIBC_LOADERS = [posixpath.basename(loader) for loader in LOADERS.values()]


def judge_binary(name: str, ground: Ground) -> Iterator[Problem]:
    """What would keep a program from being started. What it needs of the package is added to `ground.needed`."""
    try:
        elf = Elf(content := ground.root.content(f"{TASK_ROOT}/{name}"))
        stop = list(_of_headers(name, elf, len(content), ground))
        yield from stop
        if not any(problem.severity == "error" for problem in stop):
            yield from _judge_loaded(name, ground)
    except ElfInvalid as invalid:
        yield error(name, f"it is a broken ELF program: {invalid}", BUILD_AGAIN)
    except OSError as unreadable:
        yield error(name, f"it {unreadable.strerror or unreadable}", "package it again")


def judge_library(name: str, ground: Ground) -> Iterator[Problem]:
    """What would keep a library or an extension module from being loaded by a program of the function."""
    try:
        elf = Elf(ground.root.content(f"{TASK_ROOT}/{name}"))
        if elf.type in (ET_REL, ET_CORE):
            return  # there for something else
        if ground.architecture is not None and (elf.machine, elf.bits) != (ground.architecture, 64):
            yield _of_other_machine(name, elf, ground, "a library")
            return
        yield from _judge_loaded(name, ground, is_program=False)
    except ElfInvalid as invalid:
        yield error(name, f"it is a broken ELF file: {invalid}", BUILD_AGAIN)
    except OSError as unreadable:
        yield error(name, f"it {unreadable.strerror or unreadable}", "package it again")


def _of_headers(name: str, elf: Elf, size: int, ground: Ground) -> Iterator[Problem]:
    if elf.machine not in LOADERS or elf.bits != 64 or elf.byte_order != "little":
        bits = "" if elf.bits == 64 and elf.machine in LOADERS else f" ({elf.bits} bits)"
        sentence = f"it is a program for {elf.machine}{bits}, on which Lambda runs nothing"
        yield error(name, sentence, f"build it for {ground.built_for}")
        return
    if ground.architecture not in (None, elf.machine):
        yield _of_other_machine(name, elf, ground, "a program")
    if not elf.is_program:
        kind = {ET_REL: "an object file", ET_CORE: "a core file"}.get(elf.type, "a library")
        cure = "link it" if elf.type == ET_REL else "package the program itself"
        yield error(name, f"it is {kind}, not a program", f"{cure}, and let executable name that")
    elif elf.length > -(-size // PAGE) * PAGE:  # the last page is filled up with zeros
        sentence = f"it is truncated: it has {size} bytes, and its ELF headers describe {elf.length}"
        yield error(name, sentence, BUILD_AGAIN)
    elif elf.is_packed:
        sentence = "it is compressed with UPX: it unpacks itself at every start, which takes tens of milliseconds, and what libraries it needs can't be seen"
        yield warning(
            name, sentence, "measure it (shim invoke --repeat 20), and package it uncompressed if that is too slow"
        )
    else:
        yield from _of_loader(name, elf, ground)


def _of_other_machine(name: str, elf: Elf, ground: Ground, kind: str) -> Problem:
    sentence = f"it is {kind} for {elf.machine}, and the function is for {ground.architecture}"
    return error(
        name, sentence, f"build it for {ground.architecture}, or choose {elf.machine} as the function's architecture"
    )


def _of_loader(name: str, elf: Elf, ground: Ground) -> Iterator[Problem]:
    loader = elf.interpreter
    if loader is None or _brings_loader(elf, ground) or _own_folder(name, elf, ground):
        return
    if loader in USUAL.get(elf.machine, ()):
        return
    if elf.libc == "musl":
        sentence = (
            f"it is linked against musl (perhaps built on Alpine), whose loader {loader} is not on {ground.target.name}"
        )
        cure = "link it statically (-static), or build it on a glibc system such as Amazon Linux"
    else:
        sentence = f"it names a loader that is not on {ground.target.name}: {loader}"
        cure = f"link it statically, or on a system like {ground.target.name}"
        if elf.machine in LOADERS:
            cure += f"; or patchelf --set-interpreter {LOADERS[elf.machine]}"
    yield error(name, sentence, cure)


def _brings_loader(elf: Elf, ground: Ground) -> bool:
    """Whether the loader that it names is one of the package's."""
    return elf.interpreter is not None and ground.root.has(posixpath.join(TASK_ROOT, elf.interpreter))


def _own_folder(name: str, elf: Elf, ground: Ground) -> str | None:
    """The folder of a program that brings its loader and libc along (`shim pack --with-libc`), as its launcher gives it to the loader."""
    folder = posixpath.dirname(name)
    if not folder or f"{TASK_ROOT}/{folder}" in ground.function.library_path.split(":"):
        return None
    loaders = GLIBC_LOADERS if elf.interpreter is None else [posixpath.basename(elf.interpreter)]
    return folder if any(ground.root.at(f"{folder}/{loader}") is not None for loader in loaders) else None


def _judge_loaded(name: str, ground: Ground, *, is_program: bool = True) -> Iterator[Problem]:
    """The libraries, all that they need in turn, and the versions.

    What may be on the target is not said of a library: what loads it (Python, for its extension modules) has mostly loaded that as well.
    """
    path = f"{TASK_ROOT}/{name}"
    elf = Elf(ground.root.content(path))
    own = _own_folder(name, elf, ground)
    search = ground.function.library_path if own is None else f"{TASK_ROOT}/{own}"
    closed = closure(path, root=ground.root, library_path=search, folder=TASK_ROOT, has_system=False)
    for library in closed.libraries:
        if library.file is not None:
            ground.needed.add(library.file)
        elif (problem := _of_missing(name, library, closed, ground, is_alone=own is not None)) is not None and (
            is_program or problem.severity == "error"
        ):
            yield problem
    yield from judge_versions(name, closed, ground, is_alone=own is not None or _brings_loader(elf, ground))


def _of_missing(name: str, library: Library, closed: Closure, ground: Ground, *, is_alone: bool) -> Problem | None:
    """A library that is not in the package, or not one that the loader takes."""
    by = ground.root.file(library.needed_by[0]) or name
    machine = closed.elf.machine
    if is_alone and closed.elf.libc == "musl" and MUSL_ITSELF.match(library.name):
        return None  # the loader that the package brings is that library
    is_refused = not library.trouble.startswith(NOWHERE)
    _, _, seen = library.trouble.partition("; ")
    if not is_refused and not is_alone:
        if ground.target.has(library.name, machine) or library.name in LOADERS.values():
            return None
        if _is_of_python(library.name, ground):
            return None
        if closed.elf.libc == "musl" and closed.loader is not None:
            return None  # that its loader is missing is said
    if is_refused:
        shown = library.trouble.replace(f"{TASK_ROOT}/", "")
        return error(
            by,
            f"it needs {library.name}, and {shown}",
            "package the library itself there, as it was built for that program",
        )
    if not seen and not is_alone and ground.target.shows(library.name):
        sentence = f"it needs {library.name}, which the images of {ground.target.name} have, and its runtimes for zip packages may lack"
        return warning(by, sentence, "package it in lib/, as shim pack does")
    shown = f" ({seen.replace(f'{TASK_ROOT}/', '')})" if seen else ""
    sentence = (
        f"it needs the library {library.name}, which is neither in the package nor on {ground.target.name}{shown}"
    )
    return error(by, f"{sentence}{_search_of(closed)}", _where_to_put(library.name, ground))


def _is_of_python(library: str, ground: Ground) -> bool:
    """Whether the runtime's Python has it; any Python's, where nothing tells which that is."""
    found = OF_PYTHON.fullmatch(library)
    if found is None or ground.function.is_custom:
        return False
    python = f"3.{found[1]}"
    return found[1] is None or (
        python == ground.function.python if ground.function.python else f"python{python}" in RUNTIMES
    )


def _search_of(closed: Closure) -> str:
    """What is said of a search path that names folders outside of the package."""
    tag = "RPATH" if closed.elf.runpath is None else "RUNPATH"
    paths = (closed.elf.runpath or closed.elf.rpath or "").split(":")
    outside = [path for path in paths if path.startswith("/") and not path.startswith((f"{TASK_ROOT}/", "/opt/"))]
    return f"; its {tag} names {outside[0]}, which is outside of the package" if outside else ""


def _where_to_put(library: str, ground: Ground) -> str:
    if "/" in library:
        return "give that library a name without a path (-Wl,-soname, or patchelf --replace-needed), and package it in lib/"
    for name, _ in ground.root:
        own = posixpath.basename(name)
        if own == library:
            return f"the package has it as {name}: move it to lib/, where the loader looks"
        if own.startswith(f"{library}."):
            return f"the package has {name}: put it into lib/ under the name {library}"
    return "package it and what it needs in lib/ (shim pack does where this machine has it; else --include FILE:lib/), or link the program statically"


def judge_glibc(ground: Ground, *, matters: bool) -> Iterator[Problem]:
    """Parts of glibc where LD_LIBRARY_PATH finds them: every program takes them for the target's, and no two builds of glibc fit together.

    Args:
        ground: the package.
        matters: whether a program is started that loads them.
    """
    folders = [ground.root.name_of(folder) for folder in ground.function.library_path.split(":")]
    found = sorted(
        name
        for name, _ in ground.root
        if posixpath.basename(name) in GLIBC_FAMILY
        and posixpath.dirname(name) in folders
        and ground.root.at(name) is not None
    )
    if not found or ground.function.prefers_system:
        return
    others = f" (with {', '.join(found[1:])})" if found[1:] else ""
    sentence = f"it is a part of glibc, which every program of the function would load in place of {ground.target.name}'s own, whose loader and other parts do not go with it{others}"
    cure = "leave all parts of glibc out; for a program that needs a newer one: shim pack --with-libc, which keeps them apart"
    yield (error if matters else warning)(found[0], sentence, cure)
