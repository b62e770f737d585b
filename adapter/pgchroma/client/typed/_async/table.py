"""Tables: collections whose records are pydantic models, and searches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import numpy as np
from pydantic import BaseModel

from pgchroma.client._async.concurrency import in_thread
from pgchroma.client._async.embedder import AsyncEmbedder
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

    from pgchroma.backends._async.base import AsyncBackend
    from pgchroma.client._async.collection import AsyncCollection

__all__ = ("AsyncSearch", "AsyncTable")

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)

_DEFAULT_LIMIT = 10


class AsyncTable(Generic[M]):
    """A collection whose records are models; see a client's `create_table` and `open_table`.

    The model's source field is the document or the URI; the other fields are metadata.

    Attributes:
        collection: The collection itself.
        model: The model of the records.
    """

    def __init__(
        self,
        collection: AsyncCollection,
        model: type[M],
        backend: AsyncBackend,
        embedder: AsyncEmbedder,
    ) -> None:
        """Make a table; `AsyncCollection.typed` does this.

        Raises:
            TypeError: A field of the model cannot be stored; the message names it.
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

    async def add(self, rows: RowsLike[M]) -> list[str]:
        """Store rows: all of them or, after an error, none.

        Rows without a vector are embedded, all in one call. The field `id` is the record's id. A
        row without an id gets a UUID; if ids are ints, it is refused. Rows whose ids exist are
        ignored, as in `add` of a collection.

        Args:
            rows: One or more models or dictionaries; or a table of pandas or pyarrow, whose empty
                cells are missing values.

        Returns:
            The ids, in the order of the rows.

        Raises:
            ValueError: A row does not match the model; the message names the row and the field.
            DuplicateIDError: Two rows have the same id.
            EmbeddingError: The embedding function failed.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("add"):
            prepared = await self._prepared(rows)
        if prepared.ids:
            metadatas = prepared.metadata_to_add()
            await self.collection.add(**self._columns(prepared), metadatas=metadatas)
        return prepared.ids

    async def upsert(self, rows: RowsLike[M]) -> list[str]:
        """Store rows, and replace those whose ids exist.

        The arguments, the result and the errors are those of `add`.
        """
        with naming_method("upsert"):
            prepared = await self._prepared(rows)
            source = self._fields.source
            if source is not None and source.kind != "image" and None in prepared.sources:
                number = prepared.sources.index(None)
                raise ValueError(f"rows[{number}].{source.name}: expected a value, got None")
        if prepared.ids:
            metadatas = prepared.metadata_to_set()
            await self.collection.upsert(**self._columns(prepared), metadatas=metadatas)
        return prepared.ids

    async def delete(
        self, ids: IDsLike | None = None, where: Mapping[str, Any] | None = None
    ) -> int:
        """Delete the records that match the ids and the filter, of which at least one is required.

        Args:
            ids: One id or several.
            where: A filter by fields; see `AsyncSearch.where`.

        Returns:
            The number of deleted records.
        """
        done = await self.collection.delete(
            None if ids is None else _ids(ids),
            None if where is None else convert_where(self._fields, where),
        )
        return done["deleted"]

    async def count_rows(self) -> int:
        """Count the records."""
        return await self.collection.count()

    async def get(self, ids: IDsLike) -> list[M]:
        """Return records by id, in the order of the ids. Missing records are left out.

        Raises:
            ValueError: A record does not match the model.
        """
        id_list = _ids(ids)
        if not id_list:
            return []
        fields = self._fields
        include = _include(fields, fields.names)
        got = await self.collection.get(list(dict.fromkeys(id_list)), include=include)
        columns = _columns_of(fields, fields.names, got)
        records = validate_models(fields, self.model, columns)
        by_id = dict(zip(got["ids"], records, strict=True))
        return [by_id[id] for id in id_list if id in by_id]

    def search(self, query: QueryLike | None = None) -> AsyncSearch[M]:
        """Begin a search.

        Args:
            query: A text, an image or a vector, to find the nearest records. Without it, the
                search only filters.

        Raises:
            ValueError: The vector has the wrong length, or the query must be embedded and the
                model has no embedding function.
        """
        return AsyncSearch(self, *_query(self._fields, query))

    async def _prepared(self, rows: RowsLike[M]) -> PreparedRows:
        fields = self._fields
        prepared = await in_thread(prepare_rows, fields, rows)
        # Checked before the embedding function is called, which may cost money.
        if prepared.ids:
            check_ids(prepared.ids)
        check_batch_size(prepared.ids, (await self._backend.limits()).max_batch_size)
        missing = prepared.missing()
        if missing:
            inputs = await self._inputs([prepared.sources[number] for number in missing])
            made = await in_thread(embed, self._embedder.function(), inputs)
            prepared.fill(made, fields.vector, fields.length)
        return prepared

    async def _inputs(self, sources: list[Any]) -> list[Any]:
        source, function = self._fields.source, self._embedder.function()
        if source is not None and source.kind == "image":
            return [as_image(image) for image in sources]
        if source is not None and source.kind == "uri" and not opens_uris(function):
            return list(await in_thread(self._embedder.data_loader or ImageLoader(), sources))
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
class AsyncSearch(Generic[M]):
    """A search that has not run yet. Each refining method returns a new search."""

    _table: AsyncTable[M]
    _kind: str | None
    _query: Any
    _where: Any = None
    _where_document: Any = None
    _limit: int | None = None
    _names: tuple[str, ...] | None = None

    def where(self, where: Mapping[str, Any]) -> Self:
        """Return only records that match a filter by their fields, and all earlier filters.

        Args:
            where: A filter such as ``{"year": {"$gte": 2020}}``; see `get` of a collection. Its
                values have the types of the model's fields, such as dates or enumeration members.
                A value matches every stored value that is equal to it: a time in another zone, or
                1 if 1.0 is stored.

        Raises:
            ValueError: The model has no such field.
        """
        converted = convert_where(self._table._fields, where)
        return replace(self, _where=_both(self._where, converted))

    def where_document(self, where_document: WhereDocument) -> Self:
        """Return only records whose text matches a filter, such as ``{"$contains": "index"}``."""
        return replace(self, _where_document=_both(self._where_document, dict(where_document)))

    def limit(self, limit: int | None) -> Self:
        """Return at most `limit` records.

        By default, a search with a query returns 10 records, and one without a query returns all.
        """
        return replace(self, _limit=limit)

    def select(self, names: Sequence[str]) -> Self:
        """Return only these fields. ``_id`` is the record's id if the model has no such field.

        Raises:
            ValueError: The model has no such field.
        """
        known = (*self._table._fields.names, "_id")
        for name in names:
            if name not in known:
                raise ValueError(f"There is no field {name!r} to select; there are {known}")
        return replace(self, _names=tuple(dict.fromkeys(names)))

    async def to_list(self) -> list[dict[str, Any]]:
        """Search, and return a dictionary for each record, nearest first.

        It has the fields; the vector is a list of floats. After a query, it also has
        ``_distance``: squared l2, 1 - cosine or 1 - inner product.

        Raises:
            ValueError: A filter is malformed, or a stored value does not have its field's type.
            NotFoundError: The collection has been deleted.
        """
        return to_list(self._table._fields, await self._columns())

    @overload
    async def to_pydantic(self, model: None = None) -> list[M]: ...

    @overload
    async def to_pydantic(self, model: type[N]) -> list[N]: ...

    async def to_pydantic(self, model: type[BaseModel] | None = None) -> Sequence[BaseModel]:
        """Search, and return the records as models: the table's, or another model.

        Raises:
            ValueError: A record does not match the model.
            TypeError: The other model reads a field only from an `AliasPath`.
        """
        columns = await self._columns()
        columns.pop(DISTANCE, None)
        table = self._table
        return validate_models(table._fields, model or table.model, columns)

    async def to_pandas(self) -> pandas.DataFrame:
        """Search, and return a DataFrame with the columns of `to_list`; vectors are float32 arrays.

        Columns have the types of the fields: int64, float64 and bool; Int64, Float64 and boolean
        if the field can be None; datetime64 of microseconds; object for the others.

        Raises:
            ValueError: pandas is not installed, or a stored value does not have its field's type.
        """
        return to_pandas(self._table._fields, await self._columns())

    async def to_arrow(self) -> pyarrow.Table:
        """Search, and return a pyarrow table, in which vectors are lists of a fixed size.

        Raises:
            ValueError: pyarrow is not installed, or a stored value does not have its field's type.
        """
        return to_arrow(self._table._fields, await self._columns())

    async def _columns(self) -> dict[str, list[Any]]:
        fields, collection = self._table._fields, self._table.collection
        names = self._names or tuple(fields.names)
        include = _include(fields, names)
        conditions: dict[str, Any] = {"where": self._where, "where_document": self._where_document}
        if self._kind is None:
            got = await collection.get(limit=self._limit, include=include, **conditions)
            return _columns_of(fields, names, got)
        query: dict[str, Any] = {self._kind: [self._query], **conditions}
        n_results = _DEFAULT_LIMIT if self._limit is None else self._limit
        columns = [*include, "distances"]
        found: Any = await collection.query(n_results=n_results, include=columns, **query)
        first: dict[str, Any] = {key: value and value[0] for key, value in found.items()}
        return {**_columns_of(fields, names, first), DISTANCE: first["distances"]}


def _query(fields: RecordFields, query: QueryLike | None) -> tuple[str | None, Any]:
    """Return the argument of a collection's `query` for this query, and its value."""
    if query is None:
        return None, None
    if isinstance(query, str):
        _check_function(fields, "a text")
        return "query_texts", query
    is_numbers = isinstance(query, Sequence) and not isinstance(query, bytes)
    if is_numbers or getattr(query, "ndim", None) == 1:
        return "query_embeddings", as_vector(query, fields.length).astype(np.float32)
    _check_function(fields, "an image")
    return "query_images", as_image(query)


def _check_function(fields: RecordFields, what: str) -> None:
    if fields.function is None:
        raise ValueError(
            f"{fields.model.__name__} has no embedding function: search by a vector, not {what}"
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
