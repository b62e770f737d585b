"""Chroma's import path for the types of its catalog, and of metadata and filters."""

from __future__ import annotations

from dataclasses import dataclass

from pgchroma.base_types import (
    InclusionExclusionOperator,
    LiteralValue,
    LogicalOperator,
    OperatorExpression,
    PyVector,
    Vector,
    WhereDocumentOperator,
    WhereOperator,
)
from pgchroma.model.entities import CollectionModel as Collection
from pgchroma.model.entities import Database, Tenant
from pgchroma.model.sparse import SparseVector
from pgchroma.model.types import Metadata, UpdateMetadata, Where, WhereDocument

__all__ = (
    "CloudClientArg",
    "Collection",
    "Database",
    "InclusionExclusionOperator",
    "LiteralValue",
    "LogicalOperator",
    "Metadata",
    "OperatorExpression",
    "PyVector",
    "SparseVector",
    "Tenant",
    "UpdateMetadata",
    "Vector",
    "Where",
    "WhereDocument",
    "WhereDocumentOperator",
    "WhereOperator",
)


@dataclass
class CloudClientArg:
    """An argument of `CloudClient`, and the environment variable of its default."""

    name: str
    env_var: str
    value: str | None = None
