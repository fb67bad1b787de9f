"""Packages that `shim pack` makes: what is in them, that they are the same each time, and that they run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
from hypothesis import given, strategies as st

import shim
from shim.adapter import recorded_checksum
from shim.errors import PackageError, SettingsError
from shim.package.archive import unpack
from shim.package.manifest import settings_file
from shim.package.own import LEFT_OUT, own_files
from shim.package.pack import Order, Packed, architecture_of, pack
from shim.package.problem import Problem
from shim.package.sources import Include, included
from shim.package.targets import RUNTIMES
from tests.conftest import missing
from tests.package.wheelhouse import fill, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shim.package.tree import File

HERE = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
RUNTIME = f"python3.{sys.version_info.minor}"
"""The one whose byte code can be made wherever the tests run."""
SCRIPT = '#!/bin/sh\nread -r line\necho "{\\"said\\": \\"$1\\"}"\n'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program that answers with its first argument. Its execute bit was lost."""
    path = tmp_path / "bin" / "program"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fill(tmp_path_factory.mktemp("wheels"), "orjson", "psutil", "h11"))


@pytest.fixture
def made(tmp_path: Path, wheels: str) -> Callable[..., Packed]:
    """Packs executables to made.zip, with empty wheels unless the runtime has no Python."""

    def make(*executables: Path | str, **order: Any) -> Packed:
        options = {"output": str(tmp_path / "made.zip"), "wheels": wheels} | order
        judge = options.pop("judge", lambda _files: [])
        if str(options.get("runtime")).startswith("provided"):
            del options["wheels"]
        return pack(Order([str(path) for path in executables], **options), judge=judge)

    return make


def names(tmp_path: Path) -> set[str]:
    return set(ZipFile(tmp_path / "made.zip").namelist())


def beside_shim(tmp_path: Path) -> set[str]:
    """Without what every package has of shim and its wheels."""
    ours = {file.name for file in own_files(with_runtime=True)} | packed("orjson") | packed("psutil") | packed("h11")
    return names(tmp_path) - ours - byte_code(ours) - {"SHA256SUMS", "shim.toml"}


def byte_code(modules: Iterable[str]) -> set[str]:
    """The names of the byte code of what there is of modules, for any Python."""
    paths = [PurePosixPath(name) for name in modules if name.endswith(".py")]
    return {
        str(path.parent / "__pycache__" / f"{path.stem}.cpython-{runtime.removeprefix('python').replace('.', '')}.pyc")
        for path in paths
        for runtime in RUNTIMES
    }


def modes(tmp_path: Path) -> dict[str, str]:
    infos = ZipFile(tmp_path / "made.zip").infolist()
    return {info.filename: stat.filemode(info.external_attr >> 16) for info in infos}


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """Standard output of a command, in an environment of nothing else."""
    environment = {"PATH": "/usr/bin:/bin"} | variables
    return subprocess.check_output(
        [str(part) for part in command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True
    )


def test_a_package_has_the_executable_shim_and_what_it_needs(
    script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    done = made(script, settings={"output": "json"}, runtime=RUNTIME)
    everything = {name for name in names(tmp_path) if "__pycache__" not in name}
    ours = {name for name in everything if name.startswith("shim/")}

    assert everything == {"program", "shim.toml", "SHA256SUMS"} | ours | packed("orjson") | packed("psutil")
    assert {"shim/__init__.py", "shim/adapter.py", "shim/children/bridge.py", "shim/runtime_api/server.py"} <= ours
    assert not {name for name in ours if name.split("/")[1] in LEFT_OUT | {"runtime"}}
    assert modes(tmp_path).pop("program") == "-rwxr-xr-x"
    assert {mode for name, mode in modes(tmp_path).items() if not name.endswith((".so", "program"))} == {"-rw-r--r--"}
    assert done == Packed(
        HERE,
        "shim.handler",
        {},
        len(names(tmp_path)),
        sum(info.file_size for info in ZipFile(tmp_path / "made.zip").infolist()),
        (tmp_path / "made.zip").stat().st_size,
        [],
    )


def test_what_is_left_out_of_shim_is_all_that_is_there_but_for_a_function() -> None:
    parts = {name for name in os.listdir(Path(shim.__file__).parent) if not name.startswith(("__", "."))}
    packed_parts = {file.name.split("/")[1] for file in own_files(with_runtime=False)}

    assert {part for part in parts - packed_parts if (Path(shim.__file__).parent / part).exists()} == parts & (
        LEFT_OUT | {"runtime"}
    )


def test_the_settings_are_in_it(script: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    given = {
        "args": ["-x", 'a "b" \\ ü\n\x7f'],
        "exit_codes": {"1": "ok"},
        "margin_ms": 300,
        "ready": True,
        "mode": "warm",
    }
    made(script, settings=given)

    assert tomllib.loads(ZipFile(tmp_path / "made.zip").read("shim.toml").decode()) == {"executable": "program"} | given


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.dictionaries(
        st.sampled_from(["args", "env", "output"]),
        TEXTS | st.integers(0, 10**12) | st.booleans() | st.lists(TEXTS) | st.dictionaries(TEXTS, TEXTS),
    )
)
def test_whatever_the_values_are_toml_has_them(values: dict[str, object]) -> None:
    content = settings_file(values).source

    assert isinstance(content, bytes)
    assert tomllib.loads(content.decode()) == values


def test_what_toml_can_not_say_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match=r"args must be UTF-8 throughout, since shim.toml is, unlike \['\\udcff'\]"):
        settings_file({"output": "text", "args": ["\udcff"]})


def test_its_checksums_are_those_of_sha256sum_and_shim_finds_the_executables(
    script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    odd = tmp_path / "odd\\ \n name"
    odd.write_bytes(b"odd")
    made(script, includes=[Include(str(odd), "data/odd\\ \n name")])
    folder = tmp_path / "there"
    unpack(str(tmp_path / "made.zip"), str(folder))
    checked = run(folder, "sha256sum", "--check", "--strict", "SHA256SUMS", LC_ALL="C.UTF-8")

    assert len(checked.splitlines()) == len(names(tmp_path)) - 1
    assert recorded_checksum(str(folder / "program"), root=str(folder)) == hashlib.sha256(SCRIPT.encode()).hexdigest()


@pytest.mark.parametrize("runtime", [RUNTIME, "provided.al2023"])
def test_it_is_the_same_whatever_umask_times_places_and_order_are(
    runtime: str, wheels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = set()
    for number, (umask, time, zone) in enumerate(((0o002, 1, "UTC"), (0o077, 2_000_000_000, "Asia/Tokyo"))):
        place = tmp_path / ("a" if number else "b/c")
        data = place / "data"
        data.mkdir(parents=True)
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", ("C", "C.UTF-8")[number])
        before = os.umask(umask)
        try:
            for name in sorted(("z", "ä", "tool", "p"), reverse=bool(number)):
                (data / name).write_text(name)
                os.utime(data / name, (time, time))
            (data / "tool").chmod(0o700 if number else 0o755)
            (place / "program").write_text(SCRIPT)
            monkeypatch.chdir(place if number else tmp_path)
            order = Order(
                ["program" if number else str(place / "program")],
                str(place / "made.zip"),
                [Include("data" if number else str(data), "data")],
                runtime,
                wheels=wheels if runtime == RUNTIME else None,
            )
            pack(order)
        finally:
            os.umask(before)
        made.add((place / "made.zip").read_bytes())

    assert len(made) == 1


def test_a_bootstrap_is_packed_alone(script: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    helper = tmp_path / "helper"
    helper.write_text(SCRIPT)
    done = made(script, helper, runtime="provided.al2023")

    assert modes(tmp_path) == {"bootstrap": "-rwxr-xr-x", "helper": "-rwxr-xr-x"}
    assert (done.handler, done.variables) == (None, {})


def test_mode_bootstrap_has_h11(script: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    made(script, settings={"mode": "bootstrap"})

    assert packed("h11") <= names(tmp_path)


def test_our_own_runtime_comes_with_its_wrapper(script: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    done = made(script, own_runtime=True)

    assert modes(tmp_path)["shim/runtime/wrapper"] == "-rwxr-xr-x"
    assert "shim/runtime/loop.py" in names(tmp_path)
    assert done.variables == {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/shim/runtime/wrapper"}


@pytest.mark.parametrize(
    ("order", "mistakes"),
    [
        (
            {"runtime": "provided.al2023", "own_runtime": True, "settings": {"margin_ms": 1}},
            [
                f"{option} must not be given with --runtime provided.al2023, which has no Python and no shim"
                for option in ("--own-runtime", "--margin-ms")
            ],
        ),
        ({"upx": True, "with_libc": True}, ["--upx must not be given with --with-libc"]),
        ({"settings": {"output": "xml"}}, ["output must be one of"]),
        ({"settings": {"spare": 1, "mode": "warm"}}, ["spare must not be set, since mode=warm never reads it"]),
    ],
)
def test_what_does_not_go_together_is_a_mistake(
    order: dict[str, Any], mistakes: list[str], script: Path, made: Callable[..., Packed]
) -> None:
    with pytest.raises(SettingsError) as raised:
        made(script, **order)

    assert len(raised.value.mistakes) == len(mistakes)
    assert all(said.startswith(mistake) for said, mistake in zip(raised.value.mistakes, mistakes, strict=True))


def test_what_is_judged_an_error_is_not_written_but_by_force(
    script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    seen: list[str] = []
    problems = [
        Problem("warning", "program", "it is slow", "make it fast"),
        Problem("error", "program", "it has CR line ends", "convert them"),
        Problem("error", "", "it is too large", "make it small"),
    ]

    def judge(files: Sequence[File]) -> list[Problem]:
        seen.extend(file.name for file in files)
        return problems

    with pytest.raises(PackageError) as raised:
        made(script, judge=judge)

    assert str(raised.value) == (
        "the package would have 2 errors: program: it has CR line ends (convert them); it is too large (make it small). "
        "Nothing was written; --force writes it all the same"
    )
    assert not (tmp_path / "made.zip").exists()
    assert made(script, judge=judge, force=True, runtime=RUNTIME).problems == problems
    assert set(seen) == names(tmp_path)


@pytest.mark.parametrize("output", ["stream", "http"])
def test_a_stream_without_a_runtime_that_streams_is_a_warning(
    output: str, script: Path, made: Callable[..., Packed]
) -> None:
    (problem,) = made(script, settings={"output": output}, runtime=RUNTIME).problems

    assert (problem.severity, problem.cure) == ("warning", "pack it with --own-runtime")
    assert made(script, settings={"output": output}, own_runtime=True, runtime=RUNTIME).problems == []


def test_progress_ends_at_the_whole(script: Path, wheels: str, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = pack(
        Order([str(script)], str(tmp_path / "made.zip"), wheels=wheels),
        watch=lambda done, whole: steps.append((done, whole)),
    )

    assert [step[0] for step in steps] == sorted(step[0] for step in steps)
    assert steps[-1] == (done.unpacked, done.unpacked)


# What is taken along.


@pytest.mark.parametrize(
    ("text", "include"),
    [
        ("folder", ("folder", "folder")),
        ("folder/", ("folder/", "folder")),
        ("folder:data", ("folder", "data")),
        ("folder:data/", ("folder", "data/folder")),
        ("folder:.", ("folder", "")),
        ("folder:./", ("folder", "folder")),
        ("folder/file", ("folder/file", "file")),
        ("folder/file:other", ("folder/file", "other")),
        ("folder/file:lib/", ("folder/file", "lib/file")),
        ("folder/file:.", ("folder/file", "file")),
        ("a:b", ("a:b", "a:b")),
        ("a:b:c", ("a:b", "c")),
        ("gone", ("gone", "gone")),
        (".:x", (".", "x")),
    ],
)
def test_an_include_is_a_source_and_a_place(
    text: str, include: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "a:b").touch()
    monkeypatch.chdir(tmp_path)

    assert Include.parse(text) == include


@pytest.mark.parametrize("text", ["a:/b", "a:../b", "a:b/../../c"])
def test_a_destination_outside_the_package_is_refused(text: str) -> None:
    with pytest.raises(PackageError, match="leads out of the package"):
        Include.parse(text)


def test_folders_keep_what_is_in_them(script: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    """Names of all alphabets, execute bits, links to what is in the package as what they lead to, no empty folders, and not the package itself."""
    data = tmp_path / "data"
    (data / "empty").mkdir(parents=True)
    (data / "ünï 日本 \n'").mkdir()
    (data / "ünï 日本 \n'" / "-rf *").write_bytes(b"x")
    (data / "tool").write_bytes(b"#!/bin/sh\n")
    (data / "tool").chmod(0o700)
    (data / "link").symlink_to("tool")
    (data / "folder-link").symlink_to("ünï 日本 \n'")
    (data / "to-program").symlink_to(script)
    (data / "made.zip").write_bytes(b"of the last time")
    made(script, includes=[Include(str(data), "")], output=str(data / "made.zip"))
    shutil.move(data / "made.zip", tmp_path)

    assert beside_shim(tmp_path) == {
        "program",
        "ünï 日本 \n'/-rf *",
        "folder-link/-rf *",
        "tool",
        "link",
        "to-program",
    }
    assert ZipFile(tmp_path / "made.zip").read("to-program") == SCRIPT.encode()
    assert {modes(tmp_path)[name] for name in ("tool", "link", "program")} == {"-rwxr-xr-x"}


def make_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "x"))


UNPACKABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (lambda folder: os.mkfifo(folder / "x"), "x is a FIFO, which a package can't hold; leave it out"),
    "socket": (make_socket, "x is a socket, which a package can't hold; leave it out"),
    "device": (lambda folder: (folder / "x").symlink_to("/dev/null"), "x is a link that leads out of"),
    "dangling": (
        lambda folder: (folder / "x").symlink_to("gone"),
        "x is a link to gone, which is not there; remove it",
    ),
    "itself": (lambda folder: (folder / "x").symlink_to("x"), "x is one of a loop of links; remove it"),
    "parent": (lambda folder: (folder / "x").symlink_to("."), "a folder that it is in itself; remove it"),
    "outside": (lambda folder: (folder / "x").symlink_to("/etc/passwd"), "to /etc/passwd; include what it leads to"),
    "above": (lambda folder: (folder / "x").symlink_to(".."), "x is a link that leads out of"),
    "bytes": (
        lambda folder: (folder / os.fsdecode(b"\xff")).touch(),
        "'data/\\udcff' is no name in UTF-8, the only ones that a zip has; rename the file",
    ),
}


@pytest.mark.parametrize("kind", UNPACKABLE)
def test_what_a_package_can_not_hold_is_one_sentence(
    kind: str, script: Path, made: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, message = UNPACKABLE[kind]
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    act(Path())
    with pytest.raises(PackageError) as raised:
        made(script, includes=[Include(str(tmp_path / "data"), "data")])

    assert message in str(raised.value)
    assert not list(tmp_path.glob("made.zip*"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "gone can't be packed: No such file or directory"),
        (".", ". is a folder; name an executable in it, and take the rest along with --include"),
        ("/dev/null", "/dev/null is a device, which a package can't hold; leave it out"),
        ("fifo", "fifo is a FIFO, which a package can't hold; leave it out"),
        ("sh", "there is no file sh here; if you mean the one on your PATH, name /"),
    ],
)
def test_an_executable_that_is_none_is_one_sentence(
    path: str, message: str, made: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(PackageError) as raised:
        made(path)

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("include", "message"),
    [
        (Include("bin/program", "shim.toml"), "two files would be 'shim.toml' in the package"),
        (Include("bin/program", "SHA256SUMS"), "two files would be 'SHA256SUMS' in the package"),
        (Include("bin/program", "program"), "two files would be 'program' in the package, the one from bin/program"),
        (Include("bin/program", "shim"), "'shim' would be a file and a folder in the package"),
        (Include("bin/program", "program/x"), "'program' would be a file and a folder in the package"),
    ],
)
def test_two_sources_for_one_name_are_refused(
    include: Include,
    message: str,
    script: Path,
    made: Callable[..., Packed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackageError) as raised:
        made(script.relative_to(tmp_path), includes=[include])

    assert str(raised.value).startswith(message)


# Machine code.


def compiled(compiler: str, folder: Path, name: str, code: str, *options: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.c").write_text(code)
    subprocess.run([compiler, "-o", str(folder / name), str(folder / f"{name}.c"), *options], check=True)
    return folder / name


@pytest.fixture
def linked(compiler: str, tmp_path: Path) -> Path:
    """A program with a library that no target has, which needs another one itself."""
    built = tmp_path / "built"
    library = ("-shared", "-fPIC", f"-Wl,-rpath,{built}")
    inner = "int inner(void) { return 7; }"
    outer = "int inner(void); int outer(void) { return inner(); }"
    needed = compiled(compiler, built, "libinner.so.2", inner, *library, "-Wl,-soname,libinner.so.2")
    compiled(compiler, built, "libouter.so.1", outer, *library, "-Wl,-soname,libouter.so.1", str(needed))
    code = '#include <stdio.h>\nint outer(void); int main(int n, char **v) { printf("%s %d\\n", v[n - 1], outer()); }'
    return compiled(compiler, built, "linked", code, str(built / "libouter.so.1"), f"-Wl,-rpath,{built}", "-lm")


def test_libraries_that_the_target_lacks_go_along(linked: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    made(linked)
    folder = tmp_path / "there"
    unpack(str(tmp_path / "made.zip"), str(folder))
    linked.parent.rename(tmp_path / "elsewhere")

    assert beside_shim(tmp_path) == {"linked", "lib/libouter.so.1", "lib/libinner.so.2"}
    assert modes(tmp_path)["lib/libouter.so.1"] == "-rwxr-xr-x"
    assert run(folder, folder / "linked", "x", LD_LIBRARY_PATH=str(folder / "lib")) == "x 7\n"


def test_libraries_that_are_included_are_not_taken_twice(
    linked: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    made(linked, includes=[Include(str(linked.parent / "libinner.so.2"), "lib/libinner.so.2")])

    assert beside_shim(tmp_path) == {"linked", "lib/libouter.so.1", "lib/libinner.so.2"}


def test_an_included_tool_has_its_libraries_too(
    linked: Path, script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    made(script, includes=[Include(str(linked), "tools/linked")])

    assert beside_shim(tmp_path) == {"program", "tools/linked", "lib/libouter.so.1", "lib/libinner.so.2"}


def test_with_its_libc_a_program_runs_wherever_the_package_is(
    linked: Path, script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """From a folder with blanks, by a relative path, over PATH, and by its shell; with its arguments and its name."""
    made(linked, script, with_libc=True)
    folder = tmp_path / "the re"
    unpack(str(tmp_path / "made.zip"), str(folder))
    linked.parent.rename(tmp_path / "elsewhere")
    loader = next(folder.glob("libc/ld-*")).name

    assert {"libc/libc.so.6", "libc/linked", "libc/libouter.so.1", "libc/libinner.so.2", f"libc/{loader}"} <= names(
        tmp_path
    )
    assert not {name for name in names(tmp_path) if name.startswith("lib/")}, "where LD_LIBRARY_PATH looks"
    assert {mode for name, mode in modes(tmp_path).items() if name.startswith("libc/")} == {"-rwxr-xr-x"}
    assert (folder / "program").read_text() == SCRIPT, "a script has no libc"
    assert run(tmp_path, folder / "linked", "a b", "*") == "* 7\n"
    assert run(folder, "./linked", "x") == "x 7\n"
    assert run(folder, "sh", "linked", "y") == "y 7\n"
    assert run(tmp_path, "sh", "-c", "linked", PATH=f"{folder}:/bin") == f"{folder}/linked 7\n"
    assert run(tmp_path, folder / "linked", LD_LIBRARY_PATH="/nonexistent") == f"{folder}/linked 7\n"


def test_a_program_with_its_own_libc_starts_others_as_ever(
    compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """Nothing of how it was started is in the environment that it hands on."""
    code = '#include <unistd.h>\nextern char **environ; int main(void) { execl("/usr/bin/env", "env", (char *)0); }'
    made(compiled(compiler, tmp_path / "built", "starter", code), with_libc=True)
    folder = tmp_path / "there"
    unpack(str(tmp_path / "made.zip"), str(folder))
    variables = {line for line in run(folder, "./starter", LD_LIBRARY_PATH="/x").splitlines() if "PWD=" not in line}

    assert {"PATH=/usr/bin:/bin", "LD_LIBRARY_PATH=/x"} <= variables
    assert not {line for line in variables if "libc" in line}


def test_a_static_program_has_no_use_for_a_libc(compiler: str, made: Callable[..., Packed], tmp_path: Path) -> None:
    program = compiled(compiler, tmp_path / "built", "static", "int main(void) { return 0; }", "-static")
    (problem,) = made(program, with_libc=True, runtime=RUNTIME).problems

    assert beside_shim(tmp_path) == {"static"}
    assert problem.sentence == "--with-libc changes nothing, since no EXECUTABLE is loaded dynamically"
    assert problem.cure == "leave it out"


def test_what_is_included_gets_no_libc_and_that_is_told(
    compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    program = compiled(compiler, tmp_path / "built", "static", "int main(void) { return 0; }", "-static")
    tool = compiled(compiler, tmp_path / "built", "tool", "int main(void) { return 0; }")
    packed = made(program, with_libc=True, runtime=RUNTIME, includes=[Include.parse(f"{tool}:bin/")])

    assert "give programs as EXECUTABLEs that --include takes along" in {problem.cure for problem in packed.problems}


def test_a_library_that_is_not_here_can_not_go_along_with_the_libc(linked: Path, made: Callable[..., Packed]) -> None:
    (linked.parent / "libinner.so.2").unlink()
    with pytest.raises(PackageError, match=r"^linked can't be packed with its libc: libinner.so.2 is nowhere"):
        made(linked, with_libc=True)


def test_a_library_that_is_needed_by_its_path_can_not_go_along_either(
    compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """As one that was linked without a name of its own is."""
    library = compiled(compiler, tmp_path / "built", "libnameless.so", "int f(void) { return 7; }", "-shared", "-fPIC")
    program = compiled(compiler, tmp_path / "built", "p", "int f(void); int main(void) { return f(); }", str(library))
    with pytest.raises(PackageError, match=rf"^p can't be packed with its libc: it needs {library} by that path"):
        made(program, with_libc=True)


@pytest.fixture
def foreign(compiler: str, tmp_path: Path) -> Callable[[int], Path]:
    """A program whose header says another machine."""
    program = compiled(compiler, tmp_path / "built", "program", "int main(void) { return 0; }", "-static")

    def make(machine: int) -> Path:
        content = bytearray(program.read_bytes())
        content[18:20] = machine.to_bytes(2, "little")
        path = tmp_path / f"for-{machine}"
        path.write_bytes(content)
        return path

    return make


X86_64, ARM64, I386 = 0x3E, 0xB7, 0x03


def test_the_architecture_is_that_of_the_executables(
    foreign: Callable[[int], Path], script: Path, made: Callable[..., Packed]
) -> None:
    assert made(script, foreign(ARM64)).architecture == "arm64"
    assert made(foreign(X86_64), architecture="x86_64").architecture == "x86_64"
    assert made(script, architecture="arm64").architecture == "arm64"
    assert architecture_of([str(script)]) == HERE


@pytest.mark.parametrize(
    ("machines", "asked", "message"),
    [
        (
            [X86_64, ARM64],
            None,
            "for-62 is for x86_64 and {}for-183 is for arm64, and a function has one architecture; build all for the same",
        ),
        ([ARM64], "x86_64", "for-183 is a program for arm64; build it for x86_64, or let --architecture be arm64"),
        ([I386], None, "for-3 is a program for i386, on which Lambda runs nothing; build it for x86_64 or arm64"),
    ],
)
def test_architectures_that_no_function_has_are_refused(
    machines: list[int],
    asked: str | None,
    message: str,
    foreign: Callable[[int], Path],
    made: Callable[..., Packed],
    tmp_path: Path,
) -> None:
    with pytest.raises(PackageError) as raised:
        made(*map(foreign, machines), architecture=asked)

    assert str(raised.value) == f"{tmp_path}/" + message.format(f"{tmp_path}/")


def test_a_broken_executable_is_refused(made: Callable[..., Packed], tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x7fELF\x02\x01")
    with pytest.raises(PackageError, match=r"broken can't be packed: it ends after 6 bytes.*; build it again"):
        made(tmp_path / "broken")


def tool(folder: Path, name: str, code: str) -> None:
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{code}\n")
    (folder / name).chmod(0o755)


def test_upx_compresses_the_executables_alone(
    linked: Path, script: Path, made: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries are those of the program as it was."""
    tool(tmp_path / "tools", "upx", 'test "$1 $2" = "-qq -o" && { cat "$4"; echo smaller; } > "$3"')
    monkeypatch.setenv("PATH", f"{tmp_path}/tools:{os.environ['PATH']}")
    done = tmp_path / "done"
    header = bytearray(linked.read_bytes()[:64])
    header[56:58] = b"\0\0"  # e_phnum
    done.write_bytes(header + b"\0\0\0\0UPX!".ljust(36, b"\0"))
    made(linked, script, done, upx=True, runtime=RUNTIME)
    archive = ZipFile(tmp_path / "made.zip")

    assert archive.read("linked") == linked.read_bytes() + b"smaller\n"
    assert archive.read("program") == SCRIPT.encode()
    assert archive.read("done") == done.read_bytes(), "once is enough"
    assert "lib/libouter.so.1" in names(tmp_path)


def test_without_upx_it_says_so(
    linked: Path, made: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"--upx needs the tool upx, which is not on the PATH; install it"):
        made(linked, upx=True)


def test_what_upx_refuses_is_quoted(
    linked: Path, made: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path / "tools", "upx", 'echo "upx: linked: NotCompressibleException" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}/tools:{os.environ['PATH']}")
    with pytest.raises(PackageError, match=r"leave --upx out. upx says: upx: linked: NotCompressibleException$"):
        made(linked, upx=True)


@pytest.mark.skipif(shutil.which("upx") is None, reason="upx is not here")
def test_the_real_upx_makes_it_smaller_and_it_runs(compiler: str, made: Callable[..., Packed], tmp_path: Path) -> None:
    code = '#include <stdio.h>\nint main(void) { puts("7"); }'
    program = compiled(compiler, tmp_path / "built", "static", code, "-static")
    made(program, upx=True)
    unpack(str(tmp_path / "made.zip"), str(tmp_path / "there"))

    assert (tmp_path / "there" / "static").stat().st_size < program.stat().st_size
    assert run(tmp_path, tmp_path / "there" / "static") == "7\n"


# A package that works.


@pytest.mark.parametrize("with_libc", [False, True])
def test_it_runs_with_nothing_but_itself(
    with_libc: bool, compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """Its own shim, orjson and psutil, in an interpreter without any other package."""
    runtime = f"python3.{sys.version_info.minor}"
    if runtime not in RUNTIMES:
        missing(f"Lambda has no {runtime}")
    code = '#include <stdio.h>\nint main(int n, char **v) { printf("{\\"said\\": \\"%s\\"}", v[1]); }'
    program = compiled(compiler, tmp_path / "built", "program", code)
    try:
        made(program, settings={"args": ["hello"], "output": "json"}, wheels=None, runtime=runtime, with_libc=with_libc)
    except PackageError as error:
        if "pip says" not in str(error):
            raise
        missing(f"pip finds no wheels: {error}")
    folder = tmp_path / "there"
    unpack(str(tmp_path / "made.zip"), str(folder))
    test = (
        "import json, sys; sys.path[:] = ['.', *(path for path in sys.path if path and 'site-packages' not in path)]\n"
        "import orjson, psutil, shim\n"
        "result = shim.handler({}, None)\n"
        "print(json.dumps([result, [module.__file__ for module in (shim, orjson, psutil)]]))"
    )
    said = run(folder, sys.executable, "-S", "-c", test, LAMBDA_TASK_ROOT=str(folder))
    result, files = json.loads(said)

    assert result == {"said": "hello"}
    assert {os.path.abspath(folder / file) for file in files} == {
        f"{folder}/{name}/__init__.py" for name in ("shim", "orjson", "psutil")
    }


@pytest.mark.parametrize("kind", ["executable", "include", "link"])
def test_what_is_packed_is_not_replaced_by_the_package(
    kind: str, script: Path, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """As where `-o` stands before a name, and the zip's own was forgotten."""
    (tmp_path / "other").write_text(SCRIPT)
    (tmp_path / "link").symlink_to(script)
    output = {"executable": script, "include": tmp_path / "other", "link": tmp_path / "link"}[kind]
    with pytest.raises(PackageError, match="can't be written: it is packed itself, and would be replaced; name anoth"):
        made(script, includes=[Include(str(tmp_path / "other"), "other")], output=str(output))

    assert (script.read_text(), (tmp_path / "other").read_text()) == (SCRIPT, SCRIPT)


def test_a_zip_that_is_too_large_to_be_uploaded_is_a_warning(
    script: Path, made: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(script, runtime="provided.al2023").problems == []
    monkeypatch.setattr("shim.package.contents.UPLOADED", 100)
    (problem,) = made(script, runtime="provided.al2023").problems

    assert (problem.severity, problem.place) == ("warning", "")
    assert "MB in an upload" in problem.sentence
    assert "upload it to S3" in problem.cure


def test_an_included_folder_may_be_deeper_than_python_s_own_stack(tmp_path: Path) -> None:
    folders = [tmp_path / "data"]
    folders[0].mkdir()
    for _ in range(1200):
        folders.append(folders[-1] / "a")
        folders[-1].mkdir()
    (folders[-1] / "file").touch()

    assert [file.name for file in included(Include(str(folders[0]), "data"))] == ["data/" + "a/" * 1200 + "file"]
    (folders[-1] / "file").unlink()
    for folder in reversed(folders):
        folder.rmdir()


def test_no_name_is_run_by_a_launcher(linked: Path, made: Callable[..., Packed], tmp_path: Path) -> None:
    """The shell would take what stands behind a line feed for a command."""
    program = tmp_path / "a\ntouch ran #"
    shutil.copy(linked, program)
    made(program, with_libc=True, runtime=RUNTIME)
    launcher = ZipFile(tmp_path / "made.zip").read("a\ntouch ran #").decode()

    assert launcher.splitlines()[1].startswith("# Starts 'a touch ran #' by the loader")


def test_two_libraries_of_one_name_are_not_taken_for_one(
    compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """Each program would find its own here; in the package the second would run with the first one's, and say nothing."""
    programs = []
    for name, number in (("one", 1), ("two", 2), ("same", 1)):
        folder = tmp_path / name
        code = f"int number(void) {{ return {number}; }}"
        library = compiled(compiler, folder, "libn.so.1", code, "-shared", "-fPIC", "-Wl,-soname,libn.so.1")
        main = "int number(void); int main(void) { return number(); }"
        programs.append(compiled(compiler, folder, name, main, str(library), f"-Wl,-rpath,{folder}"))
    one, two, same = programs
    with pytest.raises(PackageError) as raised:
        made(one, two)

    said = (
        f"two programs need a libn.so.1, and not the same: {tmp_path}/one/libn.so.1 and {tmp_path}/two/libn.so.1; pack"
    )
    assert str(raised.value).startswith(said)
    made(one, two, includes=[Include.parse(f"{tmp_path}/two/libn.so.1:lib/libn.so.1")])
    assert ZipFile(tmp_path / "made.zip").read("lib/libn.so.1") == (tmp_path / "two" / "libn.so.1").read_bytes()
    made(one, same)
    assert beside_shim(tmp_path) == {"one", "same", "lib/libn.so.1"}


def test_who_gave_with_libc_is_told_whom_it_is_for(script: Path, made: Callable[..., Packed]) -> None:
    problem = Problem("error", "bin/jq", "it needs glibc 2.38", "pack it with shim pack --with-libc")
    with pytest.raises(PackageError, match="EXECUTABLEs alone: give such a program as one, instead of with --include"):
        made(script, with_libc=True, judge=lambda _files: [problem])
    with pytest.raises(PackageError) as raised:
        made(script, judge=lambda _files: [problem])

    assert "EXECUTABLE" not in str(raised.value)


@pytest.mark.parametrize("tag", ["--disable-new-dtags", "--enable-new-dtags"])
def test_with_its_libc_a_program_takes_the_packages_libraries_whatever_its_search_path_names(
    tag: str, compiler: str, made: Callable[..., Packed], tmp_path: Path
) -> None:
    """DT_RPATH goes before what a loader is told: one that names /lib64 would bring the target's libc to our loader."""
    folder = tmp_path / "built"
    options = ("-shared", "-fPIC", "-Wl,-soname,libn.so.1")
    library = compiled(compiler, folder, "libn.so.1", "int number(void) { return 1; }", *options)
    main = "int number(void); int main(void) { return number(); }"
    program = compiled(compiler, folder, "program", main, str(library), f"-Wl,{tag},-rpath,{folder}")
    made(program, with_libc=True, runtime="provided.al2023")
    unpack(str(tmp_path / "made.zip"), str(tmp_path / "there"))
    compiled(compiler, folder, "libn.so.1", "int number(void) { return 2; }", *options)

    assert subprocess.run([tmp_path / "there" / "bootstrap"], check=False).returncode == 1
