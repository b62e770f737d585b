"""The shapes of collections' configurations.

Unlike bodies, settings of an index take no fields that are not listed: whoever misspells one would
not learn that it is not in force.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.metadata import fits_int64
from pgchroma.model.text import check_text

__all__ = ("ConfigurationBody", "NewConfigurationBody", "VectorIndexBody", "read_settings")

DEEPEST: Final = 100
"""How deep a function's settings may nest: collections show them at some depth of their own, and
JSON encoders have an end."""

Space: TypeAlias = Literal["l2", "cosine", "ip"]
Setting: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType | None
"""One that is not given stays apart from one that is null, so that a body reads back the same."""


class KnownFunction(Struct, tag="known", tag_field="type"):
    """An embedding function that clients can make again."""

    name: str
    config: Any


class LegacyFunction(Struct, tag="legacy", tag_field="type"):
    """No embedding function, or one from before they were persisted."""


class UnknownFunction(Struct, tag="unknown", tag_field="type"):
    """An embedding function that cannot be persisted."""


EmbeddingFunction: TypeAlias = KnownFunction | LegacyFunction | UnknownFunction | UnsetType | None


class NewHnswBody(Struct, forbid_unknown_fields=True):
    """The index settings that can change."""

    ef_search: Setting = UNSET
    max_neighbors: Setting = UNSET
    num_threads: Setting = UNSET
    resize_factor: float | UnsetType | None = UNSET
    sync_threshold: Setting = UNSET
    batch_size: Setting = UNSET


class HnswBody(NewHnswBody):
    """Distance and index settings."""

    space: Space | UnsetType | None = UNSET
    ef_construction: Setting = UNSET


class NewSpannBody(Struct, forbid_unknown_fields=True):
    """Settings, that can change, of an index that is not here."""

    search_nprobe: Setting = UNSET
    ef_search: Setting = UNSET


class SpannBody(NewSpannBody):
    """Settings of an index that is not here; of them only the space counts."""

    write_nprobe: Setting = UNSET
    space: Space | UnsetType | None = UNSET
    ef_construction: Setting = UNSET
    max_neighbors: Setting = UNSET
    reassign_neighbor_count: Setting = UNSET
    split_threshold: Setting = UNSET
    merge_threshold: Setting = UNSET


class ConfigurationBody(Struct):
    """How a new collection is indexed and embedded."""

    hnsw: HnswBody | UnsetType | None = UNSET
    spann: SpannBody | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET


class NewConfigurationBody(Struct):
    """What changes about a collection's configuration."""

    hnsw: NewHnswBody | UnsetType | None = UNSET
    spann: NewSpannBody | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET


class VectorIndexBody(Struct, forbid_unknown_fields=True):
    """How a schema says embeddings are indexed."""

    space: Space | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET
    source_key: str | UnsetType | None = UNSET
    hnsw: HnswBody | UnsetType | None = UNSET
    spann: dict[str, Any] | UnsetType | None = UNSET


def read_settings(body: Struct | None) -> dict[str, Any] | None:
    """Return the settings that a body gives; of those of a function, which may be anything, only
    what can be kept and shown again.

    Raises:
        InvalidArgumentError: A text, a number or the depth is beyond what can be kept.
    """
    if body is None:
        return None
    settings: dict[str, Any] = to_builtins(body)
    _check(settings.get("embedding_function"), "embedding_function")
    return settings


def _check(value: Any, path: str, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise InvalidArgumentError(f"embedding_function: it nests deeper than {DEEPEST} levels")
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, int) and not fits_int64(value):
        raise InvalidArgumentError(f"{path}: the number does not fit 64 bits")
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key, f"{path}: key {key[:80]!r}")
            _check(inner, f"{path}.{key}"[:300], depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, path, depth + 1)
