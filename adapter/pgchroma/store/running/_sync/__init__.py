"""The driver of synchronous connections; generated from the asynchronous one."""
