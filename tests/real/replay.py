#!/usr/bin/env python3
"""A bootstrap that speaks to the Runtime API what a script tells it to, byte for byte, and writes down what it is answered.

The variable REPLAY names the script, a JSON file: its `steps`, and in `exit` the code to end with, or null to stay. A step is done on the
connection that it names with `on`, which is opened where it is not open:

- `send`: texts, and numbers, each of which stands for so many bytes. In a text, `{id}` is the id of the last event, `{escaped id}` the same
  with its hyphens percent-encoded, and `{extension}` the identifier of the last extension that has been registered.
- `shut`: nothing more will be sent on this connection; what is answered is read all the same.
- `drop`: the connection is closed at once.
- `read`: whether an answer is waited for.
- `within`: for how many seconds.

Each step adds a line of JSON to the file that REPLAY_TO names: its `outcome`, which is "answer", "parked" when none came in time, "closed"
when the connection ended before one, "cut" when it ended within one, "sent" or "dropped"; and of an answer its `status`, `headers`, `body`.
It stands alone, because it runs as a function's executable. Where the file is there already, it has been started again, and does nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

HEADERS = ("allow", "connection", "content-type", "lambda-", "x-content-type-options")
"""The headers that are written down begin with one of these."""


class Ended(Exception):
    """The other side has closed the connection. The argument is what had come of an answer."""


class Connection:
    """A connection to the Runtime API, with what has come on it and has not been read yet."""

    def __init__(self) -> None:
        host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._come = b""
        self._bodiless = False

    def send(self, content: bytes) -> None:
        """Sends it as far as the other side takes it."""
        self._bodiless = content.startswith(b"HEAD ")
        try:
            self._socket.sendall(content)
        except OSError:  # answered and closed before all was read
            return

    def shut(self) -> None:
        """Ends this side's half."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, within: float) -> dict[str, object]:
        """The next answer, an interim one too. It begins within so many seconds, or there is a TimeoutError."""
        self._socket.settimeout(within)
        head = self._until(b"\r\n\r\n")
        self._socket.settimeout(10)
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return {
            "outcome": "answer",
            "status": status,
            "headers": {name: value for name, value in sorted(fields.items()) if name.startswith(HEADERS)},
            "body": self._body(status, fields).decode("latin-1"),
        }

    def close(self) -> None:
        self._socket.close()

    def _body(self, status: int, fields: dict[str, str]) -> bytes:
        if self._bodiless or status < 200:
            return b""
        if "transfer-encoding" in fields:
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size + 2)[:-2]
            while self._until(b"\r\n") != b"\r\n":
                pass
            return body
        if "content-length" in fields:
            return self._exactly(int(fields["content-length"]))
        while self._more():
            pass
        return self._exactly(len(self._come))

    def _until(self, end: bytes) -> bytes:
        while end not in self._come:
            if not self._more():
                raise Ended(self._come)
        return self._exactly(self._come.index(end) + len(end))

    def _exactly(self, size: int) -> bytes:
        while len(self._come) < size:
            if not self._more():
                raise Ended(self._come)
        taken, self._come = self._come[:size], self._come[size:]
        return taken

    def _more(self) -> bool:
        try:
            read = self._socket.recv(1 << 20)
        except ConnectionResetError:
            read = b""
        self._come += read
        return bool(read)


class Replay:
    """The script's connections, and what its texts can name."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._names = {"{id}": "", "{escaped id}": "", "{extension}": ""}

    def play(self, step: dict[str, object]) -> dict[str, object]:
        """The line for that step."""
        name = str(step["on"])
        connection = self._connections.get(name)
        if connection is None:
            connection = self._connections[name] = Connection()
        parts = step["send"]
        assert isinstance(parts, list)
        content = b"".join(b"x" * part if isinstance(part, int) else self._named(part) for part in parts)
        if content:
            connection.send(content)
        if step["shut"]:
            connection.shut()
        if step["drop"]:
            self._connections.pop(name).close()
            return {"outcome": "dropped"}
        if not step["read"]:
            return {"outcome": "sent"}
        try:
            answer = connection.answer(float(str(step["within"])))
        except TimeoutError:
            return {"outcome": "parked"}
        except Ended as end:
            self._connections.pop(name).close()
            return {"outcome": "cut" if end.args[0] else "closed"}
        headers = answer["headers"]
        assert isinstance(headers, dict)
        if current := headers.get("lambda-runtime-aws-request-id"):
            self._names |= {"{id}": current, "{escaped id}": current.replace("-", "%2D")}
        self._names["{extension}"] = headers.get("lambda-extension-identifier", self._names["{extension}"])
        return answer

    def _named(self, text: str) -> bytes:
        for name, value in self._names.items():
            text = text.replace(name, value)
        return text.encode("latin-1")


def main() -> None:
    """Plays the script, the first time that it is started."""
    parent = os.getppid()
    with open(os.environ["REPLAY"]) as file:
        script = json.load(file)
    try:
        play(script["steps"], os.environ["REPLAY_TO"])
    except FileExistsError:
        script["exit"] = None
    if script["exit"] is not None:
        sys.exit(script["exit"])
    while os.getppid() == parent:  # who has started it may be killed, and then nobody tells it to end
        time.sleep(0.1)


def play(steps: list[dict[str, object]], to: str) -> None:
    """Plays these steps into a new file."""
    replay = Replay()
    with open(to, "x") as report:
        for step in steps:
            report.write(json.dumps(replay.play(step)) + "\n")
            report.flush()


if __name__ == "__main__":
    main()
