"""Installs what deploys a project: AWS's SAM CLI with cfn-lint, AWS CDK, and the Serverless Framework: `python -m tests.project.tools`.

They go to a folder of the user's cache, below $XDG_CACHE_HOME or ~/.cache, where every clone finds them: 1.4 GB. What is there is not installed again.
This file needs nothing but Python with venv, Node.js (from 18 on) and npm, so that it can run before anything else is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambda-shim" / "deploy-tools"
"""Where they are put, and looked for."""

REQUIREMENTS = Path(__file__).parents[2] / "shim" / "project" / "templates" / "every" / "cdk" / "requirements.txt"
"""What a project's CDK app imports, as the project says it."""

NPM = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]


class Tools(NamedTuple):
    """Programs that are installed together.

    Attributes:
        installer: pip or npm.
        packages: which have them.
        module: of a library, whose first import unpacks what it keeps for the next.
    """

    installer: str
    packages: list[str]
    module: str | None = None

    @property
    def folder(self) -> Path:
        """Where they are. Other packages, or another Python, have another folder: clones that differ don't fight over one."""
        wanted = [*self, sys.base_prefix, sys.version_info[:2]]
        return TOOLS / sha256(repr(wanted).encode()).hexdigest()[:16]

    @property
    def programs(self) -> Path:
        """The folder that PATH needs."""
        return self.folder / ("bin" if self.installer == "pip" else "node_modules/.bin")

    @property
    def environment(self) -> dict[str, str]:
        """What else they need: what CDK's library unpacks stays in the folder, too."""
        return {"JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(self.folder / "jsii")}

    @property
    def whole(self) -> Path:
        """The file that is there when they are."""
        return self.folder / "whole"

    def commands(self) -> list[list[str]]:
        """What installs them."""
        if self.installer == "npm":
            return [[*NPM, "--prefix", str(self.folder), *self.packages]]
        python = str(self.programs / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *self.packages]
        first_import = [[python, "-c", f"import {self.module}"]] if self.module else []
        return [[sys.executable, "-m", "venv", str(self.folder)], pip, *first_import]

    def install(self) -> None:
        """Installs them, where they are not there. A venv can't be moved, so the file `whole`, not a last rename, says that nothing is missing."""
        TOOLS.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one installs, the others wait
            if self.whole.exists():
                return
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir()
            for command in self.commands():
                # An installer that outlives this process keeps the lock.
                subprocess.run(
                    command,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    check=True,
                    pass_fds=[lock.fileno()],
                )
            self.whole.touch()


SAM = Tools("pip", ["aws-sam-cli==1.*", "cfn-lint==1.*"])
CDK_APP = Tools("pip", REQUIREMENTS.read_text().split(), module="aws_cdk")
NODE = Tools("npm", ["serverless@3", "aws-cdk@2"])
NEEDS = {"sam": [SAM], "python": [SAM], "cfn-lint": [SAM], "serverless": [NODE], "cdk": [NODE, CDK_APP]}
"""Each program that the tests run: the tools that it is one of, and others that it needs. The Python is the one that has SAM's library."""


def program(name: str) -> Path:
    """A program's path. Where it, or what it needs, is not here, the test that wants it is failed or skipped."""
    from tests.conftest import missing  # noqa: PLC0415 - it needs more than Python

    if not all(tools.whole.exists() for tools in NEEDS[name]):
        missing(f"what deploys projects is missing ({name}): run python -m tests.project.tools")
    if NODE in NEEDS[name] and shutil.which("node") is None:
        missing(f"{name} needs Node.js (node): on Debian, apt-get install nodejs")
    return NEEDS[name][0].programs / name


if __name__ == "__main__":
    if shutil.which("npm") is None:
        sys.exit("npm is missing: on Debian, apt-get install nodejs npm")
    with ThreadPoolExecutor() as pool:
        list(pool.map(Tools.install, [SAM, CDK_APP, NODE]))
    sys.stdout.writelines(f"{tools[0].programs / name}\n" for name, tools in NEEDS.items())
