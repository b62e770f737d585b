"""Shapes of collections' configurations.

Unlike bodies, the settings of an index reject unknown fields. Otherwise a misspelt setting would
have no effect, and the caller would not notice.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from pgchroma.model.hnsw import Quantization
from pgchroma.model.types import Space

__all__ = ("ConfigurationBody", "NewConfigurationBody", "VectorIndexBody", "read_settings")


Setting: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType | None
"""A missing setting differs from one that is null, so that a body reads back the same."""


class KnownFunction(Struct, tag="known", tag_field="type"):
    """An embedding function that clients can create from its name and settings."""

    name: str
    config: Any


class LegacyFunction(Struct, tag="legacy", tag_field="type"):
    """No embedding function, or one from a version that did not store embedding functions."""


class UnknownFunction(Struct, tag="unknown", tag_field="type"):
    """An embedding function that cannot be stored."""


EmbeddingFunction: TypeAlias = KnownFunction | LegacyFunction | UnknownFunction | UnsetType | None


class NewHnswBody(Struct, forbid_unknown_fields=True):
    """The index settings that can change.

    Chroma has no `quantization`. Without it, space and dimension decide.
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
    """The settings of SPANN that can change."""

    search_nprobe: Setting = UNSET
    ef_search: Setting = UNSET


class SpannBody(NewSpannBody):
    """The settings of SPANN. pgchroma builds HNSW, and only the space and `ef_search` apply.

    If HNSW is the server's default index, they are not stored.
    """

    write_nprobe: Setting = UNSET
    space: Space | UnsetType | None = UNSET
    ef_construction: Setting = UNSET
    max_neighbors: Setting = UNSET
    reassign_neighbor_count: Setting = UNSET
    split_threshold: Setting = UNSET
    merge_threshold: Setting = UNSET


class TextBody(Struct, forbid_unknown_fields=True):
    """A full-text index of the documents, which Chroma does not have.

    The language is a text search configuration of PostgreSQL, such as `english`.
    """

    language: str
    average_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType | None = UNSET


class ConfigurationBody(Struct):
    """How a new collection is indexed and embedded."""

    hnsw: HnswBody | UnsetType | None = UNSET
    spann: SpannBody | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET
    text: TextBody | UnsetType | None = UNSET


class NewConfigurationBody(Struct):
    """Changes of a collection's configuration."""

    hnsw: NewHnswBody | UnsetType | None = UNSET
    spann: NewSpannBody | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET
    text: Any | UnsetType = UNSET


class VectorIndexBody(Struct, forbid_unknown_fields=True):
    """The vector index of a schema."""

    space: Space | UnsetType | None = UNSET
    embedding_function: EmbeddingFunction = UNSET
    source_key: str | UnsetType | None = UNSET
    hnsw: HnswBody | UnsetType | None = UNSET
    spann: dict[str, Any] | UnsetType | None = UNSET


def read_settings(body: Struct | None) -> dict[str, Any] | None:
    """Return the settings of a body."""
    return None if body is None else to_builtins(body)
