"""The metadata keys that records have, which a collection's schema lists as discovered.

A schema lists the keys that a user named, and those that were seen in records. A discovered key has
the index that the schema's defaults give to values of its kind. It has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from pgchroma.model.filterable import FilterableKeys, ValueKind
from pgchroma.model.metadata import CleanMetadata

__all__ = (
    "MAX_KEYS",
    "DiscoveredKeys",
    "KeyKind",
    "Kind",
    "find_kinds",
    "merge_kinds",
    "read_kinds",
)

Kind: TypeAlias = ValueKind | Literal["sparse_vector"]
"""The kind of a value. A list counts as its elements."""

KeyKind: TypeAlias = tuple[str, Kind]

DiscoveredKeys: TypeAlias = Mapping[str, tuple[Kind, ...]]

MAX_KEYS: Final = 1_000
"""Keys that a schema lists as discovered. Every list of collections has all of them."""

_KINDS: Final[Mapping[type, Kind]] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    dict: "sparse_vector",
}

_ORDER: Final = tuple(_KINDS.values())


def find_kinds(metadatas: Iterable[CleanMetadata | None]) -> set[KeyKind]:
    """Return the keys of metadata with the kinds of their values."""
    types: set[tuple[str, type]] = {
        (key, type(value)) for metadata in metadatas if metadata for key, value in metadata.items()
    }
    if any(kind is list for _, kind in types):
        types |= {
            (key, type(element))
            for metadata in metadatas
            if metadata
            for key, value in metadata.items()
            if type(value) is list
            for element in value
        }
    return {(key, _KINDS[kind]) for key, kind in types if kind in _KINDS}


def read_kinds(stored: Mapping[str, Any] | None) -> DiscoveredKeys:
    """Read discovered keys from JSON, in which kinds are lists."""
    return {key: tuple(kinds) for key, kinds in (stored or {}).items()}


def merge_kinds(
    known: DiscoveredKeys, found: Iterable[KeyKind], filterable: FilterableKeys
) -> dict[str, tuple[Kind, ...]]:
    """Add keys and kinds to those that are known, up to the bound.

    Args:
        known: The discovered keys.
        found: Keys with a kind of value.
        filterable: The keys that the user named, whose indexes are not discovered.
    """
    merged: dict[str, set[Kind]] = {key: set(kinds) for key, kinds in known.items()}
    for key, kind in sorted(found):
        if kind == "sparse_vector":
            is_named = key in filterable.sparse
        else:
            is_named = kind in filterable.keys.get(key, {})
        if not is_named and (key in merged or len(merged) < MAX_KEYS):
            merged.setdefault(key, set()).add(kind)
    return {key: tuple(sorted(kinds, key=_ORDER.index)) for key, kinds in merged.items()}
