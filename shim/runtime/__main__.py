"""`python -m shim.runtime [HANDLER]`: our own Lambda runtime. The file `wrapper` runs this folder in place of AWS's."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))


def find_packages() -> None:
    """Lets modules be found where Lambda's own runtime finds them: in the package, in layers, and beside us.

    https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-searchpath
    """
    if HERE in sys.path:
        sys.path.remove(HERE)  # this folder was run
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [
        os.environ.get("LAMBDA_TASK_ROOT", ""),
        f"/opt/python/lib/{version}/site-packages",
        "/opt/python",
    ]
    sys.path[:0] = [folder for folder in folders if os.path.isdir(folder) and folder not in sys.path]
    others = [os.environ.get("LAMBDA_RUNTIME_DIR", ""), os.path.dirname(os.path.dirname(HERE))]
    sys.path += [folder for folder in others if os.path.isdir(folder) and folder not in sys.path]


def main() -> NoReturn:
    """Builds the Shim and serves it, until Lambda ends it."""
    find_packages()
    from shim.runtime.service import Service  # noqa: PLC0415 - it is to be found first

    Service(os.environ, sys.argv[1:]).run()


if __name__ == "__main__":
    main()
