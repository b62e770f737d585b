"""Chroma's API on the PostgreSQL you already run.

import pgchroma as chromadb

client = chromadb.PersistentClient("./data")            # a PostgreSQL of its own, or
client = chromadb.PostgresClient("postgresql://…")      # yours
"""

from pgchroma import api, config, errors, utils
from pgchroma._version import __version__
from pgchroma.api import AdminAPI, AsyncClientAPI, ClientAPI
from pgchroma.client._async.collection import AsyncCollection
from pgchroma.client._async.table import AsyncTable
from pgchroma.client._sync.collection import Collection
from pgchroma.client._sync.table import Table
from pgchroma.client.connecting import connect, connect_async
from pgchroma.client.factory import (
    AdminClient,
    AsyncPostgresClient,
    Client,
    EphemeralClient,
    PersistentClient,
    PostgresClient,
)
from pgchroma.client.http import AsyncHttpClient, CloudClient, HttpClient
from pgchroma.client.indexes import (
    BoolInvertedIndexConfig,
    Cmek,
    FloatInvertedIndexConfig,
    FtsIndexConfig,
    HnswIndexConfig,
    IntInvertedIndexConfig,
    SpannIndexConfig,
    SparseVectorIndexConfig,
    StringInvertedIndexConfig,
    VectorIndexConfig,
)
from pgchroma.client.schema import Schema
from pgchroma.config import Settings
from pgchroma.embeddings.protocol import DataLoader, EmbeddingFunction
from pgchroma.embeddings.registry import register_embedding_function
from pgchroma.embeddings.sparse_protocol import SparseEmbeddingFunction
from pgchroma.model.indexing import IndexingStatus, QueryPlan, Recall
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.sparse import SparseVector, SparseVectors
from pgchroma.model.types import (
    ID,
    URI,
    CollectionMetadata,
    DeleteResult,
    Documents,
    Embeddings,
    GetResult,
    IDs,
    Images,
    Include,
    Metadata,
    Metadatas,
    QueryResult,
    UpdateMetadata,
    URIs,
    Where,
    WhereDocument,
)

__all__ = (
    "DEFAULT_DATABASE",
    "DEFAULT_TENANT",
    "ID",
    "URI",
    "AdminAPI",
    "AdminClient",
    "AsyncClientAPI",
    "AsyncCollection",
    "AsyncHttpClient",
    "AsyncPostgresClient",
    "AsyncTable",
    "BoolInvertedIndexConfig",
    "Client",
    "ClientAPI",
    "CloudClient",
    "Cmek",
    "Collection",
    "CollectionMetadata",
    "DataLoader",
    "DeleteResult",
    "Documents",
    "EmbeddingFunction",
    "Embeddings",
    "EphemeralClient",
    "FloatInvertedIndexConfig",
    "FtsIndexConfig",
    "GetResult",
    "HnswIndexConfig",
    "HttpClient",
    "IDs",
    "Images",
    "Include",
    "IndexingStatus",
    "IntInvertedIndexConfig",
    "Metadata",
    "Metadatas",
    "PersistentClient",
    "PostgresClient",
    "QueryPlan",
    "QueryResult",
    "Recall",
    "Schema",
    "Settings",
    "SpannIndexConfig",
    "SparseEmbeddingFunction",
    "SparseVector",
    "SparseVectorIndexConfig",
    "SparseVectors",
    "StringInvertedIndexConfig",
    "Table",
    "URIs",
    "UpdateMetadata",
    "VectorIndexConfig",
    "Where",
    "WhereDocument",
    "__version__",
    "api",
    "config",
    "connect",
    "connect_async",
    "errors",
    "register_embedding_function",
    "utils",
)
