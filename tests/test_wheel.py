"""What is distributed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_wheel_holds_the_package_its_data_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("lambda_shim-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "shim").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {"shim/py.typed", "shim/codecs/line.schema.json", "shim/testing/actor.c", "shim/testing/actor.py"} <= wanted
