"""What an error says of a child that died: the signal, why it is sent, what to do; and of memory only what is known."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.codecs import hints
from shim.local.context import LambdaContext
from shim.outcome import Exited, Signaled, Usage

if TYPE_CHECKING:
    from pathlib import Path

MB = 1024 * 1024


def facts(*, peak: int = 0, own: int = 0, stderr_tail: str = "") -> dict[str, Any]:
    usage = Usage(user=0, system=0, peak=peak, ours=lambda: own)
    return {"reply": b"", "duration": 0.012, "stderr_tail": stderr_tail, "usage": usage, "swept": 0, "spawn": 0.001}


def killed(**known: Any) -> Signaled:
    return Signaled("SIGKILL", core_dumped=False, **facts(**known))


def message(script: str, **settings: Any) -> str:
    with pytest.raises(shim.ShimError) as caught:
        Shim("sh", args=["-c", script], **settings)({}, LambdaContext(timeout=20))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SEGV", "accessed invalid memory.*debugger"),
        ("ABRT", "sent itself.*standard error should say why"),
        ("PIPE", "a pipe or socket whose other end was closed.*ignore SIGPIPE"),
        ("XCPU", "which the kernel sends when a limit of CPU time is exceeded.*ulimit -t"),
        ("SYS", "a seccomp filter"),
        ("BUS", "beyond the file's end"),
        ("ILL", "an instruction that this CPU does not have.*march=native"),
        ("TERM", "something else than shim sent"),
    ],
)
def test_a_signal_is_named_with_what_it_means_and_the_last_lines(name: str, says: str) -> None:
    said = message(f"echo the last line >&2; kill -{name} $$")

    assert re.search(rf"was killed by SIG{name}( \(core dumped\))? after \d+ ms, .*{says}", said)
    assert said.endswith("Its standard error ends with:\nthe last line")


def test_every_signal_of_the_tables_has_a_name_that_the_kernel_knows() -> None:
    assert {*hints.SIGNALS, *hints.NUMBERS.values()} <= {known.name for known in signal.Signals}
    assert all(signal.Signals(number).name == name for number, name in hints.NUMBERS.items())
    assert {*hints.NUMBERS.values()} <= {*hints.SIGNALS, "SIGKILL"}


@pytest.mark.parametrize(
    ("known", "memory", "says"),
    [
        (
            {"peak": 100 * MB, "own": 20 * MB},
            128 * MB,
            "probably .* out of memory: it took 100 MB, besides 20 MB of the handler's process, and the function has 128 MB",
        ),
        (
            {"peak": 40 * MB, "own": 20 * MB},
            128 * MB,
            "neither shim sent nor, probably, the kernel for want of memory: it took 40 MB",
        ),
        (
            {"peak": 20 * MB, "own": 20 * MB},
            128 * MB,
            "the kernel does when memory runs out, and the function has 128 MB",
        ),
        ({"peak": 40 * MB, "own": 20 * MB}, None, r"when memory runs out \(it took 40 MB\)"),
        ({"peak": 20 * MB, "own": 20 * MB}, None, "the kernel does when memory runs out$"),
    ],
)
def test_sigkill_is_put_down_to_memory_only_where_the_peak_is_near_the_limit(
    known: dict[str, int], memory: int | None, says: str
) -> None:
    why, cure = hints.of_signal(killed(**known), memory)

    assert re.search(says, why)
    assert cure


def test_a_real_child_near_the_limit_is_told_with_both_numbers(tmp_path: Path) -> None:
    """In a process whose own peak is small: started by a shell, since it would begin with the peak of this one."""
    take = "import os, signal; x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096]); os.kill(os.getpid(), signal.SIGKILL)"
    host = (
        "import shim, sys\n"
        f"try: shim.Shim(sys.executable, args=['-S', '-c', {take!r}])({{}})\n"
        "except shim.SignalError as error: print(error)\n"
    )
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "160", "TMPDIR": str(tmp_path)}
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", host]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    assert re.search(
        r"was killed by SIGKILL after .*: it took 1[45]\d MB, besides \d+ MB of the handler's process, and the function has 160 MB; raise",
        said,
    )


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        (
            "prog: c_poll: permission denied (Operation not permitted)",
            "GHC's run time is known to say so .* raise the function's memory",
        ),
        ("runtime: failed to create new OS thread (have 5 already; errno=11)", "1,024 processes and threads"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "raise the function's memory"),
        ("memory allocation of 1048576 bytes failed", "raise the function's memory"),
        ("write error: No space left on device", "ephemeral storage"),
        (
            "p: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory",
            "misses that library: package it",
        ),
        (
            "p: error while loading shared libraries: libx.so.1: failed to map segment from shared object",
            "raise .*memory",
        ),
        (
            "p: error while loading shared libraries: libx.so.1: cannot open shared object file: Error 24",
            "no descriptor",
        ),
        ("mkdir: cannot create directory 'x': Read-only file system", "only /tmp can be written to"),
        ("prog: symbol lookup error: prog: undefined symbol: foo", "not the one that it was built with"),
        ("prog: <stdin>: hGetContents: invalid argument (invalid byte sequence)", "C.UTF-8"),
    ],
)
def test_words_that_run_times_are_known_for_get_a_hint(phrase: str, says: str) -> None:
    said = message(f'echo "{phrase}" >&2; exit 1')

    assert re.search(rf"ended with exit code 1 after \d+ ms; it says '.*': .*{says}", said)
    assert said.endswith(phrase)


@pytest.mark.parametrize(
    "line",
    [
        "Could not get lock (11: Resource temporarily unavailable)",
        "order rejected: symbol not found: ACME",
        'invalid byte sequence for encoding "UTF8": 0xff',
        "MemoryErrors: 0",
        "loaded /dev/shm.conf",
    ],
)
def test_words_of_the_programs_own_get_none(line: str) -> None:
    assert "it says" not in message(f"echo '{line}' >&2; exit 3")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (126, "it can't run a command"),
        (127, "it can't find a command: .*package it in bin/"),
        (139, "killed by SIGSEGV, because it accessed"),
        (137, "killed by SIGKILL, which shim did not send"),
    ],
)
def test_exit_codes_that_shells_give_get_a_hint(code: int, says: str) -> None:
    assert re.search(
        rf"exit code {code} after \d+ ms; a shell ends with {code} when .*{says}", message(f"read -r line; exit {code}")
    )


@pytest.mark.parametrize("code", [*range(1, 126), 128, 200, 255])
def test_any_other_exit_code_is_left_uncommented(code: int) -> None:
    assert hints.of_exit_code(Exited(code, **facts()), None) == ""


def test_a_name_of_its_own_is_not_commented() -> None:
    assert "a shell" not in message("exit 127", exit_codes={"127": "NoSuchCommand"})
