"""The share of a CPU that a function of 128 MB has, as a cgroup: 1.446 ms of every 20 ms, about a fourteenth."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.conftest import eventually

QUOTA, PERIOD = 1446, 20_000
"""Microseconds. A function has a whole CPU at 1,769 MB of memory, and a share of it in proportion below."""

CONTROLS = {
    "cgroup": {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(QUOTA)},
    "cgroup2": {"cpu.max": f"{QUOTA} {PERIOD}"},
}
"""What to write where, for each kind of file system that control groups are in."""


class Quota:
    """A control group of our own whose processes have that share together.

    Raises:
        OSError: none can be made here; says why.
    """

    def __init__(self) -> None:
        refusals = []
        for kind, mount in _controllers():
            folder = mount / f"shim-test-{uuid.uuid4().hex}"
            try:
                folder.mkdir()
            except OSError as error:
                refusals.append(f"{folder.parent}: {error.strerror}")
                continue
            self.folder = folder
            try:
                for name, value in CONTROLS[kind].items():
                    (folder / name).write_text(value)
            except OSError as error:
                refusals.append(f"{folder.parent}, CPU quota: {error.strerror}")
                folder.rmdir()
                continue
            return
        raise OSError(f"no control group with a CPU quota can be made here ({'; '.join(refusals) or 'there are none'})")

    def limits(self, command: list[str]) -> list[str]:
        """The command that does the same under the quota: it moves itself into the group, and so is in it from its first instruction on."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    @property
    def throttled(self) -> int:
        """In how many periods its processes wanted more than they got."""
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["nr_throttled"])

    def remove(self) -> None:
        """Removes it, as soon as the last of its processes has been reaped."""
        eventually(self._removed)

    def _removed(self) -> bool:
        try:
            self.folder.rmdir()
        except OSError:
            return False
        return True


def _controllers() -> list[tuple[str, Path]]:
    """The places where a group with a CPU quota may be made: the kind of file system, and where it is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [
        (kind, Path(folder))
        for _device, folder, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(","))
    ]
