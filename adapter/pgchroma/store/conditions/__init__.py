"""SQL conditions for the ids and filters of a request."""
