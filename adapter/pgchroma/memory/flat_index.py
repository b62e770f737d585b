"""The index itself. No other module imports faiss.

It compares a query with every embedding by one bit a dimension (RaBitQ), and the best of these, the
shortlist, by eight bits a dimension. How long the shortlist has to be depends on the data: if all
embeddings are about equally far from each other, one bit does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.extras import load_extra
from pgchroma.model.types import Space

__all__ = ("VERSION", "FlatIndex", "directions", "normalize")

faiss: Any = load_extra("faiss", "memory")

FORM: Final = "RaBitQfs,Refine(SQ8)"

VERSION: Final = f"{FORM} {faiss.__version__}"
"""The form of the index, and the version that wrote it. Another version may read it otherwise."""

SHORTLISTS: Final = (120, 240, 480, 640)
"""How much longer a shortlist may be than twice the number of candidates. With a longer one, a
search of PostgreSQL's index costs less."""

MIN_RECALL: Final = 0.995
"""Which share of the nearest embeddings an index has to propose."""

MAX_TRAINED: Final = 50_000
"""How many embeddings an index is trained with."""

SAMPLE, NEAREST, CANDIDATES = 200, 10, 20
"""Recall is measured with this many embeddings of the index: which part of their nearest is among
this many candidates."""

JITTER: Final = 0.25
"""How far a query of the measurement is from an embedding, in standard deviations."""

BLOCK_ROWS: Final = 1_024
"""How many rows are normalized at once."""

MAX_VALUE: Final = 1e15
"""Embeddings with greater values are refused: their squares leave the range of float32."""


class FlatIndex:
    """An index of the rows of a matrix.

    Attributes:
        shortlist: How much longer its shortlist is than twice the number of candidates.

    Args:
        index: An index of faiss.
        space: The space of the embeddings.
        shortlist: See above.
    """

    def __init__(self, index: Any, space: Space, shortlist: int) -> None:
        self._index = index
        self._space = space
        self.shortlist = shortlist
        self._memory: tuple[Any, ...] = ()

    @classmethod
    def build(cls, matrix: NDArray[np.float32], space: Space) -> FlatIndex | None:
        """Build an index that proposes the nearest embeddings.

        Args:
            matrix: The embeddings; in a cosine space their `directions`.
            space: Their space.

        Returns:
            None if no index of this form finds enough of the nearest.
        """
        if max(matrix.max(), -matrix.min()) > MAX_VALUE:
            return None
        with _one_thread():
            return cls._build(matrix, space)

    @classmethod
    def _build(cls, matrix: NDArray[np.float32], space: Space) -> FlatIndex | None:
        index = faiss.index_factory(matrix.shape[1], FORM, _metric(space))
        rng = np.random.default_rng(1)
        index.train(matrix[rng.permutation(len(matrix))[:MAX_TRAINED]])
        index.add(matrix)
        queries = _sample(matrix, space, rng)
        nearest = faiss.knn(queries, matrix, min(NEAREST, len(matrix)), _metric(space))[1]
        for shortlist in SHORTLISTS:
            built = cls(index, space, shortlist)
            if _recall(built.search(queries, CANDIDATES), nearest) >= MIN_RECALL:
                return built
        return None

    @classmethod
    def mapped(cls, raw: NDArray[np.uint8], space: Space, shortlist: int) -> FlatIndex:
        """Return an index that was serialized. Most of it stays in the given memory.

        The memory must be what `serialized` returned: faiss does not check what it reads.
        """
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(raw), len(raw))
        mapped = cls(faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC), space, shortlist)
        mapped._memory = raw, reader
        return mapped

    def serialized(self) -> NDArray[np.uint8]:
        """Return the index as bytes."""
        raw: NDArray[np.uint8] = faiss.serialize_index(self._index)
        return raw

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return the rows of embeddings that are probably among the nearest.

        Returns:
            Shape ``(queries, count)``; -1 in place of missing rows.
        """
        # Each call has its own: they are not shared between threads.
        parameters = faiss.IndexRefineSearchParameters(k_factor=2 + self.shortlist / count)
        given = directions(queries) if self._space == "cosine" else queries
        with _one_thread():
            found: NDArray[np.int64] = self._index.search(given, count, params=parameters)[1]
        return found


def directions(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of a matrix, none of which is zero, at the length of one."""
    found: NDArray[np.float32] = (matrix / lengths(matrix)[:, None]).astype(np.float32)
    return found


def lengths(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the lengths of the rows of a matrix. In float32, that of a short row would be zero."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)


def normalize(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Give the rows of a matrix the length of one, in place, but for rows of zeros.

    Returns:
        Which rows have a direction.
    """
    has_direction = np.empty(len(matrix), np.bool_)
    # Whole copies in float64 would take several times the memory of the matrix.
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = matrix[start : start + BLOCK_ROWS]
        norms = lengths(block)
        has_direction[start : start + BLOCK_ROWS] = norms > 0
        block /= np.where(norms > 0, norms, 1)[:, None]
    return has_direction


def _metric(space: Space) -> int:
    metric: int = faiss.METRIC_INNER_PRODUCT if space == "ip" else faiss.METRIC_L2
    return metric


def _sample(
    matrix: NDArray[np.float32], space: Space, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return queries that are near to some embeddings, and none of these."""
    rows = matrix[np.sort(rng.choice(len(matrix), min(SAMPLE, len(matrix)), replace=False))]
    noise = rng.normal(size=rows.shape).astype(np.float32)
    queries = rows + JITTER * rows.std(axis=0) * noise
    sample: NDArray[np.float32] = queries.astype(np.float32)
    return directions(sample) if space == "cosine" else sample


def _recall(found: NDArray[np.int64], nearest: NDArray[np.int64]) -> float:
    pairs = zip(found, nearest, strict=True)
    return float(np.mean([np.isin(true, given).mean() for given, true in pairs]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep faiss from starting threads, which costs more than a search takes.

    The setting holds for the calling thread only, which may use faiss for something else, too.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
