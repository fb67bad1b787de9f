"""The process of our own runtime, from its start to its end: the Shim is built, Lambda is told if it can't be, and SIGTERM is heard."""

from __future__ import annotations

import os
import sys
from _thread import start_new_thread

from shim import __version__, snapshot
from shim.children import lifetime, sweep
from shim.errors import RuntimeApiError
from shim.invocation import now
from shim.logs import function_log
from shim.runtime.client import Client
from shim.runtime.extension import Extension
from shim.runtime.failure import Failure
from shim.runtime.handlers import shim_of
from shim.runtime.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from shim.adapter import Shim
else:
    import _signal as signal  # the enums that `signal` puts around it cost a cold start 0.3 ms

BUDGET = 0.3
"""Seconds that taking down the children may take after SIGTERM: 500 ms after it Lambda kills all that is left."""
PATIENCE = 0.1
"""Seconds that the last words may take to get into the log."""


class Leaving(SystemExit):
    """This process ends, with that exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Service:
    """Serves the Shim that the handler names, at AWS_LAMBDA_RUNTIME_API.

    Args:
        environ: Lambda's variables.
        handler: as Lambda spells it, or "" for `shim.handler`.
    """

    def __init__(self, environ: Mapping[str, str], handler: str) -> None:
        self._address = environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self._handler = handler
        at_once = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1")  # only managed instances have it
        self._at_once = int(at_once) if at_once.isascii() and at_once.isdecimal() else 1
        self._snapshots = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        self._log = function_log()

    def run(self) -> NoReturn:
        """Serves until SIGTERM, with exit code 0, or until it can't go on, with 1. Threads of the function's own don't keep it."""
        signal.signal(signal.SIGTERM, self._hear_sigterm)
        code = 1
        try:
            self._serve()
        except Leaving as leaving:
            code = leaving.number
        except KeyboardInterrupt:
            code = 130
        except BaseException as error:
            self._tell(error)
        self._end(code)

    def _serve(self) -> NoReturn:
        client = self._client()
        shim = self._built(client)
        if self._snapshots:
            self._sleep(client)
        else:
            self._extension = Extension(self._address)  # kept: with its connection it would take back its call
            refusal = self._extension.register()
            self._note("refused the registration as an extension, and won't tell of its end", refusal)
        # They are born deaf to it. Python handles a signal in this thread only, which may have gone to sleep before another one has taken it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            for _ in range(self._at_once - 1):
                start_new_thread(self._serve_beside, (shim,))
        except RuntimeError as error:
            self._fail(client.fail_init, Failure(error), 1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        Loop(client, shim, self._log).run()

    def _serve_beside(self, shim: Shim) -> None:
        """One loop more, in a thread of its own and with a connection of its own. What ends one ends all: Lambda starts another environment."""
        try:
            Loop(self._client(), shim, self._log).run()
        except BaseException as error:
            self._tell(error)
            self._end(1)

    def _client(self) -> Client:
        return Client(self._address, version=__version__)

    def _built(self, client: Client) -> Shim:
        """The Shim. Where there is none Lambda is told why, and this process ends."""
        try:
            return shim_of(self._handler)
        except Leaving:
            raise
        except (Exception, SystemExit) as error:
            self._fail(client.fail_init, Failure(error), 1)

    def _sleep(self, client: Client) -> None:
        """A snapshot of this process is taken here, and each environment goes on from it. An extension would lose its connection in it.

        The exit codes, and the names for what is wrong, are AWS's own (awslambdaric, bootstrap.py, on_init_complete).
        """
        try:
            snapshot.run_before_snapshot()
        except Exception as error:
            self._fail(client.fail_init, Failure(error, category="Runtime.BeforeSnapshotError"), 64)
        client.await_restore()
        try:
            snapshot.run_after_restore()
        except Exception as error:
            self._fail(client.fail_restore, Failure(error, category="Runtime.AfterRestoreError"), 65)

    def _fail(self, post: Callable[[Failure], str | None], failure: Failure, code: int) -> NoReturn:
        """Tells the log and Lambda why there will be no invocations, and ends this process."""
        self._log.tell_failure(failure.error_type, failure.message, failure.stack_trace, None)
        self._note("refused to hear of it", post(failure))
        raise Leaving(code)

    def _note(self, what: str, refusal: str | None) -> None:
        if refusal is not None:
            self._log.note(f"Lambda {what}: {refusal}")

    def _hear_sigterm(self, *_: object) -> NoReturn:
        """Lambda ends the execution environment."""
        if self._at_once > 1:
            self._end(0)
        self._take_down()
        raise Leaving(0)  # what runs is ended on the way

    def _take_down(self) -> None:
        """The ladder. Whatever goes wrong there, this process ends."""
        try:
            lifetime.end_all(BUDGET)
        except Exception as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Says in the log why this process can't go on."""
        if isinstance(error, RuntimeApiError):
            self._log.note(str(error), level="ERROR")
        else:
            failure = Failure(error)
            self._log.tell_failure(failure.error_type, failure.message, failure.stack_trace, None)

    def _end(self, code: int) -> NoReturn:
        """Ends this process and its children, in whichever thread: by the ladder, where they are kept, else at once.

        Other threads go on until the very end, and may start children while the last words are said.
        """
        self._take_down()
        _kill_driven()
        self._log.settle(PATIENCE, now() + PATIENCE)
        try:
            sys.stdout.flush()
        finally:
            _kill_driven()
            os._exit(code)


def _kill_driven() -> None:
    """Kills what any thread drives."""
    for pid in sweep.numbers():
        sweep.kill_group(pid)
