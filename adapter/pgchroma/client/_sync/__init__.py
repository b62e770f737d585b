"""The synchronous façade; generated from the asynchronous one."""
