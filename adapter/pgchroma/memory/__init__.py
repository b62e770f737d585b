"""Indexes in memory: copies of segments' embeddings, in files that a host's processes map."""
