"""Libraries are found where the real loaders find them: those of this machine are asked the same questions."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from shim.elf import MAGIC, Elf, ElfInvalid
from shim.package.libraries import Closure, closure
from shim.package.loaders import cached
from shim.package.root import FileContent, Root
from tests.conftest import missing
from tests.package.corpus import Corpus

if TYPE_CHECKING:
    from collections.abc import Callable

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"
SYSROOT = "/usr/aarch64-linux-gnu"
FOUND = re.compile(r"^\s+(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$", re.MULTILINE)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.getbasetemp() / "corpus")


@pytest.fixture
def build(tmp_path: Path, compiler: str) -> Callable[..., str]:
    """Compiles a library, or a program if `name` has no .so, that needs others; their folder is needed for linking only."""

    def make(name: str, *needs: str, flags: tuple[str, ...] = (), soname: str = "", musl: bool = False) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        word = re.sub(r"\W", "_", os.path.basename(name))
        calls = [re.sub(r"\W", "_", os.path.basename(need)) for need in needs]
        declared = "".join(f"int {call}(void);" for call in calls)
        is_library = ".so" in os.path.basename(name)
        body = f"{declared} int {word if is_library else 'main'}(void) {{ return 0{''.join(f' + {call}()' for call in calls)}; }}"
        source = tmp_path / f"{word}.c"
        source.write_text(body)
        kind = ["-shared", "-fPIC", f"-Wl,-soname,{soname or os.path.basename(name)}"] if is_library else []
        command = ["musl-gcc" if musl else compiler, *kind, "-o", str(path), str(source)]
        command += [str(tmp_path / need) for need in needs]
        subprocess.run([*command, "-Wl,--allow-shlib-undefined,--no-as-needed", *flags], check=True)
        return str(path)

    return make


def said_by_loader(loader: str, program: str, **environment: str) -> dict[str, str | None]:
    """Each needed name, and where the real loader finds it."""
    if not os.path.exists(loader):
        missing(f"there is no {loader}")
    said = subprocess.run([loader, "--list", program], env=environment, check=False, capture_output=True, text=True)
    return {name: None if path == "not found" else path for name, path in FOUND.findall(said.stdout)}


def said_by_us(found: Closure) -> dict[str, str | None]:
    """The same of ours. The loader itself is not asked for."""
    own = None if found.loader is None else found.loader.path
    return {library.name: library.path for library in found.libraries if own is None or library.path != own}


def without_loader(said: dict[str, str | None], loader: str) -> dict[str, str | None]:
    return {
        name: path
        for name, path in said.items()
        if path != loader and os.path.basename(name) != os.path.basename(loader)
    }


def test_every_program_and_library_of_this_machine_is_resolved_as_the_loader_does_it() -> None:
    """Where the loader misses one, it stops at the first, which is one of those that we miss too."""
    paths = [
        Path(folder, name)
        for folder in ("/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu")
        for name in os.listdir(folder)
    ]
    asked, wrong = 0, []
    for path in sorted(path for path in paths if path.is_file() and not path.is_symlink()):
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                continue
        elf = Elf(FileContent(str(path)))
        if elf.machine != "x86_64" or elf.bits != 64 or not elf.needed or elf.libc == "musl" or elf.type != 3:
            continue
        asked += 1
        expected, found = said_by_loader(GLIBC, str(path)), closure(str(path))
        if without_loader(expected, GLIBC) != without_loader(said_by_us(found), GLIBC) and not (
            found.missing and not expected
        ):
            wrong.append((path, expected, said_by_us(found), found.missing))

    assert asked > 50
    assert wrong == []


@pytest.mark.parametrize("own", ["--enable-new-dtags,-rpath", "--disable-new-dtags,-rpath", ""])
@pytest.mark.parametrize("others", ["--enable-new-dtags,-rpath", "--disable-new-dtags,-rpath", ""])
@pytest.mark.parametrize("library_path", ["{0}/c", "", ":{0}/b;{0}/c", "$ORIGIN/c"])
def test_search_paths_are_used_in_the_loaders_order(
    own: str, others: str, library_path: str, build: Callable[..., str], tmp_path: Path
) -> None:
    """The program has one search path, the library that it needs another, and what both need is in three folders."""
    for folder in ("a", "b", "c"):
        build(f"{folder}/libdeep.so.1")
    build("first/libfirst.so.1", "a/libdeep.so.1", flags=(f"-Wl,{others},$ORIGIN/../b",) if others else ())
    shutil.copy(tmp_path / "first/libfirst.so.1", tmp_path / "c")
    program = build(
        "program",
        "first/libfirst.so.1",
        flags=(f"-Wl,{own},$ORIGIN/first:{tmp_path}/${{LIB}}:$ORIGIN/a",) if own else (),
    )
    search = library_path.format(tmp_path)
    expected = said_by_loader(GLIBC, program, LD_LIBRARY_PATH=search)
    found = closure(program, library_path=search)

    if any(path is None for path in said_by_us(found).values()):
        assert not expected or None in expected.values()
    else:
        assert {name: os.path.realpath(path or "") for name, path in without_loader(expected, GLIBC).items()} == {
            name: os.path.realpath(path or "") for name, path in said_by_us(found).items()
        }


def test_a_name_with_a_slash_is_a_path(build: Callable[..., str], tmp_path: Path) -> None:
    """From the folder where the program runs, or from its own where it says so."""
    build("lib/libnamed.so", soname="$ORIGIN/lib/libnamed.so")
    build("lib/libplain.so", soname="lib/libplain.so")
    program = build("program", "lib/libnamed.so", "lib/libplain.so")
    found = closure(program, folder=str(tmp_path))
    paths = {library.name: library.path for library in found.libraries}

    assert paths["$ORIGIN/lib/libnamed.so"] == str(tmp_path / "lib/libnamed.so")
    assert paths["lib/libplain.so"] == str(tmp_path / "lib/libplain.so")
    assert [library.name for library in closure(program).missing] == ["lib/libplain.so"]


def test_who_needs_what_is_told_of_libraries_that_need_each_other(build: Callable[..., str], tmp_path: Path) -> None:
    build("lib/libtwo.so")
    build("lib/libone.so", "lib/libtwo.so")
    build("lib/libtwo.so", "lib/libone.so")
    program = build("program", "lib/libone.so", flags=("-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib",))
    found = {library.name: library for library in closure(program).libraries}

    one, two = str(tmp_path / "lib/libone.so"), str(tmp_path / "lib/libtwo.so")
    assert (found["libone.so"].path, found["libone.so"].needed_by) == (one, (program, two))
    assert (found["libtwo.so"].path, found["libtwo.so"].needed_by) == (two, (one,))
    assert found["libc.so.6"].elf is not None
    assert found["libc.so.6"].elf.soname == "libc.so.6"


def test_two_names_of_one_file_are_loaded_once(build: Callable[..., str], tmp_path: Path) -> None:
    build("lib/libnew.so.1")
    (tmp_path / "lib/libold.so.1").symlink_to("libnew.so.1")
    build("stub/libold.so.1")
    program = build("program", "lib/libnew.so.1", "stub/libold.so.1", flags=("-Wl,-rpath,$ORIGIN/lib",))
    found = {library.name: library for library in closure(program).libraries}

    assert found["libnew.so.1"].path == found["libold.so.1"].path == str(tmp_path / "lib/libnew.so.1")
    assert found["libc.so.6"].needed_by[:2] == (program, str(tmp_path / "lib/libnew.so.1"))


def test_what_is_missing_says_who_needs_it_and_what_was_seen(corpus: Corpus) -> None:
    program = str(corpus.file("needs-missing-library"))
    (library,) = closure(program).missing

    assert (library.name, library.path, library.needed_by) == ("libmissing.so.1", None, (program,))
    assert library.trouble == "is nowhere"


def test_a_library_for_another_architecture_is_passed_over(
    build: Callable[..., str], tmp_path: Path, corpus: Corpus
) -> None:
    build("b/libdeep.so.1")
    (tmp_path / "a").mkdir()
    shutil.copy(corpus.file("c-arm64"), tmp_path / "a/libdeep.so.1")
    program = build("program", "b/libdeep.so.1", flags=("-Wl,-rpath,$ORIGIN/a:$ORIGIN/b",))
    (found, *_) = closure(program).libraries

    assert found.path == str(tmp_path / "b/libdeep.so.1")
    os.unlink(found.path)
    (library,) = closure(program).missing

    assert library.trouble == f"is nowhere; {tmp_path}/a/libdeep.so.1 is for arm64 (64 bits)"


def test_a_broken_library_is_where_the_loader_gives_up(build: Callable[..., str], tmp_path: Path) -> None:
    """It looks no further, though a good one is in the next folder."""
    good = Path(build("b/libdeep.so.1")).read_bytes()
    program = build("program", "b/libdeep.so.1", flags=("-Wl,-rpath,$ORIGIN/a:$ORIGIN/b",))
    (tmp_path / "a").mkdir()
    broken = tmp_path / "a/libdeep.so.1"
    for content, trouble in [
        (b"/* GNU ld script */ INPUT(libother.so)", "is a text, perhaps a linker script: it does not begin with"),
        (good[:60], "is no library that can be read: it ends after 60 bytes"),
        (good[:-4000], "is truncated: it has"),
        (b"", "is no library that can be read: it does not begin with the magic of ELF"),
        (Path(program).read_bytes()[:16] + b"\1\0" + good[18:], "is no shared library"),
    ]:
        broken.write_bytes(content)
        (library,) = closure(program).missing

        assert library.trouble.startswith(f"{broken} {trouble}")
        assert said_by_loader(GLIBC, program) == {}


def test_folders_and_pipes_in_the_way_stop_nothing(build: Callable[..., str], tmp_path: Path) -> None:
    build("b/libdeep.so.1")
    (tmp_path / "a/libdeep.so.1").mkdir(parents=True)
    (tmp_path / "p").mkdir()
    os.mkfifo(tmp_path / "p/libdeep.so.1")
    program = build("program", "b/libdeep.so.1", flags=("-Wl,-rpath,$ORIGIN/a:$ORIGIN/p:$ORIGIN/b",))

    assert closure(program).libraries[0].path == str(tmp_path / "b/libdeep.so.1")


def test_a_sysroot_of_another_architecture(corpus: Corpus, tmp_path: Path) -> None:
    """Nothing of it is run: this machine could not."""
    if not os.path.isdir(SYSROOT):
        missing(f"there is no {SYSROOT} (libc6-dev-arm64-cross)")
    shutil.copytree(f"{SYSROOT}/lib", tmp_path / "lib", symlinks=True, ignore=shutil.ignore_patterns("*.a", "*.o"))
    shutil.copy(corpus.file("c-arm64"), tmp_path / "program")
    found = closure("/program", root=Root(str(tmp_path)))
    (libc, *_) = found.libraries

    assert found.missing == ()
    assert found.loader is not None
    assert found.loader.path == "/lib/ld-linux-aarch64.so.1"
    assert (libc.path, libc.elf and libc.elf.machine) == ("/lib/libc.so.6", "arm64")
    assert found.newest_glibc(without={"libc.so.6"}) == (found.elf.glibc, "/program")


def test_a_package_knows_only_itself(corpus: Corpus, tmp_path: Path) -> None:
    """It will be at /var/task, and this machine's system is not its target's."""
    program = corpus.file("c-with-library")
    shutil.copytree(program.parent, tmp_path / "package")
    found = closure(
        f"/var/task/{program.name}", root=Root(str(tmp_path / "package"), place="/var/task"), has_system=False
    )
    (own, libc) = found.libraries

    assert (own.path, own.file) == ("/var/task/lib/libanswer.so.1", str(tmp_path / "package/lib/libanswer.so.1"))
    assert (libc.name, libc.path, libc.trouble) == ("libc.so.6", None, "is nowhere")
    assert found.loader is not None
    assert found.loader.trouble == "is not there"
    by_path = closure(
        f"/var/task/{program.name}",
        root=Root(str(tmp_path / "package"), place="/var/task"),
        library_path="/var/task/lib:/usr/lib/x86_64-linux-gnu:/lib64",
        has_system=False,
    )

    assert [library.path is None for library in by_path.libraries] == [False, True]


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/real").write_bytes(b"x")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "usr/lib/up").symlink_to("../../../../../usr/lib/real")
    (tmp_path / "usr/lib/round").symlink_to("round")
    root = Root(str(tmp_path))

    assert (
        root.file("/lib/real") == root.file("/lib/up") == root.file("/lib/../lib/.//up") == f"{tmp_path}/usr/lib/real"
    )
    assert root.real("/lib/round") is None
    assert not root.has("/lib/round")
    assert root.has("/lib")
    assert Root(str(tmp_path), place="/var/task").file("/lib/real") is None
    assert (
        Root(str(tmp_path), place="/var/task").file("/var/task/lib/../lib/x") is None
    )  # /lib leads to the target's /usr/lib
    with pytest.raises(FileNotFoundError):
        root.content("/lib/round")
    with pytest.raises(OSError, match="is no file"):
        root.content("/lib")


@pytest.mark.parametrize("search", ["rpath", "env", "system"])
def test_musl_programs_are_resolved_as_musls_loader_does_it(
    search: str, build: Callable[..., str], tmp_path: Path
) -> None:
    if shutil.which("musl-gcc") is None:
        missing("there is no musl-gcc (musl-tools)")
    for folder in ("a", "b"):
        build(f"{folder}/libdeep.so.1", musl=True)
    build("a/libfirst.so.1", "a/libdeep.so.1", musl=True)
    flags = ("-Wl,-rpath,$ORIGIN/a",) if search == "rpath" else ()
    program = build("program", "a/libfirst.so.1", flags=flags, musl=True)
    library_path = {"rpath": f"{tmp_path}/b", "env": f"{tmp_path}/b:{tmp_path}/a", "system": ""}[search]
    expected = said_by_loader(MUSL, program, LD_LIBRARY_PATH=library_path)
    found = closure(program, library_path=library_path)

    if search == "system":
        assert [library.name for library in found.missing] == ["libfirst.so.1"]
    else:
        assert found.missing == ()
        assert {"libdeep.so.1": f"{tmp_path}/b/libdeep.so.1", "libfirst.so.1": f"{tmp_path}/a/libfirst.so.1"} == {
            name: path for name, path in said_by_us(found).items() if name != "libc.so"
        }
        assert {name: path for name, path in expected.items() if name != "libc.so"} == said_by_us(found)


def test_musls_own_list_of_folders(build: Callable[..., str], tmp_path: Path, corpus: Corpus) -> None:
    if shutil.which("musl-gcc") is None:
        missing("there is no musl-gcc (musl-tools)")
    build("opt/libdeep.so.1", musl=True)
    program = build("program", "opt/libdeep.so.1", musl=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "lib").mkdir()
    shutil.copy(os.path.realpath(MUSL), tmp_path / "lib/ld-musl-x86_64.so.1")
    root = Root(str(tmp_path))

    assert [library.name for library in closure(f"/{os.path.basename(program)}", root=root).missing] == ["libdeep.so.1"]
    (tmp_path / "etc/ld-musl-x86_64.path").write_text("/usr/lib\n/opt:/lib\n")
    found = closure(f"/{os.path.basename(program)}", root=root)

    paths = {library.name: library.path for library in found.libraries}

    assert paths == {"libdeep.so.1": "/opt/libdeep.so.1", "libc.so": "/lib/ld-musl-x86_64.so.1"}


@pytest.mark.parametrize("name", ["c-static", "c-static-pie", "musl-static", "go"])
def test_a_static_program_needs_nothing(name: str, corpus: Corpus) -> None:
    found = closure(str(corpus.file(name)))

    assert (found.loader, found.libraries, found.missing, found.newest_glibc()) == (None, (), (), None)


def test_a_program_that_is_none_is_an_error(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ElfInvalid):
        closure(str(corpus.file("text")))
    with pytest.raises(FileNotFoundError):
        closure(str(tmp_path / "nothing"))
    with pytest.raises(OSError, match="is no file"):
        closure(str(tmp_path))


def test_a_loader_that_is_not_there_is_missing(corpus: Corpus) -> None:
    found = closure(str(corpus.file("no-such-loader")))
    (loader,) = found.missing

    assert (loader.name, loader.trouble) == ("/nix/store/none/lib/ld-linux-x86-64.so.2", "is not there")


def test_the_newest_glibc_is_asked_of_all(corpus: Corpus) -> None:
    program = str(corpus.file("needs-newer-glibc"))

    assert closure(program).newest_glibc() == ((2, 99), program)


def test_the_cache_says_what_ldconfig_says() -> None:
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None or not os.path.exists("/etc/ld.so.cache"):
        missing("there is no ldconfig or no /etc/ld.so.cache")
    said = subprocess.check_output([ldconfig, "-p"], text=True)
    expected: dict[str, list[str]] = {}
    for name, path in re.findall(r"^\s+(\S+) \(libc6,x86-64\) => (\S+)$", said, re.MULTILINE):
        expected.setdefault(name, []).append(path)
    content = Path("/etc/ld.so.cache").read_bytes()

    assert expected == cached(content, "x86_64", 64)
    assert expected == cached(b"ld.so-1.7.0\0" + bytes(36) + content, "x86_64", 64)
    assert cached(content, "riscv", 64) == {}


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_any_cache_is_read_or_passed_over(before: bytes, count: int, words: list[int]) -> None:
    body = (
        b"glibc-ld.so.cache1.1"
        + struct.pack("<I", count)
        + bytes(24)
        + b"".join(struct.pack("<I", word) for word in words)
    )

    assert isinstance(cached(before + body, "x86_64", 64), dict)
    assert cached(before, "x86_64", 64) == {}
