"""Chroma's import path for the shapes of a collection's configuration."""

from __future__ import annotations

from typing import Any, TypedDict

from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.model.types import Space

__all__ = (
    "CollectionConfiguration",
    "CreateCollectionConfiguration",
    "CreateHNSWConfiguration",
    "CreateSpannConfiguration",
    "HNSWConfiguration",
    "SpannConfiguration",
    "UpdateCollectionConfiguration",
    "UpdateHNSWConfiguration",
    "UpdateSpannConfiguration",
)


class UpdateHNSWConfiguration(TypedDict, total=False):
    """What `Collection.modify` can change of an HNSW index."""

    ef_search: int
    max_neighbors: int
    num_threads: int
    batch_size: int
    sync_threshold: int
    resize_factor: float


class HNSWConfiguration(UpdateHNSWConfiguration, total=False):
    """How embeddings are compared and indexed."""

    space: Space
    ef_construction: int


class UpdateSpannConfiguration(TypedDict, total=False):
    """What can be changed of a SPANN index."""

    search_nprobe: int
    ef_search: int


class SpannConfiguration(UpdateSpannConfiguration, total=False):
    """The settings of Chroma Cloud's index; here they are those of an HNSW index."""

    space: Space
    write_nprobe: int
    ef_construction: int
    max_neighbors: int
    reassign_neighbor_count: int
    split_threshold: int
    merge_threshold: int


class CollectionConfiguration(TypedDict, total=False):
    """The configuration of a collection; see `Client.create_collection`."""

    hnsw: HNSWConfiguration | None
    spann: SpannConfiguration | None
    embedding_function: EmbeddingFunction[Any] | None


class UpdateCollectionConfiguration(TypedDict, total=False):
    """What `Collection.modify` can change."""

    hnsw: UpdateHNSWConfiguration | None
    spann: UpdateSpannConfiguration | None
    embedding_function: EmbeddingFunction[Any] | None


CreateCollectionConfiguration = CollectionConfiguration
CreateHNSWConfiguration = HNSWConfiguration
CreateSpannConfiguration = SpannConfiguration
