"""Chroma's `Schema`: the indexes of a collection's keys, and its embedding function."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
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
from pgchroma.embeddings.sparse.registry import (
    config_to_sparse_embedding_function,
    sparse_embedding_function_to_config,
)
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.schema import merge_schema

__all__ = ("Schema", "apply_schema")


@dataclass(frozen=True, slots=True)
class _IndexSlot:
    """The position of an index in a schema, and its names in JSON."""

    attribute: str
    wire: str
    holder: type[Any]
    index: str
    config: type[Any]


_SLOTS: Final = (
    _IndexSlot("string", "string", StringValueType, "fts_index", FtsIndexConfig),
    _IndexSlot(
        "string", "string", StringValueType, "string_inverted_index", StringInvertedIndexConfig
    ),
    _IndexSlot("float_list", "float_list", FloatListValueType, "vector_index", VectorIndexConfig),
    _IndexSlot(
        "sparse_vector", "sparse_vector", SparseVectorValueType, "sparse_vector_index",
        SparseVectorIndexConfig,
    ),
    _IndexSlot("int_value", "int", IntValueType, "int_inverted_index", IntInvertedIndexConfig),
    _IndexSlot(
        "float_value", "float", FloatValueType, "float_inverted_index", FloatInvertedIndexConfig
    ),
    _IndexSlot("boolean", "bool", BoolValueType, "bool_inverted_index", BoolInvertedIndexConfig),
)  # fmt: skip

_SLOT_OF: Final = {slot.config: slot for slot in _SLOTS}

_VECTOR: Final = _SLOT_OF[VectorIndexConfig]
_SPARSE: Final = _SLOT_OF[SparseVectorIndexConfig]
_FTS: Final = _SLOT_OF[FtsIndexConfig]
_STRING: Final = _SLOT_OF[StringInvertedIndexConfig]


def _initial_defaults() -> ValueTypes:
    defaults = ValueTypes()
    for slot in _SLOTS:
        _set(defaults, slot, slot.config(), enabled=slot.index.endswith("inverted_index"))
    return defaults


def _initial_keys() -> dict[str, ValueTypes]:
    document, embedding = ValueTypes(), ValueTypes()
    _set(document, _FTS, FtsIndexConfig(), enabled=True)
    _set(document, _STRING, StringInvertedIndexConfig(), enabled=False)
    _set(embedding, _VECTOR, VectorIndexConfig(source_key=DOCUMENT_KEY), enabled=True)
    return {DOCUMENT_KEY: document, EMBEDDING_KEY: embedding}


@dataclass
class Schema:
    """The indexes of a new collection, for all keys and for single keys.

    By default, filters can use every type of value in the metadata, documents can be searched, and
    the default function embeds. A filter that needs a disabled index is refused. A key that has an
    index by name also gets an index in PostgreSQL once the collection is large enough.

    Attributes:
        defaults: The indexes of keys that are not in `keys`.
        keys: The indexes of single keys. For types that a key does not mention, the defaults apply.
        cmek: An encryption key, which only Chroma Cloud accepts.
    """

    defaults: ValueTypes = field(init=False, default_factory=_initial_defaults)
    keys: dict[str, ValueTypes] = field(init=False, default_factory=_initial_keys)
    cmek: Cmek | None = field(init=False, default=None)

    def create_index(self, config: IndexConfig | None = None, key: str | None = None) -> Self:
        """Enable an index, or change the settings of the index of embeddings.

        Args:
            config: The index: `VectorIndexConfig` only without a key, `FtsIndexConfig` only with
                ``#document``, `SparseVectorIndexConfig` only with a key.
            key: The key of the metadata. None means all keys that the schema does not name.

        Returns:
            The schema itself.

        Raises:
            ValueError: The key cannot have such an index.
        """
        slot = _slot_to_change(config, key, "create")
        self._check_creation(slot, config, key)
        if isinstance(config, VectorIndexConfig):
            _set(self.defaults, slot, config, enabled=False)
            sourced = config.model_copy(update={"source_key": DOCUMENT_KEY})
            _set(self._of(EMBEDDING_KEY), slot, sourced, enabled=True)
        else:
            _set(self._of(key), slot, config, enabled=True)
        return self

    def delete_index(self, config: IndexConfig | None = None, key: str | None = None) -> Self:
        """Disable an index.

        Args:
            config: The index, except those of embeddings and of sparse vectors; `FtsIndexConfig`
                only with ``#document``.
            key: The key of the metadata. None means all keys that the schema does not name.

        Returns:
            The schema itself.

        Raises:
            ValueError: The key cannot have such an index, or the index cannot be disabled.
        """
        slot = _slot_to_change(config, key, "delete")
        if slot is _VECTOR:
            raise ValueError("Deleting vector index is not currently supported.")
        if slot is _SPARSE:
            raise ValueError("Deleting sparse vector index is not currently supported.")
        if slot is _FTS and key != DOCUMENT_KEY:
            raise ValueError("Deleting FTS index is only supported on #document key.")
        _set(self._of(key), slot, config, enabled=False)
        return self

    def set_cmek(self, cmek: Cmek | None) -> Self:
        """Set or remove the encryption key. Creating a collection with one is refused."""
        self.cmek = cmek
        return self

    def serialize_to_json(self) -> dict[str, Any]:
        """Return the schema in the form that is sent to a server."""
        written: dict[str, Any] = {
            "defaults": _write(self.defaults),
            "keys": {key: _write(types) for key, types in self.keys.items()},
        }
        if self.cmek is not None:
            written["cmek"] = self.cmek.to_dict()
        return written

    @classmethod
    def deserialize_from_json(cls, json_data: Mapping[str, Any]) -> Self:
        """Return the schema that `serialize_to_json` or a server has written.

        Without an embedding function, the schema has the default one, as in Chroma. A function
        that cannot be built here becomes None, with a warning.

        Raises:
            ValueError: A setting is unknown or has the wrong type.
        """
        schema = cls()
        schema.defaults = _read(json_data.get("defaults") or {})
        schema.keys = {key: _read(types) for key, types in (json_data.get("keys") or {}).items()}
        cmek = json_data.get("cmek")
        schema.cmek = None if cmek is None else Cmek.from_dict(cmek)
        return schema

    def _of(self, key: str | None) -> ValueTypes:
        return self.defaults if key is None else self.keys.setdefault(key, ValueTypes())

    def _check_creation(self, slot: _IndexSlot, config: Any, key: str | None) -> None:
        if slot is _VECTOR and key is not None:
            raise ValueError(
                "Vector index cannot be enabled on specific keys. Use "
                "create_index(config=VectorIndexConfig(...)) without specifying a key to "
                "configure the vector index globally."
            )
        if slot is _FTS and key != DOCUMENT_KEY:
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
        if config.source_key is not None and config.embedding_function is None:
            raise ValueError(
                "If source_key is provided then embedding_function must also be provided since "
                f"there is no default embedding function. Config: {config}"
            )


def apply_schema(
    schema: Schema | None, configuration: dict[str, Any], function: Function | None
) -> tuple[Mapping[str, Any], Function | None, FilterableKeys | None]:
    """Merge the configuration and the schema of a request that creates a collection.

    Args:
        schema: The schema, if there is one.
        configuration: The configuration in its persisted form.
        function: The embedding function of the configuration.

    Returns:
        The configuration, the function that the collection will use, and the keys that filters
        can use; None for all keys.

    Raises:
        ValueError: The schema is not a `Schema`.
        InvalidArgumentError: Both have settings of the index, or the schema requires an
            unsupported index.
    """
    if schema is None:
        return configuration, function, None
    if not isinstance(schema, Schema):
        raise ValueError(f"Expected schema to be a Schema, got {schema!r}")
    # Without a function and settings, nothing can contradict the schema.
    is_empty = function is None and not configuration.keys() - {"embedding_function", "text"}
    to_merge = None if is_empty else configuration
    merged, filterable = merge_schema(to_merge, schema.serialize_to_json())
    if merged is None or merged is to_merge:
        return configuration, function, filterable
    types = [schema.keys.get(EMBEDDING_KEY), schema.defaults]
    indexes = [index for each in types if each is not None and (index := _index(each, _VECTOR))]
    if "text" in configuration:
        merged = {**merged, "text": configuration["text"]}
    return merged, indexes[0].config.embedding_function, filterable


def _slot_of(config: Any) -> _IndexSlot | None:
    if config is None:
        return None
    slot = _SLOT_OF.get(type(config))
    if slot is None:
        raise ValueError(f"Expected config to be an index's config, got {config!r}")
    return slot


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


def _slot_to_change(config: Any, key: Any, verb: _Verb) -> _IndexSlot:
    """Return the slot of the index to change, if it can be changed for this key."""
    slot = _slot_of(config)
    if config is None and key is None:
        raise ValueError(_REFUSED_FOR_ALL[verb])
    if key == EMBEDDING_KEY:
        raise ValueError(_REFUSED_FOR_EMBEDDINGS[verb])
    _check_key(key, slot, verb)
    if slot is None:
        switch = "enable" if verb == "create" else "disable"
        raise ValueError(
            f"Cannot {switch} all index types for key '{key}'. Please specify a specific index "
            "configuration."
        )
    return slot


def _check_key(key: Any, slot: _IndexSlot | None, verb: _Verb) -> None:
    if key is None:
        return
    if not isinstance(key, str):
        raise ValueError(f"Expected key to be a str, got {key!r}")
    if key == DOCUMENT_KEY:
        if slot is not _FTS:
            raise ValueError(
                f"Cannot {verb} index on special key '#document' with this config. Only "
                "FtsIndexConfig is allowed for #document."
            )
    elif key.startswith("#"):
        raise ValueError(
            "key cannot begin with '#'. Keys starting with '#' are reserved for system use."
        )


def _set(types: ValueTypes, slot: _IndexSlot, config: Any, *, enabled: bool) -> None:
    if getattr(types, slot.attribute) is None:
        setattr(types, slot.attribute, slot.holder())
    setattr(getattr(types, slot.attribute), slot.index, Index(enabled, config))


def _index(types: ValueTypes, slot: _IndexSlot) -> Index[Any] | None:
    index: Index[Any] | None = getattr(getattr(types, slot.attribute), slot.index, None)
    return index


def _write(types: ValueTypes) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for slot in _SLOTS:
        index = _index(types, slot)
        if index is not None:
            entry = {"enabled": index.enabled, "config": _write_config(index.config)}
            written.setdefault(slot.wire, {})[slot.index] = entry
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
    for slot in _SLOTS:
        entry = (written.get(slot.wire) or {}).get(slot.index)
        if entry is not None:
            config = _read_config(slot, entry.get("config") or {})
            _set(types, slot, config, enabled=bool(entry.get("enabled")))
    return types


def _read_config(slot: _IndexSlot, written: Mapping[str, Any]) -> Any:
    if slot not in (_VECTOR, _SPARSE):
        return slot.config()
    settings = dict(written)
    persisted = settings.pop("embedding_function", None)
    if slot is _SPARSE:
        build: Callable[[dict[str, Any]], Any] = config_to_sparse_embedding_function
        return SparseVectorIndexConfig(embedding_function=_built(persisted, build), **settings)
    if persisted is not None:
        settings["embedding_function"] = _built(persisted, config_to_embedding_function)
    return VectorIndexConfig(**settings)


def _built(
    persisted: Mapping[str, Any] | None, build: Callable[[dict[str, Any]], Any]
) -> Any | None:
    if persisted is None or persisted.get("type") != "known":
        return None
    try:
        return build(dict(persisted))
    except ValueError as error:
        warnings.warn(f"the schema shows no embedding function: {error}", UserWarning, stacklevel=2)
        return None
