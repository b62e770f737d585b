"""The asynchronous tables; written by hand."""
