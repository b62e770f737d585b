"""Chroma's `Schema`: by which of its keys a collection can be filtered, and how it embeds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from pgchroma.client.functions import Function
from pgchroma.client.schema.indexes import (
    DOCUMENT_KEY,
    EMBEDDING_KEY,
    BoolInvertedIndexConfig,
    BoolValueType,
    Cmek,
    FloatInvertedIndexConfig,
    FloatListValueType,
    FloatValueType,
    FtsIndexConfig,
    Index,
    IndexConfig,
    IntInvertedIndexConfig,
    IntValueType,
    SparseVectorIndexConfig,
    SparseVectorValueType,
    StringInvertedIndexConfig,
    StringValueType,
    ValueTypes,
    VectorIndexConfig,
)
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.registry import config_to_embedding_function, embedding_function_to_config
from pgchroma.embeddings.sparse.registry import sparse_embedding_function_to_config
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.schema import merge_schema

__all__ = ("Schema", "apply_schema")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an index stands in a schema, and under which names in its JSON."""

    attribute: str
    wire: str
    holder: type[Any]
    index: str
    config: type[Any]


_PLACES: Final = (
    _Place("string", "string", StringValueType, "fts_index", FtsIndexConfig),
    _Place(
        "string", "string", StringValueType, "string_inverted_index", StringInvertedIndexConfig
    ),
    _Place("float_list", "float_list", FloatListValueType, "vector_index", VectorIndexConfig),
    _Place(
        "sparse_vector", "sparse_vector", SparseVectorValueType, "sparse_vector_index",
        SparseVectorIndexConfig,
    ),
    _Place("int_value", "int", IntValueType, "int_inverted_index", IntInvertedIndexConfig),
    _Place(
        "float_value", "float", FloatValueType, "float_inverted_index", FloatInvertedIndexConfig
    ),
    _Place("boolean", "bool", BoolValueType, "bool_inverted_index", BoolInvertedIndexConfig),
)  # fmt: skip

_PLACE_OF: Final = {place.config: place for place in _PLACES}

_VECTOR: Final = _PLACE_OF[VectorIndexConfig]
_SPARSE: Final = _PLACE_OF[SparseVectorIndexConfig]
_FTS: Final = _PLACE_OF[FtsIndexConfig]
_STRING: Final = _PLACE_OF[StringInvertedIndexConfig]


def _initial_defaults() -> ValueTypes:
    defaults = ValueTypes()
    for place in _PLACES:
        _put(defaults, place, place.config(), enabled=place.index.endswith("inverted_index"))
    return defaults


def _initial_keys() -> dict[str, ValueTypes]:
    document, embedding = ValueTypes(), ValueTypes()
    _put(document, _FTS, FtsIndexConfig(), enabled=True)
    _put(document, _STRING, StringInvertedIndexConfig(), enabled=False)
    _put(embedding, _VECTOR, VectorIndexConfig(source_key=DOCUMENT_KEY), enabled=True)
    return {DOCUMENT_KEY: document, EMBEDDING_KEY: embedding}


@dataclass
class Schema:
    """Which indexes a new collection has, for all keys and for single ones.

    At first every kind of value in the metadata can be filtered by, documents can be searched,
    and embeddings are the default function's. A filter that needs an index which is off is
    refused. A key that has an index by name gets one in PostgreSQL, too, once the collection is
    large enough.

    Attributes:
        defaults: For keys that are not named.
        keys: By key; of a type that a key says nothing of, the defaults hold.
        cmek: A key to encrypt with, which only Chroma's cloud takes.
    """

    defaults: ValueTypes = field(init=False, default_factory=_initial_defaults)
    keys: dict[str, ValueTypes] = field(init=False, default_factory=_initial_keys)
    cmek: Cmek | None = field(init=False, default=None)

    def create_index(self, config: IndexConfig | None = None, key: str | None = None) -> Self:
        """Switch an index on, or change the settings of the embeddings' one.

        Args:
            config: Which index; `VectorIndexConfig` only without a key, `FtsIndexConfig` only
                with ``#document``, `SparseVectorIndexConfig` only with a key.
            key: For which key of the metadata; None: for all that are not named.

        Returns:
            The schema itself.

        Raises:
            ValueError: There is no such index, or none for this key.
        """
        place = _chosen(config, key, "create")
        self._check_creation(place, config, key)
        if isinstance(config, VectorIndexConfig):
            _put(self.defaults, place, config, enabled=False)
            sourced = config.model_copy(update={"source_key": DOCUMENT_KEY})
            _put(self._of(EMBEDDING_KEY), place, sourced, enabled=True)
        else:
            _put(self._of(key), place, config, enabled=True)
        return self

    def delete_index(self, config: IndexConfig | None = None, key: str | None = None) -> Self:
        """Switch an index off.

        Args:
            config: Which index; not those of embeddings and of sparse vectors, and
                `FtsIndexConfig` only with ``#document``.
            key: For which key of the metadata; None: for all that are not named.

        Returns:
            The schema itself.

        Raises:
            ValueError: There is no such index, or it cannot be off.
        """
        place = _chosen(config, key, "delete")
        if place is _VECTOR:
            raise ValueError("Deleting vector index is not currently supported.")
        if place is _SPARSE:
            raise ValueError("Deleting sparse vector index is not currently supported.")
        if place is _FTS and key != DOCUMENT_KEY:
            raise ValueError("Deleting FTS index is only supported on #document key.")
        _put(self._of(key), place, config, enabled=False)
        return self

    def set_cmek(self, cmek: Cmek | None) -> Self:
        """Name a key to encrypt with, or none; a collection that has one is refused here."""
        self.cmek = cmek
        return self

    def serialize_to_json(self) -> dict[str, Any]:
        """Write the schema as it is sent to a server."""
        written: dict[str, Any] = {
            "defaults": _write(self.defaults),
            "keys": {key: _write(types) for key, types in self.keys.items()},
        }
        if self.cmek is not None:
            written["cmek"] = self.cmek.to_dict()
        return written

    @classmethod
    def deserialize_from_json(cls, json_data: Mapping[str, Any]) -> Self:
        """Read what `serialize_to_json` wrote, or a server did.

        Where it names no embedding function it is the default one, as in Chroma. One that
        cannot be built here becomes None, with a warning.

        Raises:
            ValueError: It has a setting that is not known, or of another type.
        """
        schema = cls()
        schema.defaults = _read(json_data.get("defaults") or {})
        schema.keys = {key: _read(types) for key, types in (json_data.get("keys") or {}).items()}
        cmek = json_data.get("cmek")
        schema.cmek = None if cmek is None else Cmek.from_dict(cmek)
        return schema

    def _of(self, key: str | None) -> ValueTypes:
        return self.defaults if key is None else self.keys.setdefault(key, ValueTypes())

    def _check_creation(self, place: _Place, config: Any, key: str | None) -> None:
        if place is _VECTOR and key is not None:
            raise ValueError(
                "Vector index cannot be enabled on specific keys. Use "
                "create_index(config=VectorIndexConfig(...)) without specifying a key to "
                "configure the vector index globally."
            )
        if place is _FTS and key != DOCUMENT_KEY:
            raise ValueError(
                "FTS index can only be enabled on #document key. Use "
                "create_index(config=FtsIndexConfig(), key='#document')"
            )
        if isinstance(config, SparseVectorIndexConfig):
            self._check_sparse(config, key)

    def _check_sparse(self, config: SparseVectorIndexConfig, key: str | None) -> None:
        if key is None:
            raise ValueError(
                "Sparse vector index must be created on a specific key. Please specify a key "
                "using: create_index(config=SparseVectorIndexConfig(...), key='your_key')"
            )
        for other, types in self.keys.items():
            index = _find(types, _SPARSE)
            if other != key and index is not None and index.enabled:
                raise ValueError(
                    f"Cannot enable sparse vector index on key '{key}'. A sparse vector index is "
                    f"already enabled on key '{other}'. Only one sparse vector index is allowed "
                    "per collection."
                )
        if config.source_key is not None and config.embedding_function is None:
            raise ValueError(
                "If source_key is provided then embedding_function must also be provided since "
                f"there is no default embedding function. Config: {config}"
            )


def apply_schema(
    schema: Schema | None, configuration: dict[str, Any], function: Function | None
) -> tuple[Mapping[str, Any], Function | None, FilterableKeys | None]:
    """Bring what a create request says of the configuration together with its schema.

    Args:
        schema: The schema, if there is one.
        configuration: The configuration in its persisted form.
        function: The embedding function that goes with it.

    Returns:
        The configuration, the function that the collection will use, and by what it can be
        filtered; None: by everything.

    Raises:
        ValueError: What was given as a schema is none.
        InvalidArgumentError: Both say something, or the schema asks for what is not there.
    """
    if schema is None:
        return configuration, function, None
    if not isinstance(schema, Schema):
        raise ValueError(f"Expected schema to be a Schema, got {schema!r}")
    # Who gives neither a function nor a setting says nothing that could contradict the schema.
    is_silent = function is None and set(configuration) == {"embedding_function"}
    said = None if is_silent else configuration
    merged, indexed = merge_schema(said, schema.serialize_to_json())
    if merged is None or merged is said:
        return configuration, function, indexed
    types = (schema.keys.get(EMBEDDING_KEY), schema.defaults)
    found = [index for one in types if one is not None and (index := _find(one, _VECTOR))]
    return merged, found[0].config.embedding_function, indexed


def _place(config: Any) -> _Place | None:
    if config is None:
        return None
    place = _PLACE_OF.get(type(config))
    if place is None:
        raise ValueError(f"Expected config to be an index's config, got {config!r}")
    return place


_Verb: TypeAlias = Literal["create", "delete"]

_REFUSED_FOR_ALL: Final[dict[_Verb, str]] = {
    "create": "Cannot enable all index types globally. Must specify either config or key.",
    "delete": "Cannot disable all indexes. Must specify either config or key.",
}

_REFUSED_FOR_EMBEDDINGS: Final[dict[_Verb, str]] = {
    "create": (
        "Cannot create index on special key '#embedding'. This key is managed automatically by the "
        "system. Invoke create_index(VectorIndexConfig(...)) without specifying a key to configure "
        "the vector index globally."
    ),
    "delete": "Cannot modify #embedding. Currently not supported",
}


def _chosen(config: Any, key: Any, verb: _Verb) -> _Place:
    """Find the one index that is to be changed, if a caller may for this key."""
    place = _place(config)
    if config is None and key is None:
        raise ValueError(_REFUSED_FOR_ALL[verb])
    if key == EMBEDDING_KEY:
        raise ValueError(_REFUSED_FOR_EMBEDDINGS[verb])
    _check_key(key, place, verb)
    if place is None:
        switch = "enable" if verb == "create" else "disable"
        raise ValueError(
            f"Cannot {switch} all index types for key '{key}'. Please specify a specific index "
            "configuration."
        )
    return place


def _check_key(key: Any, place: _Place | None, verb: _Verb) -> None:
    if key is None:
        return
    if not isinstance(key, str):
        raise ValueError(f"Expected key to be a str, got {key!r}")
    if key == DOCUMENT_KEY:
        if place is not _FTS:
            raise ValueError(
                f"Cannot {verb} index on special key '#document' with this config. Only "
                "FtsIndexConfig is allowed for #document."
            )
    elif key.startswith("#"):
        raise ValueError(
            "key cannot begin with '#'. Keys starting with '#' are reserved for system use."
        )


def _put(types: ValueTypes, place: _Place, config: Any, *, enabled: bool) -> None:
    if getattr(types, place.attribute) is None:
        setattr(types, place.attribute, place.holder())
    setattr(getattr(types, place.attribute), place.index, Index(enabled, config))


def _find(types: ValueTypes, place: _Place) -> Index[Any] | None:
    found: Index[Any] | None = getattr(getattr(types, place.attribute), place.index, None)
    return found


def _write(types: ValueTypes) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for place in _PLACES:
        index = _find(types, place)
        if index is not None:
            entry = {"enabled": index.enabled, "config": _write_config(index.config)}
            written.setdefault(place.wire, {})[place.index] = entry
    return written


def _write_config(config: Any) -> dict[str, Any]:
    if isinstance(config, VectorIndexConfig):
        function = chroma_function(config.embedding_function)
        persisted = embedding_function_to_config(function) or {"type": "legacy"}
        space = config.space
        if space is None and persisted["type"] == "known":
            space = function.default_space()
        named = {"space": space, "embedding_function": persisted}
    elif isinstance(config, SparseVectorIndexConfig):
        named = {"embedding_function": _sparse_function_json(config.embedding_function)}
    else:
        return {}
    settings = config.model_dump(exclude={"embedding_function"}, exclude_none=True)
    return {key: value for key, value in {**settings, **named}.items() if value is not None}


def _sparse_function_json(function: Any) -> dict[str, Any]:
    try:
        return sparse_embedding_function_to_config(function)
    except AttributeError:
        # A callable that is not an embedding function.
        return {"type": "unknown"}


def _read(written: Mapping[str, Any]) -> ValueTypes:
    types = ValueTypes()
    for place in _PLACES:
        entry = (written.get(place.wire) or {}).get(place.index)
        if entry is not None:
            config = _read_config(place, entry.get("config") or {})
            _put(types, place, config, enabled=bool(entry.get("enabled")))
    return types


def _read_config(place: _Place, written: Mapping[str, Any]) -> Any:
    if place not in (_VECTOR, _SPARSE):
        return place.config()
    settings = dict(written)
    persisted = settings.pop("embedding_function", None)
    if place is _SPARSE:
        return SparseVectorIndexConfig(**settings)
    if persisted is not None:
        settings["embedding_function"] = _built(persisted)
    return VectorIndexConfig(**settings)


def _built(persisted: Mapping[str, Any]) -> Function | None:
    if persisted.get("type") != "known":
        return None
    try:
        return config_to_embedding_function(dict(persisted))
    except ValueError as error:
        warnings.warn(f"the schema shows no embedding function: {error}", UserWarning, stacklevel=2)
        return None
