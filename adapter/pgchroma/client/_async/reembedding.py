"""Re-embedding a collection with another function while clients read and write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.client._async.concurrency import run_while, sleep
from pgchroma.client._async.embedder import AsyncEmbedder
from pgchroma.embeddings.calls.progress import progress_bar
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
from pgchroma.model.reembedding import EmbeddingComparison, ReembeddingReport, Unembedded
from pgchroma.model.types import Space

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("AsyncReembedder",)

MAX_ATTEMPTS: Final = 60
"""How often the switch is tried while other clients write."""

MAX_BATCHES: Final = 10
"""How many batches are embedded before the switch is tried, because clients may never stop
writing."""

SWITCH_WAIT_SECONDS: Final = 2.0
"""How long the switch blocks writers while the last records are embedded."""

MIN_PAUSE_SECONDS: Final = 0.2
MAX_PAUSE_SECONDS: Final = 5.0
"""Seconds between two checks of the index, or between two attempts to switch."""

COMPARED_PER_REQUEST: Final = 200_000
"""Records that one comparing request reads; a thousand take some milliseconds."""

STORED_BYTES_PER_REQUEST: Final = 8 << 20
"""Bytes of embeddings in one request."""


class AsyncReembedder:
    """Re-embeds one collection with one function.

    All progress is in the database, so after a kill another process continues where this stopped.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        collection: CollectionRef,
        embedder: AsyncEmbedder,
        batch_size: int,
        progress: bool | None,
    ) -> None:
        self._backend = backend
        self._collection = collection
        self._embedder = embedder
        self._batch_size = batch_size
        self._progress = progress
        self._generation = 0
        self._total = 0
        self._cursor = 0
        self._embedded = 0

    async def prepare(self, space: Space | None, index_timeout: float | None) -> int | None:
        """Embed all records, and wait until the new embeddings are indexed.

        Returns:
            The dimension of the new embeddings, or None if the collection has no embeddings and
            has switched to the function.
        """
        dimension = len((await self._embedder.embed(["a"]))[0])
        config = embedding_function_to_config(self._embedder.function())
        generation = await self._backend.execute(
            StartReembedding(self._collection, config, dimension, space)
        )
        status = await self._backend.execute(GetReembedding(self._collection))
        if generation is None or status is None:
            return None
        self._generation = generation
        self._total = status.total
        if status.without_document and self._embedder.data_loader is None:
            raise ValueError(
                f"{status.without_document} records have no document to re-embed: add documents, "
                "delete the records, or set a data loader if they have URIs"
            )
        with progress_bar("re-embedding", status.total - status.embedded, self._progress) as bar:
            await self._fill(0, bar)
        if index_timeout is not None:
            await self._wait_for_index(index_timeout)
        return dimension

    async def compare(self, sample: int, n_results: int) -> EmbeddingComparison:
        """Compare the neighbours of records by the current and by the new embeddings."""
        # Each record of the sample is compared with every record, and the time of a request is
        # limited.
        size = max(COMPARED_PER_REQUEST // max(self._total, 1), 1)
        found = 0.0
        compared = 0
        for first in range(0, sample, size):
            part = await self._backend.execute(
                CompareEmbeddings(
                    self._collection, self._generation, min(size, sample - first), n_results
                )
            )
            found += part.overlap * part.sample
            compared += part.sample
        return EmbeddingComparison(found / compared if compared else 1.0, compared, n_results)

    async def switch(self) -> None:
        """Switch to the new embeddings, and embed what other clients have written since.

        Raises:
            UnavailableError: Clients write more than can be embedded while the switch blocks them.
            DeadlineExceededError: Other transactions held the tables in every attempt.
        """
        seconds = MIN_PAUSE_SECONDS
        for attempt in range(MAX_ATTEMPTS):
            await self._catch_up()
            try:
                if await self._try_switch() == 0:
                    return
            except DeadlineExceededError:
                # Another transaction has held the tables.
                if attempt == MAX_ATTEMPTS - 1:
                    raise
            # Transactions that waited for this attempt go first.
            await sleep(seconds)
            seconds = min(2 * seconds, MAX_PAUSE_SECONDS)
        raise UnavailableError(
            "records are written faster than they can be re-embedded; progress is kept: call "
            "reembed() again when the write rate is lower"
        )

    async def _try_switch(self) -> int:
        """Try the switch once; return how many embeddings are missing."""
        operation = SwitchEmbeddings(self._collection, self._generation, SWITCH_WAIT_SECONDS)
        if self._backend.in_caller_transaction:
            # The only connection could not store the missing embeddings while the switch waits.
            return await self._backend.execute(replace(operation, max_wait=0.0))
        return await run_while(partial(self._backend.execute, operation), self._catch_up)

    async def _catch_up(self) -> None:
        """Embed the records that were committed late, and then the newest ones."""
        await self._fill(0, max_batches=MAX_BATCHES)
        await self._fill(self._cursor, max_batches=MAX_BATCHES)

    def report(
        self, dimension: int | None, comparison: EmbeddingComparison | None, *, is_switched: bool
    ) -> ReembeddingReport:
        """Return a report of this call."""
        return ReembeddingReport(self._embedded, dimension, comparison, is_switched)

    async def _fill(
        self,
        after: int,
        advance: Callable[[int], None] | None = None,
        max_batches: int | None = None,
    ) -> None:
        """Embed the records after a position, up to a number of batches."""
        batches = 0
        while batches != max_batches:
            page = await self._backend.execute(
                GetUnembedded(self._collection, self._generation, after, self._batch_size)
            )
            if not page.positions:
                return
            await self._store(page.positions, await self._embed(page))
            after = page.positions[-1]
            self._cursor = max(self._cursor, after)
            self._embedded += len(page.positions)
            batches += 1
            # The few records of later calls need no progress bar.
            if advance is not None:
                advance(len(page.positions))
            if len(page.positions) < self._batch_size:
                # More records may have been written by now, so waiting for none would not end.
                return

    async def _store(self, positions: list[int], embeddings: NDArray[np.float32]) -> None:
        """Store embeddings, in requests that every server accepts."""
        count = max(STORED_BYTES_PER_REQUEST // embeddings[0].nbytes, 1)
        for first in range(0, len(positions), count):
            part = slice(first, first + count)
            await self._backend.execute(
                StoreReembedded(
                    self._collection, self._generation, positions[part], embeddings[part]
                )
            )

    async def _embed(self, page: Unembedded) -> NDArray[np.float32]:
        made: dict[int, Any] = {}
        by_text = [n for n, document in enumerate(page.documents) if document is not None]
        by_uri = [n for n, document in enumerate(page.documents) if document is None]
        if by_text:
            texts = [page.documents[n] for n in by_text]
            made.update(zip(by_text, await self._embed_inputs(texts), strict=True))
        if by_uri:
            made.update(
                zip(by_uri, await self._embed_inputs(await self._load(page, by_uri)), strict=True)
            )
        return np.array([made[n] for n in range(len(page.positions))], dtype=np.float32)

    async def _embed_inputs(self, inputs: Sequence[Any]) -> Any:
        embeddings = await self._embedder.embed(list(inputs))
        if len(embeddings) != len(inputs):
            raise EmbeddingError(
                f"the embedding function returned {len(embeddings)} embeddings for "
                f"{len(inputs)} inputs"
            )
        return embeddings

    async def _load(self, page: Unembedded, rows: Sequence[int]) -> list[Any]:
        without = [page.ids[n] for n in rows if page.uris[n] is None]
        if without or self._embedder.data_loader is None:
            shown = ", ".join(repr(id) for id in (without or page.ids)[:5])
            raise ValueError(
                f"records without a document or URI cannot be re-embedded: {shown}; add one, or "
                "delete the records"
            )
        return await self._embedder.load([page.uris[n] for n in rows])

    async def _wait_for_index(self, timeout: float) -> None:
        waited, seconds = 0.0, MIN_PAUSE_SECONDS
        while True:
            status = await self._backend.execute(GetReembedding(self._collection))
            if status is None or status.waiting == 0:
                return
            if waited >= timeout:
                raise DeadlineExceededError(
                    f"{status.waiting} new embeddings are not indexed after {timeout:g} seconds; "
                    "progress is kept: call reembed() again, after `pgchroma compact` if no "
                    "compactor runs"
                )
            await sleep(seconds)
            waited += seconds
            seconds = min(2 * seconds, MAX_PAUSE_SECONDS)
