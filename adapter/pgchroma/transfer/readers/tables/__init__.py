"""Read the tables in which other programs keep vectors with pgvector."""
