"""The server's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pgchroma.backends.checks import check_conninfo
from pgchroma.config import RolePerTenant, Settings
from pgchroma.errors import ChromaError
from pgchroma.extras import is_extra_installed
from pgchroma.model.configuration import DefaultIndex
from pgchroma.model.hashes import Key

__all__ = (
    "GROUPS",
    "CircuitBreaker",
    "InvalidSettingError",
    "OpenTelemetry",
    "ServerSettings",
)

LOOPBACK = ("localhost", "127.0.0.1", "::1")

MAX_SECONDS = 2_000_000
"""PostgreSQL stores a timeout's milliseconds in 31 bits."""

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Pause = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class InvalidSettingError(Exception):
    """A well-formed setting that cannot be applied on this machine.

    Attributes:
        setting: Its name.
        reason: What is wrong, and what is expected.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}")
        self.setting = setting
        self.reason = reason


class CircuitBreaker(BaseModel):
    """The maximum number of concurrent requests of each worker; 0 means no limit."""

    requests: int = Field(default=1000, ge=0, le=2**31 - 1)


class OpenTelemetry(BaseModel):
    """The OTLP collector for traces and metrics, over HTTP."""

    endpoint: str = Field(pattern="^https?://")
    service_name: str = "pgchroma"


GROUPS: Final[dict[str, type[BaseModel]]] = {
    "circuit_breaker": CircuitBreaker,
    "open_telemetry": OpenTelemetry,
}
"""Settings that are groups of settings."""


class ServerSettings(BaseModel):
    """The settings of the server; those that Chroma's server also has are under its names.

    `pgchroma.server.loading` reads them from flags, environment and file. docs/server.md lists
    them.

    Attributes:
        url: The database, as a URL or a libpq connection string. `None` means an embedded
            PostgreSQL in `persist_path`.
        persist_path: The directory of the embedded PostgreSQL.
        listen_address: The address to listen on.
        port: The port to listen on; 0 means any free port.
        workers: Number of processes that answer requests.
        auth: Whether callers need an API key or a password. Without it, the server listens on
            loopback only.
        admin_key: The first admin's key, which is created if the database has no credential yet.
            `None` means that a key is generated, and shown on the terminal or written to a file.
        auth_cache_seconds: How long a credential is cached, and so how long a revoked one may
            still be accepted.
        role_per_tenant: Whether each tenant's requests run as a separate PostgreSQL role; see
            `Settings.pgchroma_role_per_tenant`.
        allow_reset: Whether an admin may call ``reset``, which deletes everything.
        migrations: What to do with a catalog that is missing or old; see `Settings.migrations`.
        cors_allow_origins: Origins whose pages may call the API; ``*`` for all.
        allowed_hosts: Host names, in addition to loopback's, that requests may be addressed to
            while `auth` is off; ``*`` for all.
        max_payload_size_bytes: Maximum length of a request's body.
        max_batch_size: Maximum number of records in one write; clients split larger batches.
        max_n_results: Maximum number of results of one query; `None` means no limit.
        request_timeout: Seconds a request may take after its body has arrived.
        body_timeout: Seconds a body may take to arrive.
        answer_timeout: Seconds a client may take to read each 256 KiB of an answer.
        regex_timeout: Seconds a statement with a regular expression may run.
        rate_limit: Maximum number of requests per minute, for each credential at each worker;
            `None` means no limit.
        circuit_breaker: Maximum number of concurrent requests.
        pool_size: Maximum number of database connections of each worker.
        pool_timeout: Seconds a request waits for a connection.
        prepared_statements: Whether statements are prepared. `None` means that they are, unless a
            pooler is between the server and PostgreSQL.
        query_connections: Number of connections that share the queries of one request, if there
            are at least eight queries for each.
        compaction: Whether each worker builds indexes in the background. Only one worker at a time
            works on a collection.
        compaction_url: The direct URL of the database, if `url` leads to a pooler.
        segment_bytes: Minimum size, in bytes, of unindexed embeddings before they are indexed.
        index_memory: Memory of the database server, in bytes, that an index build may use.
        default_knn_index: The index that a collection shows if its request has no settings of one:
            ``hnsw``, or ``spann`` as in Chroma Cloud.
        auto_index: Whether metadata keys and documents are indexed when filters use them
            repeatedly.
        memory_index: Whether queries use copies of embeddings in this host's memory; `None` means
            that they do if the extra ``memory`` is installed.
        memory_index_path: The directory of their files; `None` means one in the user's cache.
        memory_index_bytes: Maximum size of these files in bytes.
        admin_port: The port for ``/live``, ``/ready`` and ``/metrics``; `None` means no admin port.
        admin_address: The address of the admin port.
        open_telemetry: The OTLP collector for traces and metrics, such as
            ``http://localhost:4318``; `None` means no telemetry.
        log_format: ``json`` for programs, ``text`` for people.
        log_level: Minimum severity to log.
        log_requests: Whether each request is logged.
        drain_timeout: Seconds that running requests have to finish when the server is stopped.
        ssl_certificate: A file with a certificate (PEM); requires `ssl_key`, and enables HTTPS.
        ssl_key: A file with the certificate's private key.
    """

    # A database's URL may contain a password, which must not be logged.
    url: SecretStr | None = None
    persist_path: Path = Path("./chroma")
    listen_address: str = "localhost"
    port: Port = 8000
    workers: int = Field(default=1, ge=1, le=1024)
    auth: bool = True
    admin_key: SecretStr | None = None
    auth_cache_seconds: Pause = 5.0
    role_per_tenant: RolePerTenant = False
    allow_reset: bool = False
    migrations: Literal["none", "validate", "apply"] = "apply"
    cors_allow_origins: list[str] = []
    allowed_hosts: list[str] = []
    max_payload_size_bytes: Count = 40 * 1024 * 1024
    max_batch_size: Count = 5461
    max_n_results: Count | None = None
    request_timeout: Seconds = 60.0
    body_timeout: Seconds = 30.0
    answer_timeout: Seconds = 30.0
    regex_timeout: Seconds = 10.0
    rate_limit: Count | None = None
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    pool_size: int = Field(default=10, ge=1, le=10_000)
    pool_timeout: Seconds = 5.0
    query_connections: int = Field(default=2, ge=1, le=10_000)
    prepared_statements: bool | None = None
    compaction: bool = True
    compaction_url: SecretStr | None = None
    segment_bytes: int = Field(default=8 << 20, ge=0, le=1 << 60)
    index_memory: int = Field(default=1 << 30, ge=1 << 20, le=1 << 40)
    default_knn_index: DefaultIndex = "hnsw"
    auto_index: bool = True
    memory_index: bool | None = None
    memory_index_path: Path | None = None
    memory_index_bytes: int = Field(default=2 << 30, ge=0, le=1 << 60)
    admin_port: Port | None = None
    admin_address: str = "localhost"
    open_telemetry: OpenTelemetry | None = None
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = True
    drain_timeout: Pause = 30.0
    ssl_certificate: Path | None = None
    ssl_key: Path | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject YAML's `yes` for a number, where pydantic would convert it to 1."""
        field = cls.model_fields[str(info.field_name)]
        takes_booleans = isinstance(field.default, bool) or bool in get_args(field.annotation)
        if isinstance(value, bool) and not takes_booleans:
            raise PydanticCustomError("boolean", "expected another value than true or false")
        return value

    @field_validator("cors_allow_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Parse a list in a variable: JSON, or strings separated by commas."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError("is not a list in JSON") from error
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
        text = value.get_secret_value().strip()
        if not text:
            raise ValueError("is empty: set it to the URL of a database, or remove it")
        try:
            check_conninfo(text)
        except ChromaError as error:
            raise ValueError(error.message()) from None
        return SecretStr(text)

    @field_validator("persist_path", mode="before")
    @classmethod
    def _check_path(cls, value: Any) -> Any:
        from pgchroma.embedded.directory import resolved  # noqa: PLC0415  (only where it is used)

        if not isinstance(value, str | Path):
            return value
        try:
            # The original text: `Path` reads an empty text as the current directory.
            directory = resolved(value)
        except ChromaError as error:
            raise PydanticCustomError(
                "directory", "{reason}", {"reason": error.message()}
            ) from None
        if directory.exists() and not directory.is_dir():
            raise ValueError("expected a directory, got a file")
        return value

    @field_validator("ssl_certificate", "ssl_key")
    @classmethod
    def _check_file(cls, value: Path | None) -> Path | None:
        try:
            is_file = value is None or value.is_file()
        except (OSError, ValueError):
            is_file = False
        if not is_file:
            raise ValueError("expected a file (PEM), which does not exist")
        return value

    @field_validator("admin_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and Key.parse(value.get_secret_value()) is None:
            raise ValueError("expected a key as `pgchroma keys generate` prints it")
        return value

    @model_validator(mode="after")
    def _check(self) -> ServerSettings:
        if not self.auth and self.listen_address not in LOOPBACK:
            raise _wrong(
                "listen_address",
                "without authentication the server listens on loopback only: set listen_address "
                "to localhost, or leave auth on and create keys with `pgchroma keys create`",
            )
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            given = "ssl_certificate" if self.ssl_key is None else "ssl_key"
            raise _wrong(given, "ssl_certificate and ssl_key must be set together")
        if self.port and self.admin_port == self.port:
            raise _wrong("admin_port", "admin_port must differ from port")
        return self

    def backend_settings(self) -> Settings:
        """Return the settings of a worker's backend; the supervisor has upgraded the catalog."""
        return Settings(
            allow_reset=self.allow_reset,
            migrations="none",
            pgchroma_pool_size=self.pool_size,
            pgchroma_pool_timeout=self.pool_timeout,
            pgchroma_max_batch_size=self.max_batch_size,
            pgchroma_regex_timeout=self.regex_timeout,
            pgchroma_query_connections=self.query_connections,
            pgchroma_prepared_statements=self.prepared_statements,
            # The request's own limit expires first; this one ends statements that outlive it.
            pgchroma_request_timeout=self.request_timeout + 1,
            pgchroma_role_per_tenant=self.role_per_tenant,
            pgchroma_compaction=self.compaction,
            pgchroma_compaction_url=(
                None if self.compaction_url is None else self.compaction_url.get_secret_value()
            ),
            pgchroma_segment_bytes=self.segment_bytes,
            pgchroma_index_memory=self.index_memory,
            pgchroma_default_knn_index=self.default_knn_index,
            pgchroma_auto_index=self.auto_index,
            pgchroma_memory_index=(
                is_extra_installed("memory") if self.memory_index is None else self.memory_index
            ),
            pgchroma_memory_index_path=self.memory_index_path,
            pgchroma_memory_index_bytes=self.memory_index_bytes,
        )


def _wrong(setting: str, reason: str) -> PydanticCustomError:
    """Return the error of a setting that is wrong in combination with another one."""
    return PydanticCustomError("together", "{reason}", {"reason": reason, "setting": setting})
