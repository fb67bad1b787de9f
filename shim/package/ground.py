"""What the files of a package are judged against: where they will be, the system, the architecture, the function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shim.package.problem import Problem

if TYPE_CHECKING:
    from shim.package.function import Function
    from shim.package.targets import Target
    from shim.package.taskroot import TaskRoot

SYSTEMS = {"al2023": "Amazon Linux 2023", "al2": "Amazon Linux 2"}
BUILD_AGAIN = "check the build's output, and copy it again, in binary mode"


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known before a file is looked at.

    Attributes:
        root: the package.
        target: what runs it.
        architecture: of the function, in Lambda's spelling; None where nothing tells.
        function: what it makes.
        needed: the names of the files that the executables were seen to need, themselves too; they are added as they are found.
    """

    root: TaskRoot
    target: Target
    architecture: str | None
    function: Function
    needed: set[str] = field(default_factory=set)

    @property
    def system(self) -> str:
        """The target's name and version of glibc, for a sentence."""
        return f"{SYSTEMS.get(self.target.name, self.target.name)}: {'.'.join(map(str, self.target.glibc))}"

    @property
    def built_for(self) -> str:
        """What a program is to be built for, for a sentence."""
        return self.architecture or "x86_64 or arm64"


def error(place: str, sentence: str, cure: str) -> Problem:
    """One that would break the function."""
    return Problem("error", place, sentence, cure)


def warning(place: str, sentence: str, cure: str) -> Problem:
    """One that may break it, or costs something."""
    return Problem("warning", place, sentence, cure)
