"""Mode warm, as its caller sees it: a child that is kept, replaced when it can't be trusted, and never the author of another's answer."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import shim
from shim import Invocation, Shim
from shim.invocation import timestamp
from shim.local.context import LambdaContext
from shim.logs import Log
from shim.records import Records
from tests.conftest import FIXTURES, children, descriptors, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANSWER = 'echo "{\\"pid\\": $$}"'
"""What a child does that is well."""
UNREAD = """
import json, os, select, sys, time
from pathlib import Path
here = Path(__file__).parent
def note(name):
    with open(here / name, "a") as file: file.write(f"{os.getpid()}\\n")
def tell(value): os.write(1, json.dumps(value).encode() + b"\\n")
def is_asked(): select.select([0], [], [])
def read(size=1): return os.read(0, size)
def read_line():
    line = b""
    while not line.endswith(b"\\n"): line += read() or sys.exit()
    return json.loads(line)
note("starts")
"""
"""The beginning of a child that says how much of its request it reads, and when."""
ENVELOPE = """
import json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    id, event = request["id"], request["event"]
    def tell(**message): print(json.dumps({"id": id, **message}), flush=True)
"""
"""The beginning of a child that answers with envelopes, one loop's turn for each request."""


def loop(*cases: str, before: str = "", after: str = "") -> str:
    """A shell script that answers each line with its process number, but for events that are one of these: `word: what it does`."""
    branches = [f"""'{{"event":"{word}",'*) {act};;""" for word, _, act in (case.partition(": ") for case in cases)]
    return (
        f"{before}\nwhile read -r line; do case $line in\n"
        + "\n".join([*branches, f"*) {ANSWER};;"])
        + f"\nesac; done\n{after}"
    )


class Stage:
    """A folder for scripts, the function's log, and what the scripts leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"{uuid.uuid4()}"
        self._log = os.memfd_create("log")
        self._opened = descriptors()
        self._strangers = children()
        self._shims: list[Shim] = []

    def log_to(self, monkeypatch: pytest.MonkeyPatch, *, level: str | None = None) -> None:
        log = Log(self._log, Records(level, clock=timestamp) if level else None)
        monkeypatch.setattr("shim.adapter.function_log", lambda: log)

    def script(self, text: str, interpreter: str = "/bin/sh") -> str:
        program = self.folder / "program"
        program.write_text(f"#!{interpreter}\n{text}")
        program.chmod(0o755)
        return str(program)

    def warm(self, text: str, *, interpreter: str = "/bin/sh", **settings: Any) -> Shim:
        """A Shim for that script, which is closed after the test."""
        settings["env"] = {"STAGE": self.mark, "HERE": str(self.folder), **settings.get("env", {})}
        made = Shim(self.script(text, interpreter), mode="warm", **settings)
        self._shims.append(made)
        return made

    def python(self, text: str, **settings: Any) -> Shim:
        return self.warm(text, interpreter=f"{sys.executable} -IS", **settings)

    def note(self, name: str) -> list[str]:
        """The lines that the scripts wrote to that file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> list[str]:
        return os.pread(self._log, 10_000_000, 0).decode().splitlines()

    @property
    def notes(self) -> list[str]:
        """What `shim` itself says in the log of the program: what it did, without what was done about it."""
        begin = f"shim: {self.folder / 'program'} "
        return [line.removeprefix(begin).partition(";")[0] for line in self.log if line.startswith(begin)]

    def processes(self) -> list[int]:
        """All that carry this stage's mark, and zombies of ours."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                stat = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                is_zombie = stat[0] == b"Z" and int(stat[1]) == os.getpid()
                if (is_zombie and int(name) not in self._strangers) or self.mark.encode() in Path(
                    f"/proc/{name}/environ"
                ).read_bytes():
                    found.append(int(name))
            except OSError:
                continue
        return found

    def clear(self) -> None:
        """Closes every Shim. Then nothing is left: no process, no zombie, no descriptor."""
        for made in self._shims:
            made.close()
        self._shims.clear()
        assert self.processes() == []
        assert len(descriptors() - self._opened) <= 1  # /proc/loadavg, opened once

    def close(self) -> None:
        os.close(self._log)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.log_to(monkeypatch)
    try:
        yield made
        made.clear()
    finally:
        made.close()


def ask(program: Shim, event: object = None, *, timeout: float = 10) -> Any:
    return program(event, LambdaContext(timeout=timeout))


def failure(program: Shim, event: object = None, *, timeout: float = 10) -> Any:
    """The error, told when it happens, and not at the deadline, if that is not what it tells of.

    It comes without the frames that would keep the context: the host has dropped it when it has answered.
    """
    with pytest.raises(shim.ShimError) as raised:
        ask(program, event, timeout=timeout)
    error: Any = raised.value.with_traceback(None)

    assert isinstance(error, shim.DeadlineExceeded) or error.duration is None or error.duration < timeout * 0.75
    return error


def state(pid: int) -> str:
    """One letter, as in proc_pid_stat(5); X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def is_dead(pid: int) -> bool:
    return state(pid) in "ZX"


# What is kept


def test_one_child_answers_all_requests_of_one_thread(stage: Stage) -> None:
    program = stage.warm(loop(before='echo $$ >> "$HERE/starts"'))
    events: tuple[object, ...] = ({}, [1], "x" * 100_000, None)
    pids = {ask(program, event)["pid"] for event in events}

    assert [str(pid) for pid in pids] == stage.note("starts")
    assert stage.log == []


@pytest.mark.parametrize("size", [0, 1, 3900, 4096, 65_536, 65_537, 1_048_576, 3_000_000])
def test_events_and_replies_of_any_size_come_back_and_the_next_ones_too(size: int, stage: Stage) -> None:
    program = stage.warm("exec cat")

    for count, event in enumerate(("x" * size, "y", "z" * size), start=1):
        answer = ask(program, event)
        assert (answer["event"], answer["context"]["invocation_count"]) == (event, count)
    assert stage.log == []


def test_the_reply_may_come_on_descriptor_3(stage: Stage) -> None:
    program = stage.warm("echo hello; while read -r line; do echo log; echo 1 >&3; done", reply_fd=3)

    assert [ask(program), ask(program)] == [1, 1]
    stage.clear()
    assert stage.log == ["hello", "log", "log"]


def test_without_a_context_there_is_no_deadline(stage: Stage) -> None:
    assert stage.warm(loop("slow: sleep 0.3; echo 1"))("slow") == 1


def test_too_little_time_asks_nothing(stage: Stage) -> None:
    program = stage.warm(loop())
    before = ask(program)
    error = failure(program, timeout=0.09)

    assert (type(error), error.signal, error.duration) == (shim.DeadlineExceeded, None, None)
    assert ask(program) == before


# A reply belongs to the request that asked for it


def test_a_greeting_before_the_first_request_is_nobodys_answer(stage: Stage) -> None:
    program = stage.warm(loop(before='if mkdir "$HERE/once"; then echo 5; touch "$HERE/greeted"; fi 2>&-'))
    eventually((stage.folder / "greeted").exists)
    error = failure(program)

    assert type(error) is shim.ReplyUnexpected
    assert "wrote b'5\\n' while nothing was asked of it yet, and was killed" in str(error)
    assert ask(program)["pid"] == ask(program)["pid"]


def test_a_greeting_that_comes_when_the_request_is_there_but_unread_is_nobodys_answer(stage: Stage) -> None:
    program = stage.python(UNREAD + "is_asked(); tell(5); time.sleep(60)")
    error = failure(program)

    assert type(error) is shim.ReplyUnexpected
    assert "wrote b'5' before it had read anything of its request, and was killed" in str(error)


def test_a_child_that_greets_is_told_so_at_every_request_however_fast_it_is(stage: Stage) -> None:
    program = stage.warm("echo 5; while read -r line; do echo 6; done")

    assert [type(failure(program)) for _ in range(10)] == [shim.ReplyUnexpected] * 10


def test_a_second_line_with_the_reply_is_an_error_and_nobodys_answer(stage: Stage) -> None:
    program = stage.warm(loop("twice: printf '1\\n2\\n'", "half: printf '1\\n2'"))
    first = ask(program)["pid"]
    for word, excess in (("twice", "b'2\\n'"), ("half", "b'2'")):
        error = failure(program, word)

        assert type(error) is shim.ReplyUnexpected
        assert f"wrote {excess} besides its reply, and was killed" in str(error)
    assert is_dead(first)
    assert ask(program)["pid"] != first
    assert stage.notes == [f"wrote {excess} besides its reply" for excess in ("b'2\\n'", "b'2'")]


@pytest.mark.parametrize("late", ["3\\n", "3", "\\n"])
def test_what_comes_after_the_reply_is_nobodys_answer(late: str, stage: Stage) -> None:
    """The next request goes to a new child, and the log says why."""
    program = stage.warm(loop(f'late: echo 1; cat "$HERE/go"; printf "{late}"; touch "$HERE/done"'))
    os.mkfifo(stage.folder / "go")
    first = ask(program)["pid"]
    assert ask(program, "late") == 1
    (stage.folder / "go").write_text("")
    eventually((stage.folder / "done").exists)
    second = ask(program)["pid"]

    assert first != second == ask(program)["pid"]
    assert is_dead(first)
    shown = late.encode().decode("unicode_escape").encode()
    assert stage.notes == [f"wrote {shown!r} while nothing was asked of it"]


def test_a_reply_without_its_line_feed_is_told_so_at_the_deadline(stage: Stage) -> None:
    program = stage.warm(loop("half: printf 12345"))
    error = failure(program, "half", timeout=1)

    assert type(error) is shim.DeadlineExceeded
    assert "it had written 5 bytes without a line feed; make it end each reply with a line feed and flush it" in str(
        error
    )
    assert ask(program)["pid"]


def test_a_deadline_without_a_reply_speaks_of_no_line_feed(stage: Stage) -> None:
    error = failure(stage.warm(loop("hang: sleep 60")), "hang", timeout=1)

    assert (type(error), error.signal) == (shim.DeadlineExceeded, "SIGTERM")
    assert "line feed" not in str(error)
    assert "if it has replied, make it flush each line" in str(error)


@pytest.mark.parametrize(
    ("end", "kind"), [("exit 0", "ReplyMissing"), ("exit 3", "ExitError"), ("kill -9 $$", "SignalError")]
)
def test_a_part_of_a_line_before_the_end_is_no_reply(end: str, kind: str, stage: Stage) -> None:
    program = stage.warm(loop(f"half: printf '{{}}'; {end}"))
    error = failure(program, "half")

    assert type(error).__name__ == kind
    assert ask(program)["pid"]


def test_a_late_reply_is_nobodys_answer(stage: Stage) -> None:
    """The child answers when it is told to end, which is after the deadline."""
    program = stage.python(
        "import os, signal, sys\n"
        "def late(*_): os.write(1, b'\"late\"\\n'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, late)\n"
        "for line in sys.stdin:\n"
        "    if '\"slow\"' in line: signal.pause()\n"
        "    os.write(1, b'\"in time\"\\n')\n"
    )

    assert ask(program) == "in time"
    assert type(failure(program, "slow", timeout=1)) is shim.DeadlineExceeded
    assert [ask(program), ask(program)] == ["in time", "in time"]


def test_a_child_that_ignores_sigterm_is_killed_in_time_with_all_that_it_started(stage: Stage) -> None:
    program = stage.warm(loop("hang: trap '' TERM; sleep 60 & sleep 60"))
    error = failure(program, "hang", timeout=1)

    assert (type(error), error.signal) == (shim.DeadlineExceeded, "SIGKILL")
    assert ask(program)["pid"]


def test_a_child_that_answers_unread_requests_is_asked_no_more(stage: Stage) -> None:
    program = stage.python(UNREAD + "read_line(); tell(os.getpid()); is_asked(); tell(0); time.sleep(60)")
    first = ask(program)
    error = failure(program)
    third = ask(program)

    assert type(error) is shim.ReplyUnexpected
    assert stage.note("starts") == [str(first), str(third)]
    assert stage.notes == ["wrote b'0' before it had read anything of its request"]


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_a_child_that_reads_only_a_part_of_its_request_is_asked_no_more(size: int, stage: Stage) -> None:
    """As one with a fixed buffer: the rest would be the next request's beginning."""
    program = stage.python(UNREAD + "read(16); tell(os.getpid()); time.sleep(60)")
    first = ask(program, "x" * size)
    second = ask(program)

    assert stage.note("starts") == [str(first), str(second)]
    (note,) = stage.notes
    assert re.fullmatch(r"left \d+ bytes of its last request unread", note)
    assert is_dead(first)


def test_a_child_that_leaves_the_line_feed_unread_is_kept(stage: Stage) -> None:
    """A reader of JSON may stop at the end of the value."""
    program = stage.python(
        UNREAD
        + "decoder = json.JSONDecoder()\n"
        + "while True:\n"
        + "    text = ''\n"
        + "    while text.count('}') < text.count('{') or not text.strip(): text += read().decode() or sys.exit()\n"
        + "    tell(os.getpid())\n"
    )

    assert len({ask(program, {}) for _ in range(5)}) == 1
    assert stage.log == []


# What a reply is


@pytest.mark.parametrize(
    ("act", "kind", "says"),
    [
        ("echo", "ReplyMissing", "wrote an empty line, {} after it was asked, and gave no reply"),
        ("echo '  '", "ReplyMissing", "wrote an empty line, {} after it was asked, and gave no reply"),
        ("echo nonsense", "OutputInvalid", "wrote a reply that is no valid result: not one JSON value"),
        ("echo '{} {}'", "OutputInvalid", "wrote a reply that is no valid result: not one JSON value"),
        ("printf '\"\\377\"\\n'", "OutputInvalid", "wrote a reply that is no valid result"),
        ("echo NaN", "OutputInvalid", "wrote a reply that is no valid result"),
    ],
)
def test_a_line_that_is_no_result_is_an_error_after_which_the_child_is_kept(
    act: str, kind: str, says: str, stage: Stage
) -> None:
    program = stage.warm(loop(f"bad: {act}"))
    first = ask(program)
    error = failure(program, "bad")

    assert type(error).__name__ == kind
    assert says in re.sub(r"\d+ ms", "{}", str(error))
    assert ask(program) == first
    assert stage.log == []


def test_a_reply_may_have_as_many_bytes_as_max_output_bytes_and_no_more(stage: Stage) -> None:
    fits, flood = 'echo \\"12345678\\"', 'echo \\"123456789\\"'
    program = stage.warm(loop(f"fits: {fits}", f"flood: {flood}", "much: yes '' | tr '\\n' x"), max_output_bytes=10)

    assert ask(program, "fits") == "12345678"
    for word in ("flood", "much"):
        error = failure(program, word)
        assert type(error) is shim.OutputTooLarge
        assert (error.size, error.limit) == (11, 10)
        assert "more than max_output_bytes allows, 10 bytes, and was stopped after 11" in str(error)
        assert ask(program, "fits") == "12345678"


@pytest.mark.parametrize(
    ("output", "line", "value", "judged"),
    [
        ("json", b'{"a": 10000000000000000000001}', {"a": 10**22 + 1}, b'{"a": 10000000000000000000001}'),
        ("text", "naïve ☃".encode(), "naïve ☃", '"naïve ☃"'.encode()),
        ("text", b"", "", b'""'),
        ("text", b'{"a": 1}', '{"a": 1}', b'"{\\"a\\": 1}"'),
        ("text", b"a\r", "a\r", b'"a\\r"'),
        ("base64", b"\0\xff", "AP8=", b'"AP8="'),
        ("base64", b"", "", b'""'),
        ("auto", b"[1]", [1], b"[1]"),
        ("auto", b"plain", "plain", b'"plain"'),
        ("auto", b"17", 17, b"17"),
        ("auto", b"", None, b"null"),
    ],
)
def test_a_line_is_read_as_output_says(output: str, line: bytes, value: object, judged: bytes, stage: Stage) -> None:
    octal = "".join(f"\\0{byte:03o}" for byte in line)
    program = stage.warm(f"while read -r line; do printf '%b\\n' '{octal}'; done", output=output)

    assert ask(program) == value
    assert program.run(Invocation({}, LambdaContext(timeout=20))) == judged


# The child's end


@pytest.mark.parametrize(
    ("act", "kind", "says", "data"),
    [
        ("exit 0", "ReplyMissing", "ended with success, {} after it was asked, and gave no reply", {}),
        ("exit 3", "ExitError", "ended with exit code 3 after {}", {"exit_code": 3}),
        ("exit 4", "BadInput", "ended with exit code 4 after {}", {"exit_code": 4}),
        ("exit 5", "ReplyMissing", "ended with success (exit code 5), {} after it was asked, and gave no reply", {}),
        ("kill -9 $$", "SignalError", "was killed by SIGKILL", {"signal": "SIGKILL"}),
        ("kill -SEGV $$", "SignalError", "was killed by SIGSEGV", {"signal": "SIGSEGV"}),
        (
            """printf '{"errorType": "Mine", "errorMessage": "line 3"}'; exit 1""",
            "Mine",
            "line 3",
            {"exit_code": 1},
        ),
        ("exec >&-; sleep 60", "ReplyMissing", "closed its reply's descriptor, {} after it was asked, and gave no", {}),
        ("printf 1; exec >&-; sleep 60", "ReplyMissing", "closed its reply's descriptor, {} after it was asked", {}),
    ],
)
def test_the_childs_end_before_its_reply_is_the_callers_error_and_the_next_request_gets_a_new_one(
    act: str, kind: str, says: str, data: dict[str, object], stage: Stage
) -> None:
    program = stage.warm(loop(f"end: echo why >&2; {act}"), exit_codes={4: "BadInput", 5: "ok"})
    first = ask(program)["pid"]
    error = failure(program, "end")
    second = ask(program)["pid"]

    assert type(error).__name__ == kind
    assert says in re.sub(r"\d+ ms", "{}", str(error))
    assert data.items() <= vars(error).items()
    assert error.stderr_tail == "why"
    assert first != second
    assert is_dead(first)


def test_a_first_request_whose_reply_can_not_come_speaks_of_no_greeting(stage: Stage) -> None:
    error = failure(stage.warm("read -r line; exec >&-; sleep 60"))

    assert "closed its reply's descriptor" in str(error)
    assert "make it answer each line with a line" in error.cure


def test_an_error_in_a_line_is_the_executables_own_if_it_ends_as_a_failure_then(stage: Stage) -> None:
    """As in mode oneshot; and a value, whatever it says, of one that goes on."""
    report = '{"errorType": "Mine", "errorMessage": "line 3"}'
    program = stage.warm(
        loop(f"last: echo '{report}'; exit 1", f"tell: echo '{report}'", f"done: echo '{report}'; exit")
    )
    error = failure(program, "last")

    assert (type(error).__name__, str(error), error.exit_code) == ("Mine", "line 3", 1)
    assert ask(program, "tell") == ask(program, "tell") == json.loads(report)
    assert ask(program, "done") == json.loads(report)


def test_the_end_after_the_reply_keeps_the_reply(stage: Stage) -> None:
    """It came whole; what the child does then concerns the next request, which a new one gets. The log says so each time."""
    program = stage.warm(f"read -r line; {ANSWER}; exit 3")
    pids = []
    for _ in range(10):
        pids.append(ask(program)["pid"])
        eventually(lambda: is_dead(pids[-1]))

    assert len(set(pids)) == 10
    ask(program)
    assert set(stage.notes) == {"ended with exit code 3 while nothing was asked of it"}
    assert len(stage.notes) - len(pids) in (0, 1)  # the last is told when it is found out


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda pid: os.kill(pid, signal.SIGKILL), "was killed by SIGKILL"),
        (lambda pid: os.kill(pid, signal.SIGUSR1), "ended with exit code 3"),
        (lambda pid: os.kill(pid, signal.SIGUSR2), "ended with success"),
    ],
)
def test_a_child_that_died_between_invocations_is_replaced_and_the_log_says_why(
    end: Callable[[int], None], says: str, stage: Stage
) -> None:
    program = stage.warm(loop(before="trap 'exit 3' USR1; trap 'exit 0' USR2"))
    first = ask(program)["pid"]
    end(first)
    eventually(lambda: state(first) == "Z")
    second = ask(program)["pid"]

    assert first != second == ask(program)["pid"]
    assert stage.notes == [f"{says} while nothing was asked of it"]


def test_a_child_that_closed_its_output_between_invocations_is_replaced(stage: Stage) -> None:
    program = stage.warm(loop('mute: echo 1; cat "$HERE/go"; exec >&-; touch "$HERE/done"; sleep 60'))
    os.mkfifo(stage.folder / "go")
    assert ask(program, "mute") == 1
    (stage.folder / "go").write_text("")
    eventually((stage.folder / "done").exists)

    assert ask(program)["pid"]
    assert stage.notes == ["closed its reply's descriptor while nothing was asked of it"]


def test_a_child_that_was_stopped_and_went_on_is_kept(stage: Stage) -> None:
    program = stage.warm(loop())
    first = ask(program)["pid"]
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: state(first) == "T")
    os.kill(first, signal.SIGCONT)

    assert ask(program)["pid"] == first
    assert stage.log == []


def test_a_child_that_died_while_it_was_stopped_is_replaced(stage: Stage) -> None:
    program = stage.warm(loop())
    first = ask(program)["pid"]
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: state(first) == "T")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(first) == "Z")

    assert ask(program)["pid"] != first
    assert stage.notes == ["was killed by SIGKILL while nothing was asked of it"]


def test_a_child_that_stays_stopped_is_stopped_at_the_deadline_and_replaced(stage: Stage) -> None:
    program = stage.warm(loop())
    first = ask(program)["pid"]
    os.kill(first, signal.SIGSTOP)
    error = failure(program, timeout=1)

    assert (type(error), error.signal) == (shim.DeadlineExceeded, "SIGTERM")
    assert is_dead(first)
    assert ask(program)["pid"] != first


def test_a_close_takes_a_stopped_child_down_too(stage: Stage) -> None:
    program = stage.warm(loop())
    first = ask(program)["pid"]
    os.kill(first, signal.SIGSTOP)
    program.close()

    assert is_dead(first)


# Several threads


def test_threads_have_each_a_child_of_their_own_and_wait_when_all_are_taken(stage: Stage) -> None:
    program = stage.warm(
        loop(f'meet: echo 1 >> "$HERE/meets"; until [ -e "$HERE/go" ]; do sleep 0.01; done; {ANSWER}'), max_children=2
    )
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(ask, program, "meet") for _ in range(2)]
        eventually(lambda: len(stage.note("meets")) == 2)
        error = threads.submit(failure, program, timeout=1).result()
        third = threads.submit(ask, program)
        (stage.folder / "go").touch()
        pids = {answer.result()["pid"] for answer in answers}

        assert len(pids) == 2
        assert third.result()["pid"] in pids
    assert (type(error), error.signal, error.duration) == (shim.DeadlineExceeded, None, None)
    assert "all 2 children are busy" in str(error)


# Sent again only if nothing was read, and no loop of starts


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_request_of_which_nothing_was_read_goes_to_a_new_child(end: str, stage: Stage) -> None:
    program = stage.python(UNREAD + f"read_line(); tell(os.getpid()); is_asked(); {end}")
    answers = [ask(program, number) for number in range(5)]

    assert len(set(answers)) == 5
    assert [str(pid) for pid in answers] == stage.note("starts")[:5]
    assert len(stage.notes) == 4
    assert all("before it read anything of the request, which a new one gets" in note for note in stage.notes)


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
@pytest.mark.parametrize("take", [1, 100])
def test_a_request_of_which_anything_was_read_is_not_sent_again(take: int, size: int, stage: Stage) -> None:
    program = stage.python(UNREAD + f"read_line(); tell(1); is_asked(); read({take}); note('read'); sys.exit(3)")
    assert ask(program) == 1
    error = failure(program, "x" * size)

    assert (type(error), error.exit_code) == (shim.ExitError, 3)
    assert len(stage.note("read")) == 1
    assert ask(program) == 1


def test_a_request_that_was_answered_in_part_is_not_sent_again(stage: Stage) -> None:
    """Who writes may know the request from elsewhere; nobody can prove that he does not."""
    program = stage.python(UNREAD + "read_line(); tell(1); is_asked(); os.write(1, b'{'); note('begun'); sys.exit(3)")
    assert ask(program) == 1
    error = failure(program)

    assert (type(error), error.exit_code) == (shim.ExitError, 3)
    assert len(stage.note("begun")) == 1


@pytest.mark.parametrize("delay", ["", "sleep 0.2; "])
def test_a_child_that_dies_at_every_start_is_reported_each_time_and_started_once_each_time(
    delay: str, stage: Stage
) -> None:
    program = stage.warm(f'echo start >> "$HERE/starts"; {delay}echo boom >&2; exit 3')
    for _ in range(5):
        error = failure(program)

        assert (type(error), error.exit_code, error.stderr_tail) == (shim.ExitError, 3, "boom")
    program.close()

    assert 5 <= len(stage.note("starts")) <= 1 + 5  # one at init


def test_a_child_that_dies_once_at_its_start_is_replaced_within_the_invocation(stage: Stage) -> None:
    program = stage.warm(loop(before='if mkdir "$HERE/once"; then exit 3; fi 2>/dev/null'))

    assert ask(program)["pid"] == ask(program)["pid"]
    assert len(stage.notes) == 1


def test_a_program_that_is_gone_after_init_is_told_and_comes_back(stage: Stage) -> None:
    program = stage.warm(loop())
    path = stage.folder / "program"
    first = ask(program)["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(first) == "Z")
    path.rename(stage.folder / "away")
    error = failure(program)
    (stage.folder / "away").rename(path)

    assert type(error) is shim.ExecutableNotFound
    assert ask(program)["pid"]


# Ready

READY = """echo '{"ok":true}'"""


def test_a_child_that_says_that_it_is_ready_is_waited_for_at_init(stage: Stage) -> None:
    program = stage.warm(loop(before=f'sleep 0.2; touch "$HERE/ready"; {READY}'), ready=True)

    assert (stage.folder / "ready").exists()
    assert ask(program)["pid"] == ask(program)["pid"]
    assert stage.log == []


@pytest.mark.parametrize("line", ['{"ok": true}', ' { "ok" : true } ', '{"ok":true}\\r'])
def test_the_ready_line_may_be_spelled_as_json_may_be(line: str, stage: Stage) -> None:
    assert ask(stage.warm(loop(before=f"printf '%b\\n' '{line}'"), ready=True))["pid"]


def test_a_child_that_is_not_ready_in_time_is_an_error_at_init(stage: Stage) -> None:
    with pytest.raises(shim.NotReady) as raised:
        stage.warm("echo loading >&2; sleep 60", ready=True, ready_within_ms=300)

    message = str(raised.value).replace(str(stage.folder / "program"), "program")
    assert message.startswith(
        'program had not written its line {"ok":true} 300 ms (SHIM_READY_WITHIN_MS) after its start; make it write'
    )
    assert raised.value.stderr_tail == "loading"


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("echo hello", "wrote b'hello' before it was asked, and not its line"),
        ("""echo '{"ok":false}'""", """wrote b'{"ok":false}' before it was asked, and not its line"""),
        ("""echo '{"ok":1}'""", """wrote b'{"ok":1}' before it was asked, and not its line"""),
        ("echo", "before it wrote its line"),
        ("head -c 5000 /dev/zero | tr '\\0' x", "wrote b'" + "x" * 60 + "'… before it was asked, and not its line"),
        ("exec >&-; sleep 60", "before it wrote its line"),
        ("exit 0", "ended with success before it wrote its line"),
    ],
)
def test_a_child_that_says_anything_else_is_an_error_at_init(before: str, says: str, stage: Stage) -> None:
    with pytest.raises(shim.NotReady) as raised:
        stage.warm(loop(before=f"echo why >&2; {before}"), ready=True)

    assert says in str(raised.value)
    assert raised.value.stderr_tail == "why"


@pytest.mark.parametrize(
    ("end", "kind", "says"),
    [("exit 3", "ExitError", "ended with exit code 3"), ("kill -SEGV $$", "SignalError", "was killed by SIGSEGV")],
)
def test_a_child_that_dies_before_it_is_ready_is_the_same_error_as_ever(
    end: str, kind: str, says: str, stage: Stage
) -> None:
    with pytest.raises(shim.ShimError) as raised:
        stage.warm(f"echo why >&2; {end}", ready=True)

    assert type(raised.value).__name__ == kind
    assert says in str(raised.value)
    assert str(raised.value).endswith("Its standard error ends with:\nwhy")


def test_what_comes_after_the_ready_line_is_nobodys_answer(stage: Stage) -> None:
    with pytest.raises(shim.NotReady, match=r"wrote b'5\\n' after its line"):
        stage.warm(loop(before="""printf '{"ok":true}\\n5\\n' """), ready=True)


def test_a_replaced_child_is_waited_for_too_until_it_is_ready(stage: Stage) -> None:
    program = stage.warm(loop(before=f'echo start >> "$HERE/starts"; sleep 0.2; {READY}'), ready=True)
    first = ask(program)["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(first) == "Z")

    assert ask(program)["pid"] == ask(program)["pid"] != first
    assert len(stage.note("starts")) == 2


@pytest.mark.parametrize(
    ("act", "timeout", "kind"),
    [
        ("sleep 60", 20, "NotReady"),
        ("sleep 60", 0.6, "DeadlineExceeded"),
        ("echo hello", 20, "NotReady"),
        ("exit 3", 20, "ExitError"),
    ],
)
def test_a_replaced_child_that_is_not_ready_is_the_callers_error(
    act: str, timeout: float, kind: str, stage: Stage
) -> None:
    program = stage.warm(
        loop(before=f'if [ -e "$HERE/bad" ]; then echo why >&2; {act}; fi; {READY}'), ready=True, ready_within_ms=1000
    )
    first = ask(program)["pid"]
    (stage.folder / "bad").touch()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(first) == "Z")
    error = failure(program, timeout=timeout)
    (stage.folder / "bad").unlink()

    assert type(error).__name__ == kind
    assert error.stderr_tail == "why"
    assert ask(program)["pid"]


# When a child is replaced that is well


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_a_child_serves_as_many_requests_as_max_uses(uses: int, stage: Stage) -> None:
    program = stage.warm(loop(before='echo $$ >> "$HERE/starts"', after='echo end >> "$HERE/ends"'), max_uses=uses)
    pids = [ask(program)["pid"] for _ in range(6)]

    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [uses] * (6 // uses)
    assert stage.note("ends") == ["end"] * (6 // uses)  # it sees the end of its input, and may clean up
    assert stage.notes == [f"has served max_uses={uses} and is replaced"] * (6 // uses)
    eventually(lambda: len(stage.note("starts")) == 6 // uses + 1)


def test_the_last_use_does_not_delay_its_answer(stage: Stage) -> None:
    """The child is replaced when the host has dropped the context, which is when it has sent the answer."""
    program = stage.warm(loop(), max_uses=1)
    context = LambdaContext(timeout=20)
    first = program({}, context)["pid"]
    assert not is_dead(first)
    del context

    assert is_dead(first)
    assert ask(program)["pid"] != first


def test_a_child_that_is_older_than_max_age_ms_is_replaced(stage: Stage) -> None:
    program = stage.warm(loop(after='echo end >> "$HERE/ends"'), max_age_ms=400)
    first = ask(program)["pid"]
    eventually(lambda: ask(program)["pid"] != first)

    assert is_dead(first)
    assert stage.note("ends")[0] == "end"


def test_a_young_child_is_kept(stage: Stage) -> None:
    program = stage.warm(loop(), max_age_ms=900_000, max_uses=1000, max_rss_bytes=1024**4)

    assert len({ask(program)["pid"] for _ in range(10)}) == 1
    assert stage.log == []


def test_a_child_that_takes_more_than_max_rss_bytes_with_its_descendants_is_replaced(stage: Stage) -> None:
    big = f"{sys.executable} -ISc 'import sys; x = bytearray(60_000_000); print(flush=True); sys.stdin.read()'"
    program = stage.warm(
        loop(
            f'grow: mkfifo "$HERE/hold" "$HERE/grown"; {big} < "$HERE/hold" > "$HERE/grown" & exec 9> "$HERE/hold"; read -r _ < "$HERE/grown"; {ANSWER}'
        ),
        max_rss_bytes=50_000_000,
    )
    first = ask(program)["pid"]
    assert ask(program, "grow")["pid"] == first

    assert is_dead(first)
    assert ask(program)["pid"] != first
    assert re.fullmatch(
        r"takes \d{8} bytes of memory with its descendants, more than 50000000 \(max_rss_bytes\) and is replaced",
        stage.notes[0],
    )


# Standard error


def test_standard_error_is_the_log_and_each_tail_is_its_own(stage: Stage) -> None:
    program = stage.warm(
        loop("fine: echo a secret of one >&2; echo 1", "bad: echo of two >&2; exit 3", before="echo born >&2")
    )
    assert ask(program, "fine") == 1
    error = failure(program, "bad")

    assert error.stderr_tail == "of two"
    assert stage.log[:3] == ["born", "a secret of one", "of two"]


def test_a_deadlines_tail_is_its_own_too(stage: Stage) -> None:
    program = stage.warm(loop("fine: echo a secret of one >&2; echo 1", "hang: sleep 60"))
    assert ask(program, "fine") == 1

    assert failure(program, "hang", timeout=1).stderr_tail == ""


def test_the_tail_of_the_first_request_has_what_was_written_at_the_start(stage: Stage) -> None:
    program = stage.warm(loop("bad: exit 3", before="echo no such region >&2"))

    assert failure(program, "bad").stderr_tail == "no such region"


def test_an_incomplete_line_of_standard_error_is_ended_with_its_invocation(stage: Stage) -> None:
    program = stage.warm(loop("half: printf half >&2; echo 1", "bad: printf other >&2; exit 3"))
    assert ask(program, "half") == 1

    assert failure(program, "bad").stderr_tail == "other"
    assert stage.log[:2] == ["half", "other"]


@pytest.mark.parametrize("lines", [1, 100, 1000])
def test_in_json_each_line_has_the_request_that_it_was_written_in(
    lines: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is: what was written before the reply is this invocation's."""
    stage.log_to(monkeypatch, level="INFO")
    program = stage.python(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        f"    os.write(2, b'%s in thirty bytes of log\\n' % request['event'].encode() * {lines})\n"
        "    os.write(1, b'1\\n')\n"
    )
    contexts = [LambdaContext(timeout=20) for _ in range(5)]
    for number, context in enumerate(contexts):
        assert program(f"{number:04d}", context) == 1
    stage.clear()
    records = [json.loads(line) for line in stage.log]

    assert [(record["requestId"], record["message"]) for record in records] == [
        (context.aws_request_id, f"{number:04d} in thirty bytes of log")
        for number, context in enumerate(contexts)
        for _ in range(lines)
    ]


def test_a_long_tail_in_json_is_its_own(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.log_to(monkeypatch, level="INFO")
    program = stage.python(
        "import os, sys\n"
        "for line in sys.stdin:\n"
        "    if '\"bad\"' in line: os.write(2, b'of two\\n'); sys.exit(3)\n"
        "    os.write(2, b'a secret of one\\n' * 2000)\n"
        "    os.write(1, b'1\\n')\n"
    )
    assert ask(program, "fine") == 1

    assert failure(program, "bad").stderr_tail == "of two"


def test_what_comes_between_invocations_is_in_the_log_at_the_end(stage: Stage) -> None:
    program = stage.warm(loop(after="echo cleaned up >&2"))
    ask(program)
    program.close()

    assert stage.log == ["cleaned up"]


def test_a_flood_between_invocations_blocks_nobody(stage: Stage) -> None:
    """It writes until its pipe is full, and goes on when it is asked again."""
    program = stage.warm(loop("flood: echo 1; head -c 1000000 /dev/zero | tr '\\0' '\\n' >&2"))

    assert ask(program, "flood") == 1
    assert ask(program)["pid"]


# Envelopes


def test_an_envelopes_value_is_the_result_and_its_error_the_callers(stage: Stage) -> None:
    program = stage.python(ENVELOPE + "    tell(**event)", framing="envelope")

    values: tuple[object, ...] = (1, None, "x", [], {"id": "x", "error": 1}, 10**30, "☃")
    for value in values:
        assert ask(program, {"value": value}) == value
    assert ask(program, {}) is None
    assert ask(program, {"error": None}) is None
    assert ask(program, {"value": 1, "error": None}) == ask(program, {"value": 1, "error": ""}) == 1
    assert stage.log == []


@pytest.mark.parametrize(
    ("error", "kind", "message", "trace"),
    [
        ("no price", "ReportedError", "no price", ()),
        ({"errorType": "BadInput", "errorMessage": "line 3"}, "BadInput", "line 3", ()),
        (
            {"errorType": "BadInput", "errorMessage": "line 3", "stackTrace": ["a", "b"]},
            "BadInput",
            "line 3",
            ("a", "b"),
        ),
        ({"code": 5}, "ReportedError", '{"code": 5}', ()),
        (5, "ReportedError", "5", ()),
        (False, "ReportedError", "false", ()),
        (["a"], "ReportedError", '["a"]', ()),
        ({}, "ReportedError", "{}", ()),
        ({"errorType": "States.Timeout", "errorMessage": "x"}, "ReportedError", "States.Timeout", ()),
        ("a \x7f", "ReportedError", "a ?", ()),
    ],
)
def test_an_envelopes_error_is_the_executables_own(
    error: object, kind: str, message: str, trace: tuple[str, ...], stage: Stage
) -> None:
    program = stage.python(
        ENVELOPE + "    print('why', file=sys.stderr, flush=True)\n    tell(**event)",
        framing="envelope",
    )
    assert ask(program, {"value": 1}) == 1
    pid = stage.processes()
    raised = failure(program, {"error": error})

    assert isinstance(raised, shim.ReportedError)
    assert (type(raised).__name__, raised.exit_code, raised.stack_trace) == (kind, None, trace)
    assert message in str(raised)
    assert raised.stderr_tail == "why"
    assert ask(program, {"value": 1}) == 1
    assert stage.processes() == pid


def test_lines_beside_an_envelope_are_the_log(stage: Stage) -> None:
    program = stage.python(
        "print('born', flush=True)\n"
        + ENVELOPE
        + "    print('one')\n    print('{\"id\": 7}')\n    tell(value=event)\n    print('after', flush=True)",
        framing="envelope",
    )
    assert [ask(program, number) for number in range(3)] == [0, 1, 2]
    stage.clear()

    assert stage.log == ["born", *["one", '{"id": 7}', "after"] * 3]


def test_lines_beside_an_envelope_are_in_its_tail_too(stage: Stage) -> None:
    program = stage.python(ENVELOPE + "    print('on stdout', flush=True)\n    sys.exit(3)", framing="envelope")

    assert failure(program).stderr_tail == "on stdout"


def test_in_json_the_lines_beside_an_envelope_have_their_request(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.log_to(monkeypatch, level="INFO")
    program = stage.python(ENVELOPE + "    print('beside')\n    tell(value=event)", framing="envelope")
    contexts = [LambdaContext(timeout=20) for _ in range(3)]
    for context in contexts:
        program(1, context)
    records = [json.loads(line) for line in stage.log]

    assert [record["requestId"] for record in records] == [context.aws_request_id for context in contexts]
    assert {(record["message"], record["stream"]) for record in records} == {("beside", "stdout+stderr")}


@pytest.mark.parametrize(
    ("act", "kind", "says"),
    [
        ("id = 'another'; tell(value=1)", "ReplyUnexpected", "which is no reply to what was asked, and was killed"),
        ("tell(value=1); tell(value=2)", "ReplyUnexpected", "besides its reply"),
        ('os.write(1, b\'{"id":"%s","value":}\\n\' % id.encode())', "OutputInvalid", "not one JSON value"),
        ("tell(value=float('nan'))", "OutputInvalid", "no valid result"),
        ("tell(value='x' * 1000)", "OutputTooLarge", "more than max_output_bytes allows, 900 bytes"),
        ("sys.exit()", "ReplyMissing", "ended with success, "),
        ("sys.exit(3)", "ExitError", "ended with exit code 3"),
    ],
)
def test_what_is_no_proper_envelope_is_an_error_now_and_nobodys_answer(
    act: str, kind: str, says: str, stage: Stage
) -> None:
    program = stage.python(
        f"{ENVELOPE}"
        "    out = []\n"
        "    def tell(**message): out.append(json.dumps({'id': id, **message}))\n"
        f"    if event == 'bad':\n        {act}\n    else: tell(value=event)\n"
        "    os.write(1, ''.join(line + '\\n' for line in out).encode())\n",
        framing="envelope",
        max_output_bytes=900,
    )
    assert ask(program, 1) == 1
    error = failure(program, "bad")

    assert type(error).__name__ == kind
    assert says in str(error)
    assert [ask(program, number) for number in range(3)] == [0, 1, 2]


def test_an_id_is_another_each_time_even_when_lambda_tries_an_event_again(stage: Stage) -> None:
    program = stage.python(ENVELOPE + "    tell(value=id)", framing="envelope")
    context = LambdaContext(timeout=20)
    ids = {program({}, context) for _ in range(3)} | {program({}) for _ in range(3)}

    assert len(ids) == 6


def test_a_late_envelope_is_nobodys_answer(stage: Stage) -> None:
    """A child that answers the request before when it gets the next one."""
    program = stage.python(
        "last = None\n" + ENVELOPE + "    if last: print(json.dumps({'id': last, 'value': 'late'}), flush=True)\n"
        "    last = id\n    if event != 'forget': tell(value=event)",
        framing="envelope",
    )

    assert type(failure(program, "forget", timeout=1)) is shim.DeadlineExceeded
    assert ask(program, 1) == 1
    assert type(failure(program, 2)) is shim.ReplyUnexpected
    assert ask(program, 3) == 3


def test_the_beginning_of_a_line_of_log_belongs_to_whom_it_ends_with(stage: Stage) -> None:
    program = stage.python(
        ENVELOPE
        + "    print('end' if event else '', flush=True)\n    tell(value=event)\n    print('begin-', end='', flush=True)",
        framing="envelope",
    )
    assert ask(program, 0) == 0
    eventually(lambda: all(state(pid) == "S" for pid in stage.processes()))
    assert ask(program, 1) == 1
    stage.clear()

    assert stage.log == ["", "begin-end", "begin-"]


def test_the_bytes_of_an_envelopes_value_are_json(stage: Stage) -> None:
    program = stage.python(ENVELOPE + "    tell(**event)", framing="envelope")

    for value in (1, None, "☃", {"a": [1.5, 10**30]}):
        assert json.loads(program.run(Invocation({"value": value}, LambdaContext(timeout=20)))) == value
    with pytest.raises(shim.ReportedError, match=r"^why$"):
        program.run(Invocation({"error": "why"}))


# Metrics


@pytest.mark.parametrize("framing", ["line", "envelope"])
def test_each_invocation_has_one_line_of_metrics(framing: str, stage: Stage) -> None:
    schema = json.loads((FIXTURES / "emf.schema.json").read_text())
    program = stage.python(
        "import json, os, sys\nfor line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    if request['event'] == 'end': sys.exit(3)\n"
        "    if request['event'] == 'hang': sys.stdin.read()\n"
        "    message = request['event'] if 'id' not in request else {'id': request['id'], **request['event']}\n"
        "    print(json.dumps(message), flush=True)\n",
        metrics="emf",
        framing=framing,
    )
    events: list[tuple[object, str | None]] = [({"value": 1}, None), ({"value": 2}, None), ("end", "ExitError")]
    events += [({"value": 3}, None), ("hang", "DeadlineExceeded"), ({"value": 4}, None)]
    if framing == "envelope":
        events += [({"error": "why"}, "ReportedError")]
    for event, error in events:
        if error is None:
            ask(program, event)
        else:
            assert type(failure(program, event, timeout=1)).__name__ == error
    lines = [json.loads(line) for line in stage.log if "_aws" in line]

    assert [line.get("errorType") for line in lines] == [error for _, error in events]
    for line in lines:
        jsonschema.Draft7Validator(schema).validate(line)
        assert line["duration_ms"] > 0
        assert line["request_bytes"] > 0
    assert all(line["reply_bytes"] > 10 for line, (_, error) in zip(lines, events, strict=True) if error is None)
    assert [(line.get("exit_code"), line.get("signal")) for line in lines[:5]] == [
        (None, None),
        (None, None),
        (3, None),
        (None, None),
        (None, "SIGTERM"),
    ]


# The end of a Shim


def test_nothing_is_left_when_it_is_closed_and_descriptors_are_as_before(stage: Stage) -> None:
    before = descriptors()
    with stage.warm(loop("family: sleep 60 & sleep 60 & echo 1")) as program:
        assert ask(program, "family") == 1
        assert len(stage.processes()) == 3

    assert stage.processes() == []
    assert len(descriptors() - before) <= 1  # /proc/loadavg, opened once
    program.close()
    with pytest.raises(shim.ShimClosed):
        ask(program)


def test_it_is_closed_before_its_first_request_too(stage: Stage) -> None:
    stage.warm(loop()).close()

    assert stage.processes() == []


@pytest.mark.parametrize(
    ("ending", "noted"),
    [
        ("", ["input"]),
        ("signal.signal(signal.SIGTERM, lambda *_: (note('term'), os._exit(0)))", ["input", "term"]),
        ("signal.signal(signal.SIGTERM, lambda *_: note('term'))", ["input", "term"]),
    ],
)
def test_a_close_lets_the_child_end_by_itself_then_by_sigterm_then_by_sigkill(
    ending: str, noted: list[str], stage: Stage
) -> None:
    program = stage.python(
        UNREAD.replace("sys", "signal, sys", 1) + f"{ending}\n"
        "tell({'ok': True})\nsys.stdin.read()\nnote('input')\n" + ("while True: signal.pause()" if ending else ""),
        ready=True,
    )
    program.close()

    assert [name for name in ("input", "term") if stage.note(name)] == noted
    assert stage.processes() == []


def test_a_shim_that_is_dropped_without_close_leaves_nothing(stage: Stage) -> None:
    before = descriptors()
    program = Shim(
        stage.script("trap '' TERM; while :; do read -r line && echo 1; done"), mode="warm", env={"STAGE": stage.mark}
    )
    assert ask(program) == 1
    assert len(stage.processes()) == 1
    del program
    gc.collect()

    assert stage.processes() == []
    assert len(descriptors() - before) <= 1  # /proc/loadavg, opened once


# What somebody else holds, and last words

BEQUEATHING = """
for line in sys.stdin:
    event = json.loads(line)["event"]
    if event == "crash": os._exit(3)
    if event == "bequeath" and os.fork() == 0:
        while not (here / "go").exists(): time.sleep(0.005)
        os.write(1, b'"late"\\n')
        os._exit(0)
    tell(event)
    if event == "bequeath": os._exit(0)
"""


@pytest.mark.parametrize("event", ["mine", "crash"])
def test_a_line_of_a_process_that_a_dead_child_left_behind_is_nobodys_answer(event: str, stage: Stage) -> None:
    """It holds the child's pipe, and writes when the next request is there. While the child lives, by line, nobody can tell the two apart."""
    program = stage.python(UNREAD + BEQUEATHING, linger_ms=300, max_children=1)

    assert ask(program, "bequeath") == "bequeath"

    (stage.folder / "go").touch()
    if event == "mine":
        assert ask(program, "mine") == "mine"
    else:
        assert isinstance(failure(program, "crash"), shim.ExitError)


@pytest.mark.parametrize("delay", ["", "sleep 0.3; "])
def test_an_error_is_the_last_word_of_a_child_that_fails_however_long_it_takes_to_end(delay: str, stage: Stage) -> None:
    program = stage.warm(f"""read -r line; echo '{{"errorType":"BadInput","errorMessage":"line 3"}}'; {delay}exit 1""")
    error = failure(program)

    assert (type(error).__name__, str(error), error.exit_code) == ("BadInput", "line 3", 1)


def test_an_error_is_a_reply_of_a_child_that_does_not_fail(stage: Stage) -> None:
    report = {"errorType": "BadInput", "errorMessage": "line 3"}
    program = stage.warm(loop(f"bad: echo '{json.dumps(report, separators=(',', ':'))}'"))

    assert ask(program, "bad") == report
    assert ask(program)["pid"]


def test_a_start_finds_the_child_that_is_there(stage: Stage) -> None:
    """As after a snapshot, where a function's own hook has called it before."""
    program = stage.warm(loop(before='echo start >> "$HERE/starts"'))
    first = ask(program)["pid"]
    program._start()  # noqa: SLF001 - what the hook of SnapStart calls

    assert ask(program)["pid"] == first
    assert len(stage.note("starts")) == 1


def test_a_child_that_somebody_else_reaps_when_it_is_replaced_costs_no_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait4 = os.wait4

    def reaped(pid: int, options: int) -> Any:
        wait4(pid, options)
        return wait4(pid, options)  # ECHILD

    program = stage.warm(loop(), max_uses=1)
    monkeypatch.setattr(os, "wait4", reaped)
    pids = [ask(program)["pid"] for _ in range(3)]
    monkeypatch.undo()

    assert len(set(pids)) == 3


def test_an_error_that_is_nested_too_deep_to_be_told_is_one(stage: Stage) -> None:
    deep = "[" * 1010 + "]" * 1010
    program = stage.python(
        UNREAD
        + f"""
for line in sys.stdin: os.write(1, b'{{"id": "%s", "error": {deep}}}\\n' % json.loads(line)["id"].encode())
""",
        framing="envelope",
    )

    assert isinstance(failure(program), (shim.ReportedError, shim.OutputInvalid))
