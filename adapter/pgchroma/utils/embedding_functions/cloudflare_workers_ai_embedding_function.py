"""Chroma's import path of `CloudflareWorkersAIEmbeddingFunction`."""

from pgchroma.embeddings.providers.cloudflare_workers_ai import CloudflareWorkersAIEmbeddingFunction

__all__ = ("CloudflareWorkersAIEmbeddingFunction",)
