"""The largest values that requests and the store accept."""

from __future__ import annotations

from typing import Final

__all__ = ("MAX_COUNT", "MAX_DIMENSION")

MAX_COUNT: Final = 2**32 - 1
"""The largest limit or offset. No collection has more records."""

MAX_DIMENSION: Final = 16_000
"""The longest vector that pgvector stores."""
