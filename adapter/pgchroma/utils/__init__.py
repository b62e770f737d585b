"""Chroma's import path for embedding functions and data loaders."""
