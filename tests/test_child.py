"""What a child is born with: descriptors, signals, arguments, environment, folder."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import shim
from shim import Shim
from shim.children.environment import child_environment
from shim.local.context import LambdaContext

if TYPE_CHECKING:
    from pathlib import Path


def describe(actor: str, *arguments: str, **settings: Any) -> Any:
    return Shim(actor, args=["describe", *arguments], output="json", **settings)({}, LambdaContext(timeout=20))


def environment_of(description: Any) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in description["environment"])


def test_it_has_the_standard_descriptors_and_no_other(actor: str) -> None:
    """Not even one that was opened inheritable after init, as libcurl does under awslambdaric."""
    runner = Shim(actor, args=["describe"])
    with_reply = Shim(actor, args=["write:3:7b7d", "close:3", "describe"], reply_fd=3)
    stranger = os.dup(1)
    os.set_inheritable(stranger, True)
    high = os.open("/dev/null", os.O_RDONLY)
    os.dup2(high, 200, inheritable=True)
    try:
        assert runner({})["descriptors"] == [0, 1, 2]
        assert with_reply({}) == {}
    finally:
        for descriptor in (stranger, high, 200):
            os.close(descriptor)


@pytest.mark.parametrize("reply_fd", [1, 3])
def test_it_has_them_even_where_the_host_has_closed_its_own(reply_fd: int, actor: str) -> None:
    """The pipes' own numbers are then among those that the child's must get."""
    words = (
        ["write:2:6c6f67", "describe"]
        if reply_fd == 1
        else ["write:1:6c6f67", "write:2:6c6f67", "write:3:7b226f6b223a747275657d"]
    )
    program = (
        "import os, sys, shim\n"
        "out = os.dup(1)\n"
        "out = os.dup2(out, 50)\n"
        "for descriptor in (0, 1, 3): \n"
        "    try: os.close(descriptor)\n"
        "    except OSError: pass\n"
        f"answer = shim.Shim({actor!r}, args={words!r}, reply_fd={reply_fd}, output='json')({{}})\n"
        "os.write(50, repr(answer.get('descriptors', answer)).encode())\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert answer.stdout == ("[0, 1, 2]" if reply_fd == 1 else "{'ok': True}"), answer.stderr


def test_every_signal_is_at_its_default_and_none_is_blocked(actor: str) -> None:
    ignored = [signal.SIGUSR1, signal.SIGHUP, signal.SIGRTMIN, signal.SIGPIPE, signal.SIGINT]
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    try:
        here = describe(actor)["signals"]
        elsewhere = describe(actor, cwd="/")["signals"]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2, signal.SIGTERM])
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)

    internal = 0b11 << 31  # 32 and 33, which are the C library's own: its posix_spawn leaves them ignored
    for signals in (here, elsewhere):
        assert {name: int(signals[name], 16) & ~internal for name in ("SigIgn", "SigBlk", "SigCgt")} == {
            "SigIgn": 0,
            "SigBlk": 0,
            "SigCgt": 0,
        }


def test_it_leads_a_session_and_a_group_of_its_own(actor: str) -> None:
    for description in (describe(actor), describe(actor, cwd="/")):
        assert description["pid"] == description["session"] == description["group"] != os.getpgid(0)


def test_arguments_arrive_whole_and_through_no_shell(actor: str) -> None:
    arguments = ["$HOME", "a b", "", "*", ";exit 3", "é", "'", '"', "\n"]
    described = Shim(actor, args=["describe", "exit:0", *arguments])({})["arguments"]

    assert [argument.encode("latin-1").decode() for argument in described] == [actor, "describe", "exit:0", *arguments]


@pytest.mark.parametrize("cwd", [None, "/", "inside", "a link"])
def test_it_runs_in_the_task_root_or_where_cwd_says(
    cwd: str | None, actor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "a link").symlink_to("inside")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    here = os.getcwd()
    expected = {None: str(tmp_path), "/": "/"}.get(cwd, str(tmp_path / "inside"))

    for _ in range(2):
        description = describe(actor, **({} if cwd is None else {"cwd": cwd}))
        assert description["folder"] == expected
        assert description["descriptors"] == [0, 1, 2]
        monkeypatch.chdir(expected)  # the second time no change is needed
    monkeypatch.chdir(here)


def test_in_another_folder_failures_and_replies_are_the_same(actor: str) -> None:
    assert Shim(actor, args=["write:3:" + b"fine".hex()], reply_fd=3, cwd="/", output="text")({}) == "fine"
    with pytest.raises(shim.ExitError):
        Shim(actor, args=["exit:3"], cwd="/")({})
    with pytest.raises(shim.DeadlineExceeded):
        Shim(actor, args=["fork:0", "sleep:0"], cwd="/")({}, LambdaContext(timeout=0.4))


@pytest.mark.parametrize("cwd", ["missing", "/etc/passwd", "/dev/null"])
def test_a_cwd_that_is_no_folder_is_a_mistake(cwd: str, actor: str) -> None:
    with pytest.raises(shim.SettingsError, match="cwd must be a folder"):
        Shim(actor, cwd=cwd)


def test_what_would_let_it_take_over_is_never_handed_on(actor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = [
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_EXEC_WRAPPER",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "_HANDLER",
        "_LAMBDA_TELEMETRY_LOG_FD",
        "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET",
        "SHIM_OUTPUT",
        "SHIM_EXECUTABLE",
        "SHIM_ANYTHING",
    ]
    for name in secret:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KEPT", "a=b==\n c")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1")
    environment = environment_of(describe(actor))

    assert not set(secret) & set(environment)
    assert environment["KEPT"] == "a=b==\n c"
    assert environment["_X_AMZN_TRACE_ID"] == "Root=1"
    assert list(environment)[-1] == "SHIM_CHILD"


def test_the_trace_id_is_that_of_the_invocation_and_os_environ_is_not_changed(
    actor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Shim(actor, args=["describe"], env={"SOMETHING": "new"})
    seen = []
    for trace in ("Root=1", "Root=2"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
        before = dict(os.environ)
        seen.append(environment_of(runner({}))["_X_AMZN_TRACE_ID"])
        assert dict(os.environ) == before

    assert seen == ["Root=1", "Root=2"]


def test_paths_point_into_the_package_first_and_to_the_runtime_last() -> None:
    function = {
        b"PATH": b"/var/lang/bin:/usr/bin",
        b"LD_LIBRARY_PATH": b"/var/lang/lib:/lib64:/opt/lib",
        b"HOME": b"/home/sbx_user1051",
    }
    environment = child_environment(function, task_root="/var/task", env={}, deny=())

    assert environment[b"PATH"] == b"/var/task/bin:/var/task:/var/lang/bin:/usr/bin"
    assert environment[b"LD_LIBRARY_PATH"] == b"/var/task/lib:/var/task:/lib64:/opt/lib:/var/lang/lib"
    assert environment[b"HOME"] == b"/tmp"
    assert child_environment({b"HOME": b"/"}, task_root="/t", env={}, deny=())[b"HOME"] == b"/"
    assert child_environment({}, task_root="/t", env={}, deny=())[b"LD_LIBRARY_PATH"] == b"/t/lib:/t"


def test_env_adds_and_env_deny_takes_away() -> None:
    function = {b"AWS_SECRET_ACCESS_KEY": b"s", b"AWS_REGION": b"r", b"KEEP": b"\xff", b"PATH": b"/bin"}
    environment = child_environment(
        function, task_root="/t", env={"AWS_REGION": "mine", "PATH": "/only", "EQUALS": "a=b"}, deny=["AWS_*", "X"]
    )

    assert b"AWS_SECRET_ACCESS_KEY" not in environment
    assert environment[b"AWS_REGION"] == b"mine"
    assert environment[b"PATH"] == b"/only"
    assert (environment[b"KEEP"], environment[b"EQUALS"]) == (b"\xff", b"a=b")


def test_env_deny_holds_for_the_trace_id_too(actor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=at init")
    runner = Shim(actor, args=["describe"])
    denied = environment_of(describe(actor, env_deny=["*"]))
    monkeypatch.delenv("_X_AMZN_TRACE_ID")

    assert set(denied) == {"PATH", "LD_LIBRARY_PATH", "HOME", "SHIM_CHILD"}
    assert "_X_AMZN_TRACE_ID" not in environment_of(runner({}))  # the one at init is no other invocation's


def test_a_bare_name_is_looked_up_in_the_package_and_then_on_the_childs_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    (tmp_path / "bin").mkdir()
    in_bin, in_root = tmp_path / "bin" / "tool", tmp_path / "tool"
    in_bin.write_text("#!/bin/sh\necho bin\n")
    in_bin.chmod(0o755)
    answers = [Shim("tool", output="text")({})]
    in_root.write_text("#!/bin/sh\necho root\n")
    in_root.chmod(0o755)
    answers.append(Shim("tool", output="text")({}))
    answers.append(Shim("bin/tool", output="text")({}))

    assert answers == ["bin\n", "root\n", "bin\n"]
    with pytest.raises(shim.ExecutableNotFound, match=r"nor on its PATH \(.*bin"):
        Shim("no-such-tool-anywhere")
    with pytest.raises(shim.ExecutableNotFound, match="there is no"):
        Shim("bin/no-such-tool")


def test_too_many_arguments_are_not_runnable_with_their_size(actor: str) -> None:
    with pytest.raises(shim.ExecutableNotRunnable, match="the longest 200004, and the kernel takes"):
        Shim(actor, env={"BIG": "x" * 200_000})({})


def test_a_folder_that_is_gone_is_told(actor: str, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    runner = Shim(actor, cwd=str(folder))
    folder.rmdir()

    with pytest.raises(shim.ExecutableNotRunnable, match="the folder to run it in is gone"):
        runner({})


def test_a_host_whose_own_folder_is_gone_is_served_or_told(actor: str, tmp_path: Path) -> None:
    program = (
        "import os, shim\n"
        f"os.mkdir({str(tmp_path / 'gone')!r}); os.chdir({str(tmp_path / 'gone')!r}); os.rmdir({str(tmp_path / 'gone')!r})\n"
        f"try: shim.Shim({actor!r})\n"
        "except shim.SettingsError as error: print(error)\n"
        f"os.environ['LAMBDA_TASK_ROOT'] = {str(tmp_path)!r}\n"
        f"print(shim.Shim({actor!r}, args=['describe'])({{}})['folder'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "LAMBDA_TASK_ROOT"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment
    )

    assert answer.stdout.splitlines() == [
        "the settings have 1 mistake: LAMBDA_TASK_ROOT must be set, since the current folder is gone",
        str(tmp_path),
    ], answer.stderr


def test_no_descriptors_left_is_an_error_and_no_leak(actor: str) -> None:
    runner = Shim(actor, args=["copy"])
    runner({})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        try:
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        before = len(opened)
        for _ in range(5):  # three pipes take six
            os.close(opened.pop())
            with pytest.raises(shim.ExecutableNotRunnable, match="no descriptor is left"):
                runner({})
        while len(opened) < before:  # so many are free as before, to the last
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert runner({})["event"] == {}
