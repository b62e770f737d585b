"""The condition of a request: its ids and its filter, ready for SQL.

Handlers get the SQL of a filter from `resolve_where` only, and send what uses it through
`Condition`. So a filter is always checked against the collection's schema, an index that it misses
is always counted, and a regular expression always has a time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import sql

from pgchroma.model.filters import Filter
from pgchroma.model.operations import CollectionRef
from pgchroma.store.conditions.filters import LEXEMES, TRIGRAMS, FilterCompiler, requires_ids
from pgchroma.store.conditions.row_locks import hold
from pgchroma.store.context import StoreContext
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import Renewal, renewal, resolve, resolve_for_query
from pgchroma.store.running.steps import (
    ComposedSQL,
    Reads,
    Rows,
    Statement,
    Steps,
    WithSettings,
    reading,
    render,
    text_of,
)

__all__ = ("BY_IDS", "Condition", "resolve_where")

BY_IDS = ComposedSQL(b"r.id = any(%(ids)b::text[])")
"""Matches the records whose id is in the parameter ``ids``."""

_ALL = ComposedSQL(b"true")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the records table named ``r`` of one collection.

    Attributes:
        sql: The condition's text.
        is_restrictive: Whether there are ids or a filter at all.
        has_index: Whether an index finds the records that match, at least roughly.
        requires_ids: Whether only records with listed ids match.
        parameters: The values of its placeholders.
        reuses_plan: Whether PostgreSQL may reuse one plan for all values. How many records match
            a range or a text decides whether its index helps. And PostgreSQL makes a hash table
            only of a list that it plans with: without one, each record is compared with the whole
            list, which took fifty times as long with 500 values.
        reuses_bounded_plan: Whether PostgreSQL may do so for a statement that stops after some of
            the matching records. Such a statement can use the index of a range in any case.
        settings: The time limit of a regular expression, if there is one.
        renewal: A look-up of the collection that the first read sends along.
    """

    sql: ComposedSQL
    is_restrictive: bool
    has_index: bool
    requires_ids: bool
    parameters: Mapping[str, Any]
    reuses_plan: bool
    reuses_bounded_plan: bool
    settings: tuple[Statement, ...]
    _resolved: ResolvedCollection
    _context: StoreContext
    _missing: frozenset[SecondaryIndex] = field(default_factory=frozenset)
    renewal: Renewal | None = None

    def bounded_statement(self, text: bytes, parameters: Mapping[str, Any]) -> Statement:
        """Return a statement that stops after some of the matching records.

        Planning it takes as long as executing it.

        Args:
            text: The text, which has the condition in it.
            parameters: The values of the text's other placeholders.
        """
        return Statement(
            text,
            {**self.parameters, **parameters},
            self.reuses_bounded_plan,
            prepares_at_once=True,
        )

    def statement(
        self, text: bytes, parameters: Mapping[str, Any] | None = None, *, reuses_plan: bool = True
    ) -> Statement:
        """Return a statement whose text has the condition in it.

        Args:
            text: The text.
            parameters: The values of the text's other placeholders.
            reuses_plan: Whether the rest of the text allows PostgreSQL to reuse a plan.
        """
        return Statement(
            text, {**self.parameters, **(parameters or {})}, reuses_plan and self.reuses_plan
        )

    def step(self, statement: Statement) -> Statement | WithSettings:
        """Return a step that reads, with the condition's settings."""
        return reading(statement, self.settings)

    def read(self, step: Statement | WithSettings) -> Steps[Rows]:
        """Send a step, and count the indexes that would have served it."""
        rows: Rows
        if self.renewal is None:
            rows = yield step
        else:
            read = step if isinstance(step, WithSettings) else WithSettings((), step)
            # With the same settings, both may do without a transaction.
            rows, found = yield Reads((read, WithSettings(read.settings, self.renewal.statement)))
            self.renewal.note(found)
        self.count_missing_indexes()
        return rows

    def write(
        self, lock: bytes, change: bytes, parameters: Mapping[str, Any] | None = None
    ) -> Steps[Rows]:
        """Lock the records that match and change them; see `hold`."""
        statements = (self.statement(text, parameters) for text in (lock, change))
        rows = yield from hold(*self.settings, *statements)
        self.count_missing_indexes()
        self._context.record_write(self._resolved)
        return rows

    @property
    def is_broad(self) -> bool:
        """Whether its index found too many records lately, with the same values."""
        return self._context.is_broad(self._key)

    def record_broad(self) -> None:
        """Record that its index found too many records to be of use."""
        self._context.record_broad(self._key)

    def is_frequent(self, n_results: int) -> bool | None:
        """Whether queries for `n_results` need not count the records that match.

        `None` means that this is not known.
        """
        return self._context.is_frequent(hash((self._key, n_results)))

    def record_frequent(self, n_results: int, *, is_frequent: bool) -> None:
        """Record whether queries for `n_results` need not count the records that match."""
        key = hash((self._key, n_results))
        self._context.record_frequent(key, is_frequent=is_frequent)

    def repeated(self) -> Condition:
        """Return the condition of a statement for the same request, after another one was read."""
        return replace(self, _missing=frozenset(), renewal=None)

    @property
    def share(self) -> float | None:
        """The share of candidates that lately were left with the same values, if it is known."""
        return self._context.share_of(self._key)

    def record_share(self, share: float) -> None:
        """Record which share of the candidates of a query was left."""
        self._context.record_share(self._key, share)

    @property
    def _key(self) -> int:
        """A hash of the collection, the condition and its values."""
        return hash((self._resolved.tables.id, self.sql.as_bytes(), repr(self.parameters)))

    def count_missing_indexes(self) -> None:
        """Count the indexes that would have served a statement, once it has been executed."""
        # Only now: a statement that has to be repeated is still one request.
        if self._missing:
            self._context.record_missing_indexes(self._resolved, self._missing)


def resolve_where(
    collection: CollectionRef,
    context: StoreContext,
    ids: list[str] | None,
    filter: Filter | None,
    *,
    dimension: int | None = None,
    is_fresh: bool = True,
    may_lag: bool = False,
) -> Steps[tuple[ResolvedCollection, Condition]]:
    """Find a collection, and compile a condition on its records.

    Args:
        collection: The collection.
        context: The store's context.
        ids: The ids to be among. None means any.
        filter: The filter to match as well.
        dimension: The dimension of embeddings that are compared with the collection's.
        is_fresh: Whether the collection's indexes have to be known as of the last second.
        may_lag: Whether the condition's `renewal` is sent along with the first read.

    Raises:
        NotFoundError: The database has no such collection.
        InvalidArgumentError: The collection may not be filtered so, or its embeddings have another
            dimension, or another function made them than the caller knows.
    """
    if dimension is None:
        resolved = yield from resolve(collection, context, is_fresh=is_fresh, may_lag=may_lag)
    else:
        resolved = yield from resolve_for_query(
            collection, context, dimension, is_fresh=is_fresh, may_lag=may_lag
        )
    sent_along = renewal(resolved, collection, context) if is_fresh and may_lag else None
    return resolved, _compile(resolved, context, ids, filter, sent_along)


def _compile(
    resolved: ResolvedCollection,
    context: StoreContext,
    ids: list[str] | None,
    filter: Filter | None,
    sent_along: Renewal | None,
) -> Condition:
    if filter is None:
        return Condition(
            _ALL if ids is None else BY_IDS,
            is_restrictive=ids is not None,
            has_index=ids is not None,
            requires_ids=ids is not None,
            parameters={} if ids is None else {"ids": ids},
            reuses_plan=True,
            reuses_bounded_plan=True,
            settings=(),
            _resolved=resolved,
            _context=context,
            renewal=sent_along,
        )
    ready = resolved.indexes.secondary
    compiler = FilterCompiler(resolved.filterable, ready)
    clauses = [compiler.compile(filter)]
    if ids is not None:
        compiler.parameters["ids"] = ids
        clauses.insert(0, BY_IDS)
    used = compiler.candidates & ready
    return Condition(
        ComposedSQL(text_of(sql.SQL(" and ").join(clauses))),
        is_restrictive=True,
        has_index=ids is not None or compiler.has_ids or bool(used),
        requires_ids=ids is not None or requires_ids(filter),
        parameters=compiler.parameters,
        reuses_plan=not (used or compiler.has_long_list),
        reuses_bounded_plan=not ({TRIGRAMS, LEXEMES} & used or compiler.has_long_list),
        settings=_time_limit(context) if compiler.has_regex else (),
        _resolved=resolved,
        _context=context,
        _missing=frozenset(compiler.candidates - ready),
        renewal=sent_along,
    )


def _time_limit(context: StoreContext) -> tuple[Statement, ...]:
    if context.regex_timeout_ms is None:
        return ()
    timeout = sql.Literal(context.regex_timeout_ms)
    return (Statement(render("set local statement_timeout = {ms}", ms=timeout)),)
