"""What the browser reads: collections, pages of records, and one record with its neighbours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.client._sync.client import Client
from pgchroma.client._sync.collection import Collection
from pgchroma.errors import NotFoundError

__all__ = (
    "CollectionRow",
    "Detail",
    "Filters",
    "Page",
    "Reader",
    "Record",
    "Similar",
    "parse_where",
)

PAGE_SIZE: Final = 50
"""Records of a page."""

NEIGHBOURS: Final = 5
"""Neighbours that are shown with a record."""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection in the list.

    Attributes:
        function: The name of its embedding function; empty if it stores none.
    """

    name: str
    records: int
    dimension: int | None
    space: str
    function: str


@dataclass(frozen=True, slots=True)
class Record:
    """A record in a table.

    Attributes:
        distance: The distance from the query; `None` without one.
    """

    id: str
    document: str | None
    metadata: Mapping[str, Any] | None
    distance: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """A record with everything that is stored of it.

    Attributes:
        neighbours: The records nearest to it, nearest first, without itself.
    """

    id: str
    document: str | None
    uri: str | None
    metadata: Mapping[str, Any] | None
    embedding: NDArray[np.float32] | None
    neighbours: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records are shown.

    Attributes:
        where: A metadata filter.
        contains: A text that the documents contain; empty for all.
    """

    where: Mapping[str, Any] | None = None
    contains: str = ""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `get` and `query`."""
        contains = {"$contains": self.contains} if self.contains else None
        return {"where": self.where, "where_document": contains}


@dataclass(frozen=True, slots=True)
class Similar:
    """What records are compared with: a text, or a record.

    Attributes:
        is_id: Whether `value` is the id of a record, and not a text.
    """

    value: str
    is_id: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive records.

    Attributes:
        offset: How many records are before them.
        has_more: Whether records follow.
    """

    records: Sequence[Record]
    offset: int
    has_more: bool


class Reader:
    """Reads the collections of a client's database. Several threads may use one reader.

    Attributes:
        page_size: The number of records of a page.
    """

    def __init__(self, client: Client, page_size: int = PAGE_SIZE) -> None:
        self._client = client
        self.page_size = page_size

    @property
    def database(self) -> str:
        """The tenant and the database."""
        return f"{self._client.tenant}/{self._client.database}"

    def check(self, name: str) -> None:
        """Raise `NotFoundError` if there is no collection of that name."""
        self._client.get_collection(name)

    def collections(self) -> list[CollectionRow]:
        """Return the collections by name."""
        found = sorted(self._client.list_collections(), key=lambda each: each.name)
        return [row for each in found for row in _rows(each)]

    def page(
        self, name: str, filters: Filters, similar: Similar | None = None, offset: int = 0
    ) -> Page:
        """Return a page of a collection, in insertion order or nearest first.

        Raises:
            ValueError: A filter does not have the form that Chroma accepts, or the collection has
                no embedding function that can be built here.
            ChromaError: The database refuses the request, or cannot be reached.
        """
        collection = self._client.get_collection(name)
        # One more record than the page has shows whether there is another page.
        wanted = self.page_size + 1
        if similar is None:
            found = _got(collection, filters, offset, wanted)
        else:
            found = _queried(collection, filters, similar, offset + wanted)[offset:]
        return Page(found[: self.page_size], offset, len(found) == wanted)

    def detail(self, name: str, id: str) -> Detail:
        """Return a record and its neighbours.

        Raises:
            NotFoundError: The record was deleted.
        """
        collection = self._client.get_collection(name)
        columns: Any = ["documents", "metadatas", "uris", "embeddings"]
        found: Any = collection.get(ids=[id], include=columns)
        if not found["ids"]:
            raise NotFoundError(f"Record [{id}] does not exist any more")
        embeddings = found["embeddings"]
        has_embedding = embeddings is not None and len(embeddings) and embeddings[0] is not None
        embedding = np.asarray(embeddings[0], np.float32) if has_embedding else None
        return Detail(
            id,
            found["documents"][0],
            found["uris"][0],
            found["metadatas"][0],
            embedding,
            [] if embedding is None else _neighbours(collection, id, embedding),
        )


def parse_where(text: str) -> Mapping[str, Any] | None:
    """Parse the filter that a user typed; an empty one is `None`.

    Raises:
        ValueError: It is not a JSON object.
    """
    if not text.strip():
        return None
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"where: not JSON: {error.msg} at character {error.colno}") from error
    except RecursionError as error:
        raise ValueError("where: it is nested too deeply") from error
    if not isinstance(parsed, dict):
        raise ValueError('where: expected an object such as {"year": {"$gte": 2020}}')
    return parsed


def _rows(collection: Collection) -> Iterator[CollectionRow]:
    """Yield the row of a collection, unless it was deleted since."""
    model = collection.get_model()
    name = model.configuration.function_name or ""
    space = model.configuration.hnsw.space
    with suppress(NotFoundError):
        yield CollectionRow(collection.name, collection.count(), model.dimension, space, name)


def _got(collection: Collection, filters: Filters, offset: int, limit: int) -> list[Record]:
    found: Any = collection.get(
        limit=limit, offset=offset, include=["documents", "metadatas"], **filters.arguments()
    )
    columns = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
    return [Record(*each) for each in columns]


def _queried(
    collection: Collection, filters: Filters, similar: Similar, results: int
) -> list[Record]:
    query: dict[str, Any] = {"query_texts": [similar.value]}
    if similar.is_id:
        stored: Any = collection.get(ids=[similar.value], include=["embeddings"])["embeddings"]
        if stored is None or not len(stored) or stored[0] is None:
            raise ValueError(f"the record {similar.value!r} has no embedding to compare with")
        query = {"query_embeddings": [stored[0]]}
    return _nearest(collection, results, filters, **query)


def _neighbours(collection: Collection, id: str, embedding: NDArray[np.float32]) -> list[Record]:
    found = _nearest(collection, NEIGHBOURS + 1, Filters(), query_embeddings=[embedding])
    return [each for each in found if each.id != id][:NEIGHBOURS]


def _nearest(collection: Collection, results: int, filters: Filters, **query: Any) -> list[Record]:
    found: Any = collection.query(**query, n_results=results, **filters.arguments())
    columns = (found[name][0] for name in ("ids", "documents", "metadatas", "distances"))
    return [Record(*each) for each in zip(*columns, strict=True)]
