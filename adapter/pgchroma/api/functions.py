"""Chroma's names of the functions that its servers can attach to collections."""

from __future__ import annotations

from enum import StrEnum

__all__ = ("RECORD_COUNTER_FUNCTION", "STATISTICS_FUNCTION", "Function")


class Function(StrEnum):
    """The functions that `Collection.attach_function` names in Chroma."""

    STATISTICS = "statistics"
    RECORD_COUNTER = "record_counter"


STATISTICS_FUNCTION = Function.STATISTICS
RECORD_COUNTER_FUNCTION = Function.RECORD_COUNTER
