"""Calls of embedding functions: in batches, retried, limited in rate, cached and cancelled."""
