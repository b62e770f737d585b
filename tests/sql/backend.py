"""A backend that reads and writes records with the SQL functions, and does the rest directly."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import psycopg
from msgspec import structs
from psycopg import errors as pg

from pgchroma.backends._sync.base import Backend
from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.entities import Limits
from pgchroma.model.fields import SCORE
from pgchroma.model.operations import (
    AddRecords,
    CountRecords,
    DeleteRecords,
    GetRecords,
    Operation,
    QueryRecords,
    SearchRecords,
    UpdateRecords,
    UpsertRecords,
)
from pgchroma.model.operations.base import OnCollection
from pgchroma.model.records import FoundRecords, QueriedRecords, RecordBatch, RecordColumns
from pgchroma.model.search.parsed import ParsedSearch
from pgchroma.store.encoding.metadata import decode_metadata, encode_metadata
from pgchroma.store.running.errors import mapped_errors
from pgchroma.wire.filters import encode_filter
from pgchroma.wire.searches import _encode_search

R = TypeVar("R")


class SqlFunctionsBackend:
    """Executes the operations on records with the functions of the schema `chroma`."""

    in_caller_transaction = False

    def __init__(self, direct: Backend, conninfo: str) -> None:
        self._direct = direct
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation."""
        # mypy takes the classes of operations to be incompatible.
        asked: Any = operation
        answer: Any = None
        match asked:
            case AddRecords(records=records):
                self._write("add", asked, records)
            case UpsertRecords(records=records):
                self._write("upsert", asked, records.merged())
            case UpdateRecords(records=records):
                self._write("update", asked, records.merged())
            case DeleteRecords():
                answer = self._delete(asked)
            case GetRecords():
                answer = self._get(asked)
            case QueryRecords():
                answer = self._query(asked)
            case SearchRecords(searches=searches):
                answer = [self._search(asked, search) for search in searches]
            case CountRecords():
                answer = self._call("select chroma.count({target})", asked, {})[0][0]
            case _:
                answer = self._direct.execute(operation)
        return answer  # type: ignore[no-any-return]

    def limits(self) -> Limits:
        """Return the limits of one request."""
        return self._direct.limits()

    def close(self) -> None:
        """Close both connections."""
        self.close_own()
        self._direct.close()

    def close_own(self) -> None:
        """Close the connection that calls the functions."""
        self._connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._direct, name)

    def _write(self, function: str, operation: OnCollection, records: RecordBatch) -> None:
        if not len(records):
            return
        metadatas = None
        if records.metadatas is not None:
            metadatas = [encode_metadata(each) for each in records.metadatas]
        self._call(
            f"select chroma.{function}({{target}}, ids => %(ids)s, "
            "embeddings => %(embeddings)s::text[]::{vector}[], documents => %(documents)s::text[], "
            "metadatas => %(metadatas)s::text[]::jsonb[], uris => %(uris)s::text[])",
            operation,
            {
                "ids": records.ids,
                "embeddings": _vectors(records),
                "documents": records.documents,
                "metadatas": metadatas,
                "uris": records.uris,
            },
        )

    def _delete(self, operation: DeleteRecords) -> int:
        rows = self._call(
            'select chroma.delete({target}, ids => %(ids)s, "where" => %(where)s::jsonb, '
            '"limit" => %(limit)s)',
            operation,
            {
                "ids": operation.ids,
                "where": _where(operation),
                "limit": operation.limit,
            },
        )
        return int(rows[0][0])

    def _get(self, operation: GetRecords) -> RecordColumns:
        rows = self._call(
            "select id, document, uri, metadata::text, embedding::text from chroma.get({target}, "
            'ids => %(ids)s, "where" => %(where)s::jsonb, "limit" => %(limit)s, '
            '"offset" => %(offset)s, include => %(include)s)',
            operation,
            {
                "ids": operation.ids,
                "where": _where(operation),
                "limit": operation.limit,
                "offset": operation.offset or 0,
                "include": [*{*operation.include, "uris"}],
            },
        )
        return _columns(rows, operation.include)

    def _query(self, operation: QueryRecords) -> list[QueriedRecords]:
        found = []
        for embedding in operation.embeddings:
            rows = self._call(
                "select id, document, uri, metadata::text, embedding::text, distance "
                "from chroma.query({target}, %(embedding)s::text::{vector}, %(n_results)s, "
                'ids => %(ids)s, "where" => %(where)s::jsonb, include => %(include)s)',
                operation,
                {
                    "embedding": _text(embedding),
                    "n_results": operation.n_results,
                    "ids": operation.ids,
                    "where": _where(operation),
                    "include": [*{*operation.include, "uris"}],
                },
            )
            columns = _columns([row[:5] for row in rows], operation.include)
            found.append(QueriedRecords(columns, [float(np.float32(row[5])) for row in rows]))
        return found

    def _search(self, operation: OnCollection, search: ParsedSearch) -> FoundRecords:
        payload = structs.asdict(_encode_search(search))
        payload |= {name: structs.asdict(payload[name]) for name in ("limit", "select")}
        rows = self._call(
            "select id, document, uri, metadata::text, embedding::text, score "
            "from chroma.search({target}, %(search)s::jsonb)",
            operation,
            {"search": encode_json(payload)},
        )
        scores = [None if row[5] is None else float(np.float32(row[5])) for row in rows]
        columns = _columns([(*row[:2], None, *row[3:5]) for row in rows], search.include)
        finite = [score if score is not None and math.isfinite(score) else None for score in scores]
        return FoundRecords(columns, finite if SCORE in search.selected else None)

    def _call(
        self, text: str, operation: OnCollection, parameters: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        collection = operation.collection
        scope = {"tenant": collection.scope.tenant, "database": collection.scope.database}
        with _mapped():
            names = self._connection.execute(
                "select collection from chroma.collections "
                "where id = %(id)s and tenant = %(tenant)s and database = %(database)s",
                {"id": collection.id, **scope},
            ).fetchall()
            if not names:
                raise NotFoundError(f"Collection [{collection.id}] does not exist.")
            vector = self._connection.execute(
                "select format('%I.vector', n.nspname) from pg_extension as e "
                "join pg_namespace as n on n.oid = e.extnamespace where e.extname = 'vector'"
            ).fetchall()[0][0]
            named = text.format(target="%(name)s", vector=vector)
            named = f"{named.rpartition(')')[0]}, tenant => %(tenant)s, database => %(database)s)"
            values = {**parameters, **scope, "name": names[0][0]}
            return self._connection.execute(named, values).fetchall()


@contextmanager
def _mapped() -> Generator[None, None, None]:
    """Raise the functions' errors as the API's."""
    with mapped_errors():
        try:
            yield
        except (pg.InvalidParameterValue, pg.FeatureNotSupported) as error:
            raise InvalidArgumentError(str(error.diag.message_primary)) from error


def _where(operation: Any) -> str | None:
    where = encode_filter(operation.filter)
    return None if where is None else encode_json(where)


def encode_json(value: Any) -> str:
    """Encode JSON so that jsonb, which drops exponents, keeps floats apart from ints."""
    match value:
        case dict():
            pairs = (f"{json.dumps(key)}: {encode_json(each)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        case np.ndarray():
            return encode_json(value.tolist())
        case list() | tuple():
            return f"[{', '.join(map(encode_json, value))}]"
        case float():
            digits = f"{Decimal(repr(value)):f}"
            return digits if "." in digits else f"{digits}.0"
        case _:
            return json.dumps(value)


def _text(vector: Sequence[float]) -> str:
    return f"[{','.join(repr(float(value)) for value in vector)}]"


def _vectors(records: RecordBatch) -> list[str | None] | None:
    if records.embeddings is None:
        return None
    rows = iter(records.embeddings)
    present = records.has_embedding or [True] * len(records)
    return [_text(next(rows)) if each else None for each in present]


def _columns(rows: Sequence[Sequence[Any]], include: frozenset[str]) -> RecordColumns:
    ids, documents, uris, metadatas, embeddings = (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(5)]
    )
    return RecordColumns(
        ids,
        _matrix(embeddings) if "embeddings" in include else None,
        documents if "documents" in include else None,
        uris if "uris" in include else None,
        _metadatas(metadatas, uris) if "metadatas" in include else None,
    )


def _metadatas(texts: Sequence[str | None], uris: Sequence[str | None]) -> list[Any]:
    """Decode metadata. In the API, a record with a uri always has metadata, which may be empty."""
    return [
        ({} if uri is not None else None) if text is None else decode_metadata(text)
        for text, uri in zip(texts, uris, strict=True)
    ]


def _matrix(texts: Sequence[str | None]) -> Any:
    rows = [None if text is None else np.fromstring(text[1:-1], sep=",") for text in texts]
    width = max((len(row) for row in rows if row is not None), default=0)
    nothing = np.full(width, np.nan)
    stacked = [nothing if row is None else row for row in rows]
    return np.array(stacked, np.float32).reshape(len(rows), width)
