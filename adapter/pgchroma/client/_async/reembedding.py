"""A collection's records embedded anew by another function, while others read and write."""

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
from pgchroma.model.reembedding import Comparison, ReembeddingReport, Unembedded
from pgchroma.model.types import Space

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("AsyncReembedder",)

ATTEMPTS: Final = 60
"""How often the switch is tried while others go on writing."""

MAX_BATCHES: Final = 10
"""How many batches are embedded before the switch is tried: there may always be one more."""

SWITCH_WAIT_SECONDS: Final = 2.0
"""Seconds for which the switch holds writers off while the last records are embedded."""

MIN_PAUSE_SECONDS: Final = 0.2
MAX_PAUSE_SECONDS: Final = 5.0
"""Seconds between two looks whether the index is built, or two tries of the switch."""

COMPARED_AT_ONCE: Final = 200_000
"""Records read for one request that compares; some milliseconds for a thousand."""

STORED_AT_ONCE: Final = 8 << 20
"""Bytes of embeddings in one request."""


class AsyncReembedder:
    """Works on one collection, with one function.

    All that is done is in the database: a second one, after a kill, goes on where the first was.
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
        """Embed all records, and wait until what was made is indexed.

        Returns:
            How long the new embeddings are; None: the collection has none, and has the function
            now.
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
                f"{status.without_document} records have no document that could be embedded "
                "again: give them one, delete them, or set a data loader if they have uris"
            )
        with progress_bar("re-embedding", status.total - status.embedded, self._progress) as bar:
            await self._fill(0, bar)
        if index_timeout is not None:
            await self._wait_for_index(index_timeout)
        return dimension

    async def compare(self, sample: int, n_results: int) -> Comparison:
        """Compare the neighbours that records have by both embeddings."""
        # Each is compared with every record, and a request may take only so long.
        most = max(COMPARED_AT_ONCE // max(self._total, 1), 1)
        found = 0.0
        compared = 0
        for first in range(0, sample, most):
            part = await self._backend.execute(
                CompareEmbeddings(
                    self._collection, self._generation, min(most, sample - first), n_results
                )
            )
            found += part.overlap * part.sample
            compared += part.sample
        return Comparison(found / compared if compared else 1.0, compared, n_results)

    async def switch(self) -> None:
        """Take the new embeddings into use, embedding what others have written meanwhile.

        Raises:
            UnavailableError: Others write more than can be embedded while they are held off.
            DeadlineExceededError: Somebody held the tables all the time.
        """
        seconds = MIN_PAUSE_SECONDS
        for attempt in range(ATTEMPTS):
            await self._catch_up()
            try:
                if await self._take_into_use() == 0:
                    return
            except DeadlineExceededError:
                # Somebody reads or writes for long.
                if attempt == ATTEMPTS - 1:
                    raise
            # Others waited behind this, and go first now.
            await sleep(seconds)
            seconds = min(2 * seconds, MAX_PAUSE_SECONDS)
        raise UnavailableError(
            "records are written faster than they are embedded anew; all that was done is kept: "
            "call reembed again when fewer are written"
        )

    async def _take_into_use(self) -> int:
        """Try the switch once; return how many embeddings it lacks."""
        operation = SwitchEmbeddings(self._collection, self._generation, SWITCH_WAIT_SECONDS)
        if self._backend.in_caller_transaction:
            # On one connection nobody could store what is missing.
            return await self._backend.execute(replace(operation, max_wait=0.0))
        return await run_while(partial(self._backend.execute, operation), self._catch_up)

    async def _catch_up(self) -> None:
        """Embed what was written early and committed late; and then, at once, what since."""
        await self._fill(0, most=MAX_BATCHES)
        await self._fill(self._cursor, most=MAX_BATCHES)

    def report(
        self, dimension: int | None, comparison: Comparison | None, *, is_switched: bool
    ) -> ReembeddingReport:
        """Tell what was done."""
        return ReembeddingReport(self._embedded, dimension, comparison, is_switched)

    async def _fill(
        self,
        after: int,
        advance: Callable[[int], None] | None = None,
        most: int | None = None,
    ) -> None:
        """Embed the records behind a position, or so many batches of them."""
        batches = 0
        while batches != most:
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
            # The few that come later need no bar.
            if advance is not None:
                advance(len(page.positions))
            if len(page.positions) < self._batch_size:
                # While these were embedded others may have come; so there is no end to wait for.
                return

    async def _store(self, positions: list[int], embeddings: NDArray[np.float32]) -> None:
        """Send embeddings, in parts that any server takes."""
        count = max(STORED_AT_ONCE // embeddings[0].nbytes, 1)
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
            made.update(zip(by_text, await self._called(texts), strict=True))
        if by_uri:
            made.update(
                zip(by_uri, await self._called(await self._load(page, by_uri)), strict=True)
            )
        return np.array([made[n] for n in range(len(page.positions))], dtype=np.float32)

    async def _called(self, inputs: Sequence[Any]) -> Any:
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
                f"records without a document or uri cannot be embedded again: {shown}; give them "
                "one or delete them"
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
                    f"the new embeddings have no index after {timeout:g} seconds: "
                    f"{status.waiting} wait for one. Where no compactor runs, run `pgchroma "
                    "compact`; all that was done is kept, call reembed again"
                )
            await sleep(seconds)
            waited += seconds
            seconds = min(2 * seconds, MAX_PAUSE_SECONDS)
