"""The syntax of searches for words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.model.words import Alternative, Prefix, parse_words

CASES = {
    "": [Alternative("", ())],
    "  ": [Alternative("", ())],
    "cats dogs": [Alternative("cats dogs", ())],
    '"two words" -one': [Alternative('"two words" -one', ())],
    'an "open phrase': [Alternative('an "open phrase', ())],
    "cats OR dogs birds": [Alternative("cats", ()), Alternative("dogs birds", ())],
    "or": [Alternative("", ())],
    "or cats or": [Alternative("cats", ())],
    '"or"': [Alternative('"or"', ())],
    "post*": [Alternative("", (Prefix("post", False),))],
    "-post* gres": [Alternative("gres", (Prefix("post", True),))],
    "a* or b* c": [Alternative("", (Prefix("a", False),)), Alternative("c", (Prefix("b", False),))],
    '"no prefix*"': [Alternative('"no prefix*"', ())],
    "*": [Alternative("*", ())],
    "-*": [Alternative("-*", ())],
    "**": [Alternative("**", ())],
    "o'n*": [Alternative("", (Prefix("o'n", False),))],
}


@pytest.mark.parametrize("text", CASES)
def test_a_text_is_split_into_alternatives(text: str) -> None:
    assert parse_words(text) == CASES[text]


@given(st.text("ab*-\"' or", max_size=30))
def test_every_text_has_an_alternative_and_no_other_alternative_is_empty(text: str) -> None:
    first, *others = parse_words(text)
    assert all(each.text or each.prefixes for each in ([first, *others] if others else []))
