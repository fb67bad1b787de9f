"""Fake executables: real, runnable files that do what they are composed of, and know what must come of it.

They are copies of the actor, a program that does what words say, with their words behind it: `actor.c` compiled where there is a C compiler,
else `actor.py`, a script with the same behaviours, which starts more slowly.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shim.settings import Settings
from shim.testing.behaviours import Behaviour, Stage, reads_line, words
from shim.testing.play import expectation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shim.testing.expectation import Expectation

SOURCE = Path(__file__).with_name("actor.c")
SCRIPT = Path(__file__).with_name("actor.py")
MARK = b"shim-act"
"""What a compiled actor ends with that has words behind it."""
LONGEST_FIRST_LINE = 127
"""Bytes of a script's first line that every kernel reads: execve(2)."""


class FakeExecutable:
    """An executable that does these things, one after the other, and then ends with code 0.

    `FakeExecutable(reads_line(), replies({"ok": True}))` is a good one-shot program; `FakeExecutable.warm(echoes(), on={3: [exits(7)]})` a kept one
    that crashes on its third request. Its `repr` is the call that makes it.

    Args:
        behaviours: made by the functions of `shim.testing.behaviours`, which `shim.testing` has, too.
        reply_fd: the descriptor of its replies, 1 or 3: as the setting of that name has to be.
        framing: "line", or "envelope": likewise.
    """

    def __init__(self, *behaviours: Behaviour, reply_fd: int = 1, framing: str = "line") -> None:
        self._compose(behaviours, (), reply_fd, framing)
        self._repr = f"FakeExecutable({', '.join([*map(repr, behaviours), *_shown(reply_fd, framing)])})"

    @classmethod
    def warm(
        cls,
        *each: Behaviour,
        on: Mapping[int, Sequence[Behaviour]] | None = None,
        first: Sequence[Behaviour] = (),
        reply_fd: int = 1,
        framing: str = "line",
    ) -> FakeExecutable:
        """A kept one: it does these things for each line that it reads, and ends with code 0 at the end of its input.

        Args:
            each: what it does with a request, which it has read then.
            on: what it does instead with some of them: with the third, `{3: [exits(7)]}`. They are counted anew by each process.
            first: what it does at its start, before it reads.
            reply_fd: as above.
            framing: as above.
        """
        special = {number: list(on[number]) for number in sorted(on)} if on else {}
        if any(number < 1 for number in special):
            raise ValueError(f"requests are counted from 1, unlike {min(special)!r}")
        if any(doing[:1] == [reads_line()] for doing in (list(each), *special.values())):
            raise ValueError(
                "a warm fake has read its request: leave out reads_line(), which would wait for the next one"
            )
        before: list[Behaviour] = list(first)
        for number in range(1, max(special, default=0) + 1):
            before += [reads_line(), *special.get(number, each)]
        made = cls.__new__(cls)
        made._compose(before, [reads_line(), *each], reply_fd, framing)  # noqa: SLF001 - our own class
        more = [f"on={special!r}"] if special else []
        more += [f"first={list(first)!r}"] if first else []
        made._repr = f"FakeExecutable.warm({', '.join([*map(repr, each), *more, *_shown(reply_fd, framing)])})"  # noqa: SLF001 - likewise
        return made

    def write_to(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file, with its execute bit set, and returns its path. What is there is replaced, even while it runs.

        Raises:
            OSError: it can't be written.
        """
        target = Path(path)
        unfinished = target.with_name(f".{uuid4().hex}")  # its own name may be as long as names can be
        try:
            unfinished.write_bytes(self._content())
            unfinished.chmod(0o755)
            return unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def expected_outcome(
        self, settings: Settings | Mapping[str, Any], request: bytes, *, number: int = 1
    ) -> Expectation:
        """What a child of it must come to: one outcome, and a named set of them only where it is the kernel that decides.

        Sleeps count as short, and the deadline as far: who hangs is stopped, nobody else.

        Args:
            settings: with which it is run, or their keywords.
            request: the line that it reads, with its line feed.
            number: of a kept one, the how-manieth request to that process it is.

        Raises:
            ValueError: that process ends, or hangs, before that request; or there is no such request.
            SettingsError: the keywords are no settings.
        """
        if number < 1:
            raise ValueError(f"requests are counted from 1, unlike {number!r}")
        if not isinstance(settings, Settings):
            settings = Settings(**{"executable": "fake", **settings})
        return expectation(self.words, settings, request, number=number)

    @staticmethod
    def event(
        *behaviours: Behaviour,
        label: str = "",
        early: Sequence[Behaviour] = (),
        reply_fd: int = 1,
        framing: str = "line",
        **members: Any,
    ) -> dict[str, Any]:
        """An event that tells one that `obeys` what to do with it.

        Args:
            behaviours: what it does when it has read the line.
            label: its `token`, by which its notes name it.
            early: what it does when it has read 4,096 bytes of a longer line.
            reply_fd: the fake's.
            framing: the fake's.
            members: what else is in the event; they stand behind, so that the words are in the first bytes.
        """
        stage = Stage(reply_fd, framing == "envelope")
        event: dict[str, Any] = {"do": " ".join(words(behaviours, stage)), "token": label}
        if early:
            event["early"] = " ".join(words(early, stage))
        if any('"' in text for text in event.values()):
            raise ValueError("the words of an event can't have quotes in them")
        return {**event, **members}

    def __repr__(self) -> str:
        return self._repr

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeExecutable) and self._repr == other._repr

    def __hash__(self) -> int:
        return hash(self._repr)

    def _compose(self, before: Sequence[Behaviour], again: Sequence[Behaviour], reply_fd: int, framing: str) -> None:
        if reply_fd not in (1, 3):
            raise ValueError(f"reply_fd must be 1 or 3, not {reply_fd!r}")
        if framing not in ("line", "envelope"):
            raise ValueError(f"framing must be line or envelope, not {framing!r}")
        given: tuple[object, ...] = (*before, *again)
        for behaviour in given:
            if not isinstance(behaviour, Behaviour):
                raise TypeError(f"a fake is composed of behaviours, as exits(3) is one, unlike {behaviour!r}")
        stage = Stage(reply_fd, framing == "envelope")
        self.reply_fd = reply_fd
        self.framing = framing
        self.words = [*words(before, stage), *words(again, stage), *([f"again:{len(before)}"] if again else [])]
        """What the actor calls all that it does."""

    def _content(self) -> bytes:
        """The bytes of the file."""
        actor = compiled_actor()
        if actor is None:
            return scripted(self.words)
        text = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in self.words)
        return actor + text + len(text).to_bytes(8, "little") + MARK


def compile_actor(folder: Path) -> Path:
    """Compiles `actor.c` into that folder, statically where that is possible, since it then starts fastest.

    Raises:
        FileNotFoundError: there is no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc, gcc, clang)")
    program = folder / "actor"
    command = [compiler, "-O2", "-s", "-o", str(program), str(SOURCE)]
    if subprocess.run([*command, "-static"], check=False, capture_output=True).returncode != 0:
        subprocess.run(command, check=True, capture_output=True)
    return program


@cache
def compiled_actor() -> bytes | None:
    """The compiled actor; None where there is no C compiler, or none that works. It takes half a second, once in a process."""
    with TemporaryDirectory() as folder:
        try:
            return compile_actor(Path(folder)).read_bytes()
        except (OSError, subprocess.CalledProcessError):  # what is called so may be no program
            return None


def scripted(script: Sequence[str]) -> bytes:
    """The script that does these words, in place of its arguments."""
    source = SCRIPT.read_bytes().removesuffix(b"sys.argv[1:])\n")
    return b"%b%b%b)\n" % (_first_lines(os.fsencode(sys.executable)), source, ascii(list(script)).encode())


def _first_lines(python: bytes) -> bytes:
    """Those by which this Python runs a script. The first one ends at a blank and has no room for a long path, which a shell takes then."""
    coding = b"# coding: latin-1\n"  # of a path that is no UTF-8, which Python must not stumble over
    line = b"#!%b -IS\n" % python
    if len(line) <= LONGEST_FIRST_LINE and python.split() == [python]:
        return line + coding
    quoted = shlex.quote(os.fsdecode(python))
    call = f"'''exec' {quoted} -IS \"$0\" \"$@\"\n' '''\n"  # to Python it is a text
    return b"#!/bin/sh\n" + coding + os.fsencode(call)


def _shown(reply_fd: int, framing: str) -> list[str]:
    return ([f"reply_fd={reply_fd}"] if reply_fd != 1 else []) + ([f"framing={framing!r}"] if framing != "line" else [])
