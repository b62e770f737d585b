"""The synchronous tables; generated from the asynchronous ones."""
