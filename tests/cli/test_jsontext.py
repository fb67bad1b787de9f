"""JSON is laid out anew without altering it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shim.cli.jsontext import compact, indented
from shim.testing import strategies

values = strategies.json_values()


def shown(text: str) -> str:
    return "".join(piece for piece, _ in indented(text))


@given(values, st.sampled_from([None, 0, 3, "\t", "\r\n"]), st.booleans())
def test_every_layout_becomes_the_one_that_json_itself_makes(
    value: Any, indent: int | str | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert compact(text) == json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
    assert json.loads(shown(text)) == value
    assert compact(shown(text)) == compact(shown(compact(text)))


@given(values)
def test_for_a_person_it_is_indented_as_json_does_it(value: Any) -> None:
    assert shown(json.dumps(value)) == json.dumps(value, indent=2)


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', "1e400", "1.10", "-0.0", "123456789012345678901234567890", r'"\ud800\/"', r'"\\"', r'["\"",1]'],
)
def test_what_parsing_would_alter_stays(text: str) -> None:
    assert compact(f"  {text}\n") == text
    assert compact(shown(text)) == text


def test_a_text_of_megabytes_takes_no_stack() -> None:
    text = '"' + '\\"' * 3_000_000 + '"'

    assert compact(text) == text


def test_pieces_bear_the_styles_of_their_kind() -> None:
    assert [(piece, style) for piece, style in indented('{"a":[1,true,"x"]}') if style] == [
        ("{", "json.brace"),
        ('"a"', "json.key"),
        ("[", "json.brace"),
        ("1", "json.number"),
        ("true", "json.bool_true"),
        ('"x"', "json.str"),
        ("]", "json.brace"),
        ("}", "json.brace"),
    ]
