"""Chroma's import path for credentials."""

from pgchroma.auth import basic_authn, token_authn
from pgchroma.errors import ChromaAuthError as AuthError
from pgchroma.model.entities import UserIdentity

__all__ = ("AuthError", "UserIdentity", "basic_authn", "token_authn")
