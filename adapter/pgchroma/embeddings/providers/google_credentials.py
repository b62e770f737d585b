"""Google's application default credentials: tokens, as google-auth fetches them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgchroma.errors import EmbeddingError
from pgchroma.extras import load_extra

__all__ = ("DefaultCredentials",)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class DefaultCredentials:
    """The credentials of this machine or of its user; looked for when first asked."""

    def __init__(self) -> None:
        """Take note that they will be needed.

        Raises:
            ValueError: google-auth is not installed.
        """
        load_extra("google.auth", "vertex")
        self._project: str | None = None
        self._credentials: Any = None
        self._lock = threading.Lock()

    def token(self) -> str:
        """Return an access token that is valid now; one is fetched if the last has run out.

        Raises:
            EmbeddingError: There are no credentials, or Google gives no token for them.
        """
        with self._lock, _errors_logged():
            self._find()
            return self._fetched()

    def find_project(self) -> str | None:
        """Return the project that the credentials belong to; None if they belong to none.

        Raises:
            EmbeddingError: There are no credentials.
        """
        with self._lock, _errors_logged():
            self._find()
            return self._project

    def _find(self) -> None:
        if self._credentials is None:
            auth = load_extra("google.auth", "vertex")
            self._credentials, self._project = auth.default(scopes=[_SCOPE])

    def _fetched(self) -> str:
        if not self._credentials.valid:
            transport = load_extra("google.auth.transport.requests", "vertex")
            with load_extra("requests", "vertex").Session() as session:
                self._credentials.refresh(transport.Request(session))
        return str(self._credentials.token)

    def __repr__(self) -> str:
        return "DefaultCredentials()"


@contextmanager
def _errors_logged() -> Iterator[None]:
    problems = load_extra("google.auth.exceptions", "vertex")
    try:
        yield
    except problems.GoogleAuthError as error:
        raise EmbeddingError(
            f"Google's credentials give no token: {error}",
            is_transient=bool(getattr(error, "retryable", False)),
        ) from error
