"""Whether a program is a good citizen of the protocol: it is held to one requirement after the other, in processes of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from shim.adapter import program_of
from shim.errors import SettingsError, ShimError
from shim.settings import task_root
from shim.testing.conform.protocol import BOOTSTRAP, REQUIREMENTS, Broken, Command, NotAsked, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shim.settings import Settings
    from shim.testing.conform.protocol import Check, Requirement

PASSED = "passed"
FAILED = "failed"
NOT_ASKED = "not asked"


class Verdict(NamedTuple):
    """What became of one requirement."""

    requirement: Requirement
    status: str
    """PASSED, FAILED or NOT_ASKED."""
    sentence: str = ""
    """Of a failure what the program did, as the predicate of a sentence; of what was not asked, why."""
    requests: tuple[bytes, ...] = ()
    """Of a failure what it was sent: its counterexample, as a plan's `replay` takes it."""


def command_of(settings: Settings) -> Command:
    """The program of these settings, as shim would run it.

    Raises:
        SettingsError: its folder is none.
        ExecutableError: it can't be run, as far as a look at it tells.
    """
    root = os.path.abspath(task_root())
    folder = os.path.join(root, settings.cwd or "")
    if not os.path.isdir(folder):
        raise SettingsError([f"cwd must be a folder, which {folder} is not"])
    path, environment = program_of(settings, root=root, folder=folder)
    return Command(path, folder, environment, settings)


def requirements_of(mode: str, only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Requirement]:
    """Those that are asked in that mode.

    Args:
        mode: oneshot, warm or bootstrap.
        only: numbers or names of those that are wanted; none for all.
        skip: numbers or names of those that are not.

    Raises:
        SettingsError: there is none of that name, it is not asked in that mode, or none is left.
    """
    asked = [requirement for requirement in REQUIREMENTS if mode in requirement.modes]
    known = {key for requirement in asked for key in (requirement.number, requirement.name)}
    everywhere = {key: requirement for requirement in REQUIREMENTS for key in (requirement.number, requirement.name)}
    mistakes = []
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name in known:
                continue
            if name in everywhere:
                modes = " and ".join(everywhere[name].modes)
                mistakes.append(f"{option} must not be {name} with mode={mode}: it is asked in {modes} alone")
            else:
                listed = ", ".join(f"{requirement.number} {requirement.name}" for requirement in asked)
                mistakes.append(f"{option} must be one of {listed}, not {name!r}")
    if mistakes:
        raise SettingsError(mistakes)
    chosen = [
        requirement
        for requirement in asked
        if (not only or {requirement.number, requirement.name} & {*only})
        and not {requirement.number, requirement.name} & {*skip}
    ]
    if not chosen:
        raise SettingsError(["--skip must leave a requirement to be asked"])
    return chosen


def verdicts(command: Command, plan: Plan, requirements: Sequence[Requirement]) -> Iterator[Verdict]:
    """Holds the program to these requirements, one after the other.

    Raises:
        EventInvalid: the program refuses the sample.
        ExecutableError: it can't be started, or does with the sample what no good program does with any event.
    """
    checks = _checks(command.settings.mode)
    if command.settings.mode != BOOTSTRAP:
        from shim.testing.conform.trial import Trial  # noqa: PLC0415 - only for programs by lines

        plan = plan._replace(manner=Trial(command, plan).manner)
    for requirement in requirements:
        yield _verdict(requirement, checks[requirement.number], command, plan)


def _verdict(requirement: Requirement, check: Check, command: Command, plan: Plan) -> Verdict:
    try:
        check(command, plan)
    except Broken as found:
        return Verdict(requirement, FAILED, found.sentence + _frequency(check, command, plan, found), found.requests)
    except NotAsked as reason:
        return Verdict(requirement, NOT_ASKED, str(reason))
    except ShimError as error:  # it answered the sample before
        return Verdict(requirement, FAILED, f"could not be asked again: {error}")
    return Verdict(requirement, PASSED)


def _frequency(check: Check, command: Command, plan: Plan, found: Broken) -> str:
    """What is to be said where the program does not always do that: the requests are not its cause then."""
    if plan.replay is not None or all(request == plan.sample for request in found.requests):
        return ""  # such a failure is repeated with nothing but itself, or takes all that was asked to be seen
    try:
        check(command, plan._replace(replay=found.requests))
    except (Broken, NotAsked, ShimError):
        return ""
    return "; but not always: asked again, it did well"


def _checks(mode: str) -> Mapping[str, Check]:
    """Those of that mode, of which each loads what it needs."""
    if mode == BOOTSTRAP:
        from shim.testing.conform.served import BOOTSTRAP_CHECKS  # noqa: PLC0415 - see above

        return BOOTSTRAP_CHECKS
    from shim.testing.conform.lines import LINE_CHECKS  # noqa: PLC0415 - likewise

    return LINE_CHECKS
