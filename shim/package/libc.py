r"""Programs that bring their own C library, for those that are newer than the target's glibc.

A program's loader and libc belong together: an older loader does not take a newer libc. So `libc/` gets the loader, the whole of libc and every
other library that the program needs, and the program itself; in the program's place stands a launcher for `sh`, which starts that loader with
`--library-path`. LD_LIBRARY_PATH never names `libc/`: `sh`, and all programs of the target that this one starts, would take a libc from there that their
own loader can't load.

What such a program must do without, since the kernel starts the loader and not the program itself:

- /proc/self/exe, and with it what languages make of it (getExecutablePath, std::env::current_exe, os.Executable), is the loader. The name that it was
  started with, argv[0], is right, where the loader knows `--argv0` (glibc from 2.33 on, musl). In ps and /proc/PID/comm it has the loader's name.
- what glibc itself loads from folders that are built into it: character sets but UTF-8, UTF-16 and ASCII (gconv), locales but C, POSIX and C.UTF-8, other
  sources of names than files and DNS (NSS). GCONV_PATH and LOCPATH can name folders that were included.
- a start without `sh`: the launcher takes a millisecond.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.tree import PROGRAM, File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shim.elf import Elf
    from shim.package.libraries import Closure

FOLDER = "libc"
LIBC = "libc.so.6"
LOADED_LATER = (
    "libanl.so.1",
    "libdl.so.2",
    "libgcc_s.so.1",  # by a thread that is cancelled
    "libm.so.6",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
)
"""What may be loaded while it runs, and must then be of the same glibc: the rest of it, and what its parts load themselves."""
LAUNCHER = """\
#!/bin/sh
# Starts {shown} by the loader and with the libraries in {folder}/, wherever this package is.
case $0 in */*) d=${{0%/*}} ;; *) d=. ;; esac
exec "$d"/{loader} {inhibit}--library-path "$d/{folder}" {argv0}"$d"/{program} "$@"
"""


def with_libc(program: File, needs: Closure) -> Iterator[File]:
    """A launcher in the place of a program, and all that it starts. A static program stays as it is.

    Args:
        program: as it would be packed.
        needs: what it needs, as it was found here.

    Raises:
        PackageError: its loader, or a library of its, is not here.
    """
    if needs.loader is None:
        yield program
        return
    for library in needs.missing:
        said = f"{program.name} can't be packed with its libc: {library.name} {library.trouble}"
        raise PackageError(f"{said}; pack it where it was built, or link it statically")
    for library in needs.libraries:
        if "/" in library.name and library.file != needs.loader.file:
            said = f"{program.name} can't be packed with its libc: it needs {library.name} by that path, wherever the package is"
            raise PackageError(f"{said}; give the library a name of its own (-Wl,-soname), and link it again")
    loader = _carried(os.path.basename(needs.loader.name), needs.loader.file)
    yield loader
    libraries = {library.name: library.file for library in needs.libraries if library.file != needs.loader.file}
    if LIBC in libraries:
        beside = os.path.dirname(str(libraries[LIBC]))
        for name in LOADED_LATER:
            if os.path.isfile(path := os.path.join(beside, name)):
                libraries.setdefault(name, path)
    for name, file in libraries.items():
        yield _carried(name, file)
    moved = f"{FOLDER}/{program.name}"
    yield File(moved, PROGRAM, program.size, program.source)
    content = LAUNCHER.format(
        shown=shlex.quote(program.name).replace("\n", " "),  # a second line would be none of a comment
        folder=FOLDER,
        loader=shlex.quote(loader.name),
        inhibit="--inhibit-rpath '' " if _begins_elsewhere(needs.elf) else "",
        argv0='--argv0 "$0" ' if any(b"argv0" in piece for piece in loader.pieces()) else "",
        program=shlex.quote(moved),
    ).encode()
    yield File(program.name, PROGRAM, len(content), content)


def _begins_elsewhere(program: Elf) -> bool:
    """Whether its DT_RPATH goes before `--library-path`, as glibc has it: where it names /lib64, say, the target's libc would be loaded by our loader."""
    return program.libc == "glibc" and program.rpath is not None and program.runpath is None


def _carried(name: str, path: str | None) -> File:
    assert path is not None  # noqa: S101 - what is missing was refused
    real = os.path.realpath(path)
    return File(f"{FOLDER}/{name}", PROGRAM, os.path.getsize(real), real)
