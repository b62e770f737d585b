"""Settings, under Chroma's names and ours: arguments win over the environment, it over `.env`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pgchroma.destinations import DECISIVE, DEFAULT_DIRECTORY, DistributedSettings
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.variables import WITHOUT_EFFECT, check_variables, did_you_mean, environment

__all__ = ("DEFAULT_DATABASE", "DEFAULT_TENANT", "Settings")


class Settings(DistributedSettings):
    """What a client can be told.

    Of Chroma's other settings those that would send data elsewhere are refused by clients. The rest
    is accepted and has no effect: it tunes a server, a telemetry or a storage engine that is not
    there. Every setting can come from the environment under its own name in upper case, such as
    ``ALLOW_RESET`` or ``PGCHROMA_POOL_SIZE``.

    Attributes:
        is_persistent: Whether `Client` keeps its data in `persist_directory`.
        allow_reset: Whether `reset`, which deletes everything, may be called.
        migrations: On connecting, ``apply`` makes or upgrades the catalog, ``validate`` refuses
            one that is not up to date, ``none`` does not look.
        chroma_api_impl: ``chromadb.api.fastapi.FastAPI`` makes `Client` and `AdminClient` speak
            to a server over HTTP.
        chroma_server_host: That server's name, or its URL.
        chroma_server_http_port: Its port.
        chroma_server_ssl_enabled: Whether it is spoken to by HTTPS.
        chroma_server_api_default_path: The path of its API; ``/api/v2``, no other.
        chroma_server_ssl_verify: Whether its certificate is checked; or the path of the
            authority's certificate.
        chroma_server_headers: Sent along with every request.
        chroma_client_auth_provider: How the credentials are sent: Chroma's
            ``…TokenAuthClientProvider`` or ``…BasicAuthClientProvider``.
        chroma_client_auth_credentials: An API key, or ``user:password``.
        chroma_auth_token_transport_header: The header a key goes in: ``Authorization`` or
            ``X-Chroma-Token``.
        chroma_overwrite_singleton_tenant_database_access_from_auth: Whether tenant and database
            are taken from the credential, if it is for one of them alone.
        chroma_http_keepalive_secs: Seconds an idle connection to the server is kept.
        chroma_http_max_connections: The most connections to it.
        chroma_http_max_keepalive_connections: The most of them that are kept idle.
        pgchroma_http_timeout: Seconds the server may take for an answer.
        pgchroma_pool_size: The most connections a client opens.
        pgchroma_pool_timeout: Seconds to wait for a connection.
        pgchroma_query_connections: On how many connections at once the queries of one call run, if
            there are eight and more for each. Each connection sees a moment of its own.
        pgchroma_max_batch_size: The most records one call may write.
        pgchroma_regex_timeout: Seconds a statement with a regular expression may run.
        pgchroma_request_timeout: Seconds that PostgreSQL may take for one call on a connection
            before it is told to cancel and then given up; None: as long as it takes.
        pgchroma_prepared_statements: Whether statements are prepared; None: where the connection
            leads to PostgreSQL itself, and not where a pooler is in between.
        pgchroma_role_per_tenant: Whether each tenant's requests run as a role of PostgreSQL of
            its own. ``unsealed`` puts up with a database where smuggled SQL could change roles.
        pgchroma_compaction: Whether a thread of the client builds indexes behind its writes.
        pgchroma_compaction_url: The database for that thread, where the client's own URL leads
            to a pooler.
        pgchroma_segment_bytes: The least that embeddings without an index have to have, in bytes,
            before they get one; fewer are read faster than searched.
        pgchroma_index_memory: Bytes of the database server's memory that building an index may
            take. A collection for which that is too little gets several indexes.
        pgchroma_trust_stored_functions: Whether the embedding function that a collection stores is
            built with the addresses, the variables of keys and the remote code that it names.
            Whoever may write to the collection has chosen them.
        pgchroma_auto_index: Whether metadata keys and documents that filters keep asking about
            get an index.
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
    pgchroma_role_per_tenant: bool | Literal["unsealed"] = False
    pgchroma_compaction: bool = True
    pgchroma_compaction_url: str | None = Field(default=None, repr=False)
    pgchroma_segment_bytes: int = Field(default=8 << 20, ge=0)
    pgchroma_index_memory: int = Field(default=1 << 30, ge=1 << 20)
    pgchroma_auto_index: bool = True
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
        """Refuse names that mean nothing, in arguments, environment and `.env`.

        Raises:
            ValueError: A setting or variable of pgchroma's is unknown, or an argument resembles a
                setting that decides where data goes.
        """
        if isinstance(init_settings, InitSettingsSource):
            _check_arguments(init_settings.init_kwargs)
        names = set(environment())
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            names.update(dotenv_settings.env_vars)
        check_variables(names, settings_cls.model_fields)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    def __getitem__(self, key: str) -> Any:
        """Return the setting of that name."""
        return getattr(self, key)


def _check_arguments(arguments: Iterable[str]) -> None:
    fields = Settings.model_fields
    unknown = [name for name in arguments if name not in fields and name not in WITHOUT_EFFECT]
    for name in unknown:
        resembling = did_you_mean(name, fields if name.startswith("pgchroma_") else DECISIVE)
        if resembling or name.startswith("pgchroma_"):
            raise ValueError(f"unknown setting {name}{resembling}")
