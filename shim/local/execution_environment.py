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

from shim.children.pipes import left
from shim.local.context import VERSION, log_stream
from shim.local.function import Result, message_of, platform_error, result_of, too_large
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
LAST_WORDS = 0.1
"""Seconds for what a runtime has sent before its end to arrive, where others hold its connections open."""
PIECE = 4096
"""Bytes of the log that are taken at a time: who never stops keeps nobody from anything."""
MB = 1024 * 1024


class Running:
    """What is waited for: the answer to an invocation, or that the init is over."""

    def __init__(self, request_id: str, invocation: Invocation | None = None) -> None:
        self.request_id = request_id
        self.result: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._body = bytearray()
        self._invocation = invocation
        self._on_piece: Callable[[bytes], asyncio.Future[None] | None] | None = None

    def begin(self, content_type: str) -> None:
        """A response begins, no error."""
        invocation = self._invocation
        if invocation is not None and (invocation.on_begin is None or invocation.on_begin(content_type)):
            self._on_piece = invocation.on_piece

    def take(self, data: bytes) -> asyncio.Future[None] | None:
        """Takes the next bytes of the answer. No more is to be read before the future that it may return is done."""
        if self._on_piece is not None:
            return self._on_piece(data)
        if len(self._body) + len(data) > messages.MAX_PAYLOAD_SIZE:  # it is streamed, and its caller takes it whole
            self.give(too_large())
        elif not self.result.done():
            self._body += data
        return None

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
        over: is called when its runtime has ended by itself.
    """

    def __init__(
        self, function: Function, *, number: int, write: Callable[[int, bytes], None], over: Callable[[], None]
    ) -> None:
        self.number = number
        self.is_over = False
        """Whether its runtime has ended, or was ended."""
        self.running: dict[str, Running] = {}
        """The invocations that it works on, by their request ids."""
        self.taken = 0
        """How many callers have it."""
        self.last_used = 0.0
        self.is_ready = False
        """Whether its init is over, and was a good one."""
        self.is_stale = False
        """Whether it takes no more invocations."""
        self.is_registered = False
        """Whether the runtime has registered as an extension, and so gets SIGTERM before the end."""
        self._function = function
        self._tell_over = over
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
            ready=self._is_asked,
            limit=messages.MAX_PAYLOAD_SIZE,
            stream_limit=STREAMED,
        )
        self._process: Process | None = None
        self._tree: Tree | None = None
        self._watch: asyncio.Task[None] | None = None
        self._looks: asyncio.Task[None] | None = None
        self._log = -1
        self._start: asyncio.Task[Result | None] | None = None
        self._has_begun = asyncio.Event()
        """Set when its process has been started, or can't be."""
        self._init: Running | None = None
        self._init_seconds: float | None = None
        self._has_served = False
        self._waits = asyncio.Event()
        self._is_frozen = False
        self._freezing = asyncio.Lock()

    def start(self, request_id: str, limit: float) -> None:
        """Starts the runtime, for the invocation with that id: whatever becomes of who waits for that.

        Args:
            request_id: whose error it is, if it fails.
            limit: seconds that it may take.
        """
        self._init = Running(request_id)
        self._start = asyncio.create_task(self._begin(self._init, limit))

    async def started(self) -> Result | None:
        """Waits until the runtime asks for an invocation: None where it does, else what came instead."""
        return await asyncio.shield(self._start) if self._start else None

    async def invoke(self, invocation: Invocation, *, spent: float = 0.0) -> Result | None:
        """Hands the runtime an invocation. Where its time is over the environment is to be ended, unless it takes several at once.

        Args:
            invocation: what is handed over.
            spent: seconds of its time that are gone already.

        Returns:
            None where the runtime had ended before, or never asks again after its last one: another environment is to take it.
        """
        function, request_id = self._function, invocation.request_id
        limit = function.timeout - spent
        await self._go_on()
        asks = await self._asks(limit)
        if not asks and self._has_served and function.at_once == 1:
            return None
        began = time.perf_counter()
        self._has_served = True
        invocation.deadline = time.time() + limit
        running = self.running[request_id] = Running(request_id, invocation)
        self._journal.begin()
        self._journal.say(start_line(request_id, VERSION).encode())
        self._looks = self._looks or asyncio.create_task(self._look())
        try:
            if self.is_over:
                await self._ended()
                running.give(self._exit_error(request_id))
            elif asks:
                self._server.invoke(request_id, invocation.headers(function), invocation.event)
                await self._within(running, limit)
        finally:
            self._server.forget(request_id)
            del self.running[request_id]
            if not self.running:
                self._looks.cancel()
                self._looks = None
        result = running.result.result() if running.result.done() else None
        if result is None:
            message = f"RequestId: {request_id} Error: Task timed out after {function.timeout:.2f} seconds"
            result = platform_error("Sandbox.Timedout", message, status="timeout")
        return await self._report(request_id, time.perf_counter() - began, result, spent=spent)

    async def refuse(self, invocation: Invocation, failure: Result, *, spent: float = 0.0) -> Result:
        """What the caller gets of an invocation that can't be handed over, since the init has failed. The log of that is the invocation's."""
        told = self._init.request_id if self._init else ""
        failure = replace(failure, payload=failure.payload.replace(told.encode(), invocation.request_id.encode()))
        self._journal.say(start_line(invocation.request_id, VERSION).encode())
        return await self._report(
            invocation.request_id, 0, replace(failure, status=failure.status or "error"), spent=spent
        )

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
        self.is_over = True
        self._waits.set()
        if self._start is not None:
            await self._has_begun.wait()
        process = self._process
        if process is not None and self._tree is not None:
            if self.is_registered and process.returncode is None:
                await self._go_on()
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)  # send_signal might reap it, which is its watcher's
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), SHUTDOWN)
            await asyncio.to_thread(self._tree.kill)
            await process.wait()
        await self._server.__aexit__()
        await self._ended()
        if self._log >= 0:
            self._read_rest()
            asyncio.get_running_loop().remove_reader(self._log)
            os.close(self._log)
            self._log = -1

    async def _begin(self, init: Running, limit: float) -> Result | None:
        began = time.perf_counter()
        try:
            await self._spawn()
        except OSError as refusal:
            missing = refusal.filename or self._function.command[0]
            message = f"RequestId: {init.request_id} Error: {refusal.strerror}: {missing}"
            return platform_error("Runtime.InvalidEntrypoint", message)
        finally:
            self._has_begun.set()
        await self._within(init, limit)
        self._init_seconds = time.perf_counter() - began
        if not init.result.done():
            message = f"RequestId: {init.request_id} Error: Runtime init timed out after {limit:.2f} seconds"
            return platform_error("Sandbox.Timedout", message, status="timeout")
        failure = init.result.result()
        self.is_ready = failure is None
        return failure

    async def _spawn(self) -> None:
        """Starts the process of the runtime, with all that watches it."""
        await self._server.__aenter__()
        variables = {"AWS_LAMBDA_RUNTIME_API": self._server.address, MARK: self._stream}
        self._log, theirs = os.pipe()
        os.set_blocking(self._log, False)
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
        finally:
            os.close(theirs)
        self._tree = Tree(self._process.pid, self._stream)
        asyncio.get_running_loop().add_reader(self._log, self._read_log)
        self._watch = asyncio.create_task(self._tell_end(self._process))

    async def _asks(self, seconds: float) -> bool:
        """Waits so long until the runtime asks for an invocation, and tells whether it does."""
        until = time.perf_counter() + seconds
        while not (self._server.waits or self.is_over):
            self._waits.clear()
            try:
                await asyncio.wait_for(self._waits.wait(), until - time.perf_counter())
            except TimeoutError:
                break
        return self._server.waits and not self.is_over

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
            await asyncio.sleep(LOOKS)
            await asyncio.to_thread(self._tree.look)

    async def _ended(self) -> None:
        """Waits until it is known how its runtime has ended."""
        if self._watch is not None:
            await asyncio.shield(self._watch)

    async def _report(self, request_id: str, duration: float, result: Result, *, spent: float) -> Result:
        """The lines after what the invocation logged; and the result with the log."""
        if self._tree is not None:
            await asyncio.to_thread(self._tree.look)
        self._read_rest()
        if result.status:  # what the platform says of it stands in the log, too
            self._journal.say(message_of(result).encode())
        self._journal.say(end_line(request_id).encode())
        init, self._init_seconds = None if spent else self._init_seconds, None
        report = report_line(
            request_id,
            duration=spent + duration,
            init=init,
            memory=self._function.memory,
            peak=ceil(self._tree.peak / MB) if self._tree else 0,
            status=result.status,
        )
        self._journal.say(report.encode())
        return replace(result, log=self._journal.tail, request_id=request_id)

    async def _tell_end(self, process: Process) -> None:
        """Waits for the end of the runtime, and tells all who wait for it."""
        await process.wait()
        self.is_over = True
        self._waits.set()
        await self._server.outlast(LAST_WORDS)
        for running in (*self.running.values(), *([self._init] if self._init else ())):
            running.give(self._exit_error(running.request_id))
        self._tell_over()

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
        """Takes the next of what the runtime has logged."""
        try:
            data = os.read(self._log, PIECE)
        except BlockingIOError:
            return
        self._journal.feed(data)
        if not data:
            asyncio.get_running_loop().remove_reader(self._log)  # nobody can write any more

    def _read_rest(self) -> None:
        """Takes what it has logged until now, whether that ends with a line feed or not."""
        if self._log >= 0 and (size := left(self._log)):
            self._journal.feed(os.read(self._log, size))
        self._journal.settle()

    def _is_asked(self) -> None:
        """The runtime asks for an invocation, and with it its init is over."""
        if self._init is not None:
            self._init.give(None)
        self._waits.set()

    def _take_note(self, event: events.Event) -> None:  # noqa: C901 - a case for each event
        match event:
            case events.Registered():
                self.is_registered = True
            case events.Began(post=post):
                if post.kind == messages.RESPONSE and (running := self._whose(post.request_id)):
                    running.begin(post.content_type or messages.JSON)
            case events.Piece(post=post):
                if (running := self._whose(post.request_id)) and (room := running.take(event.data)):
                    self._server.hold(room)
            case events.Ended(post=post):
                if running := self._whose(post.request_id):
                    running.give(result_of(post, running.body()))
            case events.TooLarge(post=post):
                if running := self._whose(post.request_id):
                    running.give(too_large())
            case events.Cut(post=post):
                ends = self._tree is not None and self._tree.is_ending()  # then how it ends says more, and is told soon
                if not ends and (running := self._whose(post.request_id)):
                    message = f"RequestId: {post.request_id} Error: the runtime {event.how}"
                    running.give(platform_error("Runtime.TruncatedResponse", message))
            case _:
                pass

    def _whose(self, request_id: str) -> Running | None:
        """Whose post it is: an invocation's, or the init's."""
        return self.running.get(request_id) if request_id else self._init
