"""The shapes users pass in and get back, under Chroma's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = (
    "ID",
    "URI",
    "CollectionMetadata",
    "DeleteResult",
    "Document",
    "Documents",
    "Embedding",
    "Embeddings",
    "GetResult",
    "IDs",
    "Image",
    "Images",
    "Include",
    "IncludeColumn",
    "Metadata",
    "MetadataValue",
    "Metadatas",
    "Modality",
    "QueryResult",
    "Scalar",
    "Space",
    "URIs",
    "UpdateMetadata",
    "Where",
    "WhereDocument",
)

ID: TypeAlias = str
IDs: TypeAlias = list[ID]
Document: TypeAlias = str
Documents: TypeAlias = list[Document]
URI: TypeAlias = str
URIs: TypeAlias = list[URI]

Embedding: TypeAlias = NDArray[np.float32]
Embeddings: TypeAlias = list[Embedding]

Image: TypeAlias = NDArray[np.integer[Any] | np.floating[Any]]
Images: TypeAlias = list[Image]

Scalar: TypeAlias = str | int | float | bool
MetadataValue: TypeAlias = Scalar | Sequence[str] | Sequence[int] | Sequence[float] | Sequence[bool]
Metadata: TypeAlias = Mapping[str, MetadataValue]
UpdateMetadata: TypeAlias = Mapping[str, MetadataValue | None]
Metadatas: TypeAlias = list[Metadata]
CollectionMetadata: TypeAlias = dict[str, Any]

Where: TypeAlias = dict[str, Any]
WhereDocument: TypeAlias = dict[str, Any]

Modality: TypeAlias = Literal["text", "image"]

Space: TypeAlias = Literal["l2", "cosine", "ip"]
IncludeColumn: TypeAlias = Literal[
    "documents", "embeddings", "metadatas", "distances", "uris", "data"
]
Include: TypeAlias = Sequence[IncludeColumn]


class GetResult(TypedDict):
    """Records in insertion order; a column that was not asked for is ``None``."""

    ids: IDs
    embeddings: NDArray[np.float64] | None
    documents: list[Document | None] | None
    uris: list[URI | None] | None
    data: list[Any] | None
    metadatas: list[Metadata | None] | None
    included: list[IncludeColumn]


class QueryResult(TypedDict):
    """For each query its records, nearest first; a column not asked for is ``None``."""

    ids: list[IDs]
    embeddings: list[NDArray[np.float64]] | None
    documents: list[list[Document | None]] | None
    uris: list[list[URI | None]] | None
    data: list[list[Any]] | None
    metadatas: list[list[Metadata | None]] | None
    distances: list[list[float]] | None
    included: list[IncludeColumn]


class DeleteResult(TypedDict):
    """How many records a delete removed."""

    deleted: int
