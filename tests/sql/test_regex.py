"""Patterns in SQL mean the same as in the API, or are refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as pg

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.regex import translate_regex

PIECES = [
    *"abkSé.^$*+?()|]}{\\-%&#'[",
    *("\\d", "\\w", "\\s", "\\D", "\\W", "\\b", "\\B", "\\.", "\\n", "\\A", "\\z", "\\-", "\\1"),
    *("{2}", "{1,2}", "{,2}", "{2,1}", "*?", "(?:", "(?P<n>", "(?i)", "(?m)", "(?s)", "(?=a)", " "),
    *("[ab]", "[^a]", "[a-c]", "[c-a]", "[\\d_]", "[-a]", "[a-]", "[]a]", "[^\\s]", "[[:alpha:]]"),
]
DOCUMENTS = st.text("abckKsS.é \n_-1%'[]{}", max_size=8)


@pytest.mark.heavy
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=7), documents=st.lists(DOCUMENTS, max_size=6)
)
def test_patterns_match_what_they_match_in_the_api(
    module_connection: psycopg.Connection[Any], pieces: list[str], documents: list[str]
) -> None:
    pattern = "".join(pieces)
    matching = (
        "select array(select d ~ %s from unnest(%s::text[]) with ordinality as d (d, n) order by n)"
    )
    try:
        translated = translate_regex(pattern)
        expected = module_connection.execute(matching, [translated, documents]).fetchone()
    except (InvalidArgumentError, pg.InvalidRegularExpression):
        with pytest.raises((pg.InvalidParameterValue, pg.FeatureNotSupported)):
            module_connection.execute("select chroma._regex(%s)", [pattern])
        return
    try:
        rows = module_connection.execute(
            "select r.expression, r.required from chroma._regex(%s) as r", [pattern]
        ).fetchall()
    except pg.FeatureNotSupported:
        return
    ((expression, required),) = rows
    got = module_connection.execute(matching, [expression, documents]).fetchone()
    assert got == expected, (pattern, expression, translated)
    assert expected is not None
    for document, is_match in zip(documents, expected[0], strict=True):
        assert not is_match or required in document


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["d", "s", "w"])
def test_classes_are_those_of_the_api(
    module_connection: psycopg.Connection[Any], name: str
) -> None:
    """Compare every character but U+0000 and surrogates."""
    expression = translate_regex(f"\\{name}")
    differing = module_connection.execute(
        "select count(*) from generate_series(1, x'10ffff'::int) as c "
        "where c not between x'd800'::int and x'dfff'::int "
        "and (chr(c) ~ ('***:[' || chroma._regex_class(%s) || ']')) <> (chr(c) ~ %s)",
        [name, expression],
    ).fetchone()
    assert differing == (0,)


@pytest.mark.parametrize(
    ("pattern", "required"),
    [
        ("fox", "fox"),
        ("a fo+x", "a f"),
        ("(quick|slow) fox", " fox"),
        ("fox|dog", ""),
        ("^ab.cde$", "cde"),
    ],
)
def test_the_text_that_every_match_has_is_seen(
    module_connection: psycopg.Connection[Any], pattern: str, required: str
) -> None:
    found = module_connection.execute("select required from chroma._regex(%s)", [pattern])
    assert found.fetchone() == (required,)
