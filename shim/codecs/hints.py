"""What a failure probably means, and what to do about it: by the signal, the exit code, the memory and the words on standard error.

Loaded only after a failure. Pure: this file imports nothing of the machine.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.outcome import Exited, Signaled, Usage

MEGABYTE = 1024 * 1024  # as Lambda counts the memory of a function
NEAR = 0.9
"""The part of the function's memory from which on the kernel was probably short of it."""

ENDED_BY_OTHERS = (
    "which something else than shim sent, to end it",
    "find what sends it: a timeout or a supervisor of its own",
)
DEBUG = "run it under a debugger with its line on standard input (shim invoke --event EVENT.json cat > line)"
SIGNALS = {
    "SIGSEGV": ("because it accessed invalid memory, or overflowed its stack", DEBUG),
    "SIGABRT": (
        "which it sent itself, as abort(), a failed assertion or an uncaught C++ exception do",
        "the end of its standard error should say why",
    ),
    "SIGBUS": (
        "because it accessed a memory-mapped file beyond the file's end",
        "copy the file whole, or make room on the disk (on Lambda: raise the function's ephemeral storage)",
    ),
    "SIGILL": (
        "because it ran an instruction that this CPU does not have, or a trap that its compiler put in for a failed check",
        "if it or a library was built with -march=native, build that for the architecture's baseline; otherwise run it under a debugger",
    ),
    "SIGFPE": ("probably because it divided an integer by zero", DEBUG),
    "SIGTRAP": (
        "because it ran a trap that its compiler put in, as a failed check in Swift does",
        "the end of its standard error should say which",
    ),
    "SIGPIPE": (
        "because it wrote to a pipe or socket whose other end was closed (not to shim, which reads its output to the end)",
        "find which one (strace -f); if that is to be expected, ignore SIGPIPE and handle EPIPE",
    ),
    "SIGXCPU": (
        "which the kernel sends when a limit of CPU time is exceeded; shim sets none",
        "look for ulimit -t and setrlimit(RLIMIT_CPU) in it and in what starts it, and raise the limit",
    ),
    "SIGXFSZ": (
        "because it wrote a larger file than a limit allows, which shim does not set",
        "look for ulimit -f and setrlimit(RLIMIT_FSIZE) in it and in what starts it, and raise the limit",
    ),
    "SIGSYS": (
        "because a seccomp filter, the platform's or its own, forbids a system call that it made",
        "turn its own sandbox off, if it has one (Chromium: --no-sandbox); otherwise run it under strace -f, where the call before SIGSYS is the forbidden one",
    ),
    "SIGALRM": ("because a timer of its own ran out (alarm, setitimer)", "raise that timer, or handle the signal"),
    "SIGTERM": ENDED_BY_OTHERS,
    "SIGINT": ENDED_BY_OTHERS,
    "SIGHUP": ENDED_BY_OTHERS,
    "SIGQUIT": ENDED_BY_OTHERS,
}
"""Signal → why a program is killed by it, as the end of "was killed by SIGNAL, …", and what to do."""

NUMBERS = {
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
"""The kernel's numbers, by which a shell says in its exit code (128 and the number) what killed a command of its."""

NO_MEMORY = "perhaps it got no more memory: raise the function's memory, or a limit of memory of its own"
NO_THREADS = "perhaps it could start no more threads: Lambda allows 1,024 processes and threads, and each takes memory"
LOCALE = """perhaps its locale is not UTF-8: set SHIM_ENV='{"LANG": "C.UTF-8"}'"""
BUILT_WITH = "perhaps a library that it found is not the one that it was built with: package that one in lib/"
NO_DESCRIPTOR = "no descriptor was left: Lambda allows 1,024"
MISSES = "a program that was started misses that library: package it and what it needs in lib/"
PHRASES = {
    "c_poll: permission denied": "GHC's run time is known to say so when memory or CPU time is short, whatever is permitted: raise the function's"
    " memory, with which its share of the CPU grows, and if that does not help, its timeout",
    r"(?:error while loading shared libraries|Error loading shared library).*No such file or directory": MISSES,
    r"(?:error while loading shared libraries|Error loading shared library).*(?:failed to map|annot allocate).*": NO_MEMORY,
    r"(?:error while loading shared libraries|Error loading shared library).*(?:Error 24|Too many open files)": NO_DESCRIPTOR,
    "Exec format error": "a program that was started is for another architecture, or is no program",
    r"failed to create (?:new )?OS thread|(?:fork|clone|pthread_create|[Tt]hread)\b.*Resource temporarily unavailable": NO_THREADS,
    r"Heap exhausted|heap overflow|[Oo]ut of [Mm]emory\b|OutOfMemoryError|\bMemoryError\b": NO_MEMORY,
    r"Cannot allocate memory|memory allocation of \d+ bytes failed|std::bad_alloc": NO_MEMORY,
    "No space left on device": "the disk is full: if files of earlier invocations fill it, set SHIM_TMP=fresh, which empties TMPDIR after"
    " each; if one invocation needs more, raise the function's ephemeral storage (/tmp, 512 MB by default)",
    "Read-only file system": "on Lambda only /tmp can be written to: make it write there",
    "Too many open files": NO_DESCRIPTOR,
    "/dev/shm.*(?:No such file|denied)": "Lambda has no /dev/shm: make it use /tmp, or no shared memory",  # noqa: S108 - it is looked for
    "symbol lookup error|Error relocating .*: symbol not found": BUILT_WITH,
    r"(?:hGetContents|hGetLine|hPutStr|hPutChar|commitBuffer|recoverDecode|recoverEncode).*(?:invalid byte sequence|cannot (?:de|en)code)": LOCALE,
}
"""What run times and the C library write on standard error (regular expressions) → what it probably means, and what to do. First found first."""


def of_signal(outcome: Signaled, memory: int | None) -> tuple[str, str]:
    """Why it was killed, as the end of a sentence, and the cure; `memory` is the function's, in bytes, or None where it is not known."""
    if outcome.signal == "SIGKILL":
        return _of_kill(outcome.usage, memory)
    why, cure = SIGNALS.get(outcome.signal, ("", ""))
    return why, _of_words(outcome.stderr_tail) or cure


def of_exit_code(outcome: Exited, memory: int | None) -> str:
    """The cure for an exit code that is no success, or ""."""
    words = _of_words(outcome.stderr_tail)
    if words:
        return words
    if outcome.code == 126:
        return "a shell ends with 126 when it can't run a command: is its execute bit set?"
    if outcome.code == 127:
        return "a shell ends with 127 when it can't find a command: correct its name, or package it in bin/, which is on the PATH"
    name = NUMBERS.get(outcome.code - 128)
    if name is None:
        return ""
    why, cure = _of_kill(outcome.usage, memory) if name == "SIGKILL" else SIGNALS[name]
    return f"a shell ends with {outcome.code} when a command was killed by {name}, {why}: {cure}"


def _of_words(stderr_tail: str) -> str:
    for phrase, hint in PHRASES.items():
        found = re.search(phrase, stderr_tail)
        if found:
            return f"it says {found[0]!r}: {hint}"
    return ""


def _of_kill(usage: Usage, memory: int | None) -> tuple[str, str]:
    """SIGKILL is what the kernel sends when the memory is used up; how probable that is, its peak tells."""
    peak = usage.max_rss
    more = "raise the function's memory, or make it use less"
    if memory is None:
        known = "" if peak is None else f" (it took {_megabytes(peak)})"
        return f"which shim did not send: the kernel does when memory runs out{known}", more
    if peak is None:
        return (
            f"which shim did not send: the kernel does when memory runs out, and the function has {_megabytes(memory)}",
            more,
        )
    took = f"it took {_megabytes(peak)}, besides {_megabytes(usage.own)} of the handler's process, and the function has {_megabytes(memory)}"
    if peak + usage.own >= NEAR * memory:
        return f"probably because the function ran out of memory: {took}", more
    return f"which neither shim sent nor, probably, the kernel for want of memory: {took}", ENDED_BY_OTHERS[1]


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"
