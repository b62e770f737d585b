"""The types of a collection's configuration, under Chroma's names."""

from __future__ import annotations

from typing import Any, NotRequired, Required, TypeAlias, TypedDict

from pgchroma.client.functions import Function, FunctionLike
from pgchroma.model.hnsw import Quantization
from pgchroma.model.types import Space

__all__ = (
    "CollectionConfiguration",
    "CollectionConfigurationInterface",
    "ConfigurationLike",
    "CreateCollectionConfiguration",
    "HNSWConfiguration",
    "HNSWConfigurationInterface",
    "SpannConfiguration",
    "TextConfiguration",
    "UpdateCollectionConfiguration",
    "UpdateHNSWConfiguration",
    "UpdateSpannConfiguration",
)


class UpdateHNSWConfiguration(TypedDict, total=False):
    """The settings of an HNSW index that `Collection.modify` can change.

    Chroma does not have `quantization`.
    """

    ef_search: int
    max_neighbors: int
    num_threads: int
    batch_size: int
    sync_threshold: int
    resize_factor: float
    quantization: Quantization


class HNSWConfiguration(UpdateHNSWConfiguration, total=False):
    """How embeddings are compared and indexed."""

    space: Space
    ef_construction: int


class UpdateSpannConfiguration(TypedDict, total=False):
    """The settings of a SPANN index that can be changed."""

    search_nprobe: int
    ef_search: int


class SpannConfiguration(UpdateSpannConfiguration, total=False):
    """The settings of Chroma Cloud's index, of which pgchroma applies `space` alone."""

    space: Space
    write_nprobe: int
    ef_construction: int
    max_neighbors: int
    reassign_neighbor_count: int
    split_threshold: int
    merge_threshold: int


class TextConfiguration(TypedDict, total=False):
    """A full-text index of the documents, which Chroma does not have.

    Attributes:
        language: A text search configuration of PostgreSQL, such as ``english``.
        average_length: The number of words of an average document; 64 unless it is given.
    """

    language: Required[str]
    average_length: int


class CreateCollectionConfiguration(TypedDict, total=False):
    """The configuration of a new collection; see `Client.create_collection`."""

    hnsw: HNSWConfiguration | None
    spann: SpannConfiguration | None
    embedding_function: FunctionLike | None
    text: TextConfiguration | None


class CollectionConfiguration(TypedDict):
    """The configuration of a collection; see `Collection.configuration`."""

    hnsw: HNSWConfiguration | None
    spann: SpannConfiguration | None
    embedding_function: Function | None
    text: NotRequired[TextConfiguration]


class UpdateCollectionConfiguration(TypedDict, total=False):
    """The settings that `Collection.modify` can change."""

    hnsw: UpdateHNSWConfiguration | None
    spann: UpdateSpannConfiguration | None
    embedding_function: FunctionLike | None


_RENAMED = {"M": "max_neighbors"}


class HNSWConfigurationInterface(dict[str, Any]):
    """The settings of an HNSW index as Chroma 0.5 and 0.6 had them, such as `space` and `M`.

    It is a dictionary of today's form.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__({_RENAMED.get(name, name): value for name, value in settings.items()})


class CollectionConfigurationInterface(dict[str, Any]):
    """The configuration of a collection as Chroma 0.5 and 0.6 had it."""

    def __init__(self, hnsw_configuration: HNSWConfigurationInterface | None = None) -> None:
        super().__init__({} if hnsw_configuration is None else {"hnsw": hnsw_configuration})


ConfigurationLike: TypeAlias = (
    CreateCollectionConfiguration | CollectionConfiguration | CollectionConfigurationInterface
)
