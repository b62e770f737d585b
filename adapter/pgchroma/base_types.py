"""Chroma's import path for the types of metadata and filters."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.sparse import SPARSE_VECTOR_TYPE as SPARSE_VECTOR_TYPE_VALUE
from pgchroma.model.sparse import TYPE_KEY, SparseVector
from pgchroma.model.types import (
    ArrayContainsOperator,
    InclusionExclusionOperator,
    LogicalOperator,
    Metadata,
    MetadataListValue,
    OperatorExpression,
    PyVector,
    Scalar,
    UpdateMetadata,
    Where,
    WhereDocument,
    WhereDocumentOperator,
    WhereOperator,
)

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
Vector: TypeAlias = NDArray[np.int32 | np.float32]
