"""How values travel to and from PostgreSQL: embeddings and lists in binary, metadata as JSON."""
