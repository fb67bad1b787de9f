"""Puts AWS's Runtime Interface Emulator, and an older Debian, where the tests look for them: `python -m tests.real.install`.

AWS ships the emulator inside the wheel of its SAM CLI. That wheel is downloaded without what it depends on, and thrown away afterwards.
The Debian is made by debootstrap, from wherever that takes it, and needs root for it.
This file needs nothing but Python, pip and debootstrap, so that it can run before anything else is installed.
"""

from __future__ import annotations

import fcntl
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

RELEASE = "bullseye"
"""Debian 11, with glibc 2.31: Amazon Linux 2023 has 2.34, and a program that is compiled on Debian 12 needs that."""

OLD_ROOT = RIE.with_name(RELEASE)
"""Where its root is put, and looked for."""

MAKE_ROOT = """\
unshare --mount debootstrap --variant=minbase "$1" "$2" >"$2.log" 2>&1 &&
    rm -rf "$2"/var/cache/apt "$2"/var/lib/apt/lists "$2"/usr/share/doc "$2"/usr/share/locale &&
    mkdir -p "$2"/var/task "$2"/host/lib "$2"/host/python &&
    mv -T "$2" "$3" && rm "$2.log" && exit
tail -n 20 "$2.log" >&2
rm -rf --one-file-system "$2" "$2.log"
exit 1
"""
"""What root runs: it appears whole, with folders to mount on. debootstrap leaves /proc mounted where it fails, in a mount namespace of its own."""


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


def install_old_root() -> Path:
    """The path of the older Debian's root. Where it is there already, nothing is done."""
    OLD_ROOT.parent.mkdir(parents=True, exist_ok=True)
    with OLD_ROOT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one makes it, the others wait
        if not OLD_ROOT.exists():
            as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
            unfinished = OLD_ROOT.with_suffix(f".{os.getpid()}")
            places = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
            command = [*as_root, "/bin/sh", "-c", MAKE_ROOT, "make-root", RELEASE, str(unfinished), str(OLD_ROOT)]
            subprocess.run(command, env={**os.environ, **places}, stdin=subprocess.DEVNULL, check=True)
    return OLD_ROOT


if __name__ == "__main__":
    sys.stdout.write(f"{install()}\n")
    sys.stdout.flush()  # the other takes a while
    sys.stdout.write(f"{install_old_root()}\n")
