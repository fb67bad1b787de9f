"""One-shot children: every ending gives its own truth, within the deadline, with nothing left."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.children import parent, reaper
from shim.local.context import LambdaContext
from shim.logs import Log
from tests.conftest import descriptors, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLY = sorted(
    signal.valid_signals()
    - {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}  # ignored by default: signal(7)
    - {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}  # stop, and do not kill
)


@pytest.fixture
def act(actor: str) -> Callable[..., Any]:
    """Runs the actor once with those words, and gives the result."""

    def run(*words: str, event: object = None, timeout: float | None = 60, **settings: Any) -> Any:
        settings.setdefault("output", "text")
        context = None if timeout is None else LambdaContext(timeout=timeout)
        return Shim(actor, args=list(words), **settings)(event, context)

    return run


@pytest.fixture(autouse=True)
def nothing_is_left(left_behind: Callable[[], list[int]]) -> Iterator[None]:
    """After every test here: no process, no zombie, no descriptor."""
    before = descriptors()
    yield
    assert left_behind() == []
    assert len(descriptors()) <= len(before) + 1  # /proc/loadavg, opened once


def hexed(text: str) -> str:
    return text.encode().hex()


def test_all_256_exit_codes_are_told_apart(actor: str, act: Callable[..., Any]) -> None:
    assert act("write:1:" + hexed("yes"), "exit:0") == "yes"
    for code in range(1, 256):
        with pytest.raises(shim.ExitError) as raised:
            act("write:1:" + hexed("no"), "write:2:" + hexed("why"), f"exit:{code}")

        error = raised.value
        assert (error.exit_code, error.stderr_tail, error.executable) == (code, "why", actor)
        assert f"ended with exit code {code} after" in str(error)
        assert type(error) is shim.ExitError


@pytest.mark.parametrize("number", DEADLY)
def test_every_signal_that_kills_is_named(number: int, act: Callable[..., Any]) -> None:
    with pytest.raises(shim.SignalError) as raised:
        act("write:1:" + hexed("half"), f"raise:{number}")

    name = parent.signal_name(number)
    assert raised.value.signal == name
    assert f"was killed by {name}" in str(raised.value)


def test_real_time_signals_have_names_too() -> None:
    assert parent.signal_name(signal.SIGRTMIN) == "SIGRTMIN"
    assert parent.signal_name(signal.SIGRTMIN + 3) == "SIGRTMIN+3"
    assert parent.signal_name(signal.SIGRTMAX) == "SIGRTMAX"


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    "words",
    [
        ["sleep:0"],
        ["close:0", "close:1", "close:2", "sleep:0"],
        ["flood:2"],
        ["fork:0", "leave:0", "sleep:0"],
        ["raise:19"],
        ["write:1:7b7d", "close:1", "sleep:0"],
    ],
)
def test_a_child_that_does_not_end_is_stopped_with_sigterm_before_lambda_would_stop_everything(
    words: list[str], act: Callable[..., Any]
) -> None:
    context_timeout = 1.0
    started = time.monotonic()
    with pytest.raises(shim.DeadlineExceeded) as raised:
        act(*words, timeout=context_timeout, event="x" * 100_000)

    assert time.monotonic() - started < context_timeout
    assert raised.value.signal == "SIGTERM"
    assert raised.value.duration is not None
    assert (
        raised.value.duration > 0.7
    )  # a quarter of what is left is the margin, and what is left is told in whole milliseconds


@pytest.mark.usefixtures("silent")
def test_a_child_that_ignores_sigterm_is_killed_in_time_with_all_that_it_started(act: Callable[..., Any]) -> None:
    started = time.monotonic()
    with pytest.raises(shim.DeadlineExceeded) as raised:
        act("ignore:15", "fork:0", "leave:0", "flood:2", timeout=1)

    assert time.monotonic() - started < 1
    assert raised.value.signal == "SIGKILL"


def test_too_little_time_starts_nothing(act: Callable[..., Any]) -> None:
    with pytest.raises(shim.DeadlineExceeded) as raised:
        act("exit:0", timeout=0.09)

    assert (raised.value.signal, raised.value.duration) == (None, None)
    assert "was not started" in str(raised.value)


def test_without_a_context_there_is_no_deadline(act: Callable[..., Any]) -> None:
    assert act("sleep:300", "write:1:" + hexed("late"), timeout=None) == "late"


@pytest.mark.parametrize("size", [0, 1, 4096, 65_536, 65_537, 1_048_576, 6_000_000])
def test_events_of_any_size_come_back(size: int, act: Callable[..., Any]) -> None:
    answer = act("copy", event="x" * size, max_output_bytes=7_000_000, output="json")

    assert answer["event"] == "x" * size


def test_six_megabytes_go_both_ways_at_once_whoever_is_late(act: Callable[..., Any]) -> None:
    event = "x" * 6_000_000
    for words in (
        ["sleep:50", "copy"],  # reads late
        ["fill:1:6000000", "read-all"],  # writes before it reads
        ["fill:1:6000000"],  # never reads
        ["read:10", "close:0", "fill:1:6000000"],  # stops reading
    ):
        answer = act(*words, event=event)

        assert len(answer) >= 6_000_000
        assert set(answer[100:5_000_000]) == {"x"}


def test_a_child_that_never_reads_and_succeeds_is_no_failure(act: Callable[..., Any]) -> None:
    for size in (10, 100_000, 5_000_000):
        assert act("close:0", "write:1:" + hexed("fine"), event="x" * size) == "fine"


def test_more_than_max_output_bytes_is_an_error_with_both_numbers(act: Callable[..., Any]) -> None:
    assert act("fill:1:1000", max_output_bytes=1000) == "x" * 1000
    for words in (["fill:1:1001"], ["flood:1"], ["ignore:15", "flood:1"], ["fill:1:1001", "exit:3"]):
        with pytest.raises(shim.OutputTooLarge) as raised:
            act(*words, max_output_bytes=1000)

        assert (raised.value.size, raised.value.limit) == (1001, 1000)
        assert "more than max_output_bytes allows, 1000 bytes, and was stopped after 1001" in str(raised.value)


def test_a_flood_takes_no_more_memory_than_the_limit_and_a_constant(actor: str) -> None:
    """In a process of its own, whose peak memory is told by the kernel."""
    program = (
        "import resource, shim, sys\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"for words in (['flood:1'], ['flood:2', ]):\n"
        f"    try: shim.Shim({actor!r}, args=words, output='text', max_output_bytes=20_000_000, margin_ms=100, grace_ms=50)({{}}, "
        "__import__('shim.local.context').local.context.LambdaContext(timeout=1))\n"
        "    except shim.ShimError as error: print(type(error).__name__)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()

    assert answer[:2] == ["OutputTooLarge", "DeadlineExceeded"]
    assert int(answer[2]) < 20_000_000 * 1.125 / 1024 + 8192


def test_a_reply_on_descriptor_3_leaves_standard_output_to_the_log(
    act: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    answer = act(
        "write:1:" + hexed("noise\n"),
        "write:3:" + hexed('{"a":1}'),
        "write:2:" + hexed("more"),
        reply_fd=3,
        output="json",
    )

    assert answer == {"a": 1}
    assert capfd.readouterr().err == "noise\nmore\n"


def test_standard_error_is_in_the_log_while_the_child_runs(tmp_path: Path) -> None:
    """Live: the child ends only when its line was seen."""
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    read, write = os.pipe()
    runner = Shim("sh", args=["-c", f"echo live >&2; cat {seen}"], output="text")
    runner._parent.log = Log(write)  # noqa: SLF001 - our own log is descriptor 2, which the test runner has
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(runner, {}, LambdaContext(timeout=30))
        line = os.read(read, 100)
        seen.write_text("it was seen")
        assert (line, answer.result()) == (b"live\n", "it was seen")
    os.close(read)
    os.close(write)


def test_a_stalled_log_delays_no_answer_and_blocks_no_child(actor: str) -> None:
    read, write = os.pipe()
    runner = Shim(actor, args=["fill:2:5000000", "write:1:" + hexed("done")], output="text")
    runner._parent.log = Log(write)  # noqa: SLF001 - our own log is descriptor 2, which the test runner has

    assert runner({}, LambdaContext(timeout=5)) == "done"
    os.close(read)
    os.close(write)


def test_closing_writes_what_still_waits_for_the_log(actor: str) -> None:
    read, write = os.pipe()
    runner = Shim(actor, args=["fill:2:200000", "write:2:" + hexed("\nlast")], output="text", linger_ms=1)
    runner._log = runner._parent.log = Log(write)  # noqa: SLF001 - our own log is descriptor 2, which the test runner has
    runner({})
    received = bytearray()
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(runner.close)
        while not received.endswith(b"last\n"):
            received += os.read(read, 65536)
        closing.result()
    os.close(read)
    os.close(write)

    assert bytes(received) == b"x" * 200_000 + b"\nlast\n"


@pytest.mark.usefixtures("silent")
def test_the_errors_tail_is_the_end_of_standard_error(act: Callable[..., Any]) -> None:
    with pytest.raises(shim.ExitError) as raised:
        act("fill:2:300000", "write:2:" + hexed("\nthe cause\n"), "exit:1", stderr_tail_bytes=14)
    with pytest.raises(shim.ExitError) as silent:
        act("write:2:" + hexed("a secret"), "exit:1", stderr_tail_bytes=0)

    assert raised.value.stderr_tail == "xxx\nthe cause"
    assert str(raised.value).endswith(". Its standard error ends with:\nxxx\nthe cause")
    assert silent.value.stderr_tail == ""
    assert "secret" not in str(silent.value)


def test_output_that_comes_after_the_exit_is_read_for_a_while() -> None:
    """A shell's `exec > >(sed …)` answers after the shell has ended."""
    script = "exec > >(sed s/a/b/); echo a"
    for _ in range(20):
        assert Shim("bash", args=["-c", script], output="text", linger_ms=2000)({}) == "b\n"


def test_a_process_that_holds_the_output_does_not_hold_the_answer(
    act: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()

    assert act("fork:0", "write:1:" + hexed("answer"), timeout=10, linger_ms=10) == "answer"
    assert time.monotonic() - started < 5
    assert "still held its output 10 ms (linger_ms) after its end" in capfd.readouterr().err

    act("fork:0", "write:1:" + hexed("answer"), timeout=1, linger_ms=60_000)
    held = re.search(r"still held its output (\d+) ms \(linger_ms\) after its end", capfd.readouterr().err)
    assert held is not None
    assert 0 < int(held[1]) < 1000


def test_the_childs_own_error_is_what_the_caller_gets(act: Callable[..., Any]) -> None:
    report = {"errorType": "Csv.Error", "errorMessage": "line 3", "stackTrace": ["here", "there"]}
    with pytest.raises(shim.ReportedError) as raised:
        act("write:1:" + hexed(json.dumps(report)), "write:2:" + hexed("log"), "exit:4")

    error = raised.value
    assert (type(error).__name__, str(error), error.stack_trace) == ("Csv.Error", "line 3", ("here", "there"))
    assert (error.exit_code, error.stderr_tail) == (4, "log")


@pytest.mark.parametrize(
    "report",
    [
        {"errorType": "States.Timeout", "errorMessage": "x"},
        {"errorType": "no name", "errorMessage": "x"},
        {"errorType": "A" * 129, "errorMessage": "x"},
        {"errorType": "A\0", "errorMessage": "x"},
        {"errorType": "A\n", "errorMessage": "x"},
        {"errorType": "", "errorMessage": "x"},
        {"errorType": "A", "errorMessage": 1},
        {"errorType": "A"},
        {"errorType": "A", "errorMessage": "x", "stackTrace": "y"},
        {"errorType": "A", "errorMessage": "x", "more": 1},
        [{"errorType": "A", "errorMessage": "x"}],
    ],
)
def test_what_is_no_proper_report_is_an_exit_error(report: object, act: Callable[..., Any]) -> None:
    with pytest.raises(shim.ExitError) as raised:
        act("write:1:" + hexed(json.dumps(report)), "exit:1")

    assert type(raised.value) is shim.ExitError


def test_a_report_of_a_child_that_succeeds_is_a_value(act: Callable[..., Any]) -> None:
    report = {"errorType": "A", "errorMessage": "x"}

    assert act("write:1:" + hexed(json.dumps(report)), output="json") == report


def test_exit_codes_give_names_and_successes(act: Callable[..., Any]) -> None:
    codes = {1: "ok", 65: "BadInput"}

    assert act("write:1:" + hexed("grep found nothing"), "exit:1", exit_codes=codes) == "grep found nothing"
    with pytest.raises(shim.ExitError) as raised:
        act("write:1:" + hexed(json.dumps({"errorType": "A", "errorMessage": "why"})), "exit:65", exit_codes=codes)
    assert (type(raised.value).__name__, raised.value.exit_code) == ("BadInput", 65)
    assert "and reported: why" in str(raised.value)
    with pytest.raises(shim.ExitError) as plain:
        act("exit:2", exit_codes=codes)
    assert type(plain.value) is shim.ExitError


def test_a_message_of_megabytes_is_cut_and_says_so(act: Callable[..., Any]) -> None:
    size = 100_000
    prefix, suffix = hexed('{"errorType":"A","errorMessage":"'), hexed('"}')
    with pytest.raises(shim.ReportedError) as raised:
        act("write:1:" + prefix, f"fill:1:{size}", "write:1:" + suffix, "exit:1")

    assert len(str(raised.value).encode()) == 65_536
    assert str(raised.value).endswith(" … (cut: the message has 100000 bytes)")


def test_threads_get_each_their_own_answer(actor: str) -> None:
    runner = Shim(actor, args=["copy"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: runner({"n": n, "pad": "x" * n * 1000}, LambdaContext(timeout=30)), range(100))
        )

    assert [answer["event"]["n"] for answer in answers] == list(range(100))
    assert sorted(answer["context"]["invocation_count"] for answer in answers) == list(range(1, 101))


def test_an_exception_in_the_loop_leaves_no_child(
    actor: str, monkeypatch: pytest.MonkeyPatch, left_behind: Callable[[], list[int]]
) -> None:
    """Ctrl-C and the like: kill, reap, raise on."""
    runner = Shim(actor, args=["fork:0", "leave:0", "sleep:0"])

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner({}, LambdaContext(timeout=30))
    finally:
        signal.signal(signal.SIGALRM, before)

    assert left_behind() == []


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # a file that is open just then: Python closes it
@pytest.mark.parametrize("words", [["sleep:0"], ["exit:0"]])
def test_an_interrupt_at_any_moment_leaves_nothing(
    words: list[str],
    actor: str,
    left_behind: Callable[[], list[int]],
    interrupted: Callable[[Callable[[], object], float], None],
) -> None:
    """A handler may raise between any two steps, also while the child is being born."""
    runner = Shim(actor, args=words, output="text")
    open_before = descriptors()
    for step in range(150):
        # Python looks for signals before a wait, not at its very beginning: one that comes between is served when the wait ends.
        interrupted(lambda: runner({}, LambdaContext(timeout=5)), 0.00002 + step * 0.00002)

    assert left_behind() == []
    assert len(descriptors() - open_before) <= 1


def test_a_terminal_that_nobody_reads_blocks_nobody(actor: str) -> None:
    """As after Ctrl-S: it polls as writable, and would block."""
    controller, terminal = pty.openpty()
    runner = Shim(actor, args=["fill:2:300000", "write:1:" + hexed("done")], output="text")
    runner._log = runner._parent.log = Log(terminal)  # noqa: SLF001 - our own log is descriptor 2, which the test runner has

    assert runner({}, LambdaContext(timeout=5)) == "done"
    os.close(runner._log._descriptor)  # noqa: SLF001 - it is a way of its own to the terminal
    os.close(controller)
    os.close(terminal)


def test_a_host_without_standard_descriptors_is_served(actor: str) -> None:
    """What is opened next would take their numbers, and the log would be written there."""
    program = (
        "import os, sys\n"
        "os.dup2(1, 50)\n"
        "for descriptor in (0, 1, 2): os.close(descriptor)\n"
        "import shim\n"
        "from shim.local.context import LambdaContext\n"
        f"words = ['write:2:6c6f670a', 'sleep:100', 'write:1:6f6b']\n"
        f"answer = shim.Shim({actor!r}, args=words, output='text')({{}}, LambdaContext(timeout=3))\n"
        "os.write(50, answer.encode())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert answer.stdout == "ok"


def test_the_log_of_two_shims_is_one() -> None:
    assert Shim("cat")._log is Shim("true")._log  # noqa: SLF001 - two would mix their lines


def test_a_closed_shim_refuses(actor: str) -> None:
    with Shim(actor, args=["copy"]) as runner:
        runner({})
        assert repr(runner) == f"<Shim {actor} (oneshot), open, invocations: 1>"
    runner.close()

    assert repr(runner) == f"<Shim {actor} (oneshot), closed, invocations: 1>"
    with pytest.raises(shim.ShimClosed):
        runner({})


def test_run_gives_the_replys_own_bytes(actor: str) -> None:
    reply = b' {"a": 1.0, "a" : 12345678901234567890123} \n'
    with Shim(actor, args=["write:1:" + reply.hex()]) as runner:
        assert runner.run(shim.Invocation(b'{"x":\n1}', LambdaContext(timeout=5))) == reply.strip()
    with Shim(actor, args=["write:1:" + hexed("text é")]) as runner:
        assert json.loads(runner.run(shim.Invocation({}, None))) == "text é"


def test_a_deadline_far_away_is_none_to_the_kernel(actor: str) -> None:
    """poll(2) takes at most 2**31 milliseconds."""
    assert Shim(actor, args=["write:1:" + hexed("1")], output="json")({}, LambdaContext(timeout=4e9)) == 1


def test_without_pidfd_everything_holds_by_ticks(
    actor: str, monkeypatch: pytest.MonkeyPatch, left_behind: Callable[[], list[int]]
) -> None:
    """As on a system that lacks pidfd_open."""
    monkeypatch.delattr(os, "pidfd_open")
    assert not reaper.has_pidfd()

    def run(*words: str, timeout: float = 10) -> object:
        return Shim(actor, args=list(words), output="text")({}, LambdaContext(timeout=timeout))

    assert run("fill:1:200000") == "x" * 200_000
    with pytest.raises(shim.ExitError):
        run("fork:0", "leave:0", "exit:1")
    with pytest.raises(shim.SignalError):
        run("raise:11")
    with pytest.raises(shim.DeadlineExceeded):
        run("ignore:15", "leave:0", "sleep:0", timeout=0.6)
    eventually(lambda: left_behind() == [])


def test_usage_is_honest_about_memory() -> None:
    """The kernel counts our own peak as the child's: only a higher one is the child's own. In a process whose own peak is small:
    started by a shell, since it would begin with the peak of this one.
    """
    big = "x = bytearray(400_000_000); x[::4096] = b'1' * len(x[::4096])"
    program = (
        "import shim, sys\n"
        "def usage(*args):\n"
        "    return shim.Shim(sys.executable, args=args, output='text')._answer(shim.Invocation({}), lambda outcome: outcome.usage)\n"
        f"small, large = usage('-S', '-c', ''), usage('-c', {big!r})\n"
        "print(small.max_rss, large.max_rss > 390_000_000, large.user > 0)\n"
    )
    ours = "import sys; x = b'1' * 100_000_000\n"
    answer = subprocess.run(
        ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", ours + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (answer.stdout, answer.stderr) == ("None True True\n", "")


def test_a_host_that_ignores_sigchld_is_refused_at_init_and_told_when_it_begins_later(actor: str) -> None:
    """The kernel throws the exit code away then; a success must not be made up."""
    runner = Shim(actor, args=["exit:3"])
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(shim.SettingsError, match="SIGCHLD is ignored"):
            Shim(actor)
        with pytest.raises(shim.ShimError, match=r"how .* ended is not known"):
            runner({})
    finally:
        signal.signal(signal.SIGCHLD, before)
