"""Ids and filters of requests."""

from __future__ import annotations

from typing import Any, Final

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.fields import DOCUMENT
from pgchroma.model.filters import (
    Comparison,
    Filter,
    Junction,
    combine,
    parse_where,
    parse_where_document,
)
from pgchroma.model.records import parse_ids

__all__ = ("decode_filter", "decode_ids", "encode_filter")

MAX_IDS: Final = 250_000


def encode_filter(filter: Filter | None) -> dict[str, Any] | None:
    """Return a filter as one `where`, with documents under the key ``#document``.

    `decode_filter` is its inverse.
    """
    match filter:
        case None:
            return None
        case Junction(operator, clauses):
            return {operator: [encode_filter(clause) for clause in clauses]}
        case Comparison(key, operator, operand):
            return {key: {operator: list(operand) if isinstance(operand, tuple) else operand}}
        case _:
            return {DOCUMENT: {filter.operator: filter.text}}


def decode_filter(body: Any) -> Filter | None:
    """Return the filter of a body with the fields `where` and `where_document`."""
    return combine(parse_where(body.where), parse_where_document(body.where_document))


def decode_ids(body: Any) -> list[str] | None:
    """Return the ids of a body with the field `ids`.

    Raises:
        InvalidArgumentError: There are too many, or they are not valid ids.
    """
    if body.ids is None:
        return None
    if len(body.ids) > MAX_IDS:
        raise InvalidArgumentError(
            f"ids: expected at most {MAX_IDS} ids in one request, got {len(body.ids)}; "
            "send several requests"
        )
    return parse_ids(body.ids)
