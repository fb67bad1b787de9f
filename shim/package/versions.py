"""The versions of the target's own libraries that programs and libraries of a package need."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from shim.elf import glibc_of
from shim.package.ground import error
from shim.package.targets import GLIBC_FAMILY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from shim.elf import Elf
    from shim.package.ground import Ground
    from shim.package.libraries import Closure, Library
    from shim.package.problem import Problem

PRIVATE = "GLIBC_PRIVATE"
STATICALLY = " (-static-libstdc++ -static-libgcc)"
FIRST_OF_SYSTEM = (
    ", whose library an OS-only runtime takes before the package's, since its LD_LIBRARY_PATH begins with /lib64"
)


def judge_versions(name: str, closed: Closure, ground: Ground, *, is_alone: bool = False) -> Iterator[Problem]:
    """What a program, or a library that it loads, needs, and what it finds is too old for.

    Args:
        name: of the program.
        closed: it and its libraries.
        ground: what they are judged against.
        is_alone: whether it has nothing of the target, since it brings its own loader and libc.
    """
    packaged = {library.name: library for library in closed.libraries if library.path is not None}
    loaded = [(name, closed.elf)]
    loaded += [(library.file, library.elf) for library in closed.libraries if library.file and library.elf]
    for place, elf in loaded:
        subject = "it" if place == name else f"it, a library of {name},"
        for library, version in _undefined(elf, packaged, ground):
            sentence = (
                f"{subject} needs {version} of {library}, which the package's {packaged[library].file} does not have"
            )
            yield error(place, sentence, f"package the {library} of the system that it was built on")
        if is_alone or posixpath.basename(place) in GLIBC_FAMILY:
            continue  # that a part of glibc is there at all is said
        for family, lacking in _lacking(elf, packaged, ground).items():
            version, library = max(lacking, key=lambda one: _number(one[0]))
            if family == "GLIBC":
                sentence, cure = _of_glibc(version, library, ground, is_program=place == name)
            else:
                sentence, cure = _of_other(family, version, library, ground)
                if library in packaged:
                    sentence += FIRST_OF_SYSTEM
                    cure = (
                        f"let the function's LD_LIBRARY_PATH be /var/task/lib, or link {library} statically{STATICALLY}"
                    )
            yield error(place, f"{subject} {sentence}", cure)


def _undefined(elf: Elf, packaged: Mapping[str, Library], ground: Ground) -> Iterator[tuple[str, str]]:
    """The newest version that it needs of each library of the package, where that has versions of the same family, and not this one.

    The names of versions are looked for among all texts of the library: what it has is there in any case.
    """
    for library, versions in elf.versions.items():
        path = packaged[library].path if library in packaged else None
        if path is None or (library not in GLIBC_FAMILY and _is_passed_over(elf, ground)):
            continue
        content = ground.root.content(path)
        texts = content[0 : len(content)]
        lacking = [
            version
            for version in versions
            if f"{version}\0".encode() not in texts and f"{version.partition('_')[0]}_".encode() in texts
        ]
        if lacking:
            yield library, max(lacking, key=_number)


def _lacking(elf: Elf, packaged: Collection[str], ground: Ground) -> dict[str, list[tuple[str, str]]]:
    """The family of versions (GLIBC, GLIBCXX …) → those that the target lacks, with their libraries."""
    lacking: dict[str, list[tuple[str, str]]] = {}
    for library, versions in elf.versions.items():
        if not ground.target.has(library, elf.machine) and library not in GLIBC_FAMILY:
            continue
        if library in packaged and library not in GLIBC_FAMILY and not _is_passed_over(elf, ground):
            continue
        for version in versions:
            if ground.target.lacks(version):
                lacking.setdefault(version.partition("_")[0], []).append((version, library))
    return lacking


def _is_passed_over(elf: Elf, ground: Ground) -> bool:
    """Whether the target's own library is taken, and not that of the package."""
    return ground.function.prefers_system and (elf.rpath is None or elf.runpath is not None)


def _of_glibc(version: str, library: str, ground: Ground, *, is_program: bool) -> tuple[str, str]:
    target = ground.target
    if version == PRIVATE:
        sentence = f"is tied to one build of glibc ({PRIVATE} of {library}), which is not that of {target.name}"
        return sentence, "leave it out, if it is a part of glibc; or build it without such parts"
    release = ".".join(map(str, glibc_of(version) or ())) or version
    there = ".".join(map(str, target.glibc))
    where, what = ("build it on", "it") if is_program else ("take it from", "the program")
    cure = f"{where} a system whose glibc is no newer ({ground.system}), link {what} statically, or pack {what} with shim pack --with-libc"
    return f"needs glibc {release} ({version} of {library}), and {target.name} has {there}", cure


def _of_other(family: str, version: str, library: str, ground: Ground) -> tuple[str, str]:
    newest = ground.target.newest.get(family)
    there = f"up to {family}_{'.'.join(map(str, newest))}" if newest else "none of those"
    sentence = f"needs {version} of {library}, and {ground.target.name} has {there}"
    return sentence, f"package {library} in lib/, as shim pack does, or link it statically{STATICALLY}"


def _number(version: str) -> tuple[int, ...]:
    """For an order of versions; what is no number comes last."""
    known = glibc_of(version)
    if known is not None:
        return known
    parts = version.rpartition("_")[2].split(".")
    return (
        tuple(map(int, parts))
        if all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts)
        else (0,)
    )
