"""The packages that `shim` needs beside it, for another machine's architecture and Python: found by pip, as wheels, and read from them.

A wheel is a zip whose files are what is installed (https://packaging.python.org/en/latest/specifications/binary-distribution-format/). What an
installer would add to them bears paths and times of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from shim.errors import PackageError
from shim.package.archive import opened
from shim.package.tool import run
from shim.package.tree import DATA, PROGRAM, File, of_zip, placed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

REQUIREMENTS = ("orjson>=3.9", "psutil>=5.9")
"""What every function needs, as pyproject.toml has it."""
BOOTSTRAP_REQUIREMENTS = ("h11>=0.16",)
"""What mode bootstrap needs besides."""
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's word for an architecture → that of wheels."""
OLDEST_GLIBC = {"x86_64": 5, "arm64": 17}
"""The minor number of the oldest glibc, 2.x, that wheels are made for (PEP 600)."""
OLDER_TAGS = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "arm64": ("manylinux2014",)}
"""Names that were given to some of them before."""
OF_AN_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Files of a *.dist-info that tell how, whence and in which state it was installed."""


def find_wheels(
    requirements: Sequence[str], platforms: Sequence[str], python: str, into: str, folder: str | None
) -> list[str]:
    """The paths of the wheels, one for each requirement, which pip has found.

    Args:
        requirements: as pip has them.
        platforms: the tags of those that run on the target, best first.
        python: its Python, as "3.13".
        into: an empty folder that they are put into.
        folder: one with wheels, beside which no other place is looked at; None: wherever pip is set up to look.

    Raises:
        PackageError: there is none for that platform; says what pip said.
    """
    options = [
        "--only-binary=:all:",
        "--no-deps",
        "--implementation=cp",
        f"--python-version={python}",
        f"--dest={into}",
    ]
    options += [f"--platform={platform}" for platform in platforms]
    environ = dict(os.environ)
    if folder is not None:
        if not os.path.isdir(folder):
            raise PackageError(f"{folder}, given with --wheels, is no folder")
        environ = {name: text for name, text in environ.items() if not name.startswith("PIP_")}
        environ["PIP_CONFIG_FILE"] = os.devnull  # which may name other places
        options += ["--no-index", f"--find-links={os.path.abspath(folder)}"]
    quiet = ["--quiet", "--no-input", "--no-color", "--disable-pip-version-check"]
    where, cure = (
        ("where pip looks", "put them into a folder, and name it with --wheels")
        if folder is None
        else (f"in {folder}", "put them there")
    )
    machine = platforms[-1].partition("_")[2]
    run(
        [*_pip(), "download", *quiet, *options, *requirements],
        f"there is no wheel of {' or '.join(requirements)} for Python {python} on {machine} {where}; {cure} (pip download …). pip says",
        environ,
    )
    return sorted(entry.path for entry in os.scandir(into))


def platforms(architecture: str, glibc: int) -> list[str]:
    """The tags of platforms whose wheels run where glibc is 2.x, newest first.

    Args:
        architecture: in Lambda's spelling.
        glibc: the x.
    """
    machine = MACHINES[architecture]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, OLDEST_GLIBC[architecture] - 1, -1)]
    return [*tags, *(f"{tag}_{machine}" for tag in OLDER_TAGS[architecture])]


def requirements(*, for_bootstrap: bool, are_here: bool) -> list[str]:
    """What a function needs.

    Args:
        for_bootstrap: whether its mode is bootstrap.
        are_here: whether they are to be found in a folder. Anywhere else the newest would be another one tomorrow: there they are the versions that
            are installed beside this `shim`, with which the function was tried.
    """
    wanted = [*REQUIREMENTS, *(BOOTSTRAP_REQUIREMENTS if for_bootstrap else ())]
    return wanted if are_here else [_pinned(requirement) for requirement in wanted]


def installed_files(wheel: str, held: ExitStack) -> Iterator[File]:
    """The files of a wheel, where they are installed and as long as the archive is held open.

    Raises:
        PackageError: it can't be read.
    """
    for file in of_zip(held.enter_context(opened(wheel))):
        name = placed(file.name)
        first, _, rest = name.partition("/")
        if first.endswith(".data"):
            scheme, _, name = rest.partition("/")
            if scheme not in ("purelib", "platlib"):
                continue  # scripts, headers and manual pages
        if (first.endswith(".dist-info") and rest in OF_AN_INSTALLER) or "__pycache__" in name.split("/"):
            continue
        is_library = name.endswith(".so") or ".so." in os.path.basename(name)
        yield File(name, PROGRAM if is_library else DATA, file.size, file.source)


def _pinned(requirement: str) -> str:
    name = requirement.partition(">")[0]
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return requirement


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):  # any will do: it is told which Python it is for
        if (found := shutil.which(name)) is not None:
            return [found]
    raise PackageError("pip, by which wheels are found, is not installed; python -m ensurepip installs it")
