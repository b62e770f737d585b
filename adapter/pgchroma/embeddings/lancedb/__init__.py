"""Embedding functions of LanceDB's kind, their registry, and adapters to Chroma's kind and back."""
