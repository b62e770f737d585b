"""The route of searches with filters, rank expressions and groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from msgspec import Struct, field, structs

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.fields import DOCUMENT, SCORE
from pgchroma.model.operations import SearchRecords
from pgchroma.model.records import FoundRecords, RecordColumns
from pgchroma.model.search.parsed import Grouping, ParsedSearch, parse_search, sorted_fields
from pgchroma.model.search.ranking import encode_ranking
from pgchroma.model.types import ReadLevel
from pgchroma.wire.embeddings import decode_columns, encode_columns
from pgchroma.wire.filters import encode_filter
from pgchroma.wire.paths import COLLECTION, collection_path
from pgchroma.wire.reading import malformed
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import Count, Generation

__all__ = ("SEARCHES_ROUTES",)


MAX_SEARCHES: Final = 1_000


class LimitBody(Struct):
    """A page of the results. Without a limit, it has all of them."""

    offset: Count = 0
    limit: Count | None = None


class SelectBody(Struct):
    """The fields to return: `#document`, `#embedding`, `#metadata`, `#score`, and metadata keys."""

    keys: list[str] = field(default_factory=list)


class SearchPayload(Struct):
    """A filter, a rank expression, groups, a page and the fields to return.

    Lower scores are better. Without a rank expression, records are returned in insertion order.
    """

    filter: Any = None
    rank: Any = None
    group_by: dict[str, Any] = field(default_factory=dict)
    limit: LimitBody = field(default_factory=LimitBody)
    select: SelectBody = field(default_factory=SelectBody)


class SearchBody(Struct):
    """Independent searches. Every search sees all earlier writes, whatever the level is."""

    searches: list[SearchPayload]
    read_level: ReadLevel = ReadLevel.INDEX_AND_WAL
    generation: Generation | None = None


class SearchResultBody(Struct):
    """Columns of records for each search, best first.

    The column of a field that a search does not select is null.
    """

    ids: list[list[str]]
    documents: list[list[str | None] | None]
    embeddings: list[list[list[float] | None] | None]
    metadatas: list[list[dict[str, Any] | None] | None]
    scores: list[list[float | None] | None]
    select: list[list[str]]


def _encode_searches(operation: SearchRecords) -> Request:
    body = SearchBody(
        list(map(_encode_search, operation.searches)),
        operation.read_level,
        operation.collection.generation,
    )
    return Request(collection_path(operation.collection), body=body)


def _encode_search(search: ParsedSearch) -> SearchPayload:
    return SearchPayload(
        encode_filter(search.filter),
        None if search.ranking is None else encode_ranking(search.ranking),
        {} if search.grouping is None else _encode_grouping(search.grouping),
        LimitBody(search.offset, search.limit),
        SelectBody(sorted_fields(search.selected)),
    )


def _encode_grouping(grouping: Grouping) -> dict[str, Any]:
    operator = "$max_k" if grouping.is_descending else "$min_k"
    aggregate = {operator: {"keys": list(grouping.order), "k": grouping.k}}
    return {"keys": list(grouping.keys), "aggregate": aggregate}


def _decode_searches(request: Request) -> SearchRecords:
    body: SearchBody = request.body
    if len(body.searches) > MAX_SEARCHES:
        raise InvalidArgumentError(
            f"searches: expected at most {MAX_SEARCHES} searches in one request, got "
            f"{len(body.searches)}; send several requests"
        )
    collection = replace(request.collection, generation=body.generation)
    try:
        searches = tuple(
            parse_search(_payload(search), f"searches[{index}]")
            for index, search in enumerate(body.searches)
        )
    except MalformedRequestError as error:
        malformed(error.message(), error)
    return SearchRecords(collection, searches, body.read_level)


def _payload(search: SearchPayload) -> dict[str, Any]:
    payload = structs.asdict(search)
    return {**payload, **{name: structs.asdict(payload[name]) for name in ("limit", "select")}}


def _encode_response(request: Request, answer: list[FoundRecords]) -> Any:
    def column(values: Callable[[FoundRecords], Any]) -> list[Any]:
        return list(map(values, answer))

    return {
        "ids": column(lambda found: found.records.ids),
        "documents": column(lambda found: found.records.documents),
        "embeddings": column(lambda found: encode_columns(found.records.embeddings)),
        "metadatas": column(lambda found: found.records.metadatas),
        "scores": column(lambda found: _encode_scores(found.scores)),
        "select": [sorted_fields(search.select.keys) for search in request.body.searches],
    }


def _encode_scores(scores: list[float | None] | None) -> Any:
    # JSON has no NaN, so the encoder writes null. It writes float32 with the fewest digits.
    return None if scores is None else np.array(scores, dtype=np.float32)


def _decode_response(operation: SearchRecords, body: Any) -> list[FoundRecords]:
    return [
        FoundRecords(
            RecordColumns(
                ids,
                decode_columns(body["embeddings"][index]),
                body["documents"][index],
                None,
                body["metadatas"][index],
            ),
            _decode_scores(body["scores"][index]),
        )
        for index, ids in enumerate(body["ids"])
    ]


def _decode_scores(scores: list[float | None] | None) -> list[float | None] | None:
    if scores is None:
        return None
    return [None if score is None else float(np.float32(score)) for score in scores]


_SEARCH: Final = {
    "searches": [
        {
            "rank": {"$knn": {"query": [0.1, 0.2], "limit": 3}},
            "select": {"keys": [DOCUMENT, SCORE]},
        }
    ]
}

SEARCHES_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=SearchRecords,
        name="collection_search",
        method="POST",
        path=COLLECTION + "/search",
        access="read",
        encode_request=_encode_searches,
        decode_request=_decode_searches,
        encode_response=_encode_response,
        decode_response=_decode_response,
        response=SearchResultBody,
        body=SearchBody,
        example=_SEARCH,
        max_bytes=None,
        is_idempotent=True,
    ),
)
