"""Read vectors from the files of an HNSW index.

`data_level0.bin` has one element after the other: the count of its links and flags, the links, the
vector and the label. Neither the links nor `link_lists.bin` are needed to read vectors. Files are
read and not mapped, since a file that another process truncates would end this one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ("HnswIndex", "Vectors", "open_index")

Numbers = NDArray[np.int64]

_HEADER: Final = struct.Struct("<iQQQQQQiIQQQdQ")
_DELETED: Final = 1 << 16
_UNUSED_BITS: Final = 17
_BLOCK_BYTES: Final = 4 << 20
_GAP_BYTES: Final = 32 << 10
"""How much is read and not used rather than read in two pieces."""

_SAMPLED_PER_BLOCK: Final = 64
_MIN_SAMPLE: Final = 20
_MAX_ELEMENT_BYTES: Final = 1 << 24
_MAX_LABEL: Final = 1 << 40
_USUAL_NEIGHBORS: Final = (16, 8, 32, 64, 4, 12, 24, 48, 128, 2, 5, 6, 10, 20, 40, 96)

_UNIT_TOLERANCE: Final = 1e-3
_FACTOR_OF_OUTLIERS: Final = 50.0
_SPREAD_OF_EQUAL_LENGTHS: Final = 0.01
_TOLERANCE_OF_EQUAL_LENGTHS: Final = 0.05

_TORN: Final = "its embedding lies in a damaged part of the index and may be wrong"
_NOT_UNIT: Final = "its embedding in the index is not of length 1 and may be wrong"
_OUTLIER: Final = "its embedding is far longer or shorter than the others and may be wrong"
_NO_LENGTH: Final = (
    "the length of its embedding is lost: the direction is right, which suffices for cosine "
    "distances, and the length is 1"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an element lie.

    Attributes:
        size: The bytes of an element.
        data_at: Where its vector begins.
        dimension: The length of a vector.
        max_links: How many links there is room for.
        count: How many elements the header says there are; `None` without a header.
    """

    size: int
    data_at: int
    dimension: int
    max_links: int
    count: int | None

    @classmethod
    def of(cls, dimension: int, neighbors: int) -> Self:
        """Return the layout for a dimension and the setting `max_neighbors`."""
        data_at = 4 + 8 * neighbors
        return cls(data_at + 4 * dimension + 8, data_at, dimension, 2 * neighbors, None)

    def dtype(self) -> np.dtype[Any]:
        """Return the type of an element."""
        return np.dtype(
            {
                "names": ["links", "vector", "label"],
                "formats": ["<u4", ("<f4", (self.dimension,)), "<u8"],
                "offsets": [0, self.data_at, self.data_at + 4 * self.dimension],
                "itemsize": self.size,
            }
        )


def read_layout(path: Path, dimension: int | None) -> Layout | None:
    """Read the header of an index; `None` if it is missing, or does not fit itself or `dimension`.

    Args:
        path: `header.bin`.
        dimension: The dimension of the collection, if it is known.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER.size)
    except OSError:
        return None
    if len(data) < _HEADER.size:
        return None
    version, _, capacity, count, size, label_at, data_at, _, _, _, max_links, *_ = _HEADER.unpack(
        data
    )
    is_whole = (
        version == 1
        and data_at == 4 * max_links + 4
        and label_at + 8 == size <= _MAX_ELEMENT_BYTES
        and label_at > data_at
        and (label_at - data_at) % 4 == 0
        and count <= max(capacity, 1)
    )
    found = (label_at - data_at) // 4
    if not is_whole or (dimension is not None and found != dimension):
        return None
    return Layout(size, data_at, found, max_links, count)


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Vectors of labels, in the order in which they were asked for.

    Attributes:
        matrix: A row of float32 values for each label; zeros if it has no vector.
        is_found: Whether each label has a vector.
        doubts: Why a vector may be wrong, by its row.
    """

    matrix: NDArray[np.float32]
    is_found: NDArray[np.bool_]
    doubts: dict[int, str]


class HnswIndex:
    """An open HNSW index. Close it when done.

    Attributes:
        labels: The labels of all elements that are not deleted, ascending.
        problems: What is wrong with the files, as sentences without a period.
    """

    def __init__(
        self,
        directory: Path,
        layout: Layout,
        space: str | None,
        count: int,
        known_labels: Numbers,
    ) -> None:
        self.layout = layout
        self.problems: list[str] = []
        self._dtype = layout.dtype()
        self._file = os.open(directory / "data_level0.bin", os.O_RDONLY | os.O_CLOEXEC)
        try:
            labels, links, sample = self._scan(count, known_labels)
            self._norms = _Norms.of(sample)
            self._is_cosine = self._norms.are_one if space is None else space == "cosine"
            self._lengths = self._read_lengths(directory / "length.bin", len(labels))
        except BaseException:
            self.close()
            raise
        is_usable = (links & _DELETED == 0) & (labels > 0) & (labels < _MAX_LABEL)
        positions = np.flatnonzero(is_usable)
        order = np.argsort(labels[positions], kind="stable")
        sorted_labels = labels[positions][order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = np.diff(sorted_labels) != 0
        self.labels: Numbers = sorted_labels[is_first]
        self._positions: Numbers = positions[order][is_first]

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, labels: Numbers) -> Vectors:
        """Return the vectors of labels.

        Raises:
            OSError: The file cannot be read.
        """
        is_found = np.zeros(len(labels), np.bool_)
        matrix = np.zeros((len(labels), self.layout.dimension), np.float32)
        doubts: dict[int, str] = {}
        if len(self.labels):
            places = np.minimum(np.searchsorted(self.labels, labels), len(self.labels) - 1)
            is_found = self.labels[places] == labels
        if not is_found.any():
            return Vectors(matrix, is_found, doubts)
        rows = np.flatnonzero(is_found)
        positions = self._positions[places[rows]]
        elements = self._read_elements(positions)
        vectors = np.ascontiguousarray(elements["vector"], np.float32)
        doubts = self._doubts(rows, positions, elements["links"], vectors)
        matrix[rows] = self._scaled(positions, vectors)
        return Vectors(matrix, is_found, doubts)

    def _scaled(self, positions: Numbers, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._is_cosine:
            return vectors
        # An index for cosine distances has vectors of length 1, and their lengths beside them.
        lengths = np.ones(len(positions), np.float32)
        is_known = positions < len(self._lengths)
        lengths[is_known] = self._lengths[positions[is_known]]
        with np.errstate(all="ignore"):
            return vectors * lengths[:, None]

    def _doubts(
        self,
        rows: Numbers,
        positions: Numbers,
        links: NDArray[np.uint32],
        vectors: NDArray[np.float32],
    ) -> dict[int, str]:
        with np.errstate(all="ignore"):
            norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        is_torn = ((links & 0xFFFF) > self.layout.max_links) | (links >> _UNUSED_BITS != 0)
        is_torn |= ~np.isfinite(norms)
        is_odd = ~(abs(norms - 1) <= _UNIT_TOLERANCE) if self._is_cosine else self._norms.odd(norms)
        lacks_length = self._is_cosine & (positions >= len(self._lengths))
        doubts: dict[int, str] = {}
        for where, doubt in (
            (is_torn, _TORN),
            (is_odd, _NOT_UNIT if self._is_cosine else _OUTLIER),
            (lacks_length, _NO_LENGTH),
        ):
            for row in rows[where].tolist():
                doubts.setdefault(row, doubt)
        return doubts

    def _scan(
        self, count: int, known_labels: Numbers
    ) -> tuple[Numbers, NDArray[np.uint32], NDArray[np.float64]]:
        """Return the labels and the link headers of all elements, and the norms of a sample."""
        per_block = max(1, _BLOCK_BYTES // self.layout.size)
        # A damaged header may give any count.
        room = min(count, os.fstat(self._file).st_size // self.layout.size)
        labels = np.zeros(room, np.int64)
        links = np.zeros(room, np.uint32)
        norms = []
        known = np.sort(known_labels)
        at = 0
        while at < room:
            data = os.pread(
                self._file, min(per_block, room - at) * self.layout.size, at * self.layout.size
            )
            block = np.frombuffer(data, self._dtype, len(data) // self.layout.size)
            if not len(block):
                break
            # A label beyond 63 bits becomes negative, and is not used.
            labels[at : at + len(block)] = block["label"].view(np.int64)
            links[at : at + len(block)] = block["links"]
            # Behind the last element there may be anything.
            sample = block[block["label"] > 0]
            sample = sample[:: max(1, len(sample) // _SAMPLED_PER_BLOCK)]
            if len(known):
                # np.isin would go through all known labels for each block.
                found = sample["label"].view(np.int64)
                places = np.minimum(np.searchsorted(known, found), len(known) - 1)
                sample = sample[known[places] == found]
            sample = sample["vector"].astype(np.float64)
            norms.append(np.sqrt(np.einsum("ij,ij->i", sample, sample)))
            at += len(block)
        if at < count:
            self.problems.append(
                f"data_level0.bin ends after {at:,} of {count:,} embeddings of the index"
            )
        sampled = np.concatenate(norms) if norms else np.zeros(0)
        return labels[:at], links[:at], sampled

    def _read_lengths(self, path: Path, count: int) -> NDArray[np.float32]:
        if not self._is_cosine:
            return np.zeros(0, np.float32)
        try:
            with path.open("rb") as file:
                data = file.read(4 * count)
        except OSError:
            data = b""
        lengths = np.frombuffer(data, "<f4", len(data) // 4)
        if len(lengths) < count:
            missing = count - len(lengths)
            self.problems.append(
                f"length.bin is missing or too short: the lengths of {missing:,} embeddings of the "
                "index are lost, and their directions are not"
            )
        return lengths

    def _read_elements(self, positions: Numbers) -> NDArray[Any]:
        order = np.argsort(positions, kind="stable")
        # Without the names of its parts, numpy copies an element as a whole.
        whole = np.dtype((np.void, self.layout.size))
        elements = np.empty(len(positions), whole)
        for places in self._runs(positions[order]):
            run = positions[order[places]]
            first, span = int(run[0]), int(run[-1] - run[0]) + 1
            data = os.pread(self._file, span * self.layout.size, first * self.layout.size)
            if len(data) < span * self.layout.size:
                raise OSError("data_level0.bin became shorter while it was read")
            elements[order[places]] = np.frombuffer(data, whole)[run - first]
        return elements.view(self._dtype)

    def _runs(self, positions: Numbers) -> Iterator[slice]:
        """Yield the places of ascending positions that are read in one piece each."""
        is_far = np.diff(positions) > _GAP_BYTES // self.layout.size
        blocks = positions // max(1, _BLOCK_BYTES // self.layout.size)
        ends = [*(np.flatnonzero(is_far | (np.diff(blocks) != 0)) + 1).tolist(), len(positions)]
        for start, end in pairwise([0, *ends]):
            yield slice(start, end)


@dataclass(frozen=True, slots=True)
class _Norms:
    """What a sample says about the lengths of an index's vectors."""

    median: float
    are_equal: bool
    are_one: bool

    @classmethod
    def of(cls, sample: NDArray[np.float64]) -> Self:
        sample = sample[np.isfinite(sample) & (sample > 0)]
        if not len(sample):
            return cls(0.0, are_equal=False, are_one=False)
        low, median, high = np.quantile(sample, (0.05, 0.5, 0.95))
        is_narrow = high - low <= _SPREAD_OF_EQUAL_LENGTHS * median
        are_equal = bool(is_narrow) and len(sample) >= _MIN_SAMPLE
        is_one = (abs(sample - 1) < _UNIT_TOLERANCE).mean() > 0.9  # noqa: PLR2004
        return cls(float(median), are_equal, bool(is_one))

    def odd(self, norms: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether vectors are of a length that makes them look wrong."""
        is_odd: NDArray[np.bool_] = norms > _FACTOR_OF_OUTLIERS * self.median
        if self.are_equal:
            is_odd = abs(norms - self.median) > _TOLERANCE_OF_EQUAL_LENGTHS * self.median
        return is_odd if self.median else np.zeros(len(norms), np.bool_)


def open_index(
    directory: Path,
    *,
    dimension: int | None,
    neighbors: int | None,
    space: str | None,
    known_labels: Numbers,
) -> HnswIndex | None:
    """Open the index in a directory; `None` if it has no vectors.

    Without a usable header the layout is worked out from the dimension and the number of neighbors.

    Args:
        directory: The directory of a vector segment.
        dimension: The dimension of the collection, if it is known.
        neighbors: The setting `max_neighbors`, if it is known.
        space: The distance of the collection, if it is known.
        known_labels: The labels of the map of ids, which tell a right layout from a wrong one.

    Raises:
        OSError: `data_level0.bin` is missing or cannot be read.
    """
    level0 = directory / "data_level0.bin"
    size = level0.stat().st_size
    layout = read_layout(directory / "header.bin", dimension)
    if layout is None:
        if not size or _is_empty(directory):
            return None
        layout = _guess_layout(level0, dimension, neighbors, known_labels)
        if layout is None:
            raise OSError("header.bin is missing or damaged, and the layout cannot be worked out")
        count = size // layout.size
    else:
        count = layout.count or 0
    if not count and not len(known_labels):
        return None
    index = HnswIndex(directory, layout, space, count, known_labels)
    elements = size // layout.size
    if elements > count and not np.isin(known_labels, index.labels).all():
        # The header is older than the elements. Those without a label of the map are not used.
        index.close()
        index = HnswIndex(directory, layout, space, elements, known_labels)
    return index


def _is_empty(directory: Path) -> bool:
    """Whether a header says that the index has no elements, as before Chroma first writes it."""
    layout = read_layout(directory / "header.bin", None)
    return layout is not None and layout.count == 0


def _guess_layout(
    path: Path, dimension: int | None, neighbors: int | None, known_labels: Numbers
) -> Layout | None:
    if not dimension:
        return None
    candidates: Sequence[int] = (*([neighbors] if neighbors else []), *_USUAL_NEIGHBORS)
    layouts = [Layout.of(dimension, candidate) for candidate in candidates]
    with path.open("rb") as file:
        scored = [
            (_plausibility(file.fileno(), layout, known_labels), layout) for layout in layouts
        ]
    score, best = max(scored, key=lambda pair: pair[0])
    return best if score > 0.5 else None  # noqa: PLR2004  (of its elements)


def _plausibility(file: int, layout: Layout, known_labels: Numbers) -> float:
    """Return which share of the first elements that are not empty look like elements."""
    data = os.pread(file, layout.size * 200, 0)
    block = np.frombuffer(data, layout.dtype(), len(data) // layout.size)
    labels, links = block["label"].view(np.int64), block["links"]
    is_used = (labels != 0) | (links != 0)
    if not is_used.any():
        return 0.0
    fits = (labels > 0) & (labels < _MAX_LABEL)
    fits &= ((links & 0xFFFF) <= layout.max_links) & (links >> _UNUSED_BITS == 0)
    if len(known_labels):
        fits &= np.isin(labels, known_labels)
    return float(fits[is_used].mean())
