"""Chroma's API on the PostgreSQL you already run.

import pgchroma as chromadb

client = chromadb.PersistentClient("./data")            # an embedded PostgreSQL, or
client = chromadb.PostgresClient("postgresql://…")      # your own
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# The first of all, because an interrupt may come while the others are imported.
from pgchroma import interrupted  # noqa: F401

# isort: split
from pgchroma._version import __version__ as __version__

if TYPE_CHECKING:
    from pgchroma._public import *  # noqa: F403

is_client = False
"""Whether this package can only connect to servers, as Chroma's ``chromadb-client``."""

_MODULES = frozenset(
    {"api", "auth", "base_types", "config", "errors", "execution", "telemetry", "types", "utils"}
)
"""Modules that can be used after ``import pgchroma``, as in Chroma."""


if not TYPE_CHECKING:  # else type checkers would accept every name

    def __getattr__(name: str) -> Any:
        """Import what is asked for: a module of these, or all public names at once.

        A command, a server or a program that needs an exception alone does without the clients.
        """
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        # Python looks up special names, such as `__path__`, in every module.
        if not name.startswith("__") or name == "__all__":
            public = importlib.import_module(f"{__name__}._public")
            if name == "__all__" or name in public.__all__:
                globals()[name] = getattr(public, name)
            # Else it may be a module that has been imported with them.
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *importlib.import_module(f"{__name__}._public").__all__})
