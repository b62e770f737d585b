"""Authentication: credentials in a request's headers, and the callers that they belong to."""
