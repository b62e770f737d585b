"""Chroma's settings that decide where data is stored: each is applied or rejected, none is ignored.

A client's own arguments take precedence over the environment. So a client with such arguments
rejects only contradicting settings that the caller passed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic_settings import BaseSettings

if TYPE_CHECKING:
    from pgchroma.config import Settings

__all__ = ("DECISIVE", "ClientKind", "DistributedSettings", "check_destination", "is_http")

ClientKind: TypeAlias = Literal[
    "Client", "EphemeralClient", "PersistentClient", "PostgresClient", "HttpClient"
]
"""The function that makes the client; the asynchronous ones count as the synchronous."""

DEFAULT_DIRECTORY: Final = "./chroma"

DECISIVE: Final = (
    "chroma_api_impl",
    "chroma_server_host",
    "chroma_server_http_port",
    "is_persistent",
    "persist_directory",
)
"""The settings by which a client is chosen."""

_HTTP: Final = ("chromadb.api.fastapi.FastAPI", "chromadb.api.async_fastapi.AsyncFastAPI")
_LOCAL: Final = ("chromadb.api.rust.RustBindingsAPI", "chromadb.api.segment.SegmentAPI")
_MAX_SHOWN: Final = 60
_SQLITE: Final = "chromadb.db.impl.sqlite.SqliteDB"


class DistributedSettings(BaseSettings):
    """The addresses of the parts of a distributed Chroma, or of one older than 0.4.

    pgchroma has no such parts, so a value other than Chroma's default is rejected.
    """

    chroma_db_impl: str | None = None
    chroma_sysdb_impl: str = _SQLITE
    chroma_producer_impl: str = _SQLITE
    chroma_consumer_impl: str = _SQLITE
    chroma_segment_manager_impl: str = "chromadb.segment.impl.manager.local.LocalSegmentManager"
    chroma_executor_impl: str = "chromadb.execution.executor.local.LocalExecutor"
    chroma_coordinator_host: str = "localhost"
    chroma_server_grpc_port: int | str | None = None
    chroma_logservice_host: str = "localhost"
    chroma_logservice_port: int | str = 50052
    clickhouse_host: str | None = None
    clickhouse_port: int | str | None = None
    pulsar_broker_url: str | None = None
    tenant_id: str = "default"
    topic_namespace: str = "default"


def is_http(settings: Settings) -> bool:
    """Whether the settings select a server over HTTP."""
    return settings.chroma_api_impl in _HTTP


def check_destination(settings: Settings, kind: ClientKind, path: str | Path = "") -> None:
    """Raise if a setting selects another destination for data than this client uses.

    Args:
        settings: The client's settings, from its arguments or the environment.
        kind: The client.
        path: The directory of a `PersistentClient`.

    Raises:
        ValueError: There is such a setting; the message names the client to use.
    """
    _check_implementation(settings)
    over_http = kind == "HttpClient" or (kind == "Client" and is_http(settings))
    if over_http:
        _check_protocol(settings)
        return
    _check_distributed(settings)
    if kind == "Client":
        _check_server(settings, kind)
        _check_directory(settings, "" if not settings.is_persistent else None, kind)
        return
    ours = _made_by_caller(settings)
    if is_http(ours):
        raise ValueError(
            _server_advice(settings, f"chroma_api_impl={ours.chroma_api_impl!r}", kind)
        )
    _check_server(ours, kind)
    _check_directory(ours, path, kind)
    if ours.is_persistent and kind != "PersistentClient":
        raise ValueError(f"is_persistent=True has no effect on {kind}: use PersistentClient(path)")


def _check_implementation(settings: Settings) -> None:
    """Raise if the settings are those of Chroma before 0.4, or unknown."""
    implementation = settings.chroma_api_impl
    if implementation not in ("", *_HTTP, *_LOCAL):
        shown = f"chroma_api_impl={_cut(implementation)}"
        if "rest" in implementation.lower() or settings.chroma_server_host is not None:
            raise ValueError(_server_advice(settings, shown))
        raise ValueError(_local_advice(settings, shown))
    if settings.chroma_db_impl is not None:
        raise ValueError(_local_advice(settings, f"chroma_db_impl={_cut(settings.chroma_db_impl)}"))


def _check_protocol(settings: Settings) -> None:
    if settings.chroma_server_api_default_path.rstrip("/") != "/api/v2":
        raise ValueError(
            f"chroma_server_api_default_path={_cut(settings.chroma_server_api_default_path)} is "
            "not supported: clients use Chroma's API v2, below /api/v2"
        )


def _check_distributed(settings: Settings) -> None:
    for name, field in DistributedSettings.model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            raise ValueError(
                f"{name}={_cut(value)} is not supported: this client does not use a distributed "
                "Chroma. Use PostgresClient(url) for a database, or HttpClient(host, port) for a "
                "server"
            )


def _check_server(settings: Settings, kind: ClientKind) -> None:
    for name in ("chroma_server_host", "chroma_server_http_port"):
        value = getattr(settings, name)
        if value not in (None, ""):
            raise ValueError(_server_advice(settings, f"{name}={_cut(value)}", kind))


def _check_directory(settings: Settings, path: str | Path | None, kind: ClientKind) -> None:
    """Raise if the settings name a directory other than `path`; `None` allows any."""
    directory = settings.persist_directory
    if path is None or directory in ("", DEFAULT_DIRECTORY) or _is_same(directory, path):
        return
    raise ValueError(
        f"persist_directory={_cut(directory)} has no effect on {kind}: use "
        f"PersistentClient({_cut(directory)}) to keep data there, or leave it out"
    )


def _made_by_caller(settings: Settings) -> Settings:
    """Return the settings without values that come from the environment."""
    given = {name: getattr(settings, name) for name in DECISIVE}
    fields = type(settings).model_fields
    if all(value == fields[name].default for name, value in given.items()):
        return settings
    environment = type(settings)()
    taken = {
        name: fields[name].default
        for name, value in given.items()
        if value == getattr(environment, name)
    }
    return settings.model_copy(update=taken)


def _server_advice(settings: Settings, setting: str, kind: ClientKind | None = None) -> str:
    host = settings.chroma_server_host or "localhost"
    port = settings.chroma_server_http_port or 8000
    without = f" on {kind}" if kind else ""
    return (
        f"{setting} has no effect{without}: to use a server, create its client with "
        f"HttpClient(host={_cut(host)}, port={port})"
    )


def _local_advice(settings: Settings, setting: str) -> str:
    return (
        f"{setting} is a setting of Chroma before 0.4 and is not supported: use "
        f"PersistentClient({_cut(settings.persist_directory)}) to store data in a directory, "
        "EphemeralClient() for temporary data, HttpClient(host, port) for a server, or "
        "PostgresClient(url) for a database"
    )


def _is_same(directory: str, path: str | Path) -> bool:
    if not str(path):
        return False
    return Path(directory).expanduser().resolve() == Path(path).expanduser().resolve()


def _cut(value: Any) -> str:
    # A host may be a URL, and a URL may contain a password.
    text = str(value)
    scheme, separator, rest = text.partition("://")
    text = f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else text
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")
