"""What is wrong with a deployment package: what `check` finds, and what `pack` refuses."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        severity: "error" where it would break the function, "warning" where it may, or costs something.
        place: the file, as the package names it; "" for the package itself.
        sentence: what is wrong, with the data.
        cure: what to do about it.
    """

    severity: Literal["error", "warning"]
    place: str
    sentence: str
    cure: str
