"""Sets of characters against Python's own sets, and the properties against known counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.model.regex.charset import EVERYTHING, NOTHING, CharSet, only
from pgchroma.model.regex.unicode import perl_class, unicode_property

POINTS = [0, 1, 0x41, 0x42, 0x43, 0x44, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10FFFE, 0x10FFFF]
HOLDABLE = {point for point in POINTS if point and not 0xD800 <= point < 0xE000}

ranges = st.tuples(st.sampled_from(POINTS), st.sampled_from(POINTS)).map(
    lambda pair: (min(pair), max(pair))
)
char_sets = st.lists(ranges, max_size=4).map(lambda pairs: CharSet.of(*pairs))


def members(chars: CharSet) -> set[int]:
    return {point for point in POINTS if point in chars}


@given(char_sets, char_sets)
def test_algebra_is_that_of_sets(one: CharSet, other: CharSet) -> None:
    assert members(one | other) == members(one) | members(other)
    assert members(one & other) == members(one) & members(other)
    assert members(one - other) == members(one) - members(other)
    assert members(one ^ other) == members(one) ^ members(other)
    assert members(~one) == HOLDABLE - members(one)
    assert ~~one == one
    assert bool(one) == bool(one.ranges)


@given(char_sets, char_sets)
def test_equal_sets_have_equal_ranges(one: CharSet, other: CharSet) -> None:
    assert one | other == other | one
    assert one - other == one & ~other
    assert (one | ~one, one & ~one) == (EVERYTHING, NOTHING)


def test_only_what_text_can_hold_is_a_member() -> None:
    assert CharSet.of((0, 0)) == CharSet.of((0xD800, 0xDFFF)) == NOTHING
    assert EVERYTHING.ranges == ((1, 0xD7FF), (0xE000, 0x10FFFF))
    assert (only(0x41).single(), CharSet.parse("41-42").single(), NOTHING.single()) == (
        0x41,
        None,
        None,
    )


def test_folding_joins_whole_orbits() -> None:
    assert only(ord("k")).folded() == CharSet.parse("4B 6B 212A")
    assert only(ord("ß")).folded() == CharSet.parse("DF 1E9E")
    assert only(ord("İ")).folded() == only(ord("İ"))
    assert only(ord("k")).folded_ascii() == CharSet.parse("4B 6B")
    assert CharSet.parse("59-62").folded_ascii() == CharSet.parse("41-42 59-62 79-7A")
    assert (~only(ord("k"))).folded() == EVERYTHING


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Lu", 1_858),
        ("Ll", 2_258),
        ("L", 141_028),
        ("M", 2_501),
        ("Nd", 760),
        ("P", 855),
        ("S", 8_514),
        ("Zs", 17),
        ("Cn", 819_533),
        ("Alphabetic", 142_759),
        ("Lowercase", 2_569),
        ("Emoji", 1_431),
        ("Greek", 518),
        ("Han", 99_030),
    ],
)
def test_properties_are_those_of_unicode_16(name: str, count: int) -> None:
    """A Python whose Unicode is older or newer than Rust's must not change what matches."""
    chars = unicode_property(name)

    assert chars is not None
    assert _count(chars) == count


@pytest.mark.parametrize(("letter", "count"), [("d", 760), ("s", 25), ("w", 144_667)])
def test_perl_classes_are_those_of_unicode_16(letter: str, count: int) -> None:
    assert _count(perl_class(letter)) == count


def test_case_pairs_are_those_of_unicode_16() -> None:
    cased = [point for point in range(0x20000) if only(point).folded() != only(point)]

    assert len(cased) == 2938


def _count(chars: CharSet) -> int:
    return sum(high - low + 1 for low, high in chars.ranges)
