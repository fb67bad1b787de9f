"""Where the command `shim` begins. Without the extra `cli` it says so: this file must not import Typer or Rich at its top."""

from __future__ import annotations

import signal
import sys

from shim.cli.exits import INTERRUPTED, MISTAKE

EXTRA = {"typer", "rich"}


def main() -> None:
    """Runs the command line, and exits as `shim.cli.exits` says."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C from here on would be shown as Python shows it
    sys.exit(code)


def _run() -> int:
    try:
        import rich  # noqa: F401, PLC0415 - it is used later, and not by every command
        import typer  # noqa: F401, PLC0415 - it may be missing

        from shim.cli.app import run  # noqa: PLC0415 - it needs them
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        print(
            f"The command shim needs {error.name}, which is not installed: pip install 'lambda-shim[cli]'",
            file=sys.stderr,
        )
        return MISTAKE
    return run()


if __name__ == "__main__":
    main()
