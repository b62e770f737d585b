"""Clients of a server."""

from __future__ import annotations

import os
from collections.abc import Callable

from pgchroma.client._async.client import AsyncClient
from pgchroma.client._async.opening import open_http_client as open_http_client_async
from pgchroma.client._sync.client import Client
from pgchroma.client._sync.opening import open_http_client
from pgchroma.client.endpoints import DEFAULT_PORT, parse_host, parse_port
from pgchroma.config import Settings
from pgchroma.destinations import check_destination
from pgchroma.errors import ChromaAuthError
from pgchroma.model.entities import UserIdentity
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT

__all__ = (
    "AsyncHttpClient",
    "CloudClient",
    "HttpClient",
    "client_from_settings",
)


def HttpClient(  # noqa: N802
    host: str = "localhost",
    port: int = 8000,
    ssl: bool = False,
    headers: dict[str, str] | None = None,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> Client:
    """Make a client of a server: pgchroma's, or Chroma's own.

    Args:
        host: Its name, or its URL; a URL's port and path are used, and `port` is not.
        port: Its port.
        ssl: Whether it is spoken to by HTTPS.
        headers: Sent along with every request, such as ``{"X-Chroma-Token": key}``.
        settings: How credentials are sent, time-outs and the like; see `Settings`.
        tenant: The tenant to work for.
        database: The tenant's database to work in.

    Raises:
        ValueError: No server answers there.
        ChromaAuthError: The server does not accept the credentials.
        NotFoundError: The tenant or the database does not exist.
    """
    return client_from_settings(_settings(host, port, ssl, headers, settings), tenant, database)


async def AsyncHttpClient(  # noqa: N802
    host: str = "localhost",
    port: int = 8000,
    ssl: bool = False,
    headers: dict[str, str] | None = None,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> AsyncClient:
    """Make an asynchronous client of a server; see `HttpClient`."""
    settings = _settings(host, port, ssl, headers, settings)
    return await open_http_client_async(settings, _chooser(settings, tenant, database))


def CloudClient(  # noqa: N802
    tenant: str | None = None,
    database: str | None = None,
    api_key: str | None = None,
    settings: Settings | None = None,
    *,
    cloud_host: str | None = None,
    cloud_port: int = 443,
    enable_ssl: bool = True,
) -> Client:
    """Make a client of a remote server by an API key.

    Args:
        tenant: The tenant; None: ``CHROMA_TENANT``, else the one the key is for.
        database: The database; None: ``CHROMA_DATABASE``, else the one the key is for.
        api_key: The key; None: ``CHROMA_API_KEY``.
        settings: See `Settings`.
        cloud_host: The server; None: ``CHROMA_HOST``, else Chroma's own cloud.
        cloud_port: Its port.
        enable_ssl: Whether it is spoken to by HTTPS.

    Raises:
        ValueError: There is no key, no server answers, or the key is for several databases and none
            is named.
        ChromaAuthError: The server does not accept the key.
    """
    key = api_key or os.environ.get("CHROMA_API_KEY")
    if not key:
        raise ValueError(
            "Missing required arguments: api_key. Please provide them or set the environment "
            "variables: CHROMA_API_KEY"
        )
    host = cloud_host or os.environ.get("CHROMA_HOST") or "api.trychroma.com"
    tenant = tenant or os.environ.get("CHROMA_TENANT")
    database = database or os.environ.get("CHROMA_DATABASE")
    settings = (settings or Settings()).model_copy(
        update={
            "chroma_client_auth_provider": "TokenAuthClientProvider",
            "chroma_client_auth_credentials": key,
            "chroma_auth_token_transport_header": "X-Chroma-Token",
        }
    )
    settings = _settings(host, cloud_port, enable_ssl, None, settings)
    return open_http_client(
        settings,
        lambda identity: (tenant or _only_tenant(identity), database or _only_database(identity)),
    )


def client_from_settings(settings: Settings, tenant: str, database: str) -> Client:
    """Make a client of the server that the settings name."""
    return open_http_client(settings, _chooser(settings, tenant, database))


def _settings(
    host: str, port: int, ssl: bool, headers: dict[str, str] | None, settings: Settings | None
) -> Settings:
    settings = settings or Settings()
    check_destination(settings, "HttpClient")
    host, port = _host_and_port(host, port)
    # The settings may come from the environment, and name another server than the caller expects.
    for what, given, settled in (
        ("host", host, settings.chroma_server_host),
        ("http port", port, settings.chroma_server_http_port),
    ):
        if settled not in (None, given):
            raise ValueError(
                f"Chroma server {what} provided in settings[{settled}] is different to the one "
                f"provided in HttpClient: [{given}]"
            )
    return settings.model_copy(
        update={
            "chroma_server_host": host,
            "chroma_server_http_port": port,
            "chroma_server_ssl_enabled": ssl,
            "chroma_server_headers": {**(settings.chroma_server_headers or {}), **(headers or {})},
        }
    )


def _host_and_port(host: str, port: int | str | None) -> tuple[str, int]:
    """Use a port that is written after the host, if the other is the default."""
    port = DEFAULT_PORT if port is None else parse_port(port)
    if "/" in host or not host:
        return host, port
    name, written = parse_host(host)
    if written not in (None, port) and port != DEFAULT_PORT:
        raise ValueError(f"two ports are given: {host!r:.200} and port={port}")
    return name, written or port


def _chooser(
    settings: Settings, tenant: str, database: str
) -> Callable[[UserIdentity], tuple[str, str]]:
    """Return what chooses these, or if the settings say so those of the credential."""

    def choose(identity: UserIdentity) -> tuple[str, str]:
        databases = identity.databases or []
        only = databases[0] if len(databases) == 1 else None
        return (
            _checked_against_credential(tenant, DEFAULT_TENANT, identity.tenant, "Tenant"),
            _checked_against_credential(database, DEFAULT_DATABASE, only, "Database"),
        )

    if settings.chroma_overwrite_singleton_tenant_database_access_from_auth:
        return choose
    return lambda _: (tenant, database)


def _checked_against_credential(asked: str, default: str, granted: str | None, what: str) -> str:
    if granted in (None, "*", asked):
        return asked
    if asked != default:
        raise ChromaAuthError(
            f"{what} {asked} does not match {granted} from the server. "
            f"Are you sure the {what.lower()} is correct?"
        )
    return str(granted)


def _only_tenant(identity: UserIdentity) -> str:
    if identity.tenant in (None, "*"):
        raise ValueError("the key is for several tenants; name one with tenant=…")
    return str(identity.tenant)


def _only_database(identity: UserIdentity) -> str:
    databases = identity.databases or []
    if len(databases) != 1 or databases[0] == "*":
        raise ValueError("the key is for several databases; name one with database=…")
    return databases[0]
