"""A Runtime API that hands out what a test gives it, for the headers that AWS's emulator never sends."""

from __future__ import annotations

import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIME = "/2018-06-01/runtime/"
RESTORE = "restore/next"


class RuntimeApi:
    """The API on a port of its own, as a context manager. `address` is what AWS_LAMBDA_RUNTIME_API wants.

    Args:
        hear: is told of each request before it is answered: "next", "response", "error", "restore/next" or "restore/error".
    """

    def __init__(self, hear: Callable[[str], object] = lambda _: None) -> None:
        self._hear = hear
        self._events: queue.Queue[tuple[bytes, dict[str, str]] | None] = queue.Queue()
        self._posts: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._snapshot = threading.Event()
        self._restored = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self.address = f"127.0.0.1:{self._server.server_port}"

    def invoke(self, event: bytes, **headers: str) -> tuple[str, bytes]:
        """What is posted for that event, which goes out with these headers: "response" or "error", and the body."""
        self.send(event, **headers)
        return self.receive()

    def send(self, event: bytes, **headers: str) -> None:
        """Hands out that event as soon as somebody asks."""
        self._events.put((event, {name.replace("_", "-"): value for name, value in headers.items()}))

    def receive(self) -> tuple[str, bytes]:
        """The next that is posted: "response", "error" or "restore/error", and the body."""
        return self._posts.get(timeout=30)

    def await_snapshot(self) -> None:
        """Returns when the function may be frozen and copied: it asks for its restore, which comes with `restore`."""
        if not self._snapshot.wait(timeout=30):
            raise TimeoutError("the function does not ask to be restored")

    def restore(self) -> None:
        """The function goes on, as every copy of it does."""
        self._restored.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.put(None)
        self._restored.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        events, posts, hear, snapshot, restored = (
            self._events,
            self._posts,
            self._hear,
            self._snapshot,
            self._restored,
        )

        class Handler(_Handler):
            def do_GET(self) -> None:
                if self._is_another_api():
                    return
                if self.path == RUNTIME + RESTORE:
                    hear(RESTORE)
                    snapshot.set()
                    restored.wait()
                    self._answer(200, b"", {})
                    return
                hear("next")
                event = events.get()
                if event is None:  # the end: clients that still wait get no answer
                    events.put(None)
                    self.close_connection = True
                    return
                body, headers = event
                self._answer(
                    200,
                    body,
                    {
                        "Content-Type": "application/json",
                        "Lambda-Runtime-Aws-Request-Id": "an-id",
                        "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000),
                        "Lambda-Runtime-Invoked-Function-Arn": "an-arn",
                        "Lambda-Runtime-Trace-Id": "Root=1-a-b",
                    }
                    | headers,
                )

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self._is_another_api():
                    return
                path = urlsplit(self.path).path.removeprefix(RUNTIME)
                kind = path if path.startswith("restore/") else path.rpartition("/")[2]
                hear(kind)
                self._answer(202, b'{"status":"OK"}', {"Content-Type": "application/json"})
                posts.put((kind, body))

        return Handler


class _Handler(BaseHTTPRequestHandler):
    """What has nothing to do with invocations."""

    protocol_version = "HTTP/1.1"

    def _is_another_api(self) -> bool:
        """Whether it is not this one that is asked, such as that for extensions, which is not here: then the answer says so."""
        other = not self.path.startswith(RUNTIME)
        if other:
            self._answer(404, b"404 page not found", {"Content-Type": "text/plain"})
        return other

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class has named it
        """Says nothing: a test's output is for what is wrong."""
