"""A collection's configuration: its space, its index settings, its embedding function.

Names and defaults are Chroma's. Requests are parsed here, once. `CollectionConfiguration.to_json`
returns the form that Chroma shows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.metadata import fits_int64
from pgchroma.model.plain import below, brief, plain_scalar, shown
from pgchroma.model.text import check_text
from pgchroma.model.types import Space

__all__ = (
    "AVERAGE_LENGTH",
    "QUANTIZATIONS",
    "SPACES",
    "CollectionConfiguration",
    "HnswConfiguration",
    "Quantization",
    "clamped",
)

SPACES: Final[tuple[Space, ...]] = ("l2", "cosine", "ip")

Quantization: TypeAlias = Literal["none", "halfvec", "bit"]
QUANTIZATIONS: Final[tuple[Quantization, ...]] = get_args(Quantization)

MAX_FUNCTION_BYTES: Final = 1 << 16
"""The longest configuration of an embedding function, as JSON."""

MAX_DEPTH: Final = 100
"""Maximum nesting of a function's settings: collections show them nested, and JSON encoders have a
limit."""

AVERAGE_LENGTH: Final = 64
"""The number of words of an average document, if the configuration does not give it."""

_MOST: Final = 2**31 - 1

_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "ef_construction": (1, 100_000),
    "ef_search": (1, 100_000),
    "max_neighbors": (1, 10_000),
    "num_threads": (1, 10_000),
    "batch_size": (2, _MOST),
    "sync_threshold": (2, _MOST),
    "resize_factor": (0, 1_000_000),
}
"""The minimum and maximum of numeric settings. The maxima exceed the values that have an effect,
and fit PostgreSQL's integers."""

_FIXED: Final = ("space", "ef_construction")
_CHANGEABLE: Final = (
    *(name for name in _BOUNDS if name not in _FIXED), "quantization",
)  # fmt: skip

_SHOWN: Final = (
    "space", "ef_construction", "ef_search", "max_neighbors", "resize_factor", "sync_threshold",
)  # fmt: skip
"""Settings that a collection shows, in Chroma's order."""

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {"space": SPACES, "quantization": QUANTIZATIONS}
"""The values of settings that are words."""

_LEGACY: Final = {
    "hnsw:space": "space",
    "hnsw:construction_ef": "ef_construction",
    "hnsw:search_ef": "ef_search",
    "hnsw:M": "max_neighbors",
    "hnsw:num_threads": "num_threads",
    "hnsw:resize_factor": "resize_factor",
    "hnsw:sync_threshold": "sync_threshold",
    "hnsw:batch_size": "batch_size",
}
"""Settings that older clients put into the collection's metadata."""

_TEXT: Final = ("language", "average_length")
"""The settings of a full-text index. Clients of Chroma, which does not have it, put them into the
collection's metadata, after the prefix."""

_TEXT_PREFIX: Final = "pgchroma:text_"

# The name of a text search configuration, with or without its schema.
_LANGUAGE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")


@dataclass(frozen=True, slots=True)
class HnswConfiguration:
    """Distance and index settings, with Chroma's names and defaults.

    Attributes:
        quantization: How an index stores embeddings: unchanged, with half precision, or one bit
            per dimension. Distances are always computed from the stored embeddings. `None` means
            that the dimension decides: ``none`` up to 2,000, ``halfvec`` up to 4,000, ``bit``
            above.
    """

    space: Space = "l2"
    ef_construction: int = 100
    ef_search: int = 100
    max_neighbors: int = 16
    num_threads: int = os.cpu_count() or 1
    batch_size: int = 100
    sync_threshold: int = 1000
    resize_factor: float = 1.2
    quantization: Quantization | None = None

    @classmethod
    def parse(cls, settings: Mapping[str, Any], path: str) -> Self:
        """Return the given settings, with defaults for the others."""
        return cls().updated(settings, path, allowed=(*_CHANGEABLE, *_FIXED))

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """Return settings that were accepted before; values out of bounds are clamped."""
        return cls(**{key: clamped(key, value) for key, value in settings.items()})

    def updated(self, settings: Mapping[str, Any], path: str, allowed: tuple[str, ...]) -> Self:
        """Return a copy with `settings` applied; `None` leaves a setting as it is."""
        changes = {}
        for key, value in settings.items():
            if key not in allowed:
                expected = ", ".join(sorted(allowed))
                raise InvalidArgumentError(
                    f"{path}: unknown field `{brief(key)}`, expected one of {expected}"
                )
            if value is not None:
                changes[key] = _parse_setting(key, plain_scalar(value), f"{path}.{key}")
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class CollectionConfiguration:
    """The stored configuration of a collection.

    Attributes:
        hnsw: Distance and index settings.
        embedding_function: The client's embedding function in Chroma's persisted form
            (``{"type": "known", "name": …, "config": …}``); backends only store it. `None` and
            ``legacy`` mean no function, ``unknown`` that the request did not name one.
        filterable: The keys and documents that filters may use.
    """

    hnsw: HnswConfiguration
    embedding_function: Mapping[str, Any] | None = None
    filterable: FilterableKeys = field(default_factory=FilterableKeys)

    @classmethod
    def parse(
        cls,
        configuration: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        filterable: FilterableKeys | None = None,
    ) -> Self:
        """Parse the configuration of a create request.

        Settings in the metadata, such as ``hnsw:space``, apply if the configuration leaves all of
        them at their defaults, and ``pgchroma:text_language`` if it has no full-text index. By
        default everything is `filterable`.

        Raises:
            InvalidArgumentError: A setting is unknown or out of bounds, or a setting of the
                embedding function cannot be stored.
        """
        configuration = configuration or {}
        hnsw = _parse_index(configuration)
        if hnsw == HnswConfiguration():
            hnsw = _from_metadata(metadata or {})
        function = _parse_embedding_function(configuration.get("embedding_function"))
        text = _parse_text(configuration.get("text"), metadata or {})
        filterable = filterable or FilterableKeys()
        return cls(hnsw, function, filterable if text is None else filterable.with_text(*text))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read back what `to_stored_json` wrote."""
        return cls(
            HnswConfiguration.read(stored["hnsw"]),
            stored.get("embedding_function"),
            FilterableKeys.from_json(stored.get("indexed")),
        )

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with the changes of a modify request applied.

        Raises:
            InvalidArgumentError: A setting is unknown or out of bounds, or cannot be changed
                (``space``, ``ef_construction`` and ``text``).
        """
        path = "new_configuration"
        if changes.get("text") is not None:
            raise InvalidArgumentError(
                f"{path}.text: a full-text index is chosen when a collection is created"
            )
        if changes.get("hnsw") is not None and changes.get("spann") is not None:
            raise InvalidArgumentError("Multiple vector index configurations provided")
        hnsw = self.hnsw.updated(
            _mapping(changes.get("hnsw"), f"{path}.hnsw"), f"{path}.hnsw", allowed=_CHANGEABLE
        )
        function = _parse_embedding_function(changes.get("embedding_function"))
        return replace(self, hnsw=hnsw, embedding_function=function or self.embedding_function)

    def to_stored_json(self) -> dict[str, Any]:
        """Return all settings, for the catalog."""
        return {
            "hnsw": asdict(self.hnsw),
            "embedding_function": self.embedding_function,
            "indexed": self.filterable.to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what Chroma shows as ``configuration_json``, without the server's own tuning.

        The quantization and the full-text index, which Chroma does not know, are included only if
        the caller set them. An unknown embedding function is shown as `None`, since Chroma's
        clients cannot read it.
        """
        function = self.embedding_function
        is_unknown = function is not None and function.get("type") == "unknown"
        hnsw = {name: getattr(self.hnsw, name) for name in _SHOWN}
        if self.hnsw.quantization is not None:
            hnsw["quantization"] = self.hnsw.quantization
        shown_configuration = {
            "hnsw": hnsw,
            "spann": None,
            "embedding_function": None if is_unknown else function,
        }
        text = self.filterable.text
        if text is not None:
            shown_configuration["text"] = {name: getattr(text, name) for name in _TEXT}
        return shown_configuration


def clamped(key: str, value: Any) -> Any:
    """Return the value of a setting clamped to its bounds, which only numbers have."""
    if key not in _BOUNDS or value is None:
        return value
    least, most = _BOUNDS[key]
    return min(max(value, least), most)


def _parse_index(configuration: Mapping[str, Any]) -> HnswConfiguration:
    hnsw, spann = configuration.get("hnsw"), configuration.get("spann")
    if hnsw is not None and spann is not None:
        raise InvalidArgumentError("Multiple vector index configurations provided")
    if spann is not None:
        # SPANN configures an index that a single node does not have; Chroma keeps only its space.
        space = _mapping(spann, "configuration.spann").get("space")
        return HnswConfiguration.parse({"space": space}, "configuration.spann")
    return HnswConfiguration.parse(_mapping(hnsw, "configuration.hnsw"), "configuration.hnsw")


def _from_metadata(metadata: Mapping[str, Any]) -> HnswConfiguration:
    settings = {}
    for key, value in metadata.items():
        if not key.startswith("hnsw:"):
            continue
        if key not in _LEGACY:
            raise InvalidArgumentError(
                f"Failed to parse hnsw parameters from segment metadata: unknown key {shown(key)}, "
                f"expected one of {', '.join(_LEGACY)}"
            )
        settings[_LEGACY[key]] = value
    try:
        return HnswConfiguration.parse(settings, "metadata")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"Failed to parse hnsw parameters from segment metadata: {_as_written(error, settings)}"
        ) from error


def _parse_text(text: Any, metadata: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the language and the average length of a full-text index, if there is to be one."""
    path, settings = "configuration.text.", _mapping(text, "configuration.text")
    if text is None:
        path = f"metadata.{_TEXT_PREFIX}"
        named = {name: f"{_TEXT_PREFIX}{name}" for name in _TEXT}
        settings = {name: metadata[key] for name, key in named.items() if key in metadata}
        if not settings:
            return None
    if unknown := settings.keys() - set(_TEXT):
        raise InvalidArgumentError(
            f"configuration.text: unknown field `{brief(min(map(str, unknown)))}`, expected one "
            f"of {', '.join(_TEXT)}"
        )
    language = plain_scalar(settings.get("language"))
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise InvalidArgumentError(
            f"{path}language: expected the name of a text search configuration, such as english, "
            f"got {shown(language)}"
        )
    average = plain_scalar(settings.get("average_length"))
    if average is None:
        return language, AVERAGE_LENGTH
    if isinstance(average, bool) or not isinstance(average, int) or not 1 <= average <= _MOST:
        raise InvalidArgumentError(
            f"{path}average_length: expected an int from 1 to {_MOST:,}, got {shown(average)}"
        )
    return language, average


def _as_written(error: InvalidArgumentError, settings: Mapping[str, Any]) -> str:
    """Return a message with the metadata's key instead of the setting's name."""
    message = error.message()
    for key, setting in _LEGACY.items():
        if setting in settings:
            message = message.replace(f"metadata.{setting}:", f"{key}:")
    return message


def _parse_setting(key: str, value: Any, path: str) -> Any:
    words = _WORDS.get(key)
    if words is not None:
        if value not in words:
            expected = ", ".join(words)
            raise InvalidArgumentError(f"{path}: expected one of {expected}, got {shown(value)}")
        return value
    least, most = _BOUNDS[key]
    kind = "a number" if key == "resize_factor" else "an int"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (kind == "an int" and not isinstance(value, int)):
        raise InvalidArgumentError(f"{path}: expected {kind}, got {shown(value)}")
    # Not as two comparisons that must fail: NaN fails both.
    if not least <= value <= most:
        raise InvalidArgumentError(
            f"{path}: expected {kind} from {least:,} to {most:,}, got {shown(value)}"
        )
    return float(value) if key == "resize_factor" else value


def _parse_embedding_function(function: Any) -> Mapping[str, Any] | None:
    if function is None:
        return None
    kind = _mapping(function, "configuration.embedding_function").get("type")
    if kind not in ("known", "legacy", "unknown"):
        raise InvalidArgumentError(
            "configuration.embedding_function.type: expected one of known, legacy, unknown, "
            f"got {shown(kind)}"
        )
    _check_kept(function, "embedding_function")
    if len(json.dumps(function, ensure_ascii=False, default=str).encode()) > MAX_FUNCTION_BYTES:
        raise InvalidArgumentError(
            f"embedding_function: its configuration is longer than {MAX_FUNCTION_BYTES} bytes as "
            "JSON; every list of collections has all of it"
        )
    return dict(function)


def _check_kept(value: Any, path: str, depth: int = 0) -> None:
    """Raise if a function's settings, which may be any JSON, cannot be stored and shown."""
    if depth > MAX_DEPTH:
        raise InvalidArgumentError(f"embedding_function: it nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, int) and not fits_int64(value):
        raise InvalidArgumentError(f"{path}: the number does not fit 64 bits")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidArgumentError(f"{path}: expected a str as key, got {shown(key)}")
            check_text(key, f"{path}: key {shown(key)}")
            _check_kept(inner, below(path, f".{key}"), depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_kept(inner, path, depth + 1)


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{path}: expected an object, got {shown(value)}")
    return value
