"""JSON and paths: operations as requests, answers as responses, and the inverse of both.

The bodies are Chroma's: unknown fields are ignored, and optional ones may be missing or null. The
server and the HTTP client use the same table of routes, so that they cannot diverge.
"""
