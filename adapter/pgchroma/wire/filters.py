"""A filter's tree as the dictionary that parses back to it."""

from __future__ import annotations

from typing import Any

from pgchroma.model.filters import Comparison, Filter, Junction

__all__ = ("encode_filter",)


def encode_filter(filter: Filter | None) -> dict[str, Any] | None:
    """Write a filter as one `where`, with documents under the key ``#document``."""
    match filter:
        case None:
            return None
        case Junction(operator, clauses):
            return {operator: [encode_filter(clause) for clause in clauses]}
        case Comparison(key, operator, operand):
            return {key: {operator: list(operand) if isinstance(operand, tuple) else operand}}
        case _:
            return {"#document": {filter.operator: filter.text}}
