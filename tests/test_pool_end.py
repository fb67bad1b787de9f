"""The end of all children within a budget: as many as there are, wherever they are, each by the ladder, and none of them twice.

After SIGTERM Lambda gives 500 ms, of which our own runtime gives its children 300.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUDGET = 0.3
ALLOWANCE = 0.2
"""Seconds for a machine that is busy with something else; with them it is Lambda's own end."""
LADDERS = {"leaves": ["input"], "hears": ["input", "SIGTERM"], "stays": ["input", "SIGTERM"]}
"""How a child behaves that is taken down → what it notes of that, if its input is ended first. Nobody notes SIGKILL."""
CHILD = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
signal.alarm(60)  # whatever becomes of its test
notes = __file__ + ".notes"
how = sys.argv[1]
def note(what):
    with open(notes, "a") as file: file.write(f"{{os.getpid()}} {{what}}\\n")
def hear(*_):
    if how != "leaves": note("SIGTERM")  # on a busy machine its end may take that long
    if how == "hears": os._exit(0)
signal.signal(signal.SIGTERM, hear)
note("started")
while line := sys.stdin.readline():
    event = json.loads(line)["event"]
    how = event.get("how", how)
    note("asked")
    if event["do"] == "meet":
        while open(notes).read().count("asked") < event["count"]: time.sleep(0.002)
    elif event["do"] == "reply late":
        sys.stdin.read()
    if event["do"] != "hang": print("{{}}", flush=True)
note("input")
while how != "leaves": signal.pause()
"""
HOST = """
import json, os, sys, threading, time
from shim import Shim
from shim.children import lifetime
child = sys.argv[1]
def noted(what):
    return open(child + ".notes").read().count(what) if os.path.exists(child + ".notes") else 0
def till(condition):
    while not condition(): time.sleep(0.002)
def quietly(program, event):
    try: program(event)
    except Exception: pass
def ask(program, *events):
    "In a thread for each, which are returned, and have asked their child."
    count = noted("asked") + len(events)
    events = [{"count": count, **event} for event in events]
    threads = [threading.Thread(target=quietly, args=[program, event], daemon=True) for event in events]
    for thread in threads: thread.start()
    till(lambda: noted("asked") == count)
    return threads
def meet(program, *hows):
    "So many places have a child each, which is asked nothing any more."
    for thread in ask(program, *({"do": "meet", "how": how} for how in hows)): thread.join()
def warm(grace=450): return Shim(child, mode="warm", args=["stays"], max_children=9, grace_ms=grace)
def spares(count, how): return Shim(child, args=[how], spare=count, grace_ms=450)
def end():
    till(lambda: noted("started") == CHILDREN)
    began = time.monotonic()
    lifetime.end_all(within=WITHIN)
    print(time.monotonic() - began, flush=True)
    os._exit(0)
"""


class Ended:
    """What is known of a process that has ended its children."""

    def __init__(self, child: Path, text: str, children: int) -> None:
        host = HOST.replace("CHILDREN", str(children)).replace("WITHIN", str(BUDGET))
        told = subprocess.run(
            [sys.executable, "-c", f"{host}{text}\nend()\n", str(child)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        self.took = float(told.stdout)
        notes: dict[int, list[str]] = {}
        for line in (child.parent / "child.notes").read_text().splitlines():
            pid, _, what = line.partition(" ")
            notes.setdefault(int(pid), []).append(what)
        self.alive = [pid for pid in notes if is_alive(pid)]
        self.ladders = sorted([step for step in steps if step in ("input", "SIGTERM")] for steps in notes.values())


def is_alive(pid: int) -> bool:
    """Whether it runs. What is a zombie still has ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def ended(tmp_path: Path) -> Callable[..., Ended]:
    """Has a process start children, so many as are told, and end them."""
    child = tmp_path / "child"
    child.write_text(CHILD)
    child.chmod(0o755)

    def run(text: str, children: int) -> Ended:
        return Ended(child, text, children)

    return run


def ladders(*hows: str) -> list[list[str]]:
    return sorted(LADDERS[how] for how in hows)


def check(ended: Ended, expected: list[list[str]]) -> None:
    """They are all gone by the ladder, within the budget."""
    assert ended.alive == []
    assert fits(ended.ladders, expected), ended.ladders
    assert ended.took < BUDGET + ALLOWANCE


def fits(noted: list[list[str]], expected: list[list[str]]) -> bool:
    """Whether each has noted its ladder. One of several may lack the last step: it may have had no CPU in that time, which all of them share."""
    lacking = list(expected)
    others = []
    for ladder in noted:
        if ladder in lacking:
            lacking.remove(ladder)
        else:
            others.append(ladder)
    short = all(ladder == whole[:-1] for ladder, whole in zip(others, lacking, strict=False))
    return len(others) == len(lacking) <= (len(expected) > 2) and short


@pytest.mark.parametrize(
    "hows", [["stays"], ["leaves"] * 3, ["hears"] * 3, ["stays"] * 5, ["leaves", "hears", "stays", "stays"]]
)
def test_children_that_wait_for_a_request_are_ended_in_time(hows: list[str], ended: Callable[..., Ended]) -> None:
    check(ended(f"program = warm()\nmeet(program, *{hows})", len(hows)), ladders(*hows))


@pytest.mark.parametrize("hows", [["stays"], ["leaves"] * 3, ["hears"] * 3, ["stays"] * 4])
def test_children_that_are_asked_something_are_ended_in_time(hows: list[str], ended: Callable[..., Ended]) -> None:
    asks = [{"do": "hang", "how": how} for how in hows]
    check(ended(f"program = warm()\nask(program, *{asks})", len(hows)), ladders(*hows))


def test_some_of_a_pool_are_asked_something_and_others_wait(ended: Callable[..., Ended]) -> None:
    asks = [{"do": "hang", "how": "stays"}, {"do": "hang", "how": "hears"}]
    done = ended(f"program = warm()\nmeet(program, *{['stays'] * 4})\nask(program, *{asks})", 4)

    check(done, ladders(*["stays"] * 4))


@pytest.mark.parametrize("grace", [450, 50])
def test_a_child_that_replies_when_its_input_has_ended_is_not_told_twice(
    grace: int, ended: Callable[..., Ended]
) -> None:
    """Its place is left then, by a thread that takes down what it leaves."""
    text = f"program = warm({grace})\nask(program, {{'do': 'reply late', 'how': 'stays'}})"

    check(ended(text, 1), ladders("stays"))


@pytest.mark.parametrize("how", ["hears", "stays"])
def test_spares_are_ended_in_time(how: str, ended: Callable[..., Ended]) -> None:
    """Their input is not ended first: that would be a request."""
    check(ended(f"program = spares(4, {how!r})", 4), [["SIGTERM"]] * 4)


def test_all_shims_of_a_process_share_the_time(ended: Callable[..., Ended]) -> None:
    done = ended(
        "programs = [warm(), warm(), warm()]\n"
        "for program in programs: meet(program, 'stays', 'stays')\n"
        "others = [spares(2, 'stays'), spares(2, 'stays')]",
        10,
    )

    check(done, [["SIGTERM"]] * 4 + [["input", "SIGTERM"]] * 6)
