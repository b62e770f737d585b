"""The parts of a `Schema`: value types, indexes and their settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, field_validator, model_validator
from pydantic_core import core_schema

from pgchroma.client.functions import FunctionLike
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.model.fields import DOCUMENT, EMBEDDING
from pgchroma.model.hnsw import Quantization
from pgchroma.model.spann import SETTINGS
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

DOCUMENT_KEY: Final = DOCUMENT
EMBEDDING_KEY: Final = EMBEDDING
"""The keys of documents and embeddings in a schema."""

_ENCRYPTION_KEY: Final = re.compile(r"projects/.+/locations/.+/keyRings/.+/cryptoKeys/.+")

_DEFAULT_FUNCTION: Final = DefaultEmbeddingFunction()
"""One instance, so that two default schemas are equal."""


# Any callable is accepted. pydantic would check whether an object has all methods of the protocol.
_ANY_VALUE: Final = GetPydanticSchema(lambda source, handler: core_schema.any_schema())
_FunctionField: TypeAlias = Annotated[FunctionLike | None, _ANY_VALUE]
_SparseFunctionField: TypeAlias = Annotated[SparseEmbeddingFunction[Any] | None, _ANY_VALUE]


class _Config(BaseModel):
    # Otherwise a misspelt setting would have no effect and cause no error.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class FtsIndexConfig(_Config):
    """The index for searching documents by text and by regular expressions; without settings."""


class StringInvertedIndexConfig(_Config):
    """The index for filters by texts in the metadata; without settings."""


class IntInvertedIndexConfig(_Config):
    """The index for filters by ints in the metadata; without settings."""


class FloatInvertedIndexConfig(_Config):
    """The index for filters by floats in the metadata; without settings."""


class BoolInvertedIndexConfig(_Config):
    """The index for filters by bools in the metadata; without settings."""


class HnswIndexConfig(_Config):
    """Settings of the index of embeddings. Settings that are None have Chroma's defaults.

    Attributes:
        quantization: ``none``, ``halfvec`` or ``bit``. None chooses it by space and dimension.
            Chroma does not have this setting.
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
    """Settings of SPANN, the index of Chroma Cloud, which has more than these.

    pgchroma builds HNSW in its place. Only ``ef_search`` applies, and only if SPANN is the default
    index of the server or of the client's settings.
    """

    search_nprobe: int | None = None
    write_nprobe: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None
    max_neighbors: int | None = None
    reassign_neighbor_count: int | None = None
    split_threshold: int | None = None
    merge_threshold: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_internal(cls, settings: Any) -> Any:
        """Leave out the settings that a server's schema has and that a client cannot set."""
        if not isinstance(settings, Mapping):
            return settings
        internal = SETTINGS - cls.model_fields.keys()
        return {name: value for name, value in settings.items() if name not in internal}


class VectorIndexConfig(_Config):
    """How embeddings are computed, compared and indexed.

    Attributes:
        space: The distance. None means that of the embedding function.
        embedding_function: Embeds documents. None means that the collection has no function.
        source_key: The key that is embedded, which is always ``#document``.
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
    """An index of the sparse vectors under a metadata key. A schema may have several.

    Attributes:
        embedding_function: Computes the vectors of records, if there is a source, and of queries.
        source_key: The key whose text is embedded: ``#document``, or a metadata key.
        bm25: Whether queries are weighted by the inverse document frequencies of their terms.
        algorithm: Accepted for compatibility: ``wand`` or ``max_score``. It has no effect.
    """

    embedding_function: _SparseFunctionField = None
    source_key: str | None = None
    bm25: bool | None = None
    algorithm: Literal["wand", "max_score"] | None = None

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
    """The indexes of texts; None if the schema does not mention them."""

    fts_index: Index[FtsIndexConfig] | None = None
    string_inverted_index: Index[StringInvertedIndexConfig] | None = None


@dataclass
class FloatListValueType:
    """The index of embeddings; None if the schema does not mention it."""

    vector_index: Index[VectorIndexConfig] | None = None


@dataclass
class SparseVectorValueType:
    """The index of sparse vectors; None if the schema does not mention it."""

    sparse_vector_index: Index[SparseVectorIndexConfig] | None = None


@dataclass
class IntValueType:
    """The index of ints; None if the schema does not mention it."""

    int_inverted_index: Index[IntInvertedIndexConfig] | None = None


@dataclass
class FloatValueType:
    """The index of floats; None if the schema does not mention it."""

    float_inverted_index: Index[FloatInvertedIndexConfig] | None = None


@dataclass
class BoolValueType:
    """The index of bools; None if the schema does not mention it."""

    bool_inverted_index: Index[BoolInvertedIndexConfig] | None = None


@dataclass
class ValueTypes:
    """A key's indexes by the type of its values; None if the schema does not mention the type."""

    string: StringValueType | None = None
    float_list: FloatListValueType | None = None
    sparse_vector: SparseVectorValueType | None = None
    int_value: IntValueType | None = None
    float_value: FloatValueType | None = None
    boolean: BoolValueType | None = None


class CmekProvider(StrEnum):
    """The service that stores an encryption key."""

    GCP = "gcp"


@dataclass(frozen=True)
class Cmek:
    """A customer-managed encryption key of Chroma Cloud, which pgchroma refuses.

    Attributes:
        provider: The service that stores the key.
        resource: The key's name in that service.
    """

    provider: CmekProvider
    resource: str

    @classmethod
    def gcp(cls, resource: str) -> Self:
        """Return a key of Google Cloud: ``projects/…/locations/…/keyRings/…/cryptoKeys/…``."""
        return cls(CmekProvider.GCP, resource)

    def validate_pattern(self) -> bool:
        """Whether the name has the form of a key's name."""
        return _ENCRYPTION_KEY.fullmatch(self.resource) is not None

    def to_dict(self) -> dict[str, str]:
        """Return the key in the form of a schema's JSON."""
        return {self.provider.value: self.resource}

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> Self:
        """Return the key that `to_dict` has written.

        Raises:
            ValueError: The provider is unknown.
        """
        for provider in CmekProvider:
            if provider.value in data:
                return cls(provider, data[provider.value])
        raise ValueError(f"Unsupported or missing CMEK provider in data: {data}")


def _callable(function: Any) -> Any:
    if function is not None and not callable(function):
        raise ValueError(f"expected an embedding function, got {function!r}")
    return function
