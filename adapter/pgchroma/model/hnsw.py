"""The settings of an HNSW index, with Chroma's names and defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import shown
from pgchroma.model.setting_values import MAX_INT, parse_changes, parse_number
from pgchroma.model.spann import SpannConfiguration
from pgchroma.model.types import Space

__all__ = (
    "CHANGEABLE",
    "QUANTIZATIONS",
    "SPACES",
    "HnswConfiguration",
    "Quantization",
    "clamped",
)

SPACES: Final[tuple[Space, ...]] = ("l2", "cosine", "ip")

Quantization: TypeAlias = Literal["none", "halfvec", "bit"]
QUANTIZATIONS: Final[tuple[Quantization, ...]] = get_args(Quantization)

_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "ef_construction": (1, 100_000),
    "ef_search": (1, 100_000),
    "max_neighbors": (1, 10_000),
    "num_threads": (1, 10_000),
    "batch_size": (2, MAX_INT),
    "sync_threshold": (2, MAX_INT),
    "resize_factor": (0, 1_000_000),
}
"""The minimum and maximum of numeric settings. The maxima exceed the values that have an effect,
and fit PostgreSQL's integers."""

_FIXED: Final = ("space", "ef_construction")
CHANGEABLE: Final = (
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

_UNPARSED: Final = "Failed to parse hnsw parameters from segment metadata"


@dataclass(frozen=True, slots=True)
class HnswConfiguration:
    """Distance and index settings, with Chroma's names and defaults.

    Attributes:
        quantization: How an index stores embeddings: unchanged, with half precision, or one bit
            per dimension. Distances are always computed from the stored embeddings. `None` means
            that space and dimension decide: ``none`` up to 2,000, but ``halfvec`` in a cosine
            space; ``halfvec`` up to 4,000, ``bit`` above.
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
        return cls().updated(settings, path, allowed=(*CHANGEABLE, *_FIXED))

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """Return settings that were accepted before; values out of bounds are clamped."""
        return cls(**{key: clamped(key, value) for key, value in settings.items()})

    def updated(self, settings: Mapping[str, Any], path: str, allowed: tuple[str, ...]) -> Self:
        """Return a copy with `settings` applied; `None` leaves a setting as it is."""
        return replace(self, **parse_changes(settings, path, allowed, _parse_setting))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """Return the settings that older clients put into a collection's metadata.

        Raises:
            InvalidArgumentError: A key is unknown, or a setting is out of bounds.
        """
        settings = {}
        for key, value in metadata.items():
            if not key.startswith("hnsw:"):
                continue
            if key not in _LEGACY:
                raise InvalidArgumentError(
                    f"{_UNPARSED}: unknown key {shown(key)}, expected one of {', '.join(_LEGACY)}"
                )
            settings[_LEGACY[key]] = value
        try:
            return cls.parse(settings, "metadata")
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{_UNPARSED}: {_as_written(error, settings)}") from error

    @classmethod
    def in_place_of(cls, spann: SpannConfiguration, space: Space) -> Self:
        """Return the settings of the index that takes the place of SPANN.

        SPANN's graph connects the centers of clusters, so its other settings mean something else.
        """
        return cls(space, ef_search=spann.ef_search)

    def to_shown_json(self) -> dict[str, Any]:
        """Return the settings that a collection's configuration shows.

        The quantization, which Chroma does not know, is included only if the caller set it.
        """
        shown_settings = {name: getattr(self, name) for name in _SHOWN}
        if self.quantization is not None:
            shown_settings["quantization"] = self.quantization
        return shown_settings


def clamped(key: str, value: Any) -> Any:
    """Return the value of a setting clamped to its bounds, which only numbers have."""
    if key not in _BOUNDS or value is None:
        return value
    least, most = _BOUNDS[key]
    return min(max(value, least), most)


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
    return parse_number(value, path, _BOUNDS[key], is_int=key != "resize_factor")
