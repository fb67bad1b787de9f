"""The three lines that Lambda writes into the log around every invocation. Pure: facts in, text out.

https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html shows them. The parts of REPORT are separated by tabs.
"""

from __future__ import annotations

from math import ceil


def start_line(request_id: str, version: str) -> str:
    """What comes before everything that the function logs."""
    return f"START RequestId: {request_id} Version: {version}"


def end_line(request_id: str) -> str:
    """What comes after everything that the function logs."""
    return f"END RequestId: {request_id}"


def report_line(  # noqa: PLR0913 - the line has so many parts
    request_id: str,
    *,
    duration: float,
    init: float | None,
    memory: int,
    peak: int,
    peak_is_bound: bool = False,
    status: str = "",
) -> str:
    """What the invocation took.

    Args:
        request_id: Lambda's id of the invocation.
        duration: its seconds.
        init: the seconds before it in which the handler was built; None where that was before another invocation. Since August 2025 they are
            always billed: https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        memory: MB that the function has.
        peak: MB that were used at most.
        peak_is_bound: the use itself is not known, and was less than `peak`.
        status: "timeout" or "error" where the platform ended it.
    """
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {duration * 1000:.2f} ms",
        f"Billed Duration: {ceil(((init or 0) + duration) * 1000)} ms",
        f"Memory Size: {memory} MB",
        f"Max Memory Used: {'under ' if peak_is_bound else ''}{peak} MB",
    ]
    if init is not None:
        parts.append(f"Init Duration: {init * 1000:.2f} ms")
    if status:
        parts.append(f"Status: {status}")
    return "\t".join(parts)
