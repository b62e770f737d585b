"""A collection's configuration: its space, its index settings, its embedding function.

Names and defaults are Chroma's. Requests are parsed here, once. `CollectionConfiguration.to_json`
returns the form that Chroma shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self, TypeAlias

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.hnsw import CHANGEABLE, HnswConfiguration
from pgchroma.model.metadata import fits_int64
from pgchroma.model.plain import below, brief, plain_scalar, shown
from pgchroma.model.setting_values import MAX_INT
from pgchroma.model.spann import SpannConfiguration
from pgchroma.model.text import check_text

__all__ = (
    "AVERAGE_LENGTH",
    "CollectionConfiguration",
    "DefaultIndex",
)

DefaultIndex: TypeAlias = Literal["hnsw", "spann"]
"""The index of a collection whose request has no settings of one."""

MAX_FUNCTION_BYTES: Final = 1 << 16
"""The longest configuration of an embedding function, as JSON."""

MAX_DEPTH: Final = 100
"""Maximum nesting of a function's settings: collections show them nested, and JSON encoders have a
limit."""

AVERAGE_LENGTH: Final = 64
"""The number of words of an average document, if the configuration does not give it."""

_TEXT: Final = ("language", "average_length")
"""The settings of a full-text index. Clients of Chroma, which does not have it, put them into the
collection's metadata, after the prefix."""

_TEXT_PREFIX: Final = "pgchroma:text_"

# The name of a text search configuration, with or without its schema.
_LANGUAGE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")


@dataclass(frozen=True, slots=True)
class CollectionConfiguration:
    """The stored configuration of a collection.

    Attributes:
        hnsw: Distance and index settings. With `spann`, the settings of the HNSW index that takes
            its place.
        embedding_function: The client's embedding function in Chroma's persisted form
            (``{"type": "known", "name": …, "config": …}``); backends only store it. `None` and
            ``legacy`` mean no function, ``unknown`` that the request did not name one.
        filterable: The keys and documents that filters may use.
        spann: The settings of SPANN, if the collection shows them instead of those of HNSW.
    """

    hnsw: HnswConfiguration
    embedding_function: Mapping[str, Any] | None = None
    filterable: FilterableKeys = field(default_factory=FilterableKeys)
    spann: SpannConfiguration | None = None

    @classmethod
    def parse(
        cls,
        configuration: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        filterable: FilterableKeys | None = None,
        default_index: DefaultIndex = "hnsw",
    ) -> Self:
        """Parse the configuration of a create request.

        Settings in the metadata, such as ``hnsw:space``, apply if the configuration leaves all of
        them at their defaults, and ``pgchroma:text_language`` if it has no full-text index. By
        default everything is `filterable`.

        As in Chroma, only the space of a SPANN index applies if the default index is HNSW. If the
        default index is SPANN, a collection has it unless the request has settings of HNSW.

        Raises:
            InvalidArgumentError: A setting is unknown or out of bounds, or a setting of the
                embedding function cannot be stored.
        """
        configuration = configuration or {}
        hnsw = _parse_index(configuration)
        if hnsw == HnswConfiguration():
            hnsw = HnswConfiguration.from_metadata(metadata or {})
        function = _parse_embedding_function(configuration.get("embedding_function"))
        text = _parse_text(configuration.get("text"), metadata or {})
        filterable = filterable or FilterableKeys()
        filterable = filterable if text is None else filterable.with_text(*text)
        if default_index == "hnsw" or hnsw != HnswConfiguration(hnsw.space):
            return cls(hnsw, function, filterable)
        settings = _mapping(configuration.get("spann"), "configuration.spann")
        spann = SpannConfiguration.parse(settings, "configuration.spann")
        return cls(HnswConfiguration.in_place_of(spann, hnsw.space), function, filterable, spann)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read back what `to_stored_json` wrote."""
        spann = stored.get("spann")
        return cls(
            HnswConfiguration.read(stored["hnsw"]),
            stored.get("embedding_function"),
            FilterableKeys.from_json(stored.get("indexed")),
            None if spann is None else SpannConfiguration.read(spann),
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
        hnsw, spann = self.hnsw, self.spann
        if spann is None:
            settings = _mapping(changes.get("hnsw"), f"{path}.hnsw")
            hnsw = hnsw.updated(settings, f"{path}.hnsw", allowed=CHANGEABLE)
        elif changes.get("hnsw") is not None:
            raise InvalidArgumentError(f"{path}.hnsw: the index of the collection is SPANN")
        else:
            settings = _mapping(changes.get("spann"), f"{path}.spann")
            spann = spann.updated(settings, f"{path}.spann")
            hnsw = HnswConfiguration.in_place_of(spann, hnsw.space)
        function = _parse_embedding_function(changes.get("embedding_function"))
        function = function or self.embedding_function
        return replace(self, hnsw=hnsw, spann=spann, embedding_function=function)

    @property
    def function_name(self) -> str | None:
        """The name of the embedding function; `None` if there is none, or it has no name."""
        function = self.embedding_function or {}
        name = function.get("name")
        return str(name) if name is not None and function.get("type") == "known" else None

    def to_stored_json(self) -> dict[str, Any]:
        """Return all settings, for the catalog."""
        stored = {
            "hnsw": asdict(self.hnsw),
            "embedding_function": self.embedding_function,
            "indexed": self.filterable.to_json(),
        }
        return stored if self.spann is None else {**stored, "spann": self.spann.to_json()}

    def to_json(self) -> dict[str, Any]:
        """Return what Chroma shows as ``configuration_json``, without the server's own tuning.

        The full-text index, which Chroma does not know, is included only if the caller set it. An
        unknown embedding function is shown as `None`, since Chroma's clients cannot read it.
        """
        function = self.embedding_function
        is_unknown = function is not None and function.get("type") == "unknown"
        spann = self.spann
        shown_configuration: dict[str, Any] = {
            "hnsw": self.hnsw.to_shown_json() if spann is None else None,
            "spann": None if spann is None else spann.to_shown_json(self.hnsw.space),
            "embedding_function": None if is_unknown else function,
        }
        text = self.filterable.text
        if text is not None:
            shown_configuration["text"] = {name: getattr(text, name) for name in _TEXT}
        return shown_configuration


def _parse_index(configuration: Mapping[str, Any]) -> HnswConfiguration:
    hnsw, spann = configuration.get("hnsw"), configuration.get("spann")
    if hnsw is not None and spann is not None:
        raise InvalidArgumentError("Multiple vector index configurations provided")
    if spann is not None:
        # The space is all that the default index HNSW has in common with SPANN.
        space = _mapping(spann, "configuration.spann").get("space")
        return HnswConfiguration.parse({"space": space}, "configuration.spann")
    return HnswConfiguration.parse(_mapping(hnsw, "configuration.hnsw"), "configuration.hnsw")


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
    if isinstance(average, bool) or not isinstance(average, int) or not 1 <= average <= MAX_INT:
        raise InvalidArgumentError(
            f"{path}average_length: expected an int from 1 to {MAX_INT:,}, got {shown(average)}"
        )
    return language, average


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
