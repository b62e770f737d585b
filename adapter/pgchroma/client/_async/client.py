"""Clients: the collections of one database, and tenants and databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload
from uuid import UUID

from pydantic import BaseModel

from pgchroma.backends.embedded_servers import clear_system_cache
from pgchroma.client._async.administration import AsyncAdministration
from pgchroma.client._async.collection import AsyncCollection
from pgchroma.client._async.concurrency import in_thread
from pgchroma.client._async.embedder import AsyncEmbedder
from pgchroma.client._async.reopening import reopened_client
from pgchroma.client.arguments.checks import check_page
from pgchroma.client.arguments.configuration import ConfigurationLike
from pgchroma.client.functions import FunctionLike, check_conflict, configuration_json
from pgchroma.client.origin import NOT_PICKLED, Origin
from pgchroma.client.schema.schema import Schema, apply_schema
from pgchroma.client.typed._async.table import AsyncTable
from pgchroma.client.typed.derived import derived_model
from pgchroma.client.typed.fields import read_fields
from pgchroma.client.typed.schema import check_only_model, one_model, table_schema
from pgchroma.config import Settings
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.protocol import DataLoader, Loadable
from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.entities import (
    CollectionModel,
    DatabaseRef,
    UserIdentity,
)
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.names import (
    DEFAULT_DATABASE,
    DEFAULT_TENANT,
    check_database_looked_up,
    check_looked_up,
    check_name,
)
from pgchroma.model.operations import (
    CollectionRef,
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetCollectionById,
    GetDatabase,
    GetIdentity,
    GetTenant,
    GetVersion,
    Heartbeat,
    ListCollections,
    Reset,
)
from pgchroma.model.types import CollectionMetadata, Space

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("AsyncAdminClient", "AsyncClient")

M = TypeVar("M", bound=BaseModel)


class AsyncClient(AsyncAdministration):
    """The collections of one database. Factories such as `AsyncPostgresClient` create clients.

    A client also creates, lists and deletes tenants and databases.

    Attributes:
        tenant: The tenant in use.
        database: The database in use.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        settings: Settings,
        tenant: str = DEFAULT_TENANT,
        database: str = DEFAULT_DATABASE,
        origin: Origin | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self.tenant = tenant
        self.database = database
        self._origin = origin

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is None:
            raise TypeError(NOT_PICKLED)
        return reopened_client, (self._origin, self.tenant, self.database)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's connections. Closing a client twice is allowed."""
        await self._backend.close()

    @staticmethod
    def clear_system_cache() -> None:
        """Forget the embedded servers of this process: the next client opens its server again."""
        clear_system_cache()

    async def heartbeat(self) -> int:
        """Return the database's time in nanoseconds since 1970."""
        return await self._backend.execute(Heartbeat())

    async def reset(self) -> bool:
        """Delete everything, of every tenant.

        Raises:
            AuthorizationError: The setting `allow_reset` is off, which is the default. Over HTTP,
                the server's setting applies.
        """
        await self._backend.execute(Reset())
        return True

    async def list_collections(
        self, limit: int | None = None, offset: int | None = None
    ) -> Sequence[AsyncCollection]:
        """List the database's collections by name."""
        limit, offset = check_page(limit, offset)
        operation = ListCollections(self._scope, limit, offset)
        models = await self._backend.execute(operation)
        return [self._collection(model, DefaultEmbeddingFunction(), None) for model in models]

    async def count_collections(self) -> int:
        """Count the database's collections."""
        return await self._backend.execute(CountCollections(self._scope))

    @overload
    async def create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
    ) -> AsyncCollection: ...

    @overload
    async def create_collection(
        self,
        name: str,
        *,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
        model: type[M],
    ) -> AsyncTable[M]: ...

    async def create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
        model: type[BaseModel] | None = None,
    ) -> AsyncCollection | AsyncTable[Any]:
        """Create a collection.

        Args:
            name: 3 to 512 characters of ``a-z A-Z 0-9 . _ -``, a letter or digit at both ends.
            schema: The keys that filters can use, and the embedding function.
            configuration: ``{"hnsw": {"space": "cosine", …}, "embedding_function": …}``. The
                settings of the index are allowed here or in the schema, not in both.
            metadata: Metadata of the collection itself.
            embedding_function: Embeds documents. The collection stores its name and settings.
            data_loader: Loads the data at URIs. It is not stored.
            get_or_create: Whether to return an existing collection of that name, unchanged.
            model: A model of the records. It determines the schema and the embedding function,
                and the collection is returned as a table.

        Raises:
            UniqueConstraintError: The name is taken.
            InvalidArgumentError: The name or a setting is not allowed, or the schema requires an
                unsupported index, such as one of sparse vectors.
            ValueError: Two different embedding functions were passed, or the model does not match
                the existing collection.
            TypeError: The model has a field that cannot be stored.
        """
        return await self._create(
            name,
            schema,
            configuration,
            metadata,
            embedding_function,
            data_loader,
            get_or_create,
            model,
        )

    @overload
    async def get_or_create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> AsyncCollection: ...

    @overload
    async def get_or_create_collection(
        self,
        name: str,
        *,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        data_loader: DataLoader[Loadable] | None = None,
        model: type[M],
    ) -> AsyncTable[M]: ...

    async def get_or_create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        model: type[BaseModel] | None = None,
    ) -> AsyncCollection | AsyncTable[Any]:
        """Return the collection of that name, or create it; see `create_collection`."""
        return await self._create(
            name, schema, configuration, metadata, embedding_function, data_loader, True, model
        )

    @overload
    async def get_collection(
        self,
        name: str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> AsyncCollection: ...

    @overload
    async def get_collection(
        self, name: str, *, data_loader: DataLoader[Loadable] | None = None, model: type[M]
    ) -> AsyncTable[M]: ...

    async def get_collection(
        self,
        name: str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        model: type[BaseModel] | None = None,
    ) -> AsyncCollection | AsyncTable[Any]:
        """Return a collection by name.

        Args:
            name: The collection's name.
            embedding_function: Required only if the collection's function could not be stored.
            data_loader: Loads the data at URIs.
            model: A model of the records. With it, the collection is returned as a table.

        Raises:
            NotFoundError: The collection does not exist.
            ValueError: It has another embedding function, or the model does not match it.
        """
        if model is not None:
            check_only_model(None, embedding_function)
            embedding_function = read_fields(model).function
        found = await self._backend.execute(GetCollection(self._scope, check_looked_up(name)))
        check_conflict(embedding_function, found.configuration.embedding_function)
        collection = self._collection(found, embedding_function, data_loader)
        return collection if model is None else collection.typed(model)

    async def get_collection_by_id(
        self,
        id: UUID | str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> AsyncCollection:
        """Return a collection by id; see `get_collection`."""
        ref = CollectionRef(self._scope, _uuid(id))
        model = await self._backend.execute(GetCollectionById(ref))
        check_conflict(embedding_function, model.configuration.embedding_function)
        return self._collection(model, embedding_function, data_loader)

    async def delete_collection(self, name: str) -> None:
        """Delete a collection and all its records. Its disk space is freed immediately.

        Raises:
            NotFoundError: The collection does not exist.
        """
        await self._backend.execute(DeleteCollection(self._scope, check_looked_up(name)))

    @overload
    async def create_table(
        self,
        name: str,
        model: type[M],
        *,
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> AsyncTable[M]: ...

    @overload
    async def create_table(
        self,
        name: str,
        *,
        schema: type[M],
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> AsyncTable[M]: ...

    async def create_table(
        self,
        name: str,
        model: type[M] | None = None,
        *,
        schema: type[M] | None = None,
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> AsyncTable[M]:
        """Create a collection for the records of a model, as LanceDB does.

        Args:
            name: The collection's name; see `create_collection`.
            model: The model of the records: a `Record` with a `Vector`, or any pydantic model.
            schema: The same under LanceDB's name.
            mode: ``overwrite`` first deletes an existing collection of that name, after all
                arguments have been checked.
            exist_ok: Whether to return an existing collection of that name.
            space: The distance. By default that of the embedding function; without one, l2.

        Raises:
            TypeError: A field of the model cannot be stored; the message names it.
            UniqueConstraintError: The name is taken.
            ValueError: The mode is unknown, or the model does not match the existing collection.
        """
        if mode not in ("create", "overwrite"):
            raise ValueError(f"Expected mode to be create or overwrite, got {mode!r}")
        model = one_model(model, schema)
        configuration: ConfigurationLike | None = (
            None if space is None else {"hnsw": {"space": space}}
        )
        made = await self._create(
            name,
            configuration=configuration,
            get_or_create=exist_ok,
            model=model,
            is_replacing=mode == "overwrite",
        )
        return cast("AsyncTable[M]", made)

    @overload
    async def open_table(self, name: str, model: type[M]) -> AsyncTable[M]: ...

    @overload
    async def open_table(self, name: str, model: None = None) -> AsyncTable[BaseModel]: ...

    async def open_table(self, name: str, model: type[BaseModel] | None = None) -> AsyncTable[Any]:
        """Return a collection as a table of records of a model.

        Without a model, one is derived from the collection: `id`, `text`, `vector`, and the
        metadata keys that its schema lists.

        Raises:
            NotFoundError: The collection does not exist.
            ValueError: The model does not match the collection's embedding function or the length
                of its embeddings; or there is no model and the length is still unknown.
        """
        if model is not None:
            return await self.get_collection(name, model=model)
        collection = await self.get_collection(name)
        model = await in_thread(
            derived_model, collection.get_model(), collection.configuration["embedding_function"]
        )
        return collection.typed(model)

    async def drop_table(self, name: str) -> None:
        """Delete a collection; see `delete_collection`."""
        await self.delete_collection(name)

    async def table_names(self) -> list[str]:
        """Return the names of the database's collections, sorted."""
        return [collection.name for collection in await self.list_collections()]

    async def set_tenant(self, tenant: str, database: str = DEFAULT_DATABASE) -> None:
        """Switch to a database of another tenant.

        Raises:
            NotFoundError: One of them does not exist.
        """
        await self._check(tenant, database)
        self.tenant, self.database = tenant, database

    async def set_database(self, database: str) -> None:
        """Switch to another database of this tenant.

        Raises:
            NotFoundError: It does not exist.
        """
        await self._check(self.tenant, database)
        self.database = database

    async def get_version(self) -> str:
        """Return the version of this package, or over HTTP the version that the server reports."""
        return await self._backend.execute(GetVersion())

    def get_settings(self) -> Settings:
        """Return the settings of this client."""
        return self._settings

    async def get_max_batch_size(self) -> int:
        """Return the maximum number of records of one write."""
        return (await self._backend.limits()).max_batch_size

    async def get_user_identity(self) -> UserIdentity:
        """Return the identity of this client. Without a server, every client may do everything."""
        return await self._backend.execute(GetIdentity())

    @property
    def _scope(self) -> DatabaseRef:
        return DatabaseRef(self.tenant, self.database)

    async def _check(self, tenant: str, database: str) -> None:
        await self._backend.execute(GetTenant(check_looked_up(tenant)))
        await self._backend.execute(GetDatabase(_ref(tenant, database)))

    async def _create(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = None,
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
        model: type[BaseModel] | None = None,
        is_replacing: bool = False,
    ) -> AsyncCollection | AsyncTable[Any]:
        if model is not None:
            check_only_model(schema, embedding_function)
            fields = read_fields(model)
            schema, configuration = table_schema(fields, configuration), None
            embedding_function = None
        parsed = parse_collection_metadata(metadata)
        configured, given = configuration_json(configuration, parsed, embedding_function)
        wanted, function, filterable = apply_schema(schema, configured, given)
        # Checked on the client, because JSON would turn a NaN into null.
        CollectionConfiguration.parse(wanted, parsed, filterable)
        operation = CreateCollection(
            self._scope, check_name(name), wanted, parsed, get_or_create, filterable
        )
        if is_replacing:
            # All checks that do not need the database have passed.
            with suppress(NotFoundError):
                await self.delete_collection(name)
        found = await self._backend.execute(operation)
        if get_or_create:
            check_conflict(function, found.configuration.embedding_function)
        collection = self._collection(found, function, data_loader)
        return collection if model is None else collection.typed(model)

    def _collection(
        self,
        model: CollectionModel,
        embedding_function: FunctionLike | None,
        data_loader: DataLoader[Loadable] | None,
    ) -> AsyncCollection:
        embedder = AsyncEmbedder(
            chroma_function(embedding_function),
            data_loader,
            model.configuration.embedding_function,
            is_trusting=self._settings.pgchroma_trust_stored_functions,
        )
        return AsyncCollection(self._backend, model, embedder, self._origin)


class AsyncAdminClient(AsyncAdministration):
    """Tenants and databases. `AsyncPostgresClient.admin` and other factories create it."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._backend.close()


def _ref(tenant: str, database: str) -> DatabaseRef:
    return DatabaseRef(check_looked_up(tenant), check_database_looked_up(database))


def _uuid(id: UUID | str) -> UUID:
    if isinstance(id, UUID):
        return id
    try:
        return UUID(id)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"Collection ID is not a valid UUIDv4: {id!r}") from error
