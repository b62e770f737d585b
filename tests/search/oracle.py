"""Reference semantics of searches, in plain Python and float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from pgchroma.model.filters import parse_where
from pgchroma.model.sparse import SparseVector
from tests.oracle import Record, matches

__all__ = ("search",)

Number = np.float32


@dataclass
class Value:
    """What a part of an expression is worth: for the records that have it, and for all others."""

    support: dict[int, Number]
    default: Number | None


def search(
    stored: list[Record], payload: Mapping[str, Any], bm25: Collection[str] = ()
) -> tuple[list[str], list[float | None]]:
    """Return the ids and the scores that a search finds.

    Args:
        stored: All records, in insertion order; the space is l2.
        payload: A search as it is sent.
        bm25: The keys whose sparse queries are weighted.
    """
    where = parse_where(payload.get("filter") or None)
    found = [at for at, record in enumerate(stored) if where is None or matches(record, where)]
    page = payload.get("limit") or {}
    first = page.get("offset", 0)
    last = None if page.get("limit") is None else first + page["limit"]
    if payload.get("rank") is None:
        chosen = found[first:last]
        return [stored[at].id for at in chosen], [float(n) for n in range(len(chosen))]
    with np.errstate(all="ignore"):
        value = _evaluate(payload["rank"], lambda knn: _nearest(knn, stored, found, bm25))
    ranked = sorted(value.support.items(), key=_rank)
    if group_by := payload.get("group_by"):
        ranked = sorted(_grouped(stored, ranked, group_by), key=_rank)
    ranked = ranked[first:last]
    scores = [float(score) if math.isfinite(score) else None for _, score in ranked]
    return [stored[at].id for at, _ in ranked], scores


def _rank(item: tuple[int, Number]) -> Any:
    at, score = item
    if math.isnan(score):
        return (True, at)
    return (False, float(score), not np.signbit(score), at)


def _evaluate(expression: Any, nearest: Callable[[Mapping[str, Any]], Value]) -> Value:
    ((operator, operand),) = expression.items()
    if operator == "$val":
        return Value({}, Number(operand))
    if operator == "$knn":
        return nearest(operand)
    if operator in _UNARY:
        value = _evaluate(operand, nearest)
        function = _UNARY[operator]
        default = None if value.default is None else function(value.default)
        return Value({at: function(number) for at, number in value.support.items()}, default)
    if operator in _STARTS:
        values = [_evaluate(each, nearest) for each in operand]
        start = Value({}, _STARTS[operator])
        return reduce(lambda a, b: _combine(_BINARY[operator], a, b), values, start)
    left, right = (_evaluate(operand[side], nearest) for side in ("left", "right"))
    return _combine(_BINARY[operator], left, right)


def _nearest(
    knn: Mapping[str, Any], stored: list[Record], found: list[int], bm25: Collection[str]
) -> Value:
    if isinstance(knn["query"], dict):
        distances = _sparse_distances(knn, stored, found, is_weighted=knn["key"] in bm25)
    else:
        query = np.array(knn["query"], dtype=Number)
        distances = {
            at: Number(np.sum((np.array(stored[at].embedding, dtype=Number) - query) ** 2))
            for at in found
        }
    nearest = sorted(distances, key=lambda at: (distances[at], at))[: knn.get("limit", 16)]
    default = None if knn.get("default") is None else Number(knn["default"])
    if knn.get("return_rank"):
        return Value({at: Number(place) for place, at in enumerate(nearest)}, default)
    return Value({at: distances[at] for at in nearest}, default)


def _sparse_distances(
    knn: Mapping[str, Any], stored: list[Record], found: list[int], *, is_weighted: bool
) -> dict[int, Number]:
    """One minus the inner product, for the vectors that share a term with the query."""
    vectors = {at: _terms(record.metadata.get(knn["key"])) for at, record in enumerate(stored)}
    query = {}
    for term, weight in zip(knn["query"]["indices"], knn["query"]["values"], strict=True):
        count = sum(term in vector for vector in vectors.values())
        frequency = np.log1p((len(stored) - count + 0.5) / (count + 0.5)) if is_weighted else 1
        query[term] = float(Number(Number(weight) * frequency))
    distances = {}
    for at in found:
        shared = query.keys() & vectors[at].keys()
        if shared:
            distances[at] = Number(1 - sum(query[term] * vectors[at][term] for term in shared))
    return distances


def _terms(value: Any) -> dict[int, float]:
    if not isinstance(value, SparseVector):
        return {}
    return dict(zip(value.indices, map(float, np.array(value.values, Number)), strict=True))


def _combine(function: Callable[..., Any], left: Value, right: Value) -> Value:
    match left.default, right.default:
        case None, None:
            records = set(left.support) & set(right.support)
        case None, _:
            records = set(left.support)
        case _, None:
            records = set(right.support)
        case _:
            records = set(left.support) | set(right.support)
    support = {
        at: Number(
            function(left.support.get(at, left.default), right.support.get(at, right.default))
        )
        for at in records
    }
    if left.default is None or right.default is None:
        return Value(support, None)
    return Value(support, Number(function(left.default, right.default)))


def _in_double(function: Callable[..., Any]) -> Callable[[Number], Number]:
    return lambda number: Number(function(np.float64(number)))


_UNARY: dict[str, Callable[[Number], Number]] = {
    "$abs": _in_double(np.abs),
    "$exp": _in_double(np.exp),
    "$log": _in_double(np.log),
}
_BINARY: dict[str, Callable[..., Any]] = {
    "$sum": np.add,
    "$sub": np.subtract,
    "$mul": np.multiply,
    "$div": np.divide,
    "$max": lambda a, b: b if np.isnan(a) or b > a else a,
    "$min": lambda a, b: b if np.isnan(a) or b < a else a,
}
_STARTS = {
    "$sum": Number(0),
    "$mul": Number(1),
    "$max": np.finfo(Number).min,
    "$min": np.finfo(Number).max,
}


def _grouped(
    stored: list[Record], ranked: list[tuple[int, Number]], group_by: Mapping[str, Any]
) -> list[tuple[int, Number]]:
    ((operator, aggregate),) = group_by["aggregate"].items()
    groups: dict[Any, list[tuple[int, Number]]] = {}
    for at, score in ranked:
        group = tuple(_comparable(stored[at].metadata.get(key)) for key in group_by["keys"])
        groups.setdefault(group, []).append((at, score))

    def order(item: tuple[int, Number]) -> Any:
        at, score = item
        return tuple(
            _comparable_score(score)
            if key == "#score"
            else _comparable(stored[at].metadata.get(key))
            for key in aggregate["keys"]
        )

    kept = []
    for members in groups.values():
        # Sorting is stable, also in reverse: equal records stay in the order of their rank.
        members.sort(key=order, reverse=operator == "$max_k")
        kept += members[: aggregate["k"]]
    return kept


def _comparable_score(score: Number) -> Any:
    return (1, 0.0) if math.isnan(score) else (0, float(score))


def _comparable(value: Any) -> Any:
    """Return a value for comparison: first by its type, so 1, 1.0 and true are different."""
    if value is None:
        return (0,)
    if isinstance(value, SparseVector):
        return (9, tuple(value.indices), tuple(value.values))
    if isinstance(value, list):
        return (10 + _KINDS.index(type(value[0])), tuple(value))
    return (1 + _KINDS.index(type(value)), value)


_KINDS = (bool, int, float, str)
