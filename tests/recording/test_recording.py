"""The recording in the README is what its commands show now, and an SVG that plays wherever images are shown."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from tests.cli.command import environment
from tests.conftest import missing
from tests.package.wheelhouse import fill
from tests.recording import __main__ as recording, terminal as filmed
from tests.recording.__main__ import RECORDING, Unexpected, record, revealed
from tests.recording.picture import COLORS, COLUMN, INSTANT, REST, ROW, draw
from tests.recording.terminal import KEY, THINKS, WAIT, Line, Run, Style, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ANEW = "what the commands show has changed; record it anew: python -m tests.recording"
SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "style", "rect", "circle", "g", "text", "tspan"}
KEYFRAMES = re.compile(r"@keyframes (\w+)\{((?:[\d.]+%\{[^}]*\})+)\}")
KEYFRAME = re.compile(r"([\d.]+)%\{([^}]*)\}")
DIFFERS = [
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "REQUEST"),
    (r"Duration:[\d.]+ms", "Duration:TIME"),
    (r"MaxMemoryUsed:(under)?\d+MB", "MaxMemoryUsed:SIZE"),
    (r"function\.zip:\d+files,[\d.]+MBzipped,[\d.]+MBunpacked", "function.zip:SIZE"),
    (r"python3\.\d+", "PYTHON"),
    (r"x86_64|arm64", "ARCHITECTURE"),
]
"""What differs between two runs, two versions of Python or two machines. Blanks are left out before: they change with it where lines are wrapped."""


@pytest.fixture(scope="module")
def picture() -> str:
    """The recording that the README shows."""
    return RECORDING.read_text()


@pytest.fixture
def terminal() -> Terminal:
    """A small one."""
    return Terminal(columns=20, rows=4)


class Seen(NamedTuple):
    """A text of a picture, and how it looks: its attributes."""

    row: int
    x: float
    text: str
    look: str


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - we made it


def groups(picture: str) -> Iterator[ET.Element]:
    """Those of the lines: each has its texts, the name of its keyframes as its class, and its opacity at the end."""
    return (group for group in parsed(picture).iter(f"{SVG}g") if group.find(f"{SVG}text") is not None)


def keyframes(picture: str) -> dict[str, list[tuple[float, str]]]:
    """By their name: how much of the time is over, and what holds from then on."""
    named = KEYFRAMES.findall(picture)
    return {name: [(float(percent), held) for percent, held in KEYFRAME.findall(rules)] for name, rules in named}


def texts(group: ET.Element) -> Iterator[Seen]:
    for text in group.iter(f"{SVG}text"):
        row, x = int(float(text.attrib["y"]) // ROW), float(text.attrib["x"])
        yield Seen(row, x, text.text or "", "")
        for span in text:
            yield Seen(row, x, span.text or "", " ".join(f"{name}={value}" for name, value in span.attrib.items()))
            yield Seen(row, x, span.tail or "", "")


def staying(picture: str) -> list[Seen]:
    """What is there at the end, in the order of its rows."""
    there = [seen for group in groups(picture) if group.get("opacity") != "0" for seen in texts(group)]
    return in_order(there)


def in_order(seen: Iterable[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda each: (each.row, each.x))


def rows(seen: Iterable[Seen]) -> list[str]:
    return ["".join(each.text for each in together) for _, together in groupby(seen, key=lambda each: each.row)]


def at(picture: str, second: float) -> list[str]:
    """The lines that are there at a moment, on the screen or above it, as the keyframes say."""
    percent = 100 * second / seconds(picture)
    there: list[Seen] = []
    for group in groups(picture):
        *_, held = (held for begins, held in keyframes(picture)[group.attrib["class"]] if begins <= percent)
        if held == "opacity:1":
            there += texts(group)
    return rows(in_order(there))


def seconds(picture: str) -> float:
    """How long it takes until it begins anew."""
    (found,) = re.findall(r"\[class\]\{animation:([\d.]+)s step-end infinite\}", picture)
    return float(found)


def told(picture: str) -> list[tuple[str, str]]:
    """What stays, and how it looks, without what differs between two runs, and without the frames of panels, whose lines may be wrapped elsewhere."""
    words = ((seen.look, re.sub(r"[\s│]", "", seen.text)) for seen in staying(picture))
    merged = groupby((each for each in words if each[1]), key=lambda each: each[0])
    return [(look, same(each[1] for each in together)) for look, together in merged]


def same(pieces: Iterable[str]) -> str:
    text = "".join(pieces)
    for pattern, name in DIFFERS:
        text = re.sub(pattern, name, text)
    return text


# --- The recording


def test_the_recording_is_what_its_commands_show_now(picture: str, compiler: str, tmp_path: Path) -> None:
    """When lines come is left to the recording, and so are those that do not stay, like a bar: a busy machine has more of them, or none."""
    linked = subprocess.run(
        [compiler, "-x", "c", "-", "-o", str(tmp_path / "linked"), "-static", "-ljansson"],
        input=b"int main(void) { return 0; }",
        capture_output=True,
        check=False,
    )
    if linked.returncode != 0:
        missing(
            "jansson is not here, which the project needs that is recorded: on Debian, apt-get install libjansson-dev"
        )
    wheels = tmp_path / "wheels"
    for name in ("orjson", "psutil"):
        fill(wheels, name, version=version(name))
    place = tmp_path / "place"
    place.mkdir()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": "/dev/null"}
    now = draw(record(place, offline), recording.TITLE, recording.DESCRIPTION)

    assert told(now) == told(picture), ANEW


def test_it_tells_the_whole_story(picture: str) -> None:
    shown = "".join(rows(staying(picture)))
    story = [
        "$ shim new hello --language ",
        "$ cd hello",
        "$ mkdir -p build && ",
        "$ shim invoke --event events/web.json build/hello",
        '"statusCode": 200',
        "$ shim invoke --event '{}' build/hello",
        "the event is neither an S3 event nor a web request",
        "$ shim pack ",
        "handler: shim.handler",
    ]
    place = 0
    for words in story:
        place = shown.index(words, place) + len(words)

    assert seconds(picture) - REST <= 25
    assert shown.endswith("handler: shim.handler$")


def test_it_needs_no_script_and_nothing_from_elsewhere(picture: str) -> None:
    """An image on a page may have neither."""
    elements = list(parsed(picture).iter())

    assert {element.tag.removeprefix(SVG) for element in elements} <= ELEMENTS
    assert [name for element in elements for name in element.attrib if name.startswith("on") or "href" in name] == []
    assert not re.search(r"url\(|@import|@font-face|<!|<\?", picture)
    assert re.findall(r"\w+://[^\"<\s]*", picture) == ["http://www.w3.org/2000/svg"]
    assert len(picture.encode()) < 60_000


def test_it_can_be_read_by_a_voice_and_without_motion(picture: str) -> None:
    root = parsed(picture)

    assert root.attrib["role"] == "img"
    assert [root.findtext(f"{SVG}{name}") for name in ("title", "desc")] == [recording.TITLE, recording.DESCRIPTION]
    assert "@media(prefers-reduced-motion:reduce){[class]{animation:none!important}}" in picture
    assert at(picture, seconds(picture)) == rows(staying(picture))


def test_each_thing_that_happens_has_a_time_of_its_own(picture: str) -> None:
    """Two keyframes at the same moment would be one."""
    moments_of = {name: [begins for begins, _ in held] for name, held in keyframes(picture).items()}

    assert set(moments_of) == {
        element.attrib["class"] for element in parsed(picture).iter() if "class" in element.attrib
    }
    for moments in moments_of.values():
        assert moments[0] == 0
        assert moments == sorted(set(moments))
        assert moments[-1] < 100


def test_it_tells_nothing_of_the_machine_that_it_was_made_on(picture: str) -> None:
    shown = "".join(rows(seen for group in groups(picture) for seen in texts(group)))

    assert re.findall(r"(?<![\w.*])[~/]\w[\w./-]*", shown) == []


def test_names_of_this_machine_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "host-7")
    monkeypatch.setenv("HOME", "/users/somebody")
    monkeypatch.setenv("LOGNAME", "somebody")

    assert revealed("<text>at host-7: /users/somebody/x</text>") == ["/users/somebody", "host-7", "somebody"]
    assert revealed(f"{tmp_path} {sys.prefix}/bin")
    assert revealed("<text>somebodys ghost-70</text>") == []


@pytest.mark.parametrize(("home", "written"), [("/nowhere/at/all", True), ("hello", False)])
def test_a_picture_that_would_tell_them_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal, home: str, written: bool
) -> None:
    terminal.write(b"hello")
    monkeypatch.setattr(recording, "record", lambda _folder: terminal.film())
    monkeypatch.setenv("HOME", home)
    output = tmp_path / "x.svg"
    monkeypatch.setattr(sys, "argv", ["recording", "--output", str(output)])
    if written:
        recording.main()
    else:
        with pytest.raises(SystemExit, match="1"):
            recording.main()

    assert output.exists() == written


def test_a_command_that_ends_otherwise_ends_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LANGUAGE", "klingon")

    with pytest.raises(Unexpected, match=r"(?s)--language klingon ended with exit code 2:.*is not one of"):
        record(tmp_path)


# --- The terminal


def runs(terminal: Terminal) -> list[Run]:
    """Those of the first line, which the last prompt is not in."""
    terminal.write(b"\r\n")
    return [run for line in terminal.film().lines if line.row == 0 for run in line.runs]


def test_a_command_really_runs_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    terminal = Terminal(columns=50, rows=7)
    command = "ls; stty size; test -t 0 && test -t 2; echo $?; exit 3"

    assert terminal.run(command, tmp_path, environment()) == 3
    assert terminal.text.split("\n")[:5] == [
        "$ ls; stty size; test -t 0 && test -t 2; echo $?;",
        "exit 3",
        "file",
        "7 50",
        "0",
    ]


@pytest.mark.parametrize(
    ("silences", "moments"),
    [
        ((0.2, 0.3, 0.1, 0), (0, 0, 0, 0)),
        ((0.2, 0.5, 0.4, 0), (0, WAIT, WAIT, WAIT)),
        ((0.7, 99, 50, 0.1), (0, WAIT, WAIT, WAIT)),
        ((1.1, 0.5, 0.4, 1), (WAIT, WAIT, WAIT, WAIT)),
        ((0, 0, 0, 2), (0, 0, 0, WAIT)),
    ],
    ids=str,
)
def test_a_wait_is_equally_long_however_long_it_is(
    terminal: Terminal, silences: tuple[float, ...], moments: tuple[float, ...]
) -> None:
    terminal.play(list(zip(silences, (b"a\r\n", b"b\r\n", b"c\r\n", b""), strict=True)))
    film = terminal.film()

    assert tuple(line.since for line in film.lines) == moments
    assert film.seconds == moments[-1]


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filmed, "LONGEST", 0.2)

    with pytest.raises(TimeoutError, match="hangs"):
        Terminal().run("echo $$ > pid; exec sleep 60", tmp_path, environment())
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_command_that_is_longer_than_a_line_is_typed_in_pieces(terminal: Terminal) -> None:
    terminal.wait(1)
    terminal.type("x" * 18 + "y" * 20 + "z")
    (typing, _) = terminal.film().typings

    assert [piece[:3] for piece in typing.pieces] == [(0, 2, 18), (1, 0, 20), (2, 0, 1)]
    assert [piece.first for piece in typing.pieces[1:]] == [piece.last for piece in typing.pieces[:-1]]
    assert typing.pieces[0].first == 1 + THINKS
    assert typing.pieces[-1].last == pytest.approx(1 + THINKS + 39 * KEY)


def test_lines_that_leave_the_screen_keep_their_row(terminal: Terminal) -> None:
    terminal.write(b"1\r\n2\r\n3\r\n")
    terminal.wait(1)
    terminal.write(b"4\r\n")
    terminal.wait(1)
    terminal.write(b"".join(b"%d\r\n" % number for number in range(5, 100)))
    film = terminal.film()

    assert [(line.row, line.runs[0].text) for line in film.lines[:-1]] == [(n - 1, str(n)) for n in range(1, 100)]
    assert film.scrolls == [(1, 1), (2, 96)]


def test_a_line_that_is_cleared_was_there_before(terminal: Terminal) -> None:
    """As Rich draws a bar: over itself, and at last it takes it away."""
    terminal.write(b"\x1b[?25l10%")
    terminal.wait(1)
    terminal.write(b"\r\x1b[2K50%")
    terminal.wait(1)
    terminal.write(b"\r\x1b[2Kfor no time\r\x1b[2K100%\n")
    terminal.wait(1)
    terminal.write(b"\r\x1b[1A\x1b[2Kdone\r\n\x1b[?25h")
    film = terminal.film()
    plain = Style()

    assert film.lines[:-1] == [
        Line(0, 1, 0, (Run(0, 3, "10%", plain),)),
        Line(1, 2, 0, (Run(0, 3, "50%", plain),)),
        Line(2, 3, 0, (Run(0, 4, "100%", plain),)),
        Line(3, None, 0, (Run(0, 4, "done", plain),)),
    ]


@pytest.mark.parametrize(
    ("shown", "style"),
    [
        (b"\x1b[31m", Style("red")),
        (b"\x1b[1;94m", Style("brightblue", bold=True)),
        (b"\x1b[3;4;9m", Style(italics=True, underscore=True, strikethrough=True)),
        (b"\x1b[42;30m", Style("black", "green")),
        (b"\x1b[7m", Style("window", "text")),
        (b"\x1b[7;31m", Style("window", "red")),
        (b"\x1b[38;5;208m", Style("ff8700")),
        (b"\x1b[38;2;1;2;255m", Style("0102ff")),
        (b"\x1b[31;0m", Style()),
    ],
    ids=str,
)
def test_colours_and_other_looks_are_those_of_the_terminal(terminal: Terminal, shown: bytes, style: Style) -> None:
    terminal.write(b"a" + shown + b"bc\x1b[0md")
    plain = Style()
    looks = [("a", plain), ("bc", style), ("d", plain)] if style != plain else [("abcd", plain)]

    assert [(run.text, run.style) for run in runs(terminal)] == looks


def test_every_colour_of_a_terminal_is_one_of_the_picture(terminal: Terminal) -> None:
    for code in (*range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)):
        terminal.write(b"\x1b[0;%dmx\r\n" % code)
    fills = re.findall(r'fill="([^"]*)"', draw(terminal.film(), "", ""))

    assert {fill for fill in fills if not re.fullmatch("#[0-9a-f]{6}", fill)} == set()


def test_cursor_movements_are_followed(terminal: Terminal) -> None:
    terminal.write(b"abc\r\ndef\x1b[2D1\x1b[1A\x1b[10Gx\ty\x1b[1K\x08\x08z\r\n\n\x1b[Hb\x08a")

    assert terminal.text.split("\n") == ["a              z", "d1f", "", ""]


def test_wide_characters_take_two_columns(terminal: Terminal) -> None:
    terminal.write("a漢字e\N{COMBINING ACUTE ACCENT}🦉b".encode())

    assert [(run.column, run.columns, run.text) for run in runs(terminal)] == [
        (0, 1, "a"),
        (1, 2, "漢"),
        (3, 2, "字"),
        (5, 1, "é"),
        (6, 2, "🦉"),
        (8, 1, "b"),
    ]


def test_control_characters_hide_nothing(terminal: Terminal) -> None:
    terminal.write("a\x01b\x00c\x07\N{ZERO WIDTH JOINER}d\x7fe".encode() + b"\xff")

    assert runs(terminal)[0].text == "abcde\N{REPLACEMENT CHARACTER}"


# --- The picture


def test_text_is_text_whatever_it_is(terminal: Terminal) -> None:
    terminal.write(b"<b>&amp;]]>\"'\r\n  two  blanks\r\n\xe2\x95\xad\xe2\x94\x80 \x1b[31mx\x1b[0m \xe2\x95\xae")

    assert rows(staying(draw(terminal.film(), "<&>", "]]>")))[:3] == ["<b>&amp;]]>\"'", "  two  blanks", "╭─ x ╮$"]


def test_what_xml_can_not_hold_is_replaced(terminal: Terminal) -> None:
    line = Line(0, None, 0, (Run(0, 5, "a\x1b\x00\ufffe\ud800", Style()),))
    film = terminal.film()._replace(lines=[line])

    assert rows(staying(draw(film, "\x00", ""))) == ["a" + 4 * "\N{REPLACEMENT CHARACTER}"]


def test_each_line_is_as_wide_as_its_columns(terminal: Terminal) -> None:
    """Whatever the width of the font's letters; and of those that are two columns wide, which may come from another font."""
    terminal.write("ab漢\x1b[1mc\x1b[0md\r\n".encode())
    found = list(parsed(draw(terminal.film(), "", "")).iter(f"{SVG}text"))

    assert ["".join(text.itertext()) for text in found] == ["ab", "漢", "cd", "$"]
    assert [float(text.attrib["x"]) for text in found[:3]] == [0, pytest.approx(2 * COLUMN), pytest.approx(4 * COLUMN)]
    assert [float(text.attrib["textLength"]) for text in found[:3]] == [pytest.approx(2 * COLUMN)] * 3
    assert {text.attrib["lengthAdjust"] for text in found} == {"spacingAndGlyphs"}


def test_looks_are_attributes(terminal: Terminal) -> None:
    terminal.write(b"\x1b[1;3;4;9;31;44mx")
    picture = draw(terminal.film(), "", "")
    (span, _) = (element.attrib for element in parsed(picture).iter(f"{SVG}tspan"))

    assert span == {
        "fill": COLORS["red"],
        "font-weight": "bold",
        "font-style": "italic",
        "text-decoration": "underline line-through",
    }
    assert f'<rect x="0" y="0" width="{COLUMN}" height="{ROW}" fill="{COLORS["blue"]}"/>' in picture


def test_what_comes_and_goes_is_there_in_between(terminal: Terminal) -> None:
    terminal.write(b"first\r\nbar")
    terminal.wait(2)
    terminal.write(b"\r\x1b[2K50%")
    terminal.wait(2)
    terminal.write(b"\r\x1b[2Klast\r\n")
    picture = draw(terminal.film(), "", "")

    assert seconds(picture) == 4 + REST
    assert [at(picture, second) for second in (0, 1.9, 2.1, 3.9)] == [["first", "bar"]] * 2 + [["first", "50%"]] * 2
    assert at(picture, 4.1) == at(picture, 8) == rows(staying(picture)) == ["first", "last", "$"]


def test_a_command_is_uncovered_key_by_key(terminal: Terminal) -> None:
    terminal.type("abcd")
    picture = draw(terminal.film(), "", "")
    (name,) = re.findall(r'<g pointer-events="none" opacity="0" class="(\w+)">', picture)
    moments, held = zip(*keyframes(picture)[name], strict=True)

    assert held == (
        "opacity:1",
        "opacity:1;transform:translate(0px,0px);animation-timing-function:steps(4)",
        f"opacity:1;transform:translate({4 * COLUMN}px,0px)",
        "opacity:0",
    )
    expected = [0, THINKS, THINKS + 4 * KEY - INSTANT, THINKS + 4 * KEY]
    assert [moment / 100 * seconds(picture) for moment in moments] == pytest.approx(expected, abs=0.001)
