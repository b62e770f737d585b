"""The measured databases, each behind the same few methods."""

from __future__ import annotations

import importlib
from pathlib import Path

from scale.peers.interface import Peer

__all__ = ("Peer", "open_peer")

CLASSES = {
    "pgchroma": "scale.peers.chroma_api:Pgchroma",
    "chromadb": "scale.peers.chroma_api:Chromadb",
    "psycopg": "scale.peers.handwritten:Handwritten",
    "langchain": "scale.peers.langchain:Langchain",
    "lancedb": "scale.peers.lance:Lance",
    "qdrant": "scale.peers.qdrant:Qdrant",
}
"""Named, not imported: no environment has the packages of all."""


def open_peer(name: str, directory: Path) -> Peer:
    """Open a peer on a directory, which may have been used before."""
    module, _, found = CLASSES[name].partition(":")
    peer: Peer = getattr(importlib.import_module(module), found)(directory)
    return peer
