"""The actor: a program that does what its arguments say, so that tests can compose every way in which an executable behaves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("actor.c")


def compile_actor(folder: Path) -> Path:
    """Compiles `actor.c` into that folder, statically where that is possible, since it then starts fastest.

    Raises:
        FileNotFoundError: there is no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc, gcc, clang)")
    program = folder / "actor"
    command = [compiler, "-O2", "-o", str(program), str(SOURCE)]
    if subprocess.run([*command, "-static"], check=False, capture_output=True).returncode != 0:
        subprocess.run(command, check=True)
    return program
