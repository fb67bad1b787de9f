"""Fake executables: what is composed is a file that runs, says how it was made, and knows what must come of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import shim
from shim import testing
from shim.outcome import Exited, Usage
from shim.testing import (
    FakeExecutable,
    LambdaContext,
    awaits,
    closes,
    copies,
    describes,
    echoes,
    exits,
    fails_where,
    fills,
    forks_and_leaves,
    hangs,
    ignores,
    notes,
    obeys,
    raises_signal,
    reads,
    reads_line,
    refuses,
    replies,
    sleeps,
    strategies,
    writes,
    writes_stderr,
)
from shim.testing.executables import compiled_actor, scripted
from tests.conftest import eventually, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE = b'{"event":{"a":[1,"}"]},"context":{},"shim":1}\n'


@pytest.fixture(params=["compiled", "a script"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How fakes are made: where there is a compiler, and where there is none."""
    if request.param == "a script":
        monkeypatch.setattr("shim.testing.executables.shutil.which", lambda _: None)
    compiled_actor.cache_clear()
    yield request.param
    compiled_actor.cache_clear()


def run(fake: FakeExecutable, folder: Path, line: bytes = LINE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [fake.write_to(folder / "fake"), "its", "arguments"],
        input=line,
        capture_output=True,
        check=False,
        timeout=30,
        env={},
    )


def test_a_fake_is_a_file_that_does_what_it_is_composed_of(kind: str, tmp_path: Path) -> None:
    done = run(FakeExecutable(reads_line(), writes_stderr("oh"), replies({"ok": True}), exits(3)), tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (3, b'{"ok":true}\n', b"oh")
    assert (tmp_path / "fake").read_bytes().startswith(b"\x7fELF" if kind == "compiled" else b"#!")


def test_an_event_is_echoed_byte_by_byte(kind: str, tmp_path: Path) -> None:
    assert run(FakeExecutable(reads_line(), echoes()), tmp_path).stdout == b'{"a":[1,"}"]}\n'


def test_a_fake_that_speaks_envelopes_bears_the_id(kind: str, tmp_path: Path) -> None:
    fake = FakeExecutable.warm(echoes(), on={2: [replies(None)], 3: [refuses("no")]}, framing="envelope")
    lines = b"".join(b'{"id":"%d","event":{"n":%d}}\n' % (number, number) for number in range(1, 5))
    done = run(fake, tmp_path, lines)

    assert done.returncode == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "1", "value": {"n": 1}},
        {"id": "2", "value": None},
        {"id": "3", "error": "no"},
        {"id": "4", "value": {"n": 4}},
    ]


def test_a_kept_one_that_crashes_on_its_third_request(tmp_path: Path) -> None:
    fake = FakeExecutable.warm(echoes(), on={3: [exits(7)]})
    program = str(fake.write_to(tmp_path / "fake"))
    told: list[object] = []
    with shim.Shim(program, mode="warm") as warm:
        for number in range(1, 6):
            try:
                told.append(warm({"number": number}))
            except shim.ExitError as error:
                told.append(error.exit_code)

    assert told == [{"number": 1}, {"number": 2}, 7, {"number": 4}, {"number": 5}]
    assert [fake.expected_outcome(warm.settings, LINE, number=number).errors for number in (1, 2, 3)] == [
        {None},
        {None},
        {"ExitError"},
    ]
    with pytest.raises(ValueError, match="it ends before its request 4"):
        fake.expected_outcome(warm.settings, LINE, number=4)


def test_what_runs_can_be_written_anew(tmp_path: Path) -> None:
    path = FakeExecutable(hangs()).write_to(tmp_path / "fake")
    with subprocess.Popen([path]) as running:
        again = FakeExecutable(exits(4)).write_to(path)
        done = subprocess.run([again], check=False)
        running.kill()

    assert done.returncode == 4
    assert os.listdir(tmp_path) == ["fake"]


def test_a_fake_needs_nothing_but_itself(tmp_path: Path) -> None:
    """It is packed and carried elsewhere like any executable."""
    if compiled_actor() is None:
        pytest.skip("a script needs its interpreter")
    FakeExecutable(reads_line(), echoes()).write_to(tmp_path / "fake")
    moved = shutil.move(tmp_path / "fake", tmp_path / "elsewhere")

    assert subprocess.run([moved], input=LINE, capture_output=True, check=True, env={}).stdout == b'{"a":[1,"}"]}\n'


def test_one_obeys_its_events(tmp_path: Path) -> None:
    program = str(FakeExecutable(notes(str(tmp_path / "notes")), obeys()).write_to(tmp_path / "fake"))
    with shim.Shim(program, mode="warm") as warm:
        assert warm(FakeExecutable.event(echoes(), label="first", size=1))["size"] == 1
        with pytest.raises(shim.ExitError, match="exit code 9"):
            warm(FakeExecutable.event(exits(9), label="second"))

    noted = [line.split(" ", 1)[1] for line in (tmp_path / "notes").read_text().splitlines()]
    assert noted[:4] == ["start", "begin first", "end first", "begin second"]


def test_a_descriptor_of_its_own_for_the_reply(tmp_path: Path) -> None:
    fake = FakeExecutable(reads_line(), writes("log\n", to=1), replies([1]), reply_fd=3)
    program = str(fake.write_to(tmp_path / "fake"))

    assert shim.Shim(program, reply_fd=3)({}) == [1]
    (expected,) = fake.expected_outcome({"reply_fd": 3}, LINE).among
    assert (expected.reply, expected.stderr) == (b"[1]\n", b"log\n")


@given(strategies.behaviours(), st.sampled_from([1, 3]), st.sampled_from(["line", "envelope"]))
def test_its_repr_makes_it_again(behaviours: list[testing.Behaviour], reply_fd: int, framing: str) -> None:
    names: dict[str, Any] = {name: getattr(testing, name) for name in testing.__all__ if name != "WarmModel"}
    for fake in (
        FakeExecutable(*behaviours, reply_fd=reply_fd, framing=framing),
        FakeExecutable.warm(
            echoes(), on={2: [echoes(), *behaviours]}, first=behaviours, reply_fd=reply_fd, framing=framing
        ),
    ):
        again = eval(repr(fake), {}, names)  # noqa: S307 - that it can be pasted is the promise

        assert again == fake
        assert again.words == fake.words


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: exits(256), "an exit code is from 0 to 255, not 256"),
        (lambda: exits(-9), "an exit code is from 0 to 255, not -9"),
        (lambda: exits(1.5), "an exit code is a whole number, not 1.5"),  # type: ignore[arg-type]
        (lambda: exits(True), "an exit code is a whole number, not True"),
        (lambda: sleeps(0), "hangs()"),
        (lambda: raises_signal("SIGNOTHING"), 'spelled as in "SIGTERM"'),
        (lambda: ignores(1000), "there is no signal 1000"),
        (lambda: reads(-1), "must be a whole number"),
        (lambda: closes(-1), "must be a whole number"),
        (lambda: closes(4), "has the descriptors 0 to 3, and not 4"),
        (lambda: FakeExecutable().expected_outcome({}, LINE, number=0), "counted from 1"),
        (lambda: writes("x", to=7), "a fake writes to 1, 2 or 3"),
        (lambda: replies(float("nan")), "not JSON compliant"),
        (lambda: notes("a b"), "without blanks"),
        (lambda: fails_where("", 1), "without blanks"),
        (lambda: FakeExecutable(exits(3), reply_fd=2), "reply_fd must be 1 or 3"),
        (lambda: FakeExecutable(framing="lines"), "framing must be line or envelope"),
        (lambda: FakeExecutable.warm(on={0: []}), "counted from 1"),
        (lambda: FakeExecutable.warm(reads_line(), echoes()), "leave out reads_line()"),
        (lambda: FakeExecutable.warm(on={2: [reads_line()]}), "leave out reads_line()"),
        (lambda: FakeExecutable.event(notes('/a"b')), "without blanks, quotes"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        make()

    assert sentence in str(raised.value)


def test_what_is_no_behaviour_is_refused() -> None:
    with pytest.raises(TypeError, match=r"composed of behaviours, as exits\(3\) is one, unlike <function exits"):
        FakeExecutable(exits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: writes(5),  # type: ignore[arg-type]
        lambda: writes_stderr(5),  # type: ignore[arg-type]
        lambda: replies(1, then="x"),  # type: ignore[arg-type]
        lambda: echoes(then=5),  # type: ignore[arg-type]
    ],
)
def test_what_is_neither_text_nor_bytes_is_refused(make: Callable[[], object]) -> None:
    """At once, and not when the file is written."""
    with pytest.raises(TypeError, match="bytes"):
        make()


def test_an_unexpected_outcome_is_told_with_what_differs() -> None:
    usage = Usage(user=0, system=0, peak=0, ours=lambda: 0)
    outcome = Exited(2, reply=b"x", duration=0.1, stderr_tail="", usage=usage, swept=0, spawn=0)
    for fake, sentence in [
        (FakeExecutable(exits(3)), "Exited (its code is 2)"),
        (FakeExecutable(exits(2)), "Exited (its reply is b'x')"),
        (FakeExecutable(writes("x"), raises_signal("SIGKILL")), "Signaled (it is Exited)"),
    ]:
        with pytest.raises(AssertionError, match="is not the expected outcome") as raised:
            fake.expected_outcome({}, LINE).check(outcome)

        assert sentence in str(raised.value)
    FakeExecutable(writes("x"), exits(2)).expected_outcome({}, LINE).check(outcome)


def test_an_error_is_compared_as_a_caller_gets_it(tmp_path: Path) -> None:
    for fake, another, difference in (
        (FakeExecutable(exits(3)), FakeExecutable(exits(2)), "its code is 2"),
        (FakeExecutable(raises_signal("SIGSEGV")), FakeExecutable(raises_signal("SIGKILL")), "its signal is SIGKILL"),
    ):
        with pytest.raises(shim.ShimError) as raised:
            shim.Shim(str(fake.write_to(tmp_path / "fake")))({})

        fake.expected_outcome({}, LINE).check(raised.value)
        with pytest.raises(AssertionError, match=difference):
            another.expected_outcome({}, LINE).check(raised.value)
        with pytest.raises(AssertionError, match="the caller gets a result"):
            FakeExecutable().expected_outcome({}, LINE).check(raised.value)


def test_where_the_kernel_decides_the_set_has_a_name() -> None:
    twice = FakeExecutable.warm(echoes(), replies("again")).expected_outcome({"mode": "warm"}, LINE)
    deaf = FakeExecutable.warm(closes(1), exits(3)).expected_outcome({"mode": "warm"}, LINE)

    assert [expected.error for expected in twice.among] == [None, "ReplyUnexpected"]
    assert twice.name == "what is written behind a reply comes with it, or later"
    assert deaf.errors == {"ReplyMissing", "ExitError"}
    assert FakeExecutable(exits(3)).expected_outcome({}, LINE).name == ""


@pytest.mark.parametrize(
    ("fake", "settings", "error"),
    [
        (FakeExecutable(exits(3)), {"exit_codes": {"3": "ok"}}, None),
        (FakeExecutable(exits(3)), {"exit_codes": {"3": "BadInput"}}, "BadInput"),
        (FakeExecutable(fills(11)), {"max_output_bytes": 10, "output": "base64"}, "OutputTooLarge"),
        (FakeExecutable(copies()), {"max_output_bytes": 10, "output": "base64"}, "OutputTooLarge"),
        (
            FakeExecutable.warm(writes("a long line of the log\n"), hangs(), framing="envelope"),
            {"mode": "warm", "framing": "envelope", "max_output_bytes": 10},
            "OutputTooLarge",
        ),
        (FakeExecutable(awaits("SIGUSR1")), {}, "DeadlineExceeded"),
        (FakeExecutable(ignores("SIGTERM"), hangs()), {}, "DeadlineExceeded"),
        (FakeExecutable(raises_signal("SIGSEGV")), {}, "SignalError"),
        (FakeExecutable(raises_signal("SIGCHLD"), describes()), {}, None),
        (FakeExecutable(reads_line(), reads_line(), exits(9)), {}, None),
    ],
)
def test_settings_decide_what_the_caller_gets(
    fake: FakeExecutable, settings: dict[str, Any], error: str | None, tmp_path: Path
) -> None:
    raised = None
    try:
        shim.Shim(str(fake.write_to(tmp_path / "fake")), **settings)({}, LambdaContext(timeout=0.6))
    except shim.ShimError as failure:
        raised = type(failure).__name__

    assert raised == error
    assert fake.expected_outcome(settings, LINE).errors == {error}


def test_a_process_that_is_left_behind_bears_the_name_of_the_fake(tmp_path: Path) -> None:
    path = FakeExecutable(forks_and_leaves(), exits(0)).write_to(tmp_path / "fake")
    if compiled_actor() is None:
        pytest.skip("a script runs under its interpreter's name")
    subprocess.run([path], check=True)
    (left,) = processes_of(str(path))
    os.kill(left, signal.SIGKILL)

    eventually(lambda: not processes_of(str(path)))


def test_a_file_may_have_any_name(kind: str, tmp_path: Path) -> None:
    """Its own, which may be as long as the file system has them, and one that it is told of, which may be no text."""
    told = tmp_path / os.fsdecode(b"n\xff\xc3\xa9")
    path = FakeExecutable(notes(str(told))).write_to(tmp_path / ("x" * 255))
    subprocess.run([path], check=True)

    assert told.read_text().endswith(" start\n"), kind


@pytest.mark.parametrize("name", ["a folder's, it's \"so\" $HOME", "x" * 250, os.fsdecode(b"no text \xff")])
def test_a_script_is_run_by_a_python_of_any_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes neither blanks nor more than 255 bytes in a first line."""
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    path = tmp_path / "fake"
    path.write_bytes(scripted(FakeExecutable(reads_line(), describes(), exits(3)).words))
    path.chmod(0o755)
    ended = subprocess.run([path, "its"], input=LINE, capture_output=True, check=False, timeout=30)

    assert (ended.returncode, ended.stderr) == (3, b"")
    assert json.loads(ended.stdout)["arguments"] == [str(path), "its"]


def test_without_a_locale_there_is_a_script_too(tmp_path: Path) -> None:
    """Where Python takes files for ASCII."""
    program = (
        "import sys; from shim.testing import FakeExecutable, exits; FakeExecutable(exits(3)).write_to(sys.argv[1])"
    )
    environment = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": "/nonexistent"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "fake"], env=environment, check=True)

    assert subprocess.run([tmp_path / "fake"], check=False).returncode == 3


def test_a_compiler_that_can_not_be_run_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_bytes(b"\x7fno program")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    compiled_actor.cache_clear()

    assert compiled_actor() is None
    compiled_actor.cache_clear()


def test_of_a_file_that_can_not_be_written_nothing_is_left(tmp_path: Path) -> None:
    """As on a disk that is full."""
    (tmp_path / "fake").mkdir()
    with pytest.raises(IsADirectoryError):
        FakeExecutable().write_to(tmp_path / "fake")

    assert os.listdir(tmp_path) == ["fake"]
