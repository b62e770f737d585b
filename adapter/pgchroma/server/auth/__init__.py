"""Authentication: credentials in a request's headers, and the caller that they stand for."""
