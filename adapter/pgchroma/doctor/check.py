"""A check: a name, and a function that returns what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding

__all__ = ("Check", "Findings", "catalog_check", "server_check")

Findings: TypeAlias = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        name: Its name in findings and in the documentation.
        examine: Yields the findings.
        needs_catalog: Whether it needs a catalog of this version of pgchroma.
    """

    name: str
    examine: Callable[[Database], Findings]
    needs_catalog: bool


def server_check(name: str) -> Callable[[Callable[[Database], Findings]], Check]:
    """Make a check of a function that reads no table of the catalog."""
    return lambda examine: Check(name, examine, needs_catalog=False)


def catalog_check(name: str) -> Callable[[Callable[[Database], Findings]], Check]:
    """Make a check of a function that reads the catalog or the tables of collections."""
    return lambda examine: Check(name, examine, needs_catalog=True)
