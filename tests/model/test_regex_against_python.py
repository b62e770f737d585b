"""Random patterns of the part of the syntax that Rust and Python share, with Python as judge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.regex import translate_regex

# Python agrees with Rust on what these are: no marks, no `²`, no separators U+001C to U+001F.
LETTERS = "abckKsSſ\u212aéÉßẞ日ж"
OTHERS = "019٣९_ .-#\n\r\t\u3000€😀"
ALPHABET = LETTERS + OTHERS


@dataclass(frozen=True)
class Pair:
    """One pattern in both dialects."""

    rust: str
    python: str

    def wrapped(self, before: str, after: str) -> Pair:
        return Pair(before + self.rust + after, before + self.python + after)


def same(pattern: str) -> Pair:
    return Pair(pattern, pattern)


# Python's `$` holds before a last line feed too, and its `\B` not in the empty text. A flag that
# is not part of the construct on both sides is taken back, for groups around it may have set it.
ANCHORS = [
    *map(same, ["^", r"\A", r"\b", "(?m:^)", "(?m:$)"]),
    Pair("(?-m:$)", r"\Z"),
    Pair(r"\z", r"\Z"),
    Pair(r"\B", r"(?!\b)"),
    Pair(r"\b{start}", r"(?<!\w)(?=\w)"),
    Pair(r"\b{end}", r"(?<=\w)(?!\w)"),
    Pair(r"\b{start-half}", r"(?<!\w)"),
    Pair(r"\b{end-half}", r"(?!\w)"),
]
SETS = [same(text) for text in (r"\d", r"\D", r"\w", r"\W", r"\s", r"\S")]
DOTS = [same("."), same("(?s:.)"), Pair("(?R-s:.)", r"[^\n\r]")]
QUANTIFIERS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{1,3}?", "{0}"]
# Python backtracks, so it is not to repeat without limit what itself repeats without limit. Nor is
# it to repeat lazily what may be empty, for it overlooks matches then that Rust finds.
GREEDY = ["*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}"]
BOUNDED = ["?", "{2}", "{0,2}"]
GROUPS = ["(", "(?:", "(?i:", "(?s:", "(?m:", "(?-i:"]

literals = st.sampled_from(ALPHABET).map(re.escape).map(same)
ranges = st.tuples(st.sampled_from(ALPHABET), st.sampled_from(ALPHABET)).map(
    lambda ends: same("-".join(map(re.escape, sorted(ends))))
)
class_items = st.one_of(literals, ranges, st.sampled_from(SETS))


@st.composite
def classes(draw: st.DrawFn) -> Pair:
    items = draw(st.lists(class_items, min_size=1, max_size=3))
    negation = draw(st.sampled_from(["", "^"]))
    return joined("", items).wrapped("[" + negation, "]")


@st.composite
def groups(draw: st.DrawFn, content: st.SearchStrategy[Pair], quantifiers: list[str]) -> Pair:
    group = draw(content).wrapped(draw(st.sampled_from(GROUPS)), ")")
    return group.wrapped("", draw(st.sampled_from(["", "", *quantifiers])))


@st.composite
def quantified(draw: st.DrawFn, atoms: st.SearchStrategy[Pair]) -> Pair:
    return draw(atoms).wrapped("", draw(st.sampled_from(["", "", "", *QUANTIFIERS])))


def joined(separator: str, pairs: list[Pair]) -> Pair:
    return Pair(
        separator.join(pair.rust for pair in pairs), separator.join(pair.python for pair in pairs)
    )


def sequences(parts: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    sequence = st.lists(parts, max_size=4).map(lambda pairs: joined("", pairs))
    return st.lists(sequence, min_size=1, max_size=3).map(lambda pairs: joined("|", pairs))


atoms = st.one_of(literals, literals, st.sampled_from(SETS + DOTS), classes())
anchors = st.sampled_from(ANCHORS)
loops = groups(sequences(st.one_of(atoms, anchors)), GREEDY)
pieces = st.one_of(quantified(atoms), quantified(atoms), anchors, loops)
patterns = st.recursive(
    sequences(pieces),
    lambda inner: sequences(st.one_of(pieces, groups(inner, BOUNDED))),
    max_leaves=6,
)
texts = st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=12)


@pytest.mark.heavy
@settings(max_examples=10 * settings().max_examples)
@given(pattern=patterns, texts=texts)
def test_matches_what_python_matches(
    pattern: Pair, texts: list[str], regex_connection: psycopg.Connection[Any]
) -> None:
    judge = re.compile(pattern.python)
    query = (
        "select array_agg(text ~ %s order by place)"
        " from unnest(%s::text[]) with ordinality as t (text, place)"
    )

    try:
        rows = regex_connection.execute(query, [translate_regex(pattern.rust), texts]).fetchall()
    except (InvalidArgumentError, psycopg.errors.InvalidRegularExpression) as error:
        # Nested repetitions can be too many, and anchors in them too complex for PostgreSQL, which
        # then raises an error instead of answering.
        assert re.search("elements, more than|too complex", str(error))
        reject()

    assert rows[0][0] == [judge.search(text) is not None for text in texts]
