"""How `python -m shim.runtime` ends, and how it goes on where others would have ended: refusals before the end, errors in trailers that a
server in Go takes, threads and modules of the function's own, a log that nobody reads in time.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.runtime.connection import Connection
from shim.runtime.stream import Stream
from tests.conftest import eventually
from tests.real import components
from tests.real.rie import Rie
from tests.runtime.stub import ACCEPTED, NEXT, RUNTIME, RuntimeApi, answer, invocation
from tests.runtime.test_wire import (
    ERROR,
    FOREVER,
    RESPONSE,
    TYPE,
    ends_with_a_line,
    error_of,
    goes_on,
    init_error_of,
    says_once,
    script,
    stream_of,
    trailers_of,
)
from tests.test_streaming import Caller, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.stub import Request, Runtime

    Start = Callable[..., Runtime]

CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"
MOST_TRAILERS = 4096
"""Bytes of trailers that a server in Go takes: at more it panics (net/http, transfer.go)."""
PROMPT = 5
"""Seconds that an end may take here. Lambda gives it half of one; a machine that tests at the same time may be slower."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The task root, before the runtime is started."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def start_by(start: Start, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the runtime by a shell script, which has the interpreter's path in $python and the interpreter's arguments."""

    def begin(text: str, *program: str, **rest: Any) -> Runtime:
        launcher = tmp_path / "launcher"
        launcher.write_text(f"#!/bin/sh\npython='{sys.executable}'\n{text}")
        launcher.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(launcher))
            return start(*program, **rest)

    return begin


# Errors in trailers.

ESCAPED = ('a "word"\\\t\x01é\n' * 800).encode()[:8000]
"""Which is twice as long in JSON."""
DURATION = re.compile(r"after [0-9.]+ m?s")
COMPLAINING = (
    "#!/bin/sh\nread -r line\n"
    'case $line in *begin*) printf a;; *fine*) printf %s "$line"; exit 0;; esac\n'
    'cat "$LAMBDA_TASK_ROOT/complaint" >&2\nexit 3\n'
)
"""Answers `"fine"`, and fails at all else: at `"begin"` in the middle of a stream."""


def test_the_trailers_of_a_long_error_are_no_more_than_a_server_in_go_takes(start: Start, root: Path) -> None:
    (root / "complaint").write_bytes(ESCAPED)
    runtime = start(COMPLAINING, output="stream", stderr_tail_bytes="32768")
    whole = DURATION.sub("", error_of(runtime.fail(b'"before"', "id-2"))["errorMessage"])
    posted = stream_of(runtime.invoke(b'"begin"'))
    block = b"".join(f"{name}: {value}\r\n".encode() for name, value in posted.trailers) + b"\r\n"
    error_type, error = trailers_of(posted)
    beginning = DURATION.sub("", error["errorMessage"]).removesuffix("…")

    assert len(json.dumps(whole)) > 10_000
    assert posted.body == b"a"
    assert len(block) < MOST_TRAILERS
    assert (error_type, error["errorType"]) == ("Function.ExitError", "ExitError")
    assert (error["requestId"], error["stackTrace"]) == ("id-1", [])
    assert whole.startswith(beginning)
    assert len(beginning) > 500
    assert stream_of(runtime.invoke(b'"fine"')).trailers == []


def test_awss_emulator_survives_a_stream_that_ends_with_a_long_error(root: Path, tmp_path: Path) -> None:
    """The same execution environment serves the next invocation."""
    (root / "complaint").write_bytes(ESCAPED)
    (root / "program").write_text(COMPLAINING)
    (root / "program").chmod(0o755)
    settings = {"SHIM_EXECUTABLE": "program", "SHIM_OUTPUT": "stream", "SHIM_STDERR_TAIL_BYTES": "32768"}
    command = [sys.executable, "-m", "shim.runtime", "shim.handler"]
    rie = Rie(components.rie(), command, folder=root, variables=settings, log=tmp_path / "log")
    try:
        assert rie.invoke("begin").body == b"a"
        assert rie.invoke("fine").value["context"]["invocation_count"] == 2
        assert not rie.session.ended
    finally:
        rie.session.end()


# Refusals before the end.

SIX_MB = "head -c 6000000 /dev/zero | tr '\\0' x"
LARGE = {"json": f"printf '\"'; {SIX_MB}; printf '\"'\n", "text": f"{SIX_MB}\n"}


@pytest.fixture
def reads_no_more(monkeypatch: pytest.MonkeyPatch) -> Callable[[Runtime], None]:
    """Has the API read no more of a post than its head, and what came with that: 64 KB at most."""

    def stop(runtime: Runtime) -> None:
        hear = runtime.api.hear

        def hear_and_stop(request: Request) -> None:
            hear(request)
            if request.target.startswith(f"{RUNTIME}/invocation/id"):
                request.connection.pause()

        monkeypatch.setattr(runtime.api, "hear", hear_and_stop)

    return stop


def turn_away(post: Request, said: bytes) -> None:
    """Answers a post, and closes the connection on all that was not read: the client's next call on it fails."""
    post.connection.send(said)
    post.connection._socket.close()  # noqa: SLF001 - no other end of it comes in the middle of what is not read
    post.connection.resume()

    assert post.connection.await_end()
    assert post.broken


@pytest.mark.parametrize("output", LARGE)
@pytest.mark.parametrize("status", [400, 410, 413])
def test_an_answer_that_is_refused_before_it_was_read_is_said_and_it_goes_on(
    start: Start, reads_no_more: Callable[[Runtime], None], status: int, output: str
) -> None:
    runtime = start(script(LARGE[output]), output=output)
    reads_no_more(runtime)
    goes_on(runtime).connection.send(invocation())
    posted = runtime.api.begin(RESPONSE)
    turn_away(posted, answer(status, ("Connection", "close"), body=b'{"errorType":"a","errorMessage":"b"}'))
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    assert str(status) in says_once(runtime)
    assert runtime.exit_code is None


@pytest.mark.parametrize("output", LARGE)
def test_a_server_that_is_out_of_order_before_it_has_read_an_answer_is_the_end(
    start: Start, reads_no_more: Callable[[Runtime], None], output: str
) -> None:
    runtime = start(script(LARGE[output]), output=output)
    reads_no_more(runtime)
    goes_on(runtime).connection.send(invocation())
    turn_away(runtime.api.begin(RESPONSE), answer(500, ("Connection", "close"), body=b"{}"))

    assert "500" in ends_with_a_line(runtime)


def test_a_stream_that_is_refused_before_it_was_read_is_stopped_and_it_goes_on(
    start: Start, reads_no_more: Callable[[Runtime], None]
) -> None:
    runtime = start("#!/bin/sh\nexec yes\n", output="stream")
    reads_no_more(runtime)
    goes_on(runtime).connection.send(invocation())
    posted = stream_of(runtime.api.begin(RESPONSE))
    turn_away(posted, answer(413, ("Connection", "close"), body=b"{}"))
    second = goes_on(runtime)

    assert second.connection is not posted.connection
    assert "413" in says_once(runtime)
    eventually(lambda: len(runtime.processes()) == 1)


# What the function has besides.

THREAD = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
"""It lives for ever, and no interpreter ends before it."""
HANDLER = "import shim\nhandler = shim.Shim('/bin/cat', output='json')\n"


def test_sigterm_ends_it_though_a_thread_of_the_functions_goes_on(start: Start, root: Path) -> None:
    (root / "app.py").write_text(THREAD + HANDLER)
    runtime = start(handler="app.handler")
    runtime.invoke()
    goes_on(runtime)
    began = time.monotonic()
    runtime.terminate()

    assert runtime.ends() == 0
    assert time.monotonic() - began < PROMPT
    assert runtime.lines() == []


def test_the_servers_end_ends_it_though_a_thread_of_the_functions_goes_on(start: Start, root: Path) -> None:
    (root / "app.py").write_text(THREAD + HANDLER)
    runtime = start(handler="app.handler")
    asked = goes_on(runtime)
    runtime.api.refuse()
    began = time.monotonic()
    asked.connection.finish()

    ends_with_a_line(runtime)
    assert time.monotonic() - began < PROMPT


def test_an_init_error_ends_it_though_a_thread_of_the_functions_goes_on(start: Start, root: Path) -> None:
    (root / "app.py").write_text(THREAD + "raise ValueError('no')\n")
    began = time.monotonic()
    posted, error = init_error_of(start(handler="app.handler"))

    assert time.monotonic() - began < PROMPT
    assert (posted[TYPE], error["errorType"], error["errorMessage"]) == ("Function.ValueError", "ValueError", "no")


@pytest.mark.parametrize(
    ("module", "kind", "message"),
    [
        ("import os\nos.absent\n", "AttributeError", "module 'os' has no attribute 'absent'"),
        ("raise AttributeError('of its own')\nhandler = None\n", "AttributeError", "of its own"),
        ("import sys\nsys.exit(0)\n", "SystemExit", "0"),
        ("import sys\nsys.exit('because')\n", "SystemExit", "because"),
        ("raise SystemExit\n", "SystemExit", ""),
        ("other = None\n", "SettingsError", "the handler app.handler is missing: app has no handler"),
    ],
)
def test_what_ends_the_functions_module_is_told_as_it_is(
    start: Start, root: Path, module: str, kind: str, message: str
) -> None:
    (root / "app.py").write_text(module)
    posted, error = init_error_of(start(handler="app.handler"))

    assert (posted[TYPE], error["errorType"]) == (f"Function.{kind}", kind)
    assert message in error["errorMessage"]


WRAPPED = f"exec '{Path(shim.__file__).with_name('runtime') / 'wrapper'}' \"$python\" /var/runtime/bootstrap.py\n"
NOT_OURS = "raise ImportError('the function has modules of these names')\n"


@pytest.fixture
def namesakes(root: Path) -> Path:
    """A task root with modules that are named as those which the runtime needs."""
    for name in ("json", "select", "base64", "re"):
        (root / f"{name}.py").write_text(NOT_OURS)
    return root


@pytest.mark.parametrize("output", ["json", "stream"])
def test_modules_of_the_functions_take_no_place_of_those_that_the_runtime_needs(
    start_by: Start, namesakes: Path, output: str
) -> None:
    runtime = start_by(WRAPPED, COMPLAINING, output=output, variables={"_HANDLER": "shim.handler"})
    (namesakes / "complaint").write_bytes(b"why")

    assert json.loads(runtime.invoke(b'"fine"').body)["event"] == "fine"
    if output == "stream":
        assert trailers_of(runtime.invoke(b'"begin"'))[0] == "Function.ExitError"
    assert "why" in error_of(runtime.fail(b'"else"'))["errorMessage"]
    assert goes_on(runtime).line == f"GET {NEXT}"


def test_the_functions_module_finds_its_own_first_and_what_the_runtime_has_already(
    start_by: Start, namesakes: Path
) -> None:
    (namesakes / "colorsys.py").write_text("NAME = 'own'\n")  # a name of the standard library's that nobody else needs
    (namesakes / "app.py").write_text(
        "import colorsys, json, shim\n"
        "handler = shim.Shim('sh', args=['-c', 'printf %s ' + json.dumps(colorsys.NAME)], output='text')\n"
    )
    runtime = start_by(WRAPPED, variables={"_HANDLER": "app.handler"})

    assert json.loads(runtime.invoke().body) == "own"


# Signals, and where it finds itself.


def test_an_interrupt_while_it_waits_is_its_end_and_no_fault(start: Start) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests in the background ignores it
    try:
        runtime = start()
    finally:
        signal.signal(signal.SIGINT, before)
    goes_on(runtime)
    [pid] = runtime.processes()
    os.kill(pid, signal.SIGINT)

    assert runtime.ends() == 130
    assert runtime.lines() == []


@pytest.mark.parametrize("output", ["json", "stream"])
def test_an_error_is_posted_where_the_current_folder_is_gone(start: Start, root: Path, output: str) -> None:
    runtime = start("/bin/false", output=output)
    asked = goes_on(runtime)
    root.rmdir()
    asked.connection.send(invocation())
    posted = runtime.api.take(ERROR)
    posted.connection.send(ACCEPTED)

    assert error_of(posted)["errorType"] == "ExitError"
    assert json.loads(posted[CAUSE])["working_directory"] == ""
    assert goes_on(runtime).connection is posted.connection
    assert runtime.lines() == []


@pytest.mark.parametrize(
    "address",
    ["ä:1", "127.0.0.1:\u0661", "127.0.0.1 :9001", " ", "127.0.0.1:9001\n", "127.0.0.1\r\nX: y:9001", "a\x7f:1"],
)
def test_an_address_that_is_none_is_said_in_one_line(start: Start, address: str) -> None:
    runtime = start(variables={"AWS_LAMBDA_RUNTIME_API": address})

    assert "AWS_LAMBDA_RUNTIME_API must be host:port" in ends_with_a_line(runtime)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[int]:
    """A FIFO of 4 KiB that is full; this is its end to be read."""
    os.mkfifo(tmp_path / "stderr")
    descriptor = os.open(tmp_path / "stderr", os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    assert os.write(descriptor, b"x" * select.PIPE_BUF) == select.PIPE_BUF
    yield descriptor
    os.close(descriptor)


def test_the_reason_of_its_end_gets_into_a_log_that_is_read_a_moment_later(
    start_by: Start, full: int, tmp_path: Path
) -> None:
    runtime = start_by(f'exec "$python" "$@" 2>>\'{tmp_path / "stderr"}\'\n')
    asked = goes_on(runtime)
    runtime.api.refuse()
    asked.connection.finish()
    time.sleep(0.05)  # what is tested is a log that takes nothing for that long

    assert os.read(full, select.PIPE_BUF) == b"x" * select.PIPE_BUF
    assert runtime.ends() == 1
    assert b"can't be reached" in os.read(full, select.PIPE_BUF)


# Streams, their callers and the clock.


def test_a_deadline_that_is_far_away_is_none_for_a_stream(start: Start) -> None:
    runtime = start(script("printf a\n"), output="stream")
    far = [("Lambda-Runtime-Aws-Request-Id", "id-1"), ("Lambda-Runtime-Deadline-Ms", "9999999999999")]
    goes_on(runtime).connection.send(answer(200, *far, body=b"{}"))
    posted = stream_of(runtime.api.take(RESPONSE))
    posted.connection.send(ACCEPTED)

    assert (posted.body, posted.trailers) == (b"a", [])
    assert goes_on(runtime).connection is posted.connection
    assert runtime.lines() == []


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    with closing(RuntimeApi()) as made:
        yield made
        assert made.faults == []


@pytest.fixture
def connection(api: RuntimeApi) -> Iterator[Connection]:
    with closing(Connection(api.address)) as made:
        yield made


def begun(api: RuntimeApi, connection: Connection) -> tuple[Stream, Request]:
    """A stream of which the first byte has gone, as both ends have it."""
    lines = [
        f"POST {RESPONSE} HTTP/1.1",
        f"Host: {api.address}",
        "Transfer-Encoding: chunked",
        f"Trailer: {TYPE}",
        "",
        "",
    ]
    stream = Stream(connection, "\r\n".join(lines).encode())
    stream.write(b"a")
    return stream, api.begin(RESPONSE)


def test_a_stream_that_was_sent_and_taken_is_no_failure_where_its_time_is_over(
    api: RuntimeApi, connection: Connection
) -> None:
    stream, posted = begun(api, connection)
    posted.connection.send(ACCEPTED)
    poll = select.poll()
    poll.register(stream.descriptor, select.POLLIN)
    assert poll.poll(PROMPT * 1000)  # it is there at the end, however slow this machine is
    said = stream.end(b"b", None, until=0.0)

    assert said is not None
    assert said.status == 202
    api.until(lambda: posted.whole, "the end")
    assert posted.body == b"ab"
    assert connection.descriptor >= 0


def test_a_stream_whose_end_nobody_answers_is_broken_off_when_its_time_is_over(
    api: RuntimeApi, connection: Connection
) -> None:
    stream, posted = begun(api, connection)

    assert stream.end(b"b", None, until=0.0) is None
    assert connection.descriptor < 0
    assert posted.connection.await_end()


def test_what_a_process_that_was_left_behind_has_to_write_reaches_a_slow_caller() -> None:
    """`dd` holds a third of it when the shell has ended, and nobody waits for dd but us."""
    text = "exec > >(dd bs=4M iflag=fullblock status=none); head -c 12000000 /dev/zero | tr '\\0' x"
    caller, came = Caller(), 0
    with ThreadPoolExecutor(1) as pool, caller.theirs:
        running = pool.submit(serve, Shim("bash", args=["-c", text], output="stream"), caller)
        while data := caller.theirs.recv(65_536):
            assert data == b"x" * len(data)
            came += len(data)
            time.sleep(len(data) / 5_000_000)  # what is tested is a caller that takes 5 MB a second

        assert running.result() == b""
    assert came == 12_000_000


def test_a_stream_whose_slow_reader_takes_all_of_it_in_time_is_one(start: Start) -> None:
    """On the wire: what a process that was left behind has still to write is part of it. Then it stays, so that it surely is killed, which is all that is said."""
    text = "#!/bin/bash\nexec > >(dd bs=4M iflag=fullblock status=none; exec sleep 60 >&- 2>&-); head -c 12000000 /dev/zero | tr '\\0' x\n"
    runtime = start(text, output="stream")
    goes_on(runtime).connection.send(invocation())
    posted = stream_of(runtime.api.begin(RESPONSE))
    while not posted.whole:
        posted.connection.pause()
        time.sleep(0.1)  # what is tested is a reader that takes nothing for longer than the linger
        taken = len(posted.body)
        posted.connection.resume()
        runtime.api.until(lambda: posted.whole or len(posted.body) > taken, "more")  # noqa: B023 - it is called here
    posted.connection.send(ACCEPTED)

    assert posted.body == b"x" * 12_000_000
    assert posted.trailers == []
    goes_on(runtime)
    assert runtime.lines() == ["shim: program left 1 process behind, which was killed"]


def test_nothing_is_left_of_a_stream_that_is_under_way_at_sigterm(start: Start, root: Path) -> None:
    (root / "app.py").write_text(THREAD + "import shim\nhandler = shim.Shim('program', output='stream')\n")
    runtime = start(script("printf a; " + FOREVER), handler="app.handler")
    goes_on(runtime).connection.send(invocation())
    posted = stream_of(runtime.api.begin(RESPONSE))
    runtime.api.until(lambda: posted.body, "the first byte")
    runtime.terminate()

    assert runtime.ends(whatever_it_sends=True) == 0
    eventually(lambda: not runtime.processes())
