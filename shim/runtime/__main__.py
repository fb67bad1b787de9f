"""`python -m shim.runtime [HANDLER]`: our own Lambda runtime. The file `wrapper` runs this folder in place of AWS's."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = 0.3
"""Seconds that taking down the children may take after SIGTERM: 500 ms later Lambda kills all that is left."""


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
    from shim import __version__  # noqa: PLC0415 - it is to be found first
    from shim.children import lifetime  # noqa: PLC0415 - likewise
    from shim.errors import RuntimeApiError  # noqa: PLC0415 - likewise
    from shim.logs import function_log  # noqa: PLC0415 - likewise
    from shim.runtime.client import Client  # noqa: PLC0415 - likewise
    from shim.runtime.extension import Extension  # noqa: PLC0415 - likewise
    from shim.runtime.failure import Failure  # noqa: PLC0415 - likewise
    from shim.runtime.handlers import shim_of  # noqa: PLC0415 - likewise
    from shim.runtime.loop import Loop  # noqa: PLC0415 - likewise

    def end(_: int, __: object) -> NoReturn:
        lifetime.end_all(BUDGET)
        sys.exit(0)

    log = function_log()
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
    try:
        client = Client(address, version=__version__)
        extension = Extension(address)
        signal.signal(signal.SIGTERM, end)
        try:
            shim = shim_of(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("_HANDLER", ""))
        except Exception as error:
            failure = Failure(error)
            log.tell_failure(failure.error_type, failure.message, failure.stack_trace, None)
            refusal = client.fail_init(failure)
            if refusal is not None:
                log.note(refusal)
            sys.exit(1)
        refusal = extension.register()
        if refusal is not None:
            log.note(f"Lambda will not tell of its end, since the registration as an extension was refused: {refusal}")
        Loop(client, shim, log).run()
    except RuntimeApiError as error:
        log.note(str(error), level="ERROR")
        sys.exit(1)


if __name__ == "__main__":
    main()
