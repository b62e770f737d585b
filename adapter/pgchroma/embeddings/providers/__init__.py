"""Chroma's embedding functions, a module for each vendor."""
