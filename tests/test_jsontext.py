"""JSON within bounds: what a peer sends in one payload costs the loop little, whatever it is."""

from __future__ import annotations

import sys
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import ProtocolError
from ellara.jsontext import NESTING_MAX, STRUCTURE_MAX, from_json, structure, to_json


def structure_by_steps(text: str) -> str:
    found, in_string, at = "", False, 0
    while at < len(text):
        if text[at : at + 2] in ("\\\\", '\\"'):
            at += 1
        elif text[at] == '"':
            in_string = not in_string
        elif text[at] in "[]{}," and not in_string:
            found += text[at]
        at += 1
    return found


@given(st.text('[]{},"\\ n') | st.text(st.characters()))
def test_structure_is_found_as_by_reading_character_by_character(text: str) -> None:
    assert structure(text).decode() == structure_by_steps(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_raised_recursion_limit_does_not_open_the_c_stack_to_a_peer(opening: str) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as py-ecc does on import; msgspec then crashes the process past some 25,000 levels
    try:
        with pytest.raises(ProtocolError):
            from_json(opening * STRUCTURE_MAX)
        with pytest.raises(ProtocolError):
            from_json(opening * (STRUCTURE_MAX // 2))
    finally:
        sys.setrecursionlimit(before)


def test_nesting_is_bounded() -> None:
    at_the_bound = "[" * NESTING_MAX + "]" * NESTING_MAX
    assert to_json(from_json(at_the_bound)) == at_the_bound
    with pytest.raises(ProtocolError, match="Nested 201 deep, at most 200 is taken"):
        from_json(f"[{at_the_bound}]")


def test_structure_is_bounded_and_strings_have_none() -> None:
    at_the_bound = "[" + "0," * (STRUCTURE_MAX - 2) + '"' + '[\\",' * 50_000 + '"]'
    assert isinstance(from_json(at_the_bound), list)
    with pytest.raises(ProtocolError, match="20001 brackets and commas, at most 20000 are taken"):
        from_json(f"[0,{at_the_bound[1:]}")


@pytest.mark.parametrize("number", ["1" * 10_000, "1e999", "1" * 5_000 + ".5"])
def test_a_number_beyond_every_range_is_infinite_and_written_as_null(number: str) -> None:
    assert from_json(number) == inf
    assert to_json(inf) == "null"


def test_a_lone_surrogate_is_written_as_the_escape_it_came_as() -> None:
    assert to_json(from_json('"\\ud800é"')) == '"\\ud800\\u00e9"'
    with pytest.raises(ProtocolError):
        to_json(["\ud800", inf])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_as_they_were(number: float) -> None:
    assert from_json(to_json(number)) == number
