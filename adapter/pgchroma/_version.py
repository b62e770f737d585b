"""The version of this package, and where its documentation is."""

__all__ = ("DOCUMENTATION", "__version__")

__version__ = "0.1.0"

DOCUMENTATION = "https://github.com/pgchroma/pgchroma/tree/main/docs"
