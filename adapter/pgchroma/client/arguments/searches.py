"""The searches that a caller passes, as they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pgchroma.client.arguments.checks import check_n_results
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.operations import CollectionRef, SearchRecords
from pgchroma.model.search.parsed import parse_search
from pgchroma.model.search.rank import Knn, Rrf, Text
from pgchroma.model.search.ranking import MAX_DEPTH
from pgchroma.model.search.request import Search
from pgchroma.model.search.where import Key, Where
from pgchroma.model.types import ReadLevel

__all__ = ("TextQuery", "hybrid_search", "payloads_of", "search_request", "text_queries")

CANDIDATES: Final = 200
"""The number of records that each of two fused searches may find, unless more are wanted."""

FUSION_K: Final = 10
"""The constant of the fusion. With a greater one, the first positions matter less: 60, which is
common, found less in our measurements."""

UNFOUND_RANK: Final = 1_000_000
"""The position of a record that a search did not find, which hardly counts in a fusion."""

TextQuery = dict[str, Any]
"""The operand of a ``$knn`` whose query is a text; the text is replaced by its embedding."""


def payloads_of(searches: Search | Sequence[Search]) -> list[dict[str, Any]]:
    """Return searches as they are sent, with texts that are not embedded yet.

    Raises:
        TypeError: An argument is not a `Search`.
        InvalidArgumentError: A rank expression nests too deep.
    """
    listed: Sequence[Any] = searches if isinstance(searches, Sequence) else [searches]
    for search in listed:
        if not isinstance(search, Search):
            raise TypeError(f"searches must be Search objects, got {type(search).__name__}")
    try:
        return [search.to_dict() for search in listed]
    except RecursionError:
        raise InvalidArgumentError(
            f"the rank expression nests deeper than {MAX_DEPTH} levels"
        ) from None


def hybrid_search(
    query_text: str,
    n_results: int,
    where: Where | Mapping[str, Any] | None,
    weights: Sequence[float] | None,
) -> Search:
    """Return a search by the embedding and by the words of a text, fused by their positions.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """
    if not isinstance(query_text, str):
        raise TypeError(f"query_text must be a str, got {type(query_text).__name__}")
    count = check_n_results(n_results)
    options: dict[str, Any] = {
        "limit": max(CANDIDATES, count),
        "default": UNFOUND_RANK,
        "return_rank": True,
    }
    fused = Rrf([Knn(query_text, **options), Text(query_text, **options)], FUSION_K, weights)
    return Search(where, fused, limit=count).select(Key.DOCUMENT, Key.METADATA, Key.SCORE)


def text_queries(rank: Any) -> Iterator[TextQuery]:
    """Yield the text queries of a rank expression, in the order in which they are written."""
    if isinstance(rank, Mapping):
        for operator, operand in rank.items():
            if operator != "$knn":
                yield from text_queries(operand)
            elif isinstance(operand, dict) and isinstance(operand.get("query"), str):
                yield operand
    elif isinstance(rank, list):
        for operand in rank:
            yield from text_queries(operand)


def search_request(
    collection: CollectionRef,
    payloads: Sequence[Mapping[str, Any]],
    read_level: ReadLevel | str | None,
) -> SearchRecords:
    """Return the operation of searches whose texts are embedded.

    Raises:
        ValueError: There is no such level.
        InvalidArgumentError: A part of a search is not valid; the message says which.
    """
    return SearchRecords(
        collection,
        tuple(
            parse_search(payload, f"searches[{index}]") for index, payload in enumerate(payloads)
        ),
        ReadLevel.INDEX_AND_WAL if read_level is None else ReadLevel(read_level),
    )
