"""The shapes of request and response bodies, and of query strings.

They are Chroma's: fields that are not listed are ignored, optional ones may be missing or null.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from pgchroma.model.inspection import MAX_SAMPLED, Strategy
from pgchroma.model.reembedding import MAX_COMPARED, MAX_PATIENCE_SECONDS, MAX_UNEMBEDDED
from pgchroma.model.types import Modality, Space
from pgchroma.wire.configuration import ConfigurationBody, NewConfigurationBody

__all__ = (
    "MAX_COUNT",
    "AddBody",
    "CollectionBody",
    "CompareBody",
    "ComparisonBody",
    "CountQuery",
    "CreateCollectionBody",
    "DatabaseBody",
    "DeleteBody",
    "DeletedBody",
    "Empty",
    "ErrorBody",
    "GetBody",
    "HealthBody",
    "HeartbeatBody",
    "IdentityBody",
    "IndexingStatusBody",
    "LimitsBody",
    "MissingBody",
    "ModifyCollectionBody",
    "NamedBody",
    "Page",
    "QueryBody",
    "QueryPlanBody",
    "QueryResultBody",
    "RecallBody",
    "RecallResultBody",
    "RecordsBody",
    "ReembeddedBody",
    "ReembeddingBody",
    "SegmentUseBody",
    "StartReembeddingBody",
    "StartedBody",
    "SwitchBody",
    "TenantBody",
    "UnembeddedBody",
    "UnembeddedQuery",
    "UpdateBody",
    "UpdateTenantBody",
    "UpsertBody",
    "clamp",
)

MAX_COUNT: Final = 2**32 - 1
"""The largest limit or offset; no collection has more records."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Position: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Generation: TypeAlias = Position
Scalar: TypeAlias = str | bool | int | float
Element: TypeAlias = str | bool | int | float
SparseVector: TypeAlias = dict[str, Any]
Value: TypeAlias = Scalar | list[Element] | SparseVector
Embedding: TypeAlias = str | list[float]
Column: TypeAlias = Literal["distances", "documents", "embeddings", "metadatas", "uris"]
ReadLevel: TypeAlias = Literal["index_and_wal", "index_only", "index_and_bounded_wal"]


def clamp(count: int | None) -> int | None:
    """Bring a limit or an offset to what can be sent; beyond it nothing more is meant."""
    return None if count is None else min(count, MAX_COUNT)


class Empty(Struct):
    """Nothing."""


class ErrorBody(Struct):
    """What went wrong: a word for programs and a sentence for people."""

    error: str
    message: str


class HeartbeatBody(Struct):
    """The time in nanoseconds since 1970."""

    nanoseconds: int = field(name="nanosecond heartbeat")


class HealthBody(Struct):
    """Whether requests can be answered."""

    is_executor_ready: bool
    is_log_client_ready: bool


class LimitsBody(Struct):
    """What a client should know before it writes."""

    max_batch_size: int
    supports_base64_encoding: bool
    max_payload_size_bytes: int


class IdentityBody(Struct):
    """Who the caller is."""

    user_id: str
    tenant: str | None
    databases: list[str] | None


class NamedBody(Struct):
    """The name of a new tenant or database."""

    name: str


class UpdateTenantBody(Struct):
    """A tenant's name in collections' resource names."""

    resource_name: str


class TenantBody(Struct):
    """A tenant."""

    name: str
    resource_name: str | None = None


class DatabaseBody(Struct):
    """A database."""

    id: str
    name: str
    tenant: str


class Page(Struct):
    """Which part of a list is wanted."""

    limit: Count | None = None
    offset: Count | None = None


class CreateCollectionBody(Struct):
    """A new collection."""

    name: str
    metadata: dict[str, Scalar] | None = None
    configuration: ConfigurationBody | None = None
    schema: dict[str, Any] | None = None
    get_or_create: bool = False


class ModifyCollectionBody(Struct):
    """What changes about a collection; new metadata replaces the old whole."""

    new_name: str | None = None
    new_metadata: dict[str, Scalar | None] | None = None
    new_configuration: NewConfigurationBody | None = None


class CollectionBody(Struct):
    """A collection."""

    id: str
    name: str
    configuration_json: dict[str, Any]
    metadata: dict[str, Any] | None
    dimension: int | None
    tenant: str
    database: str
    schema: dict[str, Any] | None = None
    log_position: int = 0
    version: int = 0
    generation: Generation | None = None


class AddBody(Struct):
    """Records to add; an embedding is base64 of little-endian float32, or a list of numbers."""

    ids: list[str]
    embeddings: list[Embedding]
    metadatas: list[dict[str, Value] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    generation: Generation | None = None


class UpsertBody(Struct):
    """Records to add or to change; null as a metadata value removes the key."""

    ids: list[str]
    embeddings: list[Embedding]
    metadatas: list[dict[str, Value | None] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    modality: Modality | None = None
    generation: Generation | None = None


class UpdateBody(Struct):
    """Records to change; what is null stays, but a metadata value of null removes its key."""

    ids: list[str]
    embeddings: list[Embedding | None] | None = None
    metadatas: list[dict[str, Value | None] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    modality: Modality | None = None
    generation: Generation | None = None


class DeleteBody(Struct):
    """Which records to delete."""

    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    limit: Count | None = None


class DeletedBody(Struct):
    """How many records were deleted."""

    deleted: int


class CountQuery(Struct):
    """How fresh a count has to be; every one here sees every write before it."""

    read_level: ReadLevel = "index_and_wal"


class GetBody(Struct):
    """Which records to read, and which of their columns."""

    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    limit: Count | None = None
    offset: Count | None = None
    include: list[Column] = field(default_factory=lambda: ["documents", "metadatas"])


class QueryBody(Struct):
    """What to search for, and among which records."""

    query_embeddings: list[list[float]]
    n_results: Count | None = 10
    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    include: list[Column] = field(default_factory=lambda: ["documents", "metadatas", "distances"])
    generation: Generation | None = None


class RecallBody(Struct):
    """How many stored embeddings to ask for, how many neighbours of each, and among which."""

    sample: Annotated[int, Meta(ge=1, le=MAX_SAMPLED)] = 100
    n_results: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 10
    where: Any = None
    where_document: Any = None


class IndexingStatusBody(Struct):
    """How much of the log the indexes cover, and if one could not be built, why."""

    op_indexing_progress: float
    num_unindexed_ops: int
    num_indexed_ops: int
    total_ops: int
    error: str | UnsetType = UNSET


class SegmentUseBody(Struct):
    """An index that was searched; it covers the log from one position to before the other."""

    index_name: str
    first_pos: int
    end_pos: int
    rows_read: int


class QueryPlanBody(Struct):
    """How a query ran."""

    strategy: Strategy
    matches: int | None
    segments: list[SegmentUseBody]
    tail_rows: int
    rows_read: int
    planning_ms: float
    execution_ms: float
    settings: dict[str, str]
    sql: str
    plan: str
    again: QueryPlanBody | None


class RecallResultBody(Struct):
    """What part of the truly nearest records queries find, and what it takes."""

    recall: float
    sample: int
    n_results: int
    query_ms: float
    exact_ms: float


class StartReembeddingBody(Struct):
    """What makes second embeddings, how long they are and how they are compared."""

    embedding_function: dict[str, Any]
    dimension: Annotated[int, Meta(ge=1)]
    space: Space | None = None


class ReembeddingBody(Struct):
    """How far second embeddings are."""

    embedding_function: dict[str, Any] | None
    space: Space
    dimension: int
    is_previous: bool
    total: int
    embedded: int
    without_document: int
    waiting: int


class StartedBody(Struct):
    """The generation of the second embeddings; null: there is nothing to be made anew."""

    generation: int | None


class UnembeddedQuery(Struct):
    """For which second embeddings and behind which position to look for records, and how many."""

    generation: Generation
    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_UNEMBEDDED)] = 1_000


class UnembeddedBody(Struct):
    """Columns of records without a second embedding."""

    positions: list[int]
    ids: list[str]
    documents: list[str | None]
    uris: list[str | None]


class ReembeddedBody(Struct):
    """Second embeddings, in base64, and the positions they belong to."""

    generation: Generation
    positions: list[Position]
    embeddings: list[str]


class CompareBody(Struct):
    """How many records to compare by, and how many neighbours of each."""

    generation: Generation
    sample: Annotated[int, Meta(ge=1, le=MAX_COMPARED)] = 20
    n_results: Annotated[int, Meta(ge=1, le=MAX_COMPARED)] = 10


class ComparisonBody(Struct):
    """How much the neighbours are the same."""

    overlap: float
    sample: int
    n_results: int


class SwitchBody(Struct):
    """Which second embeddings are to be used, and how long writers may be held off for it."""

    generation: Generation
    patience: Annotated[float, Meta(ge=0, le=MAX_PATIENCE_SECONDS)] = 0.0


class MissingBody(Struct):
    """How many second embeddings are missing; with any, nothing was changed."""

    missing: int


class RecordsBody(Struct):
    """Columns of records; one that was not asked for is null."""

    ids: list[str]
    embeddings: list[list[float] | None] | None
    documents: list[str | None] | None
    uris: list[str | None] | None
    metadatas: list[dict[str, Any] | None] | None
    include: list[Column]


class QueryResultBody(Struct):
    """For each query columns of records, nearest first; one that was not asked for is null."""

    ids: list[list[str]]
    embeddings: list[list[list[float] | None]] | None
    documents: list[list[str | None]] | None
    uris: list[list[str | None]] | None
    metadatas: list[list[dict[str, Any] | None]] | None
    distances: list[list[float | None]] | None
    include: list[Column]
