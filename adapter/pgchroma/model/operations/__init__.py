"""One frozen value for each request that pgchroma answers, and the type of its answer.

A backend executes them: ``backend.execute(CountRecords(collection)) -> int``. Operations are
validated when they are created; backends do not validate them again.
"""

from __future__ import annotations

from pgchroma.model.operations.base import CollectionRef, Operation, Read
from pgchroma.model.operations.collections import (
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetCollectionByCrn,
    GetCollectionById,
    GetCollectionView,
    ListCollections,
    ModifyCollection,
)
from pgchroma.model.operations.indexing import GetIndexingStatus
from pgchroma.model.operations.records import (
    AddRecords,
    CountRecords,
    DeleteRecords,
    GetRecords,
    UpdateRecords,
    UpsertRecords,
    WriteRecords,
)
from pgchroma.model.operations.reembedding import (
    CompareEmbeddings,
    DropReembedding,
    GetReembedding,
    GetUnembedded,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
)
from pgchroma.model.operations.search import ExplainQuery, MeasureRecall, QueryRecords
from pgchroma.model.operations.system import GetIdentity, GetVersion, Heartbeat, Reset
from pgchroma.model.operations.tenants import (
    CreateDatabase,
    CreateTenant,
    DeleteDatabase,
    DeleteTenant,
    GetDatabase,
    GetTenant,
    ListDatabases,
    ListTenants,
    UpdateTenant,
)

__all__ = (
    "AddRecords",
    "CollectionRef",
    "CompareEmbeddings",
    "CountCollections",
    "CountRecords",
    "CreateCollection",
    "CreateDatabase",
    "CreateTenant",
    "DeleteCollection",
    "DeleteDatabase",
    "DeleteRecords",
    "DeleteTenant",
    "DropReembedding",
    "ExplainQuery",
    "GetCollection",
    "GetCollectionByCrn",
    "GetCollectionById",
    "GetCollectionView",
    "GetDatabase",
    "GetIdentity",
    "GetIndexingStatus",
    "GetRecords",
    "GetReembedding",
    "GetTenant",
    "GetUnembedded",
    "GetVersion",
    "Heartbeat",
    "ListCollections",
    "ListDatabases",
    "ListTenants",
    "MeasureRecall",
    "ModifyCollection",
    "Operation",
    "QueryRecords",
    "Read",
    "Reset",
    "StartReembedding",
    "StoreReembedded",
    "SwitchEmbeddings",
    "UpdateRecords",
    "UpdateTenant",
    "UpsertRecords",
    "WriteRecords",
)
