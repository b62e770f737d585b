"""The parts of a `Schema`: indexes, their settings, and what values they are for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, field_validator
from pydantic_core import core_schema

from pgchroma.client.functions import FunctionLike
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.model.configuration import Quantization
from pgchroma.model.types import Space

__all__ = (
    "DOCUMENT_KEY",
    "EMBEDDING_KEY",
    "BoolInvertedIndexConfig",
    "BoolValueType",
    "Cmek",
    "CmekProvider",
    "FloatInvertedIndexConfig",
    "FloatListValueType",
    "FloatValueType",
    "FtsIndexConfig",
    "HnswIndexConfig",
    "Index",
    "IndexConfig",
    "IntInvertedIndexConfig",
    "IntValueType",
    "SpannIndexConfig",
    "SparseVectorIndexConfig",
    "SparseVectorValueType",
    "StringInvertedIndexConfig",
    "StringValueType",
    "ValueTypes",
    "VectorIndexConfig",
)

DOCUMENT_KEY: Final = "#document"
EMBEDDING_KEY: Final = "#embedding"
"""The keys under which a schema has what is no metadata."""

_ENCRYPTION_KEY: Final = re.compile(r"projects/.+/locations/.+/keyRings/.+/cryptoKeys/.+")

_DEFAULT_FUNCTION: Final = DefaultEmbeddingFunction()
"""One for all: two schemas that say nothing are equal."""


# Any callable is accepted. pydantic would check whether an object has all methods of the protocol.
_ANY_VALUE: Final = GetPydanticSchema(lambda source, handler: core_schema.any_schema())
_FunctionField: TypeAlias = Annotated[FunctionLike | None, _ANY_VALUE]
_SparseFunctionField: TypeAlias = Annotated[SparseEmbeddingFunction[Any] | None, _ANY_VALUE]


class _Config(BaseModel):
    # A misspelt setting would be in force nowhere, and nobody would learn of it.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class FtsIndexConfig(_Config):
    """Search of documents by their text and by regular expressions; it has no settings."""


class StringInvertedIndexConfig(_Config):
    """Filters by texts in the metadata; it has no settings."""


class IntInvertedIndexConfig(_Config):
    """Filters by ints in the metadata; it has no settings."""


class FloatInvertedIndexConfig(_Config):
    """Filters by floats in the metadata; it has no settings."""


class BoolInvertedIndexConfig(_Config):
    """Filters by bools in the metadata; it has no settings."""


class HnswIndexConfig(_Config):
    """Settings of the index of embeddings; one that is None has Chroma's default.

    Attributes:
        quantization: ``none``, ``halfvec`` or ``bit``; None: chosen by the dimension. Chroma does
            not have it.
    """

    ef_construction: int | None = None
    max_neighbors: int | None = None
    ef_search: int | None = None
    num_threads: int | None = None
    batch_size: int | None = None
    sync_threshold: int | None = None
    resize_factor: float | None = None
    quantization: Quantization | None = None


class SpannIndexConfig(_Config):
    """Settings of an index of Chroma's cloud; they are taken and have no effect."""

    search_nprobe: int | None = None
    write_nprobe: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None
    max_neighbors: int | None = None
    reassign_neighbor_count: int | None = None
    split_threshold: int | None = None
    merge_threshold: int | None = None


class VectorIndexConfig(_Config):
    """How embeddings are made, compared and indexed.

    Attributes:
        space: The distance; None: the embedding function's own.
        embedding_function: Makes embeddings from documents; None: nothing does.
        source_key: What they are made from, which is always ``#document``.
    """

    space: Space | None = None
    embedding_function: _FunctionField = _DEFAULT_FUNCTION
    source_key: str | None = None
    hnsw: HnswIndexConfig | None = None
    spann: SpannIndexConfig | None = None

    @field_validator("embedding_function")
    @classmethod
    def _check_function(cls, function: Any) -> Any:
        return _callable(function)


class SparseVectorIndexConfig(_Config):
    """An index of sparse vectors. A schema may have one, and no collection here can be made of it.

    Attributes:
        source_key: The key whose text the vectors are made from.
        bm25: Whether rare words weigh more.
    """

    embedding_function: _SparseFunctionField = None
    source_key: str | None = None
    bm25: bool | None = None

    @field_validator("embedding_function")
    @classmethod
    def _check_function(cls, function: Any) -> Any:
        return _callable(function)

    @field_validator("source_key")
    @classmethod
    def _check_source(cls, key: str | None) -> str | None:
        if key is not None and key.startswith("#") and key != DOCUMENT_KEY:
            raise ValueError(
                "source_key cannot begin with '#'. The only valid key starting with '#' is "
                "Key.DOCUMENT or '#document'."
            )
        return key


IndexConfig: TypeAlias = (
    FtsIndexConfig
    | VectorIndexConfig
    | SparseVectorIndexConfig
    | StringInvertedIndexConfig
    | IntInvertedIndexConfig
    | FloatInvertedIndexConfig
    | BoolInvertedIndexConfig
)

C = TypeVar("C", bound=BaseModel)


@dataclass
class Index(Generic[C]):
    """An index of a key's values of one type.

    Attributes:
        enabled: Whether it is on.
        config: Its settings.
    """

    enabled: bool
    config: C


@dataclass
class StringValueType:
    """Indexes of texts; None: nothing is said of it."""

    fts_index: Index[FtsIndexConfig] | None = None
    string_inverted_index: Index[StringInvertedIndexConfig] | None = None


@dataclass
class FloatListValueType:
    """The index of embeddings; None: nothing is said of it."""

    vector_index: Index[VectorIndexConfig] | None = None


@dataclass
class SparseVectorValueType:
    """The index of sparse vectors; None: nothing is said of it."""

    sparse_vector_index: Index[SparseVectorIndexConfig] | None = None


@dataclass
class IntValueType:
    """The index of ints; None: nothing is said of it."""

    int_inverted_index: Index[IntInvertedIndexConfig] | None = None


@dataclass
class FloatValueType:
    """The index of floats; None: nothing is said of it."""

    float_inverted_index: Index[FloatInvertedIndexConfig] | None = None


@dataclass
class BoolValueType:
    """The index of bools; None: nothing is said of it."""

    bool_inverted_index: Index[BoolInvertedIndexConfig] | None = None


@dataclass
class ValueTypes:
    """A key's indexes by the type of the values; None: nothing is said of the type."""

    string: StringValueType | None = None
    float_list: FloatListValueType | None = None
    sparse_vector: SparseVectorValueType | None = None
    int_value: IntValueType | None = None
    float_value: FloatValueType | None = None
    boolean: BoolValueType | None = None


class CmekProvider(StrEnum):
    """Who keeps a key to encrypt with."""

    GCP = "gcp"


@dataclass(frozen=True)
class Cmek:
    """A key of one's own for Chroma's cloud to encrypt with; here it is refused.

    Attributes:
        provider: Who keeps it.
        resource: Its name there.
    """

    provider: CmekProvider
    resource: str

    @classmethod
    def gcp(cls, resource: str) -> Self:
        """Name a key of Google's: ``projects/…/locations/…/keyRings/…/cryptoKeys/…``."""
        return cls(CmekProvider.GCP, resource)

    def validate_pattern(self) -> bool:
        """Tell whether the name has the form of a key's."""
        return _ENCRYPTION_KEY.fullmatch(self.resource) is not None

    def to_dict(self) -> dict[str, str]:
        """Write it as a schema's JSON has it."""
        return {self.provider.value: self.resource}

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: It names no provider that is known.
        """
        for provider in CmekProvider:
            if provider.value in data:
                return cls(provider, data[provider.value])
        raise ValueError(f"Unsupported or missing CMEK provider in data: {data}")


def _callable(function: Any) -> Any:
    if function is not None and not callable(function):
        raise ValueError(f"expected an embedding function, got {function!r}")
    return function
