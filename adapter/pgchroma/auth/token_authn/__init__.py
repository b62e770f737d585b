"""Chroma's import path for API keys."""

from __future__ import annotations

from enum import StrEnum

__all__ = ("TokenAuthClientProvider", "TokenTransportHeader")


class TokenTransportHeader(StrEnum):
    """The header an API key is sent in: the setting `chroma_auth_token_transport_header`."""

    AUTHORIZATION = "Authorization"
    X_CHROMA_TOKEN = "X-Chroma-Token"  # noqa: S105  (the name of a header)


class TokenAuthClientProvider:
    """Has the client send an API key: its path is a value of `chroma_client_auth_provider`."""
