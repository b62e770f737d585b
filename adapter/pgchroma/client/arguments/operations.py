"""The arguments of a collection's methods, checked and converted to operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgchroma.client.arguments.checks import (
    as_list,
    check_batch_size,
    check_documents,
    check_ids,
    check_images,
    check_include,
    check_lengths,
    check_metadatas,
    check_n_results,
    check_page,
    clean_embeddings,
)
from pgchroma.client.arguments.where import check_where, check_where_document
from pgchroma.model.filters import Filter, combine, parse_where, parse_where_document
from pgchroma.model.inspection import check_recall
from pgchroma.model.metadata import fits_int64
from pgchroma.model.operations import (
    CollectionRef,
    DeleteRecords,
    GetRecords,
    MeasureRecall,
    QueryRecords,
)
from pgchroma.model.plain import plain_scalar
from pgchroma.model.records import RecordBatch, parse_embeddings, parse_ids
from pgchroma.model.types import IncludeColumn, Modality

__all__ = (
    "QueryArguments",
    "WriteArguments",
    "delete_request",
    "get_request",
    "queries",
    "query_request",
    "recall_request",
    "record_set",
)

EMBEDDABLE = ("images", "uris", "documents")
"""The columns that `add` can embed, in the order of Chroma's messages."""

EMBEDDABLE_IN_UPDATES = ("documents", "images")

_COLUMNS = ("ids", "embeddings", "metadatas", "documents", "images", "uris")


@dataclass(slots=True)
class WriteArguments:
    """The columns of a write as lists, after the checks of Chroma's client."""

    ids: list[str]
    embeddings: Any
    metadatas: list[Any] | None
    documents: list[Any] | None
    images: list[Any] | None
    uris: list[Any] | None
    modality: Modality | None = None

    def source(self, fields: tuple[str, ...]) -> str:
        """Return the name of the one column to embed.

        Raises:
            ValueError: The write has none of the columns, or several.
        """
        given = [field for field in fields if getattr(self, field) is not None]
        if len(given) != 1:
            raise ValueError(f"Exactly one of {', '.join(fields)} must be provided")
        return given[0]

    def batch(self, *, removals: bool) -> RecordBatch:
        """Return the batch to store, which validates the columns."""
        return RecordBatch.parse(
            self.ids,
            self.embeddings,
            self.metadatas,
            self.documents,
            self.uris,
            removals=removals,
            modality=self.modality,
        )


@dataclass(slots=True)
class QueryArguments:
    """The queries of a search: embeddings, or values to embed."""

    embeddings: Any
    texts: list[Any] | None
    images: list[Any] | None
    uris: list[Any] | None


def record_set(
    ids: Any,
    embeddings: Any,
    metadatas: Any,
    documents: Any,
    images: Any,
    uris: Any,
    *,
    max_size: int,
    is_update: bool = False,
) -> WriteArguments:
    """Check the arguments of a write. Single values become lists of one."""
    records = WriteArguments(
        ids=check_ids(as_list(ids)),
        embeddings=clean_embeddings(embeddings),
        metadatas=as_list(metadatas),
        documents=as_list(documents),
        images=as_list(images),
        uris=as_list(uris),
    )
    check_lengths({name: getattr(records, name) for name in _COLUMNS})
    check_batch_size(records.ids, max_size)
    if records.metadatas is not None:
        check_metadatas(records.metadatas, is_update=is_update)
    if records.images is not None:
        check_images(records.images)
    if records.documents is not None:
        check_documents(records.documents, nullable=records.embeddings is not None)
    return records


def get_request(
    collection: CollectionRef,
    ids: Any,
    where: Any,
    limit: Any,
    offset: Any,
    where_document: Any,
    include: Any,
) -> tuple[GetRecords, list[IncludeColumn]]:
    """Check the arguments of `get`; return its operation and the columns of its result."""
    columns = check_include(include, disallowed=("distances",))
    limit, offset = check_page(limit, offset)
    ids, filter = _conditions(ids, where, where_document)
    operation = GetRecords(
        collection, _stored(columns), ids=ids, filter=filter, limit=limit, offset=offset
    )
    return operation, columns


def queries(embeddings: Any, texts: Any, images: Any, uris: Any) -> QueryArguments:
    """Check the queries: embeddings, or without them exactly one of the other arguments.

    Raises:
        ValueError: There are no queries, or several kinds to embed.
    """
    given = {
        "query_embeddings": clean_embeddings(embeddings),
        "query_texts": as_list(texts),
        "query_images": as_list(images),
        "query_uris": as_list(uris),
    }
    names = ("embeddings", "documents", "images", "uris")
    check_lengths(dict(zip(names, given.values(), strict=True)))
    count = sum(value is not None for value in given.values())
    if given["query_embeddings"] is None and count != 1:
        raise ValueError(f"Exactly one of {', '.join(EMBEDDABLE)} must be provided")
    if given["query_images"] is not None:
        check_images(given["query_images"])
    if given["query_texts"] is not None:
        check_documents(given["query_texts"], nullable=False)
    return QueryArguments(*given.values())


def query_request(
    collection: CollectionRef,
    embeddings: Any,
    ids: Any,
    n_results: Any,
    where: Any,
    where_document: Any,
    columns: list[IncludeColumn],
) -> QueryRecords:
    """Check the other arguments of `query`; return its operation."""
    matrix, _ = parse_embeddings(embeddings)
    if matrix is None:
        raise ValueError("the embedding function returned no embeddings")
    # An empty list of ids finds no records here; `get` refuses it.
    has_no_ids = isinstance(ids, list) and not ids
    ids, filter = _conditions(None if has_no_ids else ids, where, where_document)
    ids = [] if has_no_ids else ids
    return QueryRecords(
        collection, matrix, check_n_results(n_results), _stored(columns), ids=ids, filter=filter
    )


def recall_request(
    collection: CollectionRef, sample: Any, n_results: Any, where: Any, where_document: Any
) -> MeasureRecall:
    """Check the arguments of `recall`; return its operation."""
    sample, n_results = plain_scalar(sample), plain_scalar(n_results)
    check_recall(sample, n_results)
    _, filter = _conditions(None, where, where_document)
    return MeasureRecall(collection, sample, n_results, filter)


def delete_request(
    collection: CollectionRef, ids: Any, where: Any, where_document: Any, limit: Any
) -> DeleteRecords:
    """Check the arguments of `delete`; return its operation."""
    if ids is None and where is None and where_document is None:
        raise ValueError("At least one of ids, where, or where_document must be provided")
    if limit is not None:
        if where is None and where_document is None:
            raise ValueError(
                "limit can only be specified when a where or where_document clause is provided"
            )
        limit = plain_scalar(limit)
        is_count = isinstance(limit, int) and not isinstance(limit, bool)
        if not is_count or limit < 0 or not fits_int64(limit):
            raise ValueError("limit must be a non-negative integer")
    ids, filter = _conditions(ids, where, where_document)
    return DeleteRecords(collection, ids=ids, filter=filter, limit=limit)


def _conditions(
    ids: Any, where: Any, where_document: Any
) -> tuple[list[str] | None, Filter | None]:
    ids = as_list(ids)
    if ids is not None:
        ids = parse_ids(check_ids(ids))
    if where is not None:
        check_where(where)
    if where_document is not None:
        check_where_document(where_document)
    return ids, combine(parse_where(where), parse_where_document(where_document))


def _stored(columns: list[IncludeColumn]) -> frozenset[str]:
    """Return the columns to read: the client loads data from the URIs."""
    return frozenset("uris" if column == "data" else column for column in columns)
