"""The steps that a handler yields, the drivers that run them, and the errors of PostgreSQL."""
