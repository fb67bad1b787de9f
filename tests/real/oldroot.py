"""A function's execution environment in an older Debian, whose glibc is 2.31: no compiler is in it, no Python, and no library that a package forgot.

Python for the handler is this one, from outside: in /host, started by its own loader and with the libraries of this machine. What the handler starts
knows nothing of that, and is loaded by the root's own loader with the root's own glibc.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shim.package.archive import unpack
from tests.conftest import missing
from tests.real.install import OLD_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

GLIBC = (2, 31)
"""The version that the root has."""

ENTER = """\
set -e
root=$1
mount --bind "$2" "$root/var/task"
mount -o remount,bind,ro "$root/var/task"
mount --bind "$3" "$root/host/lib"
mount --bind "$4" "$root/host/python"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
shift 4
PATH=$PATH:/usr/sbin:/sbin
exec chroot "$root" env -i -C /var/task "$@"
"""
"""The task root is read-only for root too, as Lambda's is."""

VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    "LANG": "C.UTF-8",
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
}
"""As Lambda sets them."""

HARNESS = """\
import json, sys
sys.path.insert(0, "/var/task")
import shim
answers = []
for event in json.load(sys.stdin):
    try:
        answers.append({"result": shim.handler(event, None)})
    except shim.ShimError as error:
        answers.append({"error": type(error).__name__, "message": str(error)})
json.dump({"shim": shim.__file__, "answers": answers}, sys.stdout)
"""
"""Nothing but the package and the standard library is to be found by it."""


class Answer(NamedTuple):
    """What came of an event.

    Attributes:
        result: of the handler; None where it failed.
        error: the name of the error; "" where there was none.
        message: of the error.
    """

    result: Any
    error: str
    message: str


class OldRoot:
    """One package, unpacked there.

    Args:
        package: the zip.
        folder: an empty one, for what is unpacked and for Python's libraries.
    """

    def __init__(self, package: Path, folder: Path) -> None:
        if not OLD_ROOT.exists():
            missing("the root of an older Debian is missing: run python -m tests.real.install, as root")
        self._enter = _enters()
        self.task = folder / "task"
        self._libraries = folder / "libraries"
        self._libraries.mkdir(parents=True)
        unpack(str(package), str(self.task))
        self._prefix = Path(sys.base_prefix).resolve()
        self._python = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
        self._loader = self._bring_libraries()

    def command(self, *words: str, variables: Mapping[str, str] | None = None) -> list[str]:
        """The command that starts that program in there, in the package's folder, with Lambda's variables and these."""
        places = (OLD_ROOT, self.task, self._libraries, self._prefix)
        environment = [f"{name}={text}" for name, text in {**VARIABLES, **(variables or {})}.items()]
        return [*self._enter, "/bin/sh", "-c", ENTER, "enter", *map(str, places), *environment, *words]

    def run(self, *words: str, given: str = "", variables: Mapping[str, str] | None = None) -> str:
        """Standard output of that program in there, which is given that text."""
        ended = subprocess.run(
            self.command(*words, variables=variables),
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def invoke(self, *events: object, variables: Mapping[str, str] | None = None) -> list[Answer]:
        """What the package's own handler makes of these events, one after the other."""
        libraries = ["--inhibit-cache", "--library-path", "/host/lib"]
        python = f"/host/python/{self._python.relative_to(self._prefix)}"
        words = [f"/host/lib/{self._loader}", *libraries, python, "-S", "-s", "-P", "-B", "-c", HARNESS]
        names = {"PYTHONHOME": "/host/python", "_HANDLER": "shim.handler", **(variables or {})}
        said = json.loads(self.run(*words, given=json.dumps(events), variables=names))

        assert said["shim"] == "/var/task/shim/__init__.py"
        return [Answer(one.get("result"), one.get("error", ""), one.get("message", "")) for one in said["answers"]]

    def _bring_libraries(self) -> str:
        """Copies what this Python, its own modules and those of the package need, with the loader, whose name is given back."""
        modules = [*self._prefix.glob("lib*/python3.*/lib-dynload/*.so"), *self.task.glob("*/*.so")]
        said = subprocess.run(
            ["ldd", str(self._python), *map(str, modules)], capture_output=True, text=True, check=False, timeout=60
        ).stdout
        found = {*re.findall(r"^\s+\S+ => (/\S+) \(", said, re.MULTILINE)}
        loader: str
        (loader,) = {*re.findall(r"^\s+(/\S+) \(", said, re.MULTILINE)}
        for path in {*found, loader}:
            shutil.copy(path, self._libraries)
        return os.path.basename(loader)


def _enters() -> list[str]:
    """The command that starts another where it may mount, and change its root; without root where that is possible."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    probe = 'mount --bind "$0" "$0" && PATH=$PATH:/usr/sbin:/sbin exec chroot "$0" true'
    try:
        tried = subprocess.run(
            [*command, "/bin/sh", "-c", probe, str(OLD_ROOT)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as absent:
        missing(f"no mount namespace can be made here: {absent}")
    if tried.returncode != 0:
        missing(f"no root can be changed here: {tried.stderr.strip()}")
    return command
