"""What the server can be told: flags win over the environment, it over the configuration file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import psycopg
import yaml
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pgchroma.backends.connect import plain_conninfo
from pgchroma.config import Settings

__all__ = ("CircuitBreaker", "OpenTelemetry", "ServerSettings", "load_settings")

_log = logging.getLogger("pgchroma.server")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_CHROMAS = (
    "allow_reset",
    "circuit_breaker",
    "cors_allow_origins",
    "listen_address",
    "max_payload_size_bytes",
    "open_telemetry",
    "persist_path",
    "port",
)
"""The settings that Chroma's own server has, too."""


class CircuitBreaker(BaseModel):
    """How many requests a worker takes on at once; 0 is no limit."""

    requests: int = Field(default=1000, ge=0)


class OpenTelemetry(BaseModel):
    """Where traces and metrics are sent, by OTLP over HTTP."""

    endpoint: str = Field(pattern="^https?://")
    service_name: str = "pgchroma"


class ServerSettings(BaseSettings):
    """Settings of the server; those that Chroma's has, under its names.

    Each can come from the environment: as ``PGCHROMA_PORT``, and where Chroma knows it also as
    ``CHROMA_PORT``; parts of a group with two underscores, ``PGCHROMA_OPEN_TELEMETRY__ENDPOINT``.

    Attributes:
        url: The database to use, as a URL or a libpq connection string; None: an embedded
            PostgreSQL in `persist_path`.
        persist_path: The directory of the embedded PostgreSQL.
        listen_address: The address to listen on.
        port: The port to listen on.
        workers: Processes that answer requests.
        auth: Whether callers need an API key or a password. Off, only loopback is listened on.
        auth_cache_seconds: How long a credential is believed after it was looked up; so long does
            it take until one that was revoked is refused.
        role_per_tenant: Whether requests run under a PostgreSQL role of their tenant's own;
            ``unsealed`` where smuggled SQL could change roles.
        allow_reset: Whether ``reset``, which deletes everything, may be asked for.
        migrations: What to do with a catalog that is missing or old: see `Settings.migrations`.
        cors_allow_origins: The origins whose pages may call the API; ``*`` for all.
        allowed_hosts: The host names, besides loopback's, that requests may be addressed to while
            `auth` is off; ``*`` for all.
        max_payload_size_bytes: The largest body.
        max_batch_size: The most records one request may write; clients split larger batches.
        max_n_results: The most results one query may ask for; None for no limit.
        request_timeout: Seconds a request may take once its body is there.
        body_timeout: Seconds a body may take to arrive.
        regex_timeout: Seconds a statement with a regular expression may run.
        rate_limit: Requests a minute that each credential has at each worker; None for no limit.
        circuit_breaker: How many requests are taken on at once.
        pool_size: The most database connections of each worker.
        pool_timeout: Seconds a request waits for one of them.
        prepared_statements: Whether statements are prepared; off for a PgBouncer in transaction
            mode that does not keep them.
        query_connections: On how many connections at once the queries of one request run, if there
            are eight and more for each.
        compaction: Whether each worker builds indexes behind what is written. Of several one
            works on a collection.
        compaction_url: The database's URL for that, where `url` leads to a pooler.
        segment_bytes: The least that embeddings without an index have to have, in bytes, before
            they get one.
        index_memory: Bytes of the database server's memory that building an index may take.
        auto_index: Whether metadata keys and documents that filters keep asking about get an
            index.
        admin_port: The port for ``/live``, ``/ready`` and ``/metrics``; None for none.
        admin_address: The address these are on.
        open_telemetry: Where traces and metrics go, an OTLP collector's address such as
            ``http://localhost:4318``; None for nowhere.
        log_format: ``json`` for programs, ``text`` for people.
        log_level: The least severity that is logged.
        log_requests: Whether each request is logged.
        drain_timeout: Seconds that running requests have to end when the server is told to stop.
        ssl_certificate: A file with a certificate (PEM); with `ssl_key`, HTTPS is served.
        ssl_key: The file with its key.
    """

    model_config = SettingsConfigDict(
        env_prefix="PGCHROMA_", env_nested_delimiter="__", extra="ignore"
    )

    # A database's URL may hold a password, which belongs into no log.
    url: SecretStr | None = None
    persist_path: Path = Path("./chroma")
    listen_address: str = "localhost"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    auth: bool = True
    auth_cache_seconds: float = Field(default=5.0, ge=0)
    role_per_tenant: bool | Literal["unsealed"] = False
    allow_reset: bool = False
    migrations: Literal["none", "validate", "apply"] = "apply"
    cors_allow_origins: Annotated[list[str], NoDecode] = []
    allowed_hosts: Annotated[list[str], NoDecode] = []
    max_payload_size_bytes: int = Field(default=40 * 1024 * 1024, ge=1)
    max_batch_size: int = Field(default=5461, ge=1)
    max_n_results: int | None = Field(default=None, ge=1)
    request_timeout: float = Field(default=60.0, gt=0)
    body_timeout: float = Field(default=30.0, gt=0)
    regex_timeout: float = Field(default=10.0, gt=0)
    rate_limit: int | None = Field(default=None, ge=1)
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    pool_size: int = Field(default=10, ge=1)
    pool_timeout: float = Field(default=5.0, gt=0)
    query_connections: int = Field(default=2, ge=1)
    prepared_statements: bool = True
    compaction: bool = True
    compaction_url: SecretStr | None = None
    segment_bytes: int = Field(default=8 << 20, ge=0)
    index_memory: int = Field(default=1 << 30, ge=1 << 20)
    auto_index: bool = True
    admin_port: int | None = Field(default=None, ge=0, le=65535)
    admin_address: str = "localhost"
    open_telemetry: OpenTelemetry | None = None
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = True
    drain_timeout: float = Field(default=30.0, ge=0)
    ssl_certificate: Path | None = None
    ssl_key: Path | None = None

    from_file: ClassVar[dict[str, Any]] = {}
    """What `load_settings` read from the configuration file."""

    @field_validator("cors_allow_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Read a list that stands in a variable: JSON, or texts with commas between them."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as fault:
                raise ValueError("is not a list in JSON") from fault
        return [origin.strip() for origin in value.split(",") if origin.strip()]

    @field_validator("listen_address", "admin_address")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value.removeprefix("[").removesuffix("]")

    @field_validator("url", "compaction_url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            conninfo_to_dict(plain_conninfo(value.get_secret_value()))
        except psycopg.ProgrammingError:
            # libpq's message quotes what it could not read, and that may be a password.
            raise ValueError(
                "is not a PostgreSQL URL or connection string; in a URL, characters such as @ : / "
                "and % of a password are percent-encoded"
            ) from None
        return value

    @model_validator(mode="after")
    def _check(self) -> ServerSettings:
        if not self.auth and self.listen_address not in _LOOPBACK:
            raise ValueError(
                "without authentication the server listens on loopback only: set listen_address "
                "to localhost, or leave auth on and make keys with `pgchroma keys create`"
            )
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            raise ValueError("ssl_certificate and ssl_key go together")
        if self.port and self.admin_port == self.port:
            raise ValueError("admin_port has to be another than port")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add Chroma's own variables and the configuration file, in this order of rank."""
        return (
            init_settings,
            env_settings,
            _ChromasVariables(settings_cls, env_prefix="CHROMA_"),
            InitSettingsSource(settings_cls, init_kwargs=cls.from_file),
        )

    def backend_settings(self) -> Settings:
        """Return what a worker's database client is told; the catalog is looked after before."""
        return Settings(
            allow_reset=self.allow_reset,
            migrations="none",
            pgchroma_pool_size=self.pool_size,
            pgchroma_pool_timeout=self.pool_timeout,
            pgchroma_max_batch_size=self.max_batch_size,
            pgchroma_regex_timeout=self.regex_timeout,
            pgchroma_query_connections=self.query_connections,
            pgchroma_prepared_statements=self.prepared_statements,
            pgchroma_role_per_tenant=self.role_per_tenant,
            pgchroma_compaction=self.compaction,
            pgchroma_compaction_url=(
                None if self.compaction_url is None else self.compaction_url.get_secret_value()
            ),
            pgchroma_segment_bytes=self.segment_bytes,
            pgchroma_index_memory=self.index_memory,
            pgchroma_auto_index=self.auto_index,
        )


def load_settings(file: Path | None, flags: dict[str, Any]) -> ServerSettings:
    """Read the configuration file and the environment under the flags that were given.

    Raises:
        ValueError: A setting is not what it should be.
    """

    class FromFile(ServerSettings):
        from_file = {} if file is None else _read(file)

    given = {name: value for name, value in flags.items() if value is not None}
    # Worker processes are sent the settings, and only a class of a module can be sent.
    return ServerSettings.model_construct(**dict(FromFile(**given)))


class _ChromasVariables(EnvSettingsSource):
    """Chroma's variables. Others that begin alike are somebody else's: CHROMA_URL is a client's."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name in _CHROMAS}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{file}{line}: {getattr(fault, 'problem', 'not YAML')}") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"{file} cannot be read: {fault}") from fault
    if not isinstance(found or {}, dict):
        raise ValueError(f"{file}: expected settings such as `port: 8000`")
    unknown = _unknown(found or {}, ServerSettings)
    if unknown:
        _log.warning("%s: these settings are unknown or have no effect: %s", file, unknown)
    return found or {}


_GROUPS: dict[str, type[BaseModel]] = {
    "circuit_breaker": CircuitBreaker,
    "open_telemetry": OpenTelemetry,
}


def _unknown(found: Mapping[Any, Any], model: type[BaseModel]) -> str:
    names = [str(name) for name in found if name not in model.model_fields]
    for group, kind in _GROUPS.items():
        part = found.get(group)
        if model is ServerSettings and isinstance(part, dict):
            names += [f"{group}.{name}" for name in part if name not in kind.model_fields]
    return ", ".join(names)
