"""Chroma's import path for users with passwords."""

__all__ = ("BasicAuthClientProvider",)


class BasicAuthClientProvider:
    """Has the client send user and password: a value of `chroma_client_auth_provider`."""
