"""Ids and filters of a request as SQL conditions."""
