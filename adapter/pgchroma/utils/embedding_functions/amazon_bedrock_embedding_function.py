"""Chroma's import path of `AmazonBedrockEmbeddingFunction`."""

from pgchroma.embeddings.providers.bedrock import AmazonBedrockEmbeddingFunction

__all__ = ("AmazonBedrockEmbeddingFunction",)
