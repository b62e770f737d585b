"""The types of arguments and results, under Chroma's names.

Aliases that end in ``Like`` are for parameters. They include values that Chroma's types refuse and
its methods accept, such as a ``list[dict[str, str]]`` of metadata or an array of float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.sparse import SparseVector

__all__ = (
    "ID",
    "URI",
    "ArrayContainsOperator",
    "CollectionMetadata",
    "DeleteResult",
    "Document",
    "Documents",
    "DocumentsLike",
    "Embedding",
    "Embeddings",
    "EmbeddingsLike",
    "GetResult",
    "IDs",
    "Image",
    "Images",
    "ImagesLike",
    "Include",
    "IncludeColumn",
    "InclusionExclusionOperator",
    "LogicalOperator",
    "Metadata",
    "MetadataListValue",
    "MetadataValue",
    "Metadatas",
    "MetadatasLike",
    "Modality",
    "OneOrMany",
    "OperatorExpression",
    "PyVector",
    "QueryResult",
    "ReadLevel",
    "Scalar",
    "Space",
    "SupportsArray",
    "URIs",
    "URIsLike",
    "UpdateMetadata",
    "VectorLike",
    "Where",
    "WhereDocument",
    "WhereDocumentOperator",
    "WhereLike",
    "WhereOperator",
)

T = TypeVar("T")

OneOrMany: TypeAlias = T | list[T]

ID: TypeAlias = str
IDs: TypeAlias = list[ID]

Document: TypeAlias = str
Documents: TypeAlias = list[Document]
DocumentsLike: TypeAlias = Document | list[Document] | list[Document | None]

URI: TypeAlias = str
URIs: TypeAlias = list[URI]
URIsLike: TypeAlias = URI | list[URI] | list[URI | None]

Embedding: TypeAlias = NDArray[np.float32]
Embeddings: TypeAlias = list[Embedding]
PyVector: TypeAlias = Sequence[float] | Sequence[int]


class SupportsArray(Protocol):
    """An array of numbers, or an object that numpy converts to one, such as a tensor."""

    def __array__(self) -> NDArray[np.floating[Any] | np.integer[Any]]: ...


VectorLike: TypeAlias = Sequence[float | np.floating[Any] | np.integer[Any]] | SupportsArray
EmbeddingsLike: TypeAlias = VectorLike | Sequence[VectorLike]
"""One vector, a list of vectors, or a matrix."""

Image: TypeAlias = NDArray[np.integer[Any] | np.floating[Any]]
Images: TypeAlias = list[Image]
ImagesLike: TypeAlias = Image | Sequence[Image]

Scalar: TypeAlias = str | int | float | bool
MetadataListValue: TypeAlias = list[str] | list[int] | list[float] | list[bool]
MetadataValue: TypeAlias = Scalar | MetadataListValue | SparseVector
Metadata: TypeAlias = Mapping[str, MetadataValue | None]
UpdateMetadata: TypeAlias = Mapping[str, MetadataValue | None]
Metadatas: TypeAlias = list[Metadata]
MetadatasLike: TypeAlias = Metadata | Sequence[Metadata | None]
CollectionMetadata: TypeAlias = dict[str, Any]

LogicalOperator: TypeAlias = Literal["$and", "$or"]
WhereOperator: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte", "$ne", "$eq"]
InclusionExclusionOperator: TypeAlias = Literal["$in", "$nin"]
ArrayContainsOperator: TypeAlias = Literal["$contains", "$not_contains"]
_Operators = TypedDict(
    "_Operators",
    {
        "$eq": Scalar,
        "$ne": Scalar,
        "$gt": float,
        "$gte": float,
        "$lt": float,
        "$lte": float,
        "$in": MetadataListValue,
        "$nin": MetadataListValue,
        "$contains": Scalar,
        "$not_contains": Scalar,
    },
    total=False,
)


# One TypedDict with all operators: mypy infers no type for a dictionary that may be one of several.
class OperatorExpression(_Operators, total=False):
    """A comparison of a metadata value: one operator with its operand."""


Where: TypeAlias = dict[str, Scalar | OperatorExpression | list["Where"]]
WhereLike: TypeAlias = Mapping[str, Scalar | OperatorExpression | list[Where]]

WhereDocumentOperator: TypeAlias = Literal[
    "$contains", "$not_contains", "$regex", "$not_regex", "$matches", "$not_matches", "$and", "$or"
]
WhereDocument: TypeAlias = dict[WhereDocumentOperator, str | list["WhereDocument"]]

Modality: TypeAlias = Literal["text", "image"]

Space: TypeAlias = Literal["l2", "cosine", "ip"]
IncludeColumn: TypeAlias = Literal[
    "documents", "embeddings", "metadatas", "distances", "uris", "data"
]
Include: TypeAlias = list[IncludeColumn]


class ReadLevel(StrEnum):
    """Which writes a read must see. Accepted for compatibility: every read sees all of them."""

    INDEX_AND_WAL = "index_and_wal"
    INDEX_ONLY = "index_only"
    INDEX_AND_BOUNDED_WAL = "index_and_bounded_wal"


class GetResult(TypedDict):
    """Records in insertion order. A column that was not requested is None.

    The types are Chroma's, which leave out one case: the entry of a record without a document,
    metadata, uri or data is None.
    """

    ids: IDs
    embeddings: NDArray[np.float64] | None
    documents: list[Document] | None
    uris: list[URI] | None
    data: list[Image | None] | None
    metadatas: list[Metadata] | None
    included: Include


class QueryResult(TypedDict):
    """The records that each query found, nearest first. A column that was not requested is None.

    The types are Chroma's, which leave out one case: the entry of a record without a document,
    metadata, uri or data is None.
    """

    ids: list[IDs]
    embeddings: list[NDArray[np.float64]] | None
    documents: list[list[Document]] | None
    uris: list[list[URI]] | None
    data: list[list[Image | None]] | None
    metadatas: list[list[Metadata]] | None
    distances: list[list[float]] | None
    included: Include


class DeleteResult(TypedDict):
    """How many records a delete removed."""

    deleted: int
