"""The names of a record's fields that are not metadata keys."""

from __future__ import annotations

from typing import Final

__all__ = ("DOCUMENT", "EMBEDDING", "METADATA", "SCORE")

DOCUMENT: Final = "#document"
EMBEDDING: Final = "#embedding"
METADATA: Final = "#metadata"
SCORE: Final = "#score"
