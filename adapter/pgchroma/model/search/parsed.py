"""A search as it is executed: filter, rank expression, groups, page and fields, all checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.fields import DOCUMENT, EMBEDDING, METADATA, SCORE
from pgchroma.model.filters import Filter, NotFilterableError, parse_where
from pgchroma.model.plain import brief
from pgchroma.model.search.ranking import Ranking, nearest_of, parse_ranking
from pgchroma.model.search.values import count, field, invalid_type, mapping, names

__all__ = ("Grouping", "ParsedSearch", "parse_search", "sorted_fields")

_FIELDS: Final = frozenset({DOCUMENT, EMBEDDING, METADATA, SCORE})
"""The fields of a record that are not single metadata values."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of records, and which records of each group are kept.

    Attributes:
        keys: Metadata keys. The records of a group have equal values under all of them.
        order: Metadata keys and `SCORE`. The records of a group are sorted by their values.
        k: How many records of each group are kept.
        is_descending: Whether the greatest values come first.
    """

    keys: tuple[str, ...]
    order: tuple[str, ...]
    k: int
    is_descending: bool


@dataclass(frozen=True, slots=True, eq=False)
class ParsedSearch:
    """A search.

    Attributes:
        filter: Which records are searched.
        ranking: How they are scored. Without it, they are returned in insertion order.
        grouping: How many of each group are kept.
        offset: How many of the best are skipped.
        limit: How many are returned; `None` means all.
        selected: The fields to return: those that begin with ``#``, and metadata keys.
    """

    filter: Filter | None = None
    ranking: Ranking | None = None
    grouping: Grouping | None = None
    offset: int = 0
    limit: int | None = None
    selected: frozenset[str] = frozenset()

    @property
    def include(self) -> frozenset[str]:
        """The columns of records that the selected fields are part of."""
        columns = {DOCUMENT: "documents", EMBEDDING: "embeddings"}
        named = {column for field, column in columns.items() if field in self.selected}
        has_metadata = METADATA in self.selected or self.metadata_keys
        return frozenset(named | {"metadatas"} if has_metadata else named)

    @property
    def metadata_keys(self) -> frozenset[str]:
        """The selected metadata keys."""
        return self.selected - _FIELDS

    def results_requested(self) -> int:
        """Return the greatest number of records that the search or a part of it asks for."""
        return max((nearest.limit for nearest in nearest_of(self.ranking)), default=self.limit or 0)

    def metadata_of(self, metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the selected part of a record's metadata; `None` if it is empty."""
        if not metadata:
            return None
        if METADATA in self.selected:
            return dict(metadata)
        keys = self.metadata_keys
        return {key: value for key, value in metadata.items() if key in keys} or None


def sorted_fields(selected: Iterable[str]) -> list[str]:
    """Return selected fields once each, sorted as in an answer: metadata keys come last."""
    return sorted(set(selected), key=lambda field: (field not in _FIELDS, field))


def parse_search(payload: Mapping[str, Any], path: str) -> ParsedSearch:
    """Parse a search.

    Args:
        payload: What `Search.to_dict` returns. Parts may be missing.
        path: Where it is in the request, such as ``searches[0]``.

    Raises:
        MalformedRequestError: A part has another shape; the message says which.
        InvalidArgumentError: A part is not valid.
    """
    limit = _part(payload, "limit", "Limit", path)
    select = _part(payload, "select", "Select", path)
    rank = payload.get("rank")
    ranking = None if rank is None else parse_ranking(rank, f"{path}.rank")
    return ParsedSearch(
        _parse_filter(payload.get("filter"), f"{path}.filter"),
        ranking,
        _parse_grouping(_part(payload, "group_by", "GroupBy", path), ranking, path),
        count(limit.get("offset", 0), f"{path}.limit.offset"),
        None if limit.get("limit") is None else count(limit["limit"], f"{path}.limit.limit"),
        frozenset(names(select.get("keys", []), f"{path}.select.keys")),
    )


def _part(payload: Mapping[str, Any], name: str, kind: str, path: str) -> Mapping[str, Any]:
    return mapping(payload.get(name, {}), f"{path}.{name}", f"struct {kind}")


def _parse_filter(filter: Any, path: str) -> Filter | None:
    if filter is None or filter == {}:
        return None
    try:
        return parse_where(filter)
    except NotFilterableError:
        raise
    except InvalidArgumentError as error:
        raise MalformedRequestError(f"{path}: {error.message()}") from error


def _parse_grouping(
    group_by: Mapping[str, Any], ranking: Ranking | None, path: str
) -> Grouping | None:
    keys = names(group_by.get("keys", []), f"{path}.group_by.keys")
    aggregate = group_by.get("aggregate")
    where = f"Validation error: {path}.group_by"
    if bool(keys) != (aggregate is not None):
        raise InvalidArgumentError(
            f"{where}: group_by keys and aggregate must both be specified or both be omitted"
        )
    if aggregate is None:
        return None
    if ranking is None:
        raise InvalidArgumentError(
            f"Validation error: {path}.__all__: group_by requires rank expression to be specified"
        )
    if _FIELDS & set(keys):
        raise InvalidArgumentError(
            f"{where}: group_by keys must be metadata fields (cannot use #score, #document, "
            "#embedding, or #metadata)"
        )
    return _parse_aggregate(keys, aggregate, path)


def _parse_aggregate(keys: tuple[str, ...], aggregate: Any, path: str) -> Grouping:
    at, where = f"{path}.group_by.aggregate", f"Validation error: {path}.group_by"
    if not isinstance(aggregate, Mapping) or len(aggregate) != 1:
        raise invalid_type(at, aggregate, "an object with one of `$min_k`, `$max_k`")
    ((operator, settings),) = aggregate.items()
    if operator not in ("$min_k", "$max_k"):
        raise MalformedRequestError(
            f"{at}: unknown variant `{brief(operator)}`, expected `$min_k` or `$max_k`"
        )
    at = f"{at}.{operator}"
    order = names(field(settings, "keys", at), f"{at}.keys")
    k = count(field(settings, "k", at), f"{at}.k")
    if not order:
        raise InvalidArgumentError(f"{where}: aggregate keys must not be empty")
    if k == 0:
        raise InvalidArgumentError(f"{where}: aggregate k must be greater than 0")
    if (_FIELDS - {SCORE}) & set(order):
        raise InvalidArgumentError(
            f"{where}: aggregate keys must be metadata fields or #score (cannot use #document, "
            "#embedding, or #metadata)"
        )
    return Grouping(keys, order, k, operator == "$max_k")
