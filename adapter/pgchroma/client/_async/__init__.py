"""The asynchronous façade; written by hand."""
