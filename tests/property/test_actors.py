"""Whatever words both actors are given, nobody can tell the one that is compiled from the one in Python, but by its speed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st

from shim.testing.executables import MARK, SCRIPT, scripted
from tests.conftest import children

if TYPE_CHECKING:
    from collections.abc import Iterable


T = TypeVar("T")

INTERPRETER = os.path.realpath(sys.executable)
PIPE = 1 << 20
"""What a pipe holds here: all of the input."""
ENOUGH = 3_000_000
"""So many bytes only a flood writes: its reader goes then."""
CHANGED = {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
"""Whose dispositions Python changes when it starts."""
FOLDER = "/folder/"
"""Stands for the folder of an example in words, whose files are those of notes."""
HANGS = [f"note:{FOLDER}hangs", "sleep:0"]
"""It says that it hangs from now on."""


class Play(NamedTuple):
    """What an actor is to do, and what it is born with."""

    script: list[str]
    input: str
    """At most a pipe of it, in which `<5 long>` stands for five letters; its end follows."""
    environment: dict[str, str]
    is_fake: bool
    """Whether the words stand in the program, which is not to read its arguments."""
    closed: frozenset[int]
    """The descriptors that are closed at birth."""
    unread: frozenset[int]
    """The descriptors, of 1, 2 and 3, that nobody reads."""
    ignored: int | None
    """A signal that is ignored at birth."""


class Left(NamedTuple):
    """A process that was left behind."""

    same_session: bool
    same_group: bool
    leads_its_session: bool
    has_environment: bool
    descriptors: list[int]
    ignores: set[int]


class Observed(NamedTuple):
    """What can be seen of an actor from outside."""

    exit_code: int
    """Negative: the signal that ended it."""
    stops: int
    """How often it stopped and was told to go on."""
    wrote: dict[int, bytes]
    notes: dict[str, str]


def alone(word: str) -> list[str]:
    return [word]


def joined(parts: Iterable[list[str]]) -> list[str]:
    return list(chain.from_iterable(parts))


def encoded(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def signals() -> st.SearchStrategy[int]:
    return st.sampled_from([int(number) for number in signal.Signals])


def mostly(usual: st.SearchStrategy[T], *odd: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Something odd in one of eight: a script that fails at its first word says little."""
    return st.integers(0, 7).flatmap(lambda drawn: st.one_of(*odd) if drawn == 7 else usual)


NOTE = f"note:{FOLDER}notes"
WRITABLE = st.sampled_from([1, 1, 1, 2, 3, 7])
BYTES = mostly(st.binary(max_size=30).map(bytes.hex), st.sampled_from(["", "4", "414", "zz", "41:42", "0A"]))
ODD_STEPS = st.sampled_from(
    [
        ["read"], ["copy"], ["close:0"], ["close:1"], ["close:2"], ["close:3"], ["close:9"], ["close"], ["line"], ["note"],
        ["flood:9"], ["raise:99"], ["ignore:99"], ["ignore:9"], [f"exit-if:3:{FOLDER}notes"], [f"note:{FOLDER}missing/notes"],
    ]
)  # fmt: skip
STEPS = mostly(
    st.one_of(
        st.sampled_from([["describe"], ["stop"], ["raise:0"], [NOTE], ["read:5000", "copy"], ["read-all", "copy"], ["read:-1", "copy"]]),
        st.builds("write:{}:{}".format, WRITABLE, BYTES).map(alone),
        st.builds("fill:{}:{}".format, WRITABLE, st.sampled_from([0, 1, 4096, 65_537, 99_000])).map(alone),
        st.sampled_from([["sleep:1"], ["sleep:3"], ["sleep:-1"]]),
        st.builds("{}:{}".format, st.sampled_from(["fork", "leave", "vanish"]), st.sampled_from([1, 0])).map(alone),
        st.builds("{}:{}".format, st.sampled_from(["leave", "vanish"]), st.just(0)).map(alone),
        signals().map(lambda number: [f"ignore:{number}"]),
        signals().map(lambda number: [f"ignore:{number}", f"raise:{number}"]),
        st.sampled_from([10, 15, 2]).map(lambda number: [f"note:{FOLDER}awaits-{number}", f"await:{number}"]),
    ),
    ODD_STEPS,
)  # fmt: skip
ENDS: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]),
    st.just(["describe"]),
    st.integers(0, 255).map(lambda code: [f"exit:{code}"]),
    signals().map(lambda number: [f"raise:{number}"]),
    st.sampled_from([["flood:1"], ["flood:2"], ["flood:3"], HANGS, HANGS, ["exit"], ["exit:256"], ["dance:1"], [""]]),
)
ONESHOT = st.builds(
    lambda first, steps, end: first + joined(steps) + end,
    st.sampled_from([[], ["describe"], [NOTE]]),
    st.lists(STEPS, max_size=6),
    ENDS,
)

ANSWERING = st.one_of(
    st.builds("{}:{}".format, st.sampled_from(["reply", "event", "answer", "refuse"]), WRITABLE),
    st.builds("{}:{}:{}".format, st.sampled_from(["reply", "event", "answer", "refuse", "value", "error"]), WRITABLE, BYTES),
    st.builds("{}:{}:{}:{}".format, st.sampled_from(["value", "error"]), WRITABLE, BYTES, BYTES),
)  # fmt: skip
SERVED = st.builds(
    lambda steps, end: steps + end,
    st.lists(
        mostly(ANSWERING, st.sampled_from(["sleep:1", "read:10", "close:1", "describe", "stop", f"note:{FOLDER}more"])), max_size=4
    ),
    mostly(st.just([]), ENDS),
)  # fmt: skip
BEFORE = st.one_of(
    st.just([NOTE]), st.lists(st.sampled_from([NOTE, "ignore:13", "write:2:41", "vanish:0"]), max_size=2)
)
KEPT = st.one_of(
    st.builds(lambda before, end: [*before, "serve", *end], BEFORE, ENDS),
    st.builds(lambda before, each: [*before, "line", *each, f"again:{len(before)}"], BEFORE, SERVED),
    st.builds(lambda before, each: [*before, "line", *each, "again:0"], BEFORE, SERVED),
    st.builds(lambda each: joined(["line", *words] for words in each), st.lists(SERVED, max_size=4)),
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"}', "],"]
)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ODD = st.lists(
    st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", '"event":', '"id":"', '"do":"', '"early":"', "reply:1", "é", "x", "\r"]),
    max_size=16,
).map("".join)  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A request with what may be in it, in any order."""
    blanks, colon = draw(st.sampled_from([" ", "  "])), draw(st.sampled_from([":", ": ", ":  "]))
    members = {
        "id": draw(mostly(TEXTS.map(encoded), st.none())),
        "do": draw(mostly(SERVED.map(lambda words: f'"{blanks.join(words)}"'), st.none())),
        "early": draw(st.none() | SERVED.map(lambda words: f'"{" ".join(words)}"')),
        "token": draw(st.none() | st.sampled_from(["", "a", "bc"]).map(encoded)),
        "event": draw(mostly(VALUES.map(encoded), st.none(), ODD)),
        "pad": draw(st.none() | st.sampled_from([10, 4000, 4096, 9000, 70_000]).map('"<{} long>"'.format)),
    }
    return (
        "{"
        + ",".join(draw(st.permutations([f'"{name}"{colon}{text}' for name, text in members.items() if text])))
        + "}"
    )


REQUESTS = st.builds(
    lambda requests, end: "\n".join(requests) + end,
    st.lists(mostly(lines(), ODD), min_size=1, max_size=4),
    st.sampled_from(["\n", "\n", ""]),
)
NONE = st.just(frozenset[int]())
BORN = {
    "environment": st.sampled_from([{"A": 'é"\\\n', "B": ""}, {}, {"LC_ALL": "C", "PYTHONSTARTUP": "x"}]),
    "is_fake": st.booleans(),
    "closed": mostly(NONE, st.frozensets(st.integers(0, 3))),
    "unread": mostly(NONE, st.frozensets(st.integers(1, 3))),
    "ignored": st.sampled_from([None, None, signal.SIGINT, signal.SIGTERM]),
}
PLAYS = st.one_of(
    st.builds(Play, ONESHOT, st.sampled_from(["", "<5000 long>", "<300000 long>", "<300000 long>"]), **BORN),
    st.builds(Play, KEPT, REQUESTS, **BORN),
)


class Theatre:
    """Where plays are given, by one actor after the other.

    Args:
        compiled: the actor that is.
        folder: nobody else's.
    """

    def __init__(self, compiled: str, folder: Path) -> None:
        self._compiled = compiled
        self._folder = folder
        self._notes = folder / "notes"

    def program(self, play: Play, *, in_python: bool) -> list[str]:
        """The command that does it."""
        script = [self._placed(word) for word in play.script]
        if not play.is_fake:
            return [*([sys.executable, "-IS", str(SCRIPT)] if in_python else [self._compiled]), *script]
        fake = self._folder / ("fake-python" if in_python else "fake-compiled")
        words = b"".join(word.encode() + b"\0" for word in script)
        behind = words + len(words).to_bytes(8, "little") + MARK
        fake.write_bytes(scripted(script) if in_python else Path(self._compiled).read_bytes() + behind)
        fake.chmod(0o755)
        return [str(fake), "exit:77"]

    def perform(self, play: Play, command: list[str]) -> tuple[int, Observed]:
        """Starts it, does what it waits for, ends it if it hangs, and tells its process id and what was seen."""
        shutil.rmtree(self._notes, ignore_errors=True)
        self._notes.mkdir()
        inward, ours = (high(end) for end in os.pipe())
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE)
        os.write(ours, self._placed(play.input).encode())
        os.close(ours)
        ends = {descriptor: tuple(high(end) for end in os.pipe()) for descriptor in (1, 2, 3)}
        inner = {0: inward} | {descriptor: inner for descriptor, (_, inner) in ends.items()}
        readers = {number: outer for number, (outer, _) in ends.items()}
        for number in play.unread:
            os.close(readers.pop(number))
        before = None if play.ignored is None else signal.signal(play.ignored, signal.SIG_IGN)
        pid = os.posix_spawn(
            command[0],
            command,
            play.environment,
            file_actions=[
                (os.POSIX_SPAWN_CLOSE, number)
                if number in play.closed
                else (os.POSIX_SPAWN_DUP2, inner[number], number)
                for number in inner
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        if play.ignored is not None:
            signal.signal(play.ignored, before)
        for end in inner.values():
            os.close(end)
        seen = self._watch(pid, readers)
        own = f'"pid":{pid},"session":{pid},"group":{pid}'.encode()
        named = command[2 if command[0] == sys.executable else 0].encode()
        wrote = {
            number: text.replace(own, b"").replace(named, b"ACTOR")[: ENOUGH // 2]
            for number, text in seen.wrote.items()
        }
        return pid, seen._replace(wrote=wrote)

    def _placed(self, text: str) -> str:
        long = re.sub("<([0-9]+) long>", lambda size: "x" * int(size[1]), text)
        return long.replace(FOLDER, f"{self._notes}/")

    def _watch(self, pid: int, readers: dict[int, int]) -> Observed:
        wrote = {number: bytearray() for number in (1, 2, 3)}
        sent: Counter[int] = Counter()
        stops = 0
        for reader in readers.values():
            os.set_blocking(reader, False)
        until = time.monotonic() + 30
        while True:
            select.select(readers.values(), [], [], 0.001)
            waited, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            drain(readers, wrote)
            if waited and not os.WIFSTOPPED(status):
                break
            if waited:
                stops += 1
                os.kill(pid, signal.SIGCONT)
            self._interfere(pid, sent)
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)  # it neither ends nor says that it hangs
        for reader in readers.values():
            os.close(reader)
        notes = {path.name: path.read_text().replace(f"{pid} ", "PID ") for path in sorted(self._notes.iterdir())}
        return Observed(os.waitstatus_to_exitcode(status), stops, {n: bytes(text) for n, text in wrote.items()}, notes)

    def _interfere(self, pid: int, sent: Counter[int]) -> None:
        """Sends it the signals that it waits for, as soon as it sleeps; and if it hangs, SIGTERM, and SIGKILL if it ignores that."""
        for path in self._notes.iterdir():
            name, _, number = path.name.partition("-")
            begun = path.read_text().count("\n")
            if name == "awaits" and begun > sent[int(number)] and status_of(pid)["State"].startswith("S"):
                sent[int(number)] += 1
                os.kill(pid, int(number))
            elif name == "hangs" and begun:
                os.kill(pid, signal.SIGKILL if has(pid, "SigIgn", signal.SIGTERM) else signal.SIGTERM)


def high(descriptor: int) -> int:
    """Moves it where no child has one of its own."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(descriptor)
    return moved


def drain(readers: dict[int, int], wrote: dict[int, bytearray]) -> None:
    """Reads what there is; a reader goes at the end of file, or when it has read enough."""
    for number, reader in list(readers.items()):
        try:
            while got := os.read(reader, PIPE):
                wrote[number] += got
                if len(wrote[number]) > ENOUGH:
                    del wrote[number][ENOUGH:]
                    break
        except BlockingIOError:
            continue
        os.close(readers.pop(number))


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has(pid: int, mask: str, number: int) -> bool:
    """Whether the process has that signal in that mask."""
    return bool(int(status_of(pid)[mask], 16) >> (number - 1) & 1)


def left(pid: int, others: set[int], *, in_python: bool) -> list[Left]:
    """What an actor left behind; zombies are reaped, as whoever adopts them does."""
    found = []
    for other in children() - others:
        try:
            if os.waitpid(other, os.WNOHANG)[0] or (os.readlink(f"/proc/{other}/exe") == INTERPRETER) != in_python:
                continue
            ignored = int(status_of(other)["SigIgn"], 16)
            found.append(
                Left(
                    os.getsid(other) == pid,
                    os.getpgid(other) == pid,
                    os.getsid(other) == other,
                    Path(f"/proc/{other}/environ").read_bytes() != b"",
                    sorted(map(int, os.listdir(f"/proc/{other}/fd"))),
                    {number for number in range(1, 65) if ignored >> (number - 1) & 1} - CHANGED,
                )
            )
        except OSError:  # it ended meanwhile
            continue
    return sorted(found)


@pytest.fixture(scope="session")
def theatre(actor: str, tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    return Theatre(actor, tmp_path_factory.mktemp("theatre"))


@pytest.mark.usefixtures("subreaper")
@settings(
    max_examples=int(os.environ.get("ACTORS", "250")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(play=PLAYS)
def test_both_actors_act_alike(play: Play, theatre: Theatre) -> None:
    others = children()
    try:
        first, expected = theatre.perform(play, theatre.program(play, in_python=False))
        second, observed = theatre.perform(play, theatre.program(play, in_python=True))
        event(f"ended with {expected.exit_code}")

        assert observed == expected

        until = time.monotonic() + 5
        while (there := left(second, others, in_python=True)) != left(first, others, in_python=False):
            assert time.monotonic() < until, (there, left(first, others, in_python=False))
            time.sleep(0.002)
    finally:
        while remaining := children() - others:  # one may be about to leave another
            for pid in remaining:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
