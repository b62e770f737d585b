"""Chroma's `Schema` and its index configurations."""
