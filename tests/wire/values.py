"""Strategies of the values that operations and their results have."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.entities import CollectionModel, Database, DatabaseRef
from pgchroma.model.filterable import KINDS, FilterableKeys
from pgchroma.model.filters import combine, parse_where, parse_where_document
from pgchroma.model.hnsw import HnswConfiguration
from pgchroma.model.inspection import QueryPlan, SegmentUse
from pgchroma.model.operations import (
    AddRecords,
    CollectionRef,
    DeleteRecords,
    QueryRecords,
    StoreReembedded,
    UpdateRecords,
)
from pgchroma.model.records import QueriedRecords, RecordBatch, RecordColumns
from pgchroma.model.reembedding import Reembedding, Unembedded
from tests import strategies

COLUMNS = ("documents", "embeddings", "metadatas", "uris")

text = strategies.text
looked_up = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=3, max_size=12
) | st.sampled_from(
    ["a/b", "a%2Fb", "a b", "a?b#c", "%%%", "a+b", "...", "日本語", "a\nb", "é/é&=;"]
)
names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{1,20}[a-zA-Z0-9]", fullmatch=True)
new_names = names | st.tuples(names, names).map("+".join)
counts = st.none() | st.integers(0, 2**32 - 1)
scopes = st.builds(DatabaseRef, looked_up, looked_up)
refs = st.builds(CollectionRef, scopes, st.uuids())
# A request with embeddings also names the generation that they belong to.
refs_with_generation = st.builds(
    CollectionRef, scopes, st.uuids(), st.none() | st.integers(0, 2**63 - 1)
)

numbers = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 1e22, 5e-324, sys.float_info.max, 1.0, 2.0**63])
    | st.integers(-(2**63), 2**63 - 1)
)
scalars = text | st.booleans() | numbers
metadata = st.dictionaries(strategies.keys, scalars, max_size=4) | strategies.metadata
scalar_metadata = st.dictionaries(strategies.keys, scalars, min_size=1, max_size=4)

settings = {
    "ef_search": st.integers(1, 100_000),
    "max_neighbors": st.integers(1, 1000),
    "num_threads": st.integers(1, 64),
    "batch_size": st.integers(2, 10_000),
    "sync_threshold": st.integers(2, 10_000),
    "resize_factor": st.floats(0, 1e6),
    "quantization": st.none() | st.sampled_from(["none", "halfvec", "bit"]),
}
fixed = {"space": st.sampled_from(["l2", "cosine", "ip"]), "ef_construction": st.integers(1, 999)}
functions = st.sampled_from([{"type": "legacy"}, {"type": "unknown"}]) | st.fixed_dictionaries(
    {"type": st.just("known"), "name": text, "config": st.dictionaries(text, scalars, max_size=3)}
)


def _optional(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={k: st.none() | v for k, v in fields.items()})


new_configurations = _optional({"hnsw": _optional(settings), "embedding_function": functions})
configurations = _optional(
    {"hnsw": _optional({**settings, **fixed}), "embedding_function": functions}
) | st.fixed_dictionaries({"spann": _optional({"space": fixed["space"]})})


kinds = st.sampled_from(KINDS)
indexed = st.builds(
    FilterableKeys,
    st.dictionaries(kinds, st.just(False)),
    st.dictionaries(strategies.keys, st.dictionaries(kinds, st.booleans(), min_size=1), max_size=3),
    st.booleans(),
)


@st.composite
def matrices(draw: st.DrawFn, rows: int, *, least: int = 1) -> Any:
    width = draw(st.integers(least, 4))
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
    values = draw(st.lists(numbers, min_size=rows * width, max_size=rows * width))
    return np.array(values, np.float32).reshape(rows, width)


def _column(draw: st.DrawFn, values: st.SearchStrategy[Any], count: int) -> Any:
    return draw(st.none() | st.lists(st.none() | values, min_size=count, max_size=count))


@st.composite
def batches(draw: st.DrawFn, kind: Any) -> RecordBatch:
    ids = draw(st.lists(text.filter(bool), max_size=4))
    embeddings: Any = draw(matrices(len(ids))) if ids else None
    if ids and kind is UpdateRecords:
        present = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
        rows = [row if there else None for row, there in zip(embeddings, present, strict=True)]
        embeddings = draw(st.sampled_from([None, embeddings, rows]))
    values: Any = metadata
    if kind is not AddRecords:
        values |= st.dictionaries(strategies.keys, st.none() | scalars, max_size=3)
    return RecordBatch.parse(
        ids,
        embeddings,
        _column(draw, values, len(ids)),
        _column(draw, text, len(ids)),
        _column(draw, text, len(ids)),
        removals=kind is not AddRecords,
        modality=None if kind is AddRecords else draw(st.sampled_from([None, "text", "image"])),
    )


@st.composite
def filters(draw: st.DrawFn) -> Any:
    stored = draw(strategies.records(most=3))
    where = draw(st.none() | strategies.wheres(stored))
    where_document = draw(st.none() | strategies.where_documents(stored))
    return combine(parse_where(where), parse_where_document(where_document))


ids = st.none() | st.lists(text.filter(bool), max_size=4)
includes = st.sets(st.sampled_from(COLUMNS)).map(frozenset)
query_includes = st.sets(st.sampled_from((*COLUMNS, "distances"))).map(frozenset)


@st.composite
def deletions(draw: st.DrawFn) -> DeleteRecords:
    filter = draw(filters())
    if filter is None:
        return DeleteRecords(draw(refs), draw(st.lists(text.filter(bool), min_size=1)))
    return DeleteRecords(draw(refs), draw(ids), filter, draw(counts))


@st.composite
def queries(draw: st.DrawFn) -> QueryRecords:
    embeddings = draw(matrices(draw(st.integers(1, 3))))
    return QueryRecords(
        draw(refs_with_generation), embeddings, draw(st.integers(0, 2**32 - 1)),
        draw(query_includes), draw(ids), draw(filters()),
    )  # fmt: skip


spaces = st.sampled_from(["l2", "cosine", "ip"])


generations = st.integers(1, 2**63 - 1)


@st.composite
def reembedded(draw: st.DrawFn) -> StoreReembedded:
    positions = draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3))
    return StoreReembedded(draw(refs), draw(generations), positions, draw(matrices(len(positions))))


crn_parts = looked_up.filter(lambda name: ":" not in name)

hnsw = st.builds(HnswConfiguration, **{**settings, **fixed})
models = st.builds(
    CollectionModel,
    st.uuids(),
    names,
    st.builds(CollectionConfiguration, hnsw, st.none() | functions, indexed),
    st.none() | scalar_metadata,
    st.none() | st.integers(1, 16_000),
    looked_up,
    names,
    st.integers(0, 2**31),
    st.integers(0, 2**53),
    st.none() | st.integers(0, 2**63 - 1),
)
databases = st.builds(Database, st.uuids(), names, looked_up)


@st.composite
def columns(draw: st.DrawFn, include: frozenset[str]) -> RecordColumns:
    ids = draw(st.lists(text.filter(bool), max_size=4))
    embeddings = draw(matrices(len(ids)))
    absent = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    embeddings[np.array(absent, bool)] = np.nan

    def column(name: str, values: st.SearchStrategy[Any]) -> Any:
        if name not in include:
            return None
        return draw(st.lists(st.none() | values, min_size=len(ids), max_size=len(ids)))

    return RecordColumns(
        ids,
        embeddings if "embeddings" in include else None,
        column("documents", text),
        column("uris", text),
        column("metadatas", metadata),
    )


@st.composite
def queried(draw: st.DrawFn, include: frozenset[str]) -> QueriedRecords:
    records = draw(columns(include))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.just(float("inf"))
    count = len(records.ids)
    distances = draw(st.lists(numbers, min_size=count, max_size=count))
    return QueriedRecords(records, distances if "distances" in include else None)


naturals = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 1e9)
segments = st.builds(SegmentUse, text, naturals, naturals, naturals)
single_plans = st.builds(
    QueryPlan,
    st.sampled_from(["exact", "index"]),
    st.none() | naturals,
    st.lists(segments, max_size=3).map(tuple),
    naturals,
    naturals,
    seconds,
    seconds,
    st.dictionaries(text, text, max_size=3),
    text,
    text,
)
plans = single_plans | st.builds(dataclasses.replace, single_plans, again=single_plans)
reembeddings = st.builds(
    Reembedding,
    st.none() | functions,
    spaces,
    st.integers(1, 16_000),
    st.booleans(),
    naturals,
    naturals,
    naturals,
    naturals,
)


@st.composite
def unembedded(draw: st.DrawFn) -> Unembedded:
    positions = draw(st.lists(naturals, max_size=4))

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(values, min_size=len(positions), max_size=len(positions)))

    return Unembedded(positions, column(text), column(st.none() | text), column(st.none() | text))
