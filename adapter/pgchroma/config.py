"""Settings, under Chroma's names and ours: arguments win over the environment, it over `.env`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ("Settings",)


class Settings(BaseSettings):
    """What a client can be told.

    Chroma's other settings are accepted and have no effect: they tune a server, a telemetry or
    a storage engine that is not there. Every setting can come from the environment under its
    own name in upper case, such as ``ALLOW_RESET`` or ``PGCHROMA_POOL_SIZE``.

    Attributes:
        is_persistent: Whether `Client` keeps its data in `persist_directory`.
        allow_reset: Whether `reset`, which deletes everything, may be called.
        migrations: On connecting, ``apply`` makes or upgrades the catalog, ``validate`` refuses
            one that is not up to date, ``none`` does not look.
        pgchroma_pool_size: The most connections a client opens.
        pgchroma_pool_timeout: Seconds to wait for a connection.
        pgchroma_max_batch_size: The most records one call may write.
        pgchroma_regex_timeout: Seconds a statement with a regular expression may run.
        pgchroma_prepared_statements: Whether statements are prepared; off for a PgBouncer in
            transaction mode that does not keep them.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    is_persistent: bool = False
    persist_directory: str = "./chroma"
    allow_reset: bool = False
    anonymized_telemetry: bool = False
    migrations: Literal["none", "validate", "apply"] = "apply"

    pgchroma_pool_size: int = Field(default=10, ge=1)
    pgchroma_pool_timeout: float = Field(default=30.0, gt=0)
    pgchroma_max_batch_size: int = Field(default=50_000, ge=1)
    pgchroma_regex_timeout: float = Field(default=10.0, gt=0)
    pgchroma_prepared_statements: bool = True

    def __getitem__(self, key: str) -> Any:
        """Return the setting of that name."""
        return getattr(self, key)
