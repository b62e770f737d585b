"""Re-embedding: the embeddings of another function replace those of a collection."""
