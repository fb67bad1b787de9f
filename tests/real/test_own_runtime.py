"""Our own runtime in the place of AWS's runtime client: the same Shim, the same child, in our emulator and in AWS's, and the caller sees the same.

The differences, all of them: of our own errors, which say all in their sentence, `stackTrace` is empty, where AWS's client shows its frames and
ours; and the body of an init error has no `requestId`, where AWS's client has an empty one. How our runtime is started in a function, by the
wrapper or not, and how it ends is in here as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.request import Request, urlopen

import pytest

import shim
import shim.testing
from tests.conftest import ROOT, eventually
from tests.real import components
from tests.real.rie import Answer, function_environment
from tests.real.runtime_api import RuntimeApi
from tests.real.session import Session, ends, processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.real.conftest import Start

SECONDS = 2
"""The timeout of a function here."""
MODULES = {"awslambdaric": "awslambdaric", "shim": "shim.runtime"}
"""The runtimes → what `python -m` runs."""
BASE = getattr(sys, "_base_executable", sys.executable)
"""The interpreter without the packages of the environment that the tests run in."""
WORDS = "Größe 😀 \u2028\n\\"
TEXT = f"{WORDS}\x7f"
TRACE = "Root=1-67890abc-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"
ERROR = {"errorType": "Bad.Input", "errorMessage": f"line 3 {WORDS}", "stackTrace": ["main.c:7", f"  {TEXT}"]}

CHILD = """
import json, os, signal, sys, time

FRAMING = sys.argv[1] if len(sys.argv) > 1 else "end"

def say(request, **answer):
    if FRAMING == "envelope":
        answer = {"id": request["id"], **answer}
    else:
        (answer,) = answer.values()
    print(json.dumps(answer, ensure_ascii=False), flush=True)

def do(request, count):
    event = request["event"]
    order = event["do"]
    if order == "echo":
        say(request, value={"value": event["value"], "count": count})
    elif order == "told":
        say(request, value={"context": request["context"], "environment": dict(os.environ)})
    elif order == "fail":
        say(request, error=event["error"])
        if FRAMING != "envelope":
            sys.exit(1)
    elif order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == "exit":
        print("no such table", file=sys.stderr, flush=True)
        os._exit(event["code"])
    elif order == "hang":
        open("hangs", "w").close()
        time.sleep(600)
    elif order == "grow":
        say(request, value="x" * event["bytes"])
    elif order == "garble":
        print('{"id":"%s","value":["%s",nothing]}' % (request.get("id"), "x" * 80), flush=True)

if FRAMING == "end":
    text = sys.stdin.read()
    assert text.count("\\n") == 1 and text.endswith("\\n"), text.count("\\n")
    do(json.loads(text), 1)
else:
    for count, line in enumerate(sys.stdin, 1):
        do(json.loads(line), count)
    with open("ending", "a") as file:
        file.write("end of input\\n")
    if "stays" in sys.argv:
        def note(number, frame):
            with open("ending", "a") as file:
                file.write("SIGTERM\\n")
            if "deaf" not in sys.argv:
                sys.exit()
        signal.signal(signal.SIGTERM, note)
        while True:
            signal.pause()
"""
"""Does what its event asks for, in each framing."""

MODES: dict[str, dict[str, Any]] = {
    "oneshot": {},
    "spare": {"spare": 1},
    "line": {"mode": "warm", "args": ["line"]},
    "envelope": {"mode": "warm", "framing": "envelope", "args": ["envelope"]},
}


class Case(NamedTuple):
    """What is asked for, and what comes of it."""

    name: str
    event: Mapping[str, object]
    error_type: str
    words: str
    """What the message has."""
    ended_by: frozenset[str] = frozenset(["line", "envelope"])
    """The modes in which the process is another one afterwards."""


CASES = [
    Case("reported", {"do": "fail", "error": ERROR}, "Bad.Input", WORDS, frozenset(["line"])),
    Case("crash", {"do": "crash"}, "SignalError", "was killed by SIGSEGV"),
    Case("exit", {"do": "exit", "code": 3}, "ExitError", "exit code 3"),
    Case("hang", {"do": "hang"}, "DeadlineExceeded", "was still running"),
    Case("read", {"do": "grow", "bytes": 7_000_000}, "OutputTooLarge", "max_output_bytes"),
    Case("garbled", {"do": "garble"}, "OutputInvalid", "not one JSON value"),
]


class Function(NamedTuple):
    """A function that is served."""

    invoke: Callable[..., Answer]
    """What its caller gets for an event, or bytes as the event, and with what headers."""
    log: Callable[[], str]
    """All that was logged until now."""


class Serve(Protocol):
    """Serves the child under a runtime."""

    def __call__(
        self, runtime: str = "shim", handler: str = "shim.handler", *, seconds: int = SECONDS, **settings: Any
    ) -> Function:
        """With these settings and that timeout."""


@pytest.fixture
def package(folder: Path) -> Path:
    """A deployment package with the child, and a module of handlers."""
    child = folder / "child"
    child.write_text(f"#!{sys.executable} -IS\n{CHILD}")
    child.chmod(0o755)
    (folder / "app.py").write_text(
        "import shim\ndef function(event, context): pass\nhandler = shim.Shim.from_environment()\n"
    )
    return folder


@pytest.fixture(params=["ours", "rie"])
def serve(request: pytest.FixtureRequest, package: Path, tmp_path: Path) -> Iterator[Serve]:
    """Serves a function in either emulator until the test's end."""
    start: Start | None = request.getfixturevalue("start") if request.param == "rie" else None
    components.awslambdaric()
    with ExitStack() as until_the_end:

        def begin(
            runtime: str = "shim", handler: str = "shim.handler", *, seconds: int = SECONDS, **settings: Any
        ) -> Function:
            settings = {"executable": "child", **settings}
            spelled = {
                f"SHIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
                for name, value in settings.items()
            }
            if start is not None:
                rie = start(
                    {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(seconds), **spelled},
                    bootstrap=[sys.executable, "-m", MODULES[runtime], handler],
                )
                return Function(rie.invoke, (tmp_path / "log").read_text)
            served = until_the_end.enter_context(
                shim.testing.emulator(
                    package,
                    runtime=runtime,  # type: ignore[arg-type] # one of MODULES
                    handler=handler,
                    timeout=seconds,
                    concurrency=1,
                    function_env={"PYTHONPATH": str(ROOT), **spelled},
                    executable="child",
                )
            )
            return Function(lambda event, **headers: ask(served.url, event, headers), lambda: "\n".join(served.log))

        yield begin


def ask(url: str, event: object, headers: Mapping[str, str]) -> Answer:
    """What the Invoke API there answers to an event, as `Rie.invoke` has it."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    begun = time.monotonic()
    with urlopen(Request(f"{url}/2015-03-31/functions/function/invocations", body, named), timeout=60) as response:  # noqa: S310 - it is ours
        return Answer(response.status, response.read(), time.monotonic() - begun)


@pytest.mark.parametrize("mode", MODES)
def test_a_caller_can_not_tell_our_runtime_from_awss(mode: str, serve: Serve) -> None:
    """Whatever the child does: the same type, the same sentence but for how long it took, the child's own stack trace, the same value; in time.

    After each failure the same environment serves on, with the same child where that may be.
    """
    seen = {}
    for runtime in MODULES:
        function = serve(runtime, **MODES[mode])
        count = 0
        told = []
        for case in CASES:
            count = count + 1 if mode in ("line", "envelope") else 1
            answer = function.invoke({"do": "echo", "value": [TEXT, 1.5e-7, 2**70, None]})
            assert answer.value == {"value": [TEXT, 1.5e-7, 2**70, None], "count": count}
            failure = function.invoke(case.event)
            count = 0 if mode in case.ended_by else count + 1
            assert failure.error_type == case.error_type, failure
            assert case.words in failure.error_message
            assert failure.seconds < SECONDS
            told.append((failure.status, failure.error_type, timeless(failure.error_message), sorted(failure.value)))
            if case.name == "reported":
                assert {name: failure.value[name] for name in ERROR} == ERROR
            elif runtime == "shim":
                assert failure.value["stackTrace"] == []
        assert function.invoke({"do": "echo", "value": 1}).error_type is None
        seen[runtime] = told

    assert seen["shim"] == seen["awslambdaric"]


def timeless(message: str) -> str:
    """The sentence without how long something took."""
    return re.sub(r"\b\d+(\.\d+)? m?s\b", "N s", message)


INITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing": ({"executable": "nothing"}, "ExecutableNotFound", "nothing was not found in "),
    "settings": ({"margin_ms": "soon", "mode": "cold"}, "SettingsError", "the settings have 2 mistakes: "),
    "not-ready": ({**MODES["line"], "ready": True, "ready_within_ms": 100}, "NotReady", '{"ok":true}'),
}


@pytest.mark.parametrize("name", INITS)
def test_an_init_that_fails_is_told_as_under_awss_runtime_client(name: str, serve: Serve) -> None:
    """To each caller, by the same type and sentence."""
    settings, error_type, words = INITS[name]
    seen = {}
    for runtime in MODULES:
        function = serve(runtime, "app.handler", **settings)
        for _ in range(2):
            answer = function.invoke({"do": "echo", "value": 1})
            assert answer.error_type == error_type, answer
            assert words in answer.error_message
            seen[runtime] = (answer.status, timeless(answer.error_message))
            if runtime == "shim":
                assert answer.value.keys() == {"errorType", "errorMessage", "stackTrace"}
                assert answer.value["stackTrace"] == []

    assert seen["shim"] == seen["awslambdaric"]


def test_a_module_that_raises_is_told_with_its_trace(serve: Serve, package: Path) -> None:
    """What is no error of ours has the frames that lead to it, as under AWS's runtime client."""
    (package / "app.py").write_text("raise ZeroDivisionError('a reason')\n")
    seen = [serve(runtime, "app.handler").invoke({}).value for runtime in MODULES]

    assert [(value["errorType"], value["errorMessage"]) for value in seen] == [("ZeroDivisionError", "a reason")] * 2
    assert all("app.py" in value["stackTrace"][-1] for value in seen)


def test_a_module_that_raises_is_told_whatever_its_reason_is(serve: Serve, package: Path) -> None:
    """Python has a lone surrogate for each byte of a file's name that is no UTF-8; no header and no JSON has one."""
    (package / "app.py").write_text("raise FileNotFoundError(b'no\\xff\\x7f'.decode('utf-8', 'surrogateescape'))\n")
    answer = serve("shim", "app.handler").invoke({})

    assert answer.error_type == "FileNotFoundError"
    assert answer.error_message.startswith("no")


def test_a_shim_of_a_module_has_settings_of_its_own(package: Path) -> None:
    """Where the handler is not ours, nothing is asked of whoever serves it."""
    (package / "app.py").write_text("import shim\nhandler = shim.Shim('child')\n")
    with shim.testing.emulator(package, runtime="shim", handler="app.handler") as served:
        assert json.loads(served.invoke({"do": "echo", "value": 1}).payload) == {"value": 1, "count": 1}


@pytest.mark.parametrize("mode", ["oneshot", "line"])
@pytest.mark.parametrize("size", [1_000_000, 6_000_000])
def test_large_events_and_replies_pass_as_one_line(mode: str, size: int, serve: Serve) -> None:
    """An event of many lines arrives as one, and the reply's own bytes get to the caller: every character, whatever its size in UTF-8."""
    piece = [TEXT * 40, {"é": [1.5, None]}]
    value = [piece] * (size // len(json.dumps(piece, ensure_ascii=False, indent=1).encode()) - 1)
    event = json.dumps({"do": "echo", "value": value}, ensure_ascii=False, indent=1).encode()
    function = serve(seconds=30, **MODES[mode])

    assert size * 0.98 < len(event) < size * 1.05
    assert event.count(b"\n") > 100
    for count in (1, 2):
        expected = {"value": value, "count": count if mode == "line" else 1}
        answer = function.invoke(event)
        assert answer.error_type is None
        assert answer.body.rstrip(b"\n") == json.dumps(expected, ensure_ascii=False).encode()


def test_who_calls_and_how_long_it_may_take_reaches_the_child(serve: Serve, request: pytest.FixtureRequest) -> None:
    """What a caller sends along, the deadline, and the trace, of which AWS's emulator tells nothing."""
    context = {"custom": {"a": "é"}, "env": {"locale": "de"}, "client": {"app_title": "t"}}
    encoded = b64encode(json.dumps(context).encode()).decode()
    headers = {"X_Amz_Client_Context": encoded, "X_Amzn_Trace_Id": TRACE}
    began = time.time()
    value = serve().invoke({"do": "told"}, **headers).value
    told = value["context"]

    assert told["client_context"]["custom"] == {"a": "é"}
    assert told["client_context"]["env"] == {"locale": "de"}
    assert told["client_context"]["client"]["app_title"] == "t"
    assert began + SECONDS - 0.1 < told["deadline_ms"] / 1000 < time.time() + SECONDS
    assert value["environment"].get("_X_AMZN_TRACE_ID") == told["trace_id"]
    assert told["trace_id"] == (TRACE if request.node.callspec.params["serve"] == "ours" else None)
    assert told["aws_request_id"]
    assert told["function_name"]


HEADERS = {
    "all": {
        "Lambda_Runtime_Aws_Request_Id": "7-7",
        "Lambda_Runtime_Invoked_Function_Arn": "arn:aws:lambda:eu-central-1:1:function:real:live",
        "Lambda_Runtime_Trace_Id": TRACE,
        "Lambda_Runtime_Aws_Tenant_Id": "a-tenant",
        "Lambda_Runtime_Client_Context": json.dumps(
            {
                "client": {"installation_id": "i", "app_title": "é"},
                "custom": {"a": TEXT},
                "env": {"locale": "de"},
                "w3c": {"traceparent": "00-a-b-01", "tracestate": "c=d", "baggage": "e=f"},
            }
        ),
        "Lambda_Runtime_Cognito_Identity": '{"cognitoIdentityId": "x", "cognitoIdentityPoolId": "y"}',
    },
    "empty": {"Lambda_Runtime_Client_Context": "{}", "Lambda_Runtime_Cognito_Identity": "{}"},
    "none": {},
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("mode", ["oneshot", "envelope"])
def test_the_child_can_not_tell_our_runtime_from_awss(mode: str, name: str, package: Path, tmp_path: Path) -> None:
    """All that is in the context and in its environment is the same. Both are alone on a Runtime API that sends what AWS's emulator never does."""
    seen = {}
    deadline_ms = int(time.time() * 1000) + 60_000
    settings = {f"SHIM_{name.upper()}": json.dumps(value).strip('"') for name, value in MODES[mode].items()}
    components.awslambdaric()
    for runtime, module in MODULES.items():
        with RuntimeApi() as api:
            session = Session(
                [sys.executable, "-m", module, "shim.handler"],
                environment={
                    **function_environment(package),
                    **settings,
                    "SHIM_EXECUTABLE": "child",
                    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
                    "AWS_LAMBDA_RUNTIME_API": api.address,
                },
                folder=package,
                log=tmp_path / "log",
            )
            try:
                headers = {"Lambda_Runtime_Deadline_Ms": str(deadline_ms), **HEADERS[name]}
                kind, body = api.invoke(b'{"do":"told"}', **headers)
            finally:
                session.end()
            assert kind == "response", body
            told = json.loads(body)
            assert deadline_ms - 5 <= told["context"].pop("deadline_ms") <= deadline_ms + 5
            assert told["environment"].pop("SHIM_CHILD")
            seen[runtime] = told

    assert seen["shim"]["context"] == seen["awslambdaric"]["context"]
    assert seen["shim"]["environment"] == seen["awslambdaric"]["environment"]


@pytest.mark.parametrize("freeze", [False, True], ids=["running", "frozen"])
@pytest.mark.parametrize(
    ("arguments", "noted"),
    [(["line"], ""), (["line", "stays"], "SIGTERM\n"), (["line", "stays", "deaf"], "SIGTERM\n")],
    ids=["heeds", "stays", "deaf"],
)
def test_at_the_end_of_the_function_its_child_goes_by_the_ladder(
    package: Path, arguments: list[str], noted: str, freeze: bool
) -> None:
    """The end of its input, SIGTERM, SIGKILL, all within the half second that Lambda gives. Nothing is left."""
    settings: dict[str, Any] = {"executable": "child", "mode": "warm", "args": arguments}
    with shim.testing.emulator(package, runtime="shim", freeze=freeze, **settings) as served:
        assert json.loads(served.invoke({"do": "echo", "value": 1}).payload)["count"] == 1
        running = processes_in(package)

    assert len(running) == 2
    assert (package / "ending").read_text() == f"end of input\n{noted}"
    assert all(ends(pid, within=0) for pid in running)


def test_at_the_end_of_the_function_a_spare_goes(package: Path) -> None:
    """It has had no invocation, and gets none."""
    with shim.testing.emulator(package, runtime="shim", executable="child", spare=1) as served:
        assert json.loads(served.invoke({"do": "echo", "value": 1}).payload)["count"] == 1
        eventually(lambda: len(processes_in(package)) == 2)
        running = processes_in(package)

    assert all(ends(pid, within=0) for pid in running)


@pytest.mark.parametrize("mode", MODES)
def test_sigterm_in_the_midst_of_an_invocation_leaves_nothing(mode: str, package: Path, tmp_path: Path) -> None:
    """Lambda sends it when the time is over: the runtime ends in time, with success, and all children with it."""
    settings = {f"SHIM_{name.upper()}": json.dumps(value).strip('"') for name, value in MODES[mode].items()}
    with RuntimeApi() as api:
        session = Session(
            [sys.executable, "-m", "shim.runtime"],
            environment={
                **function_environment(package),
                **settings,
                "SHIM_EXECUTABLE": "child",
                "AWS_LAMBDA_RUNTIME_API": api.address,
            },
            folder=package,
            log=tmp_path / "log",
        )
        try:
            api.send(b'{"do":"hang"}')
            eventually((package / "hangs").exists)
            running = processes_in(package)
            os.kill(session.pid, signal.SIGTERM)
            began = time.monotonic()
            assert ends(session.pid, within=5)
            took = time.monotonic() - began
            assert all(ends(pid, within=1) for pid in running)
        finally:
            session.end()

    assert len(running) > 1
    assert took < 0.5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages as `pip install --target` makes it of our wheel, and what it needs. The wheel is beside it."""
    root = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    here = ["--no-build-isolation", "--no-index"] if find_spec("hatchling") else []
    subprocess.run([*pip, "wheel", "--no-deps", *here, "--wheel-dir", str(root), str(ROOT)], check=True)
    (wheel,) = root.glob("lambda_shim-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", root / "site", wheel], check=True)
    orjson = find_spec("orjson")
    assert orjson is not None
    assert orjson.origin is not None
    shutil.copytree(Path(orjson.origin).parent, root / "site" / "orjson")
    face = root / "site" / "shim" / "__init__.py"
    face.write_text(re.sub('__version__ = "[^"]*"', '__version__ = "packaged"', face.read_text()))
    return root / "site"


def test_the_wrapper_can_be_executed_wherever_it_is_installed(site: Path) -> None:
    """The wheel says so, and pip keeps it."""
    (wheel,) = site.parent.glob("*.whl")
    in_wheel = zipfile.ZipFile(wheel).getinfo("shim/runtime/wrapper").external_attr >> 16

    assert in_wheel & 0o777 == 0o755
    assert os.access(site / "shim" / "runtime" / "wrapper", os.X_OK)
    assert (site / "shim" / "runtime" / "wrapper").stat().st_mode & 0o111 == 0o111


@pytest.fixture
def begin(package: Path, start: Start, tmp_path: Path) -> Callable[..., Function]:
    """Starts a function as Lambda's managed runtime for Python does where AWS_LAMBDA_EXEC_WRAPPER is set, in AWS's emulator."""
    bootstrap = package / "bootstrap"  # as /var/runtime/bootstrap
    bootstrap.write_text(f'#!/bin/sh\nexec "$AWS_LAMBDA_EXEC_WRAPPER" {BASE} /var/runtime/bootstrap.py\n')
    bootstrap.chmod(0o755)

    def run(wrapper: Path | str, handler: str, *, under: list[str] | None = None) -> Function:
        variables = {"PYTHONPATH": "/var/runtime", "LAMBDA_RUNTIME_DIR": "/var/runtime", "SHIM_EXECUTABLE": "child"}
        command = ["env", f"_HANDLER={handler}", f"AWS_LAMBDA_EXEC_WRAPPER={wrapper}", *(under or []), str(bootstrap)]
        return Function(start(variables, bootstrap=command).invoke, (tmp_path / "log").read_text)

    return run


WRAPPER = "shim/runtime/wrapper"


@pytest.mark.parametrize("handler", ["shim.handler", "app.handler"])
def test_the_wrapper_in_the_package_starts_our_runtime(
    handler: str, site: Path, package: Path, begin: Callable[..., Function]
) -> None:
    """With the packaged `shim`, for its own handler and for a Shim in a module of the function's."""
    shutil.copytree(site, package, dirs_exist_ok=True)
    function = begin(package / WRAPPER, handler)

    assert function.invoke({"do": "echo", "value": TEXT}).value == {"value": TEXT, "count": 1}
    assert "packaged runs child " in function.log()


def test_a_handler_that_is_no_shim_is_refused(site: Path, package: Path, begin: Callable[..., Function]) -> None:
    """What it is, and what to do."""
    shutil.copytree(site, package, dirs_exist_ok=True)
    for handler, words in {
        "app.function": "the handler app.function must be a Shim, not function",
        "app.nothing": "the handler app.nothing is missing: app has no nothing",
        "app": "the handler must be MODULE.NAME, like shim.handler, not 'app'",
    }.items():
        answer = begin(package / WRAPPER, handler).invoke({})
        assert answer.error_type == "SettingsError"
        assert words in answer.error_message


@pytest.mark.parametrize("where", ["python", "python/lib/python{}.{}/site-packages"])
@pytest.mark.parametrize("handler", ["shim.handler", "app.handler"])
def test_the_wrapper_in_a_layer_starts_our_runtime(
    handler: str, where: str, site: Path, begin: Callable[..., Function], tmp_path: Path
) -> None:
    """Both folders of a layer that Lambda's own runtime looks into."""
    folder = where.format(*sys.version_info)
    layer, originals = tmp_path / "layer", tmp_path / "originals"
    shutil.copytree(site, layer / folder)
    originals.mkdir()
    for entry in Path("/opt").iterdir():
        if entry.name != "python":
            (layer / entry.name).symlink_to(originals / entry.name)
    cover = 'mount --bind /opt "$1" && mount --bind "$2" /opt && shift 2 && exec "$@"'
    under = [*components.mount_namespace(), "/bin/sh", "-c", cover, "cover", str(originals), str(layer)]
    function = begin(f"/opt/{folder}/{WRAPPER}", handler, under=under)

    assert function.invoke({"do": "echo", "value": TEXT}).value == {"value": TEXT, "count": 1}
    assert "packaged runs child " in function.log()
