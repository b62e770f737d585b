"""Records: written, read and deleted."""
