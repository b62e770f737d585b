"""The settings of SPANN, the index of Chroma Cloud.

pgchroma stores and shows them, and builds an HNSW index of its own kind. Two of them apply to it:
the space, and ``ef_search``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from pgchroma.model.setting_values import parse_changes, parse_number

__all__ = ("SETTINGS", "SpannConfiguration")

_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "search_nprobe": (1, 128),
    "search_rng_factor": (0, 1_000_000),
    "search_rng_epsilon": (0, 1_000_000),
    "nreplica_count": (1, 8),
    "write_rng_factor": (0, 1_000_000),
    "write_rng_epsilon": (0, 1_000_000),
    "split_threshold": (50, 200),
    "num_samples_kmeans": (1, 1_000),
    "initial_lambda": (0, 1_000_000),
    "reassign_neighbor_count": (1, 64),
    "merge_threshold": (25, 100),
    "num_centers_to_merge_to": (1, 8),
    "write_nprobe": (1, 64),
    "ef_construction": (1, 200),
    "ef_search": (1, 200),
    "max_neighbors": (1, 64),
}
"""Chroma's bounds, as far as they are known."""

_FLOATS: Final = (
    "search_rng_factor", "search_rng_epsilon", "write_rng_factor", "write_rng_epsilon",
    "initial_lambda",
)  # fmt: skip

_IGNORED: Final = ("center_drift_threshold", "quantize")
"""Settings that Chroma's clients may send, and that no answer of Chroma has."""

SETTINGS: Final = frozenset((*_BOUNDS, *_IGNORED))
"""All settings but the space."""

_SHOWN: Final = (
    "ef_construction", "ef_search", "max_neighbors", "reassign_neighbor_count", "split_threshold",
    "merge_threshold",
)  # fmt: skip
"""Settings that a collection's configuration shows after the first three, in Chroma's order."""

_CHANGEABLE: Final = ("search_nprobe", "ef_search")


@dataclass(frozen=True, slots=True)
class SpannConfiguration:
    """The settings of SPANN but for the space, with Chroma's names, defaults and order."""

    search_nprobe: int = 64
    search_rng_factor: float = 1.0
    search_rng_epsilon: float = 10.0
    nreplica_count: int = 8
    write_rng_factor: float = 1.0
    write_rng_epsilon: float = 5.0
    split_threshold: int = 50
    num_samples_kmeans: int = 1_000
    initial_lambda: float = 100.0
    reassign_neighbor_count: int = 64
    merge_threshold: int = 25
    num_centers_to_merge_to: int = 8
    write_nprobe: int = 32
    ef_construction: int = 200
    ef_search: int = 200
    max_neighbors: int = 64

    @classmethod
    def parse(cls, settings: Mapping[str, Any], path: str) -> Self:
        """Return the given settings, with defaults for the others. The space is ignored.

        Raises:
            InvalidArgumentError: A setting is unknown or out of bounds.
        """
        return cls()._updated(settings, path, (*sorted(SETTINGS), "space"))

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """Return settings that were accepted before; those that are unknown are ignored."""
        return cls(**{key: value for key, value in settings.items() if key in _BOUNDS})

    def updated(self, settings: Mapping[str, Any], path: str) -> Self:
        """Return a copy with the settings of a modify request applied.

        Raises:
            InvalidArgumentError: A setting is unknown, cannot be changed, or is out of bounds.
        """
        return self._updated(settings, path, _CHANGEABLE)

    def to_json(self) -> dict[str, Any]:
        """Return all settings, as a schema has them."""
        return asdict(self)

    def to_shown_json(self, space: str) -> dict[str, Any]:
        """Return the settings that a collection's configuration shows."""
        first = {"search_nprobe": self.search_nprobe, "write_nprobe": self.write_nprobe}
        return {**first, "space": space, **{name: getattr(self, name) for name in _SHOWN}}

    def _updated(self, settings: Mapping[str, Any], path: str, allowed: tuple[str, ...]) -> Self:
        changes = parse_changes(settings, path, allowed, _parse_setting)
        return replace(self, **{key: value for key, value in changes.items() if key in _BOUNDS})


def _parse_setting(key: str, value: Any, path: str) -> Any:
    if key not in _BOUNDS:
        return value
    return parse_number(value, path, _BOUNDS[key], is_int=key not in _FLOATS)
