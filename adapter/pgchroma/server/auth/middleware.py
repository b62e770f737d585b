"""Lets callers in before their request is looked at."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from pgchroma.server.auth.authenticator import Authenticator
from pgchroma.server.auth.headers import address_of, plain_headers
from pgchroma.server.http.dispatch import Dispatcher
from pgchroma.server.http.middleware import CALLER

__all__ = ("PUBLIC", "AuthenticationMiddleware")

PUBLIC = "public"
"""The option of a handler that answers requests without authentication."""


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Asks the door of the application's state about each request."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, exclude_from_auth_key=PUBLIC)

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the caller as the connection's user.

        Raises:
            ChromaAuthError: There is no valid credential.
        """
        authenticator: Authenticator = connection.app.state.authenticator
        answering: Dispatcher = connection.app.state.answering
        scope = connection.scope
        async with answering.limiter.deadline():
            caller = await authenticator.admit(plain_headers(scope["headers"]), address_of(scope))
        scope["state"][CALLER] = caller.name
        return AuthenticationResult(user=caller, auth=None)
