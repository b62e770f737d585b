"""What the server can be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pgchroma.backends.checks import check_conninfo
from pgchroma.config import Settings
from pgchroma.errors import ChromaError
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
"""PostgreSQL counts a timeout's milliseconds in 31 bits."""

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Pause = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class InvalidSettingError(Exception):
    """A setting that is well-formed cannot be followed here.

    Attributes:
        setting: Its name.
        reason: What is wrong, and what is expected.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}")
        self.setting = setting
        self.reason = reason


class CircuitBreaker(BaseModel):
    """How many requests a worker takes on at once; 0 is no limit."""

    requests: int = Field(default=1000, ge=0, le=2**31 - 1)


class OpenTelemetry(BaseModel):
    """Where traces and metrics are sent, by OTLP over HTTP."""

    endpoint: str = Field(pattern="^https?://")
    service_name: str = "pgchroma"


GROUPS: Final[dict[str, type[BaseModel]]] = {
    "circuit_breaker": CircuitBreaker,
    "open_telemetry": OpenTelemetry,
}
"""Settings that have settings of their own."""


class ServerSettings(BaseModel):
    """Settings of the server; those that Chroma's has, under its names.

    `pgchroma.server.loading` reads them from flags, environment and file.

    Attributes:
        url: The database to use, as a URL or a libpq connection string; None: an embedded
            PostgreSQL in `persist_path`.
        persist_path: The directory of the embedded PostgreSQL.
        listen_address: The address to listen on.
        port: The port to listen on.
        workers: Processes that answer requests.
        auth: Whether callers need an API key or a password. Off, only loopback is listened on.
        admin_key: The key of the first admin, which is made where nobody has a credential yet;
            None: one is generated, and shown on the terminal or written to a file.
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
        answer_timeout: Seconds a client may take to read each 256 KiB of an answer.
        regex_timeout: Seconds a statement with a regular expression may run.
        rate_limit: Requests a minute that each credential has at each worker; None for no limit.
        circuit_breaker: How many requests are taken on at once.
        pool_size: The most database connections of each worker.
        pool_timeout: Seconds a request waits for one of them.
        prepared_statements: Whether statements are prepared; None: where no pooler is in
            between.
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

    # A database's URL may hold a password, which belongs into no log.
    url: SecretStr | None = None
    persist_path: Path = Path("./chroma")
    listen_address: str = "localhost"
    port: Port = 8000
    workers: int = Field(default=1, ge=1, le=1024)
    auth: bool = True
    admin_key: SecretStr | None = None
    auth_cache_seconds: Pause = 5.0
    role_per_tenant: bool | Literal["unsealed"] = False
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
    auto_index: bool = True
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
        """Keep YAML's `yes` from being the number 1."""
        if isinstance(value, bool) and not isinstance(
            cls.model_fields[str(info.field_name)].default, bool
        ):
            raise PydanticCustomError("boolean", "expected another value than true or false")
        return value

    @field_validator("cors_allow_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Read a list that stands in a variable: JSON, or texts with commas between them."""
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
            raise ValueError("is empty: give the URL of a database, or leave it out")
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
            # As it was written: `Path` takes an empty text for the current directory.
            directory = resolved(value)
        except ChromaError as error:
            raise PydanticCustomError(
                "directory", "{reason}", {"reason": error.message()}
            ) from None
        if directory.exists() and not directory.is_dir():
            raise ValueError("expected a directory, and this is a file")
        return value

    @field_validator("ssl_certificate", "ssl_key")
    @classmethod
    def _check_file(cls, value: Path | None) -> Path | None:
        try:
            is_file = value is None or value.is_file()
        except (OSError, ValueError):
            is_file = False
        if not is_file:
            raise ValueError("expected a file (PEM), and there is none")
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
                "to localhost, or leave auth on and make keys with `pgchroma keys create`",
            )
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            given = "ssl_certificate" if self.ssl_key is None else "ssl_key"
            raise _wrong(given, "ssl_certificate and ssl_key go together")
        if self.port and self.admin_port == self.port:
            raise _wrong("admin_port", "admin_port has to be another than port")
        return self

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
            # The request's own limit comes first; this one ends what does not heed it.
            pgchroma_request_timeout=self.request_timeout + 1,
            pgchroma_role_per_tenant=self.role_per_tenant,
            pgchroma_compaction=self.compaction,
            pgchroma_compaction_url=(
                None if self.compaction_url is None else self.compaction_url.get_secret_value()
            ),
            pgchroma_segment_bytes=self.segment_bytes,
            pgchroma_index_memory=self.index_memory,
            pgchroma_auto_index=self.auto_index,
        )


def _wrong(setting: str, reason: str) -> PydanticCustomError:
    """Return the error of a setting that is wrong beside another one."""
    return PydanticCustomError("together", "{reason}", {"reason": reason, "setting": setting})
