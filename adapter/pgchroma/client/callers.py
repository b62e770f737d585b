"""Who calls: whether ``embedding_function=None`` was written by the user, or by LangChain.

LangChain's vector store passes None for every collection. Where its user gives no embeddings it
hands over texts and relies on Chroma's default function, which Chroma uses in spite of the None.
Where the user writes None, it means that there is no function.
"""

from __future__ import annotations

import sys
from types import FrameType

__all__ = ("is_called_by_langchain",)

_OURS = __name__.partition(".")[0]
_LANGCHAIN = ("langchain", "langchain_chroma", "langchain_community")


def is_called_by_langchain() -> bool:
    """Whether the first caller outside this package is LangChain."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package(frame) == _OURS:
        frame = frame.f_back
    return frame is not None and _package(frame) in _LANGCHAIN


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
