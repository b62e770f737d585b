"""The driver of asynchronous connections; written by hand."""
