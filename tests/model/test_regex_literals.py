"""The text that every match of a pattern contains."""

from __future__ import annotations

import pytest

from pgchroma.model.regex import required_text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("fox", "fox"),
        (r"^fox\b", "fox"),
        (r"a(?:bc)d", "abcd"),
        (r"\bquick \w+ox jumps", "ox jumps"),
        ("ab+cd", "cd"),
        ("ab*cde", "cde"),
        ("(?:abc)+de", "abc"),
        ("(?:abc)?de", "de"),
        ("abc|abd", ""),
        ("x(?:abc|abd)yz", "yz"),
        ("[ab]cd[e]f", "cdef"),
        ("(?i)fox", ""),
        ("a{3}", "a"),
        ("", ""),
        (".*", ""),
        (r"\d{4}-\d\d", "-"),
        ("日本語.", "日本語"),
    ],
)
def test_the_longest_required_text(pattern: str, expected: str) -> None:
    assert required_text(pattern) == expected
