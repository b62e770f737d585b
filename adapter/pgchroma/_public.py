"""The public names of `pgchroma`, which are imported when the first of them is asked for."""

from pgchroma import api, auth, base_types, config, errors, execution, telemetry, types, utils
from pgchroma._version import __version__
from pgchroma.api import AdminAPI, AsyncClientAPI, ClientAPI
from pgchroma.api.types import ReadLevel, UpdateCollectionMetadata
from pgchroma.auth.token_authn import TokenTransportHeader
from pgchroma.client._async.collection import AsyncCollection
from pgchroma.client._sync.collection import Collection
from pgchroma.client.connect import connect, connect_async
from pgchroma.client.factories import (
    AdminClient,
    AsyncPostgresClient,
    Client,
    EphemeralClient,
    PersistentClient,
    PostgresClient,
    RustClient,
    configure,
    get_settings,
)
from pgchroma.client.http import AsyncHttpClient, CloudClient, HttpClient
from pgchroma.client.schema.indexes import (
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
from pgchroma.client.schema.schema import Schema
from pgchroma.client.typed._async.table import AsyncTable
from pgchroma.client.typed._sync.table import Table
from pgchroma.config import Settings
from pgchroma.embeddings.protocol import DataLoader, EmbeddingFunction
from pgchroma.embeddings.registry import register_embedding_function
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.execution.expression import K, Key, Knn, Rrf, Search, Text
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall
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
from pgchroma.types import CloudClientArg

__all__ = (
    "DEFAULT_DATABASE",
    "DEFAULT_TENANT",
    "ID",
    "URI",
    "AdminAPI",
    "AdminClient",
    "AdminClientCreator",
    "AsyncClientAPI",
    "AsyncClientCreator",
    "AsyncCollection",
    "AsyncHttpClient",
    "AsyncPostgresClient",
    "AsyncTable",
    "BoolInvertedIndexConfig",
    "Client",
    "ClientAPI",
    "ClientCreator",
    "CloudClient",
    "CloudClientArg",
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
    "K",
    "Key",
    "Knn",
    "Metadata",
    "Metadatas",
    "PersistentClient",
    "PostgresClient",
    "QueryPlan",
    "QueryResult",
    "ReadLevel",
    "Recall",
    "Rrf",
    "RustClient",
    "Schema",
    "Search",
    "Settings",
    "SpannIndexConfig",
    "SparseEmbeddingFunction",
    "SparseVector",
    "SparseVectorIndexConfig",
    "SparseVectors",
    "StringInvertedIndexConfig",
    "Table",
    "Text",
    "TokenTransportHeader",
    "URIs",
    "UpdateCollectionMetadata",
    "UpdateMetadata",
    "VectorIndexConfig",
    "Where",
    "WhereDocument",
    "__version__",
    "api",
    "auth",
    "base_types",
    "config",
    "configure",
    "connect",
    "connect_async",
    "errors",
    "execution",
    "get_settings",
    "register_embedding_function",
    "telemetry",
    "types",
    "utils",
)

ClientCreator = ClientAPI
AsyncClientCreator = AsyncClientAPI
AdminClientCreator = AdminAPI
