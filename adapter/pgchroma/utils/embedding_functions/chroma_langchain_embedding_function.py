"""Chroma's import path of `ChromaLangchainEmbeddingFunction`."""

from pgchroma.embeddings.providers.langchain import (
    ChromaLangchainEmbeddingFunction,
    create_langchain_embedding,
)

__all__ = (
    "ChromaLangchainEmbeddingFunction",
    "create_langchain_embedding",
)
