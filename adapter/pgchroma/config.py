"""A client's settings: arguments take precedence over the environment, and it over `.env`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pgchroma.destinations import DECISIVE, DEFAULT_DIRECTORY, DistributedSettings
from pgchroma.model.configuration import DefaultIndex
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.variables import WITHOUT_EFFECT, check_variables, did_you_mean, environment

__all__ = ("DEFAULT_DATABASE", "DEFAULT_TENANT", "RolePerTenant", "Settings")


def _current_name(value: object) -> object:
    """Return the current name of a value that was renamed."""
    return "permissive" if value == "unsealed" else value


RolePerTenant: TypeAlias = Annotated[bool | Literal["permissive"], BeforeValidator(_current_name)]
"""``unsealed``, the former name of ``permissive``, is accepted until 1.0."""


class Settings(DistributedSettings):
    """The settings of a client, under Chroma's names and pgchroma's.

    Clients reject those of Chroma's other settings that would store data elsewhere. The remaining
    ones are accepted and have no effect: they configure a server, telemetry or a storage engine
    that pgchroma does not have. Every setting can be set in the environment under its name in upper
    case, such as ``ALLOW_RESET`` or ``PGCHROMA_POOL_SIZE``.

    Attributes:
        is_persistent: Whether `Client` stores its data in `persist_directory`.
        allow_reset: Whether `reset`, which deletes everything, may be called.
        migrations: On connecting, ``apply`` creates or upgrades the catalog, ``validate`` requires
            the current revision, ``none`` does not check.
        chroma_api_impl: ``chromadb.api.fastapi.FastAPI`` makes `Client` and `AdminClient` connect
            to a server over HTTP.
        chroma_server_host: The server's name or URL.
        chroma_server_http_port: The server's port.
        chroma_server_ssl_enabled: Whether to use HTTPS.
        chroma_server_api_default_path: The path of the server's API, which must be ``/api/v2``.
        chroma_server_ssl_verify: Whether to verify the server's certificate, or the path of the
            authority's certificate.
        chroma_server_headers: Additional headers of every request.
        chroma_client_auth_provider: How to send the credentials: Chroma's
            ``…TokenAuthClientProvider`` or ``…BasicAuthClientProvider``.
        chroma_client_auth_credentials: An API key, or ``user:password``.
        chroma_auth_token_transport_header: The header for a key: ``Authorization`` or
            ``X-Chroma-Token``.
        chroma_overwrite_singleton_tenant_database_access_from_auth: Whether tenant and database
            are taken from the credential, if it is restricted to a single one.
        chroma_http_keepalive_secs: Seconds an idle connection to the server is kept open.
        chroma_http_max_connections: Maximum number of connections to the server.
        chroma_http_max_keepalive_connections: Maximum number of idle connections.
        pgchroma_http_timeout: Seconds the server may take to answer.
        pgchroma_pool_size: Maximum number of database connections of a client.
        pgchroma_pool_timeout: Seconds to wait for a connection.
        pgchroma_query_connections: Number of connections that share the queries of one call, if
            there are at least eight queries for each. Each connection reads its own snapshot.
        pgchroma_max_batch_size: Maximum number of records in one write.
        pgchroma_regex_timeout: Seconds a statement with a regular expression may run.
        pgchroma_request_timeout: Seconds PostgreSQL may take for one call on a connection before
            the call is cancelled, and the connection closed if that fails. `None` means no limit.
        pgchroma_prepared_statements: Whether statements are prepared. `None` means that they are,
            unless a pooler is between the client and PostgreSQL.
        pgchroma_role_per_tenant: Whether each tenant's requests run as a separate PostgreSQL role.
            ``permissive`` also accepts a database where injected SQL could change the role.
            Its former name, ``unsealed``, is accepted until 1.0.
        pgchroma_compaction: Whether a thread of the client builds indexes after writes.
        pgchroma_compaction_url: The direct URL of the database for that thread, if the client's
            URL leads to a pooler.
        pgchroma_segment_bytes: Minimum size, in bytes, of unindexed embeddings before they are
            indexed. Below it, scanning is faster than searching an index.
        pgchroma_index_memory: Memory of the database server, in bytes, that an index build may
            use. Larger collections get several indexes.
        pgchroma_memory_index: Whether queries use copies of embeddings in this host's memory, which
            the extra ``memory`` needs. They are built when they are first missed.
        pgchroma_memory_index_path: The directory of their files; `None` means one in the user's
            cache.
        pgchroma_memory_index_bytes: Maximum size of these files in bytes. Those that were not used
            for longest are removed.
        pgchroma_trust_stored_functions: Whether a collection's stored embedding function is built
            with the addresses, key variables and remote code that it names, which were chosen by
            a caller with write access to the collection.
        pgchroma_default_knn_index: The index that a collection shows if its request has no
            settings of one: ``hnsw``, or ``spann`` as in Chroma Cloud. pgchroma builds HNSW in
            both cases.
        pgchroma_auto_index: Whether metadata keys and documents are indexed when filters use them
            repeatedly.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    is_persistent: bool = False
    persist_directory: str = DEFAULT_DIRECTORY
    allow_reset: bool = False
    anonymized_telemetry: bool = False
    migrations: Literal["none", "validate", "apply"] = "apply"

    chroma_api_impl: str = ""
    chroma_server_host: str | None = None
    chroma_server_http_port: int | None = None
    chroma_server_ssl_enabled: bool = False
    chroma_server_api_default_path: str = "/api/v2"
    chroma_server_ssl_verify: bool | str | None = None
    chroma_server_headers: dict[str, str] | None = Field(default=None, repr=False)
    chroma_client_auth_provider: str | None = None
    chroma_client_auth_credentials: str | None = Field(default=None, repr=False)
    chroma_auth_token_transport_header: str | None = None
    chroma_overwrite_singleton_tenant_database_access_from_auth: bool = False
    chroma_http_keepalive_secs: float = Field(default=40.0, ge=0)
    chroma_http_max_connections: int | None = Field(default=None, ge=1)
    chroma_http_max_keepalive_connections: int | None = Field(default=None, ge=0)
    pgchroma_http_timeout: float = Field(default=120.0, gt=0)

    pgchroma_pool_size: int = Field(default=10, ge=1)
    pgchroma_pool_timeout: float = Field(default=30.0, gt=0)
    pgchroma_query_connections: int = Field(default=2, ge=1)
    pgchroma_max_batch_size: int = Field(default=50_000, ge=1)
    pgchroma_regex_timeout: float = Field(default=10.0, gt=0)
    pgchroma_request_timeout: float | None = Field(default=None, gt=0)
    pgchroma_prepared_statements: bool | None = None
    pgchroma_role_per_tenant: RolePerTenant = False
    pgchroma_compaction: bool = True
    pgchroma_compaction_url: str | None = Field(default=None, repr=False)
    pgchroma_segment_bytes: int = Field(default=8 << 20, ge=0)
    pgchroma_index_memory: int = Field(default=1 << 30, ge=1 << 20)
    pgchroma_default_knn_index: DefaultIndex = "hnsw"
    pgchroma_auto_index: bool = True
    pgchroma_memory_index: bool = False
    pgchroma_memory_index_path: Path | None = None
    pgchroma_memory_index_bytes: int = Field(default=2 << 30, ge=0)
    pgchroma_trust_stored_functions: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Reject unknown names in arguments, environment and `.env`.

        Raises:
            ValueError: A setting or variable with pgchroma's prefix is unknown, or an argument is
                similar to a setting that decides where data is stored.
        """
        if isinstance(init_settings, InitSettingsSource):
            _check_arguments(init_settings.init_kwargs)
        names = set(environment())
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            names.update(dotenv_settings.env_vars)
        check_variables(names, settings_cls.model_fields)
        # Looking up every setting in a source takes 2 ms, and most have none of them.
        sources = (env_settings, dotenv_settings)
        useful = (source for source in sources if _has_any(source, settings_cls.model_fields))
        return init_settings, *useful, file_secret_settings

    def __getitem__(self, key: str) -> Any:
        """Return the setting of that name."""
        return getattr(self, key)


def _has_any(source: PydanticBaseSettingsSource, fields: Iterable[str]) -> bool:
    """Whether a source may have a value for one of the fields."""
    if not isinstance(source, EnvSettingsSource):
        return True
    return not source.env_vars.keys().isdisjoint(fields)


def _check_arguments(arguments: Iterable[str]) -> None:
    fields = Settings.model_fields
    unknown = [name for name in arguments if name not in fields and name not in WITHOUT_EFFECT]
    for name in unknown:
        resembling = did_you_mean(name, fields if name.startswith("pgchroma_") else DECISIVE)
        if resembling or name.startswith("pgchroma_"):
            raise ValueError(f"unknown setting {name}{resembling}")
