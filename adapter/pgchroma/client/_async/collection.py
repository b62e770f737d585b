"""A collection: what users add records to, and get and query them from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel

from pgchroma.client._async.concurrency import in_thread
from pgchroma.client._async.embedder import AsyncEmbedder
from pgchroma.client._async.reembedding import AsyncReembedder
from pgchroma.client._async.reopening import reopened_collection
from pgchroma.client._async.table import AsyncTable
from pgchroma.client.arguments import operations
from pgchroma.client.arguments.checks import check_include, check_lengths, naming_method
from pgchroma.client.arguments.configuration import (
    CollectionConfiguration,
    UpdateCollectionConfiguration,
)
from pgchroma.client.arguments.operations import QueryArguments, WriteArguments
from pgchroma.client.functions import Function, FunctionLike, configuration_update_json
from pgchroma.client.origin import NOT_PICKLED, Origin
from pgchroma.client.results import get_result, query_result
from pgchroma.client.schema.schema import Schema
from pgchroma.client.typed.fields import read_fields
from pgchroma.client.typed.schema import check_compatible
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.registry import embedding_function_to_config
from pgchroma.errors import UnimplementedError
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.names import check_name
from pgchroma.model.operations import (
    AddRecords,
    CollectionRef,
    CountRecords,
    DropReembedding,
    ExplainQuery,
    GetCollectionById,
    GetIndexingStatus,
    GetReembedding,
    ModifyCollection,
    UpdateRecords,
    UpsertRecords,
)
from pgchroma.model.reembedding import (
    MAX_COMPARED,
    MAX_UNEMBEDDED,
    Comparison,
    Reembedding,
    ReembeddingReport,
    check_space,
    check_whole,
)
from pgchroma.model.schema import schema_json
from pgchroma.model.search.request import Search
from pgchroma.model.search.result import SearchResult
from pgchroma.model.types import (
    ID,
    URI,
    CollectionMetadata,
    DeleteResult,
    Document,
    DocumentsLike,
    EmbeddingsLike,
    GetResult,
    ImagesLike,
    Include,
    IncludeColumn,
    MetadatasLike,
    OneOrMany,
    QueryResult,
    ReadLevel,
    Space,
    URIsLike,
    WhereDocument,
    WhereLike,
)

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("AsyncCollection",)

M = TypeVar("M", bound=BaseModel)

_GET_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents")
_PEEK_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents", "embeddings")
_QUERY_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents", "distances")

# Chroma's words, which programs look for.
_NO_FUNCTIONS = (
    "Attached functions are only supported when connecting to a Chroma server via HttpClient. "
    "The Rust bindings (embedded mode) do not support attached function operations."
)


class AsyncCollection:
    """Records under ids: each an embedding, a document, metadata and a uri.

    A client makes these; see `create_collection` and `get_collection`. Wherever a list of ids,
    documents and so on is taken, a single value is, too.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        model: CollectionModel,
        embedder: AsyncEmbedder,
        origin: Origin | None = None,
    ) -> None:
        self._backend = backend
        self._model = model
        self._embedder = embedder
        self._origin = origin

    @property
    def id(self) -> UUID:
        """The collection's id; it never changes."""
        return self._model.id

    @property
    def name(self) -> str:
        """The collection's name; `modify` changes it."""
        return self._model.name

    @property
    def metadata(self) -> CollectionMetadata | None:
        """The collection's own metadata."""
        return self._model.metadata

    @property
    def tenant(self) -> str:
        """The tenant the collection belongs to."""
        return self._model.tenant

    @property
    def database(self) -> str:
        """The database the collection belongs to."""
        return self._model.database

    @property
    def configuration_json(self) -> Mapping[str, Any]:
        """The configuration in Chroma's persisted form."""
        return self._model.configuration_json

    @property
    def configuration(self) -> CollectionConfiguration:
        """The configuration, with the embedding function alive; None if there is none."""
        try:
            function = self._embedder.function()
        except ValueError:
            function = None
        configuration = {**self.configuration_json, "embedding_function": function}
        return cast("CollectionConfiguration", configuration)

    @property
    def schema(self) -> Schema:
        """The schema: by which keys the collection can be filtered, and how it embeds.

        An embedding function that cannot be built here is shown as None, with a warning.
        """
        return Schema.deserialize_from_json(schema_json(self._model.configuration))

    def __repr__(self) -> str:
        return f"Collection(name={self.name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncCollection):
            return NotImplemented
        return (self.id, self.name, self.metadata, self._embedder.data_loader) == (
            other.id,
            other.name,
            other.metadata,
            other._embedder.data_loader,
        )

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is None:
            raise TypeError(NOT_PICKLED)
        return reopened_collection, (self._origin, self._model, self._embedder.has_given)

    def get_model(self) -> CollectionModel:
        """Return the collection as the catalog described it when it was last read."""
        return self._model

    def typed(self, model: type[M]) -> AsyncTable[M]:
        """See the collection as records of a model; see `create_table` of the client.

        Raises:
            TypeError: The model cannot be a record; the message names the field.
            ValueError: The collection's embeddings are not the model's.
        """
        fields = read_fields(model)
        check_compatible(fields, self._model)
        embedder = self._embedder.with_function(fields.function)
        collection = AsyncCollection(self._backend, self._model, embedder, self._origin)
        return AsyncTable(collection, model, self._backend, embedder)

    async def search(
        self, searches: OneOrMany[Search], read_level: ReadLevel | None = None
    ) -> SearchResult:
        """Search by a ranking expression, which is not supported yet.

        Args:
            searches: A `Search`, or a list of them.
            read_level: Which writes the search has to see.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError("Search is not implemented for Local Chroma")

    async def fork(self, new_name: str) -> AsyncCollection:
        """Copy the collection under a new name, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError("Collection forking is not implemented for Local Chroma")

    async def fork_count(self) -> int:
        """Count the collection's forks, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError("Fork count is not implemented for Local Chroma")

    async def attach_function(
        self,
        function: str,
        name: str,
        output_collection: str,
        params: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        """Have a function run over what is written, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    async def get_attached_function(self, name: str) -> NoReturn:
        """Find an attached function, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    async def detach_function(self, name: str, delete_output_collection: bool = False) -> bool:
        """Detach a function, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    async def count(self, read_level: ReadLevel | None = None) -> int:
        """Count the records.

        Args:
            read_level: Accepted for Chroma's sake; every read here sees every write before it.
        """
        return await self._backend.execute(CountRecords(self._ref))

    async def add(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Store records: all of them, or after an error none.

        A record whose id is there already is left as it is. Without embeddings they are made
        from the documents, the images, or what a data loader finds at the uris.

        Args:
            ids: One id a record; no two the same.
            embeddings: A matrix or a list of vectors, all as long as the collection's.
            metadatas: A dictionary a record, or None; values are str, int, float, bool or a list
                of one of these.
            documents: A text a record.
            images: An array a record; it is embedded and not stored.
            uris: Where each record's data is.

        Raises:
            ValueError: An argument is not of the form Chroma's client takes.
            DuplicateIDError: Two ids are the same.
            InvalidArgumentError: A value cannot be stored; the message names it.
            NotFoundError: The collection has been deleted.
        """
        ref = self._ref
        with naming_method("add"):
            records = await self._record_set(ids, embeddings, metadatas, documents, images, uris)
            if records.embeddings is None:
                await self._embed_records(records, operations.EMBEDDABLE)
        batch = await in_thread(records.batch, removals=False)
        await self._backend.execute(AddRecords(ref, batch))

    async def upsert(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Store records, and update those whose id is there already, as `update` does.

        Takes and raises what `add` does.
        """
        ref = self._ref
        with naming_method("upsert"):
            records = await self._record_set(
                ids, embeddings, metadatas, documents, images, uris, is_update=True
            )
            if records.embeddings is None:
                await self._embed_records(records, operations.EMBEDDABLE_IN_UPDATES)
        batch = await in_thread(records.batch, removals=True)
        await self._backend.execute(UpsertRecords(ref, batch))

    async def update(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Change records; ids that are not there are passed over.

        What is None stays as it is. Metadata is merged key by key, and a value of None removes
        its key. New documents or images without embeddings are embedded.

        Takes and raises what `add` does.
        """
        ref = self._ref
        with naming_method("update"):
            records = await self._record_set(
                ids, embeddings, metadatas, documents, images, uris, is_update=True
            )
            embeddable = records.documents is not None or records.images is not None
            if records.embeddings is None and embeddable:
                await self._embed_records(records, operations.EMBEDDABLE_IN_UPDATES)
        batch = await in_thread(records.batch, removals=True)
        await self._backend.execute(UpdateRecords(ref, batch))

    async def get(
        self,
        ids: OneOrMany[ID] | None = None,
        where: WhereLike | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: WhereDocument | None = None,
        include: Include | None = None,
    ) -> GetResult:
        """Read the records that meet all conditions given, in insertion order.

        Args:
            ids: Which records; the order and repeats of the list do not matter.
            where: A metadata filter, such as ``{"page": {"$gte": 3}}``. A record without the key
                meets only ``$ne``, ``$nin`` and ``$not_contains``.
            limit: The most records to return; None for all.
            offset: How many to skip.
            where_document: A document filter, such as ``{"$contains": "index"}``.
            include: The columns to return besides the ids: any of ``documents``, ``embeddings``,
                ``metadatas``, ``uris`` and ``data``; by default metadatas and documents. A column
                that is left out is None in the result.

        Raises:
            ValueError: An argument is not of the form Chroma's client takes.
            InvalidArgumentError: A filter is malformed; the message names the path.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("get"):
            operation, columns = operations.get_request(
                self._ref,
                ids,
                where,
                limit,
                offset,
                where_document,
                list(_GET_COLUMNS) if include is None else include,
            )
            self._check_data(columns)
        records = await self._backend.execute(operation)
        result = get_result(records, columns)
        if "data" in columns:
            result["data"] = await self._embedder.load(records.uris or [])
        return result

    async def peek(self, limit: int = 10) -> GetResult:
        """Read the first records with all their columns but the uris."""
        return await self.get(limit=limit, include=list(_PEEK_COLUMNS))

    async def query(
        self,
        query_embeddings: EmbeddingsLike | None = None,
        query_texts: OneOrMany[Document] | None = None,
        query_images: ImagesLike | None = None,
        query_uris: OneOrMany[URI] | None = None,
        ids: OneOrMany[ID] | None = None,
        n_results: int = 10,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
        include: Include | None = None,
    ) -> QueryResult:
        """Find the records nearest to each query, nearest first.

        The conditions choose the candidates before the ranking, so fewer than `n_results` come
        back only when fewer meet them. Records at the same distance come in insertion order.

        Args:
            query_embeddings: A matrix or a list of vectors; or instead
            query_texts: texts, which are embedded with the collection's function; or
            query_images: images; or
            query_uris: uris, whose data is loaded and embedded.
            ids: The only records to consider; they have to be there.
            n_results: The most records to return for one query; at least 1.
            where: A metadata filter; see `get`.
            where_document: A document filter; see `get`.
            include: The columns to return besides the ids; by default metadatas, documents and
                distances. Distances are squared l2, 1 - cosine, or 1 - inner product.

        Raises:
            ValueError: An argument is not of the form Chroma's client takes.
            InvalidArgumentError: A query is not as long as the collection's embeddings, or a
                filter is malformed.
            NotFoundError: The collection has been deleted.
        """
        ref = self._ref
        with naming_method("query"):
            queries = operations.queries(query_embeddings, query_texts, query_images, query_uris)
            columns = check_include(list(_QUERY_COLUMNS) if include is None else include)
            self._check_data(columns)
            embeddings = await self._embed_queries(queries)
            operation = operations.query_request(
                ref, embeddings, ids, n_results, where, where_document, columns
            )
        found = await self._backend.execute(operation)
        result = query_result(found, columns)
        if "data" in columns:
            result["data"] = [
                await self._embedder.load(queried.records.uris or []) for queried in found
            ]
        return result

    async def explain(
        self,
        query_embeddings: EmbeddingsLike | None = None,
        query_texts: OneOrMany[Document] | None = None,
        query_images: ImagesLike | None = None,
        query_uris: OneOrMany[URI] | None = None,
        ids: OneOrMany[ID] | None = None,
        n_results: int = 10,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
    ) -> QueryPlan:
        """Run a query and tell how it was done: by which indexes, over how many rows, how long.

        Several queries are run together, as `query` runs them, and told of as one. Times are in
        milliseconds and PostgreSQL's own, without what the way to it takes. Chroma does not have
        this.

        Takes and raises what `query` does.
        """
        ref = self._ref
        with naming_method("explain"):
            queries = operations.queries(query_embeddings, query_texts, query_images, query_uris)
            embeddings = await self._embed_queries(queries)
            operation = operations.query_request(
                ref,
                embeddings,
                ids,
                n_results,
                where,
                where_document,
                check_include(list(_QUERY_COLUMNS)),
            )
        return await self._backend.execute(ExplainQuery(operation))

    async def recall(
        self,
        sample: int = 100,
        n_results: int = 10,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
    ) -> Recall:
        """Measure what part of the truly nearest records queries find here, from 0 to 1.

        Stored embeddings, picked at random, are asked for as `query` does it and once more over
        all records, which for a large collection takes long. Chroma does not have this.

        Args:
            sample: How many embeddings to ask for, 1 to 1,000.
            n_results: How many neighbours of each, at least 1.
            where: A metadata filter that the neighbours must meet; see `get`.
            where_document: A document filter; see `get`.

        Raises:
            InvalidArgumentError: A number is out of bounds, or a filter is malformed.
            ValueError: A filter is not of the form Chroma's client takes.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("recall"):
            operation = operations.recall_request(
                self._ref, sample, n_results, where, where_document
            )
        return await self._backend.execute(operation)

    async def get_indexing_status(self) -> IndexingStatus:
        """Tell how much of the collection its indexes cover, and if one failed, why.

        Queries find all records whatever it says: those without an index are read one by one.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        return await self._backend.execute(GetIndexingStatus(self._ref))

    async def delete(
        self,
        ids: OneOrMany[ID] | None = None,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
        limit: int | None = None,
    ) -> DeleteResult:
        """Remove the records that meet all conditions given; at least one must be.

        Args:
            ids: Which records.
            where: A metadata filter; see `get`.
            where_document: A document filter; see `get`.
            limit: The most records to remove, first in insertion order; only with a filter.

        Returns:
            How many records there were to remove.
        """
        with naming_method("delete"):
            operation = operations.delete_request(self._ref, ids, where, where_document, limit)
        return DeleteResult(deleted=await self._backend.execute(operation))

    async def modify(
        self,
        name: str | None = None,
        metadata: CollectionMetadata | None = None,
        configuration: UpdateCollectionConfiguration | None = None,
    ) -> None:
        """Change the collection; what is None stays.

        Args:
            name: The new name.
            metadata: The new metadata; it replaces the old whole. Keys whose value is None are
                left out, and if all are, there is no metadata any more.
            configuration: Index settings to change; ``space`` and ``ef_construction`` cannot be.
                Where what is indexed changes, indexes are built anew, some time later.

        Raises:
            ValueError: The space or the embedding function would become another.
            UniqueConstraintError: The name is taken.
            NotFoundError: The collection has been deleted.
        """
        if metadata is not None and "hnsw:space" in metadata:
            raise ValueError(
                "Changing the distance function of a collection once it is created is not "
                "supported currently."
            )
        new_name = None if name is None else check_name(name, "new_name")
        if metadata is not None:
            if not metadata:
                raise ValueError(
                    "Expected metadata to be a non-empty dict, got 0 metadata attributes"
                )
            metadata = parse_collection_metadata(metadata, removals=True)
        persisted = self._model.configuration.embedding_function
        changes, function = configuration_update_json(configuration or {}, persisted)
        await self._backend.execute(ModifyCollection(self._ref, new_name, metadata, changes))
        self._model = replace(
            self._model,
            name=new_name or self.name,
            metadata=self.metadata if metadata is None else metadata or None,
            configuration=self._model.configuration.updated(changes),
        )
        self._embedder.change(function, self._model.configuration.embedding_function)

    async def reembed(
        self,
        embedding_function: FunctionLike,
        *,
        space: Space | None = None,
        batch_size: int = 1_000,
        progress: bool | None = None,
        sample: int = 20,
        n_results: int = 10,
        minimum_overlap: float | None = None,
        index_timeout: float | None = 3_600.0,
        switch: bool = True,
    ) -> ReembeddingReport:
        """Embed all records anew by another function, and use its embeddings from then on.

        Others read and write meanwhile; what they write is embedded anew, too. The new embeddings
        are made beside the old, indexed, compared with them and taken into use in one moment.
        Whoever was stopped on the way, or killed, goes on by calling this again. The old ones are
        kept: going back to their function embeds only what was written since, and
        `drop_reembedding` gives their space back. Others who hold the collection must get it
        again, as their embedding function is the old one: writes of embeddings and queries of
        theirs are refused until then. Chroma does not have this.

        Args:
            embedding_function: The new function; it is remembered.
            space: How its embeddings are compared; by default as the old ones are.
            batch_size: How many records are read, embedded and stored at a time.
            progress: Whether a bar shows how far it is; None: in a terminal.
            sample: For how many records the neighbours by both functions are compared, each
                with every record; 0 for none.
            n_results: How many neighbours of each.
            minimum_overlap: The least part of the neighbours that has to be the same, from 0 to 1.
            index_timeout: Seconds to wait until the new embeddings are indexed; None: not at all,
                which makes queries slow until they are.
            switch: Whether to use them in the end; if not, a later call does.

        Raises:
            ValueError: Records have nothing to be embedded, or the neighbours are not the same
                enough; nothing is lost, and the old embeddings stay in use.
            UniqueConstraintError: There are embeddings of a third function, or of one that is not
                stored; drop them first.
            MissingRightError: Somebody else owns the collection's tables.
            EmbeddingError: The function failed.
            DeadlineExceededError: The index was not built in time.
            UnavailableError: Others write faster than the function embeds.
            NotFoundError: The collection has been deleted.
        """
        check_space(space)
        check_whole("batch_size", batch_size, MAX_UNEMBEDDED)
        if sample:
            check_whole("sample", sample, MAX_COMPARED)
            check_whole("n_results", n_results, MAX_COMPARED)
        function = chroma_function(embedding_function)
        if await self._has(function, space):
            return ReembeddingReport(0, self._model.dimension, None, is_switched=True)
        work = AsyncReembedder(
            self._backend,
            self._ref,
            AsyncEmbedder(function, self._embedder.data_loader),
            batch_size,
            progress,
        )
        dimension = await work.prepare(space, index_timeout)
        comparison = None
        if dimension is not None:
            comparison = await work.compare(sample, n_results) if sample else None
            _check_overlap(comparison, minimum_overlap)
            if not switch:
                return work.report(dimension, comparison, is_switched=False)
            await work.switch()
        self._switch_to(await self._backend.execute(GetCollectionById(self._ref)), function)
        return work.report(dimension, comparison, is_switched=True)

    async def get_reembedding(self) -> Reembedding | None:
        """Tell of the collection's second embeddings: those being made, or kept from before.

        Chroma does not have this.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        return await self._backend.execute(GetReembedding(self._ref))

    async def drop_reembedding(self) -> None:
        """Drop the second embeddings, made or half made; the disk space returns at once.

        Chroma does not have this.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        await self._backend.execute(DropReembedding(self._ref))

    @property
    def _ref(self) -> CollectionRef:
        # What is embedded here is like the embeddings that there were when the model was read. So
        # it is asked for before anything is embedded.
        model = self._model
        return CollectionRef(DatabaseRef(model.tenant, model.database), model.id, model.generation)

    async def _has(self, function: Function, space: Space | None) -> bool:
        """Whether these embeddings are in use already: a call that was killed may have done it."""
        config = embedding_function_to_config(function)
        model = await self._backend.execute(GetCollectionById(self._ref))
        configuration = model.configuration
        is_same = config["type"] == "known" and config == configuration.embedding_function
        if is_same and space in (None, configuration.hnsw.space):
            self._switch_to(model, function)
            return True
        return False

    def _switch_to(self, model: CollectionModel, function: Function) -> None:
        """Continue with a collection whose records another function has embedded."""
        self._model = model
        self._embedder.change(function, model.configuration.embedding_function)

    async def _record_set(self, *columns: Any, is_update: bool = False) -> WriteArguments:
        most = (await self._backend.limits()).max_batch_size
        return await in_thread(operations.record_set, *columns, most=most, is_update=is_update)

    async def _embed_records(self, records: WriteArguments, fields: tuple[str, ...]) -> None:
        source = records.source(fields)
        inputs = getattr(records, source)
        if source == "uris":
            inputs = await self._embedder.load(inputs)
        if fields is operations.EMBEDDABLE_IN_UPDATES:
            records.modality = "text" if source == "documents" else "image"
        records.embeddings = await self._embedder.embed(inputs)
        check_lengths({"ids": records.ids, "embeddings": records.embeddings})

    async def _embed_queries(self, queries: QueryArguments) -> Any:
        if queries.embeddings is not None:
            return queries.embeddings
        inputs = queries.texts or queries.images
        if inputs is None:
            inputs = await self._embedder.load(queries.uris or [])
        return await self._embedder.embed_queries(inputs)

    def _check_data(self, columns: Sequence[str]) -> None:
        if "data" in columns:
            self._embedder.loader()


def _check_overlap(comparison: Comparison | None, least: float | None) -> None:
    if comparison is None or least is None or comparison.overlap >= least:
        return
    raise ValueError(
        f"the new embeddings find {comparison.overlap:.0%} of the neighbours that the old ones "
        f"find, which is less than {least:.0%}. The old ones stay in use; the new ones are kept: "
        "call reembed with another bound to use them, or drop_reembedding"
    )
