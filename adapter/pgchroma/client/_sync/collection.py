# Generated from _async/collection.py by tools/unasync.py; edit that and run `make fmt`.
"""A collection: its records, and the methods that write and read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel

from pgchroma.client._sync.concurrency import in_thread
from pgchroma.client._sync.embedder import Embedder
from pgchroma.client._sync.reembedding import Reembedder
from pgchroma.client._sync.reopening import reopened_collection
from pgchroma.client._sync.sparse_embedder import SparseEmbedder
from pgchroma.client.arguments import operations
from pgchroma.client.arguments.checks import check_include, check_lengths, naming_method
from pgchroma.client.arguments.configuration import (
    CollectionConfiguration,
    UpdateCollectionConfiguration,
)
from pgchroma.client.arguments.operations import QueryArguments, WriteArguments
from pgchroma.client.arguments.searches import (
    hybrid_search,
    payloads_of,
    search_request,
    text_queries,
)
from pgchroma.client.functions import Function, FunctionLike, configuration_update_json
from pgchroma.client.origin import NOT_PICKLED, Origin
from pgchroma.client.results import get_result, query_result, search_result
from pgchroma.client.schema.schema import Schema
from pgchroma.client.sql_table import sqlalchemy_table
from pgchroma.client.typed._sync.table import Table
from pgchroma.client.typed.fields import read_fields
from pgchroma.client.typed.schema import check_compatible
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.registry import embedding_function_to_config
from pgchroma.errors import UnimplementedError
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.fields import EMBEDDING
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
    GetCollectionView,
    GetIndexingStatus,
    GetReembedding,
    ModifyCollection,
    UpdateRecords,
    UpsertRecords,
)
from pgchroma.model.reembedding import (
    MAX_COMPARED,
    MAX_UNEMBEDDED,
    EmbeddingComparison,
    Reembedding,
    ReembeddingReport,
    check_space,
    check_whole,
)
from pgchroma.model.schema import schema_json
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
    import sqlalchemy

    from pgchroma.backends._sync.base import Backend
    from pgchroma.model.search.request import Search
    from pgchroma.model.search.result import SearchResult
    from pgchroma.model.search.where import Where as SearchWhere

__all__ = ("Collection",)

M = TypeVar("M", bound=BaseModel)

_GET_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents")
_PEEK_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents", "embeddings")
_QUERY_COLUMNS: Final[tuple[IncludeColumn, ...]] = ("metadatas", "documents", "distances")

# Chroma's words, which programs look for.
_NO_FUNCTIONS = (
    "Attached functions are only supported when connecting to a Chroma server via HttpClient. "
    "The Rust bindings (embedded mode) do not support attached function operations."
)


class Collection:
    """Records with ids: each has an embedding, a document, metadata and a URI.

    A client returns collections; see `create_collection` and `get_collection`. Methods that take
    a list of ids, documents and so on also take a single value.
    """

    def __init__(
        self,
        backend: Backend,
        model: CollectionModel,
        embedder: Embedder,
        origin: Origin | None = None,
    ) -> None:
        self._backend = backend
        self._model = model
        self._embedder = embedder
        self._origin = origin
        self._sparse_embedder = SparseEmbedder(
            model.configuration.filterable.sparse, is_trusting=embedder.is_trusting
        )

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
        """The metadata of the collection itself."""
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
        """The configuration with the embedding function itself; None if there is no function."""
        try:
            function = self._embedder.function()
        except ValueError:
            function = None
        configuration = {**self.configuration_json, "embedding_function": function}
        return cast("CollectionConfiguration", configuration)

    @property
    def schema(self) -> Schema:
        """The schema: the keys that filters can use, and the embedding function.

        If the embedding function cannot be built here, it is None, with a warning.
        """
        return Schema.deserialize_from_json(
            schema_json(self._model.configuration, self._model.discovered)
        )

    def __repr__(self) -> str:
        return f"Collection(name={self.name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Collection):
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
        """Return the collection's entry in the catalog, as last read."""
        return self._model

    def typed(self, model: type[M]) -> Table[M]:
        """Return the collection as a table of records of a model; see the client's `create_table`.

        Raises:
            TypeError: A field of the model cannot be stored; the message names it.
            ValueError: The model does not match the collection's embeddings.
        """
        fields = read_fields(model)
        check_compatible(fields, self._model)
        embedder = self._embedder.with_function(fields.function)
        collection = Collection(self._backend, self._model, embedder, self._origin)
        return Table(collection, model, self._backend, embedder)

    def search(
        self, searches: OneOrMany[Search], read_level: ReadLevel | None = None
    ) -> SearchResult:
        """Filter, score, group and page records, as each search says.

        A search scores records by a rank expression, made of searches by vectors such as `Knn` and
        of arithmetic such as `Rrf`. Lower scores are better. Without a rank expression, records
        are returned in insertion order.

        Args:
            searches: A `Search`, or a list of independent ones, which are executed together. The
                texts in `Knn` are embedded by the collection's function.
            read_level: Accepted for compatibility. Every search sees all earlier writes.

        Returns:
            Columns with one list for each search. A score that is infinite or not a number is None.

        Raises:
            TypeError: An argument is not a `Search`.
            ValueError: A text cannot be embedded.
            InvalidArgumentError: A query does not have the collection's dimension, or a rank
                expression is too large.
            MalformedRequestError: A part of a search has another form; the message says which.
            NotFoundError: The collection has been deleted.
        """
        ref = self._ref
        with naming_method("search"):
            payloads = payloads_of(searches)
            for payload in payloads:
                for query in text_queries(payload["rank"]):
                    query["query"] = self._embed_query_text(query["query"], query["key"])
            operation = search_request(ref, payloads, read_level)
        found = self._backend.execute(operation)
        return search_result(found, operation.searches)

    def hybrid(
        self,
        query_text: str,
        n_results: int = 10,
        where: SearchWhere | WhereLike | None = None,
        weights: Sequence[float] | None = None,
    ) -> SearchResult:
        """Find the records that are best by their embeddings and by their words.

        It is the search ``Rrf([Knn(query_text, …), Text(query_text, …)], k=10)``: it fuses the
        best 200 of each by position. Lower scores are better. The collection needs a full-text
        index and an embedding function. Chroma does not have this method.

        Args:
            query_text: The text to search for.
            n_results: How many records to return.
            where: A filter: an expression of `K`, or a dictionary as `query` takes it.
            weights: The weights of the embeddings and of the words, which are equal by default.

        Returns:
            Columns with one list: ids, documents, metadatas and scores.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument is out of range, or the text cannot be embedded.
            InvalidArgumentError: The collection has no full-text index.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("hybrid"):
            search = hybrid_search(query_text, n_results, where, weights)
        return self.search(search)

    def fork(self, new_name: str) -> Collection:
        """Copy the collection under a new name, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError("Collection forking is not implemented for Local Chroma")

    def fork_count(self) -> int:
        """Count the collection's forks, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError("Fork count is not implemented for Local Chroma")

    def attach_function(
        self,
        function: str,
        name: str,
        output_collection: str,
        params: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        """Run a function over new records, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    def get_attached_function(self, name: str) -> NoReturn:
        """Return an attached function, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    def detach_function(self, name: str, delete_output_collection: bool = False) -> bool:
        """Detach a function, which is not supported.

        Raises:
            UnimplementedError: Always; it is a `NotImplementedError`.
        """
        raise UnimplementedError(_NO_FUNCTIONS)

    def count(self, read_level: ReadLevel | None = None) -> int:
        """Count the records.

        Args:
            read_level: Accepted for compatibility. Every read sees all earlier writes.
        """
        return self._backend.execute(CountRecords(self._ref))

    def add(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Store records: all of them or, after an error, none.

        Existing records with the same ids stay unchanged. Without embeddings, the collection's
        function embeds the documents, the images, or the data that the data loader loads from the
        URIs.

        Args:
            ids: A unique id for each record.
            embeddings: A matrix or a list of vectors, all of the collection's dimension.
            metadatas: A dictionary or None for each record. A value is a str, int, float or bool,
                or a list of one of these types.
            documents: A text for each record.
            images: An array for each record, which is embedded and not stored.
            uris: Where the data of each record is.

        Raises:
            ValueError: An argument does not have the form that Chroma's client accepts.
            DuplicateIDError: Two ids are equal.
            InvalidArgumentError: A value cannot be stored; the message names it.
            NotFoundError: The collection has been deleted.
        """
        ref = self._ref
        with naming_method("add"):
            records = self._record_set(ids, embeddings, metadatas, documents, images, uris)
            if records.embeddings is None:
                self._embed_records(records, operations.EMBEDDABLE)
            self._sparse_embedder.embed_records(records)
        batch = in_thread(records.batch, removals=False)
        self._backend.execute(AddRecords(ref, batch))

    def upsert(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Store records, and update existing ones as `update` does.

        The arguments and errors are those of `add`.
        """
        ref = self._ref
        with naming_method("upsert"):
            records = self._record_set(
                ids, embeddings, metadatas, documents, images, uris, is_update=True
            )
            if records.embeddings is None:
                self._embed_records(records, operations.EMBEDDABLE_IN_UPDATES)
            self._sparse_embedder.embed_records(records)
        batch = in_thread(records.batch, removals=True)
        self._backend.execute(UpsertRecords(ref, batch))

    def update(
        self,
        ids: OneOrMany[ID],
        embeddings: EmbeddingsLike | None = None,
        metadatas: MetadatasLike | None = None,
        documents: DocumentsLike | None = None,
        images: ImagesLike | None = None,
        uris: URIsLike | None = None,
    ) -> None:
        """Change records. Ids of missing records are ignored.

        Arguments that are None leave the records' values unchanged. Metadata is merged key by key,
        and a value of None removes its key. Documents and images without embeddings are embedded.

        The arguments and errors are those of `add`.
        """
        ref = self._ref
        with naming_method("update"):
            records = self._record_set(
                ids, embeddings, metadatas, documents, images, uris, is_update=True
            )
            embeddable = records.documents is not None or records.images is not None
            if records.embeddings is None and embeddable:
                self._embed_records(records, operations.EMBEDDABLE_IN_UPDATES)
            self._sparse_embedder.embed_records(records)
        batch = in_thread(records.batch, removals=True)
        self._backend.execute(UpdateRecords(ref, batch))

    def get(
        self,
        ids: OneOrMany[ID] | None = None,
        where: WhereLike | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: WhereDocument | None = None,
        include: Include | None = None,
    ) -> GetResult:
        """Return the records that match all ids and filters, in insertion order.

        Args:
            ids: The ids of the records; order and duplicates do not matter.
            where: A metadata filter, such as ``{"page": {"$gte": 3}}``. A record without the key
                matches only ``$ne``, ``$nin`` and ``$not_contains``.
            limit: Maximum number of records; None for all.
            offset: Number of records to skip.
            where_document: A document filter, such as ``{"$contains": "index"}``.
            include: The columns to return besides the ids: any of ``documents``, ``embeddings``,
                ``metadatas``, ``uris`` and ``data``; by default metadatas and documents. The other
                columns are None in the result.

        Raises:
            ValueError: An argument does not have the form that Chroma's client accepts.
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
        records = self._backend.execute(operation)
        result = get_result(records, columns)
        if "data" in columns:
            result["data"] = self._embedder.load(records.uris or [])
        return result

    def peek(self, limit: int = 10) -> GetResult:
        """Return the first records with their metadata, documents and embeddings."""
        return self.get(limit=limit, include=list(_PEEK_COLUMNS))

    def query(
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
        """Return the records nearest to each query, nearest first.

        Filters are applied before ranking: a query returns fewer than `n_results` records only if
        fewer match. Records at the same distance are in insertion order.

        Pass exactly one of `query_embeddings`, `query_texts`, `query_images` and `query_uris`.

        Args:
            query_embeddings: A matrix or a list of vectors.
            query_texts: Texts, which the collection's function embeds.
            query_images: Images, which the collection's function embeds.
            query_uris: URIs, whose data is loaded and embedded.
            ids: The only records to consider; all of them must exist.
            n_results: Maximum number of records for each query; at least 1.
            where: A metadata filter; see `get`.
            where_document: A document filter; see `get`.
            include: The columns to return besides the ids; by default metadatas, documents and
                distances. Distances are squared l2, 1 - cosine, or 1 - inner product.

        Raises:
            ValueError: An argument does not have the form that Chroma's client accepts.
            InvalidArgumentError: A query does not have the collection's dimension, or a filter is
                malformed.
            NotFoundError: The collection has been deleted.
        """
        ref = self._ref
        with naming_method("query"):
            queries = operations.queries(query_embeddings, query_texts, query_images, query_uris)
            columns = check_include(list(_QUERY_COLUMNS) if include is None else include)
            self._check_data(columns)
            embeddings = self._embed_queries(queries)
            operation = operations.query_request(
                ref, embeddings, ids, n_results, where, where_document, columns
            )
        found = self._backend.execute(operation)
        result = query_result(found, columns)
        if "data" in columns:
            result["data"] = [self._embedder.load(queried.records.uris or []) for queried in found]
        return result

    def explain(
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
        """Run a query and return how it ran: its indexes, the rows it read and the time it took.

        Several queries run together, as in `query`, and have one plan. Times are PostgreSQL's, in
        milliseconds, without the network. Chroma does not have this.

        The arguments and errors are those of `query`.
        """
        ref = self._ref
        with naming_method("explain"):
            queries = operations.queries(query_embeddings, query_texts, query_images, query_uris)
            embeddings = self._embed_queries(queries)
            operation = operations.query_request(
                ref,
                embeddings,
                ids,
                n_results,
                where,
                where_document,
                check_include(list(_QUERY_COLUMNS)),
            )
        return self._backend.execute(ExplainQuery(operation))

    def recall(
        self,
        sample: int = 100,
        n_results: int = 10,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
    ) -> Recall:
        """Measure the share of the truly nearest records that queries find, from 0 to 1.

        Random stored embeddings are searched for twice: as in `query`, and in all records, which
        takes long in a large collection. Chroma does not have this.

        Args:
            sample: Number of embeddings to search for, from 1 to 1,000.
            n_results: Number of neighbours of each; at least 1.
            where: A metadata filter that the neighbours must match; see `get`.
            where_document: A document filter; see `get`.

        Raises:
            InvalidArgumentError: A number is out of bounds, or a filter is malformed.
            ValueError: A filter does not have the form that Chroma's client accepts.
            NotFoundError: The collection has been deleted.
        """
        with naming_method("recall"):
            operation = operations.recall_request(
                self._ref, sample, n_results, where, where_document
            )
        return self._backend.execute(operation)

    def get_indexing_status(self) -> IndexingStatus:
        """Return how much of the collection its indexes cover, and why the last build failed.

        Queries are complete in any case: they scan the rows that are not indexed yet.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        return self._backend.execute(GetIndexingStatus(self._ref))

    def sqlalchemy_table(self, metadata: sqlalchemy.MetaData | None = None) -> sqlalchemy.Table:
        """Return the collection's view as a `sqlalchemy.Table`, to query it with SQLAlchemy Core.

        It has the columns ``id``, ``document``, ``uri``, ``metadata``, ``embedding``,
        ``created_at`` and ``updated_at``, and one for each metadata key that the collection's
        schema declares with one type. ``embedding`` is pgvector's type, with its distances:
        ``table.c.embedding.cosine_distance(vector)``. The table is for reading, on an engine of
        the caller's that is connected to the collection's database; write through the collection.
        Chroma does not have this.

        Args:
            metadata: The `sqlalchemy.MetaData` to put the table in. None means a new one.

        Raises:
            NotFoundError: The collection has been deleted.
            MissingExtraError: SQLAlchemy or pgvector is not installed; the message has the command
                that installs it.
        """
        view = self._backend.execute(GetCollectionView(self._ref))
        return sqlalchemy_table(view, metadata)

    def delete(
        self,
        ids: OneOrMany[ID] | None = None,
        where: WhereLike | None = None,
        where_document: WhereDocument | None = None,
        limit: int | None = None,
    ) -> DeleteResult:
        """Delete the records that match all ids and filters, of which at least one is required.

        Args:
            ids: The ids of the records.
            where: A metadata filter; see `get`.
            where_document: A document filter; see `get`.
            limit: Maximum number of records to delete, in insertion order; only with a filter.

        Returns:
            The number of deleted records.
        """
        with naming_method("delete"):
            operation = operations.delete_request(self._ref, ids, where, where_document, limit)
        return DeleteResult(deleted=self._backend.execute(operation))

    def modify(
        self,
        name: str | None = None,
        metadata: CollectionMetadata | None = None,
        configuration: UpdateCollectionConfiguration | None = None,
    ) -> None:
        """Change the collection. Arguments that are None change nothing.

        Args:
            name: The new name.
            metadata: The new metadata, which replaces all of the old. Keys whose value is None are
                left out; if all are, the collection has no metadata any more.
            configuration: Index settings to change, except ``space`` and ``ef_construction``. If
                the indexed form changes, the indexes are rebuilt later.

        Raises:
            ValueError: The change would replace the space or the embedding function.
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
        has_spann = self._model.configuration.spann is not None
        changes, function = configuration_update_json(
            configuration or {}, persisted, has_spann=has_spann
        )
        self._backend.execute(ModifyCollection(self._ref, new_name, metadata, changes))
        self._model = replace(
            self._model,
            name=new_name or self.name,
            metadata=self.metadata if metadata is None else metadata or None,
            configuration=self._model.configuration.updated(changes),
        )
        self._embedder.change(function, self._model.configuration.embedding_function)

    def reembed(
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
        """Re-embed all records with another function and switch to its embeddings.

        Other clients can read and write in the meantime; records that they write are re-embedded
        as well. The new embeddings are stored next to the current ones, indexed and compared with
        them, and the switch is one transaction. If the process stops, call `reembed` again: it
        continues where it stopped. The previous embeddings are kept: returning to their function
        embeds only the records written since, and `drop_reembedding` frees their disk space. Other
        clients must get the collection again, because their collection has the previous function:
        until then, their queries and writes of embeddings are refused. Chroma does not have this.

        Args:
            embedding_function: The new function. The collection stores its name and settings.
            space: The distance of its embeddings; by default the current one.
            batch_size: Number of records that are read, embedded and stored at a time.
            progress: Whether to show a progress bar; by default only in a terminal.
            sample: Number of records whose neighbours by both functions are compared, each with
                every record; 0 for none.
            n_results: Number of neighbours of each.
            minimum_overlap: The minimum share of equal neighbours, from 0 to 1.
            index_timeout: Seconds to wait for the index of the new embeddings. With None, the
                switch does not wait, and queries are slow until the index is built.
            switch: Whether to switch at the end. If not, a later call does.

        Raises:
            ValueError: Records have nothing to embed, or too few neighbours are equal. The
                collection keeps its embeddings, and the new ones are not lost.
            UniqueConstraintError: The collection has embeddings of a third function, or of a
                function that is not stored; drop them first.
            MissingRightError: Another role owns the collection's tables.
            EmbeddingError: The function failed.
            DeadlineExceededError: The index was not built in time.
            UnavailableError: Other clients write faster than the function embeds.
            NotFoundError: The collection has been deleted.
        """
        check_space(space)
        check_whole("batch_size", batch_size, MAX_UNEMBEDDED)
        if sample:
            check_whole("sample", sample, MAX_COMPARED)
            check_whole("n_results", n_results, MAX_COMPARED)
        function = chroma_function(embedding_function)
        if self._has(function, space):
            return ReembeddingReport(0, self._model.dimension, None, is_switched=True)
        work = Reembedder(
            self._backend,
            self._ref,
            Embedder(function, self._embedder.data_loader),
            batch_size,
            progress,
        )
        dimension = work.prepare(space, index_timeout)
        comparison = None
        if dimension is not None:
            comparison = work.compare(sample, n_results) if sample else None
            _check_overlap(comparison, minimum_overlap)
            if not switch:
                return work.report(dimension, comparison, is_switched=False)
            work.switch()
        self._switch_to(self._backend.execute(GetCollectionById(self._ref)), function)
        return work.report(dimension, comparison, is_switched=True)

    def get_reembedding(self) -> Reembedding | None:
        """Return the state of the collection's pending or previous embeddings, if it has any.

        Chroma does not have this.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        return self._backend.execute(GetReembedding(self._ref))

    def drop_reembedding(self) -> None:
        """Drop the pending or previous embeddings. Their disk space is freed immediately.

        Chroma does not have this.

        Raises:
            NotFoundError: The collection has been deleted.
        """
        self._backend.execute(DropReembedding(self._ref))

    @property
    def _ref(self) -> CollectionRef:
        # The embedder has the function of the generation that the model names. Methods therefore
        # read this before they embed: if another client switches later, the write is refused.
        model = self._model
        return CollectionRef(DatabaseRef(model.tenant, model.database), model.id, model.generation)

    def _has(self, function: Function, space: Space | None) -> bool:
        """Whether the collection already uses this function: a killed call may have switched."""
        config = embedding_function_to_config(function)
        model = self._backend.execute(GetCollectionById(self._ref))
        configuration = model.configuration
        is_same = config["type"] == "known" and config == configuration.embedding_function
        if is_same and space in (None, configuration.hnsw.space):
            self._switch_to(model, function)
            return True
        return False

    def _switch_to(self, model: CollectionModel, function: Function) -> None:
        """Use the collection as re-embedding left it, with its new function."""
        self._model = model
        self._embedder.change(function, model.configuration.embedding_function)

    def _record_set(self, *columns: Any, is_update: bool = False) -> WriteArguments:
        max_size = (self._backend.limits()).max_batch_size
        return in_thread(operations.record_set, *columns, max_size=max_size, is_update=is_update)

    def _embed_records(self, records: WriteArguments, fields: tuple[str, ...]) -> None:
        source = records.source(fields)
        inputs = getattr(records, source)
        if source == "uris":
            inputs = self._embedder.load(inputs)
        if fields is operations.EMBEDDABLE_IN_UPDATES:
            records.modality = "text" if source == "documents" else "image"
        records.embeddings = self._embedder.embed(inputs)
        check_lengths({"ids": records.ids, "embeddings": records.embeddings})

    def _embed_query_text(self, text: str, key: str) -> Any:
        if key != EMBEDDING:
            return (self._sparse_embedder.embed_query(text, key)).to_dict()
        (embedding,) = self._embedder.embed_queries([text])
        return embedding

    def _embed_queries(self, queries: QueryArguments) -> Any:
        if queries.embeddings is not None:
            return queries.embeddings
        inputs = queries.texts or queries.images
        if inputs is None:
            inputs = self._embedder.load(queries.uris or [])
        return self._embedder.embed_queries(inputs)

    def _check_data(self, columns: Sequence[str]) -> None:
        if "data" in columns:
            self._embedder.loader()


def _check_overlap(comparison: EmbeddingComparison | None, minimum: float | None) -> None:
    if comparison is None or minimum is None or comparison.overlap >= minimum:
        return
    raise ValueError(
        f"the new embeddings find {comparison.overlap:.0%} of the neighbours that the current "
        f"ones find, less than {minimum:.0%}; the new ones are kept: call reembed() with another "
        "minimum_overlap to use them, or drop_reembedding()"
    )
