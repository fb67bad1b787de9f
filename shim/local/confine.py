"""A program: gives itself the folders of Lambda's sandbox, in a mount namespace that ends with its last process, and becomes another.

    python -I -S confine.py PACKAGE RUNTIME LANGUAGE [COMMAND…]

PACKAGE is then /var/task, RUNTIME /var/runtime and LANGUAGE, unless it is empty, /var/lang: all of them read-only, for root too. /tmp is empty, and
as large as Lambda's. Without a COMMAND it ends when that is done. Where it can't be done it says why in one line, and ends with 1.

Who is not root does it in a user namespace in which everybody is who they were; what is started there has no more rights than outside. This file
must import nothing of shim: it is run by its path, wherever shim is installed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

TASK, RUNTIME, LANGUAGE = "/var/task", "/var/runtime", "/var/lang"
TMP_SIZE = "512m"
"""What a function's /tmp has, if nothing else is asked for: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 18, 1 << 21
KEPT = {
    os.ST_NOSUID: MS_NOSUID,
    os.ST_NODEV: MS_NODEV,
    os.ST_NOEXEC: MS_NOEXEC,
    os.ST_NOATIME: MS_NOATIME,
    os.ST_NODIRATIME: MS_NODIRATIME,
    os.ST_RELATIME: MS_RELATIME,
}
"""What a mount has already, as statvfs(3) and mount(2) call it: in a user namespace it can't be taken from it."""

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Does all of it."""
    folders, command = arguments[:3], arguments[3:]
    try:
        leave()
        furnish(folders)
        os.chdir(TASK)
    except OSError as refusal:
        place = f"{refusal.filename}: " if refusal.filename else ""
        sys.exit(f"{place}{refusal.strerror}")
    if command:
        try:
            os.execve(command[0], command, environment())  # noqa: S606 - it takes our place
        except OSError as refusal:
            sys.exit(f"{command[0]} can't be started: {refusal.strerror}")


def environment() -> dict[bytes, bytes]:
    """What we were given. Python adds to its own, where it does not have the locale that is asked for (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        return dict(line.partition(b"=")[::2] for line in file.read().split(b"\0") if line)


def leave() -> None:
    """From here on our mounts are our own.

    Raises:
        OSError: it is not allowed.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(CLONE_NEWNS)
    except OSError as refusal:
        if refusal.errno != errno.EPERM:
            raise
        _unshare(CLONE_NEWNS | CLONE_NEWUSER)
        for file, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as out:
                out.write(line)
    _mount("none", "/", MS_REC | MS_PRIVATE)


def furnish(folders: list[str]) -> None:
    """Mounts what is to be seen.

    Args:
        folders: the package, the runtime, and the language or "".

    Raises:
        OSError: it can't be.
    """
    # They are opened before anything is covered: any of them may lie below what is.
    opened = [os.open(folder, os.O_PATH | os.O_DIRECTORY) if folder else -1 for folder in folders]
    var = os.open("/var", os.O_PATH | os.O_DIRECTORY)
    _mount("tmpfs", "/var", MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    with os.scandir(f"/proc/self/fd/{var}") as entries:
        for entry in entries:
            place = f"/var/{entry.name}"
            if place in (TASK, RUNTIME, LANGUAGE):
                continue
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
                continue
            if entry.is_dir():
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            _mount(entry.path, place, MS_BIND | MS_REC)
    for descriptor, place in zip(opened, (TASK, RUNTIME, LANGUAGE), strict=True):
        if descriptor >= 0:
            os.mkdir(place)
            _mount(f"/proc/self/fd/{descriptor}", place, MS_BIND | MS_REC)
            flags = os.statvfs(place).f_flag
            kept = sum(mount for stat, mount in KEPT.items() if flags & stat)
            _mount("none", place, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    _mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "tmpfs", f"size={TMP_SIZE},mode=1777")  # noqa: S108 - Lambda's own


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        raise _refusal("unshare")


def _mount(source: str, place: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
    """As mount(2)."""
    words = [None if text is None else os.fsencode(text) for text in (source, place, kind, options)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]):
        raise _refusal(f"mount {place}")


def _refusal(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main(sys.argv[1:])
