"""Backends of event loops; written by hand."""
