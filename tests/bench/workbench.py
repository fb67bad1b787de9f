"""The place where rows are measured: a folder like a deployment package, an environment like Lambda's, compiled C, one pinned core."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import time
import venv
from contextlib import chdir
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import orjson

import shim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES = Path(__file__).parent / "floors"
PEERS = Path(__file__).parent / "peers"


class Workbench:
    """A folder that is LAMBDA_TASK_ROOT and the current folder, as on Lambda, with what the rows start in it.

    Our own process gets Lambda's variables too, so that the floors and every child inherit what they would inherit there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.closerange(3, 1024)  # what a shell left open is no part of it: each spawn looks at every descriptor
        os.environ.clear()
        os.environ.update(_variables(folder))
        os.chdir(folder)

    def compiled(self, name: str) -> str:
        """The path of a program of `floors/`, compiled when it is first asked for."""
        program = self.folder / "bin" / name
        if not program.exists():
            program.parent.mkdir(exist_ok=True)
            subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, SOURCES / f"{name}.c"], check=True)
        return str(program)

    def package(self, name: str, **files: str) -> Path:
        """A deployment package of its own with `shim` and orjson, compiled to byte code as pip does, and these files (`shim_toml=…`)."""
        folder = self.folder / name
        for module in (shim, orjson):
            source = Path(str(module.__file__)).parent
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder, quiet=1)
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_text(content, encoding="utf-8")
        return folder

    def run_python(self, code: str, folder: Path, variables: Mapping[str, str]) -> None:
        """A Python process from its start to its end, which runs that code in that package. Its time is that of a cold start.

        The interpreter is ours in an environment of its own: .pth files of another (of an editable install, of coverage) are no part of it.
        """
        python = self.folder / "venv" / "bin" / "python"
        if not python.exists():
            venv.create(self.folder / "venv", symlinks=True)
        environment = os.environ | {"LAMBDA_TASK_ROOT": str(folder), **variables}
        with chdir(folder):  # where `-c` looks for modules
            _, status = os.waitpid(os.posix_spawn(python, [str(python), "-c", code], environment), 0)
        if status:
            raise RuntimeError(f"{code} ended with status {status}")


def _variables(folder: Path) -> dict[str, str]:
    """About as many and as long as on Lambda, and the same on every machine: each spawn hands them on."""
    return {
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        # Lambda's too has the package's folders. Looking there for each library is the child's own work, in the floors as well.
        "LD_LIBRARY_PATH": f"{folder}/lib:{folder}",
        "LAMBDA_TASK_ROOT": str(folder),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PWD": str(folder),
        "SHLVL": "0",
        "_HANDLER": "shim.handler",
        "_X_AMZN_TRACE_ID": "Root=1-67f1c0de-1234567890abcdef12345678;Parent=53995c3f42cd8ad8;Sampled=0",
        "AWS_ACCESS_KEY_ID": "A" * 20,
        "AWS_SECRET_ACCESS_KEY": "A" * 40,
        "AWS_SESSION_TOKEN": "A" * 900,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bench",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2025/04/05/[$LATEST]e0a83ab5a3d84a4e9c4c3f0b3d5c9d1f",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
    }


def run_floor(program: str, *arguments: str | int) -> float:
    """Seconds for one turn, as a C program of `floors/` counted them."""
    output = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, check=True).stdout
    return int(output) / 1e9


def run_peer(name: str, *arguments: str | int) -> Callable[[], float] | None:
    """What measures one turn of a shim of `peers/`, as it counted them itself; None where there is no Node.js."""
    node = shutil.which("node")
    if node is None:
        return None
    command = [node, str(PEERS / f"{name}.js"), *map(str, arguments)]

    def run() -> float:
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        return int(output) / 1e9

    return run


def timed(action: Callable[[], object], turns: int) -> float:
    """The median of so many turns, in seconds."""
    taken = []
    for _ in range(turns):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return median(taken)


class Context:
    """A context object with what awslambdaric's has (lambda_context.py), for a function with a timeout of 30 seconds."""

    aws_request_id = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
    log_group_name = "/aws/lambda/bench"
    log_stream_name = "2025/04/05/[$LATEST]e0a83ab5a3d84a4e9c4c3f0b3d5c9d1f"
    function_name = "bench"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:bench"
    memory_limit_in_mb = "1769"
    tenant_id = None
    client_context = None
    identity = None

    def __init__(self) -> None:
        self._epoch_deadline_time_in_ms = int(time.time() * 1000) + 30_000

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))
