"""Embeddings of another function, built beside those in use."""
