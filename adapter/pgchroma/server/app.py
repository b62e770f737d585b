"""The application: what a worker runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.types import Middleware

from pgchroma.client.connect import connect_async
from pgchroma.server.answering import Answering
from pgchroma.server.door import LockedDoor, OpenDoor
from pgchroma.server.faults import EXCEPTION_HANDLERS
from pgchroma.server.front import CALLER, Front
from pgchroma.server.gate import Gate
from pgchroma.server.handlers import handlers
from pgchroma.server.pages import pages
from pgchroma.server.settings import ServerSettings

__all__ = ("create_app",)


def create_app(settings: ServerSettings, conninfo: str) -> Front:
    """Make the application of a worker.

    Args:
        settings: What the operator wants.
        conninfo: The database's URL or connection string; its catalog is up to date.
    """
    application = Litestar(
        route_handlers=[*handlers(), *pages()],
        lifespan=[_lifespan(settings, conninfo)],
        middleware=_middleware(settings),
        exception_handlers=EXCEPTION_HANDLERS,
        cors_config=_cors(settings.cors_allow_origins),
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )
    return Front(application, logs_requests=settings.log_requests)


def _lifespan(settings: ServerSettings, conninfo: str) -> Any:
    @asynccontextmanager
    async def lifespan(application: Litestar) -> AsyncGenerator[None, None]:
        backend = await connect_async(conninfo, settings.backend_settings())
        state = application.state
        state.door = (
            LockedDoor(backend, settings.auth_cache_seconds) if settings.auth else OpenDoor()
        )
        state.answering = Answering(backend, state.door, settings)
        try:
            yield
        finally:
            await backend.close()

    return lifespan


def _middleware(settings: ServerSettings) -> list[Middleware]:
    middleware: list[Middleware] = [Gate]
    if settings.rate_limit is not None:
        limit = RateLimitConfig(
            ("minute", settings.rate_limit),
            identifier_for_request=lambda request: str(request.scope["state"].get(CALLER)),
        )
        middleware.append(limit.middleware)
    return middleware


def _cors(origins: list[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
