"""Handlers that execute and explain queries, and measure their recall."""
