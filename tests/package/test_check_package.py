"""Packages: their names, modes, links, sizes, layout, settings, checksums, and what `shim` needs."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import pytest

from shim.errors import PackageError
from shim.package.check import check, judge
from shim.package.subject import subject
from shim.package.targets import AL2, AL2023
from shim.package.tree import DATA, PROGRAM, File
from tests.package.test_check import errors, judged, of, said

if TYPE_CHECKING:
    from shim.package.problem import Problem

LINK = stat.S_IFLNK | 0o777
FOLDER = stat.S_IFDIR
SHELL = "#!/bin/sh\n"


def package(*more: File, settings: str = 'executable = "bin/program"\n', without: str = "") -> list[File]:
    """A good one, but for what is added, and what is left out."""
    files = [
        of(SHELL, "bin/program"),
        of(settings, "shim.toml", DATA),
        of("", "shim/__init__.py", DATA),
        of("", "orjson/__init__.py", DATA),
        of("", "psutil/__init__.py", DATA),
    ]
    return [file for file in files if file.name != without] + list(more)


def only(problems: list[Problem]) -> Problem:
    (problem,) = problems
    return problem


def test_a_good_package_is_good() -> None:
    found = judge(package(of("{}", "data/a.json", DATA), of("", "bin", FOLDER | 0o755)))

    assert said(found.problems) == []
    assert (found.target, found.architecture, list(found.executables), found.python) == (
        AL2023,
        None,
        ["bin/program"],
        None,
    )


@pytest.mark.parametrize(
    ("name", "sentence", "cure"),
    [
        ("../out", "leads out of the package", "name a place in it"),
        ("/etc/passwd", "leads out of the package", "name a place in it"),
        ("a/../../b", "leads out of the package", "name a place in it"),
        ("bin\\tool", "has a backslash", "slashes"),
        ("half-\ud83d", "no name in UTF-8", "rename"),
        ("a\0b", "has a NUL", "another name"),
        ("", "has the name ''", "another name"),
        ("bin", "a file and a folder in one", "another name"),
        ("bin/program/x", "a file and a folder in one", "another name"),
        ("bin/program", "more than once", "once"),
        ("./bin//program", "more than once", "once"),
    ],
)
def test_names(name: str, sentence: str, cure: str) -> None:
    found = errors(check(package(of(SHELL, name))))

    assert sentence in only(found).sentence
    assert cure in only(found).cure


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
def test_what_is_no_file(kind: int) -> None:
    assert "no package can hold it" in only(check(package(of("", "odd", kind | 0o644)))).sentence
    assert "is no file but something else" in errors(check([of("", "bootstrap", kind | 0o755)]))[0].sentence
    assert "it is no file" in errors(check(package(of("", "shim.toml", kind | 0o644), without="shim.toml")))[0].sentence


def test_a_fifo_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shim.toml")
    os.mkfifo(tmp_path / "SHA256SUMS")
    os.mkfifo(tmp_path / "bootstrap")

    assert errors(judged(tmp_path).problems)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("bin/program", ""),
        ("./bin/../bin/program", ""),
        ("/var/task/bin/program", ""),
        ("/opt/lib/x", ""),
        ("/tmp/x", ""),
        ("/usr/bin/jq", "leads out of the package, to /usr/bin/jq"),
        ("../../etc/passwd", "leads out of the package, to /etc/passwd"),
        ("gone", "which is not there"),
        ("link", "one of a loop of links"),
        ("", "leads nowhere"),
    ],
)
def test_links(target: str, sentence: str) -> None:
    """What nothing is known to need is a warning."""
    found = check(package(of(target, "link", LINK)))

    if not sentence:
        assert said(found) == []
    else:
        assert sentence in only(found).sentence
        assert only(found).severity == "warning"


def test_an_executable_may_be_a_link_to_another_file() -> None:
    assert check(package(of("program", "bin/start", LINK), settings='executable = "bin/start"')) == []


def test_an_executable_that_is_a_link_to_nowhere() -> None:
    found = check(package(of("gone", "bin/start", LINK), settings='executable = "bin/start"'))

    assert only(errors(found)).sentence == "executable is 'bin/start', and there is no such file in the package"
    assert errors(check([of("../build/main", "bootstrap", LINK)]))


def test_folders_and_files_that_lambdas_user_can_not_read() -> None:
    """An error where the function is known to need them."""
    found = check(
        package(
            of("", "bin", FOLDER | 0o700),
            of("", "data", FOLDER | 0o750),
            of("", "secret", stat.S_IFREG | 0o600),
            of("", "orjson/data.py", stat.S_IFREG | 0o640),
            of("", "unsaid", stat.S_IFREG),
            of("", "folder", FOLDER),
        )
    )

    assert [(problem.severity, problem.place) for problem in found] == [
        ("error", "bin"),
        ("error", "orjson/data.py"),
        ("warning", "data"),
        ("warning", "secret"),
    ]
    assert all("Lambda's user can't" in problem.sentence and "chmod" in problem.cure for problem in found)


def test_files_that_python_wrote_into_a_zip_have_its_modes(tmp_path: Path) -> None:
    """ZipFile.writestr gives 0600."""
    with ZipFile(tmp_path / "function.zip", "w") as made:
        for name in ("shim.toml", "shim/__init__.py", "orjson/__init__.py"):
            made.writestr(name, 'executable = "bin/program"' if name == "shim.toml" else "")
        program = ZipInfo("bin/program")
        program.external_attr = PROGRAM << 16
        made.writestr(program, SHELL)
    found = judged(tmp_path / "function.zip").problems

    assert {problem.place for problem in errors(found)} == {"shim.toml", "shim/__init__.py", "orjson/__init__.py"}


def test_sizes() -> None:
    large = File("data", DATA, 251 * 1024**2, b"")
    found = check(package(large), zipped=51 * 1024**2)

    assert said(found) == [
        (
            "error: : the files have 251.0 MB unpacked, and Lambda takes 250 MB, with all layers;"
            " leave out what is not needed, strip programs of their symbols (strip), or use a container image"
        ),
        (
            "warning: : the zip has 51.0 MB, and Lambda takes 50 MB in an upload;"
            " upload it to S3, and let the function take it from there (--code S3Bucket=…,S3Key=…)"
        ),
    ]
    assert check(package(replace(large, size=249 * 1024**2)), zipped=49 * 1024**2) == []


@pytest.mark.parametrize(
    "inside", [package(), [of(SHELL, "bootstrap")], [of(SHELL, "program")], [of(SHELL, "bin/program")]]
)
def test_everything_in_one_folder(inside: list[File]) -> None:
    """The rest is judged as if it stood where it should."""
    files = [replace(file, name=f"package/{file.name}") for file in inside]
    found = check([*files, of("", "__MACOSX/._package", DATA), of("", ".DS_Store", DATA)])

    assert "is in the folder package/" in only(errors(found)).sentence
    assert "cd package" in only(errors(found)).cure
    broken = [
        replace(file, source=b"#!/bin/zsh\n", size=11) if file.source == SHELL.encode() else file for file in files
    ]

    assert errors(check(broken))[1].place.startswith("package/")


def test_one_folder_that_is_none_too_many() -> None:
    assert errors(check([of(SHELL, "bin/program")])) == []
    assert errors(check([of("", "data/a", DATA)])) == []


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        (
            "executable = 1",
            [
                "executable in shim.toml must be a text that is not empty and holds neither NUL nor half a character, not 1"
            ],
        ),
        (
            'executable = "bin/program"\nmode = "cold"\nspore = 1',
            [
                "spore in shim.toml is no setting (did you mean spare?)",
                "mode in shim.toml must be one of oneshot, warm, bootstrap, not 'cold'",
            ],
        ),
        ("executable = ", ["shim.toml is not valid TOML: Invalid value (at end of document)"]),
        ('executable = "program"\n', []),
        ('mode = "oneshot"\n', []),
        ('executable = "bin/other"\n', ["executable is 'bin/other', and there is no such file in the package"]),
        ('executable = "other/program"\n', ["executable is 'other/program', and there is no such file in the package"]),
        ('executable = "bin"\n', ["executable is 'bin', and there is no such file in the package"]),
        ('executable = "./bin"\n', ["executable is './bin', which is a folder"]),
        ('executable = "/var/task/bin/program"\n', []),
        (
            'executable = "/opt/bin/program"\n',
            ["executable is '/opt/bin/program', which is outside of the package, so that nothing is known of it"],
        ),
        ('executable = "sh"\nargs = ["bin/program"]\n', []),
        ('executable = "/bin/sh"\n', []),
        ('executable = "bin/program"\ncwd = "gone"\n', ["cwd is 'gone', and there is no such folder in the package"]),
        ('executable = "bin/program"\ncwd = "bin"\n', []),
        ('executable = "bin/program"\ncwd = "/tmp"\n', []),
        (
            'executable = "bin/program"\nmode = "bootstrap"\n',
            ["the package h11, which mode=bootstrap needs, is not there"],
        ),
        ("a = " + "[" * 5000, None),
    ],
)
def test_the_settings_of_shim_toml(settings: str, sentences: list[str] | None) -> None:
    found = [problem.sentence for problem in check(package(settings=settings))]

    if sentences is None:
        assert found
    else:
        assert sorted(sentences) == sorted(found)


def test_a_wrong_path_is_pointed_at() -> None:
    assert check(package(settings='executable = "program.sh"'))[0].cure.startswith("package it there")
    assert (
        check(package(settings='executable = "other/program"'))[0].cure
        == "let executable be 'bin/program', where it is"
    )


def test_a_variable_of_this_machine_is_none_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIM_MODE", "nonsense")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/nonsense")

    assert check(package()) == []


def test_what_the_function_runs_may_not_be_known() -> None:
    one, two = of(SHELL, "bin/a"), of("#!/bin/zsh\n", "bin/b")

    assert check([one]) == []
    assert errors(check([two])) != []
    found = check([one, two])

    assert errors(found) == []
    assert ["holds several programs" in problem.sentence for problem in found] == [False, True]
    assert "holds no program" in only(check([of("", "data", DATA)])).sentence
    assert "holds no program" in only(check([])).sentence


def test_commands_of_python_packages_are_no_executables() -> None:
    """pip's, whose interpreter is that of the machine where pip ran: an install of shim brings its own command."""
    command = "#!/home/me/.venv/bin/python\nimport sys\nfrom shim.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    files = [of(command, "bin/shim"), of(SHELL, "program"), *package(without="shim.toml")[1:]]

    assert check(files) == []
    assert list(judge(files).executables) == ["program"]


@pytest.mark.parametrize(
    ("without", "severity", "sentence"),
    [
        ("shim/__init__.py", "warning", "shim itself is not"),
        ("orjson/__init__.py", "error", "the package orjson, which shim needs, is not there"),
        ("psutil/__init__.py", "", ""),
    ],
)
def test_what_shim_needs(without: str, severity: str, sentence: str) -> None:
    found = check(package(without=without))

    if not severity:
        assert found == []
    else:
        assert (only(found).severity, only(found).sentence[-len(sentence) :]) == (severity, sentence)


def test_what_settings_need() -> None:
    settings = 'executable = "bin/program"\nmode = "warm"\nmax_rss_bytes = 100000000\n'

    assert "max_rss_bytes needs" in only(check(package(settings=settings, without="psutil/__init__.py"))).sentence
    assert check(package(settings=settings)) == []


def test_modules_are_for_the_functions_python() -> None:
    module = of("", "orjson/orjson.cpython-313-x86_64-linux-gnu.so")

    assert judge(package(module)).python == "3.13"
    assert check(package(module)) == []
    older = replace(module, name="orjson/orjson.cpython-311-x86_64-linux-gnu.so")

    assert judge(package(older)).target is AL2
    assert check(package(older)) == []
    assert "whose runtime is on al2, not on al2023" in only(check(package(older), target=AL2023)).sentence
    oldest = replace(module, name="orjson/orjson.cpython-310-x86_64-linux-gnu.so")

    assert (
        only(check(package(oldest))).sentence == "it is built for Python 3.10, and shim runs on 3.11, 3.12, 3.13, 3.14"
    )
    other = of("", "PIL/_imaging.cpython-312-x86_64-linux-gnu.so")

    assert only(check(package(module, other))).sentence == "it is built for Python 3.12, and orjson for 3.13"
    assert check(package(module, other, replace(other, name="PIL/_imaging.cpython-313-x86_64-linux-gnu.so"))) == []


def test_our_own_runtimes_wrapper_is_executable() -> None:
    wrapper = of(SHELL, "shim/runtime/wrapper")

    assert check(package(wrapper)) == []
    assert only(check(package(replace(wrapper, mode=DATA)))).place == "shim/runtime/wrapper"


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        ("shim.handler", ""),
        ("app.handler", ""),
        ("src/app.main", ""),
        ("src.app.main", ""),
        ("shim.main", "shim has no handler of the name 'main'"),
        ("gone.handler", "there is no module 'gone' in the package, which the handler 'gone.handler' names"),
        ("handler", "'handler' is no handler of a Python runtime, which is MODULE.NAME"),
        (".x", "'.x' is no handler of a Python runtime, which is MODULE.NAME"),
    ],
)
def test_the_handler(handler: str, sentence: str) -> None:
    files = package(of("", "app.py", DATA), of("", "src/app.py", DATA))
    found = judge(files, handler=handler).problems

    assert [problem.sentence for problem in found] == ([sentence] if sentence else [])
    assert {problem.severity for problem in found} <= {"error"}
    assert judge([of(SHELL, "bootstrap")], handler="anything").problems == []


def test_checksums(tmp_path: Path) -> None:
    lines = [
        f"{hashlib.sha256(SHELL.encode()).hexdigest()}  bin/program",
        f"\\{hashlib.sha256(b'x').hexdigest()}  odd\\\\name\\n",
        f"{hashlib.sha256(b'').hexdigest().upper()} *./psutil/__init__.py",
    ]
    good = package(of("\n".join(lines) + "\n", "SHA256SUMS", DATA))

    assert [problem.place for problem in check(good)] == ["odd\\name\n"]
    assert check(package(of(lines[0], "SHA256SUMS", DATA))) == []
    changed = f"{'0' * 64}  bin/program"

    assert (
        "is not the file that SHA256SUMS was made of" in only(check(package(of(changed, "SHA256SUMS", DATA)))).sentence
    )
    assert only(check(package(of(changed, "SHA256SUMS", DATA)))).severity == "warning"
    assert check(package(of(changed, "SHA256SUMS", DATA)), sums=False) == []
    assert "no checksum and name" in only(check(package(of("hello", "SHA256SUMS", DATA)))).sentence


def test_a_zip_with_a_broken_member_is_judged_all_the_same(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "function.zip", "w") as made:
        for name, content in (("bootstrap", SHELL + "x" * 500), ("data", "y" * 500)):
            info = ZipInfo(name)
            info.external_attr = PROGRAM << 16
            made.writestr(info, content)
    written = (tmp_path / "function.zip").read_bytes()
    (tmp_path / "function.zip").write_bytes(written.replace(b"xxxx", b"zzzz"))
    (problem,) = judged(tmp_path / "function.zip").problems

    assert (problem.severity, problem.place) == ("error", "bootstrap")
    assert "can't be read" in problem.sentence


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"no zip"])
def test_what_is_called_a_zip_and_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "function.zip").write_bytes(content)
    with (
        pytest.raises(PackageError, match="is no zip archive that can be read"),
        subject(str(tmp_path / "function.zip")),
    ):
        pass


def test_a_program_with_a_zip_in_it_is_a_program(tmp_path: Path) -> None:
    """As zipapp makes it."""
    with ZipFile(tmp_path / "inner", "w") as made:
        made.writestr("__main__.py", "")
    program = tmp_path / "program"
    program.write_bytes(b"#!/usr/bin/env python3\n" + (tmp_path / "inner").read_bytes())
    program.chmod(0o755)

    assert judged(program).problems == []
    assert list(judged(program).executables) == ["program"]


@pytest.mark.parametrize("what", ["gone", "fifo"])
def test_what_can_not_be_judged(what: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PackageError), subject(str(tmp_path / what)):
        pass


def test_a_member_that_nobody_can_unpack_is_an_error(tmp_path: Path) -> None:
    """Lambda unpacks a zip as a whole, or not at all."""
    path = tmp_path / "function.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("bootstrap", SHELL)
        archive.writestr("large", b"x" * 2_000_000 + b"end")
        archive.writestr(ZipInfo("packed"), b"y" * 100, ZIP_LZMA)
        archive.writestr("secret", b"z" * 100)
    content = bytearray(path.read_bytes().replace(b"xend", b"xEND"))
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(start) + flags] |= 1  # of the last: encrypted
    path.write_bytes(content)
    with subject(str(path)) as found:
        problems = judge(found.files).problems

    assert {(problem.severity, problem.place, problem.sentence) for problem in problems} > {
        ("error", "large", "'large' can't be read: Bad CRC-32 for file 'large'"),
        ("error", "packed", "it is compressed by method 14"),
        ("error", "secret", "it is encrypted"),
    }
    assert [problem.place for problem in problems if "Bad CRC" in problem.sentence] == ["large"]


def bomb(path: Path, name: str, mode: int) -> Path:
    """Some 300 KB that are 300 MB."""
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        info = ZipInfo(name)
        info.create_system, info.external_attr, info.compress_type = 3, mode << 16, ZIP_DEFLATED
        with archive.open(info, "w") as member:
            member.write(b"#" * 1_000_000)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\1\2")
    content[at + 24 : at + 28] = (300_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "sentence"),
    [
        ("link", LINK, "it is a link with a target of 300000000 bytes, more than any has"),
        ("shim.toml", DATA, "it has 300000000 bytes, more than any settings"),
    ],
)
def test_what_says_that_it_is_huge_is_not_read(name: str, mode: int, sentence: str, tmp_path: Path) -> None:
    with subject(str(bomb(tmp_path / "function.zip", name, mode))) as found:
        problems = errors(judge(found.files).problems)

    assert (name, sentence) in [(problem.place, problem.sentence) for problem in problems]


def test_a_file_that_the_sums_name_again_and_again_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def checksum(file: File) -> str:
        read.append(file.name)
        return "0" * 64

    monkeypatch.setattr("shim.package.archive.checksum", checksum)
    check(package(of("".join(f"{number:064}  bin/program\n" for number in range(1000)), "SHA256SUMS", DATA)))

    assert read == ["bin/program"]


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["ab"] * 1400)])
def test_a_name_that_is_too_long_is_an_error(name: str) -> None:
    found = only(errors(check(package(of("", name, DATA)))))

    assert "File name too long" in found.sentence
    assert found.cure.startswith("give it a shorter one")


@pytest.mark.parametrize("name", ["merge.sort", "a.solver", "my.source"])
def test_a_program_is_not_taken_for_a_library_by_its_name(name: str) -> None:
    program = bytearray(Path(sys.executable).resolve().read_bytes())

    assert list(judge([of(bytes(program), name)]).executables) == [name]
    assert list(judge([of(bytes(program), "lib.so"), of(bytes(program), "lib.so.1.2")]).executables) == []


CODE = of("from .orjson import *", "orjson/__init__.py", DATA)


@pytest.mark.parametrize(
    "name",
    [
        "orjson.cpython-313-x86_64-linux-gnu.so",
        "orjson.cpython-313-aarch64-linux-gnu.so",
        "orjson.abi3.so",
        "orjson.so",
    ],
)
def test_a_package_with_a_library_for_lambda_can_be_imported(name: str) -> None:
    found = check(package(CODE, of("", f"orjson/{name}"), without="orjson/__init__.py"))

    assert [problem for problem in found if "imported" in problem.sentence] == []


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("orjson.cpython-313-darwin.so", "has orjson/orjson.cpython-313-darwin.so, which Python on Lambda passes over"),
        ("orjson.cp313-win_amd64.pyd", "has orjson/orjson.cp313-win_amd64.pyd, which Python on Lambda passes over"),
        ("orjson.cpython-313-x86_64-linux-musl.so", "linux-musl.so, which Python on Lambda passes over"),
        ("orjson.cpython-313t-x86_64-linux-gnu.so", "13t-x86_64-linux-gnu.so, which Python on Lambda passes over"),
        ("readme", "has no library at all"),
    ],
)
def test_a_package_of_another_system_can_not_be_imported(name: str, has: str) -> None:
    """As `pip install --target` brings it on macOS, on Windows and on Alpine."""
    found = only(errors(check(package(CODE, of("", f"orjson/{name}", DATA), without="orjson/__init__.py"))))

    assert found.place == "orjson"
    assert found.sentence.startswith("the package orjson, which shim needs, can't be imported: it ")
    assert found.sentence.endswith(has)
    assert "--platform manylinux2014_x86_64 orjson" in found.cure
