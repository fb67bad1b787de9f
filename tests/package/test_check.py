"""Executables: for each broken one its cause and its cure, for each good one nothing, in a file, a folder and a zip alike."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from shim.elf import Elf
from shim.package import archive
from shim.package.check import check, judge
from shim.package.subject import subject
from shim.package.targets import AL2, AL2023
from shim.package.tree import DATA, PROGRAM, File, of_folder
from tests.conftest import missing
from tests.package.corpus import TABLE, Corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shim.package.check import Verdict
    from shim.package.problem import Problem

GOOD = [name for name, entry in TABLE.items() if entry["good"] and "warning" not in entry]
WARNED = [name for name, entry in TABLE.items() if "warning" in entry]
BROKEN = [name for name, entry in TABLE.items() if not entry["good"]]
SETTINGS = b'executable = "bin/program"\n'


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.getbasetemp() / "corpus")


def judged(path: Path | str, **options: str) -> Verdict:
    """As the command does it."""
    with subject(str(path)) as found:
        return judge(found.files, executables=found.executables, zipped=found.zipped, **options)  # type: ignore[arg-type] # names of keywords


def of(content: bytes | str, name: str = "program", mode: int = PROGRAM) -> File:
    """A file in memory."""
    data = content.encode() if isinstance(content, str) else content
    return File(name, mode, len(data), data)


def of_path(name: str, path: Path, mode: int = PROGRAM) -> File:
    return File(name, mode, path.stat().st_size, str(path))


def said(problems: Sequence[Problem]) -> list[str]:
    return [f"{problem.severity}: {problem.place}: {problem.sentence}; {problem.cure}" for problem in problems]


def errors(problems: Sequence[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_of_a_good_one(name: str, corpus: Corpus) -> None:
    """Libraries of this machine go with it; where those need a newer glibc that is said of them, and it is so."""
    file = corpus.file(name)
    found = judged(file)
    of_libraries = [problem for problem in found.problems if problem.place != name]

    assert said([problem for problem in found.problems if problem.place == name]) == []
    assert found.architecture == TABLE[name].get("facts", {}).get("machine", found.architecture)
    with subject(str(file)) as packed:
        libraries = {file.name: Elf(file.read()).glibc for file in packed.files[1:]}
    for problem in of_libraries:
        newest = libraries[problem.place]
        assert newest is not None
        assert newest > AL2023.glibc, said([problem])
        assert f"needs glibc {'.'.join(map(str, newest))} " in problem.sentence


@pytest.mark.parametrize(
    "name", ["c-static", "c-static-pie", "musl-static", "go", "rust", "crystal-static", "haskell", "c-arm64"]
)
def test_these_are_good_with_all_that_goes_with_them(name: str, corpus: Corpus) -> None:
    assert said(judged(corpus.file(name)).problems) == []


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_breaks_nothing(name: str, corpus: Corpus) -> None:
    (problem,) = judged(corpus.file(name)).problems

    assert problem.severity == "warning"
    assert TABLE[name]["warning"] in problem.sentence


@pytest.mark.parametrize("name", BROKEN)
def test_cause_and_cure_of_a_broken_one(name: str, corpus: Corpus) -> None:
    found = judged(corpus.file(name))

    assert [
        problem
        for problem in errors(found.problems)
        if TABLE[name]["cause"] in problem.sentence and TABLE[name]["cure"] in problem.cure
    ], said(found.problems)
    assert len(errors(found.problems)) == 1, said(found.problems)


@pytest.mark.parametrize("name", TABLE)
def test_a_folder_and_its_zip_and_a_list_are_judged_alike(name: str, corpus: Corpus, tmp_path: Path) -> None:
    """As a package whose shim.toml names it; it has the libraries that it is made with."""
    program = corpus.file(name)
    package = tmp_path / "package"
    for folder in ("bin", "lib", "shim", "orjson"):
        (package / folder).mkdir(parents=True)
    shutil.copy(program, package / "bin" / "program")
    for library in TABLE[name].get("with", ()):
        shutil.copy(program.parent / library, package / library)
    (package / "shim.toml").write_bytes(SETTINGS)
    (package / "shim" / "__init__.py").touch()
    (package / "orjson" / "__init__.py").touch()
    archive.write(of_folder(str(package)), str(tmp_path / "function.zip"))
    in_memory = [File(file.name, file.mode, file.size, bytes(file.read()[:])) for file in of_folder(str(package))]
    found = judged(package).problems

    assert said(judged(tmp_path / "function.zip").problems) == said(found)
    assert said(check(in_memory)) == said(found)
    if not TABLE[name]["good"]:
        assert [problem for problem in errors(found) if TABLE[name]["cause"] in problem.sentence]
    elif name not in {"crystal", "haskell"}:  # which need libraries that are not in it
        assert errors(found) == [], said(found)


def test_a_program_that_is_not_for_the_functions_architecture(corpus: Corpus) -> None:
    (problem,) = judged(corpus.file("c-arm64"), architecture="x86_64").problems

    assert problem == (
        "error",
        "c-arm64",
        "it is a program for arm64, and the function is for x86_64",
        "build it for x86_64, or choose arm64 as the function's architecture",
    )


def test_each_target_has_its_own_glibc(corpus: Corpus) -> None:
    files = [of_path("program", corpus.file("c-dynamic"))]

    assert check(files, target=AL2023, executables=["program"]) == []
    assert said(check(files, target=AL2, executables=["program"])) == [
        (
            "error: program: it needs glibc 2.34 (GLIBC_2.34 of libc.so.6), and al2 has 2.26; build it on a system whose glibc is no newer"
            " (Amazon Linux 2: 2.26), link it statically, or pack it with shim pack --with-libc"
        )
    ]


@pytest.mark.parametrize(
    ("mode", "sentences"),
    [
        (0o755, []),
        (0o555, []),
        (0o711, ["Lambda's user can't read it (its mode is -rwx--x--x)"]),
        (
            0o644,
            ["it is not executable (its mode is -rw-r--r--)"],
        ),
        (
            0o700,
            [
                "it is executable for its owner alone (its mode is -rwx------), and Lambda runs it as another user",
                "Lambda's user can't read it (its mode is -rwx------)",
            ],
        ),
        (0, ["it is not executable: the zip has no Unix modes"]),
    ],
)
def test_the_mode_of_an_executable(mode: int, sentences: list[str]) -> None:
    found = check([of("#!/bin/sh\n", mode=stat.S_IFREG | mode)], executables=["program"])

    assert [problem.sentence for problem in found] == sentences
    assert {problem.severity for problem in found} <= {"error"}
    assert all("chmod" in problem.cure for problem in found)


def test_a_zip_of_windows_has_no_modes(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "function.zip", "w") as made:
        made.writestr("bootstrap", "#!/bin/sh\n")
        made.writestr("data", "")
        for info in made.infolist():
            info.create_system, info.external_attr = 0, 0x20

    (problem,) = judged(tmp_path / "function.zip").problems

    assert (problem.severity, problem.place) == ("error", "bootstrap")
    assert "Windows" in problem.cure


@pytest.mark.parametrize(
    ("first", "others", "sentence", "cure"),
    [
        ("#!/bin/sh -e", [], "", ""),
        ("#! /usr/bin/env bash", [], "", ""),
        ("#!/usr/bin/awk -f", [], "", ""),
        ("#!/var/lang/bin/python3.12", [], "", ""),
        ("#!/usr/bin/env python3.13", [], "", ""),
        ("#!/usr/bin/env -S python3 -u", [], "", ""),
        ("#!/usr/bin/env -S FOO=1 ruby", [], "", ""),
        ("#!/usr/bin/env -S ruby -w", [], "has 'ruby' on the PATH", "bin/"),
        ("#!/usr/bin/env ruby", ["bin/ruby"], "", ""),
        ("#!/usr/bin/env ruby", ["ruby"], "", ""),
        ("#!/var/task/tools/lua", ["tools/lua"], "", ""),
        ("#!bin/lua", ["bin/lua"], "", ""),
        ("#!/opt/bin/lua", [], "which only a layer can have", "layer"),
        ("#!/usr/bin/env ruby", ["lib/ruby"], "has 'ruby' on the PATH", "bin/"),
        ("#!/var/task/tools/lua", [], "'/var/task/tools/lua'", "package one"),
        ("#!/usr/bin/python3", [], "'/usr/bin/python3'", "begin with #!/usr/bin/env python3, which finds"),
        ("#!/usr/bin/env python3 -u", [], "'python3 -u' on the PATH", "env -S"),
        ("#!/usr/bin/env node\r", [], "CR LF", "LF"),
        ("#!/bin/sh -e\r", [], "CR LF", "LF"),
        ("#!/bin/zsh", [], "'/bin/zsh'", "package one in bin/"),
    ],
)
def test_the_interpreter_of_a_script(first: str, others: list[str], sentence: str, cure: str) -> None:
    files = [of(f"{first}\n"), *(of("#!/bin/sh\n", name) for name in others)]
    found = check(files, executables=["program"])

    if not sentence:
        assert said(found) == []
    else:
        assert [problem.place for problem in found] == ["program"]
        assert sentence in found[0].sentence
        assert cure in found[0].cure
        assert found[0].severity == ("warning" if "/opt" in first else "error")


def test_an_interpreter_in_the_package_is_judged_as_well(corpus: Corpus) -> None:
    files = [of("#!/usr/bin/env lua\n"), of_path("bin/lua", corpus.file("musl-dynamic"))]
    (problem,) = check(files, executables=["program"])

    assert (problem.severity, problem.place) == ("error", "bin/lua")
    assert problem.sentence.endswith("(program is a script for it)")


def test_scripts_of_scripts_end_somewhere() -> None:
    loop = [of("#!/var/task/b\n", "a"), of("#!/var/task/a\n", "b")]
    chain = [*(of(f"#!/var/task/{number + 1}\n", str(number)) for number in range(9)), of("#!/bin/sh\n", "9")]

    assert "further than the kernel follows" in check(loop, executables=["a"])[0].sentence
    assert "further than the kernel follows" in check(chain, executables=["0"])[0].sentence
    assert check(chain[6:], executables=["6"]) == []


def test_a_python_script_is_none_for_an_os_only_runtime(corpus: Corpus) -> None:
    content = corpus.file("script-python").read_bytes()
    (problem,) = check([of(content, "bootstrap")])

    assert problem.severity == "error"
    assert problem.sentence.endswith("has 'python3' on the PATH (only Python's runtimes have a python)")


def test_a_library_for_another_architecture_is_passed_over(corpus: Corpus, tmp_path: Path) -> None:
    """The loader goes on, and finds it nowhere else."""
    program = corpus.file("c-with-library")
    other = tmp_path / "libanswer.so.1"
    command = [
        "aarch64-linux-gnu-gcc",
        "-shared",
        "-fPIC",
        "-nostdlib",
        "-Wl,-soname,libanswer.so.1",
        "-o",
        str(other),
        "-x",
        "c",
        "-",
    ]
    if shutil.which(command[0]) is None:
        missing(f"there is no {command[0]}")
    subprocess.run(command, input=b"int answer(void) { return 42; }", check=True)
    (problem,) = check([of_path("program", program), of_path("lib/libanswer.so.1", other)], executables=["program"])[:1]

    assert problem.severity == "error"
    assert "lib/libanswer.so.1 is for arm64 (64 bits)" in problem.sentence


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("other/libanswer.so.1", "the package has it as other/libanswer.so.1: move it to lib/"),
        ("lib/libanswer.so.1.2.3", "put it into lib/ under the name libanswer.so.1"),
        ("lib/else.so", "package it and what it needs in lib/"),
    ],
)
def test_a_library_in_the_wrong_place_is_pointed_at(name: str, cure: str, corpus: Corpus) -> None:
    program = corpus.file("c-with-library")
    library = program.parent / "lib" / "libanswer.so.1"
    (problem,) = errors(check([of_path("program", program), of_path(name, library)], executables=["program"]))

    assert problem.place == "program"
    assert cure in problem.cure


@pytest.mark.parametrize("tag", ["RPATH", "RUNPATH"])
def test_a_search_path_that_leads_outside_is_named_where_a_library_is_missing(
    tag: str, compiler: str, tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text("int answer(void) { return 42; }")
    (tmp_path / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,liba.so.1", "-o", "a.so", "a.c"], cwd=tmp_path, check=True
    )
    new = "enable" if tag == "RUNPATH" else "disable"
    flags = [f"-Wl,--{new}-new-dtags,-rpath,$ORIGIN:/home/me/lib"]
    subprocess.run([compiler, "-o", "b", "b.c", "a.so", *flags], cwd=tmp_path, check=True)
    (problem,) = check([of_path("b", tmp_path / "b")], executables=["b"])

    assert problem.sentence.endswith(f"; its {tag} names /home/me/lib, which is outside of the package")
    assert check([of_path("b", tmp_path / "b"), of_path("liba.so.1", tmp_path / "a.so")], executables=["b"]) == []


def test_a_library_that_is_needed_by_a_path(compiler: str, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int answer(void) { return 42; }")
    (tmp_path / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "liba.so", "a.c"], cwd=tmp_path, check=True)
    subprocess.run([compiler, "-o", "b", "b.c", "./liba.so"], cwd=tmp_path, check=True)
    (problem,) = errors(judged(tmp_path / "b").problems)

    assert "needs the library ./liba.so" in problem.sentence
    assert "-soname" in problem.cure
    assert check([of_path("b", tmp_path / "b"), of_path("liba.so", tmp_path / "liba.so")], executables=["b"]) == []


def test_what_may_be_on_the_target_is_a_warning(corpus: Corpus, compiler: str, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int answer(void) { return 42; }")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,libz.so.1", "-o", "z.so", "a.c"], cwd=tmp_path, check=True
    )
    (tmp_path / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run([compiler, "-o", "b", "b.c", "z.so"], cwd=tmp_path, check=True)
    files = [of_path("b", tmp_path / "b")]
    (problem,) = check(files, executables=["b"])

    assert (problem.severity, problem.cure) == ("warning", "package it in lib/, as shim pack does")
    assert check([*files, of_path("lib/libz.so.1", tmp_path / "z.so")], executables=["b"]) == []


@pytest.fixture
def needs_newer(compiler: str, tmp_path: Path) -> Path:
    """A program that needs a libstdc++ of the far future, which is beside it."""
    (tmp_path / "a.c").write_text("int answer(void) { return 42; }")
    (tmp_path / "map").write_text("GLIBCXX_3.4.99 { answer; };")
    flags = ["-shared", "-fPIC", "-Wl,-soname,libstdc++.so.6", "-Wl,--version-script,map"]
    subprocess.run([compiler, *flags, "-o", "libstdc++.so.6", "a.c"], cwd=tmp_path, check=True)
    (tmp_path / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run([compiler, "-o", "program", "b.c", "libstdc++.so.6"], cwd=tmp_path, check=True)
    return tmp_path


def test_versions_of_a_packaged_library_are_its_own(needs_newer: Path) -> None:
    program, library = (
        of_path(name, needs_newer / name.rpartition("/")[2]) for name in ("program", "lib/libstdc++.so.6")
    )
    (problem,) = check([program], executables=["program"])

    assert problem.sentence == "it needs GLIBCXX_3.4.99 of libstdc++.so.6, and al2023 has up to GLIBCXX_3.4.29"
    assert "package libstdc++.so.6 in lib/" in problem.cure
    assert check([program, library], executables=["program"]) == []


def test_a_packaged_library_may_be_too_old_as_well(needs_newer: Path) -> None:
    """One without any versions is taken: the loader only says so (dl-version.c)."""
    program = of_path("program", needs_newer / "program")
    (needs_newer / "map").write_text("GLIBCXX_3.4.9 { answer; };")
    flags = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libstdc++.so.6"]
    subprocess.run([*flags, "-Wl,--version-script,map", "-o", "old.so", "a.c"], cwd=needs_newer, check=True)
    subprocess.run([*flags, "-o", "plain.so", "a.c"], cwd=needs_newer, check=True)
    (problem,) = check([program, of_path("lib/libstdc++.so.6", needs_newer / "old.so")], executables=["program"])

    assert problem.severity == "error"
    assert problem.sentence == (
        "it needs GLIBCXX_3.4.99 of libstdc++.so.6, which the package's lib/libstdc++.so.6 does not have"
    )
    assert check([program, of_path("lib/libstdc++.so.6", needs_newer / "plain.so")], executables=["program"]) == []


def test_an_os_only_runtime_takes_the_systems_libraries_first(needs_newer: Path) -> None:
    """Its LD_LIBRARY_PATH begins with /lib64; only an RPATH goes before it."""
    library = of_path("lib/libstdc++.so.6", needs_newer / "libstdc++.so.6")
    (problem,) = check([of_path("bootstrap", needs_newer / "program"), library])

    assert problem.severity == "error"
    assert "begins with /lib64" in problem.sentence
    command = ["gcc", "-o", "rpath", "b.c", "libstdc++.so.6", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib"]
    subprocess.run(command, cwd=needs_newer, check=True)

    assert check([of_path("bootstrap", needs_newer / "rpath"), library]) == []


@pytest.mark.parametrize("name", ["lib/libc.so.6", "libm.so.6"])
def test_parts_of_glibc_are_not_packaged(name: str, corpus: Corpus) -> None:
    part = of_path(name, Path("/lib/x86_64-linux-gnu") / os.path.basename(name))
    if not os.path.exists(str(part.source)):
        missing(f"this machine has no {name}")
    dynamic = check([of_path("program", corpus.file("c-dynamic")), part], executables=["program"])
    static = check([of_path("program", corpus.file("c-static")), part], executables=["program"])
    script = check([of("#!/bin/sh\n"), part], executables=["program"])

    assert [problem.place for problem in errors(dynamic)] == [name]
    assert "is a part of glibc" in errors(dynamic)[0].sentence
    assert "--with-libc" in errors(dynamic)[0].cure
    assert [problem.place for problem in errors(script)] == [name]
    assert errors(static) == []
    assert [problem.place for problem in static if "is a part of glibc" in problem.sentence] == [name]


def test_a_program_with_its_own_loader_and_libc_is_judged_with_them(corpus: Corpus) -> None:
    """As `shim pack --with-libc` puts them; what the launcher starts is what invocations run."""
    here = Path("/lib/x86_64-linux-gnu")
    if not (here / "libc.so.6").exists():
        missing("this machine has no Debian's glibc for x86_64")
    launcher = of('#!/bin/sh\nexec "$d"/libc/ld-linux-x86-64.so.2 --library-path "$d/libc" "$d"/libc/program "$@"\n')
    files = [
        launcher,
        of_path("libc/program", corpus.file("needs-newer-loader")),
        of_path("libc/ld-linux-x86-64.so.2", here / "ld-linux-x86-64.so.2"),
    ]
    libc = of_path("libc/libc.so.6", here / "libc.so.6")

    assert check([*files, libc], executables=["program"]) == []
    newer = [
        launcher,
        of_path("libc/program", corpus.file("needs-newer-glibc")),
        of_path("libc/libm.so.6", here / "libm.so.6"),
        *files[2:],
        libc,
    ]

    assert (
        "needs GLIBC_2.99 of libm.so.6, which the package's libc/libm.so.6"
        in check(newer, executables=["program"])[0].sentence
    )
    assert [problem.place for problem in errors(check(files, executables=["program"]))] == ["libc/program"]


def test_a_loader_in_the_package(corpus: Corpus) -> None:
    """patchelf --set-interpreter /var/task/lib/…"""
    program = corpus.file("c-static").read_bytes()
    dynamic = corpus.file("no-such-loader").read_bytes()
    moved = dynamic.replace(b"/nix/store/none/lib/ld-linux-x86-64.so.2", b"/var/task/ld.so\0".ljust(40, b"\0"))

    assert len(moved) == len(dynamic)
    assert check([of(moved), of(program, "ld.so")], executables=["program"]) == []
    assert "/var/task/ld.so" in check([of(moved)], executables=["program"])[0].sentence


def test_a_library_of_macos_or_a_class_of_java() -> None:
    java = bytes.fromhex("cafebabe 0000 0041 001d")
    (problem,) = check([of(java)], executables=["program"])

    assert problem.sentence == "it is a class of Java"


def test_what_nothing_needs_is_a_warning(corpus: Corpus) -> None:
    files = [
        of_path("program", corpus.file("c-static")),
        of_path("bin/tool", corpus.file("musl-dynamic")),
        of_path("bin/arm", corpus.file("c-arm64-static")),
        of_path("bin/off", corpus.file("c-dynamic"), DATA),
        of("#!/usr/bin/perl\n", "bin/script"),
        of("#!/usr/bin/perl\n", "share/example", DATA),
        of_path("share/example.elf", corpus.file("musl-dynamic"), DATA),
        of("MZ..", "tools/setup.exe"),
        of("\x7fELF", "broken"),
        of_path("debug/main.o", corpus.file("object-file"), DATA),
    ]
    found = check(files, executables=["program"])

    assert {problem.place for problem in found} == {"bin/tool", "bin/arm", "bin/off", "bin/script", "broken"}
    assert errors(found) == []


def test_what_many_have_in_common_is_said_once(corpus: Corpus) -> None:
    files = [of_path("program", corpus.file("c-static"))]
    files += [of_path(f"bin/{number}", corpus.file("c-arm64-static")) for number in range(9)]
    (problem,) = check(files, executables=["program"])

    assert problem.place == "bin/0"
    assert problem.sentence.endswith("so it is with 8 other files, as bin/1")


def test_the_programs_of_this_machine_are_judged_as_their_versions_are() -> None:
    """An independent look: readelf's. Only what needs a newer glibc may be refused for one."""
    readelf = shutil.which("readelf")
    if readelf is None:
        missing("there is no readelf")
    asked = 0
    for entry in sorted(os.scandir("/usr/bin"), key=lambda entry: entry.name)[::17]:
        if not entry.is_file() or Path(entry.path).read_bytes()[:4] != b"\x7fELF":
            continue
        shown = subprocess.run([readelf, "-VW", entry.path], capture_output=True, text=True, check=True).stdout
        versions = [line.split("GLIBC_")[1].split()[0] for line in shown.splitlines() if "Name: GLIBC_2" in line]
        newest = max((tuple(map(int, version.split("."))) for version in versions), default=(0,))
        found = [problem for problem in judged(entry.path).problems if problem.place == entry.name]
        asked += 1

        assert any("needs glibc" in problem.sentence for problem in found) == (
            newest > (2, 34) or "GLIBC_ABI_DT_RELR" in shown
        ), entry.path
        assert all("needs glibc" in problem.sentence for problem in found), said(found)

    assert asked


@pytest.mark.parametrize(
    ("library", "python", "is_there"),
    [
        ("libpython3.13.so.1.0", "", True),
        ("libpython3.13.so.1.0", "313", True),
        ("libpython3.so", "313", True),
        ("libpython3.12.so.1.0", "313", False),
        ("libpython3.9.so.1.0", "", False),
    ],
)
def test_a_runtime_has_its_own_pythons_library(
    library: str, python: str, is_there: bool, compiler: str, tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text("int answer(void) { return 42; }")
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{library}"]
    subprocess.run([compiler, *flags, "-o", library, "a.c"], cwd=tmp_path, check=True)
    (tmp_path / "b.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run([compiler, "-o", "program", "b.c", library], cwd=tmp_path, check=True)
    files = [of_path("program", tmp_path / "program"), of('executable = "program"', "shim.toml")]
    files += [of("", f"orjson/orjson.cpython-{python}-x86_64-linux-gnu.so")] if python else []
    found = [problem for problem in check(files) if "libpython" in problem.sentence]

    assert [problem.severity for problem in found] == ([] if is_there else ["error"])


def test_musls_loader_is_its_libc_where_a_package_brings_it(corpus: Corpus) -> None:
    """As `shim pack --with-libc` puts both."""
    loader = of("", "libc/ld-musl-x86_64.so.1")
    program = of_path("libc/program", corpus.file("musl-dynamic"))
    launcher = of('#!/bin/sh\nexec "$d"/libc/ld-musl-x86_64.so.1 --library-path "$d/libc" "$d"/libc/program "$@"\n')

    assert errors(check([launcher, program, loader], executables=["program"])) == []
    assert errors(check([launcher, program], executables=["program"])) != []
