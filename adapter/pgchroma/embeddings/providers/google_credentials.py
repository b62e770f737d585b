"""Google's application default credentials, with google-auth."""

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
    """The credentials of this machine or of its user. The first call looks them up."""

    def __init__(self) -> None:
        """Check that google-auth is installed.

        Raises:
            ValueError: google-auth is not installed.
        """
        load_extra("google.auth", "vertex")
        self._project: str | None = None
        self._credentials: Any = None
        self._lock = threading.Lock()

    def token(self) -> str:
        """Return a valid access token. An expired token is replaced.

        Raises:
            EmbeddingError: There are no credentials, or Google returned no token.
        """
        with self._lock, _errors_logged():
            self._find()
            return self._fetched()

    def find_project(self) -> str | None:
        """Return the project of the credentials, or `None` if they have no project.

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
    exceptions = load_extra("google.auth.exceptions", "vertex")
    try:
        yield
    except exceptions.GoogleAuthError as error:
        raise EmbeddingError(
            f"cannot get a token with Google's credentials: {error}",
            is_transient=bool(getattr(error, "retryable", False)),
        ) from error
