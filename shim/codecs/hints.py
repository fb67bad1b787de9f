"""What a failure probably means, and what to do about it: by the signal, the exit code, the memory and the words on standard error.

Loaded only after a failure. Pure: this file imports nothing of the machine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.outcome import Exited, Signaled, Usage

MEGABYTE = 1024 * 1024  # as Lambda counts the memory of a function
NEAR = 0.9
"""The part of the function's memory from which on the kernel was probably short of it."""

TOLD_TO_END = (
    "which something else than shim sent to tell it to end",
    "find what sends it: a timeout or a supervisor of its own",
)
SIGNALS = {
    "SIGSEGV": (
        "since it touched memory that is not its own, or its stack was full",
        "run it on the same event under a debugger",
    ),
    "SIGABRT": (
        "which it sent itself, as abort(), a failed assertion or an uncaught C++ exception do",
        "the end of its standard error should say why",
    ),
    "SIGBUS": (
        "since it touched a memory-mapped file beyond the file's end",
        "copy the file whole, or make room on the disk (on Lambda: the function's ephemeral storage)",
    ),
    "SIGILL": (
        "since it came to an instruction that this CPU does not have",
        "build it for the architecture's baseline, without -march=native",
    ),
    "SIGFPE": ("since it divided an integer by zero, or the like", "run it on the same event under a debugger"),
    "SIGTRAP": (
        "since it came to a trap that its compiler put in, as a failed check in Swift does",
        "the end of its standard error should say which",
    ),
    "SIGPIPE": (
        "since it wrote to a pipe or socket that nobody read any more",
        "look at what it talks to, or have it ignore SIGPIPE and handle the error of the write",
    ),
    "SIGXCPU": (
        "since it used all the CPU time that a limit allows it",
        "raise that limit (ulimit -t, RLIMIT_CPU) where it is set",
    ),
    "SIGXFSZ": (
        "since it wrote a longer file than a limit allows it",
        "raise that limit (ulimit -f, RLIMIT_FSIZE) where it is set",
    ),
    "SIGSYS": (
        "since it made a system call that the sandbox forbids",
        "find out which (strace), and do without: programs with a sandbox of their own can often turn it off",
    ),
    "SIGALRM": ("since a timer of its own ran out (alarm, setitimer)", "raise that timer, or handle the signal"),
    "SIGTERM": TOLD_TO_END,
    "SIGINT": TOLD_TO_END,
    "SIGHUP": TOLD_TO_END,
    "SIGQUIT": TOLD_TO_END,
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

NO_MEMORY = "it got no more memory: raise the function's memory, or the limit of memory that it has of its own"
LOCALE = 'its locale is not UTF-8: set env = {"LANG": "C.UTF-8"}'
PHRASES = {
    "c_poll: permission denied": "GHC's run time says so where it has too little memory or time: raise the function's memory,"
    " with which its share of the CPU grows, and its timeout",
    "failed to create OS thread": "it could start no more threads: Lambda allows 1,024 processes and threads, and each takes memory",
    "failed to create new OS thread": "it could start no more threads: Lambda allows 1,024 processes and threads, and each takes memory",
    "Resource temporarily unavailable": "it could start no more processes or threads: Lambda allows 1,024 of both",
    "Heap exhausted": NO_MEMORY,
    "heap overflow": NO_MEMORY,
    "out of memory": NO_MEMORY,
    "Out of memory": NO_MEMORY,
    "Out of Memory": NO_MEMORY,
    "OutOfMemoryError": NO_MEMORY,
    "MemoryError": NO_MEMORY,
    "Cannot allocate memory": NO_MEMORY,
    "memory allocation of": NO_MEMORY,
    "std::bad_alloc": NO_MEMORY,
    "No space left on device": "the disk that it writes to is full: raise the function's ephemeral storage (/tmp, 512 MB by default),"
    ' or set tmp = "fresh", which empties its TMPDIR after each invocation',
    "Read-only file system": "on Lambda only /tmp can be written to: let it write below TMPDIR",
    "Too many open files": "no descriptor was left: Lambda allows 1,024",
    "/dev/shm": "Lambda has no /dev/shm: tell it to do without shared memory, or to use /tmp",  # noqa: S108 - it is looked for, not used
    "symbol lookup error": "a library that it found is not the one that it was built with: package that one in lib/",
    "symbol not found": "a library that it found is not the one that it was built with: package that one in lib/",
    "invalid byte sequence": LOCALE,
    "cannot decode byte sequence": LOCALE,
    "cannot encode character": LOCALE,
}
"""What programs and their run times write on standard error → what it means, and what to do. Their own spelling, first found first."""


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
        return "shells end so where a command can't be run: is its execute bit set?"
    if outcome.code == 127:
        return "shells end so where a command is not found: package it in bin/, which is on the PATH"
    name = NUMBERS.get(outcome.code - 128)
    if name == "SIGKILL":
        why, cure = _of_kill(outcome.usage, memory)
        return f"shells end so where a command was killed by SIGKILL, {why}; {cure}"
    if name is not None:
        why, cure = SIGNALS[name]
        return f"shells end so where a command was killed by {name}, {why}; {cure}"
    return ""


def _of_words(stderr_tail: str) -> str:
    return next((f"it says {phrase!r}: {hint}" for phrase, hint in PHRASES.items() if phrase in stderr_tail), "")


def _of_kill(usage: Usage, memory: int | None) -> tuple[str, str]:
    """SIGKILL is what the kernel sends when the memory is used up; how probable that is, its peak tells."""
    peak = usage.max_rss
    if memory is None:
        known = "" if peak is None else f" (its peak memory was {_megabytes(peak)})"
        return f"as the kernel does where the memory is used up{known}", "give it more memory, or let it use less"
    if peak is None:
        return (
            f"as the kernel does where the memory is used up; the function has {_megabytes(memory)}",
            "raise the function's memory, or let it use less",
        )
    if peak + usage.own >= NEAR * memory:
        took = f"it took {_megabytes(peak)} beside the handler's {_megabytes(usage.own)}"
        return (
            f"as the kernel does where the memory is used up: {took}, and the function has {_megabytes(memory)}",
            "raise the function's memory, or let it use less",
        )
    return (
        f"which shim did not send, nor probably the kernel: it took {_megabytes(peak)}, and the function has {_megabytes(memory)}",
        "find what sends it: a timeout or a supervisor of its own",
    )


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"
