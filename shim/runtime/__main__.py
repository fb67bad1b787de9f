"""`python -m shim.runtime [HANDLER]`: our own Lambda runtime. The file `wrapper` runs this folder in place of AWS's."""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDERS = [
    os.environ.get("LAMBDA_TASK_ROOT", ""),
    f"/opt/python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages",
    "/opt/python",
    os.environ.get("LAMBDA_RUNTIME_DIR", ""),
]
"""Where Lambda's own runtime finds modules: in the package, in layers, beside itself
(https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-searchpath)."""


LATER = ("fcntl", "resource", "signal", "traceback")
"""What of the standard library is needed later: `resource` by os.wait4 itself."""


def main() -> NoReturn:
    """Runs our own runtime, until Lambda ends it."""
    if HERE in sys.path:  # this folder was run
        sys.path.remove(HERE)
    # What we need is found behind the standard library: a function may have a json.py of its own.
    behind = next((at for at, folder in enumerate(sys.path) if folder.endswith("-packages")), len(sys.path))
    sys.path[behind:behind] = _known([ROOT, *FOLDERS])
    from shim.runtime.handlers import is_ours  # noqa: PLC0415 - it is to be found first
    from shim.runtime.service import Service  # noqa: PLC0415 - likewise

    handler = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("_HANDLER", "")
    if not is_ours(handler):
        for module in LATER:
            import_module(module)
        # What the function has goes before all, as in Lambda's own runtime.
        sys.path[:0] = [folder for folder in FOLDERS if os.path.isdir(folder)]
    Service(os.environ, handler).run()


def _known(folders: list[str]) -> list[str]:
    return [folder for folder in folders if os.path.isdir(folder) and folder not in sys.path]


if __name__ == "__main__":
    main()
