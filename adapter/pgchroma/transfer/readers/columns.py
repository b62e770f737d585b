"""Which column of a file or table that is not pgchroma's own has which part of a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from pgchroma.errors import InvalidArgumentError

__all__ = ("ROLES", "Columns", "Role", "find_columns", "possible_names")

Role: TypeAlias = Literal["id", "embedding", "document", "uri", "metadata"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_USUAL: Final[Mapping[Role, tuple[str, ...]]] = {
    "id": ("id", "_id", "ids"),
    "embedding": ("embedding", "vector", "embeddings", "values", "emb"),
    "document": ("document", "text", "content", "page_content", "documents"),
    "uri": ("uri", "url"),
    "metadata": ("metadata",),
}
"""The usual names of the columns, in order of preference."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file; `None` if it has no such column.

    Attributes:
        others: The columns that are keys of the metadata.
    """

    id: str
    embedding: str | None
    document: str | None
    uri: str | None
    metadata: str | None
    others: tuple[str, ...]


def possible_names(chosen: Mapping[Role, str]) -> dict[Role, tuple[str, ...]]:
    """Return the names that a column of each role may have, in order of preference."""
    taken = set(chosen.values())
    return {
        role: (chosen[role],)
        if role in chosen
        else tuple(name for name in _USUAL[role] if name not in taken)
        for role in ROLES
    }


def find_columns(names: Collection[str], chosen: Mapping[Role, str], place: str) -> Columns:
    """Return the roles of columns, from their names.

    Args:
        names: The names of all columns.
        chosen: The columns that the user has chosen for some roles.
        place: The file, for messages.

    Raises:
        InvalidArgumentError: There is no column of ids, or a chosen column does not exist.
    """
    for name in chosen.values():
        if name not in names:
            raise InvalidArgumentError(f"{place} has no column {name!r}: it has {_listed(names)}")
    found = {
        role: next((name for name in possible if name in names), None)
        for role, possible in possible_names(chosen).items()
    }
    id = found["id"]
    if id is None:
        raise InvalidArgumentError(
            f"{place} has no column of ids: name one with --column id=NAME; it has {_listed(names)}"
        )
    others = tuple(name for name in names if name not in found.values())
    return Columns(
        id, found["embedding"], found["document"], found["uri"], found["metadata"], others
    )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:20])
    return f"{shown}, …" if len(names) > 20 else shown or "no columns"  # noqa: PLR2004
