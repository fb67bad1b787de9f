"""The head of an invocation, as Lambda spells it and as HTTP lets anybody spell it: names in any case and order, unknown ones, optional ones absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import hypothesis.strategies as st

from shim.runtime_api import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONAL = (messages.TRACE_ID, messages.INVOCATION_ID)
"""What an invocation may lack of `headers_of`."""
NAMES = 7
"""How many headers a plain head has."""
LONGEST_VALUE = 3583
"""Characters of a header's value: so many a client context may have (AWS's API reference, Invoke)."""
CASES = ("as it is", "lower", "upper", "mixed")
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:the-function"
TRACE = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"
CLIENT_CONTEXT = '{"client":{"app_title":"a, b: c"},"custom":{"key":"value; \\"x\\""},"env":{}}'
IDENTITY = '{"cognitoIdentityId":"eu-central-1:1e2f","cognitoIdentityPoolId":"eu-central-1:3a4b"}'


class Spelling(NamedTuple):
    """How a head is written."""

    cases: tuple[str, ...] = ("as it is",)
    """Of the names, one after the other, from the beginning again where they are more."""
    order: tuple[int, ...] = ()
    """The places of the headers that stand first, in this order; the others follow."""
    gap: str = " "
    """What stands behind the colons."""
    absent: tuple[str, ...] = ()
    """Those of `OPTIONAL` that it does without."""
    added: tuple[tuple[str, str], ...] = ()
    """Names and values that stand there besides."""

    def write(self, headers: Sequence[tuple[str, str]]) -> bytes:
        """The head of those headers, from the status line to the empty line."""
        kept = [header for header in headers if header[0] not in self.absent] + list(self.added)
        first = [kept[place] for place in dict.fromkeys(self.order) if place < len(kept)]
        ordered = first + [header for header in kept if header not in first]
        lines = [
            f"{_cased(name, self.cases[place % len(self.cases)])}:{self.gap}{value}"
            for place, (name, value) in enumerate(ordered)
        ]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")

    def __str__(self) -> str:
        """Where it differs from Lambda's own, for a sentence."""
        shown = [
            f"{name}: {value if len(value) < 60 else f'… ({len(value)} characters)'}" for name, value in self.added
        ]
        parts = {
            f"names are written {', '.join(dict.fromkeys(self.cases))}": set(self.cases) != {"as it is"},
            "headers stand in another order": self.order != tuple(sorted(self.order)),
            "nothing stands behind the colons": not self.gap,
            "several blanks stand behind the colons": len(self.gap) > 1,
            f"{' and '.join(self.absent)} {'is' if len(self.absent) == 1 else 'are'} absent": bool(self.absent),
            f"there is {' and '.join(shown)}": bool(shown),
        }
        return "; ".join(words for words, is_so in parts.items() if is_so)


PLAIN = Spelling()
"""As Lambda writes it."""


def headers_of(request_id: str, length: int, deadline_ms: int) -> list[tuple[str, str]]:
    """All headers of an invocation, as Lambda sends them, with the type and the length of the event."""
    return [
        (messages.REQUEST_ID, request_id),
        (messages.DEADLINE_MS, str(deadline_ms)),
        (messages.FUNCTION_ARN, ARN),
        (messages.TRACE_ID, TRACE),
        (messages.INVOCATION_ID, f"{request_id}-1"),
        (messages.CONTENT_TYPE, messages.JSON),
        ("Content-Length", str(length)),
    ]


def spellings() -> st.SearchStrategy[Spelling]:
    """Every way in which a head may be written. The simplest is `PLAIN`."""
    values = st.sampled_from(("x", 'a: b, c; d="e"', "http://[::1]:80/?q=%20", "x" * 200, "x" * LONGEST_VALUE))
    added = st.one_of(
        st.sampled_from(
            (
                (messages.CLIENT_CONTEXT, CLIENT_CONTEXT),
                (messages.COGNITO_IDENTITY, IDENTITY),
                (messages.TENANT_ID, "tenant"),
                ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            )
        ),
        st.tuples(st.sampled_from(("Lambda-Runtime-Something-New", "X-Unknown", "Y", "Aws-Request-Id")), values),
    )
    return st.builds(
        Spelling,
        cases=st.lists(st.sampled_from(CASES), min_size=1, max_size=NAMES).map(tuple),
        order=st.one_of(st.just(()), st.permutations(range(NAMES)).map(tuple)),
        gap=st.sampled_from((" ", "", "  ")),
        absent=st.lists(st.sampled_from(OPTIONAL), unique=True).map(tuple),
        added=st.lists(added, max_size=3, unique_by=lambda header: header[0]).map(tuple),
    )


def _cased(name: str, case: str) -> str:
    match case:
        case "lower":
            return name.lower()
        case "upper":
            return name.upper()
        case "mixed":
            return "".join(letter.upper() if place % 3 == 1 else letter.lower() for place, letter in enumerate(name))
        case _:
            return name
