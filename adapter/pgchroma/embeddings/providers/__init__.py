"""Chroma's embedding functions, a module a vendor."""
