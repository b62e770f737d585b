"""The catalog, the schema `pgchroma` of a database: made, upgraded, checked and restored."""
