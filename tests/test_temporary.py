"""A child's own folder for temporary files: it goes with the child, and nothing else goes with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from tests.conftest import missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEEP = "i=0; while [ $i -lt 1500 ] && mkdir d && cd d; do i=$((i+1)); done; true"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where such folders are made."""
    folder = tmp_path / "base"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Callable[[], dict[str, int]]:
    """A folder that is nobody's temporary one: what is in it, itself included, and what may be done with that."""
    folder = tmp_path / "victim"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("precious")
    folder.chmod(0o755)

    def content() -> dict[str, int]:
        return {str(path): path.stat().st_mode for path in (folder, *folder.rglob("*"))}

    return content


def run(script: str) -> Any:
    with Shim("sh", args=["-c", script], output="text", tmp="fresh") as runner:
        return runner({})


def test_it_is_there_for_the_child_and_gone_after_it(base: Path) -> None:
    script = (
        'cd "$TMPDIR" && mkdir -p a/b/c/d && touch a/b/c/d/f && ln -s / a/l && echo "$TMPDIR" && chmod 000 a/b/c/d a/b/c a/b a; '
        + DEEP
    )
    with Shim("sh", args=["-c", script], output="text", tmp="fresh") as runner:
        folders = [runner({}).strip() for _ in range(2)]

    assert len(set(folders)) == 2
    assert all(folder.startswith(f"{base}/shim-") for folder in folders)
    assert list(base.iterdir()) == []


def test_where_there_is_no_place_for_it_nothing_can_be_run(actor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")

    with pytest.raises(shim.ExecutableNotRunnable, match="no folder for its temporary files could be made"):
        Shim(actor, tmp="fresh")({})


@pytest.mark.parametrize(
    "script",
    [
        'rm -r "$TMPDIR"; ln -s {victim} "$TMPDIR"',
        'mv "$TMPDIR" {away}; ln -s {victim} "$TMPDIR"',
        'ln -s {victim} "$TMPDIR/link"; mkdir "$TMPDIR/d"; ln -s {victim}/inner "$TMPDIR/d/link"; ln {victim}/inner/file "$TMPDIR/d/same"',
        'rm -r "$TMPDIR"; ln -s {victim}/inner/file "$TMPDIR"',
        'rm -r "$TMPDIR"; echo x > "$TMPDIR"',
        'rm -r "$TMPDIR"; mkfifo "$TMPDIR"',
        'rm -r "$TMPDIR"; mkdir "$TMPDIR"; echo x > "$TMPDIR/x"',
        'rm -r "$TMPDIR"',
        'cd "$TMPDIR"; for n in 1 2 3; do mkdir -p "shim-$n/.0" ".$n" "a b/-rf/c"; echo x > ".$n/x"; done',
    ],
)
def test_whatever_is_in_its_place_goes_and_nothing_that_it_leads_to(
    script: str, base: Path, victim: Callable[[], dict[str, int]], tmp_path: Path
) -> None:
    before = victim()
    run(script.replace("{victim}", str(tmp_path / "victim")).replace("{away}", str(tmp_path / "away")))

    assert victim() == before
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("place", ['"$TMPDIR"', '"$TMPDIR/inner"'])
def test_what_is_mounted_there_is_not_emptied(
    place: str, base: Path, victim: Callable[[], dict[str, int]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = victim()
    done = run(f"mkdir -p {place}; mount --bind {tmp_path}/victim {place} 2>/dev/null && echo mounted || true")
    after = victim()
    for folder in (*base.rglob("*"), *base.iterdir()):
        subprocess.run(["umount", folder], check=False, capture_output=True)
    if not done:
        missing("the right to mount")

    assert after == before == victim()
    assert "the temporary files of an invocation, could not all be removed since" in capfd.readouterr().err


def test_a_child_may_lock_itself_out() -> None:
    """For root nothing is locked: as somebody else."""
    if os.getuid() != 0:
        missing("root, who can become somebody else")
    program = (
        "import os, sys\n"
        "from shim.children import temporary\n"
        "from shim.invocation import now\n"
        "os.setgid(65534)\n"
        "os.setuid(65534)\n"
        "folder = f'{sys.argv[1]}/shim-1'\n"
        "temporary.make(folder)\n"
        "for path in ('a/b/c', 'a/d'):\n"
        "    os.makedirs(f'{folder}/{path}')\n"
        "    open(f'{folder}/{path}/file', 'w').close()\n"
        "for path in ('a/b/c', 'a/b', 'a/d', 'a', '.'):\n"
        "    os.chmod(f'{folder}/{path}', 0)\n"
        "sys.exit(not temporary.remove(folder, until=now() + 5))\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o777)  # noqa: S103 - it is for somebody else, who can't go through pytest's own
        subprocess.run([sys.executable, "-c", program, base], check=True)

        assert os.listdir(base) == []


INTERRUPTED = """
import signal, sys
from shim import Shim

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
script = 'mkdir -p "$TMPDIR/a/b/c"; read -r line; exit 0'
interrupted = 0
with Shim("sh", args=["-c", script], output="text", tmp="fresh", spare=int(sys.argv[1])) as runner:
    for step in range(300):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + step * 1e-5)
            runner({})
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
print(interrupted)
"""


@pytest.mark.parametrize("spare", [0, 1])
def test_an_interrupt_at_any_moment_leaves_none(base: Path, spare: int) -> None:
    """As Ctrl-C, or a handler of the function's own that raises. In a process of its own: files that were open then warn when they are collected."""
    program = [sys.executable, "-c", INTERRUPTED, str(spare)]
    interrupted = int(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)

    assert interrupted > 20
    assert list(base.iterdir()) == []
