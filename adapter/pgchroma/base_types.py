"""Chroma's import path for the types of metadata and filters."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.sparse import SPARSE_VECTOR_TYPE as SPARSE_VECTOR_TYPE_VALUE
from pgchroma.model.sparse import TYPE_KEY, SparseVector
from pgchroma.model.types import Metadata, Scalar, UpdateMetadata, Where, WhereDocument

__all__ = (
    "SPARSE_VECTOR_TYPE_VALUE",
    "TYPE_KEY",
    "ArrayContainsOperator",
    "InclusionExclusionOperator",
    "LiteralValue",
    "LogicalOperator",
    "Metadata",
    "MetadataListValue",
    "OperatorExpression",
    "PyVector",
    "SparseVector",
    "UpdateMetadata",
    "Vector",
    "Where",
    "WhereDocument",
    "WhereDocumentOperator",
    "WhereOperator",
)

LiteralValue = Scalar
MetadataListValue: TypeAlias = list[str] | list[int] | list[float] | list[bool]

LogicalOperator: TypeAlias = Literal["$and", "$or"]
WhereOperator: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte", "$ne", "$eq"]
InclusionExclusionOperator: TypeAlias = Literal["$in", "$nin"]
ArrayContainsOperator: TypeAlias = Literal["$contains", "$not_contains"]
WhereDocumentOperator: TypeAlias = Literal[
    "$contains", "$not_contains", "$regex", "$not_regex", "$and", "$or"
]
OperatorExpression: TypeAlias = dict[str, Any]

PyVector: TypeAlias = list[float] | list[int]
Vector: TypeAlias = NDArray[np.int32 | np.float32]
