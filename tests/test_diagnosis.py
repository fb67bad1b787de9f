"""Why a program does not start, in one sentence: told at init where a look at the file shows it, else by the invocation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

import shim
from shim import Shim
from shim.children import diagnosis
from shim.elf import Elf
from shim.local.context import LambdaContext

from .conftest import missing

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"\x7fELF\x02\x01\x01"
BROKEN = [
    (b"", r"is empty \(0 bytes\); check that the build wrote it"),
    (
        b"echo no first line\n",
        "neither an ELF program nor a script with a first line of #!, but begins with b'echo no ",
    ),
    (b"\xef\xbb\xbf#!/bin/sh\n", "a byte order mark before its #!.*; save it as UTF-8 without"),
    (b"MZ\x90\0", "is a program for Windows; build it for Linux on"),
    (b"#!\n", "is a script that names no interpreter"),
    (b"#!/etc/passwd\n", "is a script for /etc/passwd, which is not executable"),
    (b"#!\0\n", "is a script that names no interpreter"),
]
BROKEN_ELF = [
    (MAGIC + b"\0" * 9, "is a broken ELF program: it ends after 16 bytes"),
    (b"\x7fELF\x09\x01\x01" + b"\0" * 60, "is a broken ELF program: it has class 9"),
]
MISSING = [
    (
        b"#!/no/such/interpreter -x\n",
        "interpreter is missing: there is no '/no/such/interpreter'; name one that exists",
    ),
    (b"#!/bin/sh\r\necho\r\n", r"with CR LF line ends, .* sought as '/bin/sh.r'; convert its line ends to LF"),
    (
        b"#!/usr/bin/env no-such-tool\n",
        r"there is no 'no-such-tool' on its PATH \(.*\); package it in bin/",
    ),
    (b"#!/usr/bin/env sh -e\n", r"there is no 'sh -e' on its PATH .*; begin with #!/usr/bin/env -S"),
    (b"#!/usr/bin/env sh\r\n", r"with CR LF line ends, .* sought as 'sh.r'; convert its line ends to LF"),
]


def write(path: Path, content: bytes, mode: int = 0o755) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def compiled(compiler: str, folder: Path, *options: str, source: str = "int main(void) { return 0; }") -> str:
    (folder / "main.c").write_text(source)
    program = folder / "program"
    subprocess.run([compiler, "-o", str(program), str(folder / "main.c"), *options], check=True)
    return str(program)


def run(program: str, **settings: object) -> object:
    return Shim(program, **settings)({}, LambdaContext(timeout=20))


def test_what_is_no_file_to_run_is_refused_at_init(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o755)
    with pytest.raises(shim.ExecutableNotRunnable, match="is a folder"):
        Shim(str(tmp_path / "folder"))
    with pytest.raises(shim.ExecutableNotRunnable, match="is no file but something else"):
        Shim(str(tmp_path / "fifo"))
    with pytest.raises(shim.ExecutableNotRunnable, match=r"is not executable.*; chmod \+x.*Windows loses the bit"):
        Shim(write(tmp_path / "plain", b"#!/bin/sh\n", 0o644))


@pytest.mark.parametrize(("content", "reason"), BROKEN)
def test_a_file_that_is_no_program_is_refused_at_init(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(shim.ExecutableNotRunnable, match=reason):
        Shim(write(tmp_path / "program", content))


@pytest.mark.parametrize(("content", "reason"), MISSING)
def test_a_missing_interpreter_is_named_at_init(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(shim.ExecutableNotFound, match=reason):
        Shim(write(tmp_path / "program", content))


def test_a_script_for_a_script_is_followed_to_what_is_missing(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner", b"#!/no/such/interpreter\n")
    with pytest.raises(
        shim.ExecutableNotFound, match=f"is a script for {inner}, which is a script whose interpreter is missing"
    ):
        Shim(write(tmp_path / "outer", b"#!%s\n" % inner.encode()))


@pytest.mark.parametrize(("content", "reason"), BROKEN + BROKEN_ELF)
def test_what_breaks_after_init_is_told_and_the_environment_survives(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    program = write(tmp_path / "program", b"#!/bin/sh\necho fine\n")
    runner = Shim(program, output="text")
    assert runner({}) == "fine\n"
    write(tmp_path / "program", content)
    with pytest.raises(shim.ExecutableNotRunnable, match=reason):
        runner({})
    (tmp_path / "program").unlink()
    with pytest.raises(shim.ExecutableNotFound):
        runner({})
    write(tmp_path / "program", b"#!/bin/sh\necho again\n")

    assert runner({}) == "again\n"


@pytest.mark.parametrize(
    "first_line",
    [
        b"#!/bin/sh",
        b"#! /bin/sh",
        b"#!\t/bin/sh\t-e ",
        b"#!/usr/bin/env sh",
        b"#!/usr/bin/env -S sh -e",
        b"#!/usr/bin/env -S A=b sh",
        b'#!/usr/bin/env -S "sh" -e',
        b"#!/usr/bin/env -S sh -e\r",
        b"#!/usr/bin/env sh\0junk",
        b"#!/bin/sh\0junk",
    ],
)
def test_first_lines_that_the_kernel_takes_are_taken(first_line: bytes, tmp_path: Path) -> None:
    assert run(write(tmp_path / "program", first_line + b"\necho fine\n"), output="text") == "fine\n"


@pytest.mark.parametrize("first_line", ["#!./tool", "#!/usr/bin/env ./tool", "#!/usr/bin/env tool"])
def test_relative_names_are_looked_for_where_the_child_runs(first_line: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "tool").symlink_to("/bin/sh")
    program = write(tmp_path / "program", f"{first_line}\necho fine\n".encode())

    answer = run(program, output="text", cwd=str(tmp_path / "sub"), env={"PATH": ".:/usr/bin:/bin"})
    assert answer == "fine\n"


def test_an_executable_that_becomes_a_fifo_is_waited_for_by_nobody(tmp_path: Path) -> None:
    program = write(tmp_path / "program", b'#!/bin/sh\nrm "$0"; mkfifo "$0"; chmod +x "$0"; exit 1\n')
    with pytest.raises(shim.ExitError):
        run(program)


def test_a_link_to_nothing_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "program").symlink_to("/no/such/program")
    with pytest.raises(shim.ExecutableNotFound, match="a link to /no/such/program, which is not there"):
        Shim(str(tmp_path / "program"))


def test_a_folder_that_is_closed_to_the_functions_user_is_told_as_such() -> None:
    if os.getuid() != 0:
        missing("only root can become a user to whom a folder is closed")
    with TemporaryDirectory() as name:  # tmp_path is in a folder that only its owner may enter
        package = Path(name)
        package.chmod(0o755)
        (package / "bin").mkdir(mode=0o700)
        write(package / "bin" / "program", b"#!/bin/sh\n")
        ask = (
            "import os, shim; os.setuid(65534)\n"
            f"try: shim.Shim({str(package / 'bin' / 'program')!r})\n"
            "except shim.ExecutableNotRunnable as error: print(error)\n"
        )
        said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30, check=False)

    assert "bin/program can't be reached: Permission denied" in said.stdout, said.stderr
    assert "chmod a+rx the folders" in said.stdout


def test_an_entry_point_at_address_0_and_headers_that_only_the_kernel_understands_are_left_to_it(
    actor: str, tmp_path: Path
) -> None:
    content = bytearray(Path(actor).read_bytes())
    content[4:6] = b"\x09\x09"  # class and byte order, at which Linux does not look
    Shim(write(tmp_path / "program", bytes(content)))


def test_programs_of_this_system_are_refused_for_nothing() -> None:
    """No false alarm: all that this system has and runs."""
    programs = [os.path.join(folder, name) for folder in ("/bin", "/sbin", "/usr/bin") for name in os.listdir(folder)]
    runnable = [path for path in programs if os.path.isfile(path) and os.access(path, os.X_OK)]
    findings = {
        path: diagnosis.examine(path, executable=path, search=os.environ["PATH"], folder=".") for path in runnable
    }

    assert len(runnable) > 100
    assert {
        path: str(error) for path, error in findings.items() if error and "interpreter is missing" not in str(error)
    } == {}


def test_a_program_for_another_architecture_is_told_with_both(actor: str, tmp_path: Path) -> None:
    content = bytearray(Path(actor).read_bytes())
    other, here, machine = ("arm64", "x86_64", 0xB7) if os.uname().machine == "x86_64" else ("x86_64", "arm64", 0x3E)
    content[18:20] = machine.to_bytes(2, "little")

    with pytest.raises(
        shim.ExecutableNotRunnable,
        match=rf"is a program for {other}, and this machine is {here}; build it for {here}",
    ):
        Shim(write(tmp_path / "program", bytes(content)))


def test_where_the_kernel_was_told_of_more_formats_only_it_decides(
    actor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with qemu, which runs programs for other machines: init refuses nothing, and what the kernel refuses is told all the same."""
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "qemu-aarch64").touch()
    monkeypatch.setattr(diagnosis, "FORMATS", str(tmp_path / "formats"))
    content = bytearray(Path(actor).read_bytes())
    content[18:20] = (0x16).to_bytes(2, "little")
    runner = Shim(write(tmp_path / "program", bytes(content)))

    with pytest.raises(shim.ExecutableNotRunnable, match="is a program for s390x"):
        runner({})


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_program_that_was_copied_half_is_told_with_both_sizes(part: float, actor: str, tmp_path: Path) -> None:
    content = Path(actor).read_bytes()
    loaded = Elf(content).length
    size = int(loaded * part)
    with pytest.raises(
        shim.ExecutableNotRunnable, match=rf"is truncated: it has {size} bytes, and its ELF headers describe {loaded}"
    ):
        Shim(write(tmp_path / "program", content[:size]))


def test_an_object_file_and_a_library_are_no_programs(compiler: str, tmp_path: Path) -> None:
    with pytest.raises(shim.ExecutableNotRunnable, match="is an object file, not a program"):
        Shim(write(tmp_path / "object", Path(compiled(compiler, tmp_path, "-c")).read_bytes()))
    with pytest.raises(shim.ExecutableNotRunnable, match="is a library, not a program"):
        Shim(compiled(compiler, tmp_path, "-shared", "-fPIC", "-nostartfiles"))


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (
            "/lib/ld-musl-none.so.1",
            r"linked against musl .*, whose loader /lib/ld-musl-none\.so\.1 is not on this system; link it statically",
        ),
        (
            "/lib64/ld-missing.so.2",
            r"a C library whose loader /lib64/ld-missing\.so\.2 is not on this system",
        ),
    ],
)
def test_a_missing_loader_is_named_at_init(loader: str, reason: str, compiler: str, tmp_path: Path) -> None:
    """As a program that was built for musl has none on Lambda."""
    with pytest.raises(shim.ExecutableNotRunnable, match=reason):
        Shim(compiled(compiler, tmp_path, f"-Wl,--dynamic-linker={loader}"))


def test_headers_at_the_end_of_a_large_file_are_found(actor: str, tmp_path: Path) -> None:
    """As patchelf writes them."""
    content = bytearray(Path(actor).read_bytes())
    start, count = int.from_bytes(content[32:40], "little"), int.from_bytes(content[56:58], "little")
    table = bytes(content[start : start + 56 * count])
    content[32:40] = (8 * 1024 * 1024).to_bytes(8, "little")
    content += bytes(8 * 1024 * 1024 - len(content)) + table

    program = write(tmp_path / "program", bytes(content))

    assert diagnosis.examine(program, executable="program", search="", folder=".") is None
    assert diagnosis.describe(program) == f"{len(content):,} bytes, {Elf(bytes(content)).machine}"


FOO = "int foo(void) { return 0; }"
NEEDS_FOO = "int foo(void); int main(void) { return foo(); }"


@pytest.fixture
def needs_foo(compiler: str, tmp_path: Path) -> Callable[..., str]:
    """A program that needs libfoo.so.1, whose folder is `lib`, on its LD_LIBRARY_PATH by the setting `env`."""
    (tmp_path / "lib").mkdir()

    def build(*, build_map: str = "", run_map: str = "") -> str:
        (tmp_path / "foo.c").write_text(FOO)
        for version_map, output in ((build_map, "build.so"), (run_map, "lib/libfoo.so.1")):
            script = []
            if version_map:
                (tmp_path / "map").write_text(version_map)
                script = [f"-Wl,--version-script={tmp_path / 'map'}"]
            library = [compiler, "-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", *script]
            subprocess.run([*library, "-o", str(tmp_path / output), str(tmp_path / "foo.c")], check=True)
        return compiled(compiler, tmp_path, str(tmp_path / "build.so"), source=NEEDS_FOO)

    return build


def with_lib(tmp_path: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": str(tmp_path / "lib")}


def test_a_missing_library_is_named(needs_foo: Callable[..., str], tmp_path: Path) -> None:
    program = needs_foo()
    assert run(program, env=with_lib(tmp_path)) is None
    (tmp_path / "lib" / "libfoo.so.1").unlink()

    with pytest.raises(
        shim.ExecutableNotRunnable,
        match=r"its loader did not find libfoo\.so\.1 .*; package it and what it needs in lib/",
    ) as caught:
        run(program, env=with_lib(tmp_path))
    assert "error while loading shared libraries" in caught.value.stderr_tail


def test_a_missing_library_is_named_without_a_tail_and_for_every_event(
    needs_foo: Callable[..., str], tmp_path: Path
) -> None:
    program = needs_foo()
    (tmp_path / "lib" / "libfoo.so.1").unlink()
    with pytest.raises(shim.ExecutableNotRunnable, match=r"did not find libfoo\.so\.1"):
        Shim(program, stderr_tail_bytes=0)({"body": "x" * 3_000_000}, LambdaContext(timeout=20))


def test_a_missing_version_is_named(needs_foo: Callable[..., str], tmp_path: Path) -> None:
    program = needs_foo(build_map="FOO_2 { foo; };", run_map="FOO_1 { foo; };")
    with pytest.raises(shim.ExecutableNotRunnable, match=r"it needs FOO_2, which .*libfoo\.so\.1 does not have"):
        run(program, env=with_lib(tmp_path))


def test_a_missing_version_of_glibc_is_named_with_the_one_that_is_here(compiler: str, tmp_path: Path) -> None:
    """The version that the program asks for is made one that no glibc has."""
    program = Path(compiled(compiler, tmp_path, source='#include <stdio.h>\nint main(void) { puts("x"); return 0; }'))
    content = program.read_bytes()
    wanted = next((name for name in (b"GLIBC_2.34", b"GLIBC_2.17") if name in content), None)
    if wanted is None:
        missing("the compiler's C library is not glibc")
    hashed, new = elf_hash(wanted), b"GLIBC_9.99"
    content = content.replace(wanted, new).replace(hashed.to_bytes(4, "little"), elf_hash(new).to_bytes(4, "little"))
    program.write_bytes(content)

    here = os.confstr("CS_GNU_LIBC_VERSION")
    with pytest.raises(
        shim.ExecutableNotRunnable,
        match=rf"it needs GLIBC_9\.99, and this system has {here}; build it on",
    ):
        run(str(program))


def elf_hash(name: bytes) -> int:
    """By which the loader compares versions (System V ABI, "Hash Table")."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value


def test_a_library_that_was_copied_half_is_named(needs_foo: Callable[..., str], tmp_path: Path) -> None:
    program = needs_foo()
    library = tmp_path / "lib" / "libfoo.so.1"
    library.write_bytes(library.read_bytes()[:100])
    with pytest.raises(
        shim.ExecutableNotRunnable,
        match=r"its loader says .*libfoo\.so\.1: .*; package the library as it was built",
    ):
        run(program, env=with_lib(tmp_path))


FALSE_LOADER = """
static long call(long number, long a, long b) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}
void run(long *stack) {
    char **arguments = (char **)(stack + 1);
    if (stack[0] > 1 && arguments[1][2] == 'l') { /* --list */
        call(85 /* creat */, (long)"ASKED", 0644);
        for (;;)
            call(34 /* pause */, 0, 0);
    }
    call(60 /* exit */, 1, 0);
}
__asm__(".globl _start\\n_start: mov %rsp, %rdi\\n and $-16, %rsp\\n call run\\n");
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its system calls are those of x86_64")
def test_a_loader_that_does_not_answer_keeps_nobody_waiting(compiler: str, tmp_path: Path) -> None:
    """Without a deadline, too: what a program has in its loader's place is its own affair, but not for how long it keeps us."""
    asked = tmp_path / "asked"
    (tmp_path / "loader").mkdir()
    source = FALSE_LOADER.replace("ASKED", str(asked))
    bare = ["-nostdlib", "-static-pie", "-fPIE", "-fno-stack-protector", "-O1"]
    (tmp_path / "ld-false.so").symlink_to(compiled(compiler, tmp_path / "loader", *bare, source=source))
    program = compiled(compiler, tmp_path, f"-Wl,--dynamic-linker={tmp_path / 'ld-false.so'}")

    with pytest.raises(shim.ExitError):
        Shim(program)({})
    assert asked.exists()


def test_a_program_that_env_starts_is_asked_about_as_well(needs_foo: Callable[..., str], tmp_path: Path) -> None:
    needs_foo()
    (tmp_path / "lib" / "libfoo.so.1").unlink()
    script = write(tmp_path / "script", b"#!/usr/bin/env program\n")
    with pytest.raises(shim.ExecutableNotRunnable, match=r"its loader did not find libfoo\.so\.1"):
        run(script, env={**with_lib(tmp_path), "PATH": str(tmp_path)})


def test_musls_words_are_understood_too(tmp_path: Path) -> None:
    musl = shutil.which("musl-gcc")
    if musl is None:
        missing("musl-gcc, of musl-tools, is not here")
    (tmp_path / "foo.c").write_text(FOO)
    library = [musl, "-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", "-o", str(tmp_path / "build.so")]
    subprocess.run([*library, str(tmp_path / "foo.c")], check=True)
    program = compiled(musl, tmp_path, str(tmp_path / "build.so"), source=NEEDS_FOO)
    with pytest.raises(shim.ExecutableNotRunnable, match=r"its loader did not find libfoo\.so\.1"):
        run(program)


WORDS = "error while loading shared libraries: libgmp.so.10: cannot open shared object file: No such file or directory"
ACTS = [
    f'#!/bin/sh\necho "$0: {WORDS}" >&2; exit 127\n',
    f'#!/bin/sh\nread -r line; echo "$0: {WORDS}" >&2; exit 127\n',
    f'#!/bin/sh\necho answer; echo "$0: {WORDS}" >&2; exit 127\n',
    '#!/bin/sh\necho "$0: /lib64/libc.so.6: version \\`GLIBC_2.38\' not found (required by $0)" >&2; exit 1\n',
]


@pytest.mark.parametrize("act", ACTS)
def test_a_script_can_not_fake_the_loader(act: str, tmp_path: Path) -> None:
    with pytest.raises(shim.ExitError, match=r"exit code 1(27)?"):
        run(write(tmp_path / "program", act.encode()))


def test_a_program_can_not_fake_the_loader(compiler: str, tmp_path: Path) -> None:
    """It has the very words and the very code, and reads and answers nothing: the loader is asked, and knows better."""
    source = f'#include <stdio.h>\nint main(int n, char **a) {{ fprintf(stderr, "%s: {WORDS}\\n", a[0]); return n ? 127 : 1; }}'
    with pytest.raises(shim.ExitError) as caught:
        run(compiled(compiler, tmp_path, source=source))
    assert caught.value.exit_code == 127
    assert WORDS in caught.value.stderr_tail
