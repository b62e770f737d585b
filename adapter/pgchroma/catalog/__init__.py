"""The catalog, the schema `pgchroma` of a database: creating, upgrading and checking it."""
