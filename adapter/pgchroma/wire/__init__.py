"""JSON and paths: operation to request, result to response, and both ways back.

The server and the HTTP client use the same table of routes, so the two cannot drift apart.
"""
