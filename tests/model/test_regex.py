"""What a translated pattern matches in PostgreSQL, with expectations taken from Chroma itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql

from pgchroma.model.regex import translate_regex


class Case(NamedTuple):
    """A pattern, texts that it matches and texts that it does not."""

    pattern: str
    matching: list[str]
    others: list[str]


LITERALS = [
    Case("fox", ["fox", "a foxtrot"], ["", "fo", "FOX", "f ox"]),
    Case("", ["", "a", "\n"], []),
    Case(r"\.\*\+\?\(\)\[\]\{\}\^\$\|\\\#\&\-\~", [r".*+?()[]{}^$|\#&-~"], [".", "\\"]),
    Case(r"\!\"\%\'\,\/\:\;\=\@\_\`\ ", ["!\"%',/:;=@_` "], ["!"]),
    Case(r"\*\*\*:", ["***:"], [":", "***"]),
    Case(r"\*\*\*=a", ["***=a"], ["a"]),
    Case(r"\(\?i\)a", ["(?i)a"], ["a", "A"]),
    Case("]}", ["]}"], ["]", "}"]),
    Case(r"\x61\x{62}\u0063\u{64}\U00000065\U{66}", ["abcdef"], ["abcde", "x61"]),
    Case(r"\x{10FFFF}", ["\U0010ffff"], ["\U0010fffe"]),
    Case(r"a\nb\tc\rd", ["a\nb\tc\rd"], ["anbtcrd"]),
    Case(r"\a\f\v", ["\x07\x0c\x0b"], ["afv"]),
    Case("日本", ["日本語"], ["日", "本日"]),
    Case("a b#c", ["a b#c"], ["ab#c", "abc"]),
]

NUL_NEVER_OCCURS = [
    Case(r"\x00", [], ["", "0", "a"]),
    Case(r"a\x00?b", ["ab"], ["a0b", "b"]),
    Case(r"[\x00a]", ["a"], ["0", ""]),
    Case(r"\x00|a", ["a"], ["", "0"]),
    Case(r"[^\x00]", ["a", "\x01"], [""]),
]

DOTS_AND_ANCHORS = [
    Case("a.b", ["axb", "a\rb", "a\u2028b", "a😀b"], ["a\nb", "ab"]),
    Case("(?s)a.b", ["a\nb", "axb"], ["ab"]),
    Case("(?R)a.b", ["axb", "a\u0085b"], ["a\nb", "a\rb"]),
    Case("(?sR)a.b", ["a\nb", "a\rb"], ["ab"]),
    Case("^b", ["b", "bc"], ["ab", "a\nb"]),
    Case("b$", ["b", "ab"], ["b\n", "b\nc"]),
    Case(r"\Ab\z", ["b"], ["b\n", "\nb", "ab"]),
    Case("(?m)^b", ["b", "a\nb"], ["ab", "a\rb"]),
    Case("(?m)b$", ["b", "b\nc", "b\n"], ["bc", "b\r\n"]),
    Case(r"(?m)\Ab\z", ["b"], ["a\nb", "b\nc"]),
    Case("(?m)^$", ["", "a\n", "a\n\nb"], ["a", "a\nb"]),
    Case("(?mR)^b", ["b", "a\nb", "a\rb", "a\r\nb"], ["ab"]),
    Case("(?mR)b$", ["b", "b\nc", "b\rc", "b\r\nc"], ["bc"]),
    Case(r"(?mR)\r^\n", [], ["\r\n", "a\r\nb"]),
    Case(r"(?mR)\r$\n", [], ["\r\n", "a\r\nb"]),
    Case(r"(?mR)\r^", ["\r", "a\rb"], ["\r\n"]),
    Case("(?R)^b", ["b"], ["a\nb", "a\rb"]),
    Case("^^a$$", ["a"], ["aa"]),
    Case("a^b", [], ["ab", "a\nb"]),
    Case("(?m)a$\n^b", ["a\nb"], ["ab"]),
]

FLAGS = [
    Case("(?i)fox", ["FOX", "fOx"], ["fo"]),
    Case("(?i:f)ox", ["Fox", "fox"], ["FOX"]),
    Case("f(?i)ox", ["fOX"], ["FOX"]),
    Case("(?i)f(?-i)ox", ["Fox"], ["FOX"]),
    Case("(?i)f(?-i:o)x", ["FoX"], ["FOX"]),
    Case("((?i)a|b)c", ["Ac", "Bc"], ["aC"]),
    Case("a(?i)b|c", ["aB", "C"], ["Ab", "A"]),
    Case("(?i)k", ["k", "K", "\u212a"], ["c"]),
    Case("(?i)ſ", ["s", "S", "ſ"], ["f"]),
    Case("(?i)É", ["é", "É"], ["e", "E"]),
    Case("(?i)ß", ["ß", "ẞ"], ["ss", "SS"]),
    Case("(?i)σ", ["σ", "ς", "Σ"], ["s"]),
    Case("(?i)i", ["i", "I"], ["İ", "ı"]),
    Case("(?i)\u0345", ["\u0345", "ι", "Ι", "\u1fbe"], ["i"]),
    Case("(?i)[^k]", ["a"], ["k", "K", "\u212a"]),
    Case("(?i)[[:upper:]]", ["a", "ſ", "\u212a"], ["1", "é"]),
    Case("(?i)[[:^upper:]]", ["1", "é"], ["a", "ſ"]),
    Case(r"(?i)\p{Lu}", ["a", "é"], ["1", "日"]),
    Case(r"(?i)\P{Lu}", ["1", "日"], ["a", "é"]),
    Case(r"(?i)\p{gc!=Lu}", ["1", "日"], ["a", "é"]),
    Case(r"(?i)[^\P{Lu}]", ["a"], ["1"]),
    Case("(?i)[a-c--B]", ["a", "C"], ["b", "B"]),
    Case("(?x) a b # and\n c", ["abc"], ["a b c", "ab"]),
    Case(r"(?x) a \  b \# [ c d ]", ["a b#c"], ["ab#c", "a b# "]),
    Case("(?x) a {2} \u3000 b", ["aab"], ["aa b"]),
    Case("(?x)a+ ?b", ["b", "aab"], ["a"]),
    Case("(?x: a b ) c", ["ab c"], ["abc"]),
    Case("(?x)(?-x) a", [" a"], ["a"]),
    Case("(?U)a+?b", ["aab"], ["b"]),
    Case("(?s-m:a.b$)", ["a\nb"], ["a\nb\n"]),
    Case(r"(?-u:\b)a", ["a", "éa"], ["ba"]),
    Case("(?-u:é)", ["é"], ["e"]),
    Case("(?i-u:é)", ["é"], ["É"]),
]

WITHOUT_UNICODE = [
    Case(r"(?-u)\w", ["a", "_", "9"], ["é", "٣"]),
    Case(r"(?-u)\d\s", ["1 ", "1\x0b"], ["٣ ", "1\u3000"]),
    Case("(?i-u)k", ["k", "K"], ["\u212a"]),
    Case("(?i-u)[j-l]", ["K"], ["\u212a"]),
    Case(r"(?-u)a(?u:\w)", ["aé"], ["a."]),
]
"""Valid in Rust, but refused by Chroma as byte patterns, so these expectations are Rust's alone."""

CLASSES = [
    Case("[a-c]", ["a", "b", "c"], ["d", "A", "-"]),
    Case("[^a-c]", ["d", "\n", "é"], ["a", ""]),
    Case("[]a]", ["]", "a"], ["b"]),
    Case("[^]a]", ["b"], ["]", "a"]),
    Case("[-a]", ["-", "a"], ["b"]),
    Case("[a-]", ["-", "a"], ["b"]),
    Case("[--a]", ["-", "a"], ["b"]),
    Case("[a-b-c]", ["a", "b", "-", "c"], ["d"]),
    Case(r"[\]\[\^\-\\]", ["]", "[", "^", "-", "\\"], ["a"]),
    Case(r"[+--]", ["+"], ["-", ","]),
    Case(r"[!-\]]", ["!", "A", "[", "\\", "]"], ["^", " "]),
    Case(r"[\x20-\x2d]", [" ", "-"], ["."]),
    Case(r"[.*+?(){}|$]", [".", "*", "$", "|"], ["a"]),
    Case("[a[bc]]", ["a", "b", "c"], ["d", "["]),
    Case("[a-z&&[^aeiou]]", ["b"], ["a", "B"]),
    Case("[a-z--[aeiou]]", ["b"], ["a", "B"]),
    Case("[a-c~~b-d]", ["a", "d"], ["b", "c"]),
    Case("[^a&&b]", ["a", "b", "c"], []),
    Case("[a-z&&b-y--c]", ["b", "y"], ["a", "c", "z"]),
    Case("[a&]", ["a", "&"], ["b"]),
    Case("[[:alpha:]_]", ["a", "_"], ["1", "é"]),
    Case("[[:^alpha:]]", ["1", "é"], ["a"]),
    Case("[[:foo:]]", [":", "f"], ["a", "["]),
    Case("[:alpha:]", [":", "a"], ["b"]),
    Case("[[:punct:]]", ["!", "~", "_"], ["a", "«"]),
    Case(r"[\d\s]", ["1", "٣", " ", "\u3000"], ["a"]),
    Case(r"[^\W_]", ["a", "é"], ["_", " "]),
    Case(r"[\w--\d]", ["a", "_"], ["1", "."]),
    Case(r"[\n\t]", ["\n", "\t"], ["n", "t"]),
    Case("(?x)[ a - c #\n]", ["b"], ["#", " "]),
    Case(r"[\x{0}-\x{10FFFF}]", ["a", "\n"], [""]),
    Case("[\ud7ff-\ue000]", ["\ud7ff", "\ue000"], ["\ue001"]),
]

EMPTY_CLASSES = [
    Case("[a&&b]", [], ["a", "b", ""]),
    Case(r"[^\x00-\x{10FFFF}]", [], ["a", "\n", ""]),
    Case("(?:[a--a]|b)+", ["b"], ["a", ""]),
]
"""Valid in Rust; Chroma refuses an empty class as a byte pattern."""

UNICODE = [
    Case(r"^\d$", ["1", "٣", "९"], ["²", "Ⅷ", "a"]),
    Case(r"^\w$", ["a", "é", "日", "_", "‿", "\u0301", "\u200d", "Ⓐ", "Ⅷ", "٣"], ["²", "-", "€"]),
    Case(r"^\s$", [" ", "\t", "\x0b", "\x85", "\xa0", "\u3000", "\u2028"], ["\x1c", "\u200b"]),
    Case(r"^\D\W\S$", ["a-b"], ["1-b", "abc", "a- "]),
    Case(r"^\pL$", ["a", "日", "ª"], ["1", "\u0301"]),
    Case(r"^\PL$", ["1", "\u0301"], ["a"]),
    Case(
        r"^\p{Lu}\p{Uppercase_Letter}\p{gc=Lu}\p{General_Category:upperCASE letter}$",
        ["ABCÉ"],
        ["ABCé"],
    ),
    Case(r"^\p{Alphabetic}$", ["a", "Ⓐ", "\u0345"], ["\u0301", "1"]),
    Case(r"^\p{Uppercase}\p{Lowercase}$", ["Aª", "Ⅷⅷ"], ["aA"]),
    Case(r"^\p{White_Space}\p{space}$", ["  "], ["a "]),
    Case(r"^\p{Emoji}$", ["😀", "1", "#"], ["a"]),
    Case(r"^\p{Greek}\p{sc=Grek}\p{Script=Greek}\p{IsGreek}$", ["γράμ"], ["γρaμ"]),
    Case(r"^\p{Cyrillic}+$", ["Привет"], ["Привет!"]),
    Case(r"^[\p{Han}\p{Hiragana}\p{Katakana}]+$", ["日本のカナ"], ["日本 x"]),
    Case(r"^\p{Any}\p{ASCII}\p{Assigned}$", ["\u0378aa"], ["a\u0378a", "aa\u0378"]),
    Case(r"^\p{gc!=L}$", ["1"], ["a"]),
    Case(r"^\P{gc!=L}$", ["a"], ["1"]),
    Case(r"^\p{Sc}\p{Nd}\pN$", ["€1²"], ["€²1"]),
    # Each was assigned only after Unicode 14, which is what Python 3.11 knows.
    Case(r"^\p{Lu}\p{Lo}\p{So}\p{Nd}\w$", ["\ua7cb\U00016d43\u2ffc\U00016d70\u0897"], ["Aaaaa"]),
    Case("(?i)^\ua7cb\ua7da$", ["\u0264\ua7db"], ["ab"]),
]

WORDS = [
    Case(r"\bfox\b", ["fox", "a fox.", "日 fox"], ["foxes", "éfox", "fox_", "fox\u0301"]),
    Case(r"\bé", ["é", " é"], ["aé"]),
    Case(r"fox\B", ["foxes"], ["fox", "fox "]),
    Case(r"\B", ["", "  ", "ab"], ["a"]),
    Case(r"\b", ["a", " a"], ["", " ", "-"]),
    Case(r"\b\W", ["a ", "é."], ["", " ", ". "]),
    Case(r"\w\b\w", [], ["ab", "a b"]),
    Case(r"\w\B\W", [], ["a ", "ab"]),
    Case(r"\W\b\w", [" a"], ["a ", "aa"]),
    Case(r"\b(?:cat|dogs?)\b", ["a dog", "dogs", "cat!"], ["category", "dogsled"]),
    Case(r"\b(?:-|x)y", ["xy", "a-y"], ["axy", " -y"]),
    Case(r"(\b)a(\b)", ["a", "-a-"], ["ab", "ba"]),
    Case(r"\bf?o", ["fo", "o", " o"], ["xo", "xfo"]),
    Case(r"x*\b-", ["x-", "a-"], ["-", " -"]),
    Case(r"\b{start}f", ["f", " fa"], ["af"]),
    Case(r"f\b{end}", ["f", "f "], ["fa"]),
    Case(r"\b{start}", ["a"], ["", "-"]),
    Case(r"\b{end}$", ["a"], ["", "a-"]),
    Case(r"\b{start-half}.b", ["-b", "ab"], ["b", "xab"]),
    Case(r"a\b{end-half}", ["a", "a-"], ["ab"]),
    Case(r"a\b{end-half}b", [], ["ab"]),
    Case(r"\<a", ["a", "-a"], ["ba"]),
    Case(r"a\>", ["a", "a-"], ["ab"]),
    Case(r"\b+a", ["a"], ["ba"]),
    Case(r"\b*a", ["ba"], ["b"]),
    Case(r"\b{2}a", ["a"], ["ba"]),
    Case(r"(?:\b|b)*c", ["bbc", "c", "abc"], ["b"]),
    Case(r"(?:^|\b-)+a", ["a", "b-a"], ["ba", "--a"]),
]

REPETITIONS = [
    Case("^a*b+c?$", ["b", "aabbc"], ["a", "bcc"]),
    Case("^a*?b+?c??$", ["b", "aabbc"], ["a", "bcc"]),
    Case("^a{2}$", ["aa"], ["a", "aaa"]),
    Case("^a{2,}$", ["aa", "aaaa"], ["a"]),
    Case("^a{1,2}?$", ["a", "aa"], ["", "aaa"]),
    Case("^a{0}$", [""], ["a"]),
    Case("^a{ 1 , 2 }$", ["a", "aa"], ["aaa"]),
    Case("^a**$", ["", "aa"], ["b"]),
    Case("^a{2}{3}$", ["aaaaaa"], ["aaaaa", "aa"]),
    Case("^(?:ab){2}$", ["abab"], ["ab", "abb"]),
    Case("^ab{2}$", ["abb"], ["abab"]),
    Case("^(a|b)+$", ["abba"], ["", "abc"]),
    Case("^[ab]{2}.$", ["abx"], ["ax"]),
    Case("^a{255}$", ["a" * 255], ["a" * 254, "a" * 256]),
    Case("^a{256}$", ["a" * 256], ["a" * 255, "a" * 257]),
    Case("^a{600}$", ["a" * 600], ["a" * 599, "a" * 601]),
    Case("^a{300,}$", ["a" * 300, "a" * 900], ["a" * 299]),
    Case("^a{0,600}$", ["", "a" * 255, "a" * 511, "a" * 600], ["a" * 601]),
    Case("^a{100,300}$", ["a" * 100, "a" * 300], ["a" * 99, "a" * 301]),
    Case("^(?:ab?){256,400}$", ["a" * 256, "ab" * 400], ["a" * 255, "ab" * 401]),
    Case("^(?:^)*a", ["a"], ["ba"]),
    Case("(?:$)+", ["a", ""], []),
    Case("()*", ["", "a"], []),
    Case("(?:){3}", ["", "a"], []),
    Case("^(?:a*)*$", ["", "aa"], ["b"]),
    Case("^(?:a?b?){3}$", ["", "ababab", "bbb"], ["abababa"]),
]

GROUPS = [
    Case("(a)(?:b)(?P<n>c)(?<m>d)", ["abcd"], ["abc"]),
    Case("(?<a.b[0]_é>x)", ["x"], ["y"]),
    Case("a|b", ["a", "b"], ["c"]),
    Case("ab|cd", ["ab", "cd"], ["ad", "ac"]),
    Case("^(?:ab|c)d$", ["abd", "cd"], ["ab", "ad"]),
    Case("a|", ["", "b"], []),
    Case("|a", ["", "b"], []),
    Case("^(|a)b$", ["b", "ab"], ["aab"]),
    Case("^(a|)b$", ["b", "ab"], ["aab"]),
    Case("^(|a)+$", ["", "aa"], ["b"]),
    Case("^a||b$", ["x"], []),
    Case("()", [""], []),
    Case("^(a(b(c|d)e)?)*$", ["", "abcea", "aabde"], ["abc"]),
    Case("(" * 100 + "a" + ")" * 100, ["a"], ["b"]),
]

VERIFIED = [
    *LITERALS,
    *NUL_NEVER_OCCURS,
    *DOTS_AND_ANCHORS,
    *FLAGS,
    *CLASSES,
    *UNICODE,
    *WORDS,
    *REPETITIONS,
    *GROUPS,
]

RUST_ALONE = [*WITHOUT_UNICODE, *EMPTY_CLASSES]


@pytest.mark.parametrize("case", [*VERIFIED, *RUST_ALONE], ids=lambda case: case.pattern[:40])
def test_matches_what_it_matches_in_rust(
    case: Case, regex_connection: psycopg.Connection[Any]
) -> None:
    texts = [*case.matching, *case.others]

    assert _matching(regex_connection, case.pattern, texts) == case.matching


@pytest.mark.parametrize("collation", ["C", "pg_c_utf8", "ucs_basic"])
def test_means_the_same_under_every_collation(
    collation: str, regex_connection: psycopg.Connection[Any]
) -> None:
    for case in [*FLAGS, *CLASSES, *UNICODE, *WORDS]:
        texts = [*case.matching, *case.others]
        matching = _matching(regex_connection, case.pattern, texts, collation)
        assert matching == case.matching, case.pattern


@pytest.mark.parametrize(
    ("pattern", "translated"),
    [
        ("fox", "fox"),
        ("a.b", r"a[^\n]b"),
        ("(?s).", "."),
        (r"[.]\.", r"\.\."),
        ("(?i)ok", "[Oo][Kk\u212a]"),
        ("[b-da]", "[a-d]"),
        ("[^a]", "[^a]"),
        ("(a)(?P<n>b|c)*", "a(?:b|c)*"),
        ("^a+?$", "^a+$"),
        ("(?m)^a", r"(?:^|(?<=\n))a"),
        ("[\ud7ff\ue000]", r"[\ud7ff\ue000]"),
        ("[\x01-\x02\x85]", r"[\u0001\u0002\u0085]"),
        ("\U000e0001", r"\U000e0001"),
        ("a{256}", "(?:a{255})a"),
    ],
)
def test_translation_stays_close_to_the_pattern(pattern: str, translated: str) -> None:
    assert translate_regex(pattern) == f"***:{translated}"


def test_a_word_anchor_looks_only_where_the_pattern_does_not_tell() -> None:
    unknown, beside_a_letter = translate_regex(r"\b"), translate_regex(r"a\b")

    assert beside_a_letter.startswith("***:a(?![")
    assert translate_regex(r"a\b-") == r"***:a-"
    assert len(unknown) > 3 * len(beside_a_letter)


@pytest.mark.parametrize(
    "pattern",
    [
        "x" * 10_000,
        "|".join(f"word{number}" for number in range(1_000)),
        "|".join(rf"\bword{number}\b" for number in range(150)),
        r"\w{5000}",
        ".{0,5000}x",
        "(?:a?){250}",
        r"(?:\w*\s*\d*){0,83}",
        "(" * 249 + "a|b" + ")" * 249,
        "a" + "*" * 250,
        "(?:" * 83 + "a" + "|b)*" * 83,
        "[" * 250 + "a" + "]" * 250,
    ],
    ids=lambda pattern: pattern[:20],
)
def test_the_largest_that_is_translated_is_not_too_large(
    pattern: str, regex_connection: psycopg.Connection[Any]
) -> None:
    _matching(regex_connection, pattern, ["a text to search " * 50])


def _matching(
    connection: psycopg.Connection[Any],
    pattern: str,
    texts: list[str],
    collation: str = "default",
) -> list[str]:
    query = sql.SQL(
        "select text from unnest(%s::text[]) with ordinality as t (text, place)"
        " where text collate {} ~ %s order by place"
    ).format(sql.Identifier(collation))
    return [row[0] for row in connection.execute(query, [texts, translate_regex(pattern)])]
