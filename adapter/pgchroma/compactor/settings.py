"""Settings of the compactor."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("CompactionSettings",)


@dataclass(frozen=True, slots=True)
class CompactionSettings:
    """When indexes are built, and with how much memory.

    Attributes:
        segment_bytes: Minimum size, in bytes, of unindexed embeddings before they are indexed.
        memory: Bytes that building one index may take.
        is_automatic: Whether an index is built when filters keep missing it.
    """

    segment_bytes: int = 8 << 20
    memory: int = 1 << 30
    is_automatic: bool = True
