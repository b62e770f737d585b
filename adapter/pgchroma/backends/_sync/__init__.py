"""Backends of threads; generated from those of event loops."""
