"""What fake executables do, drawn: lists of behaviours."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from shim.testing import behaviours as doing

if TYPE_CHECKING:
    from shim.testing.behaviours import Behaviour

SIZES = (1, 4096, 65_537, 99_000, 300_000)
"""Bytes: about a page, a pipe, and more than a reader may take."""
SIGNALS = tuple(number.name for number in signal.Signals if number not in (signal.SIGRTMIN, signal.SIGRTMAX))


def behaviours(
    *, mode: str = "oneshot", framing: str = "line", max_size: int = 6, hangs: bool = True
) -> st.SearchStrategy[list[Behaviour]]:
    """What a fake executable does, from beginning to end; or, in mode warm, what it does with one request (`FakeExecutable.event`).

    It shrinks to [], which in mode oneshot is success without a word; in mode warm to [echoes()]. What a fake leaves behind sleeps for a
    millisecond or for ever.

    Args:
        mode: "oneshot" or "warm".
        framing: of mode warm: "line" or "envelope".
        max_size: how many there may be before its end.
        hangs: whether it may also be one that does not answer: each such costs a test a deadline.

    Raises:
        ValueError: there is no such mode or framing.
    """
    if mode not in ("oneshot", "warm"):
        raise ValueError(f"mode must be oneshot or warm, not {mode!r}")
    if framing not in ("line", "envelope"):
        raise ValueError(f"framing must be line or envelope, not {framing!r}")
    if mode == "oneshot":
        return st.builds(list.__add__, st.lists(_steps(), max_size=max_size), _ends(hangs=hangs))
    return _serving(framing, max_size, hangs=hangs)


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
_LOGGED = st.one_of(
    st.builds(doing.writes_stderr, _TEXTS),
    st.sampled_from([doing.sleeps(0.001), doing.sleeps(0.005), doing.ignores_sigterm()]),
)
_REPLIES = st.one_of(
    st.just(doing.echoes()),
    st.builds(doing.replies, st.none() | st.integers() | st.text(max_size=9) | st.just({"a": 1})),
    st.just(doing.refuses("no")),
)
_REPORT = st.just(doing.refuses({"errorType": "Sorry", "errorMessage": "no"}))
_DESCRIPTORS = st.sampled_from([doing.REPLY, 1, 2, 3])


def _steps() -> st.SearchStrategy[Behaviour]:
    """What a one-shot child may do on its way."""
    left = st.sampled_from([0.001, None])
    return st.one_of(
        _LOGGED,
        _REPLIES,
        _REPORT,
        st.builds(doing.writes, _TEXTS, _DESCRIPTORS),
        st.builds(doing.fills, st.sampled_from(SIZES), _DESCRIPTORS),
        st.sampled_from([doing.reads_line(), doing.reads(0), doing.reads(1), doing.reads(5000), doing.reads_all()]),
        st.just(doing.copies()),
        st.builds(doing.closes, st.integers(0, 3)),
        st.builds(doing.forks_and_leaves, left),
        st.builds(doing.leaves, left),
        st.builds(doing.vanishes, left),
        st.builds(doing.ignores, st.sampled_from(SIGNALS)),
    )


def _ends(*, hangs: bool) -> st.SearchStrategy[list[Behaviour]]:
    """How a child may end; [] is by itself."""
    codes = st.sampled_from([0, 1, 2, 42, 127, 255]) | st.integers(0, 255)
    deadly = [name for name in SIGNALS if hangs or name != "SIGSTOP"]
    ends: st.SearchStrategy[list[Behaviour]] = st.one_of(
        st.just([]),
        codes.map(lambda code: [doing.exits(code)]),
        st.sampled_from(deadly).map(lambda name: [doing.raises_signal(name)]),
        st.just([doing.floods()]),
    )
    if not hangs:
        return ends
    return ends | st.sampled_from(
        [[doing.hangs()], [doing.stops()], [doing.floods(1)], [doing.floods(2)], [doing.floods(3)]]
    )


def _serving(framing: str, max_size: int, *, hangs: bool) -> st.SearchStrategy[list[Behaviour]]:
    """What a kept child does with a request that it has read: it answers well, or does anything."""
    answers: st.SearchStrategy[Behaviour] = _REPLIES | _REPORT
    before: st.SearchStrategy[Behaviour] = _LOGGED
    if framing == "envelope":
        before |= st.sampled_from(
            [doing.writes(b"log\n"), doing.writes(b"{}\n")]
        )  # lines that are no envelopes are for the log
    well = st.builds(list.__add__, st.lists(before, max_size=min(max_size, 2)), answers.map(lambda answer: [answer]))
    steps = st.one_of(
        _LOGGED,
        _REPLIES,
        _REPORT,
        st.just(doing.echoes(then=b"more\n")),
        st.sampled_from(["half", "no JSON\n", "{}\n", '{"id":"another","value":1}\n']).map(doing.writes),
        st.sampled_from([1, 200_000]).map(doing.fills),
        st.sampled_from([1, 3]).map(doing.closes),
    )
    ends = _ends(hangs=True)
    if not hangs:  # nor by a signal that does nothing, or that it ignores
        codes = st.integers(0, 255).map(lambda code: [doing.exits(code)])
        ends = codes | st.sampled_from(
            [[doing.raises_signal("SIGSEGV")], [doing.raises_signal("SIGKILL")], [doing.floods()]]
        )
    return well | st.builds(list.__add__, st.lists(steps, max_size=min(max_size, 3)), ends)
