"""The terminal application of ``pgchroma browse``.

`reading` reads collections and records, and knows nothing of the terminal. The screens call it in
threads, so that a slow database never keeps a key waiting, and show its errors.
"""
