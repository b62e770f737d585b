"""The HTTP server: Chroma's REST API v2 from Litestar.

A request becomes an operation, a backend carries it out, its answer becomes a response. What JSON
looks like is `pgchroma.wire`'s to know, what SQL looks like `pgchroma.store`'s.
"""
