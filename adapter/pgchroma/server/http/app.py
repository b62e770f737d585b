"""Create the ASGI application of a worker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.types import ASGIApp, Middleware

from pgchroma.backends._async.base import AsyncBackend
from pgchroma.server.auth.authenticator import AllowAll, Authenticator, CredentialAuthenticator
from pgchroma.server.auth.middleware import CALLER, PUBLIC, AuthenticationMiddleware
from pgchroma.server.http.browsers import BrowserGuard, BrowserRules
from pgchroma.server.http.dispatch import Dispatcher
from pgchroma.server.http.errors import EXCEPTION_HANDLERS
from pgchroma.server.http.handlers import handlers
from pgchroma.server.http.middleware import RequestMiddleware
from pgchroma.server.http.pages import pages
from pgchroma.server.http.shortcut import Shortcut
from pgchroma.server.http.unread import UnreadAnswers
from pgchroma.server.limits import RequestLimiter
from pgchroma.server.settings import ServerSettings

if TYPE_CHECKING:
    from pgchroma.server.observability.metrics import Metrics
    from pgchroma.server.observability.telemetry import Telemetry

__all__ = ("create_app",)

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_app(
    settings: ServerSettings,
    backend: AsyncBackend,
    lifespan: Lifespan,
    metrics: Metrics | None = None,
    telemetry: Telemetry | None = None,
) -> RequestMiddleware:
    """Create the application of a worker.

    Args:
        settings: The server's settings.
        backend: Executes operations.
        lifespan: Entered when the application starts, and left when it stops.
        metrics: Counts requests, if there is an admin port to read the counts.
        telemetry: Traces requests, if there is a collector to send the traces to.
    """
    limiter = RequestLimiter(settings.circuit_breaker.requests, settings.request_timeout)
    authenticator: Authenticator = (
        CredentialAuthenticator(backend, settings.auth_cache_seconds, limiter)
        if settings.auth
        else AllowAll()
    )
    rules = (
        None if settings.auth else BrowserRules(settings.allowed_hosts, settings.cors_allow_origins)
    )
    dispatcher = Dispatcher(backend, authenticator, limiter, settings)
    application: ASGIApp = Litestar(
        route_handlers=[*handlers(dispatcher), *pages()],
        lifespan=[lifespan],
        middleware=_middleware(settings, authenticator, limiter, rules),
        exception_handlers=EXCEPTION_HANDLERS,
        cors_config=_cors(settings.cors_allow_origins),
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )
    if settings.rate_limit is None:
        # The framework limits rates.
        application = Shortcut(
            application,
            dispatcher,
            authenticator,
            limiter,
            rules,
            has_cors=bool(settings.cors_allow_origins),
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


def _middleware(
    settings: ServerSettings,
    authenticator: Authenticator,
    limiter: RequestLimiter,
    rules: BrowserRules | None,
) -> list[Middleware]:
    middleware: list[Middleware] = [
        DefineMiddleware(AuthenticationMiddleware, authenticator=authenticator, limiter=limiter)
    ]
    if rules is not None:
        middleware.insert(0, DefineMiddleware(BrowserGuard, rules=rules))
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
