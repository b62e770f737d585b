"""Tables, views, segments, indexes and sequences of a collection in PostgreSQL."""
