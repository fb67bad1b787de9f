"""The exit codes of every command of `shim`, and nothing else: a script may rely on them.

| code | meaning |
|---|---|
| 0 | it worked |
| 1 | what was run or judged failed: every ExecutableError, a missing executable too; one of many invocations; a result that could not be written; what this machine refuses (a disk that is full, a folder that is gone) |
| 2 | the caller's mistake: a wrong option, SettingsError, EventInvalid (an event that is not there or not JSON), a missing extra, a port that is taken; `shim` alone, which shows the help |
| 129, 130, 143 | SIGHUP, Ctrl-C (SIGINT) or SIGTERM came; what was running was killed |

This file imports no Typer and no Rich.
"""

from __future__ import annotations

from shim.errors import EventInvalid, SettingsError

WORKED = 0
FAILED = 1
MISTAKE = 2
SIGNALED = 128
"""To which the number of the signal is added, as shells do."""
INTERRUPTED = SIGNALED + 2


def exit_code(error: Exception) -> int:
    """The code for an error that a command ends with."""
    return MISTAKE if isinstance(error, (SettingsError, EventInvalid)) else FAILED
