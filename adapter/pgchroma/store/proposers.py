"""What queries need of indexes in memory; `pgchroma.memory` has them.

An index in memory is a copy of a segment's embeddings in a shorter form. It proposes positions that
may be those of the nearest embeddings. Whether they still exist, and their distances, a statement
finds out in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pgchroma.store.resolved import ResolvedCollection

__all__ = ("Proposer", "Proposers")


class Proposer(Protocol):
    """An index in memory.

    It has all embeddings that the segment had when the row with its token was inserted, except
    those without a direction in a cosine space, and so all that the segment has at any later time.
    """

    @property
    def token(self) -> str:
        """The key of its row in the catalog. Without this row it may be another database's."""

    @property
    def entries(self) -> int:
        """How many embeddings it has."""

    def propose(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return the positions of embeddings that are probably among the nearest.

        Args:
            queries: Shape ``(queries, dimension)``. In a cosine space none of them is zero.
            count: How many positions to return for each query.

        Returns:
            Shape ``(queries, count)``; 0, which is no position, in place of missing ones.
        """


class Proposers(Protocol):
    """The indexes in the memory of this process."""

    def find(self, resolved: ResolvedCollection) -> Sequence[Proposer | None]:
        """Return the index of each of a collection's segments; `None` for those without one.

        This neither waits nor reads files. Indexes that are missing may be there later.
        """

    def doubt(self, tokens: Sequence[str]) -> None:
        """Record that PostgreSQL does not know some of these tokens, or not for this table."""

    def stop(self) -> None:
        """Stop what works in the background, without waiting for it."""

    def close(self) -> None:
        """Stop what works in the background, and wait for it."""
