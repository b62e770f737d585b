"""Encoding values for PostgreSQL: embeddings and lists in binary, metadata as JSON."""
