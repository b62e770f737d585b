"""What the scripts share: their arguments, the client's settings, a collection and a check.

The scripts run in an environment that has Chroma's clients and not pgchroma. Each but `searching`
also passes against a Chroma server: it asserts what Chroma does.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import chromadb
import numpy as np
from chromadb import EmbeddingFunction
from chromadb.config import Settings

PROVIDER = "chromadb.auth.token_authn.TokenAuthClientProvider"


class Letters(EmbeddingFunction):  # type: ignore[misc]
    """How often a text has each of some letters."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: list[str]) -> list[np.ndarray]:
        return [
            np.array([text.count(letter) for letter in "abcdgknoprstu"], np.float32)
            for text in input
        ]

    @staticmethod
    def name() -> str:
        return "letters"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Letters:
        return Letters()


def bare(*packages: str) -> None:
    """Let modules of packages be imported without what the packages' own modules import."""
    for package in packages:
        module = types.ModuleType(package)
        spec = importlib.util.find_spec(package)
        assert spec and spec.submodule_search_locations
        module.__path__ = list(spec.submodule_search_locations)
        sys.modules[package] = module


def arguments() -> tuple[str, str | None]:
    """The server's base URL and, if it was given, an API key."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} <base-url> [<api-key>]")
    return sys.argv[1].rstrip("/"), sys.argv[2] if len(sys.argv) == 3 else None


def settings(key: str | None, **others: Any) -> dict[str, Any]:
    """The client's settings, with the key as the client itself passes one."""
    authentication = {
        "chroma_client_auth_provider": PROVIDER,
        "chroma_client_auth_credentials": key,
    }
    return {"anonymized_telemetry": False} | (authentication if key else {}) | others


def host_and_port(url: str) -> dict[str, Any]:
    """The two parts of the base URL that clients ask for."""
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": parts.port}


def connect(url: str, key: str | None, **place: str) -> chromadb.ClientAPI:
    """A client of the server, in the default tenant and database unless others are given."""
    return chromadb.HttpClient(**host_and_port(url), settings=Settings(**settings(key)), **place)


def unique(what: str) -> str:
    """A name that nothing else on the server has."""
    return f"{what}-{uuid4().hex}"


@contextmanager
def collection(client: chromadb.ClientAPI, **arguments: Any) -> Iterator[chromadb.Collection]:
    """A new collection, deleted in the end."""
    made = client.create_collection(unique("test"), **arguments)
    try:
        yield made
    finally:
        client.delete_collection(made.name)


@contextmanager
def raises(kind: type[Exception], words: str) -> Iterator[None]:
    """Expect exactly this class of error, and these words in it."""
    try:
        yield
    except Exception as error:
        assert type(error) is kind, f"expected {kind}, got {type(error)}: {error}"
        assert words in str(error), f"expected {words!r} in {str(error)!r}"
    else:
        raise AssertionError(f"nothing was raised, expected {kind}: {words}")
