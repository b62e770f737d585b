# Generated from _async/table.py by tools/unasync.py; edit that and run `make fmt`.
"""A table: a collection whose records are a model's, and searches of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import numpy as np
from pydantic import BaseModel

from pgchroma.client._sync.concurrency import in_thread
from pgchroma.client._sync.embedder import Embedder
from pgchroma.client.arguments.checks import check_batch_size, check_ids, naming_method
from pgchroma.client.typed.fields import RecordFields, read_fields
from pgchroma.client.typed.frames import DISTANCE, to_arrow, to_list, to_pandas
from pgchroma.client.typed.inputs import IDsLike, QueryLike, RowsLike
from pgchroma.client.typed.rows import (
    PreparedRows,
    as_image,
    convert_where,
    embed,
    opens_uris,
    prepare_rows,
    read_columns,
    validate_models,
)
from pgchroma.embeddings.images.loaders import ImageLoader
from pgchroma.model.types import WhereDocument
from pgchroma.records import as_vector

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from pgchroma.backends.base import Backend
    from pgchroma.client._sync.collection import Collection

__all__ = ("Search", "Table")

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)

_DEFAULT_LIMIT = 10


class Table(Generic[M]):
    """A collection as records of a model; see `create_table` and `open_table` of a client.

    The model's source field is the document, or the uri; the other fields are metadata.

    Attributes:
        collection: The collection itself.
        model: The model.
    """

    def __init__(
        self,
        collection: Collection,
        model: type[M],
        backend: Backend,
        embedder: Embedder,
    ) -> None:
        """See a collection as a table.

        Raises:
            TypeError: The model cannot be a record; the message names the field.
        """
        self.collection = collection
        self.model = model
        self._backend = backend
        self._embedder = embedder
        self._fields = read_fields(model)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.collection.name

    def __repr__(self) -> str:
        return f"Table(name={self.name}, model={self.model.__name__})"

    def add(self, rows: RowsLike[M]) -> list[str]:
        """Store rows: all of them, or after an error none.

        Rows without a vector are embedded, all in one call. The field `id` is the record's id; a
        row without one gets a UUID, or is refused where the id is an int. A row whose id is there
        already is left out, as `add` of a collection does it.

        Args:
            rows: Models or dictionaries, one or many; or a table of pandas or pyarrow, in which an
                empty cell is a value that was not given.

        Returns:
            The ids, in the order of the rows.

        Raises:
            ValueError: A row is not as the model wants it; the message names the row and the field.
            DuplicateIDError: Two rows have one id.
            EmbeddingError: The embedding function failed.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("add"):
            prepared = self._prepared(rows)
        if prepared.ids:
            metadatas = prepared.metadata_to_add()
            self.collection.add(**self._columns(prepared), metadatas=metadatas)
        return prepared.ids

    def upsert(self, rows: RowsLike[M]) -> list[str]:
        """Store rows, in the place of those whose id is there already.

        Takes, returns and raises what `add` does.
        """
        with naming_method("upsert"):
            prepared = self._prepared(rows)
            source = self._fields.source
            if source is not None and source.kind != "image" and None in prepared.sources:
                number = prepared.sources.index(None)
                raise ValueError(f"rows[{number}].{source.name}: it cannot be None here")
        if prepared.ids:
            metadatas = prepared.metadata_to_set()
            self.collection.upsert(**self._columns(prepared), metadatas=metadatas)
        return prepared.ids

    def delete(self, ids: IDsLike | None = None, where: Mapping[str, Any] | None = None) -> int:
        """Remove the records that meet all conditions given; at least one must be.

        Args:
            ids: Which records: ids, or one.
            where: A filter by fields; see `Search.where`.

        Returns:
            How many records there were to remove.
        """
        done = self.collection.delete(
            None if ids is None else _ids(ids),
            None if where is None else convert_where(self._fields, where),
        )
        return done["deleted"]

    def count_rows(self) -> int:
        """Count the records."""
        return self.collection.count()

    def get(self, ids: IDsLike) -> list[M]:
        """Read records by their ids, in the order of these; those that are not there are left out.

        Raises:
            ValueError: A record is not as the model wants it.
        """
        wanted = _ids(ids)
        if not wanted:
            return []
        fields = self._fields
        include = _include(fields, fields.names)
        got = self.collection.get(list(dict.fromkeys(wanted)), include=include)
        columns = _columns_of(fields, fields.names, got)
        found = validate_models(fields, self.model, columns)
        by_id = dict(zip(got["ids"], found, strict=True))
        return [by_id[id] for id in wanted if id in by_id]

    def search(self, query: QueryLike | None = None) -> Search[M]:
        """Begin a search.

        Args:
            query: A text, an image or a vector, whose nearest records are to be found; None: only
                what conditions are met is asked.

        Raises:
            ValueError: The query is a vector of the wrong length, or something to embed and the
                model has no embedding function.
        """
        return Search(self, *_query(self._fields, query))

    def _prepared(self, rows: RowsLike[M]) -> PreparedRows:
        fields = self._fields
        prepared = in_thread(prepare_rows, fields, rows)
        # Before anybody pays for embeddings that cannot be stored.
        if prepared.ids:
            check_ids(prepared.ids)
        check_batch_size(prepared.ids, (self._backend.limits()).max_batch_size)
        missing = prepared.missing()
        if missing:
            inputs = self._inputs([prepared.sources[number] for number in missing])
            made = in_thread(embed, self._embedder.function(), inputs)
            prepared.fill(made, fields.vector, fields.length)
        return prepared

    def _inputs(self, sources: list[Any]) -> list[Any]:
        source, function = self._fields.source, self._embedder.function()
        if source is not None and source.kind == "image":
            return [as_image(image) for image in sources]
        if source is not None and source.kind == "uri" and not opens_uris(function):
            return list(in_thread(self._embedder.data_loader or ImageLoader(), sources))
        return sources

    def _columns(self, prepared: PreparedRows) -> dict[str, Any]:
        source = self._fields.source
        kind = None if source is None else source.kind
        return {
            "ids": prepared.ids,
            "embeddings": np.asarray(prepared.vectors),
            "documents": prepared.sources if kind == "text" else None,
            "uris": prepared.sources if kind == "uri" else None,
        }


@dataclass(frozen=True)
class Search(Generic[M]):
    """A search that is still to be done; each method returns another one that asks for more."""

    _table: Table[M]
    _kind: str | None
    _query: Any
    _where: Any = None
    _where_document: Any = None
    _limit: int | None = None
    _names: tuple[str, ...] | None = None

    def where(self, where: Mapping[str, Any]) -> Self:
        """Find only records that meet a filter by their fields; of several, all have to be met.

        Args:
            where: Such as ``{"year": {"$gte": 2020}}``, see `get` of a collection. Values are given
                as the model has them: dates, members of enumerations and so on. What is equal to
                a stored value finds it: a time in another zone, 1 where 1.0 is stored.

        Raises:
            ValueError: There is no such field.
        """
        converted = convert_where(self._table._fields, where)
        return replace(self, _where=_both(self._where, converted))

    def where_document(self, where_document: WhereDocument) -> Self:
        """Find only records whose text meets a filter, such as ``{"$contains": "index"}``."""
        return replace(self, _where_document=_both(self._where_document, dict(where_document)))

    def limit(self, limit: int | None) -> Self:
        """Find so many records at most.

        By default a search of the nearest finds 10, and one without a query all.
        """
        return replace(self, _limit=limit)

    def select(self, names: Sequence[str]) -> Self:
        """Return only these fields; ``_id`` is the record's id where the model has no field of it.

        Raises:
            ValueError: There is no such field.
        """
        known = (*self._table._fields.names, "_id")
        for name in names:
            if name not in known:
                raise ValueError(f"There is no field {name!r} to select; there are {known}")
        return replace(self, _names=tuple(dict.fromkeys(names)))

    def to_list(self) -> list[dict[str, Any]]:
        """Search, and return a dictionary for each record, nearest first.

        It has the fields, of which the vector is a list of floats, and ``_distance``, if there was
        a query: squared l2, 1 - cosine or 1 - inner product.

        Raises:
            ValueError: A condition is malformed, or a stored value is none of its field's type.
            NotFoundError: The collection has been deleted.
        """
        return to_list(self._table._fields, self._columns())

    @overload
    def to_pydantic(self, model: None = None) -> list[M]: ...

    @overload
    def to_pydantic(self, model: type[N]) -> list[N]: ...

    def to_pydantic(self, model: type[BaseModel] | None = None) -> Sequence[BaseModel]:
        """Search, and return the records as models: the table's, or another one's.

        Raises:
            ValueError: A record is not as the model wants it.
            TypeError: The other model takes a field by no name, but by an `AliasPath`.
        """
        columns = self._columns()
        columns.pop(DISTANCE, None)
        table = self._table
        return validate_models(table._fields, model or table.model, columns)

    def to_pandas(self) -> pandas.DataFrame:
        """Search, and return a DataFrame as `to_list`'s; its vectors are arrays of float32.

        Its columns have the types of the fields: int64, float64 and bool; Int64, Float64 and
        boolean where there can be None; datetime64 of microseconds; object.

        Raises:
            ValueError: pandas is not installed, or a stored value is none of its field's type.
        """
        return to_pandas(self._table._fields, self._columns())

    def to_arrow(self) -> pyarrow.Table:
        """Search, and return a pyarrow table, in which vectors are lists of fixed size.

        Raises:
            ValueError: pyarrow is not installed, or a stored value is none of its field's type.
        """
        return to_arrow(self._table._fields, self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        fields, collection = self._table._fields, self._table.collection
        names = self._names or tuple(fields.names)
        include = _include(fields, names)
        conditions: dict[str, Any] = {"where": self._where, "where_document": self._where_document}
        if self._kind is None:
            got = collection.get(limit=self._limit, include=include, **conditions)
            return _columns_of(fields, names, got)
        query: dict[str, Any] = {self._kind: [self._query], **conditions}
        n_results = _DEFAULT_LIMIT if self._limit is None else self._limit
        columns = [*include, "distances"]
        found: Any = collection.query(n_results=n_results, include=columns, **query)
        first: dict[str, Any] = {key: value and value[0] for key, value in found.items()}
        return {**_columns_of(fields, names, first), DISTANCE: first["distances"]}


def _query(fields: RecordFields, query: QueryLike | None) -> tuple[str | None, Any]:
    """Tell what a query is: the argument of a collection's `query`, and its value."""
    if query is None:
        return None, None
    if isinstance(query, str):
        _check_function(fields, "a text")
        return "query_texts", query
    is_numbers = isinstance(query, Sequence) and not isinstance(query, bytes)
    if is_numbers or (hasattr(query, "ndim") and query.ndim == 1):
        return "query_embeddings", as_vector(query, fields.length).astype(np.float32)
    _check_function(fields, "an image")
    return "query_images", as_image(query)


def _check_function(fields: RecordFields, what: str) -> None:
    if fields.function is None:
        raise ValueError(
            f"{fields.model.__name__} has no embedding function, so search by a vector, not {what}"
        )


def _include(fields: RecordFields, names: Sequence[str]) -> Any:
    source = fields.source
    include = ["metadatas"] if fields.metadata.keys() & set(names) else []
    if fields.vector in names:
        include.append("embeddings")
    if source is not None and source.name in names and source.kind != "image":
        include.append("documents" if source.kind == "text" else "uris")
    return include


def _columns_of(fields: RecordFields, names: Sequence[str], got: Any) -> dict[str, list[Any]]:
    columns = ("ids", "documents", "uris", "metadatas", "embeddings")
    return read_columns(fields, names, *(got[column] for column in columns))


def _both(first: Any, second: Any) -> Any:
    return second if first is None else {"$and": [first, second]}


def _ids(ids: IDsLike) -> list[str]:
    listed = ids if isinstance(ids, list | tuple | set) else [ids]
    return [str(id) for id in listed]
