"""Patterns that are refused, by name and place, instead of being run with another meaning."""

from __future__ import annotations

import time

import pytest

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.regex import required_text, translate_regex


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"a\1", r"backreferences such as \1 are not supported at position 1"),
        (r"\0", r"backreferences such as \0 are not supported at position 0"),
        ("a(?=b)", "look-around is not supported: it stands at position 1"),
        ("(?!b)", "look-around is not supported: it stands at position 0"),
        ("(?<=b)", "look-around is not supported: it stands at position 0"),
        ("(?<!b)", "look-around is not supported: it stands at position 0"),
        (r"ab\K", r"unrecognized escape sequence \K at position 2"),
        (r"\y", r"unrecognized escape sequence \y at position 0"),
        (r"\m", r"unrecognized escape sequence \m at position 0"),
        (r"\M", r"unrecognized escape sequence \M at position 0"),
        (r"\Z", r"unrecognized escape sequence \Z at position 0"),
        (r"\Q", r"unrecognized escape sequence \Q at position 0"),
        (r"\e", r"unrecognized escape sequence \e at position 0"),
        (r"\é", r"unrecognized escape sequence \é at position 0"),
        ("a\\", "incomplete escape sequence at position 1"),
        (r"\x4", "incomplete escape sequence at position 0"),
        (r"\x{41", "incomplete escape sequence at position 0"),
        (r"\p", "incomplete escape sequence at position 0"),
        (r"\p{L", "incomplete escape sequence at position 0"),
        (r"\xZZ", "invalid hexadecimal digits 'ZZ' at position 0"),
        (r"\x{}", "empty hexadecimal escape at position 0"),
        (r"\x{110000}", "110000 is not the number of a Unicode character at position 0"),
        (r"\x{D800}", "D800 is not the number of a Unicode character at position 0"),
        (r"\p\L", "invalid Unicode property at position 0"),
        (r"\b{middle}", r"unrecognized word boundary \b{middle} at position 0"),
        (r"\b{start", r"unclosed word boundary \b{start at position 0"),
        (r"\b{", "unclosed word boundary or repetition at position 2"),
        ("a(b", "unclosed group at position 1"),
        ("(?", "unclosed group at position 0"),
        ("a)", "unopened group at position 1"),
        ("[a", "unclosed character class at position 0"),
        ("x[^", "unclosed character class at position 1"),
        ("[]", "unclosed character class at position 0"),
        ("[a-", "unclosed character class at position 0"),
        ("[a[b]", "unclosed character class at position 0"),
        ("x[z-a]", "invalid character range, whose start is beyond its end, at position 2"),
        (r"[a-\d]", "invalid range boundary, which must be a character, at position 1"),
        (r"[\b]", "invalid escape sequence in a character class at position 1"),
        (r"[\A]", "invalid escape sequence in a character class at position 1"),
        ("*a", "repetition operator without an expression at position 0"),
        ("a|+", "repetition operator without an expression at position 2"),
        ("(?i)?", "repetition operator without an expression at position 4"),
        ("{1}", "repetition operator without an expression at position 0"),
        ("(?)", "repetition operator without an expression at position 1"),
        ("a{", "unclosed counted repetition at position 1"),
        ("a{2", "unclosed counted repetition at position 1"),
        ("a{1,", "unclosed counted repetition at position 1"),
        ("a{1x}", "unclosed counted repetition at position 1"),
        ("a{,2}", "repetition without a number at position 2"),
        ("a{3,2}", "invalid repetition, whose start is beyond its end, at position 1"),
        ("a{4294967296}", "repetition with too large a number at position 2"),
        ("a{" + "9" * 5000 + "}", "repetition with too large a number at position 2"),
        ("(?z)", "unrecognized flag 'z' at position 2"),
        ("(?>a)", "unrecognized flag '>' at position 2"),
        ("(?#a)", "unrecognized flag '#' at position 2"),
        ("(?P=n)", "unrecognized flag 'P' at position 2"),
        ("(?ii)", "repeated flag 'i' at position 3"),
        ("(?i-i)", "repeated flag 'i' at position 4"),
        ("(?--i)", "repeated flag '-' at position 3"),
        ("(?i-)", "negation without a flag at position 3"),
        ("(?i", "flags without an end at position 2"),
        ("(?<1>a)", "invalid character in a capture group name at position 3"),
        ("(?<>a)", "empty capture group name at position 3"),
        ("(?P<a", "unclosed capture group name at position 4"),
        ("(?<n>a)(?<n>b)", "duplicate capture group name 'n' at position 10"),
        (r"(?-u:\xff)", "pattern can match invalid UTF-8 at position 5"),
        ("(?-u:.)", "pattern can match invalid UTF-8 at position 5"),
        ("(?-u:[^a])", "pattern can match invalid UTF-8 at position 5"),
        (r"(?-u:\W)", "pattern can match invalid UTF-8 at position 5"),
        ("(?-u:[[:^alpha:]])", "pattern can match invalid UTF-8 at position 6"),
        ("(?-u:[é])", "Unicode character where the flag u is off at position 6"),
        (r"(?-u:\pL)", "Unicode property where the flag u is off at position 5"),
        ("(" * 251 + ")" * 251, "groups nested deeper than 250 at position 250"),
        ("[" * 251 + "a" + "]" * 251, "brackets nested deeper than 250 at position 250"),
        ("a" + "*" * 251, "expressions nested deeper than 250 at position 0"),
    ],
    ids=lambda value: value[:40],
)
def test_what_rust_refuses(pattern: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        translate_regex(pattern)

    assert caught.value.message() == f"Regex syntax error: {message}"


@pytest.mark.parametrize(
    ("pattern", "construct", "reason"),
    [
        (
            r"a\p{Nope}",
            r"the Unicode property \p{Nope} at position 1",
            "for which there is a table",
        ),
        (r"\p{Osage}", r"the Unicode property \p{Osage} at position 0", "for which there is"),
        (r"\p{Age=6.0}", r"the Unicode property \p{Age=6.0} at position 0", "for which there is"),
        (r"\p{scx=Greek}", r"the Unicode property \p{scx=Greek} at position 0", "for which"),
        (r"\pX", r"the Unicode property \p{X} at position 0", "for which there is a table"),
        ("a{5001}", "the repetition at position 1", "5001 elements, more than 5000"),
        ("(?:ab){0,2501}", "the repetition at position 6", "5002 elements, more than 5000"),
        ("(?:a{100}){100}", "the repetition at position 10", "10000 elements, more than 5000"),
        ("(?:a?){251}", "the repetition at position 6", "251 elements, more than 250"),
        ("(?:a?b?c?){0,250}", "the repetition at position 10", "750 elements, more than 250"),
        ("a{4500}" * 9, "the pattern at position 0", "40500 elements, more than 40000"),
        (r"\b-?" * 400, "the pattern at position 0", "more than 1000000 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_what_postgresql_cannot_be_told(pattern: str, construct: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        translate_regex(pattern)

    message = caught.value.message()
    assert message.startswith(f"Regex syntax error: {construct} cannot be expressed for PostgreSQL")
    assert reason in message


@pytest.mark.parametrize(
    "pattern",
    [
        "(" * 100_000,
        "[" * 100_000,
        "a" + "*" * 100_000,
        "((((a{99}){99}){99}){99}){99}",
        "(?x)" + "#" * 100_000 + "\n(",
        r"\x{" + "0" * 100_000,
        "a{" + "0" * 100_000,
        "(?:a{5000}" * 200 + ")*" * 200,
    ],
    ids=lambda pattern: pattern[:12],
)
def test_hostile_patterns_are_refused_soon(pattern: str) -> None:
    start = time.monotonic()

    with pytest.raises(InvalidArgumentError):
        translate_regex(pattern)

    assert time.monotonic() - start < 5


IDEOGRAPHS = [chr(0x4E00 + 2 * number) for number in range(9_900)]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "pattern",
    [
        f"[{''.join(IDEOGRAPHS)}]",
        "[" * 249 + "".join(IDEOGRAPHS[:9_000]) + "]" * 249,
        "(?i)" + "".join(f"[^{c}" for c in IDEOGRAPHS[:240]) + "]" * 240,
        "".join(rf"[\pL{c}]" for c in IDEOGRAPHS[:1_600]),
        "[" + r"\w&&" * 2_400 + r"\w]",
        "[" + r"\w--" * 2_400 + r"\w]",
        "(?i)" + r"\pL" * 3_300,
        r"\PL" * 3_300,
        r"\b" * 4_900,
        r"\ba" * 3_300,
        "".join(rf"\b[{c}\d]" for c in IDEOGRAPHS[:1_400]),
        r"\b(?:" + "|".join(IDEOGRAPHS[:4_900]) + r")\b",
        r"(?:\b" * 120 + "|".join(IDEOGRAPHS[:4_000]) + r"\b)" * 120,
        "(" * 240 + "".join(IDEOGRAPHS[:9_000]) + ")" * 240,
        "(?x)[" + "- " * 4_000 + "a]",
        "." * 9_900,
    ],
    ids=lambda pattern: pattern[:12],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    start = time.process_time()
    try:
        translated = translate_regex(pattern)
        required_text(pattern)
    except InvalidArgumentError as error:
        translated = error.message()
        assert len(translated) < 500
    assert len(translated) < 1_100_000
    assert time.process_time() - start < 8


def test_a_pattern_has_a_length() -> None:
    assert translate_regex("x" * 10_000)
    with pytest.raises(InvalidArgumentError, match="has 10001 characters, more than 10000"):
        translate_regex("x" * 10_001)
