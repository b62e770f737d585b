"""What the server can be told: flags win over the environment, it over the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from pgchroma.config import Settings

__all__ = ("CircuitBreaker", "OpenTelemetry", "ServerSettings", "load_settings")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class CircuitBreaker(BaseModel):
    """How many requests a worker takes on at once; 0 is no limit."""

    requests: int = Field(default=1000, ge=0)


class OpenTelemetry(BaseModel):
    """Where traces and metrics are sent, by OTLP over HTTP."""

    endpoint: str
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
        role_per_tenant: Whether requests run under a PostgreSQL role of their tenant's own.
        allow_reset: Whether ``reset``, which deletes everything, may be asked for.
        migrations: What to do with a catalog that is missing or old: see `Settings.migrations`.
        cors_allow_origins: The origins whose pages may call the API; ``*`` for all.
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
        admin_port: The port for ``/live``, ``/ready`` and ``/metrics``; None for none.
        admin_address: The address these are on.
        open_telemetry: Where traces and metrics go; None for nowhere.
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
    role_per_tenant: bool = False
    allow_reset: bool = False
    migrations: Literal["none", "validate", "apply"] = "apply"
    cors_allow_origins: list[str] = []
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
    prepared_statements: bool = True
    admin_port: int | None = Field(default=None, ge=0, le=65535)
    admin_address: str = "localhost"
    open_telemetry: OpenTelemetry | None = None
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = True
    drain_timeout: float = Field(default=30.0, ge=0)
    ssl_certificate: Path | None = None
    ssl_key: Path | None = None

    file: ClassVar[Path | None] = None
    """The configuration file that `load_settings` reads."""

    @model_validator(mode="after")
    def _check(self) -> ServerSettings:
        if not self.auth and self.listen_address not in _LOOPBACK:
            raise ValueError(
                "without authentication the server listens on loopback only: set listen_address "
                "to localhost, or leave auth on and make keys with `pgchroma keys create`"
            )
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            raise ValueError("ssl_certificate and ssl_key go together")
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
        chroma = EnvSettingsSource(settings_cls, env_prefix="CHROMA_")
        sources = (init_settings, env_settings, chroma)
        if cls.file is None:
            return sources
        return (*sources, YamlConfigSettingsSource(settings_cls, yaml_file=cls.file))

    def backend_settings(self) -> Settings:
        """Return what a worker's database client is told; the catalog is looked after before."""
        return Settings(
            allow_reset=self.allow_reset,
            migrations="none",
            pgchroma_pool_size=self.pool_size,
            pgchroma_pool_timeout=self.pool_timeout,
            pgchroma_max_batch_size=self.max_batch_size,
            pgchroma_regex_timeout=self.regex_timeout,
            pgchroma_prepared_statements=self.prepared_statements,
        )


def load_settings(file: Path | None, flags: dict[str, Any]) -> ServerSettings:
    """Read the configuration file and the environment under the flags that were given.

    Raises:
        ValueError: A setting is not what it should be.
    """

    class FromFile(ServerSettings):
        pass

    FromFile.file = file
    given = {name: value for name, value in flags.items() if value is not None}
    # Worker processes are sent the settings, and only a class of a module can be sent.
    return ServerSettings.model_construct(**dict(FromFile(**given)))
