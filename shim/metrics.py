"""One line of metrics an invocation, in CloudWatch's Embedded Metric Format: CloudWatch makes metrics of it where it stands in the log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html. What is not known stands
neither among the metrics nor among the values. Pure: an outcome and an instant in, a line out.
"""

from __future__ import annotations

import orjson

from shim.outcome import Ended, Exited, Signaled, Stopped, Told
from shim.request import Streamed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shim.outcome import Outcome
    from shim.request import Request

NAMESPACE = "shim"
UNITS = {
    "duration_ms": "Milliseconds",
    "spawn_ms": "Milliseconds",
    "cpu_ms": "Milliseconds",
    "max_rss_bytes": "Bytes",
    "request_bytes": "Bytes",
    "reply_bytes": "Bytes",
    "exit_code": "None",
    "processes_swept": "Count",
}
"""Every metric that there may be, and its unit."""


class Metrics:
    """Makes the lines of one Shim.

    Args:
        executable: its name.
        function_name: the one dimension, so that no metric is made anew for each version or invocation; None where it is not known.
        function_version: likewise, beside the metrics.
    """

    __slots__ = ("_common", "_dimensions")

    def __init__(self, executable: str, *, function_name: str | None, function_version: str | None) -> None:
        self._dimensions = [["function_name"] if function_name else []]
        common = {"function_name": function_name, "function_version": function_version, "executable": executable}
        self._common = {name: _text(value) for name, value in common.items() if value}

    def line(self, request: Request, outcome: Outcome | None, error: BaseException | None, *, at: int) -> bytes:
        """The line for what came of the request.

        Args:
            request: what the child was told, or would have been.
            outcome: what it did; None where that can't be known.
            error: what the caller gets in place of a result.
            at: milliseconds since 1970.
        """
        known = {"request_bytes": len(request.body), **_measured(outcome)}
        if isinstance(request.framing, Streamed) and "reply_bytes" in known:
            known["reply_bytes"] = request.framing.size  # what was handed on is in no outcome
        values = {name: known[name] for name in UNITS if name in known}
        metrics = [{"Name": name, "Unit": UNITS[name]} for name in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": self._dimensions, "Metrics": metrics}
        properties = dict(self._common)
        if request.request_id is not None:
            properties["requestId"] = _text(request.request_id)
        if isinstance(outcome, (Signaled, Stopped)) and outcome.signal:
            properties["signal"] = outcome.signal
        if error is not None:
            properties["errorType"] = type(error).__name__
        root = {"_aws": {"Timestamp": at, "CloudWatchMetrics": [directive]}, **properties, **values}
        return orjson.dumps(root, option=orjson.OPT_APPEND_NEWLINE)


def _measured(outcome: Outcome | None) -> dict[str, float]:
    """What is known of the child."""
    if not isinstance(outcome, Told):
        return {}
    values = {"duration_ms": _milliseconds(outcome.duration), "reply_bytes": len(outcome.reply)}
    if not isinstance(outcome, Ended):  # a kept child's other figures are known when it has ended
        return values
    usage = outcome.usage
    values |= {
        "spawn_ms": _milliseconds(outcome.spawn),
        "cpu_ms": _milliseconds(usage.user + usage.system),
        "processes_swept": outcome.swept,
    }
    memory = usage.max_rss
    if memory is not None:
        values["max_rss_bytes"] = memory
    if isinstance(outcome, Exited):
        values["exit_code"] = outcome.code
    return values


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _text(value: str) -> str:
    """The text without halves of characters, which a name that is no UTF-8 holds in place of its bytes."""
    return str(value).encode("utf-8", "replace").decode()
