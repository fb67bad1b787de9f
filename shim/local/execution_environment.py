"""One execution environment: a runtime with all that it started, the Runtime API that it is served, and its part of the log."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from shim.local.context import VERSION, log_stream
from shim.local.function import Result, platform_error
from shim.local.journal import Journal
from shim.local.report import end_line, report_line, start_line
from shim.local.runtime_server import RuntimeServer
from shim.local.tree import MARK, Tree
from shim.runtime_api import events, messages

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from shim.local.function import Function, Invocation

LOOKS = 0.05
"""Seconds between two looks at the memory of the processes while they work."""
SHUTDOWN = 0.5
"""Seconds between SIGTERM and SIGKILL for a runtime that has registered as an extension (AWS's developer guide, "Understanding the Lambda
execution environment lifecycle"). Without a registration there is no SIGTERM."""
STREAMED = 200 * 1024 * 1024
"""Bytes that a streamed response may have."""
PIECE = 65_536
MB = 1024 * 1024


class Running:
    """What is waited for: the answer to an invocation, or that the init is over."""

    def __init__(self, request_id: str, on_piece: Callable[[bytes], None] | None = None) -> None:
        self.request_id = request_id
        self.result: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._body = bytearray()
        self._on_piece = on_piece

    def take(self, data: bytes) -> None:
        """Takes the next bytes of the answer."""
        if self._on_piece is not None:
            self._on_piece(data)
        else:
            self._body += data

    def give(self, result: Result | None) -> None:
        """This is what became of it, if nothing else has before."""
        if not self.result.done():
            self.result.set_result(result)

    def body(self) -> bytes:
        """What came of the answer, and was not handed on."""
        return bytes(self._body)


class ExecutionEnvironment:
    """Starts a runtime, hands it invocations, and ends it with all that it left.

    Args:
        function: what is served.
        number: by which the log tells it from others.
        write: takes each line of the log, with that number.
    """

    def __init__(self, function: Function, *, number: int, write: Callable[[int, bytes], None]) -> None:
        self.number = number
        self.is_over = False
        """Whether its runtime has ended, or was ended."""
        self.running: dict[str, Running] = {}
        """The invocations that it works on, by their request ids."""
        self.taken = 0
        """How many callers have it."""
        self.last_used = 0.0
        self.is_ready = False
        """Whether its init is over."""
        self.is_stale = False
        """Whether it takes no more invocations."""
        self.is_registered = False
        """Whether the runtime has registered as an extension, and so gets SIGTERM before the end."""
        self._function = function
        self._journal = Journal(lambda line: write(number, line))
        self._stream = log_stream()
        self._server = RuntimeServer(
            registration={
                "functionName": function.name,
                "functionVersion": VERSION,
                "handler": function.handler,
                messages.ACCOUNT_ID: function.arn.split(":")[4],
            },
            tell=self._take_note,
            limit=messages.MAX_PAYLOAD_SIZE,
            stream_limit=STREAMED,
        )
        self._process: Process | None = None
        self._tree: Tree | None = None
        self._watch: asyncio.Task[None] | None = None
        self._log = -1
        self._init: Running | None = None
        self._init_seconds: float | None = None
        self._waits = asyncio.Event()
        self._is_frozen = False
        self._freezing = asyncio.Lock()

    async def start(self, request_id: str, limit: float) -> Result | None:
        """Starts the runtime, for the invocation with that id, and waits until it asks for one.

        Args:
            request_id: whose error it is, if it fails.
            limit: seconds that it may take.

        Returns:
            None where all is well, else what the caller gets.
        """
        self._init = Running(request_id)
        await self._server.__aenter__()
        began = time.perf_counter()
        variables = {"AWS_LAMBDA_RUNTIME_API": self._server.address, MARK: self._stream}
        self._log, theirs = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._function.command,
                env={**self._function.environment, **variables},
                cwd=self._function.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except OSError as refusal:
            message = f"RequestId: {request_id} Error: {refusal.strerror}: {self._function.command[0]}"
            return platform_error("Runtime.InvalidEntrypoint", message)
        finally:
            os.close(theirs)
        self._tree = Tree(self._process.pid, self._stream)
        os.set_blocking(self._log, False)
        asyncio.get_running_loop().add_reader(self._log, self._read_log)
        self._watch = asyncio.create_task(self._tell_end(self._process))
        await self._within(self._init, limit)
        self._init_seconds = time.perf_counter() - began
        if not self._init.result.done():
            message = f"RequestId: {request_id} Error: Runtime init timed out after {limit:.2f} seconds"
            return platform_error("Sandbox.Timedout", message, status="timeout")
        failure = self._init.result.result()
        self.is_ready = failure is None
        return failure

    async def invoke(self, invocation: Invocation) -> Result:
        """Hands the runtime an invocation. Where its time is over the environment is to be ended, unless it takes several at once."""
        function, request_id = self._function, invocation.request_id
        began = time.perf_counter()
        invocation.deadline = time.time() + function.timeout
        running = self.running[request_id] = Running(request_id, invocation.on_piece)
        self._journal.begin()
        self._journal.say(start_line(request_id, VERSION).encode())
        looks = asyncio.create_task(self._look())
        try:
            await self._go_on()
            await self._hand_over(invocation, running)
            await self._within(running, function.timeout - (time.perf_counter() - began))
        finally:
            looks.cancel()
            self._server.forget(request_id)
            del self.running[request_id]
        result = running.result.result() if running.result.done() else None
        if result is None:
            message = f"RequestId: {request_id} Error: Task timed out after {function.timeout:.2f} seconds"
            result = platform_error("Sandbox.Timedout", message, status="timeout")
        await self._report(request_id, time.perf_counter() - began, result)
        return replace(result, log=self._journal.tail, request_id=request_id)

    async def rest(self, *, frozen: bool) -> None:
        """Waits until the runtime has asked for its next invocation, and freezes it then, where that is asked for."""
        while not (self._server.waits or self.is_over):
            self._waits.clear()
            await self._waits.wait()
        async with self._freezing:
            if frozen and not (self.is_over or self.taken) and self._tree is not None:
                self._is_frozen = True
                await asyncio.to_thread(self._tree.stop)

    async def end(self) -> None:
        """Ends it: SIGTERM, where the runtime has registered for it, and SIGKILL for all that is there."""
        process, self.is_over = self._process, True
        self._waits.set()
        if process is not None and self._tree is not None:
            if self.is_registered and process.returncode is None:
                await self._go_on()
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), SHUTDOWN)
            await asyncio.to_thread(self._tree.kill)
            await process.wait()
        if self._watch is not None:
            await self._watch
        if self._log >= 0:
            self._read_log()
            self._journal.settle()
            asyncio.get_running_loop().remove_reader(self._log)
            os.close(self._log)
            self._log = -1
        await self._server.__aexit__()

    async def _hand_over(self, invocation: Invocation, running: Running) -> None:
        """Waits until the runtime asks for an invocation, and gives it this one."""
        deadline = time.perf_counter() + self._function.timeout
        while not (self._server.waits or self.is_over):
            self._waits.clear()
            try:
                await asyncio.wait_for(self._waits.wait(), deadline - time.perf_counter())
            except TimeoutError:
                return
        if self.is_over:
            running.give(self._exit_error(running.request_id))
        else:
            self._server.invoke(invocation.request_id, invocation.headers(self._function), invocation.event)

    async def _within(self, running: Running, seconds: float) -> None:
        """Waits so long for what becomes of it."""
        await asyncio.wait([running.result], timeout=max(0, seconds))

    async def _go_on(self) -> None:
        async with self._freezing:
            if self._is_frozen and self._tree is not None:
                self._is_frozen = False
                await asyncio.to_thread(self._tree.go_on)

    async def _look(self) -> None:
        """Looks at the memory now and then, until it is cancelled."""
        while self._tree is not None:
            await asyncio.to_thread(self._tree.look)
            await asyncio.sleep(LOOKS)

    async def _report(self, request_id: str, duration: float, result: Result) -> None:
        """The lines after what the invocation logged."""
        if self._tree is not None:
            await asyncio.to_thread(self._tree.look)
        self._read_log()
        self._journal.settle()
        self._journal.say(end_line(request_id).encode())
        init, self._init_seconds = self._init_seconds, None
        report = report_line(
            request_id,
            duration=duration,
            init=init,
            memory=self._function.memory,
            peak=ceil(self._tree.peak / MB) if self._tree else 0,
            status=result.status,
        )
        self._journal.say(report.encode())

    async def _tell_end(self, process: Process) -> None:
        """Waits for the end of the runtime, and tells all who wait for it."""
        await process.wait()
        self.is_over = True
        self._waits.set()
        for running in (*self.running.values(), *([self._init] if self._init else ())):
            running.give(self._exit_error(running.request_id))

    def _exit_error(self, request_id: str) -> Result:
        """What the platform says of a runtime that ended (RIE rapid/handlers.go, interop/model.go)."""
        code = self._process.returncode if self._process else None
        if not code:
            how = "Runtime exited without providing a reason"
        elif code > 0:
            how = f"Runtime exited with error: exit status {code}"
        else:
            how = f"Runtime exited with error: signal: {signal.strsignal(-code) or -code}".lower().replace(
                "runtime", "Runtime", 1
            )
        return platform_error("Runtime.ExitError", f"RequestId: {request_id} Error: {how}")

    def _read_log(self) -> None:
        """Takes what the runtime has logged."""
        with suppress(BlockingIOError):
            while data := os.read(self._log, PIECE):
                self._journal.feed(data)
            asyncio.get_running_loop().remove_reader(self._log)  # nobody can write any more

    def _take_note(self, event: events.Event) -> None:  # noqa: C901 - a case for each event
        match event:
            case events.NextWaits():
                if self._init is not None:
                    self._init.give(None)
                self._waits.set()
            case events.Registered():
                self.is_registered = True
            case events.Piece(post=post):
                if running := self._whose(post.request_id):
                    running.take(event.data)
            case events.Ended(post=post):
                if running := self._whose(post.request_id):
                    failed = post.kind != messages.RESPONSE or post.error_body is not None
                    error_type = (post.error_type or "Unhandled") if failed else ""
                    content_type = post.content_type or messages.JSON
                    running.give(Result(running.body(), error_type=error_type, content_type=content_type))
            case events.TooLarge(post=post):
                if running := self._whose(post.request_id):
                    message = f"Response payload size exceeded maximum allowed payload size ({messages.MAX_PAYLOAD_SIZE} bytes)."
                    running.give(platform_error("Function.ResponseSizeTooLarge", message))
            case events.Cut(post=post):
                if running := self._whose(post.request_id):
                    message = f"RequestId: {post.request_id} Error: the runtime {event.how}"
                    running.give(platform_error("Runtime.TruncatedResponse", message))
            case _:
                pass

    def _whose(self, request_id: str) -> Running | None:
        """Whose post it is: an invocation's, or the init's."""
        return self.running.get(request_id) if request_id else self._init
