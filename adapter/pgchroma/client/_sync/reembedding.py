# Generated from _async/reembedding.py by tools/unasync.py; change that file and run `make fmt`.
"""A collection's records embedded anew by another function, while others read and write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.client._sync.concurrency import aside, pause
from pgchroma.client.functions import Function
from pgchroma.embeddings.progress import progress_bar
from pgchroma.embeddings.protocol import DataLoader
from pgchroma.embeddings.registry import embedding_function_to_config
from pgchroma.errors import DeadlineExceededError, EmbeddingError, UnavailableError
from pgchroma.model.operations import (
    CollectionRef,
    CompareEmbeddings,
    GetReembedding,
    GetUnembedded,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
)
from pgchroma.model.reembedding import Comparison, ReembeddingReport, Unembedded
from pgchroma.model.types import Space

if TYPE_CHECKING:
    from pgchroma.backends.base import Backend

__all__ = ("Reembedder",)

ATTEMPTS: Final = 100
"""How often the switch is tried while others go on writing."""

LONGEST_PAUSE: Final = 5.0
"""Seconds between two looks whether the index is built."""


class Reembedder:
    """Works on one collection, with one function.

    All that is done is in the database: a second one, after a kill, goes on where the first was.
    """

    def __init__(
        self,
        backend: Backend,
        collection: CollectionRef,
        function: Function,
        data_loader: DataLoader[Any] | None,
        batch_size: int,
        progress: bool | None,
    ) -> None:
        self._backend = backend
        self._collection = collection
        self._function = function
        self._data_loader = data_loader
        self._batch_size = batch_size
        self._progress = progress
        self._cursor = 0
        self._embedded = 0

    def prepare(self, space: Space | None, index_timeout: float | None) -> int | None:
        """Embed all records, and wait until what was made is indexed.

        Returns:
            How long the new embeddings are; None: the collection has none, and has the function
            now.
        """
        dimension = len((aside(self._function, ["a"]))[0])
        config = embedding_function_to_config(self._function)
        self._backend.execute(StartReembedding(self._collection, config, dimension, space))
        status = self._backend.execute(GetReembedding(self._collection))
        if status is None:
            return None
        if status.without_document and self._data_loader is None:
            raise ValueError(
                f"{status.without_document} records have no document that could be embedded "
                "again: give them one, delete them, or set a data loader if they have uris"
            )
        with progress_bar("re-embedding", status.total - status.embedded, self._progress) as bar:
            self._fill(bar)
        if index_timeout is not None:
            self._wait_for_index(index_timeout)
        return dimension

    def compare(self, sample: int, n_results: int) -> Comparison:
        """Compare the neighbours that records have by both embeddings."""
        operation = CompareEmbeddings(self._collection, sample, n_results)
        return self._backend.execute(operation)

    def switch(self) -> None:
        """Take the new embeddings into use, embedding what others have written meanwhile.

        Raises:
            UnavailableError: Others write so fast that there was never a moment without a record
                to embed.
        """
        for attempt in range(ATTEMPTS):
            try:
                missing = self._backend.execute(SwitchEmbeddings(self._collection))
            except DeadlineExceededError:
                # Somebody reads or writes for long.
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            if missing == 0:
                return
            if self._fill(_ignore) == 0:
                # A writer that began early has committed late.
                self._cursor = 0
        raise UnavailableError(
            "records are written faster than they are embedded anew; all that was done is kept: "
            "call reembed again when fewer are written"
        )

    def report(
        self, dimension: int | None, comparison: Comparison | None, *, is_switched: bool
    ) -> ReembeddingReport:
        """Tell what was done."""
        return ReembeddingReport(self._embedded, dimension, comparison, is_switched)

    def _fill(self, advance: Callable[[int], None]) -> int:
        """Embed the records behind the cursor; return how many there were."""
        before = self._embedded
        while True:
            operation = GetUnembedded(self._collection, self._cursor, self._batch_size)
            page = self._backend.execute(operation)
            if not page.positions:
                return self._embedded - before
            embeddings = self._embed(page)
            self._backend.execute(StoreReembedded(self._collection, page.positions, embeddings))
            self._cursor = page.positions[-1]
            self._embedded += len(page.positions)
            advance(len(page.positions))

    def _embed(self, page: Unembedded) -> NDArray[np.float32]:
        made: dict[int, Any] = {}
        by_text = [n for n, document in enumerate(page.documents) if document is not None]
        by_uri = [n for n, document in enumerate(page.documents) if document is None]
        if by_text:
            texts = [page.documents[n] for n in by_text]
            made.update(zip(by_text, self._called(texts), strict=True))
        if by_uri:
            made.update(zip(by_uri, self._called(self._load(page, by_uri)), strict=True))
        return np.array([made[n] for n in range(len(page.positions))], dtype=np.float32)

    def _called(self, inputs: Sequence[Any]) -> Any:
        embeddings = aside(self._function, list(inputs))
        if len(embeddings) != len(inputs):
            raise EmbeddingError(
                f"the embedding function returned {len(embeddings)} embeddings for "
                f"{len(inputs)} inputs"
            )
        return embeddings

    def _load(self, page: Unembedded, rows: Sequence[int]) -> list[Any]:
        without = [page.ids[n] for n in rows if page.uris[n] is None]
        if without or self._data_loader is None:
            shown = ", ".join(repr(id) for id in (without or page.ids)[:5])
            raise ValueError(
                f"records without a document or uri cannot be embedded again: {shown}; give them "
                "one or delete them"
            )
        return aside(self._data_loader, [page.uris[n] for n in rows])

    def _wait_for_index(self, timeout: float) -> None:
        waited, seconds = 0.0, 0.2
        while True:
            status = self._backend.execute(GetReembedding(self._collection))
            if status is None or status.waiting == 0:
                return
            if waited >= timeout:
                raise DeadlineExceededError(
                    f"the new embeddings have no index after {timeout:g} seconds: "
                    f"{status.waiting} wait for one. Where no compactor runs, run `pgchroma "
                    "compact`; all that was done is kept, call reembed again"
                )
            pause(seconds)
            waited += seconds
            seconds = min(2 * seconds, LONGEST_PAUSE)


def _ignore(count: int) -> None:
    """The few that are left need no bar."""
