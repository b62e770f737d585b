"""Where a client's data is, as far as it may be written down: what a pickled client is made of.

Passwords, API keys and headers are left out. Where a client is opened again they come from where
they are without it: the environment, or libpq's password file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from pgchroma.config import Settings

__all__ = (
    "NOT_PICKLED",
    "Origin",
    "directory_origin",
    "ephemeral_origin",
    "postgres_origin",
    "server_origin",
)

NOT_PICKLED: Final = (
    "a client on a SQLAlchemy engine, connection or session cannot be pickled, nor can its "
    "collections; make one from a URL, or make it again on the other side"
)

OriginKind: TypeAlias = Literal["ephemeral", "directory", "postgres", "server"]


@dataclass(frozen=True, slots=True)
class Origin:
    """An address without secrets.

    Attributes:
        kind: What it is the address of.
        target: A directory, or a connection string; empty for the others.
        options: The settings that were made, by name, but for secret ones.
    """

    kind: OriginKind
    target: str
    options: tuple[tuple[str, Any], ...]

    def settings(self) -> Settings:
        """Make the settings again; what they lack comes from the environment."""
        return Settings(**dict(self.options))


def ephemeral_origin(settings: Settings) -> Origin:
    """Return the origin of the process's ephemeral server; in another process it is another."""
    return Origin("ephemeral", "", _options(settings))


def directory_origin(path: str | Path, settings: Settings) -> Origin:
    """Return the origin of a directory's server."""
    return Origin("directory", str(Path(path).expanduser().resolve()), _options(settings))


def postgres_origin(url: object, settings: Settings) -> Origin | None:
    """Return the origin of a database; None for an engine, a connection or a session."""
    if not isinstance(url, str):
        return None
    from pgchroma.backends.urls import without_secrets  # noqa: PLC0415  (it imports psycopg)

    return Origin("postgres", without_secrets(url), _options(settings))


def server_origin(settings: Settings) -> Origin:
    """Return the origin of a server, whose address is in the settings."""
    options = dict(_options(settings))
    if "://" in (host := options.get("chroma_server_host") or ""):
        parts = urlsplit(host)
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        options["chroma_server_host"] = urlunsplit(parts)
    return Origin("server", "", tuple(options.items()))


def _options(settings: Settings) -> tuple[tuple[str, Any], ...]:
    # Secret settings are those that are not shown, either.
    fields = type(settings).model_fields
    return tuple(
        (name, getattr(settings, name))
        for name in sorted(settings.model_fields_set)
        if name in fields and fields[name].repr
    )
