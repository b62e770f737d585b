# Generated from _async/client.py by tools/unasync.py; edit that and run `make fmt`.
"""The client: collections by name, in one database of one tenant; and tenants and databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload
from uuid import UUID

from pydantic import BaseModel

from pgchroma.client._sync.administration import Administration
from pgchroma.client._sync.collection import Collection
from pgchroma.client._sync.concurrency import in_thread
from pgchroma.client._sync.embedder import Embedder
from pgchroma.client._sync.reopening import reopened_client
from pgchroma.client._sync.table import Table
from pgchroma.client.arguments.checks import check_page
from pgchroma.client.arguments.configuration import ConfigurationLike
from pgchroma.client.functions import FunctionLike, check_conflict, configuration_json
from pgchroma.client.origin import NOT_PICKLED, Origin
from pgchroma.client.schema.schema import Schema, apply_schema
from pgchroma.client.shared import clear_system_cache
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
    from pgchroma.backends._sync.base import Backend

__all__ = ("AdminClient", "Client")

M = TypeVar("M", bound=BaseModel)


class Client(Administration):
    """Collections of one database. Make one with a factory such as `PostgresClient`.

    It makes, lists and deletes tenants and databases, too.

    Attributes:
        tenant: The tenant in use.
        database: The database in use.
    """

    def __init__(
        self,
        backend: Backend,
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database. Closing twice is no fault."""
        self._backend.close()

    @staticmethod
    def clear_system_cache() -> None:
        """Forget the embedded servers that this process has opened: the next client opens anew."""
        clear_system_cache()

    def heartbeat(self) -> int:
        """Ask the database for its time: nanoseconds since 1970."""
        return self._backend.execute(Heartbeat())

    def reset(self) -> bool:
        """Delete everything, of every tenant.

        Raises:
            AuthorizationError: The setting `allow_reset`, the client's or over HTTP the server's,
                is off, which it is unless said so.
        """
        self._backend.execute(Reset())
        return True

    def list_collections(
        self, limit: int | None = None, offset: int | None = None
    ) -> Sequence[Collection]:
        """List the database's collections by name."""
        limit, offset = check_page(limit, offset)
        operation = ListCollections(self._scope, limit, offset)
        models = self._backend.execute(operation)
        return [self._collection(model, DefaultEmbeddingFunction(), None) for model in models]

    def count_collections(self) -> int:
        """Count the database's collections."""
        return self._backend.execute(CountCollections(self._scope))

    @overload
    def create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
    ) -> Collection: ...

    @overload
    def create_collection(
        self,
        name: str,
        *,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
        model: type[M],
    ) -> Table[M]: ...

    def create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        get_or_create: bool = False,
        model: type[BaseModel] | None = None,
    ) -> Collection | Table[Any]:
        """Make a collection.

        Args:
            name: 3 to 512 characters of ``a-z A-Z 0-9 . _ -``, a letter or digit at both ends.
            schema: By which keys it can be filtered, and how it embeds.
            configuration: ``{"hnsw": {"space": "cosine", …}, "embedding_function": …}``. Settings
                of the index are here or in the schema, not in both.
            metadata: Anything worth noting about the collection.
            embedding_function: Makes embeddings from documents; it is remembered.
            data_loader: Loads what uris point to; it is not remembered.
            get_or_create: Whether to return the collection of that name, unchanged, if there is
                one.
            model: A model of its records, which says what the schema and the embedding function
                are; then it is returned as a table.

        Raises:
            UniqueConstraintError: The name is taken.
            InvalidArgumentError: The name or a setting is not allowed, or the schema asks for
                what is not there, such as an index of sparse vectors.
            ValueError: Two different embedding functions were given, or there is a collection and
                the model does not fit it.
            TypeError: The model cannot be a record.
        """
        return self._create(
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
    def get_or_create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> Collection: ...

    @overload
    def get_or_create_collection(
        self,
        name: str,
        *,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        data_loader: DataLoader[Loadable] | None = None,
        model: type[M],
    ) -> Table[M]: ...

    def get_or_create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        configuration: ConfigurationLike | None = None,
        metadata: CollectionMetadata | None = None,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        model: type[BaseModel] | None = None,
    ) -> Collection | Table[Any]:
        """Find the collection of that name, or make it; see `create_collection`."""
        return self._create(
            name, schema, configuration, metadata, embedding_function, data_loader, True, model
        )

    @overload
    def get_collection(
        self,
        name: str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> Collection: ...

    @overload
    def get_collection(
        self, name: str, *, data_loader: DataLoader[Loadable] | None = None, model: type[M]
    ) -> Table[M]: ...

    def get_collection(
        self,
        name: str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
        model: type[BaseModel] | None = None,
    ) -> Collection | Table[Any]:
        """Find a collection by name.

        Args:
            name: The collection's name.
            embedding_function: Needed only if the one it was made with could not be remembered.
            data_loader: Loads what uris point to.
            model: A model of its records; then it is returned as a table.

        Raises:
            NotFoundError: There is none.
            ValueError: It was made with another embedding function, or the model does not fit it.
        """
        if model is not None:
            check_only_model(None, embedding_function)
            embedding_function = read_fields(model).function
        found = self._backend.execute(GetCollection(self._scope, check_looked_up(name)))
        check_conflict(embedding_function, found.configuration.embedding_function)
        collection = self._collection(found, embedding_function, data_loader)
        return collection if model is None else collection.typed(model)

    def get_collection_by_id(
        self,
        id: UUID | str,
        embedding_function: FunctionLike | None = DefaultEmbeddingFunction(),  # noqa: B008
        data_loader: DataLoader[Loadable] | None = None,
    ) -> Collection:
        """Find a collection by id; see `get_collection`."""
        ref = CollectionRef(self._scope, _uuid(id))
        model = self._backend.execute(GetCollectionById(ref))
        check_conflict(embedding_function, model.configuration.embedding_function)
        return self._collection(model, embedding_function, data_loader)

    def delete_collection(self, name: str) -> None:
        """Delete a collection and all its records; the disk space returns at once.

        Raises:
            NotFoundError: There is none of that name.
        """
        self._backend.execute(DeleteCollection(self._scope, check_looked_up(name)))

    @overload
    def create_table(
        self,
        name: str,
        model: type[M],
        *,
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> Table[M]: ...

    @overload
    def create_table(
        self,
        name: str,
        *,
        schema: type[M],
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> Table[M]: ...

    def create_table(
        self,
        name: str,
        model: type[M] | None = None,
        *,
        schema: type[M] | None = None,
        mode: Literal["create", "overwrite"] = "create",
        exist_ok: bool = False,
        space: Space | None = None,
    ) -> Table[M]:
        """Make a collection for records of a model, as LanceDB's users do.

        Args:
            name: The collection's name; see `create_collection`.
            model: What its records are: a `Record` with a `Vector`, or any model of pydantic's.
            schema: The same, under LanceDB's name.
            mode: ``overwrite`` deletes the collection of that name first, if there is one; not if
                the arguments are refused.
            exist_ok: Whether to return the collection of that name, if there is one.
            space: The distance; None: the embedding function's own, without one l2.

        Raises:
            TypeError: The model cannot be a record; the message names the field.
            UniqueConstraintError: The name is taken.
            ValueError: The mode is none, or there is a collection and the model does not fit it.
        """
        if mode not in ("create", "overwrite"):
            raise ValueError(f"Expected mode to be create or overwrite, got {mode!r}")
        model = one_model(model, schema)
        configuration: ConfigurationLike | None = (
            None if space is None else {"hnsw": {"space": space}}
        )
        made = self._create(
            name,
            configuration=configuration,
            get_or_create=exist_ok,
            model=model,
            is_replacing=mode == "overwrite",
        )
        return cast("Table[M]", made)

    @overload
    def open_table(self, name: str, model: type[M]) -> Table[M]: ...

    @overload
    def open_table(self, name: str, model: None = None) -> Table[BaseModel]: ...

    def open_table(self, name: str, model: type[BaseModel] | None = None) -> Table[Any]:
        """Find a collection of records of a model.

        Without one it is made of what the collection stores: `id`, `text`, `vector`, and the
        metadata keys that its schema lists.

        Raises:
            NotFoundError: There is none of that name.
            ValueError: The model does not fit it: by its embedding function, or by the length of
                its vector. Or none is given, and the collection has nothing to make it of.
        """
        if model is not None:
            return self.get_collection(name, model=model)
        collection = self.get_collection(name)
        model = in_thread(
            derived_model, collection.get_model(), collection.configuration["embedding_function"]
        )
        return collection.typed(model)

    def drop_table(self, name: str) -> None:
        """Delete a collection, as `delete_collection` does."""
        self.delete_collection(name)

    def table_names(self) -> list[str]:
        """List the names of the database's collections, sorted."""
        return [collection.name for collection in self.list_collections()]

    def set_tenant(self, tenant: str, database: str = DEFAULT_DATABASE) -> None:
        """Go on with another tenant's database.

        Raises:
            NotFoundError: One of them does not exist.
        """
        self._check(tenant, database)
        self.tenant, self.database = tenant, database

    def set_database(self, database: str) -> None:
        """Go on with another database of this tenant.

        Raises:
            NotFoundError: It does not exist.
        """
        self._check(self.tenant, database)
        self.database = database

    def get_version(self) -> str:
        """Return the version of this package, or over HTTP what the server says of itself."""
        return self._backend.execute(GetVersion())

    def get_settings(self) -> Settings:
        """Return the settings this client was made with."""
        return self._settings

    def get_max_batch_size(self) -> int:
        """Return how many records one call may write."""
        return (self._backend.limits()).max_batch_size

    def get_user_identity(self) -> UserIdentity:
        """Return who this client is; straight on the database everybody is everybody."""
        return self._backend.execute(GetIdentity())

    @property
    def _scope(self) -> DatabaseRef:
        return DatabaseRef(self.tenant, self.database)

    def _check(self, tenant: str, database: str) -> None:
        self._backend.execute(GetTenant(check_looked_up(tenant)))
        self._backend.execute(GetDatabase(_ref(tenant, database)))

    def _create(
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
    ) -> Collection | Table[Any]:
        if model is not None:
            check_only_model(schema, embedding_function)
            fields = read_fields(model)
            schema, configuration = table_schema(fields, configuration), None
            embedding_function = None
        parsed = parse_collection_metadata(metadata)
        configured, given = configuration_json(configuration, parsed, embedding_function)
        wanted, function, indexed = apply_schema(schema, configured, given)
        # JSON would make null of a NaN, so faults are looked for on this side of the wire.
        CollectionConfiguration.parse(wanted, parsed, indexed)
        operation = CreateCollection(
            self._scope, check_name(name), wanted, parsed, get_or_create, indexed
        )
        if is_replacing:
            # All that can be refused without the database has been.
            with suppress(NotFoundError):
                self.delete_collection(name)
        found = self._backend.execute(operation)
        if get_or_create:
            check_conflict(function, found.configuration.embedding_function)
        collection = self._collection(found, function, data_loader)
        return collection if model is None else collection.typed(model)

    def _collection(
        self,
        model: CollectionModel,
        embedding_function: FunctionLike | None,
        data_loader: DataLoader[Loadable] | None,
    ) -> Collection:
        embedder = Embedder(
            chroma_function(embedding_function),
            data_loader,
            model.configuration.embedding_function,
            is_trusting=self._settings.pgchroma_trust_stored_functions,
        )
        return Collection(self._backend, model, embedder, self._origin)


class AdminClient(Administration):
    """Tenants and databases. Make one with a factory such as `PostgresClient.admin`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._backend.close()


def _ref(tenant: str, database: str) -> DatabaseRef:
    return DatabaseRef(check_looked_up(tenant), check_database_looked_up(database))


def _uuid(id: UUID | str) -> UUID:
    if isinstance(id, UUID):
        return id
    try:
        return UUID(id)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"Collection ID is not a valid UUIDv4: {id!r}") from error
