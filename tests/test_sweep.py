"""Nothing is left, and no stranger is hurt."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shim import Shim, ShimError
from shim.children import sweep
from shim.children.reaper import reap_late
from shim.local.context import LambdaContext
from tests.conftest import FIXTURES, ROOT, descriptors, eventually, missing, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHELL_THAT_FORKS = "i=0; while [ $i -lt 20 ]; do (sleep 1000 >/dev/null 2>&1 &) ; i=$((i+1)); done; echo done"


@pytest.mark.parametrize("words", [["fork:0"], ["leave:0"], ["fork:0", "leave:0", "leave:0", "fork:0"]])
@pytest.mark.parametrize("end", [["exit:0"], ["exit:1"], ["raise:9"], ["sleep:0"]])
def test_whatever_was_left_in_the_group_or_the_session_or_with_the_mark_is_killed(
    words: list[str], end: list[str], actor: str, left_behind: Callable[[], list[int]]
) -> None:
    with Shim(actor, args=[*words, *end], output="text", linger_ms=0) as runner:
        _ignoring_errors(runner, timeout=0.6)

    eventually(lambda: left_behind() == [])


@pytest.mark.usefixtures("subreaper")
def test_a_process_that_left_the_session_and_wiped_its_environment_falls_to_the_subreaper(
    actor: str, left_behind: Callable[[], list[int]]
) -> None:
    with Shim(actor, args=["vanish:0", "leave:0", "fork:0", "sleep:20"], output="text", linger_ms=0) as runner:
        assert runner({}) == ""

    assert left_behind() == []


def test_a_process_that_is_out_of_reach_is_left_where_orphans_may_be_strangers(
    actor: str, left_behind: Callable[[], list[int]]
) -> None:
    """The promise has this limit, and the limit protects strangers."""
    with Shim(actor, args=["vanish:0", "sleep:20"], output="text") as runner:
        runner({})
    escaped = left_behind()
    for pid in escaped:
        os.kill(pid, signal.SIGKILL)

    assert len(escaped) == 1
    eventually(lambda: left_behind() == [])


def test_a_strangers_process_that_is_born_during_an_invocation_survives_it(actor: str, tmp_path: Path) -> None:
    """A child of ours that is no executable's, and an orphan of somebody else: both born after the child, both alive after it."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    runner = Shim("sh", args=["-c", f"(sleep 1000 & ); : > {ready}; cat {ready}"], output="text", linger_ms=0)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(runner({}, LambdaContext(timeout=30))))
    thread.start()
    ready.read_bytes()  # the child is there
    child_of_ours = subprocess.Popen([actor, "sleep:0"], start_new_session=True)
    orphan = int(subprocess.check_output(["sh", "-c", f"{actor} sleep:0 >/dev/null 2>&1 & echo $!"]))
    ready.write_bytes(b"go on")
    thread.join()
    survived = [Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in (child_of_ours.pid, orphan)]
    child_of_ours.kill()
    child_of_ours.wait()
    os.kill(orphan, signal.SIGKILL)

    assert answers == ["go on"]
    assert not set(survived) & {"Z", "X"}


def test_many_that_were_left_are_all_killed_and_the_log_says_how_many(capfd: pytest.CaptureFixture[str]) -> None:
    with Shim("sh", args=["-c", SHELL_THAT_FORKS], output="text") as runner:
        assert runner({}) == "done\n"

    assert "shim: sh left 20 processes behind, which were killed" in capfd.readouterr().err


def test_what_forks_while_it_is_swept_is_swept_too(left_behind: Callable[[], list[int]], tmp_path: Path) -> None:
    """A tree in sessions of its own that renews itself, faster than one look at it takes."""
    program = tmp_path / "hydra"
    shutil.copy(shutil.which("sh") or "/bin/sh", program)
    head = '[ -e stop ] || { setsid "$0" -c "$1" "$1" & sleep 0.001; exec setsid "$0" -c "$1" "$1"; }'
    with Shim(
        "sh",
        args=["-c", f"cd {tmp_path}; setsid {program} -c '{head}' '{head}' >/dev/null 2>&1 & sleep 0.05"],
        output="text",
    ) as runner:
        runner({}, LambdaContext(timeout=20))
    (tmp_path / "stop").touch()
    alive = processes_of(str(program))

    assert alive == []


def test_numbers_that_wrap_around_are_no_hiding_place(actor: str, tmp_path: Path) -> None:
    """The kernel counts up to pid_max and begins again: what was born since may have a smaller number than the child."""
    program = tmp_path / "host.py"
    program.write_text(
        "import os, shim\n"
        "from pathlib import Path\n"
        "highest = int(Path('/proc/sys/kernel/pid_max').read_text())\n"
        "wrapped = 0\n"
        "for room in range(1, 9):\n"
        "    Path('/proc/sys/kernel/ns_last_pid').write_text(str(highest - room))\n"
        f"    child = shim.Shim({actor!r}, args=['leave:0', 'leave:0', 'fork:0'], output='text', linger_ms=0)\n"
        "    child({})\n"
        "    wrapped += int(Path('/proc/loadavg').read_text().split()[-1]) < highest - 10\n"
        "from tests.conftest import processes_of\n"
        f"print(len(processes_of({actor!r})), wrapped > 3)\n"
    )

    assert in_a_process_namespace(f"{sys.executable} {program}", os.environ) == "0 True\n"


def test_the_kernels_counting_once_around_is_no_hiding_place(actor: str, tmp_path: Path) -> None:
    """A long-lived child may see all numbers given again: what it left is then anywhere."""
    program = tmp_path / "host.py"
    program.write_text(
        "import shim\n"
        "from pathlib import Path\n"
        "from tests.conftest import processes_of\n"
        f"script = '{actor} leave:0 >/dev/null 2>&1; sleep 0.4; echo 60 > /proc/sys/kernel/ns_last_pid; true & wait'\n"
        "Path('/proc/sys/kernel/ns_last_pid').write_text('50')\n"
        "shim.Shim('bash', args=['-c', script], output='text')({})\n"
        f"print(len(processes_of({actor!r})))\n"
    )

    assert in_a_process_namespace(f"{sys.executable} {program}", os.environ) == "0\n"


def test_alone_on_lambda_a_thread_of_the_host_is_no_orphan(tmp_path: Path) -> None:
    """A thread's number looks like a process whose parent is process 1, and killing it would kill the host."""
    program = tmp_path / "host.py"
    program.write_text(
        "import shim, threading, time\n"
        "runner = shim.Shim('sh', args=['-c', 'sleep 0.2; echo done'], output='text')\n"
        "begin = threading.Timer(0.05, lambda: threading.Thread(target=time.sleep, args=(2,), daemon=True).start())\n"
        "begin.start()\n"
        "print(runner({}, None), end='')\n"
    )
    variables = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
    environment = {**os.environ, "LAMBDA_TASK_ROOT": "/var/task", **variables}
    make_task_root = "mkdir -p /var/task && mount -t tmpfs none /var/task"

    assert in_a_process_namespace(f"{make_task_root} && {sys.executable} {program}", environment) == "done\n"


def test_what_becomes_another_program_again_and_again_is_killed_too(compiler: str, tmp_path: Path) -> None:
    """In the midst of execve it shows no environment, and nothing is started then by which the end of a look would be known for none."""
    source, program = tmp_path / "restless.c", tmp_path / "restless"
    source.write_text(
        "#include <unistd.h>\n"
        "int main(int count, char **words) {\n"
        " if (count == 1 && fork() == 0) { setsid(); close(0); close(1); close(2); char *again[] = {words[0], words[0], 0}; execv(words[0], again); }\n"
        " if (count > 1) execv(words[0], words);\n"
        " usleep(3000); return 0; }\n"
    )
    subprocess.run([compiler, "-O2", "-static", "-o", str(program), str(source)], check=True)
    with Shim(str(program), output="text") as runner:
        for _ in range(60):
            runner({})
    alive = processes_of(str(program))
    for pid in alive:
        os.kill(pid, signal.SIGKILL)

    assert alive == []


def test_a_process_whose_first_thread_has_ended_is_killed_too(compiler: str, tmp_path: Path) -> None:
    """It shows as a zombie, and lives."""
    source = tmp_path / "headless.c"
    source.write_text(
        "#include <pthread.h>\n#include <unistd.h>\n"
        "static void *stay(void *nothing) { for (;;) pause(); return nothing; }\n"
        "int main(void) { pthread_t thread; if (fork()) _exit(0); setsid(); if (fork()) _exit(0);\n"
        " close(0); close(1); close(2); pthread_create(&thread, 0, stay, 0); pthread_exit(0); }\n"
    )
    program = tmp_path / "headless"
    subprocess.run([compiler, "-pthread", "-o", str(program), str(source)], check=True)
    script = f"{program}; sleep 0.4"  # long enough for /proc to be listed, which shows no threads
    for pause in ("sleep 0.05", "sleep 0.4"):
        Shim("sh", args=["-c", script.replace("sleep 0.4", pause)], output="text")({})
    alive = [name for name in os.listdir("/proc") if name.isdecimal() and _has_several_threads(name, "headless")]
    for name in alive:
        os.kill(int(name), signal.SIGKILL)

    assert alive == []


NAMESPACE = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]


def in_a_process_namespace(command: str, environment: Mapping[str, str]) -> str:
    """What a command prints that runs as Lambda's sandbox does: processes are its own, and orphans fall to process 1."""
    probe = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode != 0:
        missing(f"no process namespace can be made here: {probe.stderr.strip()}")
    answer = subprocess.run(
        [*NAMESPACE, "sh", "-c", f"{command}; true"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    return answer.stdout or answer.stderr


def test_10000_numbers_between_are_not_looked_at_one_by_one() -> None:
    looked_at = list(sweep._newer(1, 30_000, few=True))  # noqa: SLF001 - how often it looks has no public face

    assert len(looked_at) < 5000
    assert os.getpid() in looked_at


@pytest.mark.parametrize("alone", [True, False])
def test_alone_on_lambda_every_new_orphan_is_the_childs(alone: bool, actor: str, tmp_path: Path) -> None:
    """In a process namespace of its own, as Lambda's sandbox is one: orphans fall to process 1, as there."""
    program = tmp_path / "host.py"
    program.write_text(
        "import os, shim\n"
        f"with shim.Shim({actor!r}, args=['vanish:0', 'vanish:0', 'sleep:20'], output='text') as runner: runner({{}})\n"
        "from tests.conftest import processes_of\n"
        f"print(len(processes_of({actor!r})))\n"
    )
    variables = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
    environment = {**os.environ, "LAMBDA_TASK_ROOT": "/var/task", **(variables if alone else {})}
    make_task_root = "mkdir -p /var/task && mount -t tmpfs none /var/task"

    answer = in_a_process_namespace(f"{make_task_root} && {sys.executable} {program}", environment)

    assert answer == ("0\n" if alone else "2\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"AWS_LAMBDA_MAX_CONCURRENCY": "4"}, False),
        ({"AWS_EXECUTION_ENV": ""}, False),
        ({"LAMBDA_TASK_ROOT": "/home/someone"}, False),
        ({"SHIM_EMULATED": "true"}, False),
    ],
)
def test_alone_on_lambda_is_known_by_its_variables(change: dict[str, str], expected: bool) -> None:
    there = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    }

    assert sweep.alone_on_lambda({**there, **change}) is expected


def test_a_child_that_a_debugger_holds_does_not_hold_the_answer(compiler: str, tmp_path: Path) -> None:
    """Its zombie can't be reaped, so how it ended is not known; that is said in time, and no success is made up."""
    program = tmp_path / "held"
    subprocess.run([compiler, "-o", str(program), str(FIXTURES / "executables" / "held.c")], check=True)
    runner = Shim(str(program), output="text")
    context = LambdaContext(timeout=2)
    with pytest.raises(ShimError) as raised:
        runner({}, context)
    remaining = context.get_remaining_time_in_millis()
    held = processes_of(str(program))
    for pid in held:
        os.kill(pid, signal.SIGKILL)

    if getattr(raised.value, "exit_code", None) == 42:
        pytest.skip("this kernel lets nobody be traced")
    assert str(raised.value) == f"how {program} ended is not known, since a debugger holds it"
    assert remaining > 0
    assert len(held) == 2  # the tracer, and the zombie that it holds

    def all_gone() -> bool:
        reap_late()
        return processes_of(str(program)) == []

    eventually(all_gone)


def test_many_invocations_leave_descriptors_and_processes_where_they_were(
    actor: str, left_behind: Callable[[], list[int]]
) -> None:
    runners = [
        Shim(actor, args=words, output="text", linger_ms=0)
        for words in (["copy"], ["fork:0", "exit:1"], ["leave:0"], ["raise:6"], ["flood:1"])
    ]
    for runner in runners:
        for _ in range(2):
            _ignoring_errors(runner)
    before = descriptors()
    for _ in range(60):
        for runner in runners:
            _ignoring_errors(runner)

    assert descriptors() == before
    eventually(lambda: left_behind() == [])


def _ignoring_errors(runner: Shim, *, timeout: float = 20) -> None:
    """Which one is not the question here."""
    try:
        runner({}, LambdaContext(timeout=timeout))
    except ShimError:
        pass


def _has_several_threads(pid: str, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == f"{name}\n" and len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False  # it has gone meanwhile
