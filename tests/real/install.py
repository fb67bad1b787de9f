"""Puts AWS's Runtime Interface Emulator where the tests look for it: `python -m tests.real.install`.

AWS ships it inside the wheel of its SAM CLI. That wheel is downloaded without what it depends on, and thrown away afterwards.
This file needs nothing but Python and pip, so that it can run before anything else is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

RIE = Path(__file__).parents[2] / ".cache" / "aws-lambda-rie"
"""Where it is put, and looked for."""

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
"""The kernel's name of a machine → Lambda's."""


def install() -> Path:
    """The emulator's path. Where it is there already, nothing is done."""
    if os.access(RIE, os.X_OK):
        return RIE
    member = f"samcli/local/rapid/aws-lambda-rie-{ARCHITECTURES[os.uname().machine]}"
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--only-binary", ":all:", "--dest", folder, "aws-sam-cli"], check=True)
        (wheel,) = Path(folder).glob("aws_sam_cli-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            program = archive.read(member)
    RIE.parent.mkdir(parents=True, exist_ok=True)
    unfinished = RIE.with_name(f"{RIE.name}.{os.getpid()}")  # two may run at once: the file appears whole
    unfinished.write_bytes(program)
    unfinished.chmod(0o755)  # zipfile drops the execute bit
    unfinished.replace(RIE)
    return RIE


if __name__ == "__main__":
    sys.stdout.write(f"{install()}\n")
