"""A Runtime API that hands out what a test gives it, for the headers that AWS's emulator never sends."""

from __future__ import annotations

import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

NEXT = "/2018-06-01/runtime/invocation/next"


class RuntimeApi:
    """The API on a port of its own, as a context manager. `address` is what AWS_LAMBDA_RUNTIME_API wants."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[bytes, dict[str, str]] | None] = queue.Queue()
        self._posts: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self.address = f"127.0.0.1:{self._server.server_port}"

    def invoke(self, event: bytes, **headers: str) -> tuple[str, bytes]:
        """What is posted for that event, which goes out with these headers: "response" or "error", and the body."""
        self._events.put((event, {name.replace("_", "-"): value for name, value in headers.items()}))
        return self._posts.get(timeout=30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        events, posts = self._events, self._posts

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                event = events.get()
                if event is None:  # the end: a client that still waits gets no answer
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
                self._answer(202, b'{"status":"OK"}', {"Content-Type": "application/json"})
                posts.put((urlsplit(self.path).path.rpartition("/")[2], body))

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class has named it
                """Says nothing: a test's output is for what is wrong."""

        return Handler
