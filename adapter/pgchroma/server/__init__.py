"""The HTTP server: Chroma's REST API v2 from Litestar.

A request is decoded to an operation, a backend executes it, and the answer is encoded.
`pgchroma.wire` defines the JSON and `pgchroma.store` the SQL.
"""
