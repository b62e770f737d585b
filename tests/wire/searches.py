"""Strategies of searches and of what they find."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pgchroma.model.fields import SCORE
from pgchroma.model.operations import SearchRecords
from pgchroma.model.records import FoundRecords
from pgchroma.model.search.parsed import Grouping, ParsedSearch
from pgchroma.model.search.ranking import Calculation, Constant, Nearest
from pgchroma.model.sparse import SparseVector
from pgchroma.model.types import ReadLevel
from tests import strategies
from tests.wire.values import columns, counts, filters, refs_with_generation

__all__ = ("found", "searches")

FIELDS = ("#document", "#embedding", "#metadata", SCORE)

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
constants = singles | st.sampled_from([float("inf"), float("-inf")])
vectors = st.lists(singles, min_size=1, max_size=4).map(lambda v: np.array(v, np.float32))
sparse_vectors = st.dictionaries(st.integers(0, 2**32 - 1), singles, max_size=4).map(
    lambda v: SparseVector(sorted(v), [v[index] for index in sorted(v)])
)
nearest = st.builds(
    Nearest,
    vectors | sparse_vectors,
    strategies.text,
    st.integers(0, 2**32 - 1),
    st.none() | constants,
    st.booleans(),
)
rankings: st.SearchStrategy[Any] = st.recursive(
    nearest | st.builds(Constant, constants),
    lambda inner: st.one_of(
        st.builds(Calculation, st.sampled_from(["$abs", "$exp", "$log"]), st.tuples(inner)),
        st.builds(Calculation, st.sampled_from(["$sub", "$div"]), st.tuples(inner, inner)),
        st.builds(
            Calculation,
            st.sampled_from(["$sum", "$mul", "$max", "$min"]),
            st.lists(inner, max_size=3).map(tuple),
        ),
    ),
    max_leaves=4,
)
keys = st.lists(strategies.keys, min_size=1, max_size=2).map(tuple)
orders = st.lists(strategies.keys | st.just(SCORE), min_size=1, max_size=2).map(tuple)
groupings = st.builds(Grouping, keys, orders, st.integers(1, 2**32 - 1), st.booleans())
selections = st.frozensets(st.sampled_from(FIELDS) | strategies.text, max_size=4)


@st.composite
def _search(draw: st.DrawFn) -> ParsedSearch:
    ranking = draw(st.none() | rankings)
    return ParsedSearch(
        draw(filters()),
        ranking,
        None if ranking is None else draw(st.none() | groupings),
        draw(st.integers(0, 2**32 - 1)),
        draw(counts),
        draw(selections),
    )


searches = st.builds(
    SearchRecords,
    refs_with_generation,
    st.lists(_search(), max_size=3).map(tuple),
    st.sampled_from(ReadLevel),
)


@st.composite
def found(draw: st.DrawFn, operation: SearchRecords) -> list[FoundRecords]:
    """What each search of an operation may find."""
    answers = []
    for search in operation.searches:
        records = draw(columns(search.include))
        numbers = st.lists(
            st.none() | singles, min_size=len(records.ids), max_size=len(records.ids)
        )
        scores = draw(numbers) if SCORE in search.selected else None
        answers.append(FoundRecords(dataclasses.replace(records, uris=None), scores))
    return answers
