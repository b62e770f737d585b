"""Every operation: strategies for it and its result, and what the server requires for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

from hypothesis import strategies as st

from pgchroma.model.entities import DatabaseRef, Tenant, UserIdentity
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.inspection import IndexingStatus, Recall
from pgchroma.model.operations import (
    AddRecords,
    CompareEmbeddings,
    CountCollections,
    CountRecords,
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    DeleteCollection,
    DeleteDatabase,
    DeleteRecords,
    DropReembedding,
    ExplainQuery,
    GetCollection,
    GetCollectionByCrn,
    GetCollectionById,
    GetCollectionView,
    GetDatabase,
    GetIdentity,
    GetIndexingStatus,
    GetRecords,
    GetReembedding,
    GetTenant,
    GetUnembedded,
    GetVersion,
    Heartbeat,
    ListCollections,
    ListDatabases,
    MeasureRecall,
    ModifyCollection,
    QueryRecords,
    Reset,
    SearchRecords,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
    UpdateRecords,
    UpdateTenant,
    UpsertRecords,
)
from pgchroma.model.reembedding import EmbeddingComparison
from pgchroma.model.view import CollectionView, ColumnType
from tests.wire.searches import found, searches
from tests.wire.values import (
    batches,
    columns,
    configurations,
    counts,
    crn_parts,
    databases,
    deletions,
    filters,
    functions,
    generations,
    ids,
    includes,
    indexed,
    looked_up,
    models,
    naturals,
    new_configurations,
    new_names,
    plans,
    queried,
    queries,
    reembedded,
    reembeddings,
    refs,
    refs_with_generation,
    scalar_metadata,
    scopes,
    seconds,
    spaces,
    text,
    unembedded,
)

__all__ = ("OPERATIONS", "OWN_OPERATIONS", "RESULTS", "OwnOperation")

OPERATIONS: dict[Any, st.SearchStrategy[Any]] = {
    Heartbeat: st.just(Heartbeat()),
    GetVersion: st.just(GetVersion()),
    GetIdentity: st.just(GetIdentity()),
    Reset: st.just(Reset()),
    CreateTenant: st.builds(CreateTenant, looked_up),
    GetTenant: st.builds(GetTenant, looked_up),
    UpdateTenant: st.builds(UpdateTenant, looked_up, crn_parts.filter(bool)),
    CreateDatabase: st.builds(CreateDatabase, st.builds(DatabaseRef, looked_up, new_names)),
    GetDatabase: st.builds(GetDatabase, scopes),
    DeleteDatabase: st.builds(DeleteDatabase, scopes),
    ListDatabases: st.builds(ListDatabases, looked_up, counts, counts),
    CreateCollection: st.builds(
        CreateCollection,
        scopes,
        new_names,
        st.none() | configurations,
        st.none() | scalar_metadata,
        st.booleans(),
        # A collection whose keys are all indexed has `None` here.
        indexed.map(lambda one: None if one == FilterableKeys() else one),
    ),
    GetCollection: st.builds(GetCollection, scopes, looked_up),
    GetCollectionById: st.builds(GetCollectionById, refs),
    GetCollectionByCrn: st.builds(GetCollectionByCrn, *[crn_parts] * 3),
    ListCollections: st.builds(ListCollections, scopes, counts, counts),
    CountCollections: st.builds(CountCollections, scopes),
    ModifyCollection: st.builds(
        ModifyCollection,
        refs,
        st.none() | new_names,
        st.none() | st.just({}) | scalar_metadata,
        st.none() | new_configurations,
    ),
    DeleteCollection: st.builds(DeleteCollection, scopes, looked_up),
    AddRecords: st.builds(AddRecords, refs_with_generation, batches(AddRecords)),
    UpsertRecords: st.builds(UpsertRecords, refs_with_generation, batches(UpsertRecords)),
    UpdateRecords: st.builds(UpdateRecords, refs_with_generation, batches(UpdateRecords)),
    DeleteRecords: deletions(),
    GetRecords: st.builds(GetRecords, refs, includes, ids, filters(), counts, counts),
    CountRecords: st.builds(CountRecords, refs),
    QueryRecords: queries(),
    SearchRecords: searches,
    ExplainQuery: st.builds(ExplainQuery, queries()),
    MeasureRecall: st.builds(
        MeasureRecall, refs, st.integers(1, 1_000), st.integers(1, 2**32 - 1), filters()
    ),
    GetIndexingStatus: st.builds(GetIndexingStatus, refs),
    GetCollectionView: st.builds(GetCollectionView, refs),
    StartReembedding: st.builds(
        StartReembedding, refs, functions, st.integers(1, 16_000), st.none() | spaces
    ),
    GetReembedding: st.builds(GetReembedding, refs),
    GetUnembedded: st.builds(
        GetUnembedded, refs, generations, st.integers(0, 2**63 - 1), st.integers(1, 10_000)
    ),
    StoreReembedded: reembedded(),
    CompareEmbeddings: st.builds(
        CompareEmbeddings, refs, generations, st.integers(1, 1_000), st.integers(1, 1_000)
    ),
    SwitchEmbeddings: st.builds(SwitchEmbeddings, refs, generations, st.floats(0, 60)),
    DropReembedding: st.builds(DropReembedding, refs),
}


@dataclasses.dataclass(frozen=True)
class OwnOperation:
    """A route of the server that Chroma does not have.

    Attributes:
        request: The method, and the path after the collection's.
        role: The role that it needs on the collection.
        is_in_sequence: Whether it needs results of other operations.
    """

    request: str
    role: str
    is_in_sequence: bool = False


OWN_OPERATIONS = {
    "collection_explain": OwnOperation("POST /explain", "read"),
    "collection_recall": OwnOperation("POST /recall", "read"),
    "collection_view": OwnOperation("GET /view", "read"),
    "start_reembedding": OwnOperation("POST /reembedding", "write", True),
    "get_reembedding": OwnOperation("GET /reembedding", "read", True),
    "drop_reembedding": OwnOperation("DELETE /reembedding", "write", True),
    "get_unembedded": OwnOperation("GET /reembedding/records", "write", True),
    "store_reembedded": OwnOperation("POST /reembedding/records", "write", True),
    "compare_embeddings": OwnOperation("POST /reembedding/compare", "read", True),
    "switch_embeddings": OwnOperation("POST /reembedding/switch", "write", True),
}
"""Separate from the routes on purpose, so that the tests check the requirements of each."""

RESULTS: dict[Any, Callable[[Any], st.SearchStrategy[Any]]] = {
    Heartbeat: lambda operation: naturals,
    GetVersion: lambda operation: text,
    GetIdentity: lambda operation: st.builds(
        UserIdentity, text, st.none() | looked_up, st.none() | st.lists(looked_up)
    ),
    GetTenant: lambda operation: st.builds(Tenant, looked_up, st.none() | text),
    GetDatabase: lambda operation: databases,
    ListDatabases: lambda operation: st.lists(databases, max_size=3),
    CreateCollection: lambda operation: models,
    GetCollection: lambda operation: models,
    GetCollectionById: lambda operation: models,
    GetCollectionByCrn: lambda operation: models,
    ListCollections: lambda operation: st.lists(models, max_size=3),
    CountCollections: lambda operation: naturals,
    DeleteRecords: lambda operation: naturals,
    SearchRecords: found,
    CountRecords: lambda operation: naturals,
    GetRecords: lambda operation: columns(operation.include),
    QueryRecords: lambda operation: st.lists(queried(operation.include), max_size=3),
    ExplainQuery: lambda operation: plans,
    MeasureRecall: lambda operation: st.builds(
        Recall, st.floats(0, 1), naturals, naturals, seconds, seconds
    ),
    GetIndexingStatus: lambda operation: st.builds(
        IndexingStatus, naturals, naturals, naturals, st.floats(0, 1), st.none() | text
    ),
    GetCollectionView: lambda operation: st.builds(
        CollectionView,
        text,
        text,
        st.none() | naturals,
        st.lists(st.tuples(text, st.sampled_from(get_args(ColumnType)))).map(tuple),
    ),
    StartReembedding: lambda operation: st.none() | generations,
    GetReembedding: lambda operation: st.none() | reembeddings,
    GetUnembedded: lambda operation: unembedded(),
    CompareEmbeddings: lambda operation: st.builds(
        EmbeddingComparison, st.floats(0, 1), naturals, naturals
    ),
    SwitchEmbeddings: lambda operation: naturals,
}
"""Results by operation; all other operations return `None`."""
