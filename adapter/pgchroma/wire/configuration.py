"""The shapes of collections' configurations.

Unlike bodies, settings of an index take no fields that are not listed: whoever misspells one would
not learn that it is not in force.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from pgchroma.model.configuration import Quantization

__all__ = ("ConfigurationBody", "NewConfigurationBody", "VectorIndexBody", "read_settings")

Space: TypeAlias = Literal["l2", "cosine", "ip"]
Setting: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType | None
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
    """The index settings that can change.

    Chroma does not know the last; without it, it is chosen by the embeddings' dimension.
    """

    ef_search: Setting = UNSET
    max_neighbors: Setting = UNSET
    num_threads: Setting = UNSET
    resize_factor: Annotated[float, Meta(ge=0, le=1_000_000)] | UnsetType | None = UNSET
    sync_threshold: Setting = UNSET
    batch_size: Setting = UNSET
    quantization: Quantization | UnsetType | None = UNSET


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
    """Return the settings that a body gives."""
    return None if body is None else to_builtins(body)
