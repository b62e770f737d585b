"""The Search API."""
