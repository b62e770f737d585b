"""The checks of the doctor, one module for each family."""

from __future__ import annotations

from typing import Final

from pgchroma.doctor.check import Check
from pgchroma.doctor.checks import (
    capacity,
    compaction,
    connection,
    indexes,
    objects,
    recall,
    replication,
    rights,
    rows,
    sessions,
    settings,
    vacuum,
    versions,
)

__all__ = ("CHECKS",)

CHECKS: Final[tuple[Check, ...]] = (
    *connection.CHECKS,
    *versions.CHECKS,
    *rights.CHECKS,
    *settings.CHECKS,
    *capacity.CHECKS,
    *objects.CHECKS,
    *rows.CHECKS,
    *indexes.CHECKS,
    *compaction.CHECKS,
    *vacuum.CHECKS,
    *sessions.CHECKS,
    *replication.CHECKS,
    *recall.CHECKS,
)
"""All checks, in the order in which they are done."""
