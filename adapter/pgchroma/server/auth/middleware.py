"""Authenticate a request before it is handled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Scope

from pgchroma.model.credentials import Caller
from pgchroma.server.auth.authenticator import Authenticator
from pgchroma.server.auth.headers import address_of, plain_headers
from pgchroma.server.limits import RequestLimiter

__all__ = ("CALLER", "PUBLIC", "AuthenticationMiddleware", "authenticate")

CALLER = "pgchroma.caller"
"""The key of the request's state that holds the caller's name, for the log and the rate limit."""

PUBLIC = "public"
"""The option of a handler that answers requests without authentication."""


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Authenticates every request whose handler is not public.

    Args:
        app: The application.
        authenticator: Authenticates the caller.
        limiter: Bounds how long authentication may take.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, limiter: RequestLimiter) -> None:
        super().__init__(app, exclude_from_auth_key=PUBLIC)
        self._authenticator = authenticator
        self._limiter = limiter

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the caller as the connection's user.

        Raises:
            ChromaAuthError: The request has no valid credential.
        """
        headers = plain_headers(connection.scope["headers"])
        caller = await authenticate(connection.scope, headers, self._authenticator, self._limiter)
        return AuthenticationResult(user=caller, auth=None)


async def authenticate(
    scope: Scope,
    headers: Mapping[str, str],
    authenticator: Authenticator,
    limiter: RequestLimiter,
) -> Caller:
    """Return the caller that sent a request, and record its name in the request's state.

    Raises:
        ChromaAuthError: The headers have no valid credential.
    """
    async with limiter.deadline():
        caller = await authenticator.authenticate(headers, address_of(scope))
    scope["state"][CALLER] = caller.name
    return caller
