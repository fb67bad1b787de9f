"""Starts a bootstrap with the one header that Lambda sends and AWS's emulator does not: `python -m tests.real.traced PROGRAM`.

Without a trace id such runtimes as crystal-aws-lambda end with their first invocation. The program's Runtime API is the emulator's, by way of this
process, which adds the header to what has a request id, and alters nothing else. It ends as the program does, with its exit code.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRACE_ID = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


class Forward(BaseHTTPRequestHandler):
    """One connection of the program's. Each of its requests is the emulator's to answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        emulator = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        emulator.request(self.command, self.path, body, dict(self.headers))
        response = emulator.getresponse()
        content = response.read()
        emulator.close()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name not in {"Content-Length", "Transfer-Encoding"}:  # what is large comes in chunks, and is whole here
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        if "Lambda-Runtime-Aws-Request-Id" in response.headers:
            self.send_header("Lambda-Runtime-Trace-Id", TRACE_ID)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - the base class calls it so


def main() -> int:
    """Serves the program until it ends; its exit code."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}"}
    return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
