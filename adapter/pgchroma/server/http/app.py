"""The application: what a worker runs."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.types import ASGIApp, Middleware

from pgchroma.errors import ChromaError
from pgchroma.server.auth.authenticator import AllowAll, CredentialAuthenticator
from pgchroma.server.auth.middleware import PUBLIC, AuthenticationMiddleware
from pgchroma.server.database import Database
from pgchroma.server.http.browsers import BrowserGuard
from pgchroma.server.http.dispatch import Dispatcher
from pgchroma.server.http.errors import EXCEPTION_HANDLERS
from pgchroma.server.http.handlers import handlers
from pgchroma.server.http.middleware import CALLER, RequestMiddleware
from pgchroma.server.http.pages import pages
from pgchroma.server.http.unread import UnreadAnswers
from pgchroma.server.limits import RequestLimiter
from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.server.process.worker import give_up, working
from pgchroma.server.settings import ServerSettings

if TYPE_CHECKING:
    from pgchroma.embedded.space import Space
    from pgchroma.server.observability.metrics import Metrics
    from pgchroma.server.observability.telemetry import Telemetry

__all__ = ("create_app",)


def _space(settings: ServerSettings) -> Space | None:
    """Return the disk to look at before writes; none for a database that is not ours."""
    if settings.url is not None:
        return None
    from pgchroma.embedded.space import Space  # noqa: PLC0415  (only where it is used)

    return Space(settings.persist_path.expanduser().resolve())


def create_app(
    settings: ServerSettings, conninfo: str, run_directory: RunDirectory
) -> RequestMiddleware:
    """Make the application of a worker.

    Args:
        settings: What the operator wants.
        conninfo: The database's URL or connection string; its catalog is up to date.
        run_directory: What the worker shares with its supervisor.
    """
    metrics, telemetry = _metrics(settings, run_directory), _telemetry(settings)
    database = Database(conninfo, settings.backend_settings(), metrics, telemetry, _space(settings))
    application: ASGIApp = Litestar(
        route_handlers=[*handlers(), *pages()],
        lifespan=[_lifespan(settings, database, run_directory, metrics, telemetry)],
        middleware=_middleware(settings),
        exception_handlers=EXCEPTION_HANDLERS,
        cors_config=_cors(settings.cors_allow_origins),
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )
    if telemetry is not None:
        application = telemetry.wrap(application)
    return RequestMiddleware(
        application,
        logs_requests=settings.log_requests,
        metrics=metrics,
        unread=UnreadAnswers(settings.answer_timeout),
        trace=None if telemetry is None else telemetry.name_request,
    )


def _metrics(settings: ServerSettings, run_directory: RunDirectory) -> Metrics | None:
    if settings.admin_port is None:
        return None
    from pgchroma.server.observability.metrics import enable_multiprocess  # noqa: PLC0415  (not where nobody looks)

    return enable_multiprocess(run_directory.metrics)


def _telemetry(settings: ServerSettings) -> Telemetry | None:
    if settings.open_telemetry is None:
        return None
    from pgchroma.server.observability.telemetry import Telemetry  # noqa: PLC0415  (an extra of its own)

    return Telemetry(settings.open_telemetry)


def _lifespan(
    settings: ServerSettings,
    database: Database,
    run_directory: RunDirectory,
    metrics: Metrics | None,
    telemetry: Telemetry | None,
) -> Any:
    def beat() -> None:
        if metrics is not None:
            metrics.set_pool(database.statistics())

    @asynccontextmanager
    async def lifespan(application: Litestar) -> AsyncGenerator[None, None]:
        try:
            await database.start()
        except ChromaError as error:
            give_up(run_directory, error.message())
        state = application.state
        limiter = RequestLimiter(settings.circuit_breaker.requests, settings.request_timeout)
        state.authenticator = (
            CredentialAuthenticator(database, settings.auth_cache_seconds, limiter)
            if settings.auth
            else AllowAll()
        )
        state.answering = Dispatcher(database, state.authenticator, limiter, settings)
        try:
            async with working(run_directory, None if metrics is None else beat):
                yield
        finally:
            await database.close()
            if telemetry is not None:
                await to_thread(telemetry.close)

    return lifespan


def _middleware(settings: ServerSettings) -> list[Middleware]:
    middleware: list[Middleware] = [AuthenticationMiddleware]
    if not settings.auth:
        guard = DefineMiddleware(
            BrowserGuard, hosts=settings.allowed_hosts, origins=settings.cors_allow_origins
        )
        middleware.insert(0, guard)
    if settings.rate_limit is not None:
        limit = RateLimitConfig(
            ("minute", settings.rate_limit),
            exclude_opt_key=PUBLIC,
            identifier_for_request=lambda request: str(request.scope["state"].get(CALLER)),
        )
        middleware.append(limit.middleware)
    return middleware


def _cors(origins: list[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
